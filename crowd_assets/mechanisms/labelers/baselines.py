"""Aggregates to compare with: mean, median, one-coin Dawid and Skene.

Belongs here: rules without weights learnt from outcomes. Does not belong here: rules with them (a module each).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.score_update import checked_slots, pooled
from crowd_assets.mechanisms.labelers.votes import checked


@dataclass(frozen=True, slots=True)
class DawidSkene:
    """Consensus without outcomes.

    ``probability_a`` (T,) in [0, 1], NaN where nobody reported; ``accuracy`` (N,) in (0, 1), the chance that a labeler
    sides with the consensus; ``iterations`` of EM; ``converged``.
    """

    probability_a: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    iterations: int
    converged: bool


def dawid_skene(
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    *,
    slots: int,
    labelers: int,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> DawidSkene:
    """One-coin Dawid-Skene: consensus by expectation maximisation, without any outcome. A baseline.

    Each slot has a hidden answer, A with prior probability pi; labeler i sides with it with probability a_i; a report r
    counts as r of a vote for A and 1 - r of a vote against. E-step: q_t from the votes; M-step: a_i = (1 + sum over its
    reports of q r + (1 - q)(1 - r)) / (2 + number of its reports), one vote of each kind added, and pi = mean q. Starts
    from the plain mean. Where a majority shares a bias, the consensus is the bias.

    Args:
        slot: shape (m,), values 0..T-1, in any order; ``labeler``: shape (m,), values 0..N-1; ``report``: shape (m,),
            in [0, 1].
        slots: T.
        labelers: N.
        iterations: most iterations of EM.
        tolerance: largest change of any q at which it has converged.

    Raises:
        ValueError: shapes that do not match, an index out of range, or a report outside [0, 1].

    Source: Dawid & Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979), with
    one error rate for each observer.

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
        >>> report = np.array([1.0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1])
        >>> found = dawid_skene(slot, labeler, report, slots=4, labelers=3)
        >>> found.probability_a.round().tolist(), found.accuracy.round(1).tolist()
        ([1.0, 0.0, 1.0, 0.0], [0.8, 0.8, 0.5])
    """
    slot, labeler, report = checked(slot, labeler, report, slots, labelers)
    votes = np.bincount(slot, minlength=slots)
    heard = votes > 0
    reports_of = np.bincount(labeler, minlength=labelers)
    answer = np.bincount(slot, report, minlength=slots) / np.maximum(votes, 1)
    accuracy = np.full(labelers, 0.5)
    done, converged = 0, not heard.any()
    while done < iterations and not converged:
        done += 1
        belief = answer[slot]
        agreed = np.bincount(labeler, belief * report + (1 - belief) * (1 - report), minlength=labelers)
        accuracy = (1.0 + agreed) / (2.0 + reports_of)
        prior = np.clip(answer[heard].mean(), 1e-6, 1 - 1e-6)
        odds = np.log(prior / (1 - prior)) + np.bincount(
            slot, (2 * report - 1) * np.log(accuracy / (1 - accuracy))[labeler], minlength=slots
        )
        revised = np.where(heard, (1 + np.tanh(odds / 2)) / 2, answer)
        converged = bool(np.abs(revised - answer).max() <= tolerance)
        answer = revised
    return DawidSkene(np.where(heard, answer, np.nan), accuracy, done, converged)


def mean_aggregate(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Plain mean report of each slot: a baseline whose regret grows linearly where rivals share a bias.

    Args:
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.

    Returns:
        shape (T,), in [0, 1], NaN where nobody reported.

    Raises:
        ValueError: the wrong shape or a report outside [0, 1].

    Example:
        >>> import numpy as np
        >>> mean_aggregate(np.array([[1.0, 0.5, 0.0], [1.0, np.nan, 0.5]])).tolist()
        [0.5, 0.75]
    """
    reports = checked_slots(reports)
    return pooled(np.ones(reports.shape[1]), reports)


def median_aggregate(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median report of each slot: a baseline, robust to a minority, with linear regret where a majority is
    biased.

    Args:
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.

    Returns:
        shape (T,), in [0, 1], NaN where nobody reported; the midpoint of the middle two where their number is
        even.

    Raises:
        ValueError: the wrong shape or a report outside [0, 1].

    Example:
        >>> import numpy as np
        >>> median_aggregate(np.array([[1.0, 0.25, 0.0], [1.0, np.nan, 0.5]])).tolist()
        [0.25, 0.75]
    """
    reports = checked_slots(reports)
    middle = np.full(len(reports), np.nan)
    anybody = ~np.isnan(reports).all(axis=1)
    if anybody.any():
        middle[anybody] = np.nanmedian(reports[anybody], axis=1)
    return middle
