"""Paired limited feedback as the aggregate of a round: two of a slot's reports are looked at.

Belongs here: the member. Does not belong here: the update (see ``limited_feedback``).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from crowd_assets.mechanisms.labelers.base import (
    OUTCOMES,
    TRUTHFUL,
    Floats,
    Ints,
    Known,
    Pooled,
    figure_of,
    with_losses,
)
from crowd_assets.mechanisms.labelers.limited_feedback import PairedState, paired_feedback_step, update_paired
from crowd_assets.mechanisms.labelers.score_update import draw


@dataclass(frozen=True)
class LimitedFeedback:
    """One report drawn by weight, compared with one drawn uniformly."""

    name: ClassVar[str] = "limited_feedback"
    summary: ClassVar[str] = (
        "Truthful first: one report drawn by weight, whose labeler is compared with one other of the slot."
    )
    needs: ClassVar[tuple[str, ...]] = ("outcomes",)
    guarantees: ClassVar[tuple[str, ...]] = (
        "A labeler who wants a high weight after the slot, or the aggregate near its belief, reports its belief.",
    )
    source: ClassVar[str] = "Freeman et al. (ICML 2020); Hao & Duan (arXiv 2412.16834), with a control variate"
    page: ClassVar[str] = "mechanisms/labelers.md"
    first: ClassVar[str] = TRUTHFUL
    learns_from: ClassVar[str] = OUTCOMES
    else_by_agreement: ClassVar[bool] = False
    truthful_for: ClassVar[tuple[str, ...]] = ("myopic", "steering")

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
        """See ``base.Aggregate``, and ``limited_feedback.update_paired`` for the update; both are drawn among who reported."""
        squares = figure_of(known, "squares")
        steps = known.figures.get("step")
        step = np.array([float(steps)]) if isinstance(steps, float) else paired_feedback_step(squares)
        state = PairedState(known.weights, squares, step)
        aggregates, start = np.full(outcomes.size, np.nan), 0
        for t, end in enumerate(np.searchsorted(slot, np.arange(outcomes.size), side="right").tolist()):
            who, said = labeler[start:end], report[start:end]
            start = end
            if not who.size:
                continue
            asked, compared = draw(state.weights[who], rng), int(rng.integers(who.size))
            aggregates[t] = said[asked]
            if not np.isnan(outcomes[t]):
                losses = np.square(said - outcomes[t])
                state = update_paired(state, who[asked], who[compared], losses[asked], losses[compared])
        after = with_losses(known, slot, labeler, report, outcomes)
        figures: dict[str, float | Floats] = {"squares": state.squares, "step": float(state.step[0])}
        return Pooled(
            replace(after, weights=state.weights, figures=figures), aggregates, np.square(aggregates - outcomes)
        )
