"""Payouts: the rule of pay, from estimates of contributions to the points of each contributor in each round of an epoch.

A payout is a sum of terms, each of which a statement can show: see ``TERMS``. The rule is ``epoch_payouts``; whatever pays
points (a round, an attack game, an experiment, a benchmark) calls it.

Belongs here: what is paid for given estimates, and what is withheld. Does not belong here: estimates (see ``estimates``), which
of them a scheme takes (see ``points_schemes``), postings (see ``ledger``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Slope = Callable[[int], float]
"""From the number of contributors in a round to the slope of ``regression_points``."""

TERMS: Mapping[str, str] = {
    "equal_share": "share of the gain by work done",
    "deviation": "more or less than the equal share, by the contributor's estimate",
    "cap": "less for demonstrations beyond CROWD_PAID_DEMONSTRATIONS in a round",
    "cover": "less where the gain of the epoch does not cover all payouts",
    "copies": "withheld for near duplicates",
    "epoch_rule": "withheld from a name that has taken part in too few rounds",
    "forfeits": "withheld from who was found cheating",
}
"""Terms of a payout, in the order of computing; the terms sum to the payout."""


def rank_of(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank of each candidate: 0 for the smallest target distance, ties to the lower index.

    Args:
        distances: shape (J,), target distance of each candidate, not NaN.

    Returns:
        shape (J,), a permutation of 0..J-1.

    Raises:
        ValueError: a distance is NaN or the array is not one-dimensional.

    Source: Crowd-SFT (arXiv 2506.04063), on point-based rewards.

    Example:
        >>> import numpy as np
        >>> rank_of(np.array([0.4, 0.2, 0.9])).tolist()
        [1, 0, 2]
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

    Example:
        >>> import numpy as np
        >>> rank_points(np.array([0.4, 0.2]), np.array([0, 0, 1])).tolist()
        [1.0, 1.0, 2.0]
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

    Example:
        >>> import numpy as np
        >>> weight_shares(np.array([0, 0, 1]), 2).tolist()
        [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
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

    Example:
        >>> averaging_spread(4)
        0.6111111111111109
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
    spread: float | Slope | None = None,
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

    Guarantees, before ``kept_points`` withholds points: each round's payouts sum to the round's realised gain whatever the spread
    (to zero if nobody took part); a contributor who took no part in a round is paid nothing for the round; of two contributors with
    the same work in a round the one with the higher estimate is not paid less; work that is split between identities with equal
    estimates is paid the same in all, up to the effect of the count n on n s (with ``averaging_spread`` n s grows like ln n).

    Raises:
        ValueError: shapes that do not match, a number that is not finite, a negative spread, or work that is not positive
            where somebody took part.

    Example:
        >>> import numpy as np
        >>> regression_points(np.array([0.3, 0.1]), np.array([[True, True]]), np.array([1.0])).round(3).tolist()
        [[0.6, 0.4]]
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
    slope_of: Slope = averaging_spread
    if callable(spread):
        slope_of = spread
    elif spread is not None:
        constant = spread
        if not 0.0 <= constant < np.inf:
            raise ValueError(f"spread must be finite and not negative, got {spread}")

        def slope_of(contributors: int) -> float:
            return constant

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
        slope = slope_of(present.size)
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
    """Payouts less the points that defences withhold: a newcomer's points, and the points of copies.

    Formula: a payout above zero is multiplied by (1 - copy_discount copied), and by 0 before its contributor has taken
    part in ``least_rounds`` rounds. Withheld points go to nobody. A payout below zero stays, so that copying is no way out of a debt.

    Args:
        payouts: shape (T, N), from ``regression_points``.
        rounds_taken_part: shape (N,), by the end of the epoch.
        copied: shape (T, N), in [0, 1], share of near duplicates in each contributor's demonstrations of each round.
        least_rounds: a new identity gives up the pay of at most its first ``least_rounds - 1`` rounds.
        copy_discount: in [0, 1].

    Returns:
        shape (T, N), nowhere above ``payouts``.

    Raises:
        ValueError: shapes that do not match, shares outside [0, 1], or fewer than one round.

    Example:
        >>> import numpy as np
        >>> kept_points(np.array([[2.0, 1.0]]), np.array([1, 1]), np.array([[0.5, 0.0]]), copy_discount=1.0).tolist()
        [[1.0, 1.0]]
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
    """Payouts of an epoch that depend on no debt: payouts above zero sum to at most the model's gain.

    A payout below zero is a debt, and the payouts of a round sum to the round's gain only if debts are paid. In an open crowd a
    debt is left behind with the name, and friends of an indebted scapegoat would be paid points that the scapegoat never pays.

    Formula: payouts above zero are multiplied by min(1, max(sum of gains, 0) / sum of payouts above zero).

    Args:
        payouts: shape (T, N), from ``regression_points``.
        realised_gains: shape (T,), in the same unit.

    Returns:
        shape (T, N); what is below zero stays.

    Raises:
        ValueError: shapes that do not match.

    Example:
        >>> import numpy as np
        >>> solvent_points(np.array([[2.0, -1.0]]), np.array([1.0])).tolist()
        [[1.0, -1.0]]
    """
    payouts, realised_gains = np.asarray(payouts, dtype=np.float64), np.asarray(realised_gains, dtype=np.float64)
    if payouts.ndim != 2 or realised_gains.shape != payouts.shape[:1]:
        raise ValueError(f"expected payouts (T, N) and gains (T,), got {payouts.shape} and {realised_gains.shape}")
    promised = float(payouts[payouts > 0].sum())
    covered = min(1.0, max(float(realised_gains.sum()), 0.0) / promised) if promised > 0 else 1.0
    return np.where(payouts > 0, payouts * covered, payouts)


def noise_adjusted(gains: NDArray[np.float64], standard_errors: NDArray[np.float64]) -> float:
    """Gain of an epoch less the part that noise of measuring explains, at least 0.

    Formula: max(G - e^2 / G, 0) for G = sum of gains above zero, e^2 = sum of squared standard errors: the positive-part shrunken
    estimate. A gain within one standard error counts for nothing, one of ten for 99 %.

    Args:
        gains: shape (T,), measured.
        standard_errors: shape (T,), of each.

    Raises:
        ValueError: shapes that do not match, a number that is not finite, or a negative standard error.

    Source: James & Stein, "Estimation with quadratic loss" (1961); Baranchik (1970) for the positive part.

    Example:
        >>> import numpy as np
        >>> noise_adjusted(np.array([1.0]), np.array([0.1]))
        0.99
    """
    gains, errors = np.asarray(gains, dtype=np.float64), np.asarray(standard_errors, dtype=np.float64)
    if gains.ndim != 1 or errors.shape != gains.shape:
        raise ValueError(f"expected one standard error a gain, got {gains.shape} and {errors.shape}")
    if not np.isfinite(gains).all() or not np.isfinite(errors).all() or (errors < 0).any():
        raise ValueError("gains must be finite and their standard errors finite and not negative")
    gain = float(gains.sum())
    return max(gain - float(np.square(errors).sum()) / gain, 0.0) if gain > 0 else 0.0


def conserved_points(payouts: NDArray[np.float64], gain: float) -> NDArray[np.float64]:
    """Payouts of an epoch that sum to ``gain`` and are nowhere below zero.

    Formula: with R_i the sum of i's payouts over the epoch, i gets gain R_i+ / sum of R+ in all, spread over its rounds in
    proportion to its payouts above zero. Where that would pay more than R_i, R_i is paid.

    Args:
        payouts: shape (T, N), from ``regression_points``.
        gain: of the epoch, at least 0; see ``noise_adjusted``.

    Returns:
        shape (T, N), at least 0.

    Guarantees: the sum is ``gain`` where payouts above zero sum to as much, and never more; the order of contributors by what
    an epoch pays them stays; without a gain nobody is paid, and nobody owes.

    Raises:
        ValueError: payouts that are not a finite matrix, or a gain that is negative or not finite.

    Example:
        >>> import numpy as np
        >>> conserved_points(np.array([[3.0, -1.0]]), gain=2.0).tolist()
        [[2.0, 0.0]]
    """
    payouts = np.asarray(payouts, dtype=np.float64)
    if payouts.ndim != 2 or not np.isfinite(payouts).all() or not 0.0 <= gain < np.inf:
        raise ValueError(f"expected finite payouts (T, N) and a gain of at least 0, got {payouts.shape} and {gain}")
    due = np.maximum(payouts.sum(axis=0), 0.0)
    promised = float(due.sum())
    covered = min(1.0, gain / promised) if promised > 0 else 0.0
    above = np.maximum(payouts, 0.0)
    totals = above.sum(axis=0)
    kept: NDArray[np.float64] = above * (covered * due / np.where(totals > 0, totals, 1.0))
    return kept


@dataclass(frozen=True, slots=True)
class PayRules:
    """Rules of pay of an epoch; the defaults withhold nothing.

    Attributes:
        by_work: Whether a share goes by demonstrations, at most ``most_paid`` a round, or by contributor.
        conserved: Whether an epoch pays its noise-adjusted gain and no more: see ``conserved_points``.
        covered: Where not conserved, see ``solvent_points``.
        copy_discount, least_rounds: See ``kept_points``.
        points_per_distance: Points for one unit of what is gained.
    """

    by_work: bool = False
    most_paid: int = 64
    conserved: bool = False
    covered: bool = False
    copy_discount: float = 0.0
    least_rounds: int = 1
    points_per_distance: float = 1.0


@dataclass(frozen=True, slots=True)
class Payouts:
    """Payouts of the rounds of an epoch.

    Attributes:
        points: (T, N), what is paid.
        terms: by the names in ``TERMS``, (T, N) each: what it is the sum of.
        harm: (T, N), at least 0: by how many points each held the crowd back where nobody's points fall below zero. A
            deposit answers for it.
    """

    points: NDArray[np.float64]
    terms: Mapping[str, NDArray[np.float64]]
    harm: NDArray[np.float64]


def epoch_payouts(
    estimates: NDArray[np.float64],
    slope: Slope,
    participated: NDArray[np.bool_],
    gains: NDArray[np.float64],
    gain_errors: NDArray[np.float64],
    sent: NDArray[np.float64],
    rules: PayRules,
    *,
    copied: NDArray[np.float64],
    rounds_taken_part: NDArray[np.int64],
    caught: NDArray[np.bool_],
) -> Payouts:
    """The rule of pay: what each contributor is paid for each round of an epoch, term by term.

    Args:
        estimates: shape (N,), what each is estimated to add.
        slope: see ``regression_points``.
        participated: shape (T, N), who took part.
        gains, gain_errors: shape (T,), what each round's model gained, measured, and the standard error of that.
        sent: shape (T, N), demonstrations, positive where somebody took part.
        copied: shape (T, N), in [0, 1], share that is copies.
        rounds_taken_part: shape (N,), by the end of the epoch.
        caught: shape (N,), who was found cheating.

    Returns:
        payouts in points.

    Guarantees: under ``conserved`` no payout is below zero, and all of them sum to at most the noise-adjusted gain of the epoch,
    exactly where nothing is withheld.

    Raises:
        ValueError: as the functions above.

    Example:
        >>> import numpy as np
        >>> both, sent, gains = np.ones((1, 2), dtype=bool), np.array([[3.0, 1.0]]), np.array([0.4])
        >>> kept = {"copied": np.zeros((1, 2)), "rounds_taken_part": np.ones(2), "caught": np.zeros(2)}
        >>> found = epoch_payouts(np.array([0.1, -0.1]), 1.0, both, gains, np.zeros(1), sent, PayRules(), **kept)
        >>> found.points.round(6).tolist(), found.terms["deviation"].round(6).tolist()
        ([[0.3, 0.1]], [[0.1, -0.1]])
    """
    sent = np.asarray(sent, dtype=np.float64)
    all_of_it = sent if rules.by_work else None
    paid_for = np.minimum(sent, rules.most_paid) if rules.by_work else None
    nothing = np.zeros(len(np.asarray(estimates)))
    equal = regression_points(nothing, participated, gains, spread=0.0, work=all_of_it)
    uncapped = regression_points(estimates, participated, gains, spread=slope, work=all_of_it)
    due = regression_points(estimates, participated, gains, spread=slope, work=paid_for)
    harm = np.zeros(due.shape)
    covered = due
    if rules.conserved:
        covered = conserved_points(due, noise_adjusted(gains, gain_errors))
        below = np.maximum(-due, 0.0)
        owed = np.maximum(-due.sum(axis=0), 0.0)
        totals = below.sum(axis=0)
        harm = below * (owed / np.where(totals > 0, totals, 1.0))
    elif rules.covered:
        covered = solvent_points(due, gains)
    counted = kept_points(covered, rounds_taken_part, copied, copy_discount=rules.copy_discount)
    kept = kept_points(counted, rounds_taken_part, np.zeros(due.shape), least_rounds=rules.least_rounds)
    paid = np.where(np.asarray(caught, dtype=bool) & (kept > 0), 0.0, kept)
    steps = (equal, uncapped, due, covered, counted, kept, paid)
    terms = [steps[0], *(after - before for before, after in pairwise(steps))]
    scale = rules.points_per_distance
    return Payouts(paid * scale, {name: term * scale for name, term in zip(TERMS, terms, strict=True)}, harm * scale)


def rank_payouts(
    values: NDArray[np.float64],
    shares: NDArray[np.float64],
    round_index: NDArray[np.int64],
    improved: NDArray[np.bool_],
    caught: NDArray[np.bool_],
) -> Payouts:
    """Rank points of every member, in each round whose best candidate won; a round in which the base stayed pays nobody.

    Args:
        values: shape (M,), value of each candidate, higher is better.
        shares: shape (M, N); a member of several candidates of a round is paid by the best.
        round_index: shape (M,), values 0..T-1.
        improved: shape (T,), whether a candidate won.
        caught: shape (N,), who was found cheating and is paid nothing.

    Returns:
        payouts in points: the equal share is what members get on average.

    Raises:
        ValueError: see ``rank_of``.

    Example:
        >>> import numpy as np
        >>> found = rank_payouts(np.array([-0.2, -0.4]), np.eye(2), np.array([0, 0]), np.array([True]), np.array([False, False]))
        >>> found.points.tolist()
        [[2.0, 1.0]]
    """
    shares = np.asarray(shares)
    points = np.zeros((len(improved), shares.shape[1]))
    equal = points.copy()
    for number in np.flatnonzero(improved):
        rows = np.asarray(round_index) == number
        rank = rank_of(-np.asarray(values)[rows])
        points[number] = ((rank.size - rank)[:, None] * (shares[rows] > 0)).max(axis=0)
        present = points[number] > 0
        equal[number] = np.where(present, points[number].sum() / max(int(present.sum()), 1), 0.0)
    zero = np.zeros(points.shape)
    terms = dict.fromkeys(TERMS, zero) | {
        "equal_share": equal,
        "deviation": points - equal,
        "forfeits": np.where(np.asarray(caught, dtype=bool), -points, 0.0),
    }
    return Payouts(points + terms["forfeits"], terms, zero)
