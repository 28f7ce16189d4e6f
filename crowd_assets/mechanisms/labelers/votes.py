"""Votes of labelers as rows, checked once for every consensus that needs no outcome.

Belongs here: what all of them ask of their arguments. Does not belong here: any consensus.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Consensus:
    """What labelers agree on, without outcomes.

    ``probability_a`` (T,) in [0, 1], NaN where nobody reported; ``accuracy`` (N,) in [0, 1], the chance that a labeler sides with
    the answer, 1/2 for who did not report; ``iterations`` made; ``converged``.
    """

    probability_a: Floats
    accuracy: Floats
    iterations: int
    converged: bool


def checked(slot: Ints, labeler: Ints, report: Floats, slots: int, labelers: int) -> tuple[Ints, Ints, Floats]:
    """The rows as arrays.

    Args:
        slot: shape (m,), values 0..T-1, in any order; ``labeler``: shape (m,), values 0..N-1; ``report``: shape (m,), in [0, 1].

    Raises:
        ValueError: shapes that do not match, an index out of range, or a report outside [0, 1].

    Example:
        >>> import numpy as np
        >>> checked(np.array([0]), np.array([1]), np.array([0.9]), slots=1, labelers=2)
        (array([0]), array([1]), array([0.9]))
    """
    slot, labeler = np.asarray(slot, dtype=np.int64), np.asarray(labeler, dtype=np.int64)
    report = np.asarray(report, dtype=np.float64)
    if slot.ndim != 1 or slot.shape != labeler.shape or slot.shape != report.shape:
        raise ValueError(f"expected one row for each report, got {slot.shape}, {labeler.shape} and {report.shape}")
    if slot.size and (slot.min() < 0 or slot.max() >= slots or labeler.min() < 0 or labeler.max() >= labelers):
        raise ValueError(f"slots must lie in 0..{slots - 1} and labelers in 0..{labelers - 1}")
    if not ((report >= 0) & (report <= 1)).all():
        raise ValueError("reports must lie in [0, 1]")
    return slot, labeler, report


def shares_of(share: Floats | None, report: Floats) -> Floats:
    """Which part of one judgement each report is, 1 where nothing is said.

    Raises:
        ValueError: not one for each report, or outside (0, 1].

    Example:
        >>> import numpy as np
        >>> shares_of(None, np.array([0.9, 0.1])).tolist()
        [1.0, 1.0]
    """
    if share is None:
        return np.ones(report.size)
    share = np.asarray(share, dtype=np.float64)
    if share.shape != report.shape or not ((share > 0) & (share <= 1)).all():
        raise ValueError("expected a share in (0, 1] for each report")
    return share


def share_of_a(slot: Ints, report: Floats, slots: int) -> Floats:
    """Mean report of each slot (T,), 1/2 where nobody reported.

    Example:
        >>> import numpy as np
        >>> share_of_a(np.array([0, 0, 1]), np.array([1.0, 0.0, 1.0]), slots=2).tolist()
        [0.5, 1.0]
    """
    votes = np.bincount(slot, minlength=slots)
    share: Floats = np.where(votes > 0, np.bincount(slot, report, minlength=slots) / np.maximum(votes, 1), 0.5)
    return share


def logit(chance: Floats) -> Floats:
    """Log-odds of chances in (0, 1).

    Example:
        >>> import numpy as np
        >>> logit(np.array([0.5, 0.75])).round(3).tolist()
        [0.0, 1.099]
    """
    odds: Floats = np.log(chance) - np.log1p(-chance)
    return odds


def expit(odds: NDArray[Any]) -> Floats:
    """Chances of log-odds.

    Example:
        >>> import numpy as np
        >>> expit(np.array([0.0])).tolist()
        [0.5]
    """
    chance: Floats = (1.0 + np.tanh(np.asarray(odds) / 2.0)) / 2.0
    return chance
