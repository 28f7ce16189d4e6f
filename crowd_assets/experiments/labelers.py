"""What an aggregate of labelers loses against the best of them, in a simulated crowd and on a stream of real workers.

Belongs here: protocols, figures, plots. Does not belong here: the crowds and the cells (see ``simulation.labelers``), the
rules (see ``mechanisms.labelers``).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.experiments.study import Figure, Findings, Study
from crowd_assets.mechanisms.labelers.limited_feedback import limited_feedback_step
from crowd_assets.report import display
from crowd_assets.simulation.labelers import (
    CROWDS,
    LABELERS,
    LABELS,
    LOSSES,
    OFFLINE,
    PREDICTORS,
    REFIT_SLOTS,
    STEERABLE,
    offline_predictions,
    real_predictions,
    regrets,
)

HORIZONS = [500 * 2**doubling for doubling in range(8)]
RUNS_PER_CELL = 20
RESAMPLES = 2000

LEARNED = tuple(rule for rule in LOSSES if rule not in ("mean", "median", "dawid_skene"))
TWO_ASKED = ("limited_feedback", "limited_feedback_known_horizon")
ALL_ASKED = ("mean", "median", "dawid_skene", "elf_x", "weighted_score_update_sampled", "weighted_score_update_pooled")
STEEPEST_LEARNED, STEEPEST_PLAIN = 0.6, 0.95
REGRET_SOURCE = (
    "Hao & Duan (arXiv 2412.16834): regret O(sqrt T) against O(T). Simulation: 10 labelers, one good, six with a bias"
)

METRICS = ("log_loss", "brier", "accuracy")
OURS = "log_odds"
PLAIN = ("mean", "median", "majority")
DESIGNED_ON = 4000
"""Earliest pairs, on which log_odds was designed; what it does on later ones is reported apart."""

QUICK_PAIRS = 4000
BLOCK = 50
CLIP = 0.01
REAL_SOURCE = "UKPConvArg1 (Habernal & Gurevych, 2016), gold by MACE from the same labels"


def regret(study: Study) -> Findings:
    """Regret of each rule against the best labeler over T = 500 ... 64,000 slots, for honest and for strategic labelers.

    Ten labelers; theta ~ Beta(1/2, 1/2) is a slot's chance of A. Labeler 0 believes theta + 0.05 z, six rivals share a
    bias of +0.35 (noise 0.1), three are unbiased and vague (noise 0.25). Strategic labelers all steer: each wants every
    aggregate near its belief and plays the rule's equilibrium; regret is against the best labeler's truthful reports.
    The weighted score update and the limited feedback of the paper know T; ELF-X, and limited feedback as it is
    offered here (paired), do not. A slope is that of log mean regret over log T; intervals by bootstrap over runs.

    Source: Hao & Duan (arXiv 2412.16834); Freeman et al. (ICML 2020).
    """
    batches = 1 if study.quick else 5
    runs = 8 if study.quick else RUNS_PER_CELL
    asked = [
        {"rule": rule, "crowd": crowd, "horizons": HORIZONS, "runs": runs, "seed": study.seed, "batch": batch}
        for rule in LOSSES
        for crowd in CROWDS
        if crowd == "honest" or rule in STEERABLE
        for batch in range(batches)
    ]
    measured: dict[tuple[str, str], list[Any]] = {}
    for given, cell in zip(asked, study.map(regrets, asked), strict=True):
        measured.setdefault((str(given["rule"]), str(given["crowd"])), []).append(cell)
    by_rule = {
        (rule, crowd): np.concatenate(measured[rule, crowd if rule in STEERABLE else "honest"], axis=1)
        for rule in LOSSES
        for crowd in CROWDS
    }
    rng = np.random.default_rng(study.seed)
    figures = [
        figure
        for (rule, crowd), values in by_rule.items()
        for figure in _regret_figures(rule, crowd, values, study, rng)
    ]
    by_name = {figure.name: figure for figure in figures}
    slopes = pl.DataFrame(
        [
            {
                "rule": rule,
                "crowd": crowd,
                "slope": round(slope.value, 3),
                "low": round(slope.low or math.nan, 3),
                "high": round(slope.high or math.nan, 3),
                **{
                    f"T={horizon}": round(float(mean), 1)
                    for horizon, mean in zip(HORIZONS, values.mean(1), strict=True)
                },
                "bound": round(_bound(rule, HORIZONS[-1]), 1) if rule in LEARNED and rule != "elf_x" else None,
            }
            for (rule, crowd), values in by_rule.items()
            for slope in [by_name[f"regret.slope.{rule}.{crowd}"]]
        ],
        infer_schema_length=None,
    )
    return Findings(
        figures=figures,
        summary=_regret_summary(by_name, by_rule),
        tables={"Mean regret": slopes},
        plots={
            **{
                f"Regret, {crowd} labelers": _regret_plot(crowd, ALL_ASKED, {"2√(T ln N)": ALL_ASKED[-1]}, by_rule)
                for crowd in CROWDS
            },
            "Regret where two labelers are asked": _regret_plot(
                "honest", TWO_ASKED, {"2√(2NT ln N)": TWO_ASKED[1]}, by_rule
            ),
            "Slopes": display.intervals(
                [f"{rule}, {crowd}" for rule, crowd in by_rule],
                [by_name[f"regret.slope.{rule}.{crowd}"].value for rule, crowd in by_rule],
                [_half_width(by_name[f"regret.slope.{rule}.{crowd}"]) for rule, crowd in by_rule],
                axis="slope of log regret over log T (95 %)",
                highlighted=lambda label: label.split(",")[0] in LEARNED,
            ),
        },
    )


def _regret_figures(
    rule: str, crowd: str, values: NDArray[np.float64], study: Study, rng: np.random.Generator
) -> list[Figure]:
    """Slope and final regret of regrets (horizons, runs)."""
    picked = rng.integers(values.shape[1], size=(RESAMPLES, values.shape[1]))
    slopes = _slopes(values[:, picked].mean(axis=2))
    finals = values[-1][picked].mean(axis=1)
    goal = f"at most {STEEPEST_LEARNED}" if rule in LEARNED else f"at least {STEEPEST_PLAIN}"
    slope = float(_slopes(values.mean(axis=1, keepdims=True))[0])
    return [
        Figure(f"regret.slope.{rule}.{crowd}", slope, *_interval(slopes), None, REGRET_SOURCE, study.seed, goal),
        Figure(
            f"regret.final.{rule}.{crowd}",
            float(values[-1].mean()),
            *_interval(finals),
            None,
            f"{REGRET_SOURCE}; mean of a run at T = {HORIZONS[-1]}",
            study.seed,
        ),
    ]


def _slopes(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares slopes (samples,) of log mean regrets (horizons, samples) over log T; NaN where one is not positive."""
    away = np.log(HORIZONS) - np.mean(np.log(HORIZONS))
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes: NDArray[np.float64] = away @ np.log(np.where(means > 0, means, np.nan)) / (away @ away)
    return slopes


def _interval(samples: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


def _half_width(figure: Figure) -> float:
    assert figure.low is not None
    assert figure.high is not None
    return (figure.high - figure.low) / 2


def _bound(rule: str, horizon: int) -> float:
    """2 sqrt(T ln N), sqrt(2 N) times that under the paper's limited feedback, whose unknown T costs 3/2 when paired."""
    full = 2 * math.sqrt(horizon * math.log(LABELERS))
    if rule.startswith("limited_feedback"):
        return full * math.sqrt(2 * LABELERS) * (1.5 if rule == "limited_feedback" else 1.0)
    return full


def _regret_plot(
    crowd: str, rules: Sequence[str], bounds: Mapping[str, str], by_rule: dict[tuple[str, str], NDArray[np.float64]]
) -> bytes:
    """Mean regrets with their intervals, and the bounds of rules by their formulas."""
    series: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    bands: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    for rule in rules:
        values = by_rule[rule, crowd]
        mean, error = values.mean(axis=1), 1.96 * values.std(axis=1, ddof=1) / math.sqrt(values.shape[1])
        series[rule] = (HORIZONS, mean.tolist())
        bands[rule] = (np.maximum(mean - error, 1e-3).tolist(), (mean + error).tolist())
    for formula, rule in bounds.items():
        series[formula] = (HORIZONS, [_bound(rule, horizon) for horizon in HORIZONS])
    return display.lines(series, x="slots T", y="regret", log_x=True, log_y=True, bands=bands, dashed=tuple(bounds))


def _regret_summary(by_name: dict[str, Figure], by_rule: dict[tuple[str, str], NDArray[np.float64]]) -> str:
    runs = next(iter(by_rule.values())).shape[1]
    lines = [
        f"{runs} runs of T = {HORIZONS[0]} … {HORIZONS[-1]} slots, {LABELERS} labelers of whom one is clearly best and "
        "six share a bias. Strategic labelers steer every aggregate towards their belief; where the aggregate is one "
        "labeler's report (sampled, ELF-X, limited feedback) truth is their best reply, so both crowds are one.",
    ]
    missed = []
    for rule, crowd in by_rule:
        slope = by_name[f"regret.slope.{rule}.{crowd}"]
        reached = slope.value <= STEEPEST_LEARNED if rule in LEARNED else slope.value >= STEEPEST_PLAIN
        if not reached:
            missed.append(f"{rule} ({crowd}): {slope.value:.2f}, goal {slope.goal}")
    lines.append(
        f"{len(by_rule) - len(missed)} of {len(by_rule)} slopes reach their goal."
        + (" Missed: " + "; ".join(missed) + "." if missed else "")
    )
    known, paired = (by_name[f"regret.final.{rule}.honest"].value for rule in reversed(TWO_ASKED))
    last, gap = HORIZONS[-1], float(by_rule[TWO_ASKED[1], "honest"][0].mean() / HORIZONS[0])
    step = limited_feedback_step(LABELERS, last)
    lines.append(
        f"Limited feedback with the paper's step has slope {by_name[f'regret.slope.{TWO_ASKED[1]}.honest'].value:.2f} and loses "
        f"{known:.0f} at T = {last}. A loss then counts N times or not at all, so the step is √(2N) times shorter "
        f"({step:.4f}), and at {gap:.3f} a slot lost to begin with it takes about ln N / (step × loss) = "
        f"{math.log(LABELERS) / (step * gap):,.0f} slots to find the best labeler. The bound at "
        f"T = {last} is {_bound(TWO_ASKED[1], last):.0f}, drawing labelers uniformly would lose about {gap * last:.0f}. "
        "limited_feedback, the rule offered here, asks the same two labelers, measures one against the other's loss in the "
        f"same slot, sets its step from the squares it observes and needs no T: it loses {paired:.0f}, {known / paired:.1f} "
        "times less, under the same bound to leading order (3/2 of it, as T is not known)."
    )
    elf_x = by_name["regret.slope.elf_x.honest"].value
    if elf_x > STEEPEST_LEARNED:
        lines.append(
            f"ELF-X has no O(√T) bound: a lottery's chances differ by loss gaps over N, so the best labeler leads only after "
            f"about N / gap² slots, and its slope over these T is {elf_x:.2f}. Its last doubling has slope "
            f"{_last_doubling(by_rule['elf_x', 'honest']):.2f}."
        )
    return "\n\n".join(lines)


def _last_doubling(values: NDArray[np.float64]) -> float:
    means = values.mean(axis=1)
    return float(np.log2(means[-1] / means[-2]))


def real_labelers(study: Study) -> Findings:
    """What aggregates of past-weighted labelers predict on a stream of real workers, against gold.

    84,445 judgements by 3,815 crowd workers on 16,927 pairs of arguments, in the order of each pair's last judgement:
    a pair is predicted from its four or five judgements (1, 1/2, 0 for a, equal, b) with what earlier pairs taught,
    then its gold is revealed. Log loss (cross entropy, also for gold of 1/2), Brier score and accuracy (pairs whose
    gold is a or b; 1/2 counts half); every prediction is clipped to [0.01, 0.99]. Dawid-Skene learns from judgements
    alone, by EM over all past ones every 250 pairs; the others learn from revealed gold. log_odds_anonymous knows no
    worker: what is left of log_odds without reputations. Intervals by bootstrap over blocks of 50 consecutive pairs.

    Offline methods have seen every judgement of the stream, later ones too, and no gold. CROWDLAB's model of a pair is how often its two
    arguments were preferred in other pairs.

    Gold is the consensus (MACE) of these same judgements, so accuracy is agreement with a better consensus.

    Source: UKPConvArg1, Habernal & Gurevych (ACL 2016).
    """
    asked = [{"rule": rule, "slots": QUICK_PAIRS if study.quick else None} for rule in PREDICTORS]
    cells = dict(zip(PREDICTORS, study.map(real_predictions, asked, reads=[LABELS]), strict=True))
    outcomes = np.array([math.nan if gold is None else gold for gold in cells[OURS]["outcomes"]])
    scored = {rule: _scores(np.array(cell["predictions"]), outcomes) for rule, cell in cells.items()}
    offline = dict(
        zip(
            OFFLINE,
            study.map(
                offline_predictions,
                [{**given, "rule": rule} for given in asked[:1] for rule in OFFLINE],
                reads=[LABELS],
            ),
            strict=True,
        )
    )
    scored |= {f"offline.{rule}": _scores(np.array(cell["predictions"]), outcomes) for rule, cell in offline.items()}
    spent = {rule: cell["seconds"] for rule, cell in cells.items()} | {
        f"offline.{rule}": cell["seconds"] for rule, cell in offline.items()
    }
    rng = np.random.default_rng(study.seed)
    blocks = -(-outcomes.size // BLOCK)
    picked = rng.integers(blocks, size=(RESAMPLES, blocks))
    figures, rows = [], []
    for rule, metrics in scored.items():
        row: dict[str, Any] = {"rule": rule}
        for metric in METRICS:
            value, samples = _mean_and_samples(metrics[metric], picked)
            goal = "better than mean, median, majority; no worse than dawid_skene" if rule == OURS else ""
            figures.append(
                Figure(
                    f"labelers.real.{metric}.{rule}", value, *_interval(samples), None, REAL_SOURCE, study.seed, goal
                )
            )
            row[metric] = round(value, 4)
        rows.append({**row, "cpu_seconds": round(spent[rule], 2)})
    for metric in METRICS:
        for rule in (*PLAIN, "dawid_skene", "log_odds_anonymous", *(f"offline.{rule}" for rule in OFFLINE)):
            value, samples = _mean_and_samples(scored[OURS][metric] - scored[rule][metric], picked)
            figures.append(
                Figure(
                    f"labelers.real.{metric}_difference.{OURS}.{rule}",
                    value,
                    *_interval(samples),
                    None,
                    REAL_SOURCE,
                    study.seed,
                    "above 0" if metric == "accuracy" else "below 0",
                )
            )
    ratio = cells["dawid_skene"]["seconds"] / cells[OURS]["seconds"]
    figures.append(
        Figure(
            f"labelers.real.cpu_ratio.dawid_skene.{OURS}", ratio, None, None, None, REAL_SOURCE, study.seed, "above 1"
        )
    )
    by_name = {figure.name: figure for figure in figures}
    return Findings(
        figures=figures,
        summary="\n\n".join(
            [
                _real_summary(by_name, cells[OURS], int(np.isfinite(outcomes).sum()), outcomes.size),
                *([_later(scored)] if outcomes.size > DESIGNED_ON else []),
            ]
        ),
        tables={"Real workers": pl.DataFrame(rows)},
        plots={
            f"Real workers: {title}": display.intervals(
                list(scored),
                [by_name[f"labelers.real.{metric}.{rule}"].value for rule in scored],
                [_half_width(by_name[f"labelers.real.{metric}.{rule}"]) for rule in scored],
                axis=f"{title} (95 %)",
                highlighted=lambda label: label == OURS,
            )
            for metric, title in zip(METRICS, ("log loss", "Brier score", "accuracy"), strict=True)
        },
    )


def _scores(predictions: NDArray[np.float64], outcomes: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Each pair's log loss, Brier score and accuracy; NaN where its gold does not decide it."""
    chance = np.clip(predictions, CLIP, 1 - CLIP)
    right = np.where(chance == 0.5, 0.5, (chance > 0.5) == (outcomes > 0.5))
    return {
        "log_loss": -outcomes * np.log(chance) - (1 - outcomes) * np.log(1 - chance),
        "brier": np.square(chance - outcomes),
        "accuracy": np.where(np.isnan(outcomes) | (outcomes == 0.5), np.nan, right),
    }


def _mean_and_samples(values: NDArray[np.float64], picked: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """Mean of what is not NaN, and means over ``picked`` (samples, blocks) of blocks of consecutive values."""
    padded = np.append(values, np.full(picked.shape[1] * BLOCK - values.size, np.nan)).reshape(-1, BLOCK)
    sums, counts = np.nansum(padded, axis=1), np.isfinite(padded).sum(axis=1)
    return float(sums.sum() / counts.sum()), sums[picked].sum(axis=1) / counts[picked].sum(axis=1)


def _later(scored: dict[str, dict[str, NDArray[np.float64]]]) -> str:
    """What each rule scores on the pairs that log_odds was not designed on."""
    parts = [
        f"{rule} " + " / ".join(f"{np.nanmean(metrics[metric][DESIGNED_ON:]):.4f}" for metric in METRICS)
        for rule, metrics in scored.items()
    ]
    return (
        f"{OURS} was designed on the first {DESIGNED_ON:,} pairs; on the later ones, log loss / Brier / accuracy: "
        + "; ".join(parts)
        + "."
    )


def _real_summary(by_name: dict[str, Figure], ours: dict[str, Any], gold: int, pairs: int) -> str:
    lines = [
        f"{ours['judgements']:,} judgements by {ours['workers']:,} workers on {pairs:,} pairs, {gold:,} of them with gold, "
        "which is the MACE consensus of these same judgements: accuracy is agreement with it.",
    ]
    for rule in (*PLAIN, "dawid_skene", "log_odds_anonymous"):
        parts = []
        for metric in METRICS:
            figure = by_name[f"labelers.real.{metric}_difference.{OURS}.{rule}"]
            assert figure.low is not None
            assert figure.high is not None
            better = figure.low > 0 if metric == "accuracy" else figure.high < 0
            worse = figure.high < 0 if metric == "accuracy" else figure.low > 0
            verdict = "better" if better else "worse" if worse else "no different within the interval"
            parts.append(f"{metric} {verdict} ({figure.value:+.4f}, {figure.low:+.4f} to {figure.high:+.4f})")
        lines.append(f"{OURS} against {rule}: " + "; ".join(parts) + ".")
    for metric in METRICS:
        ranked = sorted(OFFLINE, key=lambda rule: by_name[f"labelers.real.{metric}.offline.{rule}"].value)
        best = ranked[-1 if metric == "accuracy" else 0]
        figure = by_name[f"labelers.real.{metric}_difference.{OURS}.offline.{best}"]
        lines.append(
            f"The best offline method by {metric} is {best}, which has seen the whole stream and no gold: {OURS} differs from {best} by "
            f"{figure.value:+.4f} ({figure.low:+.4f} to {figure.high:+.4f})."
        )
    over_mean, over_anonymous = (
        by_name[f"labelers.real.log_loss_difference.{OURS}.{rule}"].value for rule in ("mean", "log_odds_anonymous")
    )
    lines.append(
        f"Of its {-over_mean:.3f} of log loss below the mean, {over_anonymous - over_mean:.3f} is calibration, which "
        f"log_odds_anonymous has without knowing any worker, and {-over_anonymous:.3f} reputations."
    )
    ratio = by_name[f"labelers.real.cpu_ratio.dawid_skene.{OURS}"].value
    lines.append(
        f"Online Dawid–Skene, fitted anew every {REFIT_SLOTS} pairs, takes {ratio:.1f} times the CPU of {OURS} here; the "
        "ratio grows with the stream, as every fit goes over the whole past."
    )
    gains = {
        metric: by_name[f"labelers.real.{metric}.weighted_score_update_pooled"].value
        - by_name[f"labelers.real.{metric}.mean"].value
        for metric in METRICS
    }
    lines.append(
        "The weighted score update moves little here: a worker judges about "
        f"{ours['judgements'] / ours['workers']:.0f} pairs, and its step falls with the slots of everybody. Against the mean: "
        + ", ".join(f"{metric} {gain:+.4f}" for metric, gain in gains.items())
        + "."
    )
    return "\n\n".join(lines)
