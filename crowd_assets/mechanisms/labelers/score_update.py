"""Pooling labelers' reports, with weights that follow their accuracy against realised outcomes.

Belongs here: weight updates, aggregates, regret, and the plain aggregates they are compared with.
Does not belong here: what labelers might do strategically (see ``strategic``) and which outcomes exist (see
the feedback assets).

A slot is one comparison whose labelers report the probability r_i in [0, 1] that answer A is preferred, and
whose outcome y in [0, 1] is realised later. The loss of a report is quadratic, l_i = (r_i - y)^2.

Sources: Freeman, Pennock, Podimata & Wortman Vaughan, "No-regret and incentive-compatible online learning"
(ICML 2020), for the weighted score update; Hao & Duan, "Online learning from strategic human
feedback in LLM fine-tuning" (arXiv 2412.16834) for its use with labelers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST_STEP = 0.5
"""Above it the update could take a weight past zero before its loss is known to be worst."""

LARGE_CROWD = 1_000
"""Labelers; in a larger crowd all weights are moved towards the mean at once, every ``LAZY_SLOTS`` slots."""
LAZY_SLOTS = 1_000

RULES = ("pooled", "sampled")


@dataclass(frozen=True, slots=True)
class LabelerState:
    """What is known of N labelers after some slots.

    ``weights`` (N,) positive, sum 1; ``slots`` that changed weights so far; ``cumulative_loss`` (N,) sum of
    quadratic losses over the slots each took part in; ``slots_seen`` (N,) number of these slots.
    """

    weights: NDArray[np.float64]
    slots: int
    cumulative_loss: NDArray[np.float64]
    slots_seen: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SlotResults:
    """What a run over T slots gave.

    ``state`` afterwards; ``aggregates`` (T,) in [0, 1], NaN where nobody reported; ``losses`` (T,) quadratic
    loss of each aggregate, NaN where there was no aggregate or no outcome.
    """

    state: LabelerState
    aggregates: NDArray[np.float64]
    losses: NDArray[np.float64]


def initial_state(labelers: int) -> LabelerState:
    """State of N labelers nobody knows yet: weights 1/N. Raises ValueError for fewer than one labeler.

    Example:
        >>> initial_state(4).weights.tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    if labelers < 1:
        raise ValueError(f"a crowd needs at least one labeler, got {labelers}")
    return LabelerState(
        weights=np.full(labelers, 1.0 / labelers),
        slots=0,
        cumulative_loss=np.zeros(labelers),
        slots_seen=np.zeros(labelers, dtype=np.int64),
    )


def with_newcomers(state: LabelerState, count: int, *, entry: float = 1.0) -> LabelerState:
    """State with ``count`` more labelers at the end, each entering with a share of the mean weight.

    Formula: the N weights become w_i N / (N + entry count), each newcomer gets entry / (N + entry count).

    Args:
        state: of N labelers.
        count: newcomers.
        entry: in (0, 1]; below 1 a labeler who is below the mean has less from coming back under a new name.

    Guarantees: weights sum to one; ratios between the earlier labelers do not change.

    Raises:
        ValueError: ``count`` is negative, or ``entry`` outside (0, 1].

    Example:
        >>> with_newcomers(initial_state(2), 1, entry=0.5).weights.round(3).tolist()
        [0.4, 0.4, 0.2]
    """
    if count < 0:
        raise ValueError(f"the number of newcomers cannot be negative, got {count}")
    if not 0.0 < entry <= 1.0:
        raise ValueError(f"entry must lie in (0, 1], got {entry}")
    if not count:
        return state
    entered = np.full(count, entry * state.weights.mean())
    return LabelerState(
        weights=_normalised(np.concatenate([state.weights, entered])),
        slots=state.slots,
        cumulative_loss=np.concatenate([state.cumulative_loss, np.zeros(count)]),
        slots_seen=np.concatenate([state.slots_seen, np.zeros(count, dtype=np.int64)]),
    )


def counted_reports(
    slot: NDArray[np.int64],
    ring: NDArray[np.int64],
    *,
    interested: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    once: bool = False,
) -> NDArray[np.bool_]:
    """Which reports count: none of who sells one of the answers, and of a ring, where wanted, the first.

    A ring is one person behind several names, or several who act as one; who is in none has a number of its own.

    Args:
        slot: shape (m,), slot of each report, in order of arrival within a slot.
        ring: shape (m,), ring of the labeler of each report.
        interested: slots and rings, both shape (k,), of those who sell an answer of the slot.
        once: whether reports of one ring on one slot count as one, the first that counts.

    Returns:
        shape (m,).

    Raises:
        ValueError: shapes that do not match.

    Example:
        >>> import numpy as np
        >>> slot, ring = np.array([0, 0, 0, 1]), np.array([7, 7, 8, 8])
        >>> counted_reports(slot, ring, once=True).tolist()
        [True, False, True, True]
        >>> counted_reports(slot, ring, interested=(np.array([0]), np.array([8]))).tolist()
        [True, True, False, True]
    """
    slot, ring = np.asarray(slot, dtype=np.int64), np.asarray(ring, dtype=np.int64)
    if slot.ndim != 1 or ring.shape != slot.shape:
        raise ValueError(f"expected one slot and ring a report, got {slot.shape} and {ring.shape}")
    counts = np.ones(slot.size, dtype=bool)
    if interested is not None:
        of_slot, of_ring = (np.asarray(each, dtype=np.int64) for each in interested)
        if of_slot.ndim != 1 or of_ring.shape != of_slot.shape:
            raise ValueError(f"expected one slot and ring a seller, got {of_slot.shape} and {of_ring.shape}")
        both = np.unique(
            np.column_stack([np.append(slot, of_slot), np.append(ring, of_ring)]), axis=0, return_inverse=True
        )[1]
        counts = ~np.isin(both[: slot.size], both[slot.size :])
    if once:
        counting = np.flatnonzero(counts)
        first = np.unique(np.column_stack([slot[counting], ring[counting]]), axis=0, return_index=True)[1]
        counts = np.zeros(slot.size, dtype=bool)
        counts[counting[first]] = True
    return counts


def known_horizon_step(labelers: int, slots: int) -> float:
    """Step for a known number of slots: min(1/2, sqrt(ln N / T)), for ``update_slot`` in every slot.

    Guarantee: regret at most 2 sqrt(T ln N) against the best labeler in hindsight.

    Raises:
        ValueError: fewer than one labeler or slot.

    Example:
        >>> round(known_horizon_step(labelers=10, slots=100), 4)
        0.1517
    """
    if labelers < 1 or slots < 1:
        raise ValueError(f"a step needs at least one labeler and one slot, got {labelers} and {slots}")
    return min(LARGEST_STEP, float(np.sqrt(np.log(labelers) / slots)))


def anytime_step(labelers: int, slot_no: int) -> float:
    """Step of slot t = 1, 2, ... where the number of slots is not known: min(1/2, sqrt(ln N / t)).

    Never rises with t. Only together with ``keep`` of ``update_slot`` does it bound the regret; see there.

    Raises:
        ValueError: fewer than one labeler, or slots that do not count from 1.

    Example:
        >>> [round(anytime_step(labelers=10, slot_no=t), 4) for t in (1, 10, 100)]
        [0.5, 0.4799, 0.1517]
    """
    return known_horizon_step(labelers, slot_no)


def pooled(weights: NDArray[np.float64], reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean report of each slot, over those who reported.

    Formula: sum of w_i r_i over reporters / sum of w_i over reporters.

    Args:
        weights: shape (N,), non-negative.
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.

    Returns:
        shape (T,), in [0, 1]; NaN where nobody with a positive weight reported.

    Raises:
        ValueError: shapes that do not match, a negative weight, or a report outside [0, 1].

    Example:
        >>> import numpy as np
        >>> pooled(np.array([0.75, 0.25]), np.array([[1.0, 0.0], [np.nan, 0.5]])).tolist()
        [0.75, 0.5]
    """
    reports = checked_slots(reports)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (reports.shape[1],) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"expected {reports.shape[1]} weights, finite and not negative, got shape {weights.shape}")
    reported = ~np.isnan(reports)
    mass = reported @ weights
    weighted = np.where(reported, reports, 0.0) @ weights
    means = np.full(len(reports), np.nan)
    np.divide(weighted, mass, out=means, where=mass > 0)
    within: NDArray[np.float64] = np.clip(means, 0.0, 1.0)
    return within


def run_reports(
    state: LabelerState,
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    *,
    rule: str = "pooled",
    rng: np.random.Generator | None = None,
) -> SlotResults:
    """``run_slots`` for crowds in which each slot has few of many labelers: one row for each report.

    Args:
        state: before the first slot, of N labelers.
        slot: shape (m,), values 0..T-1, never falling.
        labeler: shape (m,), values 0..N-1, no labeler twice in one slot.
        report: shape (m,), in [0, 1].
        outcomes: shape (T,), in [0, 1], NaN where none was realised.
        rule: one of ``RULES``.
        rng: needed by ``sampled``.

    Returns and guarantees: as ``run_slots``, whose result it equals; memory O(N + T + m).

    Raises:
        ValueError: unknown rule, ``sampled`` without a generator, shapes that do not match, slots out of
            order, an index out of range, a labeler twice in a slot, or a report or outcome outside [0, 1].

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
        >>> found = run_reports(initial_state(2), slot, labeler, np.array([1.0, 0.0, 1.0, 0.0]), np.ones(2))
        >>> found.aggregates.round(3).tolist()
        [0.5, 0.625]
    """
    slot, labeler, report, outcomes = checked_rows(slot, labeler, report, outcomes, state.weights.size)
    return learn(state, slot, labeler, report, outcomes, rule, rng)


def checked_rows(
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    labelers: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Rows of sparse reports in the order of their slots; raises what ``run_reports`` raises.

    Example:
        >>> import numpy as np
        >>> rows = checked_rows(np.array([0, 0]), np.array([1, 0]), np.array([1, 0]), np.array([1]), labelers=2)
        >>> [row.tolist() for row in rows]
        [[0, 0], [1, 0], [1.0, 0.0], [1.0]]
    """
    slot, labeler = np.asarray(slot, dtype=np.int64), np.asarray(labeler, dtype=np.int64)
    report, outcomes = np.asarray(report, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if slot.ndim != 1 or slot.shape != labeler.shape or slot.shape != report.shape or outcomes.ndim != 1:
        raise ValueError(f"expected one row for each report, got {slot.shape}, {labeler.shape} and {report.shape}")
    if (np.diff(slot) < 0).any():
        raise ValueError("reports must be sorted by slot: weights depend on the order")
    if slot.size and (slot[0] < 0 or slot[-1] >= outcomes.size or labeler.min() < 0 or labeler.max() >= labelers):
        raise ValueError(f"slots must lie in 0..{outcomes.size - 1} and labelers in 0..{labelers - 1}")
    rows = slot * labelers + labeler
    if (np.diff(rows) <= 0).any() and np.unique(rows).size != rows.size:
        raise ValueError("a labeler reported twice in one slot: keep one report of each")
    if not ((report >= 0) & (report <= 1)).all():
        raise ValueError("reports must lie in [0, 1]")
    check_outcomes(outcomes)
    return slot, labeler, report, outcomes


def learn(
    state: LabelerState,
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    rule: str,
    rng: np.random.Generator | None,
) -> SlotResults:
    """``run_reports`` on checked rows. All that does not depend on weights is computed for all slots at once; what is
    left in the loop is a handful of operations on vectors.

    A slot moves who reported, and everybody towards the mean. In a crowd of more than ``LARGE_CROWD`` the latter is
    kept as one factor and one summand of all weights, w = scale * weights + offset, so that a slot takes time by its
    reports and not by the crowd.

    Example:
        >>> import numpy as np
        >>> slot, labeler, report = np.array([0, 0]), np.array([0, 1]), np.array([1.0, 0.0])
        >>> learn(initial_state(2), slot, labeler, report, np.ones(1), "pooled", None).aggregates.tolist()
        [0.5]
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
    if rule == "sampled" and rng is None:
        raise ValueError("the sampled rule draws one labeler a slot: pass rng")
    labelers, slots = state.weights.size, outcomes.size
    ends = np.searchsorted(slot, np.arange(slots), side="right")
    starts = np.concatenate([[0], ends[:-1]]) if slots else ends
    heard = ends > starts
    teaches = heard & ~np.isnan(outcomes)
    learned = state.slots + np.cumsum(teaches)
    spread = np.log(labelers)
    steps = np.minimum(LARGEST_STEP, np.sqrt(spread / np.maximum(learned, 1)))
    next_steps = np.minimum(LARGEST_STEP, np.sqrt(spread / (learned + 1)))
    keeps = np.divide(next_steps, steps, out=np.ones(slots), where=steps > 0)
    losses = np.square(report - outcomes[slot])
    fall = -steps[slot] * losses
    in_order = bool((np.diff(slot * labelers + labeler) > 0).all())
    everybody = in_order & (ends - starts == labelers)

    weights, least, ones = state.weights.copy(), np.finfo(np.float64).tiny, np.ones(labelers)
    aggregates = np.full(slots, np.nan)
    scale, offset, moved = 1.0, 0.0, 0  # slots since the weights themselves were moved
    todo = np.flatnonzero(heard)
    for t, start, end, full, teaching, keep in zip(
        *(column[todo].tolist() for column in (np.arange(slots), starts, ends, everybody, teaches, keeps)), strict=True
    ):
        reported = report[start:end]
        lazily = labelers > LARGE_CROWD and not full and keep < 1.0
        if moved and (not lazily or moved == LAZY_SLOTS):
            weights, scale, offset, moved = _normalised(scale * weights + offset), 1.0, 0.0, 0
        held = weights if full else weights[labeler[start:end]]
        if moved:
            held = scale * held + offset
        mass = 1.0 if full else held.dot(ones[: end - start])
        if rng is not None and rule == "sampled":
            aggregates[t] = reported[draw(held, rng)]
        else:
            aggregates[t] = held.dot(reported) / mass
        if not teaching:
            continue
        # w_i (1 - step (l_i - mean loss)), with fall_i = -step l_i.
        falls = fall[start:end]
        held = held * (falls + (1.0 - held.dot(falls) / mass))
        if full:
            weights = held
        else:
            held *= mass / held.dot(ones[: end - start])
            weights[labeler[start:end]] = (held - offset) / scale if moved else held
        if lazily:
            scale, offset, moved = scale * keep, offset * keep + (1.0 - keep) / labelers, moved + 1
            continue
        if keep == 1.0:
            np.maximum(weights, least, out=weights)
        weights *= keep / weights.dot(ones)
        weights += (1.0 - keep) / labelers
    if moved:
        weights = _normalised(scale * weights + offset)
    if rule == "pooled" and todo.size:
        # A mean lies within what it is a mean of, also after rounding.
        lowest, highest = np.minimum.reduceat(report, starts[todo]), np.maximum.reduceat(report, starts[todo])
        aggregates[todo] = np.clip(aggregates[todo], lowest, highest)

    cumulative_loss, slots_seen = state.cumulative_loss.copy(), state.slots_seen.copy()
    counted = teaches[slot]
    np.add.at(cumulative_loss, labeler[counted], losses[counted])
    slots_seen += np.bincount(labeler[counted], minlength=labelers)
    return SlotResults(
        state=LabelerState(weights, state.slots + int(teaches.sum()), cumulative_loss, slots_seen),
        aggregates=aggregates,
        losses=np.square(aggregates - outcomes),
    )


def pool(held: NDArray[np.float64], reported: NDArray[np.float64]) -> float:
    """Weighted mean, kept within the reports it is a mean of.

    Example:
        >>> import numpy as np
        >>> pool(np.array([0.75, 0.25]), np.array([1.0, 0.0]))
        0.75
    """
    return float(np.clip(held @ reported / held.sum(), reported.min(), reported.max()))


def draw(held: NDArray[np.float64], rng: np.random.Generator) -> int:
    """Index drawn with probability proportional to ``held``.

    Example:
        >>> import numpy as np
        >>> draw(np.array([0.0, 0.5, 0.0]), np.random.default_rng(0))
        1
    """
    ladder = np.cumsum(held)
    return int(min(np.searchsorted(ladder, rng.random() * ladder[-1], side="right"), held.size - 1))


def update(
    weights: NDArray[np.float64],
    reporters: NDArray[np.int64],
    losses: NDArray[np.float64],
    step: float,
    keep: float,
) -> None:
    """Weighted score update of ``weights`` in place; see ``update_slot``.

    Example:
        >>> import numpy as np
        >>> weights = np.array([0.5, 0.5])
        >>> update(weights, np.array([0, 1]), losses=np.array([0.0, 1.0]), step=0.5, keep=1.0)
        >>> weights.tolist()
        [0.625, 0.375]
    """
    held = weights[reporters]
    mass = held.sum()
    held = held * (1.0 - step * (losses - held @ losses / mass))
    weights[reporters] = held * (mass / held.sum())
    if keep < 1.0:
        weights *= keep
        weights += (1.0 - keep) / weights.size
    weights[:] = _normalised(weights)


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that sum to one; never below the smallest normal float, from which no update could bring one
    back."""
    weights = np.maximum(weights, np.finfo(np.float64).tiny)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def checked_slots(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reports as floats (T, N); raises ``ValueError`` unless each lies in [0, 1] or is NaN.

    Example:
        >>> import numpy as np
        >>> checked_slots(np.array([[1, 0]])).tolist()
        [[1.0, 0.0]]
    """
    reports = np.asarray(reports, dtype=np.float64)
    if reports.ndim != 2:
        raise ValueError(f"expected reports of shape (slots, labelers), got shape {reports.shape}")
    if (reports < 0).any() or (reports > 1).any():
        raise ValueError("reports must lie in [0, 1], NaN where a labeler did not report")
    return reports


def check_outcomes(outcomes: NDArray[np.float64]) -> None:
    """Raises ``ValueError`` where an outcome (T,) lies outside [0, 1]; NaN stands for none.

    Example:
        >>> import numpy as np
        >>> check_outcomes(np.array([0.0, np.nan]))
        >>> check_outcomes(np.array([1.5]))
        Traceback (most recent call last):
            ...
        ValueError: outcomes must lie in [0, 1], NaN where none was realised
    """
    if (outcomes < 0).any() or (outcomes > 1).any():
        raise ValueError("outcomes must lie in [0, 1], NaN where none was realised")
