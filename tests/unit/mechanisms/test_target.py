"""Targets: neighbourhoods, distances, evaluations, and the centroid game."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.shapley import exact_shapley
from crowd_assets.mechanisms.target import (
    EVALUATIONS,
    centroid_game,
    confidence_ahead,
    distances,
    evaluate,
    highest_centroid,
    mean_distance,
    nearest_centroid,
)

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, texts=st.integers(2, 30))
def test_target_is_the_centroid_of_the_nearest_neighbours_of_the_highest_scoring_text(seed: int, texts: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, scores = rng.normal(size=(texts, 4)), rng.random(texts)
    k = int(rng.integers(1, texts))
    target, neighbours = nearest_centroid(vectors, scores, k)
    highest = scores.argmax()
    away = distances(vectors, vectors[highest])
    others = [i for i in range(texts) if i != highest]
    assert sorted(others, key=lambda i: away[i])[:k] == neighbours.tolist()
    assert target == pytest.approx(vectors[neighbours].mean(axis=0))


@given(seed=seeds, texts=st.integers(1, 30))
def test_target_of_the_top_k_is_the_centroid_of_the_texts_that_no_other_outscores(seed: int, texts: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, scores = rng.normal(size=(texts, 4)), rng.integers(0, 8, texts) / 8  # some scores are equal
    k = int(rng.integers(1, texts + 1))
    target, highest = highest_centroid(vectors, scores, k)
    assert highest.tolist() == sorted(range(texts), key=lambda i: (-scores[i], i))[:k]
    assert target == pytest.approx(vectors[highest].mean(axis=0))
    np.testing.assert_array_equal(highest_centroid(vectors, np.exp(3 * scores), k)[1], highest)
    assert highest_centroid(vectors, scores, texts)[0] == pytest.approx(vectors.mean(axis=0))
    distinct = scores + rng.permutation(texts) / 1e3
    order = rng.permutation(texts)
    assert highest_centroid(vectors[order], distinct[order], k)[0] == pytest.approx(
        highest_centroid(vectors, distinct, k)[0]
    )


def test_mean_distance_has_a_standard_error_and_admits_ignorance_for_one_text() -> None:
    estimate = mean_distance(np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]]), np.zeros(2))
    assert (estimate.mean, estimate.samples) == (2.0, 3)
    assert estimate.standard_error == pytest.approx(np.std([5, 1, 0], ddof=1) / np.sqrt(3))
    assert mean_distance(np.ones((1, 2)), np.zeros(2)).standard_error == np.inf
    with pytest.raises(ValueError, match="at least one"):
        mean_distance(np.ones((0, 2)), np.zeros(2))


def test_evaluations_by_hand() -> None:
    vectors, target = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([3.0, 0.0])
    assert evaluate(vectors, target, "negative_l2").tolist() == [-4.0, -3.0]
    assert evaluate(vectors, target, "negative_l1").tolist() == [-4.0, -3.0]
    assert evaluate(vectors, target, "dot_product").tolist() == [9.0, 0.0]
    assert evaluate(vectors, target, "cosine") == pytest.approx([0.6, 0.0])
    tiny = evaluate(vectors * 1e-200, target * 1e200, "cosine")
    assert tiny == pytest.approx([0.6, 0.0])


@given(seed=seeds, evaluation=st.sampled_from(EVALUATIONS))
def test_centroid_game_is_the_evaluation_of_the_mean_of_the_members(seed: int, evaluation: str) -> None:
    rng = np.random.default_rng(seed)
    vectors, target, empty = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=3)
    game = centroid_game(vectors, target, empty=empty, evaluation=evaluation)
    masks = (np.arange(32)[:, None] >> np.arange(5) & 1).astype(bool)
    expected = [
        evaluate((vectors[mask].mean(axis=0) if mask.any() else empty)[None, :], target, evaluation)[0]
        for mask in masks
    ]
    assert game(masks) == pytest.approx(expected, abs=1e-12)


@given(seed=seeds)
def test_twins_are_worth_the_same_in_the_centroid_game(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(6, 3))
    vectors[5] = vectors[2]
    values = exact_shapley(centroid_game(vectors, rng.normal(size=3), empty=np.zeros(3)), 6).values
    assert values[5] == pytest.approx(values[2])


def test_what_cannot_be_measured_is_refused() -> None:
    vectors = np.ones((3, 2))
    with pytest.raises(ValueError, match="lower k"):
        nearest_centroid(vectors, np.ones(3), 3)
    with pytest.raises(ValueError, match="one finite score"):
        nearest_centroid(vectors, np.ones(2), 1)
    with pytest.raises(ValueError, match=r"choose k in 1\.\.3"):
        highest_centroid(vectors, np.ones(3), 4)
    with pytest.raises(ValueError, match="one finite score"):
        highest_centroid(vectors, np.array([1.0, np.nan, 1.0]), 1)
    with pytest.raises(ValueError, match="unknown evaluation"):
        evaluate(vectors, np.ones(2), "l2")
    with pytest.raises(ValueError, match="finite vector of shape"):
        distances(vectors, np.ones(3))
    with pytest.raises(ValueError, match="finite vectors"):
        distances(np.full((1, 2), np.inf), np.ones(2))
    with pytest.raises(ValueError, match="shape"):
        centroid_game(vectors, np.ones(2), empty=np.zeros(3))


def test_confidence_ahead_is_the_share_of_samples_in_which_the_closer_model_looks_closer() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(1.0, 0.3, size=(2_000, 64))
    closer = common - 0.01 + 0.05 * rng.normal(size=common.shape)
    confidence = np.array([confidence_ahead(*pair) for pair in zip(closer, common, strict=True)])
    ahead = closer.mean(axis=1) < common.mean(axis=1)
    assert ((confidence > 0.5) == ahead).all()
    assert 0.9 < (confidence > 0.5).mean() < 0.98  # 0.01 is 1.6 standard errors
    null = np.array([confidence_ahead(row, row + 0.05 * rng.normal(size=row.shape)) for row in common])
    assert (null >= 0.9).mean() == pytest.approx(0.1, abs=0.03)
    assert confidence_ahead(common[0], common[0]) == 0.5
    assert confidence_ahead(common[0], common[0] + 0.1) == 1.0


@pytest.mark.parametrize("others", [[1.0], [1.0, 2.0, 3.0], [1.0, float("nan")]])
def test_confidence_ahead_wants_paired_finite_distances(others: list[float]) -> None:
    with pytest.raises(ValueError, match="finite distances"):
        confidence_ahead(np.ones(2), np.array(others))
