"""Shapley values of cooperative games whose players are contributors.

Belongs here: exact values and estimators with their standard errors, for games given as vectorised functions.
Does not belong here: the games themselves (see ``target.centroid_game``), one that is summed for large crowds (see
``distance_shapley``), values of training steps (see ``resources.training.valuation``), what is paid (see ``payouts``).

The Shapley value of player i is
    phi_i = sum over S not containing i of |S|! (N - 1 - |S|)! / N! * (v(S + i) - v(S)),
the only division of v(all) - v(nobody) that is efficient, symmetric, linear and pays a null player nothing
(Shapley, "A value for n-person games", 1953).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb, factorial

import numpy as np
from numpy.typing import NDArray

Game = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Worth of coalitions: masks of shape (m, N), True where a player takes part, to values of shape (m,)."""

MOST_EXACT_PLAYERS = 15

CELLS_PER_BATCH = 1 << 21
"""Most cells (coalitions times players) of one call of the game: bounds the memory of an estimate."""


LEAST_STRATUM = 8
"""Fewest sampled pairs that are centred together in the kernel estimator, where there are that many."""

SLOPE_PASSES = 2
"""Rounds of the slopes' control variate in the kernel estimator: the second has a direction the first has cleaned."""

SLOPES_FROM = 10
"""Evaluations a player from which the kernel estimator uses slopes: with fewer, their noise costs more than they save."""

LEAST_FREEDOM = 8
"""Fewest degrees of freedom from which the kernel estimator takes a stratum's slope for known."""

ESTIMATORS = ("paired_kernel", "permutation")


@dataclass(frozen=True, slots=True)
class ShapleyEstimates:
    """Shapley values, exact or estimated.

    ``values`` (N,) in the game's unit; ``standard_errors`` (N,) in the same unit, zero where exact;
    ``method`` names the estimator; ``evaluations`` counts coalitions the game was asked for; ``empty_value``
    = v(nobody) and ``grand_value`` = v(all). ``values.sum()`` equals ``grand_value - empty_value`` up to
    rounding.
    """

    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    method: str
    evaluations: int
    empty_value: float
    grand_value: float


def exact_shapley(game: Game, players: int) -> ShapleyEstimates:
    """Exact Shapley values by enumerating all 2^N coalitions in vectorised calls.

    Args:
        game: worth of coalitions, finite.
        players: N, from 1 to 15.

    Returns:
        estimates with zero standard errors, ``method`` "exact" and ``evaluations`` 2^N.

    Guarantees: efficiency, symmetry and linearity up to rounding; a player that never changes the worth gets
    exactly zero.

    Raises:
        ValueError: ``players`` outside 1..15, or the game gives another shape or a value that is not finite.

    Source: Shapley (1953); formula in the module's docstring.

    Example:
        >>> import numpy as np
        >>> worth = lambda coalitions: coalitions @ np.array([1.0, 3.0])
        >>> exact_shapley(worth, 2).values.tolist()
        [1.0, 3.0]
    """
    if not 1 <= players <= MOST_EXACT_PLAYERS:
        raise ValueError(
            f"exact Shapley values need 1 to {MOST_EXACT_PLAYERS} players, got {players}: "
            "use permutation_shapley or estimate_shapley"
        )
    coalitions = np.arange(1 << players)
    masks = (coalitions[:, None] >> np.arange(players) & 1).astype(bool)
    worth = _play(game, masks)
    sizes = masks.sum(axis=1)
    weight_by_size = np.array(
        [factorial(size) * factorial(players - 1 - size) / factorial(players) for size in range(players)]
    )
    values = np.empty(players)
    for player in range(players):
        without = coalitions[~masks[:, player]]
        gain = worth[without | (1 << player)] - worth[without]
        values[player] = weight_by_size[sizes[without]] @ gain
    return ShapleyEstimates(
        values=values,
        standard_errors=np.zeros(players),
        method="exact",
        evaluations=coalitions.size,
        empty_value=float(worth[0]),
        grand_value=float(worth[-1]),
    )


def permutation_shapley(game: Game, players: int, *, permutations: int, rng: np.random.Generator) -> ShapleyEstimates:
    """Shapley values as mean marginal contributions along random orders of arrival, in antithetic pairs.

    For an order pi, player i adds v(those before i, and i) - v(those before i). Each order is used together
    with its reverse: a player who comes early in one comes late in the other, which cancels much of the
    variance. The pairs are independent, so standard_error_i = sd over pairs of (marginal + reverse
    marginal)/2, over sqrt(pairs).

    Args:
        game: worth of coalitions, finite.
        players: N >= 1.
        permutations: orders to draw, at least 4; an odd number is rounded up so that pairs are whole.
        rng: source of the orders.

    Returns:
        estimates with ``method`` "permutation".

    Guarantees: unbiased; efficient up to rounding, as every order's marginals telescope; a null player gets
    exactly zero with standard error zero; memory stays bounded, whatever the number of orders.

    Raises:
        ValueError: ``players < 1``, ``permutations < 4``, or the game gives another shape or a value that is
            not finite.

    Where the first member changes the worth far more than later ones, few orders miss most players' first
    places: values are then noisy and standard errors too small. ``kernel_shapley`` is the better choice
    there.

    Source: Castro, Gómez & Tejada, "Polynomial calculation of the Shapley value based on sampling" (2009); antithetic
    pairs: Mitchell, Cooper, Frank & Holmes, "Sampling permutations for Shapley value estimation" (2022).

    Example:
        >>> import numpy as np
        >>> worth = lambda coalitions: coalitions @ np.array([1.0, 3.0])
        >>> permutation_shapley(worth, 2, permutations=4, rng=np.random.default_rng(0)).values.tolist()
        [1.0, 3.0]
    """
    if players < 1:
        raise ValueError(f"a game needs at least one player, got {players}")
    if permutations < 4:
        raise ValueError(f"standard errors need at least 4 permutations (two pairs), got {permutations}")
    pairs = (permutations + 1) // 2
    ends = np.zeros((2, players), dtype=bool)
    ends[1] = True
    empty_value, grand_value = _play(game, ends)
    evaluations = 2

    pairs_per_batch = max(1, CELLS_PER_BATCH // (2 * players * players))
    # Squares are summed around the first pair: no cancellation where values are large against their spread.
    guess = np.zeros(players)
    total = np.zeros(players)
    squares = np.zeros(players)
    for start in range(0, pairs, pairs_per_batch):
        batch = min(pairs_per_batch, pairs - start)
        place = rng.permuted(np.tile(np.arange(players), (batch, 1)), axis=1)
        places = np.stack([place, players - 1 - place], axis=1).reshape(2 * batch, players)
        arrived = np.arange(1, players)
        masks = places[:, None, :] < arrived[None, :, None]
        worth = np.empty((2 * batch, players + 1))
        worth[:, 0], worth[:, -1] = empty_value, grand_value
        if players > 1:
            worth[:, 1:-1] = _play(game, masks.reshape(-1, players)).reshape(2 * batch, players - 1)
            evaluations += 2 * batch * (players - 1)
        marginals = np.take_along_axis(np.diff(worth, axis=1), places, axis=1)
        pair_means = marginals.reshape(batch, 2, players).mean(axis=1)
        if start == 0:
            guess = pair_means[0]
        total += pair_means.sum(axis=0)
        squares += np.square(pair_means - guess).sum(axis=0)
    values = total / pairs
    variance = np.maximum(squares - pairs * np.square(values - guess), 0.0) / (pairs - 1)
    return ShapleyEstimates(
        values=values,
        standard_errors=np.sqrt(variance / pairs),
        method="permutation",
        evaluations=evaluations,
        empty_value=float(empty_value),
        grand_value=float(grand_value),
    )


def kernel_shapley(game: Game, players: int, *, evaluations: int, rng: np.random.Generator) -> ShapleyEstimates:
    """Shapley values by paired KernelSHAP with size control: a regression on coalitions and their
    complements.

    The Shapley values minimise, over phi with sum v(all) - v(nobody), the squared error of v(S) against
    v(nobody) + sum over S of phi_i under the kernel p(s) ~ 1 / (s (N - s)) over sizes s, uniform within a
    size. Four things take most of the variance out:
        * pairs: a coalition is used with its complement, so only (v(S) - v(complement)) / 2 matters;
        * size control: any h(|S|) changes every value equally and may be taken out of v. So v and the
          membership indicators are centred within each size, which is exact for every game of the form sum of
          players' worths plus a function of size, such as a steep step from v(nobody) to the first member;
        * strata: the number of pairs of each size is fixed in proportion to p(s), and sizes with no more
          coalitions than their share, singletons first of all, are enumerated;
        * slopes: what a player adds depends on how many are there, in a centroid as 1/s. With a the deviations of a
          first fit, the game u(S) = c(|S|) a(S) is subtracted from v, c estimated size by size, and its exact Shapley
          values, a times the mean of c over sizes 1 .. N - 1, are added to those of the rest. Any c leaves the estimate
          consistent; where c is far from constant, the rest varies little. From 10 N evaluations on.

    With x_k the centred membership, y_k the centred half-difference and w_k the kernel weight of pair k,
        phi = (v(all) - v(nobody)) / N + (sum w x x')^-1 sum w x y, within vectors of sum zero.
    Standard errors are the sandwich of this regression over sampled pairs, each residual divided by 1 - leverage (HC3);
    enumerated sizes add none. They are about a third too
    small at the least number of evaluations, where most sizes have a pair or none, and hold from 6 N on; for games that jump,
    such as votes, they may be a quarter too small up to 16 N.

    Args:
        game: worth of coalitions, finite.
        players: N >= 1.
        evaluations: most coalitions to ask for, at least 4 N + 2; where that covers all 2^N coalitions of at
            most 15 players, the values are exact and ``method`` says so.
        rng: source of the coalitions.

    Returns:
        estimates with ``method`` "paired_kernel".

    Guarantees: efficient up to rounding; consistent; memory of a few times evaluations * N floats; unchanged, up to the
    shift of (h(N) - h(0)) / N, by any h(|S|) added to the game. A null player gets zero within its standard error, not
    exactly.

    Raises:
        ValueError: ``players < 1``, too few evaluations, or the game gives another shape or a value that is
            not finite.

    Source: Lundberg & Lee, "A unified approach to interpreting model predictions" (2017); pairs:
    Covert & Lee, "Improving KernelSHAP" (2021); the control of sizes and slopes is this project's.

    Example:
        >>> import numpy as np
        >>> worth = lambda coalitions: coalitions @ np.array([1.0, 3.0, 2.0])
        >>> kernel_shapley(worth, 3, evaluations=20, rng=np.random.default_rng(0)).values.round(6).tolist()
        [1.0, 3.0, 2.0]
    """
    if players < 1:
        raise ValueError(f"a game needs at least one player, got {players}")
    if players <= MOST_EXACT_PLAYERS and (1 << players) <= evaluations:
        return exact_shapley(game, players)
    if evaluations < 4 * players + 2:
        raise ValueError(f"{players} players need at least {4 * players + 2} evaluations, got {evaluations}")
    ends = np.zeros((2, players), dtype=bool)
    ends[1] = True
    empty_value, grand_value = _play(game, ends)

    masks, weights, stratum, sampled = _paired_coalitions(players, (evaluations - 2) // 2, rng)
    worth, worth_of_others = _play(game, masks), _play(game, ~masks)
    sizes = masks.sum(axis=1)
    x = masks - (sizes / players)[:, None]
    pairs_in = np.bincount(stratum)
    # A half has no side to be centred on: which of the two coalitions stands for the pair is arbitrary.
    centred = 2 * sizes != players
    first_of = np.cumsum(pairs_in) - pairs_in
    mean_membership = np.add.reduceat(x, first_of, axis=0) / pairs_in[:, None]
    mean_membership[stratum[~centred]] = 0.0
    x -= mean_membership[stratum]
    # Centring takes a degree of freedom from each stratum.
    spread = np.maximum(pairs_in - 1, 1) / pairs_in
    weights = np.where(centred & sampled, weights / spread[stratum], weights)

    weighted = x * weights[:, None]
    # The direction (1, ..., 1) carries no information within a size: fill it, so that the matrix can be
    # inverted.
    information = x.T @ weighted
    inverse = np.linalg.inv(information + np.trace(information) / players**2)

    def fit(half_difference: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean = np.bincount(stratum, half_difference) / pairs_in
        y = half_difference - np.where(centred, mean[stratum], 0.0)
        slopes = inverse @ (weighted.T @ y)
        slopes -= slopes.mean()
        return slopes, y - x @ slopes

    share = _share_of_sizes(players, sizes, stratum)
    deviations, residuals = fit((worth - worth_of_others) / 2.0)
    for _ in range(SLOPE_PASSES if evaluations >= SLOPES_FROM * players else 0):
        direction = x @ deviations + (mean_membership @ deviations)[stratum]
        steepness = _slopes(direction, worth, sizes, stratum)
        steepness_of_others = _slopes(-direction, worth_of_others, sizes, stratum)
        mean_steepness = (steepness + steepness_of_others) @ share
        control = (steepness + steepness_of_others)[stratum] * direction / 2.0
        rest, residuals = fit((worth - worth_of_others) / 2.0 - control)
        deviations = mean_steepness * deviations + rest
    # A pair that few others resemble pulls the fit towards itself: its residual is scaled up to what it would be
    # without.
    influence = weighted @ (inverse - inverse.mean(axis=1, keepdims=True))
    leverage = np.einsum("ij,ij->i", influence, x)
    residuals = np.where(sampled, residuals / np.maximum(1.0 - leverage, 1e-3), 0.0)
    np.square(influence, out=influence)
    return ShapleyEstimates(
        values=deviations + (grand_value - empty_value) / players,
        standard_errors=np.sqrt(np.square(residuals) @ influence),
        method="paired_kernel",
        evaluations=2 + 2 * len(masks),
        empty_value=float(empty_value),
        grand_value=float(grand_value),
    )


def _paired_coalitions(
    players: int, pairs: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """The smaller coalition of each pair (m, N), its kernel weight (m,), its stratum (m,), and whether it was
    drawn (m,).

    Sizes 1 .. N/2 are filled in their order: enumerated where their share of the remaining pairs covers them.
    A stratum is one size, or several neighbouring ones where each has few pairs.
    """
    sizes = np.arange(1, players // 2 + 1)
    kernel = 1.0 / (sizes * (players - sizes)) * np.where(2 * sizes == players, 0.5, 1.0)
    kernel /= kernel.sum()
    masks: list[NDArray[np.bool_]] = []
    weights: list[NDArray[np.float64]] = []
    strata: list[NDArray[np.int64]] = []
    sampled: list[NDArray[np.bool_]] = []
    left, stratum, in_stratum = pairs, 0, 0
    for at, size in enumerate(sizes.tolist()):
        half = 2 * size == players
        share = left * kernel[at] / kernel[at:].sum()
        coalitions = comb(players, size) // (2 if half else 1)
        # As a float of Python's, which compares with integers beyond its own range.
        enumerated = coalitions <= max(float(share), players if size == 1 else 0)
        if enumerated:
            chosen = np.array(list(islice(combinations(range(players), size), coalitions)))
        else:
            # Rounded at random, so that a size with a share below one pair is not left out on average.
            count = min(int(share + rng.random()), left)
            chosen = np.argpartition(rng.random((count, players)), size - 1, axis=1)[:, :size]
        batch = np.zeros((len(chosen), players), dtype=bool)
        batch[np.arange(len(chosen))[:, None], chosen.reshape(len(chosen), size)] = True
        if in_stratum >= LEAST_STRATUM or (in_stratum and (enumerated or half)):
            stratum, in_stratum = stratum + 1, 0
        in_stratum += len(batch)
        masks.append(batch)
        weights.append(np.full(len(batch), kernel[at] / (len(batch) if enumerated else max(share, 1e-9))))
        strata.append(np.full(len(batch), stratum))
        sampled.append(np.full(len(batch), not enumerated))
        if enumerated:
            in_stratum = LEAST_STRATUM
        left -= len(batch)
    return np.concatenate(masks), np.concatenate(weights), np.concatenate(strata), np.concatenate(sampled)


def _share_of_sizes(players: int, sizes: NDArray[np.int64], stratum: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the sizes 1..N-1 that one side of each stratum's pairs stands for; a size without pairs belongs to the
    stratum below, and a half is shared by both sides."""
    stratum_of = np.zeros(players // 2 + 1, dtype=np.int64)
    stratum_of[sizes] = stratum
    each = np.full(players // 2, 1.0 / (players - 1))
    if players % 2 == 0:
        each[-1] /= 2.0
    return np.bincount(np.maximum.accumulate(stratum_of)[1:], each).astype(np.float64)


def _slopes(
    direction: NDArray[np.float64], worth: NDArray[np.float64], sizes: NDArray[np.int64], stratum: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Slope of worth along ``direction`` in each stratum, both centred within each size.

    Shrunk towards 1, the slope in a game that is linear in its players, by 1 - 4 / t^2 with t the distance from 1 in
    standard errors: what does not differ by two of them is 1.
    """
    pairs = np.bincount(sizes)
    along = direction - (np.bincount(sizes, direction) / np.maximum(pairs, 1))[sizes]
    rise = worth - (np.bincount(sizes, worth) / np.maximum(pairs, 1))[sizes]
    excess = rise - along
    squares = np.bincount(stratum, along * along)
    known = np.maximum(squares, np.finfo(np.float64).tiny)
    beyond_one = np.bincount(stratum, along * excess) / known
    unexplained = np.bincount(stratum, np.square(excess - beyond_one[stratum] * along))
    sizes_in = np.bincount(np.bincount(sizes, stratum)[pairs > 0].astype(np.int64) // pairs[pairs > 0])
    freedom = np.bincount(stratum) - sizes_in - 1
    variance = unexplained / np.maximum(freedom, 1)
    in_errors = np.square(beyond_one) * known
    differs = (freedom >= LEAST_FREEDOM) & (in_errors > 4.0 * variance)
    kept = 1.0 - np.divide(4.0 * variance, in_errors, out=np.ones_like(variance), where=differs)
    slopes: NDArray[np.float64] = 1.0 + beyond_one * kept
    return slopes


def estimate_shapley(
    game: Game,
    players: int,
    *,
    permutations: int = 200,
    rng: np.random.Generator,
    exact_up_to: int = 12,
    estimator: str = "paired_kernel",
) -> ShapleyEstimates:
    """Exact Shapley values for few players, estimates with standard errors for many.

    Args:
        game: worth of coalitions, finite.
        players: N >= 1.
        permutations: the effort, in orders of arrival: an estimate asks for about permutations * (N - 1)
            coalitions, whichever estimator takes them.
        rng: source of coalitions or orders; left alone when the values are exact.
        exact_up_to: most players whose 2^N coalitions are enumerated, at most 15; 0 always estimates.
        estimator: ``paired_kernel``, the more accurate by far where the first members matter most, as in
            games of centroids; or ``permutation``, which gives a null player exactly zero.

    Returns:
        estimates; ``method`` says which way was taken.

    Raises:
        ValueError: unknown estimator, or as ``exact_shapley``, ``kernel_shapley`` and
            ``permutation_shapley``.

    Example:
        >>> import numpy as np
        >>> worth = lambda coalitions: coalitions @ np.array([1.0, 3.0])
        >>> estimate_shapley(worth, 2, rng=np.random.default_rng(0)).method
        'exact'
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"unknown estimator {estimator!r}: choose one of {', '.join(ESTIMATORS)}")
    if players <= exact_up_to:
        return exact_shapley(game, players)
    if estimator == "permutation":
        return permutation_shapley(game, players, permutations=permutations, rng=rng)
    evaluations = max(permutations * (players - 1), 4 * players) + 2
    return kernel_shapley(game, players, evaluations=evaluations, rng=rng)


def mean_over_runs(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of values found in several runs, and its standard error.

    With few runs a contributor's own variance is hardly known, so half of each variance is the mean over the contributors.

    Args:
        values: shape (S, N), S runs with seeds of their own.

    Returns:
        Means (N,) and standard errors (N,), NaN for a single run.

    Raises:
        ValueError: values are not a matrix with at least one run, or not finite.

    Example:
        >>> import numpy as np
        >>> mean, error = mean_over_runs(np.array([[1.0, 3.0], [3.0, 3.0]]))
        >>> mean.tolist(), error.round(3).tolist()
        ([2.0, 3.0], [0.866, 0.5])
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"expected finite values (S, N) of at least one run, got shape {values.shape}")
    if len(values) == 1:
        return values[0], np.full(values.shape[1], np.nan)
    variances = values.var(axis=0, ddof=1)
    return values.mean(axis=0), np.sqrt((variances + variances.mean()) / 2 / len(values))


def _play(game: Game, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Worth of ``masks``, asked for in batches, checked for shape and finiteness."""
    rows = max(1, CELLS_PER_BATCH // masks.shape[1])
    worth = np.empty(len(masks))
    for start in range(0, len(masks), rows):
        batch = masks[start : start + rows]
        answer = np.asarray(game(batch), dtype=np.float64)
        if answer.shape != (len(batch),):
            raise ValueError(f"the game gave shape {answer.shape} for {len(batch)} coalitions: want one value each")
        worth[start : start + rows] = answer
    if not np.isfinite(worth).all():
        raise ValueError("the game gave a value that is not finite: Shapley values need finite worths")
    return worth
