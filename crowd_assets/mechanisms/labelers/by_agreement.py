"""Weights by agreement with peers, as the aggregate of a round in a home where nothing is realised.

Belongs here: the member. Does not belong here: the score (see ``peer``).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from crowd_assets.mechanisms.labelers.base import (
    ACCURATE,
    AGREEMENT,
    Floats,
    Ints,
    Known,
    Pooled,
    figure_of,
    shares_of_odds,
    with_losses,
)
from crowd_assets.mechanisms.labelers.peer import PeerScores, accuracy_by_agreement, correlated_agreement
from crowd_assets.mechanisms.labelers.votes import expit, logit


@dataclass(frozen=True)
class ByAgreement:
    """Votes by how far a labeler agrees with peers beyond what habits explain."""

    name: ClassVar[str] = "by_agreement"
    summary: ClassVar[str] = (
        "Accurate first, without outcomes: reports count by the log-odds of each labeler's accuracy as correlated agreement with "
        "peers tells it."
    )
    needs: ClassVar[tuple[str, ...]] = ()
    guarantees: ClassVar[tuple[str, ...]] = (
        "Where peers tell the truth, a labeler who wants a high weight says the side that it believes in.",
        "Constant and random reports weigh nothing in expectation.",
    )
    source: ClassVar[str] = "Shnayder, Agarwal, Frongillo & Parkes (EC 2016); Dasgupta & Ghosh (WWW 2013)"
    page: ClassVar[str] = "mechanisms/labelers.md"
    first: ClassVar[str] = ACCURATE
    learns_from: ClassVar[str] = AGREEMENT
    else_by_agreement: ClassVar[bool] = False
    truthful_for: ClassVar[tuple[str, ...]] = ()
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
        """See ``base.Aggregate``. All slots teach at once, whether they have an outcome or not, and are pooled with what they teach: an
        outcome has no part in it. Scores of batches are means by the tasks that they rest on."""
        n = known.weights.size
        here = correlated_agreement(slot, labeler, report, slots=outcomes.size, labelers=n)
        enough = np.where(here.tasks > 1, here.tasks, 0)
        before, agreed = figure_of(known, "tasks"), figure_of(known, "agreement")
        tasks, agreed = before + enough, agreed + enough * here.score
        so_far = PeerScores(agreed / np.maximum(tasks, 1), np.rint(tasks).astype(np.int64), np.full(n, np.nan), tasks)
        odds = logit(accuracy_by_agreement(so_far))
        if not odds.any():  # nobody agrees: everybody counts alike, for as much as one who is right three times in four
            odds = np.full(n, np.log(3.0))
        counted = odds[labeler] if self.parts is None else odds[labeler] * self.parts
        summed = np.bincount(slot, (2 * report - 1) * counted, minlength=outcomes.size)
        heard = np.bincount(slot, minlength=outcomes.size) > 0
        aggregates = np.where(heard, expit(summed), np.nan)
        figures: dict[str, float | Floats] = {"tasks": tasks, "agreement": agreed}
        after = replace(
            with_losses(known, slot, labeler, report, outcomes), weights=shares_of_odds(odds), figures=figures
        )
        return Pooled(after, aggregates, np.square(aggregates - outcomes))
