"""Shapley values of the game of centroids and their distance, for crowds of many thousands.

Belongs here: the estimator whose cost is linear in the players. Does not belong here: estimators for any game (see ``shapley``), the
game itself (see ``target.centroid_game``).
"""

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.shapley import ShapleyEstimates


def distance_shapley(
    vectors: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    empty: NDArray[np.float64],
    rng: np.random.Generator,
    draws: int = 32,
) -> ShapleyEstimates:
    """Shapley values of the game of centroids and their distance, for crowds of many thousands: cost linear in N.

    v(S) = -|mean of the vectors in S - target|, v(nobody) = -|empty - target| (``target.centroid_game`` by negative L2).
    With m_i(S) = v(S and i) - v(S),
        phi_i = 1/N sum over s = 0 .. N - 1 of E[m_i(S)], S uniform among the coalitions of s others.
    Size 0 is exact. Other sizes are cut into strata; in each, ``draws`` sizes are drawn with probability ~ 1/s, as what a
    player adds falls like 1/s, and for each a coalition S that all players meet: what they have in common cancels, and how
    they differ is noisy only as far as the direction to the target differs between coalitions. Who is in S meets S with itself
    replaced by one player who is not, which is uniform as well. What is left of v(all) - v(nobody) is shared alike.

    Args:
        vectors: shape (N, d), finite, N >= 3.
        target, empty: shape (d,).
        rng: source of the coalitions.
        draws: coalitions in a stratum, at least 2; there are about 8 + 2.5 ln(N / 8) strata.

    Returns:
        estimates with ``method`` "common_coalitions".

    Guarantees: efficient up to rounding; unbiased up to what is shared alike; memory of a few times draws * N floats.

    Raises:
        ValueError: fewer than three players or two draws, shapes that do not match or a number that is not finite.

    Source: stratified sampling by size, Maleki, Tran-Thanh, Hines, Rahwan & Rogers, "Bounding the estimation error of
    sampling-based Shapley value approximation" (2013); the common coalitions are this project's.

    Example:
        >>> import numpy as np
        >>> vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> found = distance_shapley(vectors, np.array([2.0, 0.0]), empty=np.zeros(2), rng=np.random.default_rng(0))
        >>> round(float(found.values.sum()), 6), round(found.grand_value - found.empty_value, 6)
        (0.625631, 0.625631)
        >>> bool(found.values[0] > found.values[2])
        True
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    players = len(vectors)
    if vectors.ndim != 2 or players < 3 or draws < 2:
        raise ValueError(f"expected vectors (N, d) of at least 3 players and 2 draws, got {vectors.shape} and {draws}")
    target, empty = np.asarray(target, dtype=np.float64), np.asarray(empty, dtype=np.float64)
    if target.shape != vectors.shape[1:] or empty.shape != target.shape:
        raise ValueError(
            f"expected a target and a start of shape {vectors.shape[1:]}, got {target.shape}, {empty.shape}"
        )
    if not (np.isfinite(vectors).all() and np.isfinite(target).all() and np.isfinite(empty).all()):
        raise ValueError("vectors, target and start must be finite")
    away = vectors - target  # so that the target lies at the origin
    squares = np.square(away).sum(axis=1)
    empty_value = -float(np.linalg.norm(empty - target))
    grand_value = -float(np.linalg.norm(away.mean(axis=0)))

    def worth(sums: NDArray[np.float64], sign: float, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each coalition, given by the sum of its members (m, d), with (1) or without (-1) each player: (m, N)."""
        squared = np.square(sums).sum(axis=1)[:, None] + 2.0 * sign * (sums @ away.T) + squares
        worths: NDArray[np.float64] = -np.sqrt(np.maximum(squared, 0.0)) / sizes[:, None]
        return worths

    values = -np.sqrt(squares) - empty_value
    variance = np.zeros(players)
    evaluations = players + 2
    for sizes_in in _strata_of_sizes(players):
        inverse = 1.0 / sizes_in
        drawn = rng.choice(sizes_in, size=draws, p=inverse / inverse.sum())
        sums, others, inside = np.empty((draws, away.shape[1])), np.empty(draws, dtype=np.int64), []
        for row, size in enumerate(drawn):
            chosen = rng.choice(players, size=int(size) + 1, replace=False)
            sums[row], others[row] = away[chosen[:-1]].sum(axis=0), chosen[-1]
            inside.append(chosen[:-1])
        sizes = drawn.astype(np.float64)
        alone = -np.linalg.norm(sums, axis=1) / sizes
        gains = worth(sums, 1.0, sizes + 1.0) - alone[:, None]
        swapped = sums + away[others]
        with_both = -np.linalg.norm(swapped, axis=1) / (sizes + 1.0)
        replaced = worth(swapped, -1.0, sizes)
        for row, members in enumerate(inside):
            gains[row, members] = with_both[row] - replaced[row, members]
        gains *= (sizes * inverse.sum())[:, None]
        gains -= gains.mean(axis=1, keepdims=True)
        values += gains.mean(axis=0)
        variance += gains.var(axis=0, ddof=1) / draws
        evaluations += draws * (players + 1)
    values = values / players
    return ShapleyEstimates(
        values=values + (grand_value - empty_value - values.sum()) / players,
        standard_errors=np.sqrt(variance) / players,
        method="common_coalitions",
        evaluations=evaluations,
        empty_value=empty_value,
        grand_value=grand_value,
    )


def _strata_of_sizes(players: int) -> list[NDArray[np.int64]]:
    """Sizes 1..N-1: one by one up to 8, then in ranges whose ends are half as large again as their beginnings."""
    first, strata = 1, []
    while first < players:
        end = first + 1 if first < 8 else min(players, first + max(first // 2, 1))
        strata.append(np.arange(first, end))
        first = end
    return strata
