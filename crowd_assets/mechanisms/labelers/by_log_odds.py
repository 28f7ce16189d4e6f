"""Log-odds pooling as the aggregate of a round.

Belongs here: the member. Does not belong here: the rule (see ``log_odds``).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from crowd_assets.mechanisms.labelers.base import (
    ACCURATE,
    OUTCOMES,
    Floats,
    Ints,
    Known,
    Pooled,
    figure_of,
    scalar_of,
    shares_of_odds,
    with_losses,
)
from crowd_assets.mechanisms.labelers.log_odds import ReliabilityState, reliabilities, run_log_odds
from crowd_assets.mechanisms.labelers.votes import logit

UNKNOWN_SHRINKAGE = 10.0
"""Judgements that the crowd's mean counts for until it is estimated, in a home that another rule was used in before."""
LIKELY_SPREAD = 0.05
"""Variance of a labeler's scores, likewise."""


@dataclass(frozen=True)
class LogOdds:
    """Votes by how reliable labelers were, each judged against the difficulty of what it judged."""

    name: ClassVar[str] = "log_odds"
    summary: ClassVar[str] = (
        "Accurate first: reports count by the log-odds of each labeler's accuracy so far, measured against the difficulty of what it "
        "judged, and shrunk towards the crowd's."
    )
    needs: ClassVar[tuple[str, ...]] = ()
    guarantees: ClassVar[tuple[str, ...]] = (
        "A labeler who wants a high weight after the slot reports its belief.",
        "Answering only what is easy for everybody lifts nobody's weight.",
        "Staying away does not mend a bad record.",
    )
    source: ClassVar[str] = "Nitzan & Paroush (1982); Bühlmann & Straub (1970); the difficulty is this project's"
    page: ClassVar[str] = "mechanisms/labelers.md"
    first: ClassVar[str] = ACCURATE
    learns_from: ClassVar[str] = OUTCOMES
    else_by_agreement: ClassVar[bool] = True
    truthful_for: ClassVar[tuple[str, ...]] = ("myopic",)
    parts: Floats | None = None

    def with_parts(self, parts: Floats) -> Self:
        """See ``base.CountsParts``."""
        return replace(self, parts=parts)

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
        """See ``base.Aggregate`` and ``log_odds.run_log_odds``."""
        remembered = "score" in known.figures
        plain = known.slots_seen - known.cumulative_loss  # what another rule has left: scores without difficulty
        start = ReliabilityState(
            score=figure_of(known, "score") if remembered else plain,
            slots_seen=known.slots_seen,
            squares=scalar_of(known, "squares", _likely_squares(known)),
            slots=known.slots,
            shrinkage=scalar_of(known, "shrinkage", 1.0 if not known.slots else UNKNOWN_SHRINKAGE),
            sharpness=(scalar_of(known, "sharpness b", 1.0), scalar_of(known, "sharpness c")),
            curvature=(
                scalar_of(known, "curvature bb", 1.0),
                scalar_of(known, "curvature bc"),
                scalar_of(known, "curvature cc", 1.0),
            ),
            lost=float(known.cumulative_loss.sum()),
        )
        results = run_log_odds(
            start, slot, labeler, report, outcomes, by_difficulty=True, entry=entry, parts=self.parts
        )
        state = results.state
        figures: dict[str, float | Floats] = {
            "score": state.score,
            "squares": state.squares,
            "shrinkage": state.shrinkage,
            "sharpness b": state.sharpness[0],
            "sharpness c": state.sharpness[1],
            "curvature bb": state.curvature[0],
            "curvature bc": state.curvature[1],
            "curvature cc": state.curvature[2],
        }
        after = with_losses(known, slot, labeler, report, outcomes)
        weights = shares_of_odds(logit(reliabilities(state, entry=entry)))
        return Pooled(replace(after, weights=weights, figures=figures), results.aggregates, results.losses)


def _likely_squares(known: Known) -> float:
    """Sum of squared scores, as far as sums of losses tell it."""
    score = known.slots_seen - known.cumulative_loss
    return float((np.square(score) / np.maximum(known.slots_seen, 1)).sum() + LIKELY_SPREAD * known.slots_seen.sum())
