"""Payouts: the rule of pay, from estimates and gains to what each contributor is due.

Belongs here: ranks, shares, deviations and what is kept back. Does not belong here: estimates (see ``estimates``), postings (see
``ledger``).
"""

import numpy as np
from numpy.typing import NDArray


def rank_of(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank of each candidate: 0 for the smallest target distance, ties to the lower index.

    Args:
        distances: shape (J,), target distance of each candidate, not NaN.

    Returns:
        shape (J,), a permutation of 0..J-1.

    Raises:
        ValueError: a distance is NaN or the array is not one-dimensional.

    Source: Crowd-SFT (arXiv 2506.04063), on point-based rewards.
    """
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 1 or np.isnan(distances).any():
        raise ValueError("every candidate needs a target distance: found NaN or an array that is not one-dimensional")
    rank = np.empty(distances.size, dtype=np.int64)
    rank[np.argsort(distances, kind="stable")] = np.arange(distances.size)
    return rank


def rank_points(distances: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points of the paper's scheme: every member of the group at rank r gets J - r.

    Args:
        distances: shape (J,), target distance of each group's candidate.
        group: shape (n,), values 0..J-1, the group of each contributor.

    Returns:
        shape (n,), values 1..J.

    Guarantees: members of one group get the same; a group that ranks better never gets less.

    Raises:
        ValueError: a distance is NaN, or a group index lies outside 0..J-1.

    Source: Crowd-SFT (arXiv 2506.04063), on point-based rewards.
    """
    rank = rank_of(distances)
    group = np.asarray(group, dtype=np.int64)
    if group.size and (group.min() < 0 or group.max() >= rank.size):
        raise ValueError(f"group indices must lie in 0..{rank.size - 1}, one candidate for each group")
    return (rank.size - rank[group]).astype(np.float64)


def weight_shares(
    group: NDArray[np.int64], groups: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Weight share of every contributor in every candidate of one round.

    Formula: weight of i / total weight of its group in the row of its group, 0 in the other rows.

    Args:
        group: shape (n,), values 0..J-1, or -1 for a contributor who took no part.
        groups: J.
        weights: shape (n,), positive; equal weights by default.

    Returns:
        shape (J, n), every row of a non-empty group sums to 1.

    Raises:
        ValueError: a group index outside -1..J-1, or weights that are not one positive number each.
    """
    group = np.asarray(group, dtype=np.int64)
    held = np.ones(group.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if held.shape != group.shape or not (np.isfinite(held) & (held > 0)).all():
        raise ValueError("weights must be one positive finite number for each contributor")
    if group.size and (group.min() < -1 or group.max() >= groups):
        raise ValueError(f"group indices must lie in 0..{groups - 1}, or be -1 for who took no part")
    shares = np.where(group == np.arange(groups)[:, None], held, 0.0)
    totals = shares.sum(axis=1, keepdims=True)
    return shares / np.where(totals > 0, totals, 1.0)


def averaging_spread(contributors: int) -> float:
    """Slope that turns estimated contributions into Shapley values when a coalition is worth its members' mean.

    For v(S) = mean of a over S, v(nobody) = 0: phi_i - mean phi = spread (a_i - mean a) with
        spread = (1 + (H_n - 1) n / (n - 1)) / n,   H_n = 1 + 1/2 + ... + 1/n,
    because the k-th to arrive moves the mean by (a_i - mean of those before) / k.

    Args:
        contributors: n >= 1.

    Returns:
        the slope, in (0, 1].

    Raises:
        ValueError: ``contributors < 1``.
    """
    if contributors < 1:
        raise ValueError(f"expected at least one contributor, got {contributors}")
    if contributors == 1:
        return 1.0
    harmonic = float((1.0 / np.arange(1, contributors + 1)).sum())
    return (1.0 + (harmonic - 1.0) * contributors / (contributors - 1)) / contributors


def regression_points(
    estimates: NDArray[np.float64],
    participated: NDArray[np.bool_],
    realised_gains: NDArray[np.float64],
    *,
    spread: float | None = None,
    allow_negative: bool = True,
    work: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Payouts of the rounds of an epoch: a share of the realised gain, shifted by estimated contributions.

    Formula: of the n contributors who took part in round t, i is paid w_i (gain_t + n s (a_i - mean a of the n)), where w_i
    is its share of their work and the mean is weighted by it: for equal work gain_t / n + s (a_i - mean a).
    Estimates are restated as rounds come in, and these payouts with them: settle them once, when an epoch closes.

    Args:
        estimates: a, shape (N,), from ``contribution_estimates`` over the rounds of the epoch.
        participated: shape (T, N), who took part in which round.
        realised_gains: shape (T,), by how much each round's model improved, in the unit of the values; may be zero or
            negative.
        spread: s >= 0; by default ``averaging_spread(n)`` of each round, which makes the payouts Shapley values of the
            game whose coalitions are worth their members' mean.
        allow_negative: otherwise each round's spread is cut to the largest that leaves nobody below zero (to zero where
            the gain is not positive).
        work: shape (T, N), what each did in each round, positive for who took part; all did the same by default.

    Returns:
        shape (T, N), in the unit of the values.

    Guarantees: each round's payouts sum to its realised gain whatever the spread (to zero if nobody took part); who
    took no part in a round is paid nothing for it; of two who did the same work in a round the one with the higher estimate
    is never paid less; who splits work between identities with equal estimates is paid the same in all, up to what the
    count n does to n s (with ``averaging_spread`` it grows like ln n).

    Raises:
        ValueError: shapes that do not match, a number that is not finite, a negative spread, or work that is not positive
            where somebody took part.
    """
    estimates = np.asarray(estimates, dtype=np.float64)
    participated = np.asarray(participated, dtype=bool)
    realised_gains = np.asarray(realised_gains, dtype=np.float64)
    if participated.shape != (realised_gains.size, estimates.size):
        raise ValueError(
            f"expected participation of shape ({realised_gains.size}, {estimates.size}), got {participated.shape}"
        )
    if not np.isfinite(estimates).all() or not np.isfinite(realised_gains).all():
        raise ValueError("estimates and gains must be finite")
    if spread is not None and not 0.0 <= spread < np.inf:
        raise ValueError(f"spread must be finite and not negative, got {spread}")
    done = np.ones(participated.shape) if work is None else np.asarray(work, dtype=np.float64)
    if done.shape != participated.shape or not (np.isfinite(done) & ((done > 0) | ~participated)).all():
        raise ValueError("work must be finite, one number a round and contributor, and positive for who took part")
    payouts = np.zeros(participated.shape)
    for payout, took_part, gain, worked in zip(payouts, participated, realised_gains, done, strict=True):
        present = np.flatnonzero(took_part)
        if not present.size:
            continue
        parts = worked[present] * (present.size / worked[present].sum())  # 1 on average
        equal = gain / present.size
        deviations = estimates[present] - (parts * estimates[present]).mean()
        slope = averaging_spread(present.size) if spread is None else spread
        lowest = deviations.min()
        if not allow_negative and lowest < 0:
            slope = min(slope, max(equal, 0.0) / -lowest)
        payout[present] = parts * (equal + slope * deviations)
    return payouts


def kept_points(
    payouts: NDArray[np.float64],
    rounds_taken_part: NDArray[np.int64],
    copied: NDArray[np.float64],
    *,
    least_rounds: int = 1,
    copy_discount: float = 0.0,
) -> NDArray[np.float64]:
    """Payouts less what defences withhold: all of a newcomer's, and of a copyist's what copies earned.

    Formula: a payout above zero is multiplied by (1 - copy_discount copied), and by 0 before its contributor has taken
    part in ``least_rounds`` rounds. What is withheld goes to nobody. A payout below zero stays: it is no way out of it.

    Args:
        payouts: shape (T, N), from ``regression_points``.
        rounds_taken_part: shape (N,), by the end of the epoch.
        copied: shape (T, N), in [0, 1], share of what each sent in each round that others or they had sent before.
        least_rounds: what a new identity gives up is at most its first ``least_rounds - 1`` rounds.
        copy_discount: in [0, 1].

    Returns:
        shape (T, N), nowhere above ``payouts``.

    Raises:
        ValueError: shapes that do not match, shares outside [0, 1], or fewer than one round.
    """
    payouts, copied = np.asarray(payouts, dtype=np.float64), np.asarray(copied, dtype=np.float64)
    rounds_taken_part = np.asarray(rounds_taken_part, dtype=np.int64)
    if payouts.ndim != 2 or copied.shape != payouts.shape or rounds_taken_part.shape != payouts.shape[1:]:
        raise ValueError(f"expected payouts (T, N), got {payouts.shape}, {rounds_taken_part.shape} and {copied.shape}")
    if not ((copied >= 0) & (copied <= 1)).all() or not 0.0 <= copy_discount <= 1.0:
        raise ValueError("shares that are copied and their discount must lie in [0, 1]")
    if least_rounds < 1:
        raise ValueError(f"least_rounds must be at least 1, got {least_rounds}")
    kept = (1.0 - copy_discount * copied) * (rounds_taken_part >= least_rounds)
    return np.where(payouts > 0, payouts * kept, payouts)


def solvent_points(payouts: NDArray[np.float64], realised_gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Payouts of an epoch that no debt is counted on: those above zero, together, are at most what the model gained.

    A payout below zero is a debt, and the payouts of a round sum to its gain only if debts are paid. In an open crowd a debt
    is left behind with the name, and who sends a scapegoat into debt would be paid what it never pays.

    Formula: payouts above zero are multiplied by min(1, max(sum of gains, 0) / sum of payouts above zero).

    Args:
        payouts: shape (T, N), from ``regression_points``.
        realised_gains: shape (T,), in the same unit.

    Returns:
        shape (T, N); what is below zero stays.

    Raises:
        ValueError: shapes that do not match.
    """
    payouts, realised_gains = np.asarray(payouts, dtype=np.float64), np.asarray(realised_gains, dtype=np.float64)
    if payouts.ndim != 2 or realised_gains.shape != payouts.shape[:1]:
        raise ValueError(f"expected payouts (T, N) and gains (T,), got {payouts.shape} and {realised_gains.shape}")
    promised = float(payouts[payouts > 0].sum())
    covered = min(1.0, max(float(realised_gains.sum()), 0.0) / promised) if promised > 0 else 1.0
    return np.where(payouts > 0, payouts * covered, payouts)
