"""Shapley values of centroids: within their errors of exact values, and of the regression on a large crowd."""

import numpy as np
import pytest

from crowd_assets.mechanisms.distance_shapley import distance_shapley
from crowd_assets.mechanisms.shapley import (
    exact_shapley,
    kernel_shapley,
)
from crowd_assets.mechanisms.target import centroid_game


@pytest.mark.parametrize("players", [3, 4, 9, 12])
def test_common_coalitions_give_exact_values_within_their_errors(players: int) -> None:
    rng = np.random.default_rng(players)
    vectors, target, empty = rng.random((players, 5)), rng.random(5), np.zeros(5)
    exact = exact_shapley(centroid_game(vectors, target, empty=empty), players)
    found = [distance_shapley(vectors, target, empty=empty, rng=np.random.default_rng(seed)) for seed in range(60)]
    for estimates in found:
        assert estimates.values.sum() == pytest.approx(exact.values.sum())
        assert (estimates.grand_value, estimates.empty_value) == pytest.approx((exact.grand_value, exact.empty_value))
    values = np.array([estimates.values for estimates in found])
    spread = values.std(axis=0, ddof=1)
    assert (np.abs(values.mean(axis=0) - exact.values) <= 4 * spread / np.sqrt(len(found)) + 1e-12).all()
    claimed = np.sqrt(np.mean([np.square(estimates.standard_errors) for estimates in found], axis=0))
    assert np.median(spread / np.maximum(claimed, 1e-12)) == pytest.approx(1.0, abs=0.25)


def test_common_coalitions_agree_with_the_regression_on_a_large_crowd() -> None:
    rng = np.random.default_rng(7)
    vectors, target, empty = rng.random((300, 8)), rng.random(8), np.zeros(8)
    by_kernel = kernel_shapley(
        centroid_game(vectors, target, empty=empty), 300, evaluations=20_000, rng=np.random.default_rng(1)
    )
    found = distance_shapley(vectors, target, empty=empty, rng=np.random.default_rng(1))
    apart = (found.values - by_kernel.values) / np.hypot(found.standard_errors, by_kernel.standard_errors)
    assert np.sqrt(np.square(apart).mean()) < 1.5
    assert np.corrcoef(found.values, by_kernel.values)[0, 1] > 0.98
    with pytest.raises(ValueError, match="at least 3 players"):
        distance_shapley(vectors[:2], target, empty=empty, rng=rng)
