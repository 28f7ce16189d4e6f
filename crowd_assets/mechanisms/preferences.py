"""What aggregated preferences say about items, and how consistent they are.

Belongs here: triads, scores and weights computed from comparisons of pairs.
Does not belong here: pooling several labelers' reports (see ``labelers``).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WEDGES_PER_BATCH = 1 << 20
"""Most pairs of edges looked at in one vectorised step: bounds the memory of counting triads."""

TIE_TOLERANCE = 1e-9
"""A mean probability this near 1/2 is a tie: rounding alone must not make a majority."""


@dataclass(frozen=True, slots=True)
class CyclicTriads:
    """Triples of items that were all compared with one another, each pair with a strict majority.

    ``cyclic`` of ``total`` triads go round in a circle (a beats b, b beats c, c beats a); ``share`` = cyclic
    / total, 0.0 where there is no triad. Coin flips give a share of 1/4.
    """

    cyclic: int
    total: int
    share: float


@dataclass(frozen=True, slots=True)
class TriadsByJudge:
    """For each of ``judges`` (n,), ascending: ``comparisons``, pairs that they decided, and how many of their ``total``
    triads are ``cyclic``, each (n,).
    """

    judges: NDArray[np.int64]
    comparisons: NDArray[np.int64]
    cyclic: NDArray[np.int64]
    total: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ItemScores:
    """``items`` (n,) that were compared, ascending, and their ``scores`` (n,), sum 0."""

    items: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HodgeSplit:
    """``items`` (n,) ascending, their ``scores`` (n,) of mean 0, and how the preferences' energy splits: the share that
    is a ``gradient`` of the scores, the share of ``curl`` around triads, and the ``harmonic`` rest around longer
    cycles.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float64]
    gradient: float
    curl: float
    harmonic: float


def cyclic_triads_by_judge(
    judges: NDArray[np.int64],
    items_a: NDArray[np.int64],
    items_b: NDArray[np.int64],
    probability_a: NDArray[np.float64],
) -> TriadsByJudge:
    """Cyclic triads in each judge's own comparisons, all judges at once; comparisons with the same judge number are one judge's.

    Comparisons of the same two items are averaged first; a beats b where the mean probability exceeds 1/2; a mean of 1/2 (up to rounding)
    is no strict majority and leaves the pair out.

    Args:
        judges: shape (m,), non-negative, who made the comparison.
        items_a: shape (m,), non-negative item numbers; gaps are allowed.
        items_b: shape (m,), as there.
        probability_a: shape (m,), as there.

    Guarantees: the same figures whatever the order of rows, the direction of a row or the numbering of items; 0 cyclic triads where one
    ranking explains all comparisons. Time O(m^1.5), memory O(m).

    Raises:
        ValueError: shapes that differ, an item compared with itself, or a probability outside [0, 1].

    Example:
        >>> import numpy as np
        >>> a, b = np.array([0, 1, 2]), np.array([1, 2, 0])
        >>> cyclic_triads_by_judge(np.zeros(3, dtype=int), a, b, np.array([0.9, 0.9, 0.9]))
        TriadsByJudge(judges=array([0]), comparisons=array([3]), cyclic=array([1]), total=array([1]))
    """
    names, judge = np.unique(np.asarray(judges, dtype=np.int64), return_inverse=True)
    items_a, items_b = np.asarray(items_a, dtype=np.int64), np.asarray(items_b, dtype=np.int64)
    # Every judge has items of their own, so that no triangle has comparisons of two.
    items = int(max(items_a.max(initial=0), items_b.max(initial=0))) + 1
    first, second, majority_first = _majorities(judge * items + items_a, judge * items + items_b, probability_a)
    judge_of = _names(judge * items + items_a, judge * items + items_b) // items
    comparisons = np.bincount(judge_of[first], minlength=names.size)
    total = np.zeros(names.size, dtype=np.int64)
    cyclic = np.zeros(names.size, dtype=np.int64)
    # Around the triangle u < v < w: u beats v, v beats w, w beats u, or all three the other way round.
    for uv, vw, uw in _triangles(first, second):
        circular = (majority_first[uv] == majority_first[vw]) & (majority_first[uv] != majority_first[uw])
        of_judge = judge_of[first[uv]]
        total += np.bincount(of_judge, minlength=names.size)
        cyclic += np.bincount(of_judge[circular], minlength=names.size)
    return TriadsByJudge(names, comparisons, cyclic, total)


def quality_gap_weights(
    quality_accepted: NDArray[np.float64], quality_rejected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weight of each pair in the QA-DPO loss.

    Formula: w = 0.5 + sigmoid(q_a - q_r), q the verified qualities of the accepted and the rejected answer.

    Args:
        quality_accepted: shape (n,), finite.
        quality_rejected: shape (n,), finite.

    Returns:
        shape (n,), in [0.5, 1.5]: 1 where both answers are equally good, between 0.77 and 1.23 for qualities
        in [0, 1].

    Raises:
        ValueError: shapes that differ or a quality that is not finite.

    Source: VickreyFeedback (arXiv 2409.18417), on QA-DPO.

    Example:
        >>> import numpy as np
        >>> quality_gap_weights(np.array([0.5, 1.0]), np.array([0.5, 0.0])).round(3).tolist()
        [1.0, 1.231]
    """
    quality_accepted = np.asarray(quality_accepted, dtype=np.float64)
    quality_rejected = np.asarray(quality_rejected, dtype=np.float64)
    if quality_accepted.shape != quality_rejected.shape:
        raise ValueError(f"expected pairs, got shapes {quality_accepted.shape} and {quality_rejected.shape}")
    gap = quality_accepted - quality_rejected
    if not np.isfinite(gap).all():
        raise ValueError("qualities must be finite")
    # tanh never overflows: sigmoid(x) = (1 + tanh(x / 2)) / 2.
    weights: NDArray[np.float64] = 1.0 + np.tanh(gap / 2.0) / 2.0
    return weights


def _majorities(
    items_a: NDArray[np.int64], items_b: NDArray[np.int64], probability_a: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Distinct pairs (lower item, higher item) with a strict majority, and whether the lower item has it."""
    first, second, mean, _ = mean_comparisons(items_a, items_b, probability_a)
    strict = np.abs(mean - 0.5) > TIE_TOLERANCE
    return first[strict], second[strict], mean[strict] > 0.5


def hodge_rank(
    items_a: NDArray[np.int64], items_b: NDArray[np.int64], probability_a: NDArray[np.float64]
) -> HodgeSplit:
    """HodgeRank: the part of the preferences one ranking explains, the part that turns in triangles, and the rest.

    With flow Y_ab = 2 p_ab - 1 on compared pairs and weights w_ab = number of comparisons, scores s minimise
    sum of w (s_a - s_b - Y_ab)^2. What is left has no divergence and splits, orthogonally in the weighted inner
    product, into a curl part that circles around triads and a harmonic part that circles around longer holes of the
    graph.

    Args:
        items_a: shape (m,), non-negative item numbers; gaps are allowed.
        items_b: shape (m,), never equal to ``items_a`` in the same row.
        probability_a: shape (m,), in [0, 1].

    Returns:
        scores and the three parts' shares of sum of w Y^2, which sum to one (all 0.0 where every preference is a tie).

    Guarantees: gradient share 1 where flows are differences of scores; curl share 1 on a triad that goes round evenly.

    Raises:
        ValueError: as ``mean_comparisons``.

    Source: Jiang, Lim, Yao & Ye, "Statistical ranking and combinatorial Hodge theory" (2011).

    Example:
        >>> import numpy as np
        >>> found = hodge_rank(np.array([0, 1]), np.array([1, 2]), np.array([0.8, 0.7]))
        >>> found.scores.round(2).tolist()
        [0.53, -0.07, -0.47]
    """
    first, second, mean, comparisons = mean_comparisons(items_a, items_b, probability_a)
    names = _names(items_a, items_b)
    weights = comparisons.astype(np.float64)
    flow = 2.0 * mean - 1.0
    energy = float(weights @ np.square(flow))
    if not energy > 0.0:
        return HodgeSplit(names, np.zeros(names.size), 0.0, 0.0, 0.0)
    scores = _solve_laplacian(weights, first, second, _divergence(weights * flow, first, second, names.size), 0.0)
    scores -= scores.mean()
    gradient = scores[first] - scores[second]
    left = flow - gradient
    triangles = list(_triangles(first, second))
    uv, vw, uw = (
        (np.concatenate(side) if side else np.zeros(0, dtype=np.int64))
        for side in ([triple[at] for triple in triangles] for at in range(3))
    )

    def around(edges: NDArray[np.float64]) -> NDArray[np.float64]:
        circulation: NDArray[np.float64] = edges[uv] + edges[vw] - edges[uw]
        return circulation

    def along(circulations: NDArray[np.float64]) -> NDArray[np.float64]:
        around_uv, around_vw, around_uw = (_sums(side, circulations, first.size) for side in (uv, vw, uw))
        return (around_uv + around_vw - around_uw) / weights

    potential = _conjugate_gradient(lambda z: around(along(z)), around(left))
    curl = along(potential)
    curl_share = min(float(weights @ np.square(curl)) / energy, 1.0)
    gradient_share = min(float(weights @ np.square(gradient)) / energy, 1.0)
    return HodgeSplit(names, scores, gradient_share, curl_share, max(0.0, 1.0 - gradient_share - curl_share))


def _names(items_a: NDArray[np.int64], items_b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Items that were compared, ascending: the numbering of ``mean_comparisons``."""
    return np.unique(np.concatenate([np.asarray(items_a, dtype=np.int64), np.asarray(items_b, dtype=np.int64)]))


def _triangles(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Triangles u < v < w of the graph with edges first < second, each once: positions of its edges uv, vw and uw.

    Every edge is run through from its rarer to its commoner item, so that no item has more than sqrt(2m) edges to pair
    up, and a triangle is found at its rarest item only. Comes in batches that bound the memory.
    """
    edges = first.size
    if not edges:
        return
    items = int(second.max()) + 1
    degree = np.bincount(first, minlength=items) + np.bincount(second, minlength=items)
    place = np.empty(items, dtype=np.int64)
    item_at = np.argsort(degree, kind="stable")
    place[item_at] = np.arange(items)
    low, high = np.minimum(place[first], place[second]), np.maximum(place[first], place[second])
    by_key = np.argsort(low * items + high)
    low, high = low[by_key], high[by_key]
    keys = low * items + high
    partners = np.searchsorted(low, low, side="right") - np.arange(edges) - 1
    ends = np.cumsum(partners)
    start = 0
    while start < edges:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + WEDGES_PER_BATCH, side="right")))
        counts = partners[start:stop]
        one = np.repeat(np.arange(start, stop), counts)
        other = one + 1 + np.arange(one.size) - np.repeat(np.cumsum(counts) - counts, counts)
        closing_key = high[one] * items + high[other]
        closing = np.minimum(np.searchsorted(keys, closing_key), edges - 1)
        closed = keys[closing] == closing_key
        sides = by_key[np.stack([one[closed], other[closed], closing[closed]])]
        # Of the three edges uv, uw and vw of u < v < w: uv has the lowest sum of items, then uw, then vw.
        sides = np.take_along_axis(sides, np.argsort((first + second)[sides], axis=0), axis=0)
        yield sides[0], sides[2], sides[1]
        start = stop


def _divergence(
    flow: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64], items: int
) -> NDArray[np.float64]:
    """Flow out of each item less flow into it."""
    return _sums(first, flow, items) - _sums(second, flow, items)


def _sums(at: NDArray[np.int64], amounts: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sum of the amounts that belong to each of 0 .. size-1."""
    return np.bincount(at, amounts, minlength=size).astype(np.float64)


def _solve_laplacian(
    weights: NDArray[np.float64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    right: NDArray[np.float64],
    ridge: float,
) -> NDArray[np.float64]:
    """x with (graph Laplacian + ridge) x = right, by conjugate gradients, scaled by the diagonal."""
    items = right.size
    diagonal = _sums(first, weights, items) + _sums(second, weights, items) + ridge
    scale = 1.0 / np.sqrt(np.maximum(diagonal, np.finfo(np.float64).tiny))

    def apply(x: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = scale * x
        return scale * (_divergence(weights * (scaled[first] - scaled[second]), first, second, items) + ridge * scaled)

    return scale * _conjugate_gradient(apply, scale * right)


def _conjugate_gradient(
    apply: Callable[[NDArray[np.float64]], NDArray[np.float64]], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solution of a symmetric, positive semi-definite, consistent system, to near rounding."""
    x = np.zeros(right.size)
    residual = right.copy()
    direction = right.copy()
    power = float(residual @ residual)
    enough = power * 1e-24
    for _ in range(min(10 * right.size + 10, 5000)):
        if power <= enough:
            break
        image = apply(direction)
        bend = float(direction @ image)
        if bend <= 0.0:
            break
        x += power / bend * direction
        residual -= power / bend * image
        next_power = float(residual @ residual)
        direction = residual + next_power / power * direction
        power = next_power
    return x


def mean_comparisons(
    items_a: NDArray[np.int64], items_b: NDArray[np.int64], probability_a: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """One row for each pair of items: the mean probability that the lower-numbered one is preferred.

    Args:
        items_a: shape (m,), non-negative item numbers; gaps are allowed, and items are renumbered 0..n-1 in
            order.
        items_b: shape (m,), never equal to ``items_a`` in the same row.
        probability_a: shape (m,), in [0, 1].

    Returns:
        lower items (p,), higher items (p,), mean probability that the lower is preferred (p,), comparisons of
        the pair (p,); sorted by lower, then higher item.

    Raises:
        ValueError: shapes that differ, an item compared with itself, or a probability outside [0, 1].

    Example:
        >>> import numpy as np
        >>> first, second, mean, number = mean_comparisons(np.array([0, 1]), np.array([1, 0]), np.array([0.8, 0.4]))
        >>> mean.round(2).tolist(), number.tolist()
        ([0.7], [2])
    """
    items_a, items_b = np.asarray(items_a, dtype=np.int64), np.asarray(items_b, dtype=np.int64)
    probability_a = np.asarray(probability_a, dtype=np.float64)
    if items_a.ndim != 1 or items_a.shape != items_b.shape or items_a.shape != probability_a.shape:
        raise ValueError(
            f"expected three arrays of one length, got {items_a.shape}, {items_b.shape} and {probability_a.shape}"
        )
    if (items_a == items_b).any():
        raise ValueError("an item was compared with itself: remove these rows")
    if not ((probability_a >= 0) & (probability_a <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]")
    names, numbered = np.unique(np.concatenate([items_a, items_b]), return_inverse=True)
    a, b = numbered[: items_a.size].astype(np.int64), numbered[items_a.size :].astype(np.int64)
    lower, higher = np.minimum(a, b), np.maximum(a, b)
    pair, row = np.unique(lower * max(names.size, 1) + higher, return_inverse=True)
    comparisons = np.bincount(row, minlength=pair.size).astype(np.int64)
    preferred = _sums(row, np.where(a < b, probability_a, 1.0 - probability_a), pair.size)
    mean = np.clip(preferred / np.maximum(comparisons, 1), 0.0, 1.0)
    return pair // max(names.size, 1), pair % max(names.size, 1), mean, comparisons
