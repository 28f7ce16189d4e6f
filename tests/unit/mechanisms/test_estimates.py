"""Estimates of contributions: recovered without noise, shrunk with it, and on the track of Shapley values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.estimates import (
    contribution_estimates,
    recovered_vectors,
    value_reliability,
)
from crowd_assets.mechanisms.payouts import (
    rank_points,
    regression_points,
    weight_shares,
)
from crowd_assets.mechanisms.shapley import kernel_shapley
from crowd_assets.mechanisms.target import centroid_game
from tests.unit.mechanisms.tournaments import seeds, tournament


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
