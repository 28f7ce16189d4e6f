"""What judgements added to the aligned model: values of preference pairs, shared out to those who judged them.

Belongs here: a report's part in the aggregate of its comparison, and values by it. Does not belong here: what a pair was worth to the
model (see ``resources.training.preference_values``), pay for judgements (see ``judging``).
"""

from collections.abc import Callable
from itertools import pairwise
from math import factorial

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pool = Callable[[Ints, Ints], Floats]
"""Aggregates (C,) in [0, 1] of C sets of reports: takes (m,) the set of each row, ascending from 0, and (m,) which report it is."""

EXACT_UP_TO = 5
ORDERS = 8
"""Orders of arrival, turned by equal steps so that everybody comes early and late, and as many the other way round, for a comparison with
more reports than are enumerated."""
LEAST_MOVED = 0.05
"""A pair's value is shared by parts in the aggregate where the reports moved it this far from one half; else equally."""
ROWS_AT_ONCE = 1_000_000
NOBODY = 0.5
"""The aggregate of no report."""


def report_effects(slot: Ints, pool: Pool, *, rng: np.random.Generator) -> Floats:
    """How far each report moved the aggregate of its comparison away from one half: its Shapley value.

    The players of a comparison's game are its reports, and a set of them is worth the aggregate that it alone would give, less 1/2. Up to
    five reports all sets are asked for; of more, those along 16 orders of arrival.

    Args:
        slot: shape (m,), the comparison of each report, ascending.
        pool: the aggregate; see ``Pool``.
        rng: source of who is who in the orders, drawn for each comparison.

    Returns:
        shape (m,), in [-1, 1]; positive where the report moved the aggregate towards A.

    Guarantees: efficient: a comparison's effects sum to its aggregate less 1/2; a report that no aggregate heeds has none; reports that
    are alike in every set have the same, up to the noise of the orders where there are more than five.

    Raises:
        ValueError: slots that descend, or a pool that gives another number of aggregates than it was asked for.

    Source: Shapley (1953).

    Example:
        >>> import numpy as np
        >>> reports = np.array([0.9, 0.9, 0.0])
        >>> def mean(of_set, report):
        ...     return np.bincount(of_set, reports[report]) / np.bincount(of_set)
        >>> report_effects(np.zeros(3, dtype=np.int64), mean, rng=np.random.default_rng(0)).round(3).tolist()
        [0.258, 0.258, -0.417]
    """
    slot = np.asarray(slot, dtype=np.int64)
    if (np.diff(slot) < 0).any():
        raise ValueError("reports must be in the order of their slots")
    _, first, counts = np.unique(slot, return_index=True, return_counts=True)
    effects = np.zeros(slot.size)
    for players in np.unique(counts).tolist():
        masks, shares = _coalitions(players)
        starts = first[counts == players]
        at_once = max(1, ROWS_AT_ONCE // max(1, int(masks.sum())))
        for begin in range(0, starts.size, at_once):
            rows = starts[begin : begin + at_once, None] + np.arange(players)
            if players > EXACT_UP_TO:
                rows = rng.permuted(rows, axis=1)
            worth = _worths(rows, masks, pool)
            effects[rows] = (worth - NOBODY) @ shares.T
    return effects


def judgement_values(
    slot: Ints, labeler: Ints, effect: Floats, value: Floats, *, labelers: int, least: float = LEAST_MOVED
) -> Floats:
    """Values of pairs, shared out to those who judged them.

        v_i = sum over its reports of V_t e_it / sum_j e_jt

    with V_t the value of pair t and e the effects of its reports. Where the effects sum to less than ``least``, all reports on the pair
    have the same part.

    Args:
        slot, labeler, effect: shape (m,), positions of a report's pair and labeler, and its effect as of ``report_effects``.
        value: shape (T,), worth of each pair; that of a pair without a report goes to nobody.
        labelers: N.

    Returns:
        shape (N,), in the unit of ``value``.

    Guarantees: efficient: the values sum to those of all pairs with a report. They are the Shapley values of the game in which a pair is
    worth in proportion to how far the reports on it move its aggregate: who moves it the other way than the crowd loses what the pair
    brought, and gains where the pair did harm.

    Raises:
        ValueError: shapes that do not match, or a position out of range.

    Source: Shapley values of preference data for DPO: Tamine, Sakhi & Heymann (arXiv 2512.15765); the parts by reports are this project's.

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.zeros(3, dtype=np.int64), np.arange(3)
        >>> judgement_values(slot, labeler, np.array([0.3, 0.2, -0.1]), np.array([1.0]), labelers=3).round(3).tolist()
        [0.75, 0.5, -0.25]
    """
    slot, labeler = np.asarray(slot, dtype=np.int64), np.asarray(labeler, dtype=np.int64)
    effect, value = np.asarray(effect, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if not slot.shape == labeler.shape == effect.shape:
        raise ValueError(
            f"expected a labeler and an effect a report, got {slot.shape}, {labeler.shape}, {effect.shape}"
        )
    for name, positions, end in (("slots", slot, value.size), ("labelers", labeler, labelers)):
        if positions.size and not 0 <= positions.min() <= positions.max() < end:
            raise ValueError(f"{name} must lie in 0..{end - 1}")
    moved = np.bincount(slot, effect, minlength=value.size)
    reports = np.bincount(slot, minlength=value.size)
    enough = np.abs(moved) >= least
    part = np.where(enough[slot], effect / np.where(enough, moved, 1.0)[slot], 1.0 / np.maximum(reports, 1)[slot])
    return np.bincount(labeler, value[slot] * part, minlength=labelers).astype(np.float64)


def _coalitions(players: int) -> tuple[NDArray[np.bool_], Floats]:
    """Sets of players (M, n), none empty, and what each set's worth counts for in each player's value (n, M)."""
    if players <= EXACT_UP_TO:
        masks = ((np.arange(1, 1 << players)[:, None] >> np.arange(players)) & 1).astype(bool)
        size = masks.sum(axis=1)
        weight = [factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)] + [0.0]
        joined, lacking = np.array([0.0, *weight])[size], np.array(weight)[size]
        return masks, np.where(masks, joined[:, None], -lacking[:, None]).T
    shifts = np.unique(np.arange(ORDERS) * players // ORDERS).tolist()
    orders = [np.roll(np.arange(players), shift) for shift in shifts]
    found: list[NDArray[np.bool_]] = []
    shares: list[Floats] = []
    for order in [each for one in orders for each in (one, one[::-1])]:
        prefixes = np.zeros((players + 1, players), dtype=bool)
        for at, (before, after) in enumerate(pairwise(range(players + 1))):
            prefixes[after] = prefixes[before]
            prefixes[after, order[at]] = True
        part = np.zeros((players, players))
        part[order, np.arange(players)] = 1.0
        part[order[1:], np.arange(players - 1)] -= 1.0
        found.append(prefixes[1:])
        shares.append(part / (2 * len(orders)))
    return np.concatenate(found), np.concatenate(shares, axis=1)


def _worths(rows: Ints, masks: NDArray[np.bool_], pool: Pool) -> Floats:
    """Aggregates (S, M) of M sets of the reports (S, n) of S comparisons."""
    which, player = np.nonzero(np.tile(masks, (len(rows), 1)))
    report = rows[which // len(masks), player]
    found = np.asarray(pool(which, report), dtype=np.float64)
    if found.shape != (len(rows) * len(masks),):
        raise ValueError(f"the pool gave shape {found.shape} for {len(rows) * len(masks)} sets of reports")
    return np.where(np.isnan(found), NOBODY, found).reshape(len(rows), len(masks))
