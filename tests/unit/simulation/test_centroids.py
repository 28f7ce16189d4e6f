"""The simulated world of centroids: on invented users, in the authors' layout on real ones, and what its schemes pay."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowd_assets.experiments.study import REFERENCE_DATA, reference_folder
from crowd_assets.mechanisms.shapley import exact_shapley
from crowd_assets.simulation import centroids


def test_schemes_of_the_simulation_pay_what_the_model_gained() -> None:
    """On invented users, so that it needs no data: whatever the scheme, the last model is nearer than the first."""
    rng = np.random.default_rng(2)
    users = rng.uniform(0, 5, (2, 12, 6))
    pool = centroids.Pool(users, rng.uniform(0, 5, (2, 6)), rng.uniform(0, 5, (2, 6)))
    truth = centroids.accurate_shapley(pool, "l2_norm", 0)
    for points, grouping in (
        ("rank", "random"),
        ("regression", "posterior_sampling"),
        ("surrogate", "posterior_sampling"),
    ):
        course = centroids.simulate(pool, centroids.Scheme(points, grouping), 3, 1, presence=0.8)
        assert (course.distance < np.linalg.norm(pool.start - pool.expert, axis=1)).all()
        if points == "surrogate":
            assert centroids.pearson(course.points, truth).min() > 0.9


def test_plain_kernel_shap_is_exact_where_it_can_enumerate() -> None:
    from crowd_assets.mechanisms.shapley import exact_shapley

    rng = np.random.default_rng(3)
    pool = centroids.Pool(rng.normal(size=(1, 8, 4)), rng.normal(size=(1, 4)), np.zeros((1, 4)))
    (game,) = centroids.games(pool, "l2_norm")
    found = centroids.plain_kernel_shapley(game, 8, 2000, rng)
    assert found == pytest.approx(exact_shapley(game, 8).values, abs=1e-9)


GENRES = 20


SURROGATE = centroids.Scheme("surrogate", "posterior_sampling", small=0.25)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """130 invented users in the layout of the real ones."""
    known = np.random.default_rng(0).uniform(0, 5, (130, GENRES))
    path = tmp_path / centroids.RATINGS
    path.parent.mkdir()
    frame = pl.DataFrame({"userId": range(130), **{f"genre {k}": known[:, k] for k in range(GENRES)}})
    frame.write_csv(path)
    return str(tmp_path)


def test_authors_users_are_the_first_of_the_file_and_the_expert_is_none_of_them(data: str) -> None:
    known = centroids.ratings(data)
    pool = centroids.authors_pool(data, 10, 30, 0)
    assert pool.users.shape == (30, 10, GENRES)
    for users, expert in zip(pool.users, pool.expert, strict=True):
        everybody = np.concatenate([users, expert[None]])
        assert np.array_equal(everybody[np.lexsort(everybody.T)], known[:11][np.lexsort(known[:11].T)])
    assert len(np.unique(pool.expert, axis=0)) > 5
    assert pool.start.min() >= 0
    assert pool.start.max() <= 5


def test_fresh_pools_hold_each_user_once_and_differ_between_runs_and_seeds(data: str) -> None:
    pool = centroids.fresh_pool(data, 20, 5, 1)
    for users, expert in zip(pool.users, pool.expert, strict=True):
        assert len(np.unique(np.concatenate([users, expert[None]]), axis=0)) == 21
    assert len(np.unique(pool.expert, axis=0)) > 1
    assert not np.array_equal(pool.users, centroids.fresh_pool(data, 20, 5, 2).users)
    assert np.array_equal(pool.users, centroids.fresh_pool(data, 20, 5, 1).users)


def test_runs_side_by_side_do_not_touch_one_another(data: str) -> None:
    pool = centroids.fresh_pool(data, 12, 3, 1)
    alone = centroids.Pool(pool.users[:1], pool.expert[:1], pool.start[:1])
    for scheme in (centroids.Scheme("rank", "epsilon_greedy"), SURROGATE):
        together = centroids.simulate(pool, scheme, 3, 5, noise=0.02)
        single = centroids.simulate(alone, scheme, 3, 5, noise=0.02)
        assert single.distance[0] == pytest.approx(together.distance[0], abs=1e-9)
        assert single.points[0] == pytest.approx(together.points[0], abs=1e-6)


def test_rank_points_of_a_round_add_up_to_those_of_its_groups(data: str) -> None:
    """Groups of equal size m hand out m (1 + ... + J) points in a round that improves, and none in another."""
    pool = centroids.fresh_pool(data, 12, 4, 1)
    course = centroids.simulate(pool, centroids.Scheme("rank", "random"), 3, 0)
    rounds = course.points.sum(axis=1) * centroids.ROUNDS / (4 * (1 + 2 + 3))
    assert rounds == pytest.approx(np.round(rounds), abs=1e-9)
    assert ((rounds > 0) & (rounds <= centroids.ROUNDS)).all()


def test_without_swaps_a_round_never_makes_the_model_worse(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = centroids.fresh_pool(data, 12, 4, 1)
    monkeypatch.setattr(centroids, "SWAP", 0.0)
    before = np.linalg.norm(pool.start - pool.expert, axis=1)
    for rounds in (5, 20, 80):
        monkeypatch.setattr(centroids, "ROUNDS", rounds)
        after = centroids.simulate(pool, centroids.Scheme("rank", "random"), 3, 0).distance
        assert (after <= before).all()
        before = after


def test_noise_is_in_what_is_observed_and_of_the_size_asked_for(data: str) -> None:
    pool = centroids.fresh_pool(data, 30, 4, 1)
    quiet = centroids.simulate(pool, SURROGATE, 5, 0)
    noisy = centroids.simulate(pool, SURROGATE, 5, 0, noise=0.05)
    assert quiet.value_noise == pytest.approx(0.0, abs=1e-12)
    assert noisy.value_noise == pytest.approx(0.05, rel=0.15)
    truth = centroids.accurate_shapley(pool, "l2_norm", 0)
    assert centroids.pearson(noisy.points, truth).mean() < centroids.pearson(quiet.points, truth).mean()


def test_small_groups_make_candidates_differ_more(data: str) -> None:
    pool = centroids.fresh_pool(data, 40, 4, 1)
    even, small = (
        centroids.simulate(pool, centroids.Scheme("rank", "random", small=small), 5, 0).spread for small in (1.0, 0.25)
    )
    assert (small > even).all()


@pytest.mark.parametrize("presence", [1.0, 0.6])
def test_default_points_track_accurate_shapley_values(data: str, presence: float) -> None:
    pool = centroids.fresh_pool(data, 30, 4, 1)
    truth = centroids.accurate_shapley(pool, "l2_norm", 0)
    course = centroids.simulate(pool, SURROGATE, 5, 0, presence=presence)
    assert centroids.pearson(course.points, truth).min() > 0.95


@pytest.mark.parametrize("evaluation", list(centroids.EVALUATIONS))
def test_values_that_count_as_accurate_are(data: str, evaluation: str) -> None:
    pool = centroids.fresh_pool(data, 12, 2, 1)
    exact = np.stack([exact_shapley(game, 12).values for game in centroids.games(pool, evaluation)])
    assert centroids.pearson(centroids.accurate_shapley(pool, evaluation, 0), exact).min() > 0.999


def test_plain_kernel_shap_adds_up_and_gets_better_with_more_evaluations(data: str) -> None:
    pool = centroids.fresh_pool(data, 40, 3, 1)
    accurate = centroids.accurate_shapley(pool, "l2_norm", 0)
    nobody_and_all = np.array([[False] * 40, [True] * 40])
    close = []
    for evaluations in (500, 10_000):
        found = np.stack(
            [
                centroids.plain_kernel_shapley(game, 40, evaluations, np.random.default_rng(1))
                for game in centroids.games(pool, "l2_norm")
            ]
        )
        totals = [float(np.diff(game(nobody_and_all))[0]) for game in centroids.games(pool, "l2_norm")]
        assert found.sum(axis=1) == pytest.approx(totals, abs=1e-9)
        close.append(centroids.pearson(found, accurate).mean())
    assert close[0] < close[1] < 0.999


def test_real_users_are_610_in_20_genres() -> None:
    if not (reference_folder() / centroids.RATINGS).exists():
        pytest.skip(f"no MovieLens ratings: set {REFERENCE_DATA} to the folder with the real data")
    known = centroids.ratings(str(reference_folder()))
    assert known.shape == (610, GENRES)
    assert known.min() >= 0
    assert known.max() <= 5
