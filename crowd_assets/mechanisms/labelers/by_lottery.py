"""ELF-X and FPL-ELF as aggregates of a round.

Belongs here: the two members. Does not belong here: the rules (see ``lottery`` and ``fpl_elf``).
"""

from abc import ABC, abstractmethod
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
    as_shares,
    figure_of,
    reports_as_table,
    with_losses,
)
from crowd_assets.mechanisms.labelers.fpl_elf import PerturbedLotteries, follow_chances, fpl_elf
from crowd_assets.mechanisms.labelers.lottery import LotteryResults, elf_x

LAPLACE = 1.0
"""Wins added to everybody's where weights are shown, so that who has none yet has one."""


class _ByLottery(ABC):
    """One lottery an outcome, which accuracy wins; a member says whom to follow by the wins."""

    needs: ClassVar[tuple[str, ...]] = ("outcomes",)
    guarantees: ClassVar[tuple[str, ...]] = (
        "A labeler who wants to be followed, now or over any number of slots, reports its belief.",
        "A labeler who wants the aggregate near its belief reports its belief.",
    )
    page: ClassVar[str] = "mechanisms/labelers.md"
    first: ClassVar[str] = TRUTHFUL
    learns_from: ClassVar[str] = OUTCOMES
    else_by_agreement: ClassVar[bool] = False
    truthful_for: ClassVar[tuple[str, ...]] = ("myopic", "forward_looking", "steering")

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
        wins = np.rint(figure_of(known, "wins")).astype(np.int64)
        table = reports_as_table(slot, labeler, report, outcomes.size, known.weights.size)
        found, weights = self._followed(table, outcomes, wins, known.slots, rng)
        after = with_losses(known, slot, labeler, report, outcomes)
        figures: dict[str, float | Floats] = {"wins": found.wins.astype(np.float64)}
        return Pooled(replace(after, weights=as_shares(weights), figures=figures), found.aggregates, found.losses)

    @abstractmethod
    def _followed(
        self, table: Floats, outcomes: Floats, wins: Ints, slots: int, rng: np.random.Generator
    ) -> tuple[LotteryResults | PerturbedLotteries, Floats]:
        """Whom the member follows: the lotteries, and the weights to show, (N,)."""


@dataclass(frozen=True)
class ElfX(_ByLottery):
    """Follow who has won most lotteries."""

    name: ClassVar[str] = "elf_x"
    summary: ClassVar[str] = (
        "Truthful first: the report of who has won most lotteries, one lottery an outcome, which accuracy wins."
    )
    source: ClassVar[str] = "Freeman et al. (ICML 2020); Witkowski et al. (2018)"

    def _followed(
        self, table: Floats, outcomes: Floats, wins: Ints, slots: int, rng: np.random.Generator
    ) -> tuple[LotteryResults, Floats]:
        """See ``lottery.elf_x``. Weights are shares of wins."""
        results = elf_x(table, outcomes, wins=wins, rng=rng)
        return results, results.wins.astype(np.float64) + LAPLACE


@dataclass(frozen=True)
class FplElf(_ByLottery):
    """Follow a perturbed leader of lotteries."""

    name: ClassVar[str] = "fpl_elf"
    summary: ClassVar[str] = "Truthful first: the report of a labeler drawn by the lotteries that its accuracy has won."
    guarantees: ClassVar[tuple[str, ...]] = (
        *_ByLottery.guarantees,
        "The expected regret over T outcomes and N labelers grows as √(N T ln N).",
    )
    source: ClassVar[str] = "Komiyama, Mehta & Mortazavi (arXiv 2502.11483), with Gumbel noise"

    def _followed(
        self, table: Floats, outcomes: Floats, wins: Ints, slots: int, rng: np.random.Generator
    ) -> tuple[PerturbedLotteries, Floats]:
        """See ``fpl_elf.fpl_elf``. Weights are chances to be followed where everybody reports."""
        results = fpl_elf(table, outcomes, wins=wins, slots=slots, rng=rng)
        won = results.wins.astype(np.float64)
        return results, follow_chances(won, np.array(float(results.slots)), np.ones(won.size))
