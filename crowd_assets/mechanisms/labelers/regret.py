"""How far an aggregate stays behind the best labeler in hindsight, and the bound on it.

Belongs here: regret and its bounds. Does not belong here: what aggregates.
"""

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.score_update import check_outcomes, checked_slots


def regret(aggregates: NDArray[np.float64], outcomes: NDArray[np.float64], reports: NDArray[np.float64]) -> float:
    """Regret of the aggregates against the best labeler in hindsight.

    Formula: max over labelers i of the sum, over slots in which i reported, of (P_t - y_t)^2 - (r_it -
    y_t)^2. Where everybody reports always, this is the aggregates' loss less the best labeler's loss. Slots
    without an aggregate or outcome are left out. Negative where the aggregate beats every labeler, as
    averages do when errors are independent.

    Args:
        aggregates: shape (T,), in [0, 1] or NaN.
        outcomes: shape (T,), in [0, 1] or NaN.
        reports: shape (T, N), in [0, 1] or NaN; pass beliefs instead for the regret against truthful
            labelers.

    Returns:
        the regret, in units of quadratic loss, at most T; NaN where no labeler has a slot that counts.

    Raises:
        ValueError: shapes that do not match, or a number outside [0, 1].

    Source: Freeman et al. (2020); labelers who skip slots: Freund, Schapire, Singer & Warmuth,
    "Using and combining predictors that specialize" (1997).

    Example:
        >>> import numpy as np
        >>> regret(np.array([0.5, 0.5]), np.array([1.0, 0.0]), np.array([[1.0], [0.0]]))
        0.5
    """
    reports = checked_slots(reports)
    aggregates, outcomes = np.asarray(aggregates, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if aggregates.shape != (len(reports),) or outcomes.shape != (len(reports),):
        raise ValueError(f"expected {len(reports)} slots, got {aggregates.shape} aggregates, {outcomes.shape} outcomes")
    check_outcomes(aggregates)
    check_outcomes(outcomes)
    excess = np.square(aggregates - outcomes)[:, None] - np.square(reports - outcomes[:, None])
    counted = ~np.isnan(excess)
    if not counted.any():
        return float("nan")
    sums = np.where(counted, excess, 0.0).sum(axis=0)
    return float(sums[counted.any(axis=0)].max())


def excess_losses(
    aggregates: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    labelers: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What ``regret`` is the largest of, one row for each report: sums that add up over runs of slots.

    Args:
        aggregates: shape (T,), in [0, 1] or NaN.
        outcomes: shape (T,), in [0, 1] or NaN.
        slot: shape (m,), values 0..T-1.
        labeler: shape (m,), values 0..N-1, no labeler twice in one slot.
        report: shape (m,), in [0, 1].
        labelers: N.

    Returns:
        shape (N,), the sum over the slots that labeler i reported in of (P_t - y_t)^2 - (r_it - y_t)^2, and shape (N,), how
        many slots those are. Slots without an aggregate or outcome are left out.

    Example:
        >>> import numpy as np
        >>> excess, slots = excess_losses(np.array([0.5]), np.array([1.0]), np.array([0]), np.array([0]), np.array([1.0]), labelers=1)
        >>> excess.tolist(), slots.tolist()
        ([0.25], [1])
    """
    excess = np.square(aggregates[slot] - outcomes[slot]) - np.square(report - outcomes[slot])
    counted = ~np.isnan(excess)
    sums = np.bincount(labeler[counted], weights=excess[counted], minlength=labelers)
    slots = np.bincount(labeler[counted], minlength=labelers)
    return sums.astype(np.float64), slots.astype(np.int64)


def anytime_regret_bound(labelers: int, slots: int) -> float:
    """What the regret over T slots cannot exceed with the step and pull of ``run_slots``: 3 sqrt(T ln N); see ``update_slot``.

    Example:
        >>> round(anytime_regret_bound(10, 100), 2)
        45.52
    """
    return 3.0 * float(np.sqrt(slots * np.log(labelers)))
