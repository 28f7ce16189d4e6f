"""Points against Shapley values in the centroid simulation: the authors' protocol, and what this project pays.

Belongs here: which cells are compared, with what, and how they are shown. Does not belong here: the simulation (see
``crowd_assets.simulation.centroids``) and the mechanisms.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from crowd_assets.experiments.study import Figure, Findings, Study, mean_interval, reference_file
from crowd_assets.report import display
from crowd_assets.simulation.centroids import AUTHORS_GROUPINGS, EVALUATIONS, RATINGS, authors_cell, fresh_cell

SWEEP = "crowd_sft/points_vs_shapley_sweep.csv"
SOURCE = "Crowd-SFT (arXiv 2506.04063), experiment 2, points_vs_shapley_sweep.csv"
OURS = "this project, on the simulation of Crowd-SFT's experiment 2"
USERS = (10, 25, 50, 75, 100)
GROUPS = (2, 3, 4, 5)
RUNS = 50
METRICS = ("pearson", "pearson_accurate", "distance")
RUNS_BESIDE = 10  # in worlds that no goal is about
GOALS = {"100x5": 0.94, "100x2": 0.88, "100x5.noise_0.05": 0.85}  # of the default's mean Pearson, at least
HIGH_ENOUGH, ENOUGH_RUNS = 0.9, 0.9  # a run's Pearson, and the share of runs that reach it, at least
FARTHEST = 0.9  # final distance in that of the best of the nine schemes, at most
FRESH_POOLS = 1  # beside the seed: pools that nothing was chosen on (development drew others)

DEFAULT: dict[str, Any] = {"points": "surrogate", "grouping": "posterior_sampling", "small": 0.25}
REGRESSION: dict[str, Any] = {"points": "regression", "grouping": "posterior_sampling", "small": 0.25}
EQUAL_GROUPS: dict[str, Any] = {"points": "surrogate", "grouping": "posterior_sampling"}
KEYED: dict[str, Any] = {"points": "regression", "grouping": "epsilon_greedy"}
NINE: list[dict[str, Any]] = [
    {"points": "rank", "grouping": grouping, "evaluation": evaluation}
    for grouping in AUTHORS_GROUPINGS
    for evaluation in EVALUATIONS
]
NAMES: dict[str, dict[str, Any]] = {
    "default": DEFAULT,
    "regression": REGRESSION,
    "surrogate, equal groups": EQUAL_GROUPS,
    "regression, ε-greedy": KEYED,
    "rank, ε-greedy": {"points": "rank", "grouping": "epsilon_greedy"},
    "rank, random": {"points": "rank", "grouping": "random"},
    "rank, interleaved": {"points": "rank", "grouping": "interleaved"},
}


def points_authors_protocol(study: Study) -> Findings:
    """Rank points on MovieLens, all 9 schemes × users × groups, 50 runs each: Pearson with Shapley values and final
    distance, beside the authors' own table (Crowd-SFT, arXiv 2506.04063, experiment 2)."""
    users = (10, 25, 100) if study.quick else USERS
    runs = 20 if study.quick else RUNS
    asked = [
        {"users": players, "evaluation": evaluation, "groups": GROUPS, "runs": runs, "seed": study.seed}
        for players in users
        for evaluation in EVALUATIONS
    ]
    cells: list[dict[str, Any]] = [
        {**found, "users": given["users"]}
        for given, found in zip(asked, study.map(authors_cell, asked, reads=(RATINGS,)), strict=True)
    ]
    published = pl.read_csv(reference_file(SWEEP)).rename(
        {
            "Grouping Function": "grouping",
            "Evaluation Function": "evaluation",
            "num_users": "users",
            "num_groups": "groups",
            "Pearson Correlation": "their_pearson",
            "Convergence Accuracy (final distance)": "their_distance",
        }
    )
    rows = [
        {
            **{name: cell[name] for name in ("grouping", "evaluation", "users", "groups")},
            **{name: float(np.mean(cell[name])) for name in METRICS},
            **{f"{name}_error": _difference_error(cell[name], RUNS) for name in METRICS},
        }
        for found in cells
        for cell in found["cells"]
    ]
    table = (
        pl.DataFrame(rows)
        .join(published, on=["grouping", "evaluation", "users", "groups"], how="inner")
        .with_columns(
            pearson_within=(pl.col("pearson") - pl.col("their_pearson")).abs() <= pl.col("pearson_error"),
            distance_within=(pl.col("distance") - pl.col("their_distance")).abs() <= pl.col("distance_error"),
            accurate_within=(pl.col("pearson_accurate") - pl.col("their_pearson")).abs()
            <= pl.col("pearson_accurate_error"),
        )
        .with_columns(both_within=pl.col("pearson_within") & pl.col("distance_within"))
    )
    largest, smallest = max(users), min(users)

    def count(name: str, value: float) -> Figure:
        return Figure(f"points.authors_protocol.{name}", value, None, None, None, SOURCE, study.seed)

    def mean(name: str, of: str, theirs: str | None = None, *, only: int | None = None) -> Figure:
        chosen = table if only is None else table.filter(pl.col("users") == only)
        published = _mean(chosen[theirs]) if theirs else None
        value, low, high = _mean_over_runs(cells, of, only)
        return Figure(f"points.authors_protocol.{name}", value, low, high, published, SOURCE, study.seed)

    def reference(players: int) -> Figure:
        values = np.mean([cell["reference_correlation"] for cell in cells if cell["users"] == players], axis=0).tolist()
        name = f"points.authors_protocol.reference_correlation.{players}"
        return Figure(name, *mean_interval(values), None, SOURCE, study.seed)

    references = [reference(players) for players in users]
    figures = [
        count("cells_within_error", int(table["both_within"].sum())),
        count("cells", table.height),
        count("share_within_error", _mean(table["both_within"])),
        count("share_within_error.pearson", _mean(table["pearson_within"])),
        count("share_within_error.distance", _mean(table["distance_within"])),
        count("cells_within_error.accurate", int((table["accurate_within"] & table["distance_within"]).sum())),
        mean("pearson_mean", "pearson", "their_pearson"),
        mean("pearson_mean.accurate", "pearson_accurate"),
        mean("distance_mean", "distance", "their_distance"),
        mean("pearson_mean.100", "pearson", "their_pearson", only=largest),
        mean("pearson_mean.100.accurate", "pearson_accurate", only=largest),
        *references,
    ]
    got = {one.name.removeprefix("points.authors_protocol."): one for one in figures}
    fell, accurate_fell = (
        _mean_over_runs(cells, of, smallest)[0] - _mean_over_runs(cells, of, largest)[0]
        for of in ("pearson", "pearson_accurate")
    )
    made = f": the reference makes {1 - accurate_fell / fell:.0%} of the fall" if fell > 0 else ""
    by_users = table.group_by("users").agg(pl.col("pearson", "pearson_accurate", "their_pearson").mean()).sort("users")
    summary = (
        "The authors' table does not say who the expert is. Here each run holds out another of the first n + 1 users; with "
        f"that reading {int(got['cells_within_error'].value)} of {table.height} cells agree with the table in Pearson and in "
        f"final distance, {got['share_within_error.pearson'].value:.0%} in Pearson and "
        f"{got['share_within_error.distance'].value:.0%} in distance. Two means of {RUNS} runs agree if they differ by at "
        "most 1.96 standard errors of the difference (our own spread over runs stands for both); of independent cells that "
        "agree in truth, 90 % would do so in both figures. Cells are not independent: those of one number of users share "
        "their experts, so that they miss together.\n\n"
        "The authors' reference is plain KernelSHAP, here with 10,000 evaluations, with which it comes out about as "
        "noisy as theirs. Its correlation with accurate Shapley "
        f"values goes from {references[0].value:.2f} at {smallest} users to {references[-1].value:.2f} at {largest}. From "
        f"{smallest} to {largest} users Pearson falls by {fell:.2f} against that reference and by {accurate_fell:.2f} against "
        f"accurate values{made}. At {largest} users rank points "
        f"reach {got['pearson_mean.100.accurate'].value:.2f} against accurate values and "
        f"{got['pearson_mean.100'].value:.2f} against the reference, where the table says "
        f"{got['pearson_mean.100'].published:.2f}. With accurate values in the reference's place, "
        f"{int(got['cells_within_error.accurate'].value)} of {table.height} cells would agree."
    )
    return Findings(
        figures,
        summary,
        tables={"All cells, ours beside the authors'": table},
        plots={
            "Pearson of rank points with Shapley values, mean over schemes and groups": display.lines(
                {
                    "ours, their reference": (list(by_users["users"]), list(by_users["pearson"])),
                    "authors' table": (list(by_users["users"]), list(by_users["their_pearson"])),
                    "ours, accurate values": (list(by_users["users"]), list(by_users["pearson_accurate"])),
                },
                x="users",
                y="Pearson",
                dashed={"authors' table"},
            ),
            "Pearson cell by cell": display.scatter(
                list(table["their_pearson"]), list(table["pearson"]), x="authors' Pearson", y="our Pearson"
            ),
            "Final distance cell by cell": display.scatter(
                list(table["their_distance"]),
                list(table["distance"]),
                x="authors' final distance",
                y="our final distance",
            ),
        },
    )


def points_beyond(study: Study) -> Findings:
    """Points that track accurate Shapley values, on fresh pools of users: surrogate points with posterior sampling and
    small groups, against regression points and the paper's nine schemes on the same pools, experts and starts; by users,
    groups, noise of what is observed, and with users who come and go."""
    runs = 10 if study.quick else RUNS
    noises = (0.0, 0.05) if study.quick else (0.0, 0.01, 0.02, 0.05, 0.1)
    sizes = ((100, 5), (100, 2)) if study.quick else tuple((n, j) for n in (10, 25, 50, 100) for j in (2, 5))
    everything = [*NAMES.values(), *(scheme for scheme in NINE if scheme["evaluation"] != "l2_norm")]
    common = {"seed": study.seed + FRESH_POOLS}
    asked: dict[str, dict[str, Any]] = {
        f"{n}x{j}": {"users": n, "groups": j, "schemes": everything if (n, j) == (100, 5) else list(NAMES.values())}
        for n, j in sizes
    }
    asked |= {
        f"100x5.noise_{noise:g}": {"users": 100, "groups": 5, "schemes": list(NAMES.values()), "noise": noise}
        for noise in noises
        if noise
    }
    asked["100x5.presence_0.6"] = {"users": 100, "groups": 5, "schemes": list(NAMES.values()), "presence": 0.6}
    for world, given in asked.items():
        given["runs"] = runs if world in GOALS else min(runs, RUNS_BESIDE)
    results = dict(
        zip(
            asked,
            study.map(fresh_cell, [{**given, **common} for given in asked.values()], reads=(RATINGS,)),
            strict=True,
        )
    )
    figures = []
    misses = []

    def figure(
        name: str, value: float, low: float, high: float, least: float | None = None, most: float | None = None
    ) -> None:
        goal = f"at least {least:g}" if least is not None else f"at most {most:g}" if most is not None else ""
        figures.append(Figure(f"points.{name}", value, low, high, None, OURS, study.seed, goal))
        if (least is not None and value < least) or (most is not None and value > most):
            misses.append(f"`points.{name}` is {value:.3f}, {goal} is wanted")

    for world, cells in results.items():
        for name, cell in zip(NAMES, cells, strict=False):
            if name not in ("default", "regression", "rank, ε-greedy", "rank, random"):
                continue
            key = name.replace(", ", "_").replace("ε-greedy", "epsilon_greedy")
            least = GOALS.get(world) if name == "default" else None
            figure(f"{key}.pearson_mean.{world}", *mean_interval(cell["pearson"]), least=least)
    base = results["100x5"]
    nine = {
        f"{scheme['points']}, {scheme['grouping'].replace('epsilon_', 'ε-')}, {scheme.get('evaluation', 'l2_norm')}": cell
        for scheme, cell in zip(everything, base, strict=True)
        if scheme["points"] == "rank"
    }
    best = min(nine, key=lambda name: float(np.mean(nine[name]["distance"])))
    luckiest = np.min([cell["distance"] for cell in nine.values()], axis=0)
    share = _share_interval([value >= HIGH_ENOUGH for value in base[0]["pearson"]])
    ratio = _ratio_interval(base[0]["distance"], nine[best]["distance"], study.seed)
    figure("default.share_above_0.9.100x5", *share, least=ENOUGH_RUNS)
    figure("default.distance_ratio.100x5", *ratio, most=FARTHEST)
    hindsight = _ratio_interval(base[0]["distance"], luckiest, study.seed)
    figure("default.distance_ratio_in_hindsight.100x5", *hindsight)
    pearson = {
        world: {name: mean_interval(cell["pearson"]) for name, cell in zip(NAMES, cells, strict=False)}
        for world, cells in results.items()
    }
    noisy = {
        name: (float(np.mean(cell["spread"])), float(np.mean(cell["value_noise"])))
        for name, cell in zip(NAMES, results["100x5.noise_0.05"], strict=False)
    }
    worlds = {noise: "100x5" if not noise else f"100x5.noise_{noise:g}" for noise in noises}
    summary = (
        "The default pays surrogate points: candidates' embeddings are regressed on who trained them, and Shapley values "
        "are computed on the recovered vectors, so that no user, expert or coalition is read that a platform would not see. "
        "Groups come from posterior sampling (estimates plus a draw from their posterior, or in exploring rounds the draw "
        "alone), all but one of them a quarter of an equal share in size. Schemes were chosen on other pools than those shown. "
        "On the platform CROWD_SMALL_GROUPS sets that size; it splits equally unless told otherwise, as a real group of two has few "
        "comments to train on.\n\n"
        f"At 100 users and 5 groups its points correlate with accurate Shapley values at {pearson['100x5']['default'][0]:.3f} "
        f"(regression points {pearson['100x5']['regression'][0]:.3f}, the paper's rank points "
        f"{pearson['100x5']['rank, ε-greedy'][0]:.3f} with ε-greedy and {pearson['100x5']['rank, random'][0]:.3f} with random "
        f"groups), {share[0]:.0%} of runs at 0.9 or above, and its model ends at {ratio[0]:.2f} of the distance of the best of "
        f"the nine schemes ({best}), {hindsight[0]:.2f} of whichever was best in each run. At 2 groups it reaches {pearson['100x2']['default'][0]:.3f} (regression "
        f"{pearson['100x2']['regression'][0]:.3f}).\n\n"
        "Noise is added to every coordinate of what is observed of a model in a round, so that the values that decide and "
        "pay are as noisy as the embeddings. At a standard deviation of 0.05 the value of a "
        f"candidate is observed with sd {noisy['default'][1]:.3f}; the candidates of a round differ by sd "
        f"{noisy['surrogate, equal groups'][0]:.3f} with groups of equal size and {noisy['default'][0]:.3f} with those of the "
        f"default. The default keeps {pearson['100x5.noise_0.05']['default'][0]:.3f}, with groups of equal size "
        f"{pearson['100x5.noise_0.05']['surrogate, equal groups'][0]:.3f}, and regression points "
        f"{pearson['100x5.noise_0.05']['regression'][0]:.3f}. With users who take part in 60 % of the rounds it is "
        f"{pearson['100x5.presence_0.6']['default'][0]:.3f}, points counted per round taken part in. The step of 0.1 is known to "
        "the surrogate, as it is a platform's own setting.\n\n"
        "What the surrogate assumes, that a candidate lies at its members' mean, is exactly so in this simulation; a model that "
        "is trained is a mean only nearly. "
        + ("Missed goals: " + "; ".join(misses) + "." if misses else "Every goal is reached.")
    )
    plots = {
        "Pearson with accurate Shapley values under noise, 100 users, 5 groups": display.lines(
            {name: (list(noises), [pearson[worlds[noise]][name][0] for noise in noises]) for name in NAMES},
            x="noise of what is observed, sd",
            y="Pearson",
            bands={
                name: (
                    [pearson[worlds[noise]][name][1] for noise in noises],
                    [pearson[worlds[noise]][name][2] for noise in noises],
                )
                for name in ("default", "regression", "rank, ε-greedy")
            },
        ),
        "Final distance of 100 users and 5 groups": display.intervals(
            [*list(NAMES)[:4], *nine],
            [float(np.mean(cell["distance"])) for cell in [*base[:4], *nine.values()]],
            [float(np.std(cell["distance"], ddof=1) / np.sqrt(runs)) for cell in [*base[:4], *nine.values()]],
            axis="final L2 distance (± standard error)",
            highlighted=lambda name: name == "default",
        ),
        "Points of one run": display.scatter(
            base[0]["shapley"], base[0]["points"], x="accurate Shapley value", y="points of the default"
        ),
        "Rank points of the same users": display.scatter(
            base[4]["shapley"], base[4]["points"], x="accurate Shapley value", y="rank points, ε-greedy"
        ),
    }
    if not study.quick:
        counts = sorted({n for n, _ in sizes})
        for j in (2, 5):
            plots[f"Pearson with accurate Shapley values by users, {j} groups"] = display.lines(
                {name: (counts, [pearson[f"{n}x{j}"][name][0] for n in counts]) for name in NAMES},
                x="users",
                y="Pearson",
            )
    table = pl.DataFrame(
        [
            {
                "world": world,
                "scheme": name,
                "pearson": pearson[world][name][0],
                "distance": float(np.mean(cell["distance"])),
            }
            for world, cells in results.items()
            for name, cell in zip(NAMES, cells, strict=False)
        ]
    )
    return Findings(figures, summary, tables={"All schemes in all worlds": table}, plots=plots)


def _difference_error(values: Sequence[float], runs: int) -> float:
    """1.96 standard errors of the difference between the mean of ``values`` and that of ``runs`` others of their kind."""
    return float(1.96 * np.std(values, ddof=1) * np.sqrt(1 / len(values) + 1 / runs))


def _mean_over_runs(cells: Sequence[dict[str, Any]], of: str, only: int | None) -> tuple[float, float, float]:
    """Mean over all cells, or those of ``only`` so many users, and its 95 % interval. Cells of the same users share the
    expert of each run, so that runs, not cells, are what is drawn."""
    means, errors = [], []
    for players in {cell["users"] for cell in cells} if only is None else {only}:
        runs = np.mean([one[of] for cell in cells if cell["users"] == players for one in cell["cells"]], axis=0)
        means.append(runs.mean())
        errors.append(runs.std(ddof=1) / np.sqrt(runs.size))
    value, half = float(np.mean(means)), float(1.96 * np.linalg.norm(errors) / len(errors))
    return value, value - half, value + half


def _share_interval(hits: Sequence[bool]) -> tuple[float, float, float]:
    """Share of hits and its 95 % interval by Wilson's score."""
    from scipy.stats import binomtest

    interval = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return sum(hits) / len(hits), float(interval.low), float(interval.high)


def _ratio_interval(ours: ArrayLike, theirs: ArrayLike, seed: int) -> tuple[float, float, float]:
    """Ratio of means over the same runs and its bootstrap interval."""
    pairs = np.array([ours, theirs])
    drawn = np.random.default_rng(seed).integers(pairs.shape[1], size=(2000, pairs.shape[1]))
    ratios = pairs[0][drawn].mean(axis=1) / pairs[1][drawn].mean(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(pairs[0].mean() / pairs[1].mean()), float(low), float(high)


def _mean(column: pl.Series) -> float:
    return float(column.cast(pl.Float64).to_numpy().mean())
