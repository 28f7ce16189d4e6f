"""KernelSHAP with control of sizes and slopes against shap and shapiq: error and CPU time on one game.

The game: 100 users are points of 20 mean ratings, a coalition is worth minus the distance of its centroid to a held-out user
(``target.centroid_game``; MovieLens where the reference data is there, seeded synthetic ratings of the same shape otherwise).
Every method may ask for 10,000 coalitions and gets the same vectorised game, on one BLAS thread, after a warm-up that is not
timed. Error: root mean square over the users, against reference values; time: CPU seconds of the process; both medians of
the repetitions, each with another seed.

Reference values: antithetic permutation sampling of the game less a control whose Shapley values are known (a function of
the coalition's size plus a size-dependent multiple of a sum over its members), which leaves little to sample and is
unbiased whatever the control is. Their standard error stands in the context: errors below it mean nothing.

Ratios are the peer's over ours. ``shap`` is ``shap.KernelExplainer`` without regularisation (its default, which keeps ten
features, is in the context too). ``shapiq`` is the most accurate of its approximators in this run, named in the context
beside all the others. ``error_ratio_at_equal_time`` compares with ours given as much CPU time as that peer took, up to 64
times the evaluations; ``with_fewer_evaluations_vs_shap`` has our 0.3 times the evaluations against the kernel explainer's all.

Goal: at least 15 times less time at no more than a fifth of the error, of each peer. Needs the packages of the extra ``test``.

Belongs here: timing and accuracy. Does not belong here: whether the values are right on small games (see the tests).
"""

import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import CPU, finish, options, say, seconds
from crowd_assets.experiments.study import reference_folder
from crowd_assets.mechanisms.shapley import Game, kernel_shapley, permutation_shapley
from crowd_assets.mechanisms.target import centroid_game
from crowd_assets.simulation.centroids import RATINGS, ratings

PLAYERS = 100
EVALUATIONS = 10_000
REFERENCE_EVALUATIONS = 2_000_000
REPETITIONS = 3
QUICK = {"players": 20, "evaluations": 1_000, "reference": 200_000}
EQUAL_TIME_AT_MOST = 64
FEWER = 0.3
USERS = (610, 20)

Values = NDArray[np.float64]
Method = Callable[[Game, int, int, int], Values]
"""Of a game, its number of players, evaluations and a seed."""


def users() -> tuple[Values, str]:
    """Ratings (610, 20), and where they are from."""
    folder = reference_folder()
    if (folder / RATINGS).exists():
        return ratings(str(folder)), "MovieLens"
    rng = np.random.default_rng(0)
    rated = rng.random(USERS) < 0.85
    return np.clip(rng.normal(3.5, 0.6, USERS), 0.5, 5.0) * rated, "synthetic"


def accurate(game: Game, players: int, evaluations: int, rng: np.random.Generator) -> tuple[Values, float]:
    """Unbiased Shapley values and their standard error (root mean square); see the module's docstring."""
    first = kernel_shapley(game, players, evaluations=50 * players, rng=rng).values
    direction = first - first.mean()
    sizes = np.arange(players + 1)
    level, slope = np.zeros(players + 1), np.zeros(players + 1)
    for size in sizes:
        masks = rng.permuted(np.tile(sizes[1:] <= size, (200, 1)), axis=1)
        worth, along = game(masks), masks @ direction
        level[size] = worth.mean()
        centred = along - along.mean()
        if 0 < size < players:
            slope[size] = centred @ worth / (centred @ centred)
            level[size] -= slope[size] * along.mean()

    def rest(masks: NDArray[np.bool_]) -> Values:
        members = masks.sum(axis=1)
        return game(masks) - level[members] - slope[members] * (masks @ direction)

    left = permutation_shapley(rest, players, permutations=evaluations // (players - 1), rng=rng)
    # The direction sums to zero, so a player's share of slope(|S|) * sum over S is the mean slope times its own.
    known = direction * slope[1:-1].sum() / (players - 1) + (level[-1] - level[0]) / players
    return left.values + known, float(np.sqrt(np.mean(np.square(left.standard_errors))))


def ours(game: Game, players: int, evaluations: int, seed: int) -> Values:
    """Ours."""
    return kernel_shapley(game, players, evaluations=evaluations, rng=np.random.default_rng(seed)).values


def shap_kernel(**arguments: Any) -> Method:
    """``shap.KernelExplainer``, which draws from numpy's global generator."""
    import shap

    def values(game: Game, players: int, evaluations: int, seed: int) -> Values:
        np.random.seed(seed)  # noqa: NPY002
        explainer = shap.KernelExplainer(lambda rows: game(rows > 0.5), np.zeros((1, players)))
        found = explainer.shap_values(np.ones((1, players)), nsamples=evaluations, silent=True, **arguments)
        return np.asarray(found, dtype=np.float64).reshape(players)

    return values


def shap_permutation(game: Game, players: int, evaluations: int, seed: int) -> Values:
    """``shap.PermutationExplainer``: antithetic permutations."""
    import shap

    explainer = shap.PermutationExplainer(lambda rows: game(rows > 0.5), np.zeros((1, players)), seed=seed)
    found = explainer(np.ones((1, players)), max_evals=evaluations, silent=True)
    return np.asarray(found.values, dtype=np.float64).reshape(players)


def shapiq_method(name: str, **arguments: Any) -> Method:
    """An approximator of shapiq, some of which ask for one coalition at a time."""
    from shapiq import approximator

    def values(game: Game, players: int, evaluations: int, seed: int) -> Values:
        method = getattr(approximator, name)(n=players, random_state=seed, **arguments)
        found = method.approximate(evaluations, lambda masks: game(np.atleast_2d(np.asarray(masks, dtype=bool))))
        return np.array([found[(player,)] for player in range(players)])

    return values


def methods() -> dict[str, Method]:
    """All that are compared, by name. The slowest are last."""
    return {
        "ours": ours,
        "shap.KernelExplainer": shap_kernel(l1_reg=False),
        "shap.KernelExplainer with its default l1_reg": shap_kernel(),
        "shap.PermutationExplainer": shap_permutation,
        "shapiq.KernelSHAP": shapiq_method("KernelSHAP"),
        "shapiq.KernelSHAP paired": shapiq_method("KernelSHAP", pairing_trick=True),
        "shapiq.UnbiasedKernelSHAP paired": shapiq_method("UnbiasedKernelSHAP", pairing_trick=True),
        "shapiq.PermutationSamplingSV": shapiq_method("PermutationSamplingSV"),
        "shapiq.StratifiedSamplingSV": shapiq_method("StratifiedSamplingSV"),
        "shapiq.OwenSamplingSV": shapiq_method("OwenSamplingSV"),
        "shapiq.SVARM": shapiq_method("SVARM"),
        "shapiq.SVARM paired": shapiq_method("SVARM", pairing_trick=True),
    }


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its JSON line."""
    given = options(__doc__, argv)
    players = QUICK["players"] if given.quick else PLAYERS
    evaluations = QUICK["evaluations"] if given.quick else EVALUATIONS
    rng = np.random.default_rng(given.seed)
    known, data = users()
    drawn = rng.permutation(known)[: players + 1]
    game = centroid_game(drawn[:-1], drawn[-1], empty=np.zeros(known.shape[1]))

    say(f"reference values of {players} users ({data})")
    reference_evaluations = QUICK["reference"] if given.quick else REFERENCE_EVALUATIONS
    reference, standard_error = accurate(game, players, reference_evaluations, rng)
    say("importing shap and shapiq")
    compared = methods()
    found: dict[str, dict[str, float]] = {}

    def measured(method: Method, asked: int) -> dict[str, float]:
        runs = [seconds(CPU, lambda s=seed: method(game, players, asked, s)) for seed in range(REPETITIONS)]
        return {
            "seconds": statistics.median(time for time, _ in runs),
            "rmse": statistics.median(float(np.sqrt(np.mean(np.square(phi - reference)))) for _, phi in runs),
            "pearson": statistics.median(float(np.corrcoef(phi, reference)[0, 1]) for _, phi in runs),
        }

    with _one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, method in compared.items():
            method(game, players, min(evaluations, 8 * players + 2), 0)
            found[name] = measured(method, evaluations)
            say(f"{name}: {found[name]['seconds']:.3f} s CPU, RMSE {found[name]['rmse']:.5f}")
        best = min((name for name in found if name.startswith("shapiq.")), key=lambda name: found[name]["rmse"])
        times = min(max(int(found[best]["seconds"] / found["ours"]["seconds"]), 1), EQUAL_TIME_AT_MOST)
        equal_time = measured(ours, times * evaluations)
        fewer = measured(ours, int(FEWER * evaluations))

    def over_ours(name: str, figure: str) -> float:
        return found[name][figure] / found["ours"][figure]

    finish(
        {
            "time_ratio_vs_shap": over_ours("shap.KernelExplainer", "seconds"),
            "error_ratio_vs_shap": over_ours("shap.KernelExplainer", "rmse"),
            "time_ratio_vs_shapiq": over_ours(best, "seconds"),
            "error_ratio_vs_shapiq": over_ours(best, "rmse"),
        },
        {
            "n": players,
            "evaluations": evaluations,
            "repetitions": REPETITIONS,
            "data": data,
            "reference": {"evaluations": reference_evaluations, "standard_error": standard_error},
            "most_accurate_of_shapiq": best,
            "ours_at_equal_time": {"evaluations": times * evaluations, **equal_time},
            "error_ratio_at_equal_time": found[best]["rmse"] / equal_time["rmse"],
            "ours_with_fewer_evaluations": {"evaluations": int(FEWER * evaluations), **fewer},
            "with_fewer_evaluations_vs_shap": {
                figure: found["shap.KernelExplainer"][figure] / fewer[figure] for figure in ("seconds", "rmse")
            },
            "ratios": {
                name: {"time": over_ours(name, "seconds"), "error": over_ours(name, "rmse")}
                for name in found
                if name != "ours"
            },
            "medians": found,
            "seed": given.seed,
        },
        "shap",
        "shapiq",
    )


def _one_thread() -> Any:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


if __name__ == "__main__":
    main()
