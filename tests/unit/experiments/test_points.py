"""Points against Shapley values: what counts as a cell that agrees, and what the report says of goals."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from crowd_assets.experiments import points
from crowd_assets.experiments.study import REFERENCE_DATA, Study
from crowd_assets.simulation import centroids


def test_pearson_is_the_correlation_and_zero_where_nothing_varies() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    assert centroids.pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert centroids.pearson(np.ones(9), b) == 0.0


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
