"""How far people who judge the same items agree, beyond chance: coefficients, intervals, and how much more is to be asked.

Belongs here: coefficients of agreement over judgements with gaps, their bootstrap intervals, power analysis.
Does not belong here: consensus (see ``labelers``), who is suspected of what (see ``crowd_assets.quality.detectors``).

A judgement is one row: an item, numbered from 0, and a value. Items may have any number of judgements, which is what a table with gaps
says; items with one judgement say nothing about agreement. Values are numbers: their names for the nominal metric, their order for
the ordinal one, their differences for the interval one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METRICS = ("nominal", "ordinal", "interval")
WEIGHTS = ("identity", "linear", "quadratic")

GROUPS = 2_000
"""Items are resampled one by one up to that many; more are dealt at random into that many groups, which are resampled."""
FEWEST_GROUPS = 100
MOST_LEVELS = 32
"""Distinct values up to which ranks are taken anew in every resample; of more the ranks of all judgements are kept."""
TABLE_CELLS = 1_000_000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """A coefficient with its interval.

    ``value`` at most 1, NaN where it is not defined; ``low`` and ``high`` its bootstrap interval; ``items`` with two or more
    judgements, ``judgements`` on these.
    """

    value: float
    low: float
    high: float
    items: int
    judgements: int


@dataclass(frozen=True, slots=True)
class _Counts:
    """Judgements of U items in q levels as rows (item, level, n), and what follows: ``levels`` (q,) rising values, ``size`` (U,)
    judgements an item."""

    item: Ints
    level: Ints
    n: Floats
    size: Floats
    levels: Floats


@dataclass(frozen=True, slots=True)
class _Sums:
    """What coefficients are functions of, summed over the items of each of G groups.

    ``spread`` (G, q, q): sum over items with m >= 2 judgements of n_c n_k / (m - 1). ``paired`` (G, q): judgements of each level on
    such items. ``own`` (G, q): sum of n_c / (m - 1) on them. ``agreed`` (G, q, q): sum of n_c n_k / (m (m - 1)) on them, with
    n_c (n_c - 1) on the diagonal. ``shares`` (G, q): sum over all items of n_c / m. ``items``, ``pairable`` (G,): items of any
    judgement, and of two or more.
    """

    spread: Floats
    paired: Floats
    own: Floats
    agreed: Floats
    shares: Floats
    items: Floats
    pairable: Floats


def krippendorff_alpha(item: Ints, value: Floats, metric: str = "nominal") -> float:
    """Krippendorff's alpha: 1 - observed disagreement / disagreement expected of judgements dealt at random.

    With m_u judgements of item u (items with one are left out), n judgements in all and the squared difference d of two values:
        D_o = (1/n) sum over u of (1 / (m_u - 1)) sum over ordered pairs within u of d,
        D_e = (1 / (n (n - 1))) sum over ordered pairs of all of d.
    The difference is 1 for two values unlike (nominal), that of mid-ranks (ordinal), that of values (interval), squared where it
    is a number. Time O(m log m), whatever the number of distinct values.

    Args:
        item: shape (m,), numbers from 0, in any order.
        value: shape (m,), finite.
        metric: one of ``METRICS``.

    Returns:
        at most 1; NaN where no item has two judgements or all have one value.

    Raises:
        ValueError: unknown metric, shapes that do not match, a negative item, or a value that is not finite.

    Source: Krippendorff, "Content Analysis" (2004), chapter 11; Hayes & Krippendorff (2007).

    Example:
        >>> import numpy as np
        >>> item, value = np.array([0, 0, 1, 1, 2, 2]), np.array([1.0, 1, 0, 0, 1, 0])
        >>> round(krippendorff_alpha(item, value), 3)
        0.444
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}: choose one of {', '.join(METRICS)}")
    item, value = checked_judgements(item, value)
    size = np.bincount(item)[item] if item.size else np.zeros(0, dtype=np.int64)
    item, value = item[size > 1], value[size > 1]
    if not item.size:
        return math.nan
    levels, level, counts = np.unique(value, return_inverse=True, return_counts=True)
    if levels.size < 2:
        return math.nan
    n = float(item.size)
    _, item = np.unique(item, return_inverse=True)
    m = np.bincount(item).astype(np.float64)
    if metric == "nominal":
        cells, same = np.unique(item.astype(np.int64) * levels.size + level, return_counts=True)
        unlike = m - np.bincount(cells // levels.size, same * same.astype(np.float64), minlength=m.size) / m
        observed = float((m / (m - 1) * unlike).sum())
        expected = float(n * n - np.square(counts.astype(np.float64)).sum()) / (n - 1)
    else:
        points = levels if metric == "interval" else _mid_ranks(counts)
        points = points - float(counts @ points) / n  # sums of squares keep their digits
        at = points[level]
        mean = np.bincount(item, at) / m
        observed = 2 * float((m / (m - 1) * np.bincount(item, np.square(at - mean[item]))).sum())
        expected = 2 * n * float(counts @ np.square(points)) / (n - 1)
    return 1.0 - observed / expected if expected > 0 else math.nan


def fleiss_kappa(item: Ints, value: Floats) -> float:
    """Fleiss' kappa, for any number of judgements an item.

    (p_a - p_e) / (1 - p_e) with p_a the mean over items with two or more judgements of the share of pairs that agree, and p_e the
    sum over values of the squared mean share that the value has of an item's judgements. With equally many judgements of every item
    that is Fleiss' own.

    Args and raises: as ``krippendorff_alpha``. NaN where no item has two judgements or all have one value.

    Source: Fleiss, "Measuring nominal scale agreement among many raters" (1971); gaps: Gwet, "Handbook of Inter-Rater
    Reliability" (2014), chapter 2.

    Example:
        >>> import numpy as np
        >>> item, value = np.array([0, 0, 1, 1, 2, 2]), np.array([1.0, 1, 0, 0, 1, 0])
        >>> round(fleiss_kappa(item, value), 3)
        0.333
    """
    return _point(_kappa(_shared_chance, "identity"), item, value)


def gwet_ac1(item: Ints, value: Floats) -> float:
    """Gwet's AC1: as Fleiss' kappa, with chance agreement sum over the q values of pi (1 - pi) / (q - 1).

    Where nearly all judgements have one value kappa is low however often people agree; AC1 is not.

    Args and raises: as ``krippendorff_alpha``. NaN where no item has two judgements; 1 where all have one value.

    Source: Gwet, "Computing inter-rater reliability and its variance in the presence of high agreement" (2008).

    Example:
        >>> import numpy as np
        >>> item, value = np.array([0, 0, 1, 1, 2, 2]), np.array([1.0, 1, 0, 0, 1, 0])
        >>> round(gwet_ac1(item, value), 3)
        0.333
    """
    return gwet_ac2(item, value, "identity")


def gwet_ac2(item: Ints, value: Floats, weights: str = "quadratic") -> float:
    """Gwet's AC2: AC1 with partial credit for values that are near, 1 - (distance / range)^2 or 1 - distance / range.

    Args and raises: as ``krippendorff_alpha``.
        weights: one of ``WEIGHTS``; ``identity`` gives AC1.

    Source: Gwet, "Handbook of Inter-Rater Reliability" (2014), chapters 2 and 5.

    Example:
        >>> import numpy as np
        >>> item, value = np.array([0, 0, 1, 1]), np.array([1.0, 2, 3, 3])
        >>> round(gwet_ac2(item, value), 3)
        0.667
    """
    return _point(_kappa(_gwet_chance, weights), item, value)


def with_interval(
    coefficient: str,
    item: Ints,
    value: Floats,
    *,
    resamples: int = 1_000,
    level: float = 0.95,
    rng: np.random.Generator,
    weight: Floats | None = None,
) -> Agreement:
    """A coefficient with its percentile interval by a bootstrap over items.

    Args:
        coefficient: one of ``COEFFICIENTS``.
        item, value: as ``krippendorff_alpha``.
        resamples: how often items are drawn anew, with replacement.
        level: of the interval, in (0, 1).
        rng: source of the draws.
        weight: shape (U,), by an item's number, positive: what an item counts, so that the pairs of a ranking count as one item. A
            whole number counts as that many items of the same judgements. None: each counts 1.

    Returns:
        the coefficient; ``low`` and ``high`` are NaN where it is, or where fewer than two items have two judgements. More than
        ``GROUPS`` items are dealt into as many groups first, so that 10^6 judgements take about a second.

    Raises:
        ValueError: unknown coefficient, a level outside (0, 1), fewer than one resample, a weight that is missing or not positive, or
            as ``krippendorff_alpha``.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap" (1993); Hayes & Krippendorff (2007) for alpha.

    Example:
        >>> import numpy as np
        >>> item, value = np.array([0, 0, 1, 1, 2, 2]), np.array([1.0, 1, 0, 0, 1, 1])
        >>> with_interval('fleiss_kappa', item, value, resamples=20, rng=np.random.default_rng(0)).value
        1.0
    """
    if coefficient not in COEFFICIENTS:
        raise ValueError(f"unknown coefficient {coefficient!r}: choose one of {', '.join(COEFFICIENTS)}")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"an interval needs a level in (0, 1) and resamples, got {level} and {resamples}")
    item, value = checked_judgements(item, value)
    size = np.bincount(item) if item.size else np.zeros(0, dtype=np.int64)
    items, judgements = int((size > 1).sum()), int(size[size > 1].sum())
    metric = coefficient.removeprefix("alpha_")
    weights = None if weight is None else _weights(weight, item)
    point = COEFFICIENTS[coefficient](item, value) if weights is None else math.nan
    if weights is not None and judgements:
        if metric == "interval":
            point = float(_interval_alpha(_moments(item, value, weights).sum(axis=0, keepdims=True))[0])
        else:
            point = _point(OF_SUMS[coefficient], item, value, weights)
    if items < 2 or math.isnan(point):
        return Agreement(point, math.nan, math.nan, items, judgements)
    if metric == "ordinal" and np.unique(value).size > MOST_LEVELS:
        _, at, counts = np.unique(value, return_inverse=True, return_counts=True)
        metric, value = "interval", _mid_ranks(counts)[at]
    if metric == "interval":
        samples = _interval_alpha(_grouped(_moments(item, value, weights), resamples, rng))
    elif metric == "nominal" and weights is None and np.unique(value).size > MOST_LEVELS:
        samples = _nominal_samples(item, value, resamples, rng)
    else:
        counts_of = _counts(item, value)
        groups = _groups(counts_of, rng)
        sums = _sums(counts_of, groups, weights)
        drawn = _resampled(sums.items.size, resamples, rng)
        of = OF_SUMS[coefficient]
        samples = np.concatenate(
            [of(_drawn(sums, part), counts_of.levels) for part in np.array_split(drawn, max(1, resamples // 100))]
        )
    samples = samples[np.isfinite(samples)]
    if not samples.size:
        return Agreement(point, math.nan, math.nan, items, judgements)
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Agreement(point, float(low), float(high), items, judgements)


COEFFICIENTS: dict[str, Callable[[Ints, Floats], float]] = {
    "alpha_nominal": lambda item, value: krippendorff_alpha(item, value, "nominal"),
    "alpha_ordinal": lambda item, value: krippendorff_alpha(item, value, "ordinal"),
    "alpha_interval": lambda item, value: krippendorff_alpha(item, value, "interval"),
    "fleiss_kappa": fleiss_kappa,
    "gwet_ac1": gwet_ac1,
    "gwet_ac2": gwet_ac2,
}
"""Coefficients of any number of people."""


def checked_judgements(item: Ints, value: Floats) -> tuple[Ints, Floats]:
    """Judgements as arrays (m,): ``item`` int64 from 0, ``value`` finite; raises ``ValueError`` where they are not.

    Example:
        >>> checked_judgements([0, 0, 1], [1, 0, 1])
        (array([0, 0, 1]), array([1., 0., 1.]))
    """
    item, value = np.asarray(item, dtype=np.int64), np.asarray(value, dtype=np.float64)
    if item.ndim != 1 or item.shape != value.shape:
        raise ValueError(f"expected one item and value a judgement, got {item.shape} and {value.shape}")
    if item.size and item.min() < 0:
        raise ValueError("items are numbered from 0")
    if not np.isfinite(value).all():
        raise ValueError("values must be finite: a gap is a row that is not there")
    return item, value


def _mid_ranks(counts: NDArray[np.generic]) -> Floats:
    """Of each level the mean rank of its judgements, whose differences are Krippendorff's ordinal ones."""
    ranks: Floats = np.cumsum(counts, axis=-1) - np.asarray(counts, dtype=np.float64) / 2
    return ranks


def _counts(item: Ints, value: Floats) -> _Counts:
    levels, level = np.unique(value, return_inverse=True)
    _, item = np.unique(item, return_inverse=True)
    cells, n = np.unique(item.astype(np.int64) * levels.size + level, return_counts=True)
    return _Counts(
        cells // levels.size, cells % levels.size, n.astype(np.float64), np.bincount(item).astype(np.float64), levels
    )


def _groups(counts: _Counts, rng: np.random.Generator) -> Ints:
    """A group of each item: its own where there are few."""
    most = min(GROUPS, max(FEWEST_GROUPS, TABLE_CELLS // max(counts.levels.size, 1) ** 2))
    if counts.size.size <= most:
        return np.arange(counts.size.size)
    return rng.permutation(counts.size.size) % most


def _weights(weight: Floats, item: Ints) -> Floats:
    """The weight of each item that has judgements, in the order of their numbers."""
    weight = np.asarray(weight, dtype=np.float64)
    there = np.unique(item)
    if weight.ndim != 1 or (there.size and there[-1] >= weight.size):
        raise ValueError(f"expected a weight for each item, got shape {weight.shape}")
    weight = weight[there]
    if not (np.isfinite(weight) & (weight > 0)).all():
        raise ValueError("weights must be positive")
    return weight


def _sums(counts: _Counts, group: Ints, weight: Floats | None = None) -> _Sums:
    weight = np.ones(counts.size.size) if weight is None else weight
    of_row = weight[counts.item]
    q, groups = counts.levels.size, int(group.max()) + 1
    m = counts.size[counts.item]
    of = group[counts.item]
    paired = m > 1
    less = np.where(paired, m - 1, 1)
    at = of * q + counts.level

    def by_level(weights: Floats) -> Floats:
        summed: Floats = np.bincount(at, weights * of_row, minlength=groups * q).astype(np.float64).reshape(groups, q)
        return summed

    starts = np.searchsorted(counts.item, np.arange(counts.size.size))
    rows = np.diff(np.append(starts, counts.item.size))
    spread: Floats = np.zeros(groups * q * q)
    agreed: Floats = np.zeros(groups * q * q)
    for apart in range(int(rows.max())):
        one = np.flatnonzero((np.arange(counts.item.size) - starts[counts.item] + apart < rows[counts.item]) & paired)
        other = one + apart
        product = counts.n[one] * counts.n[other]
        pairs = product if apart else counts.n[one] * (counts.n[one] - 1)
        for here, there in ((one, other),) if not apart else ((one, other), (other, one)):
            cell = (of[here] * q + counts.level[here]) * q + counts.level[there]
            spread += np.bincount(cell, of_row[one] * product / less[one], minlength=spread.size)
            agreed += np.bincount(cell, of_row[one] * pairs / (m[one] * less[one]), minlength=spread.size)
    return _Sums(
        spread=spread.reshape(groups, q, q),
        paired=by_level(np.where(paired, counts.n, 0.0)),
        own=by_level(np.where(paired, counts.n / less, 0.0)),
        agreed=agreed.reshape(groups, q, q),
        shares=by_level(counts.n / m),
        items=np.bincount(group, weight, minlength=groups).astype(np.float64),
        pairable=np.bincount(group[counts.size > 1], weight[counts.size > 1], minlength=groups).astype(np.float64),
    )


def _resampled(groups: int, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each group is in each resample, (resamples, groups)."""
    return rng.multinomial(groups, np.full(groups, 1.0 / groups), size=resamples).astype(np.float64)


def _drawn(sums: _Sums, drawn: Floats) -> _Sums:
    groups, q = sums.paired.shape

    def matrix(of: Floats) -> Floats:
        summed: Floats = (drawn @ of.reshape(groups, q * q)).reshape(len(drawn), q, q)
        return summed

    return _Sums(
        matrix(sums.spread),
        drawn @ sums.paired,
        drawn @ sums.own,
        matrix(sums.agreed),
        drawn @ sums.shares,
        drawn @ sums.items,
        drawn @ sums.pairable,
    )


OfSums = Callable[[_Sums, Floats], Floats]


def _alpha(metric: str) -> OfSums:
    """Alpha of each of G sums: coincidences o_ck = spread_ck - [c = k] own_c, and sum over them of the squared difference."""

    def of(sums: _Sums, levels: Floats) -> Floats:
        coincidences = sums.spread.copy()
        every = np.arange(levels.size)
        coincidences[:, every, every] -= sums.own
        n = sums.paired.sum(axis=1)
        if metric == "nominal":
            apart = np.broadcast_to(1.0 - np.eye(levels.size), coincidences.shape)
        else:
            points = _mid_ranks(sums.paired)
            apart = np.square(points[:, :, None] - points[:, None, :])
        observed = (coincidences * apart).sum(axis=(1, 2))
        expected = (sums.paired[:, :, None] * sums.paired[:, None, :] * apart).sum(axis=(1, 2))
        alpha: Floats = 1.0 - np.divide(
            observed * (n - 1), expected, out=np.full(n.size, np.nan), where=(expected > 0) & (n > 1)
        )
        return alpha

    return of


def _kappa(chance: Callable[[Floats, Floats], Floats], weights: str) -> OfSums:
    if weights not in WEIGHTS:
        raise ValueError(f"unknown weights {weights!r}: choose one of {', '.join(WEIGHTS)}")

    def of(sums: _Sums, levels: Floats) -> Floats:
        credit = np.eye(levels.size)
        if weights != "identity" and levels.size > 1:
            away = np.abs(levels[:, None] - levels) / (levels[-1] - levels[0])
            credit = 1.0 - (away if weights == "linear" else np.square(away))
        nothing = np.full(sums.items.size, np.nan)
        agreed = np.divide((sums.agreed * credit).sum(axis=(1, 2)), sums.pairable, out=nothing, where=sums.pairable > 0)
        by_chance = chance(sums.shares / np.maximum(sums.items, 1)[:, None], credit)
        value: Floats = np.divide(
            agreed - by_chance, 1 - by_chance, out=np.full(agreed.size, np.nan), where=by_chance < 1
        )
        return value

    return of


def _shared_chance(shares: Floats, credit: Floats) -> Floats:
    expected: Floats = np.einsum("gc,ck,gk->g", shares, credit, shares)
    return expected


def _gwet_chance(shares: Floats, credit: Floats) -> Floats:
    q = credit.shape[0]
    if q == 1:
        return np.zeros(len(shares))
    expected: Floats = credit.sum() / (q * (q - 1)) * (shares * (1 - shares)).sum(axis=1)
    return expected


OF_SUMS: dict[str, OfSums] = {
    "alpha_nominal": _alpha("nominal"),
    "alpha_ordinal": _alpha("ordinal"),
    "fleiss_kappa": _kappa(_shared_chance, "identity"),
    "gwet_ac1": _kappa(_gwet_chance, "identity"),
    "gwet_ac2": _kappa(_gwet_chance, "quadratic"),
}


def _point(of: OfSums, item: Ints, value: Floats, weight: Floats | None = None) -> float:
    item, value = checked_judgements(item, value)
    if not item.size:
        return math.nan
    counts = _counts(item, value)
    return float(of(_sums(counts, np.zeros(counts.size.size, dtype=np.int64), weight), counts.levels)[0])


def _moments(item: Ints, value: Floats, weight: Floats | None = None) -> Floats:
    """What the interval metric's alpha is a function of, a row an item with two or more judgements: their number, sum, sum of squares
    and disagreement, each times the item's weight."""
    _, item = np.unique(item, return_inverse=True)
    m = np.bincount(item).astype(np.float64)
    paired = m[item] > 1
    value = value - value[paired].mean()
    mean = np.bincount(item, value) / m
    within = np.bincount(item, np.square(value - mean[item]))
    moments: Floats = np.column_stack(
        [m, m * mean, within + m * np.square(mean), np.divide(2 * m * within, m - 1, out=np.zeros(m.size), where=m > 1)]
    )
    if weight is not None:
        moments *= weight[:, None]
    return moments[m > 1]


def _interval_alpha(moments: Floats) -> Floats:
    """Alpha of the interval metric of each of G sums of ``_moments`` (G, 4)."""
    n, total, squares, observed = moments.T
    expected = 2 * (n * squares - np.square(total)) / np.maximum(n - 1, 1)
    alpha: Floats = 1.0 - np.divide(observed, expected, out=np.full(n.size, np.nan), where=expected > 0)
    return alpha


def _nominal_samples(item: Ints, value: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Alpha of the nominal metric in each resample where there are many values: their counts are kept as they are."""
    item = np.unique(item, return_inverse=True)[1].astype(np.int64)
    m = np.bincount(item).astype(np.float64)
    level = np.unique(value, return_inverse=True)[1]
    counts = np.bincount(level[m[item] > 1]).astype(np.float64)
    cells, same = np.unique(item * counts.size + level[:], return_counts=True)
    alike = np.bincount(cells // counts.size, same * same.astype(np.float64), minlength=m.size)
    unlike = np.divide(m * m - alike, m - 1, out=np.zeros(m.size), where=m > 1)
    n, observed = _grouped(np.column_stack([m, unlike])[m > 1], resamples, rng).T
    total = counts.sum()
    chance = (total * total - np.square(counts).sum()) / (total * (total - 1))
    alpha: Floats = 1.0 - observed / (n * chance)
    return alpha


def _grouped(of_items: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Sums of ``of_items`` (U, k) in each resample, (resamples, k)."""
    if len(of_items) > GROUPS:
        group = rng.permutation(len(of_items)) % GROUPS
        of_items = np.column_stack([np.bincount(group, column, minlength=GROUPS) for column in of_items.T])
    summed: Floats = _resampled(len(of_items), resamples, rng) @ of_items
    return summed
