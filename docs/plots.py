"""The plots of docs/mechanisms, drawn by the mechanisms themselves: ``python -m docs.plots`` writes docs/images/mechanisms/*.svg.

Belongs here: small worlds that show one property each, in seconds and without real data. Does not belong here: figures
that are claimed for real data (see ``crowd_assets.experiments``), and the plots of a round (see ``crowd_assets.report.display``).
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crowd_assets.mechanisms.auctions.baselines import pay_as_bid
from crowd_assets.mechanisms.auctions.lots import scoring_vcg
from crowd_assets.mechanisms.labelers.dense import update_slot
from crowd_assets.mechanisms.labelers.regret import anytime_regret_bound
from crowd_assets.mechanisms.labelers.score_update import initial_state
from crowd_assets.mechanisms.preferences import quality_gap_weights
from crowd_assets.mechanisms.shapley import exact_shapley, kernel_shapley, permutation_shapley
from crowd_assets.mechanisms.target import centroid_game, mean_distance
from crowd_assets.simulation.centroids import Pool, Scheme, accurate_shapley, pearson, simulate
from crowd_assets.simulation.labelers import LABELERS, regrets

FOLDER = Path(__file__).parent / "images" / "mechanisms"
# Legible on white and on black, told apart by the colour-blind (Okabe and Ito).
GREY, BLUE, ORANGE, GREEN, PINK = "#808080", "#2f86c8", "#dd6b20", "#12a17a", "#cc79a7"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "crowd rounds",
    "font.size": 9,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def selection() -> Figure:
    """Target distance of the best of J candidates that are all equally good: as chosen, and on a fresh sample."""
    rng = np.random.default_rng(0)
    most, samples, repeats = 12, 50, 400
    here, target = np.zeros((samples, 3)), np.ones(3)

    def measured() -> float:
        return mean_distance(here + rng.normal(0, 0.8, here.shape), target).mean

    chosen = np.array([[measured() for _ in range(most)] for _ in range(repeats)])
    fresh = np.mean([measured() for _ in range(repeats)])
    figure, axes = _figure("candidates J", "mean target distance")
    counts = np.arange(1, most + 1)
    axes.plot(
        counts, np.minimum.accumulate(chosen, axis=1).mean(axis=0), "o-", color=ORANGE, label="sample that chose it"
    )
    axes.axhline(fresh, color=BLUE, label="fresh sample")
    axes.legend(loc="center right")
    return figure


def points() -> Figure:
    """Points of 40 simulated users after 100 rounds against accurate Shapley values, under the three schemes."""
    rng = np.random.default_rng(1)
    likings = rng.normal(3, 1, (1, 41, 20)) + rng.normal(0, 0.5, (1, 41, 1))
    pool = Pool(likings[:, 1:], likings[:, 0], rng.uniform(0, 5, (1, 20)))
    truth = accurate_shapley(pool, "l2_norm", 0)
    figure = Figure(figsize=(6.6, 2.4))
    schemes = [
        ("rank", Scheme("rank", "epsilon_greedy"), ORANGE),
        ("regression", Scheme("regression", "posterior_sampling", 0.25), BLUE),
        ("surrogate", Scheme("surrogate", "posterior_sampling", 0.25), GREEN),
    ]
    for number, (name, scheme, colour) in enumerate(schemes, start=1):
        paid = simulate(pool, scheme, 5, 0).points
        axes = figure.add_subplot(1, 3, number, title=f"{name}: r = {pearson(paid, truth)[0]:.2f}")
        axes.plot(truth[0], paid[0], ".", color=colour)
        axes.set(xlabel="Shapley value", ylabel="points a round" if number == 1 else "")
    return figure


def shapley() -> Figure:
    """Error of two estimators against the exact values of a game of centroids, 14 players, by coalitions asked for."""
    rng = np.random.default_rng(2)
    players = 14
    game = centroid_game(rng.normal(3, 1, (players, 20)), rng.normal(3, 1, 20), empty=np.zeros(20))
    exact = exact_shapley(game, players).values
    budgets = np.array([60, 120, 240, 480, 960, 1920])

    def error(estimate: Callable[[int, np.random.Generator], np.ndarray]) -> list[float]:
        draws = [[estimate(int(b), np.random.default_rng(seed)) - exact for seed in range(20)] for b in budgets]
        return [float(np.sqrt(np.mean(np.square(each)))) for each in draws]

    figure, axes = _figure("coalitions evaluated", "root mean square error")
    kernel = error(lambda budget, rng: kernel_shapley(game, players, evaluations=budget, rng=rng).values)
    orders = error(
        lambda budget, rng: permutation_shapley(game, players, permutations=budget // (players - 1), rng=rng).values
    )
    axes.loglog(budgets, orders, "o-", color=ORANGE, label="orders of arrival, in pairs")
    axes.loglog(budgets, kernel, "o-", color=BLUE, label="paired KernelSHAP with size control")
    axes.legend()
    return figure


def regret() -> Figure:
    """Regret of four rules over slots, ten labelers of whom six share a bias, and what is proved of the update."""
    horizons = [2**exponent for exponent in range(5, 13)]
    figure, axes = _figure("slots T", "regret against the best labeler")
    rules = {
        "median": (GREY, "median"),
        "mean": (PINK, "mean"),
        "limited_feedback": (GREEN, "two labelers a slot"),
        "weighted_score_update_pooled": (BLUE, "weighted score update"),
    }
    for rule, (colour, label) in rules.items():
        found = np.mean(regrets(rule, "honest", horizons, 8, 0, 0), axis=1)
        axes.loglog(horizons, np.maximum(found, 0.1), "o-", markersize=3, color=colour, label=label)
    bound = [anytime_regret_bound(LABELERS, slots) for slots in horizons]
    axes.loglog(horizons, bound, "--", color=ORANGE, label="bound, 3√(T ln N)")
    axes.set_ylim(0.1)
    axes.legend(loc="lower right", fontsize=8)
    return figure


def truth_telling() -> Figure:
    """Expected next weight of one of five labelers by what it reports, for three beliefs; the dot is the belief."""
    figure, axes = _figure("report", "expected next weight")
    others = np.array([0.3, 0.5, 0.6, 0.8])
    reports = np.linspace(0, 1, 51)

    def expected(report: float, belief: float) -> float:
        said = np.array([report, *others])
        after = [update_slot(initial_state(5), said, outcome, step=0.5)[0].weights[0] for outcome in (0.0, 1.0)]
        return float((1 - belief) * after[0] + belief * after[1])

    for belief, colour in ((0.2, BLUE), (0.5, GREEN), (0.9, ORANGE)):
        axes.plot(reports, [expected(report, belief) for report in reports], color=colour, label=f"belief {belief}")
        axes.plot(belief, expected(belief, belief), "o", color=colour)
    axes.legend()
    return figure


def auctions() -> Figure:
    """What a seller whose answer costs 40 is left with on average, by the price it asks, against three others' at random."""
    rng = np.random.default_rng(3)
    worlds, cost, value = 400, 40, 100
    others = rng.integers(20, 100, (worlds, 3))
    prices = np.arange(0, 101, 2)
    values, order = np.full(4, value), np.arange(4)
    rules = {
        "scoring VCG": (BLUE, lambda asked: scoring_vcg(values, asked, 2, tie_break=order)),
        "pay as bid": (ORANGE, lambda asked: pay_as_bid(values, asked, 2, tie_break=order)),
    }
    figure, axes = _figure("price that the seller asks", "mean gain of the seller")
    for name, (colour, rule) in rules.items():
        gains = []
        for price in prices:
            bought = [rule(np.array([price, *rivals])) for rivals in others]
            gains.append(np.mean([each.payments[0] - cost * each.awarded[0] for each in bought]))
        axes.plot(prices, gains, color=colour, label=name)
    axes.axvline(cost, color=GREY, linestyle=":", label="its cost")
    axes.legend(fontsize=8)
    return figure


def qa_dpo() -> Figure:
    """Loss of a pair by how far the policy sets its answers apart: equal answers, a large gap, and a doubtful order."""
    figure, axes = _figure("g, how far apart the policy sets the answers", "loss of the pair")
    g = np.linspace(-3, 5, 81)
    sure = np.logaddexp(0, -g)
    for gap, probability, colour, label in (
        (0.0, 1.0, GREY, "DPO: w = 1, p = 1"),
        (1.0, 1.0, BLUE, "gap of 1: w = 1.23"),
        (0.0, 0.7, ORANGE, "p = 0.7"),
    ):
        (weight,) = quality_gap_weights(np.array([gap]), np.zeros(1))
        axes.plot(g, weight * (probability * sure + (1 - probability) * (sure + g)), color=colour, label=label)
    axes.legend()
    return figure


PLOTS: dict[str, Callable[[], Figure]] = {
    each.__name__: each for each in (selection, points, shapley, regret, truth_telling, auctions, qa_dpo)
}


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, 2.8))
    return figure, figure.add_subplot(xlabel=x, ylabel=y)


def write(folder: Path) -> None:
    """Draw every plot into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, draw in PLOTS.items():
            draw().savefig(folder / f"{name}.svg", transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    write(FOLDER)
