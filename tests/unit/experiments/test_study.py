"""Studies and the reproduction: cells are computed once, data that is missing is named, and what is written is safe to open."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from dagster import materialize

from crowd_assets.experiments import reproduction, study
from crowd_assets.experiments.study import Figure, Findings, ReferenceDataError, Study, code_version, mean_interval
from crowd_assets.report import display
from crowd_assets.simulation import centroids
from resources.build import build_resources
from resources.settings.resource import CrowdSettings


def a_cell(*, folder: str, number: int, data: str = "") -> dict[str, Any]:
    """Squares a number, and leaves a mark for every time it does so."""
    if number < 0:
        raise ArithmeticError("no square of this one")
    Path(folder, f"{number}-{len(os.listdir(folder))}").touch()
    return {"square": number**2, "data": data}


def a_builder(folder: Path, *, say: Any, number: int) -> None:
    """Fills a folder."""
    folder.mkdir()
    (folder / "number").write_text(str(number))
    say("built")


@pytest.fixture
def a_study(tmp_path: Path) -> Study:
    return Study(quick=True, seed=0, folder=tmp_path / "experiments", workers=2, log=lambda line: None)


def test_cells_are_computed_once_and_a_stopped_study_goes_on(a_study: Study, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    parameters = [{"folder": str(marks), "number": number} for number in (3, 1)]
    with pytest.raises(ArithmeticError):
        a_study.map(a_cell, [*parameters, {"folder": str(marks), "number": -1}])
    found = a_study.map(a_cell, [*parameters, {"folder": str(marks), "number": 2}])
    assert [cell["square"] for cell in found] == [9, 1, 4]
    assert sorted(mark.name[0] for mark in marks.iterdir()) == ["1", "2", "3"]
    assert a_study.map(a_cell, parameters) == found[:2]
    assert a_study.spent[-1] >= 0


def test_a_folder_is_built_once_for_its_parameters(a_study: Study) -> None:
    first = a_study.build(a_builder, number=4)
    (first / "number").write_text("kept")
    assert (a_study.build(a_builder, number=4) / "number").read_text() == "kept"
    assert (a_study.build(a_builder, number=5) / "number").read_text() == "5"


def test_what_a_cell_reads_counts_for_its_key(a_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks, data = tmp_path / "marks", tmp_path / "data"
    marks.mkdir()
    data.mkdir()
    monkeypatch.setenv("CROWD_REFERENCE_DATA", str(data))
    with pytest.raises(ReferenceDataError, match=r"table\.csv is missing: set CROWD_REFERENCE_DATA"):
        a_study.map(a_cell, [{"folder": str(marks), "number": 1}], reads=("table.csv",))
    for content in ("one", "one", "two"):
        (data / "table.csv").write_text(content)
        found = a_study.map(a_cell, [{"folder": str(marks), "number": 1}], reads=("table.csv",))
        assert found[0]["data"] == str(data)
    assert len(list(marks.iterdir())) == 2


def test_a_code_version_follows_what_a_function_reaches_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(study, "OURS", ("version_test_a", "version_test_b"))

    def cell() -> int:
        return 0

    cell.__module__, cell.__name__ = "version_test_a", "cell"

    def version_of(first: str, second: str) -> str:
        (tmp_path / "version_test_a.py").write_text(first)
        (tmp_path / "version_test_b.py").write_text(second)
        study._source.cache_clear()
        return code_version(cell)

    first = "from version_test_b import VALUE, OTHER\ndef cell(): return helper() + VALUE\ndef helper(): return 1\n"
    second = "VALUE = 1\nOTHER = 1\n"
    version = version_of(first, second)
    same = [
        (first.replace("def helper", "# why\ndef helper"), second),
        (first.replace("return 1", '"Says one."; return 1'), second),
        (first + "def unused(): return OTHER\n", second),
        (first, second.replace("OTHER = 1", "OTHER = 2")),
    ]
    other = [
        (first.replace("return 1", "return 2"), second),
        (first, second.replace("VALUE = 1", "VALUE = 2")),
        (first.replace("def cell(): ", "def cell():\n    import version_test_b\n    "), second),
        (first + "helper = cell\n", second),
        (first, second + "print('at import')\n"),
    ]
    assert [version_of(*sources) == version for sources in same] == [True] * len(same)
    assert [version_of(*sources) == version for sources in other] == [False] * len(other)
    study._source.cache_clear()


def test_an_interval_holds_the_mean_at_the_promised_rate() -> None:
    rng = np.random.default_rng(0)
    intervals = [mean_interval(list(rng.normal(size=6))) for _ in range(2000)]
    assert np.mean([low <= 0 <= high for _, low, high in intervals]) == pytest.approx(0.95, abs=0.02)


def test_the_reproduction_writes_every_figure_and_nothing_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hostile(study: Study) -> Findings:
        """An experiment whose texts are hostile."""
        return Findings(
            [Figure("a.figure", 0.25, 0.2, None, 0.3, "<script>alert(1)</script>", study.seed, "at least 0.2")],
            "A summary with <b>markup</b>.",
            tables={"T": pl.DataFrame({"text": ["<img src=x onerror=alert(1)>"], "number": [0.123456789]})},
            plots={"P": display.bars(["one"], [1.0], axis="x")},
        )

    experiment = reproduction.Experiment("A title", hostile)
    monkeypatch.setattr(reproduction, "EXPERIMENTS", (experiment,))
    monkeypatch.setattr(reproduction, "DOCUMENT", tmp_path / "reproduction.md")
    monkeypatch.chdir(tmp_path)
    settings = CrowdSettings(home=str(tmp_path / "home"))
    for quick in (True, False):
        assert materialize(
            [reproduction._asset(experiment), reproduction.gathered(("hostile",))],
            resources=build_resources(settings).as_dict(),
            run_config={"ops": {name: {"config": {"quick": quick}} for name in ("hostile", "reproduction")}},
        ).success
        (figure,) = json.loads((tmp_path / "reports" / "reproduction.json").read_text())
        assert set(figure) == {"name", "value", "low", "high", "published", "source", "seed", "command"}
        assert figure["command"] == ("make reproduce QUICK=1" if quick else "make reproduce")
        assert (tmp_path / "reproduction.md").exists() is not quick
    page = (tmp_path / "reports" / "reproduction.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert "| `a.figure` | 0.25 | 0.2 |  | 0.3 | at least 0.2 |" in (tmp_path / "reproduction.md").read_text()


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
