"""Shapley values: the axioms, and estimates that agree with exact values within their standard errors."""

from itertools import permutations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.shapley import (
    Game,
    ShapleyEstimates,
    estimate_shapley,
    exact_shapley,
    kernel_shapley,
    permutation_shapley,
)
from crowd_assets.mechanisms.target import centroid_game
from tests import REFERENCE_DATA

seeds = st.integers(0, 2**32 - 1)


def random_game(players: int, seed: int) -> Game:
    """A game with an independent worth for every coalition."""
    worths = np.random.default_rng(seed).normal(size=1 << players) + 7.0
    return lambda masks: worths[masks @ (1 << np.arange(players))]


def curved_game(weights: NDArray[np.int64]) -> Game:
    """Concave in the total weight of a coalition: players of equal weight are interchangeable, weight 0 is
    null."""
    return lambda masks: np.sqrt(masks @ weights + 1.0)


def both(game: Game, players: int, seed: int) -> list[ShapleyEstimates]:
    return [
        exact_shapley(game, players),
        permutation_shapley(game, players, permutations=8, rng=np.random.default_rng(seed)),
    ]


@given(players=st.integers(1, 7), seed=seeds)
def test_efficiency(players: int, seed: int) -> None:
    for estimates in both(random_game(players, seed), players, seed):
        assert estimates.values.sum() == pytest.approx(estimates.grand_value - estimates.empty_value)


@given(players=st.integers(2, 7), seed=seeds)
def test_a_null_player_gets_exactly_zero_and_a_twin_the_same(players: int, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(1, 99, players + 2)
    weights[0], weights[-1] = 0, weights[1]
    exact, sampled = both(curved_game(weights), players + 2, seed)
    assert exact.values[0] == sampled.values[0] == sampled.standard_errors[0] == 0.0
    assert exact.values[1] == pytest.approx(exact.values[-1], rel=1e-12)


@given(players=st.integers(1, 6), seed=seeds)
def test_linearity(players: int, seed: int) -> None:
    one, other = random_game(players, seed), random_game(players, seed + 1)
    together = both(lambda masks: 2.0 * one(masks) - 3.0 * other(masks), players, seed)
    for total, first, second in zip(together, both(one, players, seed), both(other, players, seed), strict=True):
        assert total.values == pytest.approx(2.0 * first.values - 3.0 * second.values, abs=1e-9)


@settings(max_examples=20)
@given(players=st.integers(1, 5), seed=seeds)
def test_exact_values_are_the_mean_over_all_orders(players: int, seed: int) -> None:
    game = random_game(players, seed)
    expected = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        coalition = np.zeros((1, players), dtype=bool)
        for player in order:
            before = game(coalition)[0]
            coalition[0, player] = True
            expected[player] += (game(coalition)[0] - before) / len(orders)
    assert exact_shapley(game, players).values == pytest.approx(expected)


def test_permutation_estimates_agree_with_exact_values_within_their_errors() -> None:
    players = 9
    deviations = []
    for seed in range(30):
        game = random_game(players, seed)
        sampled = permutation_shapley(game, players, permutations=400, rng=np.random.default_rng(seed + 100))
        deviations.append((sampled.values - exact_shapley(game, players).values) / sampled.standard_errors)
    assert 0.85 < np.std(deviations) < 1.15
    assert abs(np.mean(deviations)) < 0.25


def test_one_game_too_large_for_one_batch_gives_the_same_whatever_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    game = curved_game(np.arange(10))
    whole = permutation_shapley(game, 10, permutations=30, rng=np.random.default_rng(5))
    monkeypatch.setattr("crowd_assets.mechanisms.shapley.CELLS_PER_BATCH", 700)
    batched = permutation_shapley(game, 10, permutations=30, rng=np.random.default_rng(5))
    assert batched.values == pytest.approx(whole.values, rel=1e-12)
    assert batched.standard_errors == pytest.approx(whole.standard_errors, rel=1e-9)
    assert batched.evaluations == whole.evaluations == 30 * 9 + 2


def test_estimate_enumerates_few_players_and_samples_many() -> None:
    game = curved_game(np.arange(13))
    rng = np.random.default_rng(6)
    assert estimate_shapley(game, 13, rng=rng).method == "paired_kernel"
    assert estimate_shapley(game, 13, rng=rng, estimator="permutation").method == "permutation"
    assert estimate_shapley(game, 13, rng=rng, exact_up_to=13).method == "exact"
    with pytest.raises(ValueError, match="unknown estimator"):
        estimate_shapley(game, 13, rng=rng, estimator="kernel")


def test_games_that_cannot_be_played_are_refused() -> None:
    game = curved_game(np.arange(3))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="1 to 15 players"):
        exact_shapley(game, 16)
    with pytest.raises(ValueError, match="at least 4 permutations"):
        permutation_shapley(game, 3, permutations=3, rng=rng)
    with pytest.raises(ValueError, match="not finite"):
        exact_shapley(lambda masks: np.full(len(masks), np.nan), 2)
    with pytest.raises(ValueError, match="one value each"):
        exact_shapley(lambda masks: np.zeros((len(masks), 1)), 2)


def test_kernel_estimates_agree_with_exact_values_within_their_errors() -> None:
    players = 10
    deviations, gaps = [], []
    for seed in range(30):
        game = random_game(players, seed)
        exact = exact_shapley(game, players)
        sampled = kernel_shapley(game, players, evaluations=300, rng=np.random.default_rng(seed + 100))
        assert sampled.evaluations <= 300
        deviations.append((sampled.values - exact.values) / sampled.standard_errors)
        gaps.append(sampled.values.sum() - (exact.grand_value - exact.empty_value))
    assert 0.8 < np.std(deviations) < 1.3
    assert abs(np.mean(deviations)) < 0.25
    assert gaps == pytest.approx(np.zeros(30), abs=1e-9)


@given(players=st.integers(5, 40), seed=seeds)
def test_kernel_estimates_are_exact_for_players_worths_plus_any_function_of_size(players: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    worth, by_size = rng.normal(size=players), 9 * rng.normal(size=players + 1)
    estimates = kernel_shapley(
        lambda masks: masks @ worth + by_size[masks.sum(axis=1)], players, evaluations=40 * players, rng=rng
    )
    expected = worth + (by_size[-1] - by_size[0]) / players
    assert estimates.values == pytest.approx(expected, abs=1e-6)


def test_kernel_standard_errors_hold_where_most_sizes_have_few_pairs() -> None:
    players = 60
    rng = np.random.default_rng(3)
    weights = rng.integers(1, 99, players)
    game = curved_game(weights)
    accurate = kernel_shapley(game, players, evaluations=30_000, rng=rng).values
    deviations = []
    for _ in range(30):
        rough = kernel_shapley(game, players, evaluations=6 * players, rng=rng)
        deviations.append((rough.values - accurate) / rough.standard_errors)
    assert abs(np.mean(deviations)) < 0.25
    assert 0.8 < np.std(deviations) < 1.25


def test_kernel_uses_the_exact_values_where_it_may_ask_for_every_coalition() -> None:
    game = curved_game(np.arange(6))
    rng = np.random.default_rng(0)
    assert kernel_shapley(game, 6, evaluations=64, rng=rng).method == "exact"
    with pytest.raises(ValueError, match="at least 26 evaluations"):
        kernel_shapley(game, 6, evaluations=25, rng=rng)


def test_kernel_estimates_of_a_real_crowd_correlate_at_0_99_where_permutations_do_not() -> None:
    """100 raters of films as points of 20 mean ratings (MovieLens), 10,000 evaluations of the centroid game."""
    ratings = REFERENCE_DATA / "movielens" / "user_genre_mean_ratings.csv"
    if not ratings.exists():
        pytest.skip(f"reference data not found: set CROWD_REFERENCE_DATA to a folder with {ratings.name}")
    rng = np.random.default_rng(1)
    users = rng.permutation(pl.read_csv(ratings).drop("userId").to_numpy())[:101]
    game = centroid_game(users[:100], users[100], empty=np.zeros(20))
    accurate = kernel_shapley(game, 100, evaluations=150_000, rng=rng).values
    kernel = kernel_shapley(game, 100, evaluations=10_000, rng=rng).values
    permuted = permutation_shapley(game, 100, permutations=100, rng=rng).values
    assert np.corrcoef(kernel, accurate)[0, 1] > 0.99
    assert np.corrcoef(permuted, accurate)[0, 1] < 0.95


def test_crowds_whose_coalitions_no_float_can_count_are_estimated() -> None:
    rng = np.random.default_rng(0)
    worth = rng.normal(size=1_100)
    estimates = kernel_shapley(lambda masks: masks @ worth, 1_100, evaluations=8_000, rng=rng)
    assert np.corrcoef(estimates.values, worth)[0, 1] > 0.999
    assert estimates.values.sum() == pytest.approx(worth.sum())
