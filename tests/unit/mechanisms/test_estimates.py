"""Points: the paper's rank points, and points that track Shapley values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.estimates import (
    contribution_estimates,
    recovered_vectors,
    surrogate_points,
    value_reliability,
)
from crowd_assets.mechanisms.payouts import (
    averaging_spread,
    kept_points,
    rank_of,
    rank_points,
    regression_points,
    solvent_points,
    weight_shares,
)
from crowd_assets.mechanisms.shapley import exact_shapley, kernel_shapley
from crowd_assets.mechanisms.target import centroid_game

seeds = st.integers(0, 2**32 - 1)


def test_rank_of_breaks_ties_by_index() -> None:
    assert rank_of(np.array([0.3, 0.1, 0.3, 0.2])).tolist() == [2, 0, 3, 1]


def test_every_member_of_the_best_group_gets_as_many_points_as_there_are_groups() -> None:
    points = rank_points(np.array([0.5, 0.1, 0.9]), np.array([0, 1, 2, 1, 0]))
    assert points.tolist() == [2.0, 3.0, 1.0, 3.0, 2.0]


def test_missing_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        rank_of(np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match="one candidate for each group"):
        rank_points(np.array([0.1, 0.2]), np.array([0, 2]))


def tournament(seed: int, contributors: int, rounds: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Shares and round of each candidate when contributors are split at random into groups of about four."""
    rng = np.random.default_rng(seed)
    groups = max(2, contributors // 4)
    splits = [rng.permutation(np.arange(contributors) % groups) for _ in range(rounds)]
    return np.concatenate([weight_shares(split, groups) for split in splits]), np.repeat(np.arange(rounds), groups)


@given(seed=seeds)
def test_weight_shares_sum_to_one_in_every_candidate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(-1, 3, 12)
    shares = weight_shares(group, 3, rng.uniform(0.1, 5, 12))
    assert shares.sum(axis=1) == pytest.approx([float((group == j).any()) for j in range(3)])
    assert not shares[:, group == -1].any()


@given(seed=seeds)
def test_without_noise_contributions_are_recovered_up_to_their_mean(seed: int) -> None:
    shares, round_index = tournament(seed, 12, 40)
    truth = np.random.default_rng(seed).normal(size=12)
    values = shares @ truth + 100 * round_index
    estimates = contribution_estimates(shares, values, round_index)
    assert estimates.values == pytest.approx(truth - truth.mean(), abs=1e-3)
    assert estimates.candidates == values.size
    doubled = contribution_estimates(shares, 2 * values, round_index)
    assert doubled.values == pytest.approx(2 * estimates.values, abs=1e-5)


def test_noise_shrinks_estimates_and_shows_in_their_standard_errors() -> None:
    shares, round_index = tournament(1, 20, 60)
    rng = np.random.default_rng(2)
    deviations, shrunk = [], []
    for _ in range(30):
        truth = rng.normal(size=20)
        noisy = shares @ truth + rng.normal(scale=0.5, size=len(shares))
        estimates = contribution_estimates(shares, noisy, round_index)
        shrunk.append(np.square(estimates.values).sum() / np.square(truth - truth.mean()).sum())
        assert 0.1 < estimates.noise_variance < 0.5
        deviations.append((estimates.values - (truth - truth.mean())) / estimates.standard_errors)
    assert 0.8 < np.std(deviations) < 1.2
    assert np.mean(shrunk) < 1
    luck = contribution_estimates(shares, rng.normal(size=len(shares)), round_index)
    assert np.abs(luck.values).max() < 0.5


def test_contributors_who_cannot_be_told_apart_are_paid_the_same() -> None:
    shares, round_index = tournament(3, 8, 10)
    together = np.hstack([shares / 2, shares[:, :1] / 2, np.zeros((len(shares), 1))])
    together[:, 0] = together[:, 8]
    values = np.random.default_rng(4).normal(size=len(shares))
    estimates = contribution_estimates(together, values, round_index).values
    assert estimates[0] == pytest.approx(estimates[8])
    assert estimates[9] == 0.0
    flat = contribution_estimates(shares, np.ones(len(shares)), round_index)
    assert flat.ridge == np.inf
    assert not flat.values.any()


@given(seed=seeds, spread=st.one_of(st.none(), st.floats(0, 100)), allow_negative=st.booleans())
def test_payouts_sum_to_the_realised_gain_and_go_to_those_who_took_part(
    seed: int, spread: float | None, allow_negative: bool
) -> None:
    rng = np.random.default_rng(seed)
    estimates, took_part, gains = rng.normal(size=9), rng.random((5, 9)) < 0.6, rng.normal(size=5)
    took_part[0] = False
    payouts = regression_points(estimates, took_part, gains, spread=spread, allow_negative=allow_negative)
    assert payouts.sum(axis=1) == pytest.approx(np.where(took_part.any(axis=1), gains, 0.0), abs=1e-9)
    assert not payouts[~took_part].any()
    for payout, present, gain in zip(payouts, took_part, gains, strict=True):
        assert (np.diff(payout[present][np.argsort(estimates[present])]) >= -1e-12).all()
        if not allow_negative and gain > 0:
            assert (payout >= -1e-12).all()


@given(seed=seeds, contributors=st.integers(1, 9))
def test_default_spread_makes_payouts_the_shapley_values_of_averaging(seed: int, contributors: int) -> None:
    worth = np.random.default_rng(seed).normal(size=contributors)

    def mean_worth(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        return masks @ worth / np.maximum(masks.sum(axis=1), 1)

    shapley = exact_shapley(mean_worth, contributors).values
    paid = regression_points(worth, np.ones((1, contributors), dtype=bool), worth.mean(keepdims=True))
    assert paid[0] == pytest.approx(shapley)
    assert 0 < averaging_spread(contributors) <= 1


def test_reliability_is_the_correlation_between_two_evaluations() -> None:
    rng = np.random.default_rng(5)
    round_index = np.repeat(np.arange(400), 5)
    truth = rng.normal(size=2000)
    once, again = (truth + rng.normal(scale=0.7, size=2000) for _ in range(2))
    reliability = value_reliability(once, np.full(2000, 0.7), round_index)
    assert reliability.reliability == pytest.approx(np.corrcoef(once, again)[0, 1], abs=0.05)
    assert value_reliability(np.ones(4), np.ones(4), np.zeros(4, dtype=int)).reliability == 0.0
    with pytest.raises(ValueError, match="two candidates"):
        value_reliability(np.ones(2), np.ones(2), np.arange(2))


@given(seed=seeds, step=st.sampled_from([0.1, 1.0]))
def test_vectors_are_recovered_from_the_candidates_they_trained(seed: int, step: float) -> None:
    shares, round_index = tournament(seed, 12, 40)
    rng = np.random.default_rng(seed)
    vectors, bases = rng.normal(size=(12, 3)), rng.normal(size=(40, 3))
    embeddings = bases[round_index] * (1 - step) + step * (shares @ vectors)
    recovered = recovered_vectors(shares, embeddings, round_index, bases, step=step).vectors
    assert recovered == pytest.approx(vectors, abs=1e-2)
    target = rng.normal(size=3)
    points = surrogate_points(shares, embeddings, round_index, bases, target, empty=np.zeros(3), step=step, rng=rng)
    game = centroid_game(vectors, target, empty=np.zeros(3))
    assert points.values == pytest.approx(exact_shapley(game, 12).values, abs=1e-2)


def test_a_prior_carries_the_vectors_while_candidates_are_few_and_yields_when_it_tells_nothing() -> None:
    shares, round_index = tournament(5, 12, 30)
    rng = np.random.default_rng(5)
    vectors, other = rng.normal(size=(12, 6)), rng.normal(size=(12, 6))
    embeddings = shares @ vectors + 0.05 * rng.normal(size=(len(shares), 6))
    bases = np.zeros((30, 6))

    def error(rounds: int, prior: NDArray[np.float64] | None) -> float:
        rows = round_index < rounds
        found = recovered_vectors(shares[rows], embeddings[rows], round_index[rows], bases[:rounds], prior=prior)
        return float(np.abs(found.vectors - vectors).mean())

    assert error(1, vectors + 0.1 * rng.normal(size=vectors.shape)) < 0.5 * error(1, None)
    assert error(30, other) == pytest.approx(error(30, None), rel=0.25)
    with pytest.raises(ValueError, match="finite prior of shape"):
        error(3, other[:5])


@given(seed=seeds)
def test_draws_have_the_mean_and_the_standard_errors_of_the_estimates(seed: int) -> None:
    shares, round_index = tournament(seed, 8, 6)
    rng = np.random.default_rng(seed)
    values = shares @ rng.normal(size=8) + 0.1 * rng.normal(size=len(shares))
    fitted = contribution_estimates(shares, values, round_index)
    draws = np.array([fitted.draw(rng) for _ in range(4000)])
    draws -= draws.mean(axis=1, keepdims=True) - fitted.values.mean()
    largest = max(float(fitted.standard_errors.max()), 1e-9)
    assert np.abs(draws.mean(axis=0) - fitted.values).max() < 0.1 * largest
    assert np.abs(draws.std(axis=0) - fitted.standard_errors).max() < 0.1 * largest


def test_vectors_are_drawn_along_a_direction() -> None:
    shares, round_index = tournament(3, 8, 6)
    rng = np.random.default_rng(3)
    embeddings = shares @ rng.normal(size=(8, 3)) + 0.1 * rng.normal(size=(len(shares), 3))
    found = recovered_vectors(shares, embeddings, round_index, np.zeros((6, 3)))
    direction = np.array([3.0, 0.0, 4.0])
    draws = np.array([found.draw(direction, rng) for _ in range(4000)])
    draws -= draws.mean(axis=1, keepdims=True) - (found.vectors @ direction).mean()
    assert draws.mean(axis=0) == pytest.approx(found.vectors @ direction, abs=0.6 * found.standard_errors.max())
    assert draws.std(axis=0) == pytest.approx(5.0 * found.standard_errors, rel=0.1)


def test_regression_points_track_shapley_values_where_rank_points_do_less() -> None:
    """Crowd-SFT's second experiment in small: points in a space, candidates that move towards their group's mean."""
    correlations = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        users, target, place = rng.normal(size=(40, 8)), rng.normal(size=8), 3 * rng.normal(size=8)
        game = centroid_game(users, target, empty=np.zeros(8))
        shares, round_index = tournament(seed, 40, 60)
        ranked = np.zeros(40)
        values = np.zeros(len(shares))
        for round_no in range(60):
            rows = np.flatnonzero(round_index == round_no)
            candidates = place + 0.1 * (shares[rows] @ users - place)
            away = np.linalg.norm(candidates - target, axis=1)
            values[rows] = -away
            ranked += rank_points(away, shares[rows].argmax(axis=0))
            place = candidates[away.argmin()]
        truth = kernel_shapley(game, 40, evaluations=4000, rng=rng).values
        estimates = contribution_estimates(shares, values, round_index).values
        correlations.append([np.corrcoef(points, truth)[0, 1] for points in (ranked, estimates)])
    ranks, regressions = np.mean(correlations, axis=0)
    assert regressions > 0.9
    assert regressions > ranks


def test_tournaments_that_do_not_fit_together_are_refused() -> None:
    shares, round_index = tournament(0, 8, 3)
    values = np.zeros(len(shares))
    with pytest.raises(ValueError, match="one row, response and round"):
        contribution_estimates(shares, values[1:], round_index)
    with pytest.raises(ValueError, match="finite"):
        contribution_estimates(shares, values + np.nan, round_index)
    with pytest.raises(ValueError, match="participation of shape"):
        regression_points(np.zeros(8), np.ones((3, 7), dtype=bool), np.zeros(3))
    with pytest.raises(ValueError, match="spread"):
        regression_points(np.zeros(8), np.ones((3, 8), dtype=bool), np.zeros(3), spread=-1.0)
    with pytest.raises(ValueError, match="step must lie"):
        recovered_vectors(shares, np.zeros((len(shares), 2)), round_index, np.zeros((3, 2)), step=0.0)
    with pytest.raises(ValueError, match="one base for each round"):
        recovered_vectors(shares, np.zeros((len(shares), 2)), round_index, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="group indices"):
        weight_shares(np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="positive"):
        weight_shares(np.array([0, 1]), 2, np.array([1.0, 0.0]))


def epoch(seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Estimates, participation, gains and work of 6 contributors in 3 rounds."""
    rng = np.random.default_rng(seed)
    participated = rng.random((3, 6)) < 0.8
    return (
        rng.normal(size=6),
        participated,
        rng.uniform(0, 1, 3),
        np.where(participated, rng.uniform(0.1, 9, (3, 6)), 0.0),
    )


@given(seed=seeds)
def test_payouts_by_work_sum_to_the_gain_and_equal_work_is_paid_as_if_it_were_not_looked_at(seed: int) -> None:
    estimates, participated, gains, work = epoch(seed)
    paid = regression_points(estimates, participated, gains, work=work)
    assert paid.sum(axis=1) == pytest.approx(np.where(participated.any(axis=1), gains, 0.0))
    assert not paid[~participated].any()
    equal = regression_points(estimates, participated, gains, work=np.full((3, 6), 7.0))
    assert equal == pytest.approx(regression_points(estimates, participated, gains))
    with pytest.raises(ValueError, match="positive for who took part"):
        regression_points(estimates, np.ones((3, 6), dtype=bool), gains, work=np.zeros((3, 6)))


@given(seed=seeds, names=st.integers(2, 6), spread=st.floats(0, 1))
def test_splitting_work_between_names_is_paid_the_same_up_to_the_slope_and_by_name_it_pays(
    seed: int, names: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    estimates, gain, work = rng.normal(size=5), np.ones(1), rng.uniform(1, 9, (1, 5))
    split = np.concatenate([estimates, np.full(names - 1, estimates[0])])
    parts = np.concatenate([work, np.full((1, names - 1), work[0, 0] / names)], axis=1)
    parts[0, 0] /= names
    own = np.array([True] + [False] * 4 + [True] * (names - 1))
    whole = regression_points(estimates, np.ones((1, 5), dtype=bool), gain, spread=spread, work=work)
    pieces = regression_points(
        split, np.ones((1, own.size), dtype=bool), gain, spread=5 / (4 + names) * spread, work=parts
    )
    assert pieces[0, own].sum() == pytest.approx(whole[0, 0])
    assert pieces[0, ~own] == pytest.approx(whole[0, 1:])
    by_name = regression_points(np.zeros(own.size), np.ones((1, own.size), dtype=bool), gain, spread=0.0)
    assert by_name[0, own].sum() > 1 / 5 + 1e-9


@given(seed=seeds)
def test_what_is_withheld_is_withheld_from_what_is_above_zero_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payouts, copied, rounds = rng.normal(size=(3, 6)), rng.random((3, 6)), rng.integers(1, 4, 6)
    kept = kept_points(payouts, rounds, copied, least_rounds=2, copy_discount=0.5)
    assert (kept <= payouts + 1e-12).all()
    assert kept[payouts <= 0] == pytest.approx(payouts[payouts <= 0])
    assert not kept[:, rounds < 2][payouts[:, rounds < 2] > 0].any()
    known = (payouts > 0) & (rounds >= 2)
    assert kept[known] == pytest.approx((payouts * (1 - 0.5 * copied))[known])
    assert kept_points(payouts, rounds, copied) == pytest.approx(payouts)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        kept_points(payouts, rounds, copied + 1)


@given(seed=seeds)
def test_covered_payouts_need_nobodys_debts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payouts, gains = rng.normal(size=(3, 6)), rng.normal(size=3)
    covered = solvent_points(payouts, gains)
    above = payouts > 0
    assert covered[above].sum() <= max(gains.sum(), 0.0) + 1e-9
    assert covered[~above] == pytest.approx(payouts[~above])
    assert solvent_points(payouts, np.abs(gains) + payouts[above].sum()) == pytest.approx(payouts)


def test_a_scapegoat_raises_its_friends_pay_only_where_its_debt_is_counted_on() -> None:
    estimates, gains = np.array([1.0, 1.0, 1.0, 0.0]), np.array([4.0])
    goat = np.array([1.0, 1.0, 1.0, 0.0, -9.0])
    before, after = (
        regression_points(who, np.ones((1, who.size), dtype=bool), gains, spread=0.5) for who in (estimates, goat)
    )
    assert after[0, :3].sum() > 1.3 * before[0, :3].sum()
    shares = [solvent_points(paid, gains)[0, :3].sum() for paid in (before, after)]
    assert shares[1] <= shares[0] * 1.05
