"""ELF-X: lotteries between labelers that are truthful for those who look ahead, too.

Belongs here: the lottery of a slot and who follows from all of them. Does not belong here: weights (see ``score_update``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.dense import drawn
from crowd_assets.mechanisms.labelers.score_update import check_outcomes, checked_slots


@dataclass(frozen=True, slots=True)
class LotteryResults:
    """What ELF-X gave over T slots.

    ``wins`` (N,) lotteries won by each labeler; ``aggregates`` (T,) in [0, 1], NaN where nobody reported; ``losses``
    (T,) quadratic loss of each aggregate, NaN where there was no aggregate or no outcome.
    """

    wins: NDArray[np.int64]
    aggregates: NDArray[np.float64]
    losses: NDArray[np.float64]


def lottery_chances(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance of each labeler to win a slot's lottery in ELF-X: (1 - l_i + mean of l) / n, for losses in [0, 1].

    A distribution for any losses, affine and falling in a labeler's own loss (strictly for n > 1).

    Example:
        >>> import numpy as np
        >>> lottery_chances(np.array([0.0, 1.0])).tolist()
        [0.75, 0.25]
    """
    chances: NDArray[np.float64] = (1.0 - losses + losses.mean()) / losses.size
    return chances


def elf_x(
    reports: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    *,
    wins: NDArray[np.int64] | None = None,
    rng: np.random.Generator,
) -> LotteryResults:
    """ELF-X: follow the labeler that has won most lotteries, one lottery for each past slot.

    After a slot one of its n reporters wins with probability (1 - l_i + mean of l) / n. The aggregate of a slot is the
    report of the reporter with most wins so far, ties broken at random. (The paper draws all past lotteries anew in
    every slot; drawing each once and keeping it gives every slot the same chances and costs O(N) a slot. A lottery
    depends on no other, so all are drawn at once.)

    Args:
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.
        outcomes: shape (T,), in [0, 1], NaN where none was realised: such a slot has no lottery.
        wins: shape (N,), lotteries won in earlier slots; none by default.
        rng: source of the lotteries.

    Guarantees: truthful for forward-looking labelers too, who care for how often they are followed over any number of
    slots: more wins never hurt, and truth-telling maximises the chance of each of them. Regret falls in practice but
    has no proven O(sqrt T) bound; Komiyama, Mehta & Mortazavi (arXiv 2502.11483) give a variant that has one, up to logs.

    Memory: O(T N).

    Raises:
        ValueError: shapes that do not match, or a report or outcome outside [0, 1].

    Source: Freeman et al. (2020), on ELF-X; the lottery: Witkowski, Freeman, Wortman Vaughan, Pennock &
    Krause, "Incentive-compatible forecasting competitions" (2018).

    Example:
        >>> import numpy as np
        >>> found = elf_x(np.tile([1.0, 0.0], (50, 1)), np.ones(50), rng=np.random.default_rng(0))
        >>> found.wins.tolist(), found.aggregates[-3:].tolist()
        ([38, 12], [1.0, 1.0, 1.0])
    """
    reports, outcomes = checked_slots(reports), np.asarray(outcomes, dtype=np.float64)
    slots, labelers = reports.shape
    won = np.zeros(labelers, dtype=np.int64) if wins is None else np.array(wins, dtype=np.int64)
    if outcomes.shape != (slots,) or won.shape != (labelers,):
        raise ValueError(f"expected {slots} outcomes and {labelers} counts of wins, got {outcomes.shape}, {won.shape}")
    check_outcomes(outcomes)
    reported, taught = ~np.isnan(reports), ~np.isnan(outcomes)
    losses = np.square(reports - outcomes[:, None])
    reporters = reported.sum(axis=1, keepdims=True)
    mean_loss = np.where(reported, losses, 0.0).sum(axis=1, keepdims=True) / np.maximum(reporters, 1)
    chances = np.where(reported & taught[:, None], 1.0 - losses + mean_loss, 0.0)
    winners = drawn(chances, rng)
    won_in = np.zeros((slots, labelers), dtype=np.int64)
    won_in[np.arange(slots), winners] = (reporters[:, 0] > 0) & taught
    standing = won + np.cumsum(won_in, axis=0)
    before = np.where(reported, standing - won_in, -1)
    lead = reported & (before == before.max(axis=1, keepdims=True))
    followed = drawn(lead.astype(np.float64), rng)
    aggregates = reports[np.arange(slots), followed]
    won = standing[-1] if slots else won
    return LotteryResults(wins=won, aggregates=aggregates, losses=np.square(aggregates - outcomes))
