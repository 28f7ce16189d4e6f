"""The weighted score update as aggregates of a round: its pool, and one report drawn by weight.

Belongs here: the two members. Does not belong here: the update (see ``score_update``).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crowd_assets.mechanisms.labelers.base import OUTCOMES, TRUTHFUL, Floats, Ints, Known, Pooled
from crowd_assets.mechanisms.labelers.score_update import LabelerState, run_reports


@dataclass(frozen=True)
class _WeightedScoreUpdate:
    needs: ClassVar[tuple[str, ...]] = ("outcomes",)
    source: ClassVar[str] = "Freeman et al. (ICML 2020); Hao & Duan (arXiv 2412.16834)"
    page: ClassVar[str] = "mechanisms/labelers.md"
    first: ClassVar[str] = TRUTHFUL
    learns_from: ClassVar[str] = OUTCOMES
    else_by_agreement: ClassVar[bool] = False
    rule: ClassVar[str]

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
        """See ``base.Aggregate`` and ``score_update.run_reports``."""
        state = LabelerState(known.weights, known.slots, known.cumulative_loss, known.slots_seen)
        results = run_reports(state, slot, labeler, report, outcomes, rule=self.rule, rng=rng)
        after = results.state
        return Pooled(
            Known(after.weights, after.cumulative_loss, after.slots_seen, after.slots),
            results.aggregates,
            results.losses,
        )


@dataclass(frozen=True)
class WeightedScoreUpdatePooled(_WeightedScoreUpdate):
    """Weighted mean report."""

    name: ClassVar[str] = "weighted_score_update_pooled"
    summary: ClassVar[str] = (
        "Truthful first: the mean report by weights that follow each labeler's accuracy against outcomes."
    )
    guarantees: ClassVar[tuple[str, ...]] = (
        "A labeler who wants a high weight after the slot reports its belief.",
        "The aggregate loses at most 3√(T ln N) more than the best labeler over T outcomes and N labelers.",
    )
    truthful_for: ClassVar[tuple[str, ...]] = ("myopic",)
    rule: ClassVar[str] = "pooled"


@dataclass(frozen=True)
class WeightedScoreUpdateSampled(_WeightedScoreUpdate):
    """One report, drawn by weight."""

    name: ClassVar[str] = "weighted_score_update_sampled"
    summary: ClassVar[str] = "Truthful first: the report of one labeler, drawn by the same weights."
    guarantees: ClassVar[tuple[str, ...]] = (
        "A labeler who wants a high weight after the slot, or the aggregate near its belief, reports its belief.",
        "The aggregate is expected to lose at most 3√(T ln N) more than the best labeler over T outcomes and N labelers.",
    )
    truthful_for: ClassVar[tuple[str, ...]] = ("myopic", "steering")
    rule: ClassVar[str] = "sampled"
