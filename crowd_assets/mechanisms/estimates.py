"""Estimates: what a tournament between candidates says about each contributor.

Belongs here: regressions from candidates, by value or by embedding, to contributors, and how sure they are. Does not belong here:
what is paid for an estimate (see ``payouts``), which estimates a scheme takes (see ``points_schemes``), Shapley values of given
games (see ``shapley``).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_CONTRASTS = 3.0
"""Contrasts between candidates of a round that the prior of ``recovered_vectors`` is worth."""

WORKING = 0.5
"""Chance, before a candidate was seen, that a contributor's texts take a model where they lie."""

SWEEPS = 6

Draw = Callable[[np.random.Generator], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class ContributionEstimates:
    """What each contributor adds to the value of a candidate, per unit of its weight share.

    ``values`` (N,) in the unit of the candidates' values, relative to an average contributor; ``standard_errors`` (N,)
    posterior standard deviations; ``signal_variance`` of contributors and ``noise_variance`` of candidates' values, as
    fitted; ``ridge`` = noise / signal variance, infinite where the tournament shows no difference between contributors;
    ``candidates`` that were used; ``draw`` takes a generator and gives one draw (N,) from the posterior.
    """

    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    signal_variance: float
    noise_variance: float
    ridge: float
    candidates: int
    draw: Draw


@dataclass(frozen=True, slots=True)
class Reliability:
    """How much of the difference between candidates is real.

    ``observed_variance`` of candidates' values within rounds, ``noise_variance`` of evaluating one candidate again, and
    ``reliability`` = max(0, 1 - noise / observed) in [0, 1]: the correlation between two evaluations of the same
    candidates; 0.0 where the candidates do not differ at all.
    """

    observed_variance: float
    noise_variance: float
    reliability: float


def contribution_estimates(
    shares: NDArray[np.float64], values: NDArray[np.float64], round_index: NDArray[np.int64]
) -> ContributionEstimates:
    """Regression of candidates' values on the candidates' members: the estimate behind regression points.

    Rows and values are centred within each round, which takes out where the round's base model stood. The model is
    value = share . a + noise with a ~ N(0, signal I) and noise ~ N(0, noise I): its posterior mean is the ridge
    estimate with ridge = noise / signal, and that ratio maximises the marginal likelihood (empirical Bayes), so that a
    noisy tournament shrinks the estimates towards one another instead of paying for luck.

    Args:
        shares: shape (M, N), weight share of each contributor in each candidate; see ``weight_shares``.
        values: shape (M,), the candidate's value, higher is better (minus its target distance, say).
        round_index: shape (M,), the round of each candidate.

    Returns:
        estimates; all zero with an infinite ridge where no candidate differs from the others of its round.

    Guarantees: adding a constant to the values of a round changes nothing; multiplying all values multiplies the
    estimates; contributors with equal shares in every candidate get equal estimates; one who never took part, or
    has the same share in all candidates of a round, gets what an average contributor gets from that round: nothing.

    Raises:
        ValueError: shapes that do not match or a number that is not finite.

    Source: MacKay, "Bayesian interpolation" (1992), for the empirical-Bayes ridge; its use is this
    project's.

    Example:
        >>> import numpy as np
        >>> values = np.array([3.0, 2.0, 1.0, 3.1, 2.0, 0.9])
        >>> found = contribution_estimates(np.tile(np.eye(3), (2, 1)), values, np.repeat([0, 1], 3))
        >>> (found.values.round(3) + 0.0).tolist(), found.candidates
        ([1.048, 0.0, -1.048], 6)
    """
    x, y, inside = _centred_in_rounds(shares, np.asarray(values, dtype=np.float64)[:, None], round_index)
    fit = _empirical_ridge(x, y, inside)
    return ContributionEstimates(
        values=fit.coefficients[:, 0],
        standard_errors=fit.standard_errors,
        signal_variance=fit.signal_variance,
        noise_variance=fit.noise_variance,
        ridge=fit.ridge,
        candidates=len(x),
        draw=lambda rng: fit.coefficients[:, 0] + fit.deviation(rng),
    )


def value_reliability(
    values: NDArray[np.float64], standard_errors: NDArray[np.float64], round_index: NDArray[np.int64]
) -> Reliability:
    """Reliability of a tournament from the noise of evaluating its candidates.

    Formula: 1 - mean of standard_error^2 / pooled within-round variance of values. Payouts from regression points
    correlate with accurate Shapley values at most as well as this allows: evaluate more texts where it is low.

    Args:
        values: shape (M,), value of each candidate.
        standard_errors: shape (M,), of each value, from repeated or per-text evaluation; see ``target.mean_distance``.
        round_index: shape (M,), the round of each candidate.

    Raises:
        ValueError: shapes that do not match, a number that is not finite, a negative standard error, or no round
            with two candidates.

    Source: Lord & Novick, "Statistical theories of mental test scores" (1968), chapter 3: reliability of a measure.

    Example:
        >>> import numpy as np
        >>> value_reliability(np.array([3.0, 1.0]), np.array([0.5, 0.5]), np.array([0, 0]))
        Reliability(observed_variance=2.0, noise_variance=0.25, reliability=0.875)
    """
    values, errors = np.asarray(values, dtype=np.float64), np.asarray(standard_errors, dtype=np.float64)
    centred, _, inside = _centred_in_rounds(values[:, None], np.zeros((values.size, 1)), round_index)
    if errors.shape != values.shape or not np.isfinite(errors).all() or (errors < 0).any():
        raise ValueError("expected one finite standard error for each value: evaluate each candidate on several texts")
    if not inside:
        raise ValueError("reliability needs a round with at least two candidates")
    observed = float(np.square(centred).sum() / inside)
    noise = float(np.square(errors).mean())
    return Reliability(observed, noise, max(0.0, 1.0 - noise / observed) if observed > 0 else 0.0)


@dataclass(frozen=True, slots=True)
class RecoveredVectors:
    """Contributors' places in the embedding space.

    ``vectors`` (N, d); ``standard_errors`` (N,) of each coordinate; ``draw`` takes a direction (d,) and a generator and
    gives one draw (N,) from the posterior of ``vectors @ direction``.
    """

    vectors: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    draw: Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]


def recovered_vectors(
    shares: NDArray[np.float64],
    embeddings: NDArray[np.float64],
    round_index: NDArray[np.int64],
    bases: NDArray[np.float64],
    *,
    step: float = 1.0,
    prior: NDArray[np.float64] | None = None,
    on_evidence: bool = False,
    each: bool = False,
) -> RecoveredVectors:
    """Each contributor's place in the embedding space, recovered from the candidates that the contributor helped to train.

    A candidate of round t is taken to lie at base_t + step (share . U - base_t) plus noise, with U the contributors'
    vectors. Deviations of U are the ridge estimate from embeddings centred within rounds, divided by the step, with one
    empirical-Bayes ridge for all d coordinates; the mean of U is what the rounds' mean candidates point to.

    Args:
        shares: shape (M, N); see ``weight_shares``.
        embeddings: shape (M, d), mean embedding of each candidate's texts.
        round_index: shape (M,), values 0..T-1.
        bases: shape (T, d), where each round's base model stood.
        step: in (0, 1], how far a candidate moves from the base to its members' mean: 1 where training goes all the
            way.
        prior: shape (N, d), where each contributor is expected, up to a vector that all have in common: the mean
            embedding of what it wrote, say. Deviations of U are then shrunk towards the prior's times a slope, in place of
            zero. The slope is what fits the candidates best, and 1 as if three more contrasts of candidates had said so; a
            prior that tells nothing gets a slope near zero as rounds come in.
        on_evidence: Whether that slope begins at nothing known instead: it is then the slope that fits best, b, shrunken by
            its own error e to max(b - e^2 / b, 0). Where training moves no candidate no prior counts.
        each: Whether moreover each contributor's texts work as the crowd's do or not at all, which is as likely before a
            candidate was seen: its prior counts by the probability that candidates give to the first.

    Returns:
        U and how sure it is.

    Raises:
        ValueError: shapes that do not match, a number that is not finite, or a step outside (0, 1].

    Example:
        >>> import numpy as np
        >>> places = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
        >>> found = recovered_vectors(np.eye(3), places, np.zeros(3, int), np.zeros((1, 2)))
        >>> (found.vectors.round(3) + 0.0).tolist()
        [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]
    """
    embeddings, bases = np.asarray(embeddings, dtype=np.float64), np.asarray(bases, dtype=np.float64)
    if embeddings.ndim != 2 or bases.ndim != 2 or bases.shape[1] != embeddings.shape[1]:
        raise ValueError(f"expected embeddings (M, d) and bases (T, d), got {embeddings.shape} and {bases.shape}")
    if not 0.0 < step <= 1.0:
        raise ValueError(f"step must lie in (0, 1], got {step}")
    x, y, inside = _centred_in_rounds(shares, embeddings, round_index)
    round_index = np.asarray(round_index, dtype=np.int64)
    if round_index.size and (round_index.min() < 0 or round_index.max() >= len(bases)):
        raise ValueError(f"round_index must lie in 0..{len(bases) - 1}, one base for each round")
    if not np.isfinite(bases).all():
        raise ValueError("bases must be finite")
    expected, predicted = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape)
    if prior is not None:
        expected = np.asarray(prior, dtype=np.float64)
        if expected.shape != (x.shape[1], y.shape[1]) or not np.isfinite(expected).all():
            raise ValueError(f"expected a finite prior of shape {(x.shape[1], y.shape[1])}, got {expected.shape}")
        if each:
            starts = bases[round_index]
            working, slope = _working_texts(x, y, expected, starts, inside)
            predicted = slope * _taken(x, working, expected, starts)
            expected = slope * working[:, None] * (expected - bases.mean(axis=0))
        else:
            expected = expected - expected.mean(axis=0)
            predicted = x @ expected
            power = float(np.square(predicted).sum())
            agreement = float((predicted * y).sum()) / power if power > 0 else 0.0
            slope = (
                _evident(agreement, y - agreement * predicted, power, inside)
                if on_evidence
                else max((inside * agreement + PRIOR_CONTRASTS) / (inside + PRIOR_CONTRASTS), 0.0)
            )
            expected = slope * expected
            predicted = x @ expected  # not slope times the former: settled rounds are recomputed to the last bit
    fit = _empirical_ridge(x, y - predicted, inside)
    deviations = (expected + fit.coefficients) / step
    pointed_to = (embeddings - (1.0 - step) * bases[round_index]) / step
    vectors = (pointed_to - np.asarray(shares, dtype=np.float64) @ deviations).mean(axis=0) + deviations

    def draw(direction: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = vectors @ direction + float(np.linalg.norm(direction)) / step * fit.deviation(rng)
        return drawn

    return RecoveredVectors(vectors, fit.standard_errors / step, draw)


def _taken(
    x: NDArray[np.float64], working: NDArray[np.float64], places: NDArray[np.float64], starts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where candidates (M, d) lie from their ``starts`` (M, d) if texts took them all the way to their ``places`` (N, d)."""
    taken: NDArray[np.float64] = (x * working) @ places - (x @ working)[:, None] * starts
    return taken


def _working_texts(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    places: NDArray[np.float64],
    starts: NDArray[np.float64],
    inside: int,
) -> tuple[NDArray[np.float64], float]:
    """Probability (N,) that each contributor's texts take candidates to their place at all, and the slope at which those
    that do take them.

    Mean-field: each is judged by what the others leave, along its own direction, with the noise that is seen there.
    """
    working, slope = np.full(x.shape[1], WORKING), 0.0
    for _ in range(SWEEPS):
        predicted = _taken(x, working, places, starts)
        total = float(np.square(predicted).sum())
        agreement = float((predicted * y).sum()) / total if total > 0 else 0.0
        slope = _evident(agreement, y - agreement * predicted, total, inside)
        if not slope:
            return np.full(x.shape[1], WORKING), 0.0
        left = y - slope * predicted
        for who in np.flatnonzero((x != 0).any(axis=0)):
            own = x[:, who, None] * (places[who] - starts)
            towards = places[who] - starts.mean(axis=0)
            towards = towards / max(float(np.linalg.norm(towards)), 1e-12)
            noise = float(np.square(left @ towards).sum()) / max(inside, 1)
            rest = left + slope * working[who] * own
            odds = slope * (float((own * rest).sum()) - slope * float(np.square(own).sum()) / 2) / max(noise, 1e-300)
            working[who] = 1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0)) * (1.0 - WORKING) / WORKING)
            left = rest - slope * working[who] * own
    return working, slope


def _evident(slope: float, residuals: NDArray[np.float64], power: float, inside: int) -> float:
    """The slope of a prior less what noise explains of it: the positive-part shrunken estimate, 0 where nothing is known."""
    degrees = inside * residuals.shape[1] - 1
    if slope <= 0 or degrees < 1:
        return 0.0
    variance = float(np.square(residuals).sum()) / degrees / power
    return max(float(slope - variance / slope), 0.0)


def values_of_demonstrations(
    vectors: NDArray[np.float64],
    work: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    empty: NDArray[np.float64],
    rng: np.random.Generator,
    draws: int = 64,
) -> NDArray[np.float64]:
    """What a round would gain more if everybody's demonstrations were worth what i's are: Shapley values of single demonstrations
    in a crowd of this mix, times the number of demonstrations.

    The players of the game are the K demonstrations, not the names. A coalition lies at the mean of its demonstrations' vectors,
    nobody's at ``empty``, and v is minus the distance to ``target``. With S of size k drawn in proportion to ``work``,
        a_i = sum over k = 0 .. K - 1 of E[v(S and one of i's) - v(S)].
    Sizes are drawn in strata that double, and all contributors meet the same coalitions.

    Args:
        vectors: shape (N, d), where demonstrations of each contributor take a candidate.
        work: shape (N,), demonstrations of each, at least 0 and not all 0.
        target, empty: shape (d,).
        rng: source of the coalitions.
        draws: coalitions in a stratum.

    Returns:
        shape (N,), in target distance.

    Guarantees: contributors with the same vector have the same value, and work that is split between names leaves the
    values of all as they were, up to the noise of the draws.

    Raises:
        ValueError: shapes that do not match, a number that is not finite, or work that is negative or all zero.

    Source: Shapley values of a game between atoms of work, Aumann & Shapley, "Values of non-atomic games" (1974); the strata
    follow Maleki et al. (2013).

    Example:
        >>> import numpy as np
        >>> vectors, target = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 0.0])
        >>> work, rng = np.array([1, 1]), np.random.default_rng(0)
        >>> found = values_of_demonstrations(vectors, work, target, empty=np.zeros(2), rng=rng)
        >>> bool(found[0] > found[1])
        True
    """
    vectors, work = np.asarray(vectors, dtype=np.float64), np.asarray(work, dtype=np.float64)
    target, empty = np.asarray(target, dtype=np.float64), np.asarray(empty, dtype=np.float64)
    if vectors.ndim != 2 or work.shape != vectors.shape[:1] or not target.shape == empty.shape == vectors.shape[1:]:
        raise ValueError(f"expected vectors (N, d) and work (N,), got {vectors.shape} and {work.shape}")
    if not all(np.isfinite(each).all() for each in (vectors, work, target, empty)):
        raise ValueError("vectors, work, target and start must be finite")
    if (work < 0).any() or not work.sum() > 0:
        raise ValueError("work must be at least 0, and somebody must have done some")
    total, chances = max(1, round(float(work.sum()))), work / work.sum()
    values = float(np.linalg.norm(empty - target)) - np.linalg.norm(vectors - target, axis=1)  # of the first to arrive
    first = 1
    while first < total:
        sizes = rng.integers(first, min(2 * first, total), size=draws)
        means = rng.multinomial(sizes, chances) @ vectors / sizes[:, None]
        for size, mean in zip(sizes, means, strict=True):
            joined = np.linalg.norm(mean - target + (vectors - mean) / (size + 1), axis=1)
            values = values + (min(2 * first, total) - first) / draws * (np.linalg.norm(mean - target) - joined)
        first *= 2
    found: NDArray[np.float64] = values
    return found


@dataclass(frozen=True, slots=True)
class _Ridge:
    coefficients: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    signal_variance: float
    noise_variance: float
    ridge: float
    deviation: Draw


def _centred_in_rounds(
    shares: NDArray[np.float64], responses: NDArray[np.float64], round_index: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Shares and responses less their round's mean, and the degrees of freedom that are left."""
    shares, round_index = np.asarray(shares, dtype=np.float64), np.asarray(round_index, dtype=np.int64)
    if shares.ndim != 2 or round_index.shape != shares.shape[:1] or responses.shape[0] != len(shares):
        raise ValueError(
            f"expected one row, response and round a candidate, got {shares.shape}, {responses.shape[:1]} and "
            f"{round_index.shape}"
        )
    if not np.isfinite(shares).all() or not np.isfinite(responses).all():
        raise ValueError("shares and what the candidates are worth must be finite")
    _, at, sizes = np.unique(round_index, return_inverse=True, return_counts=True)
    centred = []
    for columns in (shares, responses):
        sums = np.zeros((sizes.size, columns.shape[1]))
        np.add.at(sums, at, columns)
        centred.append(columns - sums[at] / sizes[at, None])
    return centred[0], centred[1], int(len(shares) - sizes.size)


def _empirical_ridge(x: NDArray[np.float64], y: NDArray[np.float64], degrees: int) -> _Ridge:
    """Ridge fit of (M, N) to (M, d) with the ridge that maximises the marginal likelihood, one for all columns.

    In the singular basis x = U S V', the squares of U'y are independent with variance signal S^2 + noise, and what U
    does not reach is noise alone. For a given ridge the best noise variance is a closed form, so one number is
    searched.
    """
    contributors, columns = x.shape[1], y.shape[1]
    # The smaller of x x' and x' x has all of it; a full singular value decomposition takes ten times as long.
    wide = len(x) < contributors
    squares, basis = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    seen = squares > squares.max(initial=0.0) * max(x.shape) * np.finfo(np.float64).eps
    scale, basis = np.sqrt(squares[seen]), basis[:, seen]
    vt = (basis.T @ x) / scale[:, None] if wide else basis.T
    along = basis.T @ y if wide else (basis.T @ (x.T @ y)) / scale[:, None]
    power = np.square(along).sum(axis=1)
    rest = max(float(np.square(y).sum() - power.sum()), 0.0)
    nothing = _Ridge(
        np.zeros((contributors, columns)),
        np.zeros(contributors),
        0.0,
        0.0,
        float("inf"),
        lambda rng: np.zeros(contributors),
    )
    if not power.sum() > 0.0:
        return nothing

    def cost(log_ridge: NDArray[np.float64]) -> NDArray[np.float64]:
        inflation = np.square(scale) / np.exp(log_ridge)[:, None] + 1.0
        noise = ((power / inflation).sum(axis=1) + rest) / (columns * degrees)
        cost: NDArray[np.float64] = columns * (np.log(inflation).sum(axis=1) + degrees * np.log(noise))
        return cost

    top = 2.0 * float(np.log(scale.max()))
    low, high = top - 30.0, top + 14.0
    for _ in range(6):
        grid = np.linspace(low, high, 45)
        best = int(np.argmin(cost(grid)))
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, 44)])
    log_ridge = (low + high) / 2.0
    if log_ridge > top + 13.0:
        return nothing
    ridge = float(np.exp(log_ridge))
    kept = np.square(scale) + ridge
    noise = float(((power * ridge / kept).sum() + rest) / (columns * degrees))
    coefficients = vt.T @ ((scale / kept)[:, None] * along)
    # Of a coefficient less the mean of all: what they have in common cannot be seen within rounds and is not asked for.
    directions = np.square(vt - vt.mean(axis=1, keepdims=True))
    spread = (1.0 - 1.0 / contributors) / ridge - directions.T @ (1.0 / ridge - 1.0 / kept)
    spread = np.maximum(spread, 0.0)

    def deviation(rng: np.random.Generator) -> NDArray[np.float64]:
        """A draw from the prior less what this ridge would make of its noisy data: a draw from the posterior less its
        mean [Matheron's rule]. No matrix over contributors is needed."""
        drawn = rng.normal(scale=np.sqrt(noise / ridge), size=contributors)
        data = x @ drawn + rng.normal(scale=np.sqrt(noise), size=len(x))
        difference: NDArray[np.float64] = drawn - vt.T @ (scale / kept * ((vt @ (x.T @ data)) / scale))
        return difference

    return _Ridge(coefficients, np.sqrt(noise * spread), noise / ridge, noise, ridge, deviation)
