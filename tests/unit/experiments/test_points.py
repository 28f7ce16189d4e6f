"""Points against Shapley values: the simulated world on invented users, the authors' layout on real ones, and what the
experiments say of cells that are handed to them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from crowd_assets.experiments import points
from crowd_assets.experiments.study import REFERENCE_DATA, Study, reference_folder
from crowd_assets.mechanisms.shapley import exact_shapley
from crowd_assets.simulation import centroids

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


def test_pearson_is_the_correlation_and_zero_where_nothing_varies() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    assert centroids.pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert centroids.pearson(np.ones(9), b) == 0.0


def test_real_users_are_610_in_20_genres() -> None:
    if not (reference_folder() / centroids.RATINGS).exists():
        pytest.skip(f"no MovieLens ratings: set {REFERENCE_DATA} to the folder with the real data")
    known = centroids.ratings(str(reference_folder()))
    assert known.shape == (610, GENRES)
    assert known.min() >= 0
    assert known.max() <= 5


def study(quick: bool, cells: Callable[..., Any]) -> Study:
    """A study whose cells are made up by ``cells``."""

    class MadeUp(Study):
        def map(self, cell: Any, parameters: Sequence[Any], *, reads: Sequence[str] = ()) -> list[Any]:
            return [cells(**given) for given in parameters]

    return MadeUp(quick=quick, seed=0, folder=Path("unused"), workers=1, log=lambda line: None)


def made_up_sweep(pearson: float, distance: float, accurate: float = 0.8) -> Callable[..., Any]:
    def cell(*, users: int, evaluation: str, groups: Sequence[int], runs: int, seed: int) -> Any:
        about = np.random.default_rng(seed).normal(scale=0.05, size=runs)
        about -= about.mean()
        given = {"pearson": pearson + about, "distance": distance + about, "pearson_accurate": accurate + about}
        found = [
            {"grouping": grouping, "evaluation": evaluation, "users": users, "groups": count}
            | {name: values.tolist() for name, values in given.items()}
            for grouping in centroids.AUTHORS_GROUPINGS
            for count in groups
        ]
        return {"cells": found, "reference_correlation": (0.7 + about + users / 1000).tolist()}

    return cell


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authors' table that says 0.5 and 4.0 everywhere."""
    monkeypatch.setenv(REFERENCE_DATA, str(tmp_path))
    rows = [
        {
            "Grouping Function": grouping,
            "Evaluation Function": evaluation,
            "num_users": users,
            "num_groups": groups,
            "Pearson Correlation": 0.5,
            "Convergence Accuracy (final distance)": 4.0,
        }
        for grouping in centroids.AUTHORS_GROUPINGS
        for evaluation in centroids.EVALUATIONS
        for users in points.USERS
        for groups in points.GROUPS
    ]
    path = tmp_path / points.SWEEP
    path.parent.mkdir(exist_ok=True)
    pl.DataFrame(rows).write_csv(path)


@pytest.mark.parametrize(
    ("pearson", "distance", "both"),
    [(0.5, 4.0, 180), (0.51, 4.01, 180), (0.55, 4.0, 0), (0.5, 4.05, 0)],
)
@pytest.mark.usefixtures("sweep")
def test_a_cell_counts_if_both_its_figures_lie_within_sampling_error(
    pearson: float, distance: float, both: int
) -> None:
    found = points.points_authors_protocol(study(False, made_up_sweep(pearson, distance)))
    got = {figure.name.removeprefix("points.authors_protocol."): figure for figure in found.figures}
    assert got["cells_within_error"].value == both
    assert got["cells"].value == 180
    assert got["cells_within_error.accurate"].value == 0
    assert got["share_within_error.pearson"].value == (abs(pearson - 0.5) < 0.03)
    mean = got["pearson_mean"]
    assert mean.low is not None
    assert mean.high is not None
    assert mean.low < mean.value < mean.high
    assert mean.value == pytest.approx(pearson)
    assert mean.published == pytest.approx(0.5)


@pytest.mark.usefixtures("sweep")
def test_quick_sweep_has_fewer_cells_and_no_other_names() -> None:
    quick, full = (points.points_authors_protocol(study(how, made_up_sweep(0.5, 4.0))) for how in (True, False))
    assert {figure.name for figure in quick.figures} < {figure.name for figure in full.figures}
    assert len(quick.tables["All cells, ours beside the authors'"]) == 108


def made_up_schemes(ours: float) -> Callable[..., Any]:
    """The default reaches ``ours`` with a final distance of 1 - ours beside a best of nine of 0.5."""

    def cell(*, schemes: Sequence[dict[str, Any]], runs: int, seed: int, **world: Any) -> Any:
        about = np.random.default_rng(seed).normal(scale=1e-3, size=runs)
        about -= about.mean()
        made = []
        for index, scheme in enumerate(schemes):
            rank = scheme["points"] == "rank"
            made.append(
                {
                    "pearson": ((0.5 if rank else ours) + about).tolist(),
                    "distance": ((0.5 + index / 100 if rank else 1 - ours) + about).tolist(),
                    "spread": [0.1] * runs,
                    "value_noise": [world.get("noise", 0.0)] * runs,
                    "points": [0.0, 1.0],
                    "shapley": [0.0, 1.0],
                }
            )
        return made

    return cell


NAMED_IN_THE_REPORT = {
    "points.default.pearson_mean.100x5",
    "points.default.share_above_0.9.100x5",
    "points.default.distance_ratio.100x5",
    "points.default.pearson_mean.100x2",
    "points.default.pearson_mean.100x5.noise_0.05",
}


@pytest.mark.parametrize("quick", [True, False])
def test_goals_that_are_missed_are_said_and_no_others(quick: bool) -> None:
    reached = points.points_beyond(study(quick, made_up_schemes(0.95)))
    assert {figure.name for figure in reached.figures if figure.goal} == NAMED_IN_THE_REPORT
    assert "Every goal is reached" in reached.summary

    missed = points.points_beyond(study(quick, made_up_schemes(0.86)))
    said = missed.summary.partition("Missed goals")[2]
    assert {name for name in NAMED_IN_THE_REPORT if f"`{name}`" in said} == {
        "points.default.pearson_mean.100x5",
        "points.default.share_above_0.9.100x5",
        "points.default.pearson_mean.100x2",
    }


def test_distance_is_compared_with_the_best_of_all_nine_schemes() -> None:
    found = points.points_beyond(study(False, made_up_schemes(0.95)))
    got = {figure.name: figure for figure in found.figures}
    assert len(points.NINE) == 9
    first_rank = list(points.NAMES).index("rank, ε-greedy")
    assert got["points.default.distance_ratio.100x5"].value == pytest.approx(0.05 / (0.5 + first_rank / 100))
