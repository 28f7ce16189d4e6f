"""Studies: cells are computed once, data that is missing is named, and versions follow the code that a cell reaches."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crowd_assets.experiments import study
from crowd_assets.experiments.study import ReferenceDataError, Study, code_version, mean_interval


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
