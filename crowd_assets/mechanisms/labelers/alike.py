"""How far each report is its labeler's own: what names that share one judgement add beside each other.

Belongs here: errors that labelers share, and the part of a report that is left. Does not belong here: accuracy against outcomes (see
the members), names that a detector accuses (see ``quality.detectors.groups``).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.base import Floats, Ints

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FEWEST_SHARED = 8
"""Comparisons that two labelers have both judged before anything is said of the two."""
FEWEST_REPORTS = 3
"""Reports on a comparison of which one can be told from the crowd's."""
MOST_PAIRS = 20_000_000
"""Pairs of reports on one comparison that are looked at; the largest comparisons are left out beyond."""
OWN_WEIGHT = 5.0
"""Judgements that the crowd's mean counts for in a labeler's own variance and bias."""
SURE = 2.5
"""Standard errors by which a shared error must lie above 0."""
WHOLE = 0.5
"""Shared error, in units of a typical labeler's own, from which two count as one."""
MOST_PRECISE = 2.0
"""Part of a report whose labeler errs half as much as a typical one, or less."""
PASSES = 6
"""Times that consensus and likeness are computed from each other."""
ROUNDS_OF_VARIANCE = 5
"""Times that variances and the variance of the consensus are."""
LEVELS = 5
"""Parts that reports are cut into by how sure the crowd is."""
LEAST_VARIANCE = 0.05
"""Of the usual squared error: nobody's variance is less."""


@dataclass(frozen=True, slots=True)
class Alikeness:
    """What N labelers share: ``precision`` (N,) in (0, 2], a typical variance of errors over the labeler's own; ``links`` (N, N)
    sparse and symmetric, in [0, 1], how far two are one, nothing on the diagonal."""

    precision: Floats
    links: "csr_array"

    def parts(self, slot: Ints, labeler: Ints) -> Floats:
        """What each report counts for beside the labeler's weight, shape (m,), in (0, 2].

        Formula: precision_i / (1 + sum of the links of i with the slot's other reporters). So k names that are fully linked count in a
        slot as much as one of them.
        """
        if not slot.size:
            return np.ones(0)
        there = _matrix(np.ones(slot.size), labeler, slot, self.precision.size)
        return self.precision[labeler] / (1.0 + _at(self.links @ there, labeler, slot))


def alikeness(slot: Ints, labeler: Ints, report: Floats, *, labelers: int, by_difficulty: bool = False) -> Alikeness:
    """What labelers share beyond what the crowd says, from their reports alone.

    A report less its slot's consensus is an error; the consensus counts each report by what this function gives. With v_i the variance of
    i's errors and c_ij the covariance of two labelers' over the slots that both judged, both free of what the two have in the consensus
    themselves, and u the median of v:

        precision_i = min(2, u / v_i),   link_ij = (c_ij - 2.5 standard errors) / (min(u, v_i, v_j) / 2), cut to [0, 1].

    Noise that one person adds to every name's reports leaves c_ij as it is, the variance of the person's own error, and raises each v_i:
    hiding the likeness costs precision. Names whose noises cancel share nothing, and have k times the variance of one.

    Args:
        slot: shape (m,), at least 0; ``labeler``: shape (m,), values 0..N-1, nobody twice in a slot; ``report``: shape (m,), in [0, 1].
        labelers: N.
        by_difficulty: whether precision measures a labeler's squared errors against those that are usual where the crowd is as sure, and
            not against all: errors are small where everybody is sure, so that answering there alone would look precise.

    Guarantees: where c and v are known, k names whose reports are one judgement and noise, independent or opposed, count together as at
    most one name with that judgement, or u over the variance of its error where that is more. With finite slots two names pass as two
    until c_ij is told from 0: after about (2.5 v / c)^2 shared slots.

    Raises:
        ValueError: shapes that do not match, or a labeler out of range.

    Source: best linear unbiased combination of correlated reports (Bates & Granger, 1969; Winkler, 1981); that added noise can add no
    information: the data-processing inequality; counting what is alike once: quotient semivalues (arXiv 2605.07663).

    Example:
        >>> import numpy as np
        >>> noise = np.random.default_rng(0).normal(0.0, 0.1, (6, 200))
        >>> noise[1] = noise[0]
        >>> slot, labeler = np.repeat(np.arange(200), 6), np.tile(np.arange(6), 200)
        >>> found = alikeness(slot, labeler, (0.5 + noise).T.ravel().clip(0, 1), labelers=6)
        >>> round(float(found.links[0, 1]), 1), round(float(found.links[2, 3]), 1)
        (1.0, 0.0)
    """
    slot, labeler = np.asarray(slot, dtype=np.int64), np.asarray(labeler, dtype=np.int64)
    report = np.asarray(report, dtype=np.float64)
    if slot.shape != labeler.shape or slot.shape != report.shape or slot.ndim != 1:
        raise ValueError(f"expected a slot and labeler a report, got {slot.shape}, {labeler.shape} and {report.shape}")
    if labeler.size and (labeler.min() < 0 or labeler.max() >= labelers):
        raise ValueError(f"labelers must lie in 0..{labelers - 1}")
    from scipy.sparse import csr_array

    nothing = csr_array((labelers, labelers))
    slot, labeler, report = _affordable(slot, labeler, report)
    if not slot.size:
        return Alikeness(np.ones(labelers), nothing)
    there = _matrix(np.ones(slot.size), labeler, slot, labelers)
    shared = (there @ there.T).tocoo()
    enough = (shared.row < shared.col) & (shared.data >= FEWEST_SHARED)
    one, other, n = shared.row[enough], shared.col[enough], shared.data[enough]
    judged = np.bincount(labeler, minlength=labelers)
    found, own = Alikeness(np.ones(labelers), nothing), np.ones(slot.size)
    for _ in range(PASSES):
        held = own * np.minimum(found.precision, 1.0)[labeler]
        held /= np.bincount(slot, held)[slot]
        with_linked = held / own  # what a labeler and those who are one with it have in the consensus
        error = report - np.bincount(slot, held * report)[slot]
        error -= (np.bincount(labeler, error, minlength=labelers) / (judged + OWN_WEIGHT))[labeler]
        variance, of_consensus = _variances(slot, labeler, error, held, with_linked, judged)
        typical = float(np.median(variance[judged > 0]))
        precision = np.minimum(MOST_PRECISE, typical / variance)
        if by_difficulty:
            squares = np.square(error) + 2.0 * with_linked * variance[labeler] - of_consensus[slot]
            sure = np.abs(np.bincount(slot, held * report) - 0.5)[slot]
            precision = _against_difficulty(labeler, squares, sure, judged)

        errors = _matrix(error, labeler, slot, labelers)
        common = (_matrix(with_linked, labeler, slot, labelers) @ there.T).tocsr()
        products = _at(errors @ errors.T, one, other)
        squares = _at(errors.power(2) @ errors.power(2).T, one, other)
        corrected = products - _at(_matrix(of_consensus[slot], labeler, slot, labelers) @ there.T, one, other)
        corrected += variance[one] * _at(common, one, other) + variance[other] * _at(common, other, one)
        deviation = np.sqrt(np.maximum(squares / n - np.square(products / n), 0.0) / n)
        unit = np.minimum(typical, np.minimum(variance[one], variance[other]))
        link = np.clip((corrected / n - SURE * deviation) / (WHOLE * unit), 0.0, 1.0)
        both = (np.append(one, other)[np.tile(link > 0, 2)], np.append(other, one)[np.tile(link > 0, 2)])
        found = Alikeness(precision, csr_array((np.tile(link[link > 0], 2), both), shape=(labelers, labelers)))
        own = 1.0 / (1.0 + _at(found.links @ there, labeler, slot))
    return found


def _variances(
    slot: Ints, labeler: Ints, error: Floats, held: Floats, with_linked: Floats, judged: Ints
) -> tuple[Floats, Floats]:
    """Variance of each labeler's own error (N,), and of each slot's consensus (T,)."""
    variance, of_consensus = np.full(judged.size, float(np.square(error).mean())), np.zeros(0)
    for _ in range(ROUNDS_OF_VARIANCE):
        of_consensus = np.bincount(slot, held * with_linked * variance[labeler]).astype(np.float64)
        squares = np.square(error) + 2.0 * with_linked * variance[labeler] - of_consensus[slot]
        usual = max(float(squares.mean()), 1e-6)
        summed = np.bincount(labeler, squares, minlength=judged.size)
        variance = np.maximum((summed + OWN_WEIGHT * usual) / (judged + OWN_WEIGHT), LEAST_VARIANCE * usual)
    return variance, of_consensus


def _against_difficulty(labeler: Ints, squares: Floats, sure: Floats, judged: Ints) -> Floats:
    """Precision (N,) by squared errors over those that are usual where the crowd is as ``sure`` (m,), in ``LEVELS`` of equally many reports."""
    level = np.searchsorted(np.quantile(sure, np.linspace(0, 1, LEVELS + 1)[1:-1]), sure)
    usual = max(float(squares.mean()), 1e-6)
    summed, reports = np.bincount(level, squares, minlength=LEVELS), np.bincount(level, minlength=LEVELS)
    of_level = np.maximum((summed + OWN_WEIGHT * usual) / (reports + OWN_WEIGHT), LEAST_VARIANCE * usual)
    own, expected = (np.bincount(labeler, each, minlength=judged.size) for each in (squares, of_level[level]))
    ratio = np.maximum((own + OWN_WEIGHT * usual) / (expected + OWN_WEIGHT * usual), LEAST_VARIANCE)
    precision: Floats = np.minimum(MOST_PRECISE, np.median(ratio[judged > 0]) / ratio)
    return precision


def _affordable(slot: Ints, labeler: Ints, report: Floats) -> tuple[Ints, Ints, Floats]:
    """Rows of slots with enough reports, the smallest slots first until pairs of reports exceed ``MOST_PAIRS``."""
    size = np.bincount(slot) if slot.size else np.zeros(0, dtype=np.int64)
    order = np.argsort(size, kind="stable")
    order = order[np.cumsum(np.square(size[order])) <= MOST_PAIRS]
    kept = np.isin(slot, order[size[order] >= FEWEST_REPORTS])
    numbered: Ints = np.unique(slot[kept], return_inverse=True)[1]
    return numbered, labeler[kept], report[kept]


def _matrix(values: Floats, labeler: Ints, slot: Ints, labelers: int) -> "csr_array":
    from scipy.sparse import csr_array

    return csr_array((values, (labeler, slot)), shape=(labelers, int(slot.max()) + 1))


def _at(matrix: Any, row: NDArray[np.int64], column: NDArray[np.int64]) -> Floats:
    """Entries of a sparse matrix."""
    return np.asarray(matrix.tocsr()[row, column], dtype=np.float64).ravel()
