"""Points: what a round's tournament between candidates says about each contributor.

Belongs here: the schemes that turn the candidates' results into points of contributors.
Does not belong here: postings (see ``ledger``) and Shapley values (see ``shapley``).

Three schemes, in the order in which they need more and stand more noise: rank points (the paper's), regression points
from the candidates' values, surrogate points from the candidates' embeddings.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.shapley import ShapleyEstimates, estimate_shapley
from crowd_assets.mechanisms.target import centroid_game


def rank_of(distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank of each candidate: 0 for the smallest target distance, ties to the lower index.

    Args:
        distances: shape (J,), target distance of each candidate, not NaN.

    Returns:
        shape (J,), a permutation of 0..J-1.

    Raises:
        ValueError: a distance is NaN or the array is not one-dimensional.

    Source: Crowd-SFT (arXiv 2506.04063), on point-based rewards.
    """
    distances = np.asarray(distances, dtype=np.float64)
    if distances.ndim != 1 or np.isnan(distances).any():
        raise ValueError("every candidate needs a target distance: found NaN or an array that is not one-dimensional")
    rank = np.empty(distances.size, dtype=np.int64)
    rank[np.argsort(distances, kind="stable")] = np.arange(distances.size)
    return rank


def rank_points(distances: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points of the paper's scheme: every member of the group at rank r gets J - r.

    Args:
        distances: shape (J,), target distance of each group's candidate.
        group: shape (n,), values 0..J-1, the group of each contributor.

    Returns:
        shape (n,), values 1..J.

    Guarantees: members of one group get the same; a group that ranks better never gets less.

    Raises:
        ValueError: a distance is NaN, or a group index lies outside 0..J-1.

    Source: Crowd-SFT (arXiv 2506.04063), on point-based rewards.
    """
    rank = rank_of(distances)
    group = np.asarray(group, dtype=np.int64)
    if group.size and (group.min() < 0 or group.max() >= rank.size):
        raise ValueError(f"group indices must lie in 0..{rank.size - 1}, one candidate for each group")
    return (rank.size - rank[group]).astype(np.float64)


PRIOR_CONTRASTS = 3.0
"""Contrasts between candidates of a round that the prior of ``recovered_vectors`` is worth."""

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


def weight_shares(
    group: NDArray[np.int64], groups: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Weight share of every contributor in every candidate of one round.

    Formula: weight of i / total weight of its group in the row of its group, 0 in the other rows.

    Args:
        group: shape (n,), values 0..J-1, or -1 for a contributor who took no part.
        groups: J.
        weights: shape (n,), positive; equal weights by default.

    Returns:
        shape (J, n), every row of a non-empty group sums to 1.

    Raises:
        ValueError: a group index outside -1..J-1, or weights that are not one positive number each.
    """
    group = np.asarray(group, dtype=np.int64)
    held = np.ones(group.size) if weights is None else np.asarray(weights, dtype=np.float64)
    if held.shape != group.shape or not (np.isfinite(held) & (held > 0)).all():
        raise ValueError("weights must be one positive finite number for each contributor")
    if group.size and (group.min() < -1 or group.max() >= groups):
        raise ValueError(f"group indices must lie in 0..{groups - 1}, or be -1 for who took no part")
    shares = np.where(group == np.arange(groups)[:, None], held, 0.0)
    totals = shares.sum(axis=1, keepdims=True)
    return shares / np.where(totals > 0, totals, 1.0)


def contribution_estimates(
    shares: NDArray[np.float64], values: NDArray[np.float64], round_index: NDArray[np.int64]
) -> ContributionEstimates:
    """Regression of candidates' values on who trained them: the estimate behind regression points.

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


def averaging_spread(contributors: int) -> float:
    """Slope that turns estimated contributions into Shapley values when a coalition is worth its members' mean.

    For v(S) = mean of a over S, v(nobody) = 0: phi_i - mean phi = spread (a_i - mean a) with
        spread = (1 + (H_n - 1) n / (n - 1)) / n,   H_n = 1 + 1/2 + ... + 1/n,
    because the k-th to arrive moves the mean by (a_i - mean of those before) / k.

    Args:
        contributors: n >= 1.

    Returns:
        the slope, in (0, 1].

    Raises:
        ValueError: ``contributors < 1``.
    """
    if contributors < 1:
        raise ValueError(f"expected at least one contributor, got {contributors}")
    if contributors == 1:
        return 1.0
    harmonic = float((1.0 / np.arange(1, contributors + 1)).sum())
    return (1.0 + (harmonic - 1.0) * contributors / (contributors - 1)) / contributors


def regression_points(
    estimates: NDArray[np.float64],
    participated: NDArray[np.bool_],
    realised_gains: NDArray[np.float64],
    *,
    spread: float | None = None,
    allow_negative: bool = True,
    work: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Payouts of the rounds of an epoch: a share of the realised gain, shifted by estimated contributions.

    Formula: of the n contributors who took part in round t, i is paid w_i (gain_t + n s (a_i - mean a of the n)), where w_i
    is its share of their work and the mean is weighted by it: for equal work gain_t / n + s (a_i - mean a).
    Estimates are restated as rounds come in, and these payouts with them: settle them once, when an epoch closes.

    Args:
        estimates: a, shape (N,), from ``contribution_estimates`` over the rounds of the epoch.
        participated: shape (T, N), who took part in which round.
        realised_gains: shape (T,), by how much each round's model improved, in the unit of the values; may be zero or
            negative.
        spread: s >= 0; by default ``averaging_spread(n)`` of each round, which makes the payouts Shapley values of the
            game whose coalitions are worth their members' mean.
        allow_negative: otherwise each round's spread is cut to the largest that leaves nobody below zero (to zero where
            the gain is not positive).
        work: shape (T, N), what each did in each round, positive for who took part; all did the same by default.

    Returns:
        shape (T, N), in the unit of the values.

    Guarantees: each round's payouts sum to its realised gain whatever the spread (to zero if nobody took part); who
    took no part in a round is paid nothing for it; of two who did the same work in a round the one with the higher estimate
    is never paid less; who splits work between identities with equal estimates is paid the same in all, up to what the
    count n does to n s (with ``averaging_spread`` it grows like ln n).

    Raises:
        ValueError: shapes that do not match, a number that is not finite, a negative spread, or work that is not positive
            where somebody took part.
    """
    estimates = np.asarray(estimates, dtype=np.float64)
    participated = np.asarray(participated, dtype=bool)
    realised_gains = np.asarray(realised_gains, dtype=np.float64)
    if participated.shape != (realised_gains.size, estimates.size):
        raise ValueError(
            f"expected participation of shape ({realised_gains.size}, {estimates.size}), got {participated.shape}"
        )
    if not np.isfinite(estimates).all() or not np.isfinite(realised_gains).all():
        raise ValueError("estimates and gains must be finite")
    if spread is not None and not 0.0 <= spread < np.inf:
        raise ValueError(f"spread must be finite and not negative, got {spread}")
    done = np.ones(participated.shape) if work is None else np.asarray(work, dtype=np.float64)
    if done.shape != participated.shape or not (np.isfinite(done) & ((done > 0) | ~participated)).all():
        raise ValueError("work must be finite, one number a round and contributor, and positive for who took part")
    payouts = np.zeros(participated.shape)
    for payout, took_part, gain, worked in zip(payouts, participated, realised_gains, done, strict=True):
        present = np.flatnonzero(took_part)
        if not present.size:
            continue
        parts = worked[present] * (present.size / worked[present].sum())  # 1 on average
        equal = gain / present.size
        deviations = estimates[present] - (parts * estimates[present]).mean()
        slope = averaging_spread(present.size) if spread is None else spread
        lowest = deviations.min()
        if not allow_negative and lowest < 0:
            slope = min(slope, max(equal, 0.0) / -lowest)
        payout[present] = parts * (equal + slope * deviations)
    return payouts


def kept_points(
    payouts: NDArray[np.float64],
    rounds_taken_part: NDArray[np.int64],
    copied: NDArray[np.float64],
    *,
    least_rounds: int = 1,
    copy_discount: float = 0.0,
) -> NDArray[np.float64]:
    """Payouts less what defences withhold: all of a newcomer's, and of a copyist's what copies earned.

    Formula: a payout above zero is multiplied by (1 - copy_discount copied), and by 0 before its contributor has taken
    part in ``least_rounds`` rounds. What is withheld goes to nobody. A payout below zero stays: it is no way out of it.

    Args:
        payouts: shape (T, N), from ``regression_points``.
        rounds_taken_part: shape (N,), by the end of the epoch.
        copied: shape (T, N), in [0, 1], share of what each sent in each round that others or they had sent before.
        least_rounds: what a new identity gives up is at most its first ``least_rounds - 1`` rounds.
        copy_discount: in [0, 1].

    Returns:
        shape (T, N), nowhere above ``payouts``.

    Raises:
        ValueError: shapes that do not match, shares outside [0, 1], or fewer than one round.
    """
    payouts, copied = np.asarray(payouts, dtype=np.float64), np.asarray(copied, dtype=np.float64)
    rounds_taken_part = np.asarray(rounds_taken_part, dtype=np.int64)
    if payouts.ndim != 2 or copied.shape != payouts.shape or rounds_taken_part.shape != payouts.shape[1:]:
        raise ValueError(f"expected payouts (T, N), got {payouts.shape}, {rounds_taken_part.shape} and {copied.shape}")
    if not ((copied >= 0) & (copied <= 1)).all() or not 0.0 <= copy_discount <= 1.0:
        raise ValueError("shares that are copied and their discount must lie in [0, 1]")
    if least_rounds < 1:
        raise ValueError(f"least_rounds must be at least 1, got {least_rounds}")
    kept = (1.0 - copy_discount * copied) * (rounds_taken_part >= least_rounds)
    return np.where(payouts > 0, payouts * kept, payouts)


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


def solvent_points(payouts: NDArray[np.float64], realised_gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Payouts of an epoch that no debt is counted on: those above zero, together, are at most what the model gained.

    A payout below zero is a debt, and the payouts of a round sum to its gain only if debts are paid. In an open crowd a debt
    is left behind with the name, and who sends a scapegoat into debt would be paid what it never pays.

    Formula: payouts above zero are multiplied by min(1, max(sum of gains, 0) / sum of payouts above zero).

    Args:
        payouts: shape (T, N), from ``regression_points``.
        realised_gains: shape (T,), in the same unit.

    Returns:
        shape (T, N); what is below zero stays.

    Raises:
        ValueError: shapes that do not match.
    """
    payouts, realised_gains = np.asarray(payouts, dtype=np.float64), np.asarray(realised_gains, dtype=np.float64)
    if payouts.ndim != 2 or realised_gains.shape != payouts.shape[:1]:
        raise ValueError(f"expected payouts (T, N) and gains (T,), got {payouts.shape} and {realised_gains.shape}")
    promised = float(payouts[payouts > 0].sum())
    covered = min(1.0, max(float(realised_gains.sum()), 0.0) / promised) if promised > 0 else 1.0
    return np.where(payouts > 0, payouts * covered, payouts)


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
) -> RecoveredVectors:
    """Each contributor's place in the embedding space, recovered from the candidates it helped to train.

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

    Returns:
        U and how sure it is.

    Raises:
        ValueError: shapes that do not match, a number that is not finite, or a step outside (0, 1].
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
    expected = np.zeros((x.shape[1], y.shape[1]))
    if prior is not None:
        expected = np.asarray(prior, dtype=np.float64)
        if expected.shape != (x.shape[1], y.shape[1]) or not np.isfinite(expected).all():
            raise ValueError(f"expected a finite prior of shape {(x.shape[1], y.shape[1])}, got {expected.shape}")
        expected = expected - expected.mean(axis=0)
        predicted = x @ expected
        power = float(np.square(predicted).sum())
        agreement = float((predicted * y).sum()) / power if power > 0 else 0.0
        expected = expected * max((inside * agreement + PRIOR_CONTRASTS) / (inside + PRIOR_CONTRASTS), 0.0)
    fit = _empirical_ridge(x, y - x @ expected, inside)
    deviations = (expected + fit.coefficients) / step
    pointed_to = (embeddings - (1.0 - step) * bases[round_index]) / step
    vectors = (pointed_to - np.asarray(shares, dtype=np.float64) @ deviations).mean(axis=0) + deviations

    def draw(direction: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = vectors @ direction + float(np.linalg.norm(direction)) / step * fit.deviation(rng)
        return drawn

    return RecoveredVectors(vectors, fit.standard_errors / step, draw)


def surrogate_points(
    shares: NDArray[np.float64],
    embeddings: NDArray[np.float64],
    round_index: NDArray[np.int64],
    bases: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    empty: NDArray[np.float64],
    step: float = 1.0,
    evaluation: str = "negative_l2",
    permutations: int = 200,
    rng: np.random.Generator,
) -> ShapleyEstimates:
    """Shapley values of the centroid game on recovered vectors: points without training a single coalition.

    The candidates' embeddings have d numbers where their value has one, so this stands more noise than
    ``contribution_estimates``; it trusts the model of ``recovered_vectors`` more.

    Args:
        shares, embeddings, round_index, bases, step: see ``recovered_vectors``.
        target, empty, evaluation: see ``target.centroid_game``.
        permutations, rng: see ``shapley.estimate_shapley``.

    Returns:
        estimates whose values sum to v(all) - v(nobody); their standard errors are those of the Shapley estimate, given
        the recovered vectors.

    Raises:
        ValueError: as the functions named above.
    """
    vectors = recovered_vectors(shares, embeddings, round_index, bases, step=step).vectors
    game = centroid_game(vectors, target, empty=empty, evaluation=evaluation)
    return estimate_shapley(game, len(vectors), permutations=permutations, rng=rng)


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
