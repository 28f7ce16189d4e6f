"""FPL-ELF: truthful for labelers who look ahead, with regret O(sqrt(N T ln N)): a lottery a slot, and a perturbed leader.

Belongs here: this rule. Does not belong here: ELF-X, which follows the plain leader (see ``lottery``).
"""

from dataclasses import dataclass

import numpy as np

from crowd_assets.mechanisms.labelers.votes import Floats, Ints

SHARPNESS = 4.0
"""Multiple of the rate sqrt(N ln N / t) by which wins count; the bound is stated for 1, and grows at most by this factor."""


@dataclass(frozen=True, slots=True)
class PerturbedLotteries:
    """What FPL-ELF gave over T slots.

    ``wins`` (N,) lotteries won by each labeler; ``slots`` that had a lottery, with the earlier ones; ``aggregates`` (T,) in [0, 1], NaN
    where nobody reported; ``losses`` (T,) quadratic loss of each, NaN where there was no aggregate or no outcome; ``chances`` (T, N)
    of each labeler to be followed, given the lotteries before.
    """

    wins: Ints
    slots: int
    aggregates: Floats
    losses: Floats
    chances: Floats


def follow_chances(wins: Floats, slots: Floats, present: Floats) -> Floats:
    """Chance of each labeler to be followed: proportional to exp(rate * wins), rate = 4 sqrt(N ln N / t).

    Args:
        wins: shape (..., N), lotteries won so far.
        slots: shape (...), lotteries there were; ``present``: shape (..., N), who can be followed.

    Returns:
        shape (..., N), sum 1 where anybody is present, else 0.

    Example:
        >>> import numpy as np
        >>> follow_chances(np.array([2.0, 2.0, 0.0]), np.array(4.0), np.array([True, True, False])).tolist()
        [0.5, 0.5, 0.0]
    """
    labelers = wins.shape[-1]
    spread = np.log(max(labelers, 2)) * labelers
    rate = SHARPNESS * np.sqrt(spread / np.maximum(slots, 1.0))[..., None]
    here = np.asarray(present, dtype=bool)
    lead = np.where(here, rate * wins, -np.inf)
    top = lead.max(axis=-1, keepdims=True)
    weight = np.where(here, np.exp(lead - np.where(np.isfinite(top), top, 0.0)), 0.0)
    total = weight.sum(axis=-1, keepdims=True)
    chances: Floats = np.divide(weight, total, out=np.zeros(weight.shape), where=total > 0)
    return chances


def fpl_elf(
    reports: Floats,
    outcomes: Floats,
    *,
    wins: Ints | None = None,
    slots: int = 0,
    rng: np.random.Generator,
) -> PerturbedLotteries:
    """Follow a perturbed leader of event lotteries.

    After a slot one of its n reporters wins with probability (1 - l_i + mean of l) / n, by a lottery that depends on no other. The
    aggregate of a slot is the report of the labeler with the largest  rate_t * wins + Gumbel noise  among the reporters, which follows
    each with probability proportional to exp(rate_t * wins), rate_t = 4 sqrt(N ln N / t) over the t lotteries before.

    Args:
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.
        outcomes: shape (T,), in [0, 1], NaN where none was realised: such a slot has no lottery.
        wins: shape (N,), lotteries won in earlier slots, and ``slots`` that had one; none by default.
        rng: source of lotteries and noise.

    Guarantees:
        * exactly truthful for labelers who look ahead and hold outcomes of different slots for independent: whoever wins a slot's
          lottery, the others being as they are, is followed at least as often later; the chance of winning is affine in the own loss,
          and what the others gain by it is spread evenly over them, so that a report changes the sum of later chances by a factor that
          does not depend on the outcome, times a proper score;
        * expected regret O(sqrt(N T ln N)): N times a win is an unbiased estimate of a labeler's gain up to what is the same for all,
          with second moment at most 2 N under any weights, so that exponential weights with rate sqrt(ln N / (N t)) in it lose at
          most 5 sqrt(N T ln N) + N ln N; ``SHARPNESS`` multiplies the rate.

    Memory: O(T N).

    Raises:
        ValueError: shapes that do not match, or a report or outcome outside [0, 1].

    Source: Komiyama, Mehta & Mortazavi, "No-regret incentive-compatible online learning under exact truthfulness with non-myopic
    experts" (arXiv 2502.11483); the Gumbel perturbation in place of lotteries drawn anew is this project's. For comparison: without
    side information an approximately truthful rule for labelers who look ahead cannot do better than Omega(T^(2/3)) if it is of the
    WSU-UX kind (arXiv 2404.05155).

    Example:
        >>> import numpy as np
        >>> reports, outcomes = np.tile([1.0, 0.0], (50, 1)), np.ones(50)
        >>> found = fpl_elf(reports, outcomes, rng=np.random.default_rng(0))
        >>> found.wins.tolist(), found.slots, found.chances[-1].round(3).tolist()
        ([38, 12], 50, [1.0, 0.0])
    """
    reports, outcomes = np.asarray(reports, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if reports.ndim != 2 or outcomes.shape != (len(reports),):
        raise ValueError(
            f"expected reports (slots, labelers) and an outcome a slot, got {reports.shape}, {outcomes.shape}"
        )
    for name, values in (("reports", reports), ("outcomes", outcomes)):
        if (values < 0).any() or (values > 1).any():
            raise ValueError(f"{name} must lie in [0, 1], NaN where there is none")
    count, labelers = reports.shape
    won = np.zeros(labelers, dtype=np.int64) if wins is None else np.array(wins, dtype=np.int64)
    if won.shape != (labelers,) or slots < 0:
        raise ValueError(f"expected {labelers} counts of wins and slots from 0, got {won.shape} and {slots}")
    reported, taught = ~np.isnan(reports), ~np.isnan(outcomes)
    losses = np.where(reported, np.square(reports - outcomes[:, None]), 0.0)
    reporters = reported.sum(axis=1, keepdims=True)
    mean_loss = losses.sum(axis=1, keepdims=True) / np.maximum(reporters, 1)
    lottery = reported & taught[:, None]
    ladder = np.cumsum(np.where(lottery, 1.0 - losses + mean_loss, 0.0), axis=1)
    drawn = np.minimum((ladder <= rng.random((count, 1)) * ladder[:, -1:]).sum(axis=1), labelers - 1)
    held = lottery.any(axis=1)
    won_in = np.zeros((count, labelers), dtype=np.int64)
    won_in[np.arange(count)[held], drawn[held]] = 1
    before = won + np.cumsum(won_in, axis=0) - won_in
    lotteries = slots + np.cumsum(held) - held
    chances = follow_chances(before.astype(np.float64), lotteries.astype(np.float64), reported.astype(np.float64))
    climb = np.cumsum(chances, axis=1)
    followed = np.minimum((climb <= rng.random((count, 1)) * climb[:, -1:]).sum(axis=1), labelers - 1)
    aggregates = np.where(reporters[:, 0] > 0, reports[np.arange(count), followed], np.nan)
    return PerturbedLotteries(
        wins=won + won_in.sum(axis=0),
        slots=slots + int(held.sum()),
        aggregates=aggregates,
        losses=np.square(aggregates - outcomes),
        chances=chances,
    )
