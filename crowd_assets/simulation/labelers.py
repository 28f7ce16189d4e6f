"""Crowds of labelers whose regret is measured: a simulated one with a clearly best labeler, and a stream of real workers.

Belongs here: the instance, honest and strategic reports under each rule, cells of regret, the order of real judgements.
Does not belong here: the rules (see ``mechanisms.labelers``), figures (see ``experiments.labelers``).
"""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.alike import alikeness
from crowd_assets.mechanisms.labelers.base import CountsParts, nobody_known
from crowd_assets.mechanisms.labelers.baselines import DawidSkene, dawid_skene, mean_aggregate, median_aggregate
from crowd_assets.mechanisms.labelers.crowdlab import crowdlab
from crowd_assets.mechanisms.labelers.dense import drawn, updated_weights
from crowd_assets.mechanisms.labelers.glad import glad
from crowd_assets.mechanisms.labelers.limited_feedback import initial_paired_state, limited_feedback_step, update_paired
from crowd_assets.mechanisms.labelers.log_odds import initial_reliability, run_log_odds
from crowd_assets.mechanisms.labelers.lottery import elf_x
from crowd_assets.mechanisms.labelers.m_msr import m_msr
from crowd_assets.mechanisms.labelers.mace import mace
from crowd_assets.mechanisms.labelers.noisy_bt import noisy_bradley_terry
from crowd_assets.mechanisms.labelers.score_update import initial_state, known_horizon_step, run_reports, with_newcomers
from crowd_assets.mechanisms.labelers.strategic import log_odds_steering_reports, median_equilibrium, steering_reports
from crowd_assets.mechanisms.labelers.table import AGGREGATES
from crowd_assets.mechanisms.labelers.votes import Consensus
from resources.settings.settings import Settings

LABELERS = 10
BIAS = np.array([0.0] + [0.35] * 6 + [0.0] * 3)
NOISE = np.array([0.05] + [0.1] * 6 + [0.25] * 3)
"""Labeler 0 knows nearly everything, six share a bias, three are unbiased and vague."""

CROWDS = ("honest", "strategic")
LABELS = "convincing_arguments/labels.parquet"
CHOICES = {"a": 1.0, "equal": 0.5, "b": 0.0}

Losses = NDArray[np.float64]


def labeler_world(slots: int, runs: int, seed: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Beliefs (T, runs, 10) and outcomes (T, runs) of 0 or 1.

    theta ~ Beta(1/2, 1/2) is each slot's chance of A; labeler i believes clip(theta + bias_i + noise_i z, 0, 1).
    """
    rng = np.random.default_rng(seed)
    theta = rng.beta(0.5, 0.5, (slots, runs))
    outcomes = (rng.random((slots, runs)) < theta).astype(np.float64)
    beliefs = theta[..., None] + BIAS + NOISE * rng.standard_normal((slots, runs, LABELERS))
    return np.clip(beliefs, 0.0, 1.0), outcomes


def regrets(rule: str, crowd: str, horizons: list[int], runs: int, seed: int, batch: int) -> list[list[float]]:
    """Regret of a rule at each horizon (first axis) in each run (second), against truthful reports of the best labeler.

    A strategic crowd steers: every labeler wants each aggregate near its belief and plays the rule's equilibrium.
    Losses of rules that draw whose report to use are expectations over that draw.
    """
    if crowd not in CROWDS or (crowd == "strategic" and rule not in STEERABLE):
        raise ValueError(f"a crowd is one of {', '.join(CROWDS)}, strategic under {', '.join(sorted(STEERABLE))} only")
    beliefs, outcomes = labeler_world(max(horizons), runs, [seed, batch])
    believed = np.square(beliefs - outcomes[..., None])
    best = {horizon: believed[:horizon].sum(axis=0).min(axis=1) for horizon in horizons}
    rng = np.random.default_rng([seed, batch, 1])
    lost = LOSSES[rule]
    if rule in PER_HORIZON:
        sums = {t: lost(beliefs[:t], outcomes[:t], crowd == "strategic", rng).sum(axis=0) for t in horizons}
    else:
        running = np.cumsum(lost(beliefs, outcomes, crowd == "strategic", rng), axis=0)
        sums = {t: running[t - 1] for t in horizons}
    return [(sums[t] - best[t]).tolist() for t in horizons]


def _mean(beliefs: Losses, outcomes: Losses, steer: bool, rng: np.random.Generator) -> Losses:
    def pool(reports: Losses) -> Losses:
        return mean_aggregate(reports.reshape(-1, LABELERS)).reshape(outcomes.shape)

    if not steer:
        return np.square(pool(beliefs) - outcomes)
    equal = np.full(beliefs.shape, 1.0 / LABELERS)
    return np.square(pool(steering_reports(equal, beliefs, np.ones(beliefs.shape, dtype=bool))) - outcomes)


def _median(beliefs: Losses, outcomes: Losses, steer: bool, rng: np.random.Generator) -> Losses:
    if steer:
        return np.square(median_equilibrium(beliefs) - outcomes)
    return np.square(median_aggregate(beliefs.reshape(-1, LABELERS)).reshape(outcomes.shape) - outcomes)


def _dawid_skene(beliefs: Losses, outcomes: Losses, steer: bool, rng: np.random.Generator) -> Losses:
    """EM over all slots at once. Those who steer do so at the accuracies that EM finds in honest reports, where the
    consensus has an equilibrium: fitted anew to steered reports, accuracies need not settle."""
    slots, runs = outcomes.shape
    slot, labeler = np.repeat(np.arange(slots), LABELERS), np.tile(np.arange(LABELERS), slots)
    losses = np.empty(outcomes.shape)
    for run in range(runs):
        fitted = dawid_skene(
            slot, labeler, beliefs[:, run].ravel(), slots=slots, labelers=LABELERS, iterations=30, tolerance=1e-4
        )
        consensus = fitted.probability_a
        if steer:
            share = float(np.clip(consensus.mean(), 1e-6, 1 - 1e-6))
            odds, prior = np.log(fitted.accuracy / (1 - fitted.accuracy)), float(np.log(share / (1 - share)))
            _, consensus = log_odds_steering_reports(odds, prior, beliefs[:, run])
        losses[:, run] = np.square(consensus - outcomes[:, run])
    return losses


def _weighted(pooled: bool) -> Callable[..., Losses]:
    """The weighted score update with the step of a known horizon: the aggregate pooled, or one report drawn."""

    def lost(beliefs: Losses, outcomes: Losses, steer: bool, rng: np.random.Generator) -> Losses:
        slots, runs = outcomes.shape
        weights = np.full((runs, LABELERS), 1.0 / LABELERS)
        step, everybody = known_horizon_step(LABELERS, slots), np.ones((runs, LABELERS), dtype=bool)
        losses = np.empty(outcomes.shape)
        for t in range(slots):
            reports = steering_reports(weights, beliefs[t], everybody) if steer and pooled else beliefs[t]
            each = np.square(reports - outcomes[t][:, None])
            if pooled:
                losses[t] = np.square((weights * reports).sum(axis=1) - outcomes[t])
            else:
                losses[t] = (weights * each).sum(axis=1)
            weights = updated_weights(weights, each, step=step)
        return losses

    return lost


def _elf_x(beliefs: Losses, outcomes: Losses, steer: bool, rng: np.random.Generator) -> Losses:
    return np.stack([elf_x(beliefs[:, run], outcomes[:, run], rng=rng).losses for run in range(outcomes.shape[1])], 1)


def _limited_known_horizon(beliefs: Losses, outcomes: Losses, steer: bool, rng: np.random.Generator) -> Losses:
    slots, runs = outcomes.shape
    weights = np.full((runs, LABELERS), 1.0 / LABELERS)
    step, losses = limited_feedback_step(LABELERS, slots), np.empty(outcomes.shape)
    taught = np.arange(LABELERS) == rng.integers(LABELERS, size=(slots, runs, 1))
    for t in range(slots):
        each = np.square(beliefs[t] - outcomes[t][:, None])
        losses[t] = (weights * each).sum(axis=1)
        weights = updated_weights(weights, LABELERS * each * taught[t], step=step)
    return losses


def _limited(beliefs: Losses, outcomes: Losses, steer: bool, rng: np.random.Generator) -> Losses:
    slots, runs = outcomes.shape
    state, every = initial_paired_state(LABELERS, (runs,)), np.arange(runs)
    compared, losses = rng.integers(LABELERS, size=(slots, runs)), np.empty(outcomes.shape)
    for t in range(slots):
        each = np.square(beliefs[t] - outcomes[t][:, None])
        losses[t] = (state.weights * each).sum(axis=1)
        asked = drawn(state.weights, rng)
        state = update_paired(state, asked, compared[t], each[every, asked], each[every, compared[t]])
    return losses


LOSSES: dict[str, Callable[..., Losses]] = {
    "mean": _mean,
    "median": _median,
    "dawid_skene": _dawid_skene,
    "weighted_score_update_pooled": _weighted(pooled=True),
    "weighted_score_update_sampled": _weighted(pooled=False),
    "elf_x": _elf_x,
    "limited_feedback": _limited,
    "limited_feedback_known_horizon": _limited_known_horizon,
}
"""Losses (T, runs) from beliefs (T, runs, N), outcomes (T, runs), whether labelers steer, and a generator.

"""

STEERABLE = frozenset({"mean", "median", "dawid_skene", "weighted_score_update_pooled"})
"""Rules under which who steers lies. Under the others the aggregate is one labeler's report and nobody else's, so that who
steers tells the truth (``misreports`` measures that), and the strategic crowd is the honest one.
"""

PER_HORIZON = frozenset(
    {
        "dawid_skene",
        "weighted_score_update_pooled",
        "weighted_score_update_sampled",
        "limited_feedback_known_horizon",
    }
)
"""Rules that need the number of slots beforehand, or all slots at once."""


def real_stream(data: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Judgements of real workers, pair after pair in the order of each pair's last judgement.

    Returns:
        slot (m,), worker (m,) numbered as they first appear, report (m,) of 1, 1/2 or 0, and each slot's outcome (T,) of
        1, 1/2, 0 or NaN for none.
    """
    rows = pl.read_parquet(
        Path(data, LABELS), columns=["pair_id", "worker_id", "submitted_at", "choice", "gold"]
    ).with_columns(pl.col("submitted_at").max().over("pair_id").alias("last"))
    rows = rows.sort("last", "pair_id", "submitted_at", "worker_id").with_columns(
        pl.col("pair_id").rle_id().alias("slot")
    )
    values = [
        rows[name].replace_strict(CHOICES, default=None, return_dtype=pl.Float64).fill_null(np.nan).to_numpy()
        for name in ("choice", "gold")
    ]
    slot = rows["slot"].to_numpy().astype(np.int64)
    outcomes = values[1][np.flatnonzero(np.diff(slot, prepend=-1))]
    workers = rows["worker_id"].unique(maintain_order=True)
    number = {name: at for at, name in enumerate(workers)}
    return slot, rows["worker_id"].replace_strict(number).to_numpy().astype(np.int64), values[0], outcomes


def real_items(data: str) -> NDArray[np.int64]:
    """The two arguments (T, 2) of each slot of ``real_stream``, numbered as they first appear."""
    pairs = (
        pl.read_parquet(Path(data, LABELS), columns=["pair_id", "argument_a", "argument_b", "submitted_at"])
        .group_by("pair_id", "argument_a", "argument_b")
        .agg(pl.col("submitted_at").max())
        .sort("submitted_at", "pair_id")
    )
    columns = [pairs[side] for side in ("argument_a", "argument_b")]
    number = {text: at for at, text in enumerate(dict.fromkeys(pl.concat(columns)))}
    return np.stack([column.replace_strict(number).to_numpy() for column in columns], axis=1).astype(np.int64)


def offline_predictions(rule: str, slots: int | None, data: str) -> dict[str, Any]:
    """What a rule that needs no gold says of the first ``slots`` real pairs (all by default) when it has seen all of their judgements, and
    the CPU seconds it took."""
    slot, worker, report, _ = real_stream(data)
    items = real_items(data)[:slots]
    rows = slot < len(items)
    began = time.process_time()
    found = OFFLINE[rule](slot[rows], worker[rows], report[rows], items)
    return {"predictions": found.tolist(), "seconds": time.process_time() - began}


def real_predictions(rule: str, slots: int | None, data: str) -> dict[str, Any]:
    """What a rule predicted for each of the first ``slots`` real pairs (all by default), and the CPU seconds it took."""
    slot, worker, report, outcomes = real_stream(data)
    if slots is not None:
        outcomes, rows = outcomes[:slots], int(np.searchsorted(slot, slots))
        slot, worker, report = slot[:rows], worker[:rows], report[:rows]
    began = time.process_time()
    predictions = PREDICTORS[rule](slot, worker, report, outcomes)
    return {
        "predictions": predictions.tolist(),
        "outcomes": [None if np.isnan(outcome) else float(outcome) for outcome in outcomes],
        "judgements": int(slot.size),
        "workers": int(np.unique(worker).size),
        "seconds": time.process_time() - began,
    }


Rows = NDArray[np.int64]
REFIT_SLOTS = 250
ROUND_SLOTS = 1_000


def _real_mean(slot: Rows, worker: Rows, report: Losses, outcomes: Losses) -> Losses:
    return np.bincount(slot, report, minlength=outcomes.size) / np.bincount(slot, minlength=outcomes.size)


def _real_median(slot: Rows, worker: Rows, report: Losses, outcomes: Losses) -> Losses:
    return median_aggregate(_wide(slot, report, outcomes.size))


def _real_majority(slot: Rows, worker: Rows, report: Losses, outcomes: Losses) -> Losses:
    """1 or 0 as more say a or b, 1/2 where as many do."""
    return (1.0 + np.sign(np.bincount(slot, np.sign(report - 0.5), minlength=outcomes.size))) / 2.0


def _real_dawid_skene(slot: Rows, worker: Rows, report: Losses, outcomes: Losses) -> Losses:
    """EM over all judgements so far, anew every 250 pairs; newcomers are taken for the crowd's mean accuracy."""
    workers, ends = int(worker.max()) + 1, np.searchsorted(slot, np.arange(outcomes.size), side="right")
    odds, prior = np.ones(workers), 0.0
    predictions = np.empty(outcomes.size)
    for first in range(0, outcomes.size, REFIT_SLOTS):
        rows = int(ends[first - 1]) if first else 0
        if first:
            consensus = dawid_skene(
                slot[:rows], worker[:rows], report[:rows], slots=first, labelers=workers, tolerance=1e-4
            )
            seen = np.bincount(worker[:rows], minlength=workers)
            accuracy = np.where(seen > 0, consensus.accuracy, consensus.accuracy @ seen / rows)
            odds = np.log(accuracy / (1.0 - accuracy))
            share = consensus.probability_a.mean()
            prior = float(np.log(share / (1.0 - share)))
        last = min(first + REFIT_SLOTS, outcomes.size)
        here = slice(rows, int(ends[last - 1]))
        evidence = (2.0 * report[here] - 1.0) * odds[worker[here]]
        summed = np.bincount(slot[here] - first, evidence, minlength=last - first)
        predictions[first:last] = (1.0 + np.tanh((prior + summed) / 2.0)) / 2.0
    return predictions


def _real_weighted(slot: Rows, worker: Rows, report: Losses, outcomes: Losses) -> Losses:
    """Newcomers enter with the mean weight in the slot in which they first report."""
    known = np.maximum.accumulate(worker) + 1
    starts = np.searchsorted(slot, np.arange(outcomes.size))
    ends = np.append(starts[1:], slot.size)
    entering = np.flatnonzero(np.diff(known[ends - 1], prepend=0))
    state, predictions = initial_state(int(known[ends[0] - 1])), np.empty(outcomes.size)
    for first, last in zip(entering, np.append(entering[1:], outcomes.size), strict=True):
        here = slice(int(starts[first]), int(ends[last - 1]))
        state = with_newcomers(state, int(known[ends[first] - 1]) - state.weights.size)
        run = run_reports(state, slot[here] - first, worker[here], report[here], outcomes[first:last])
        state, predictions[first:last] = run.state, run.aggregates
    return predictions


def _real_log_odds(slot: Rows, worker: Rows, report: Losses, outcomes: Losses) -> Losses:
    return run_log_odds(initial_reliability(int(worker.max()) + 1), slot, worker, report, outcomes).aggregates


def _real_anonymous(slot: Rows, worker: Rows, report: Losses, outcomes: Losses) -> Losses:
    """Log-odds pooling of judgements by nobody in particular: its calibration without its reputations."""
    everyone = np.arange(slot.size)
    return run_log_odds(initial_reliability(slot.size), slot, everyone, report, outcomes).aggregates


def _real_as_shipped(slot: Rows, worker: Rows, report: Losses, outcomes: Losses) -> Losses:
    """The aggregate of the default settings, by the member of the table that a round runs, in rounds of ``ROUND_SLOTS`` pairs: reports
    of a round are seen before the first of its pairs is predicted."""
    shipped = Settings()
    aggregate = AGGREGATES[shipped.aggregate]
    known = nobody_known(int(worker.max()) + 1)
    ends = np.searchsorted(slot, np.arange(0, outcomes.size + ROUND_SLOTS, ROUND_SLOTS))
    predictions = []
    for number, (first, last) in enumerate(pairwise(ends)):
        here, oldest = slice(first, last), ends[max(number + 1 - shipped.memory_rounds, 0)]
        counting = aggregate
        if shipped.alike_count_once and isinstance(aggregate, CountsParts):
            seen = (slot[oldest:last], worker[oldest:last], report[oldest:last])
            alike = alikeness(*seen, labelers=known.weights.size, by_difficulty=shipped.alike_by_difficulty)
            counting = aggregate.with_parts(alike.parts(slot[here], worker[here]))
        from_here = outcomes[number * ROUND_SLOTS : (number + 1) * ROUND_SLOTS]
        run = counting.run(
            known,
            slot[here] - number * ROUND_SLOTS,
            worker[here],
            report[here],
            from_here,
            entry=shipped.newcomer_weight,
            rng=np.random.default_rng(0),
        )
        known = run.known
        predictions.append(run.aggregates)
    return np.concatenate(predictions)


PREDICTORS: dict[str, Callable[[Rows, Rows, Losses, Losses], Losses]] = {
    "mean": _real_mean,
    "median": _real_median,
    "majority": _real_majority,
    "dawid_skene": _real_dawid_skene,
    "weighted_score_update_pooled": _real_weighted,
    "log_odds": _real_log_odds,
    "as_shipped": _real_as_shipped,
    "log_odds_anonymous": _real_anonymous,
}


def _offline(consensus: Callable[..., Consensus | DawidSkene]) -> Callable[[Rows, Rows, Losses, Rows], Losses]:
    """A consensus of labelers that does not look at items."""

    def said(slot: Rows, worker: Rows, report: Losses, items: Rows) -> Losses:
        return consensus(slot, worker, report, slots=len(items), labelers=int(worker.max()) + 1).probability_a

    return said


def _offline_noisy_bt(slot: Rows, worker: Rows, report: Losses, items: Rows) -> Losses:
    counts = {"items": int(items.max()) + 1, "labelers": int(worker.max()) + 1}
    return noisy_bradley_terry(items[:, 0], items[:, 1], slot, worker, report, **counts).probability_a


def _offline_crowdlab(slot: Rows, worker: Rows, report: Losses, items: Rows) -> Losses:
    """Its model of a pair: how often each of the two arguments was preferred in the other pairs."""
    for_a = np.bincount(slot, report, minlength=len(items)) / np.bincount(slot, minlength=len(items))
    won = np.bincount(items[:, 0], for_a, minlength=items.max() + 1) + np.bincount(
        items[:, 1], 1.0 - for_a, minlength=items.max() + 1
    )
    met = np.bincount(items.ravel(), minlength=items.max() + 1)
    own = np.stack([for_a, 1.0 - for_a], axis=1)
    rate = (won[items] - own + 0.5) / (met[items] - 1 + 1.0)
    odds = rate[:, 0] * (1.0 - rate[:, 1])
    model = odds / (odds + rate[:, 1] * (1.0 - rate[:, 0]))
    return crowdlab(slot, worker, report, model, slots=len(items), labelers=int(worker.max()) + 1).probability_a


OFFLINE: dict[str, Callable[[Rows, Rows, Losses, Rows], Losses]] = {
    "dawid_skene": _offline(dawid_skene),
    "mace": _offline(mace),
    "glad": _offline(glad),
    "m_msr": _offline(m_msr),
    "noisy_bradley_terry": _offline_noisy_bt,
    "crowdlab": _offline_crowdlab,
}
"""P(a) of every slot (T,) from all judgements (slot, worker, report) and the slots' items (T, 2)."""


def _wide(slot: Rows, report: Losses, slots: int) -> Losses:
    """Reports (T, most in a slot), NaN where a slot has fewer."""
    place = np.arange(slot.size) - np.searchsorted(slot, slot)
    wide = np.full((slots, int(place.max()) + 1), np.nan)
    wide[slot, place] = report
    return wide
