"""Mean, median and Dawid-Skene as aggregates of a round: what the others are compared with.

Belongs here: the three members. Does not belong here: the formulas (see ``baselines``).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from crowd_assets.mechanisms.labelers.base import (
    AGREEMENT,
    BASELINE,
    NOTHING,
    Floats,
    Ints,
    Known,
    Pooled,
    shares_of_odds,
    with_losses,
)
from crowd_assets.mechanisms.labelers.baselines import dawid_skene
from crowd_assets.mechanisms.labelers.votes import logit


@dataclass(frozen=True)
class _Plain:
    needs: ClassVar[tuple[str, ...]] = ()
    guarantees: ClassVar[tuple[str, ...]] = ()
    page: ClassVar[str] = "mechanisms/labelers.md"
    first: ClassVar[str] = BASELINE
    learns_from: ClassVar[str] = NOTHING
    else_by_agreement: ClassVar[bool] = False
    truthful_for: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Mean(_Plain):
    """Everybody counts alike."""

    name: ClassVar[str] = "mean"
    summary: ClassVar[str] = "Baseline: the plain mean report."
    source: ClassVar[str] = "Hao & Duan (arXiv 2412.16834), for its linear regret"

    def run(
        self,
        known: Known,
        slot: Ints,
        labeler: Ints,
        report: Floats,
        outcomes: Floats,
        *,
        entry: float,
        rng: np.random.Generator,
    ) -> Pooled:
        """See ``base.Aggregate``."""
        heard = np.bincount(slot, minlength=outcomes.size)
        summed = np.bincount(slot, report, minlength=outcomes.size)
        aggregates = np.divide(summed, heard, out=np.full(outcomes.size, np.nan), where=heard > 0)
        return _alike(known, slot, labeler, report, outcomes, np.clip(aggregates, 0.0, 1.0))


@dataclass(frozen=True)
class Median(_Plain):
    """The middle report."""

    name: ClassVar[str] = "median"
    summary: ClassVar[str] = "Baseline: the median report."
    source: ClassVar[str] = "Hao & Duan (arXiv 2412.16834), for its linear regret"

    def run(
        self,
        known: Known,
        slot: Ints,
        labeler: Ints,
        report: Floats,
        outcomes: Floats,
        *,
        entry: float,
        rng: np.random.Generator,
    ) -> Pooled:
        """See ``base.Aggregate``."""
        order = np.lexsort((report, slot))
        count = np.bincount(slot, minlength=outcomes.size)
        first = np.cumsum(count) - count
        aggregates = np.full(outcomes.size, np.nan)
        heard = count > 0
        low, high = first + (count - 1) // 2, first + count // 2
        rising = report[order]
        aggregates[heard] = (rising[low[heard]] + rising[high[heard]]) / 2
        return _alike(known, slot, labeler, report, outcomes, aggregates)


@dataclass(frozen=True)
class DawidSkeneOfRound(_Plain):
    """EM over the reports of a round."""

    name: ClassVar[str] = "dawid_skene"
    summary: ClassVar[str] = (
        "Baseline: one-coin Dawid–Skene over the reports that a round pools, which needs no outcome."
    )
    source: ClassVar[str] = "Dawid & Skene (1979)"
    learns_from: ClassVar[str] = AGREEMENT

    def run(
        self,
        known: Known,
        slot: Ints,
        labeler: Ints,
        report: Floats,
        outcomes: Floats,
        *,
        entry: float,
        rng: np.random.Generator,
    ) -> Pooled:
        """See ``base.Aggregate``. Nothing is kept from batch to batch but weights that show the last one's accuracies."""
        consensus = dawid_skene(slot, labeler, report, slots=outcomes.size, labelers=known.weights.size)
        after = with_losses(known, slot, labeler, report, outcomes)
        if slot.size:
            after = replace(after, weights=shares_of_odds(logit(consensus.accuracy)))
        return Pooled(after, consensus.probability_a, np.square(consensus.probability_a - outcomes))


def _alike(known: Known, slot: Ints, labeler: Ints, report: Floats, outcomes: Floats, aggregates: Floats) -> Pooled:
    after = with_losses(known, slot, labeler, report, outcomes)
    equal = np.full(known.weights.size, 1.0 / known.weights.size)
    return Pooled(replace(after, weights=equal), aggregates, np.square(aggregates - outcomes))
