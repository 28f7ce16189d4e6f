"""What is wrong is said before anything is trained or claimed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from crowd_assets.operations.preflight import check_inputs
from resources.common.errors import OperatorError
from resources.settings.resource import CrowdSettings


@pytest.mark.parametrize(
    ("settings", "feedback", "named"),
    [
        ({}, "nowhere", "FEEDBACK=nowhere"),
        ({}, "nothing://x/y", "FEEDBACK=nothing://x/y cannot be read"),
        ({}, "folders", "a.jsonl cannot be read (Is a directory)"),
        ({}, "links", "a.jsonl cannot be read (No such file or directory)"),
        ({}, "links/a.jsonl", "FEEDBACK=links/a.jsonl"),
        ({"embedder": "./broken"}, "", "CROWD_EMBEDDER='broken': config.json is none of a model"),
        ({"target_attribute": "gratitud"}, "", "CROWD_TARGET_ATTRIBUTE='gratitud' is no label"),
        ({"target_texts": "nowhere.txt"}, "", "CROWD_TARGET_TEXTS='nowhere.txt'"),
        ({"gold_answers": "nowhere.jsonl"}, "", "CROWD_GOLD_ANSWERS='nowhere.jsonl'"),
        ({"reference_texts": "nowhere.txt"}, "", "CROWD_REFERENCE_TEXTS='nowhere.txt'"),
        ({"target_neighbours": "100000"}, "", "CROWD_TARGET_NEIGHBOURS=100000 needs"),
        ({"lots": "nowhere.txt"}, "", "CROWD_LOTS='nowhere.txt'"),
        ({"base_model": "./nowhere"}, "", "CROWD_BASE_MODEL='./nowhere'"),
        ({"embedder": "/nowhere/at/all"}, "", "CROWD_EMBEDDER='/nowhere/at/all'"),
        ({"target_texts": "a", "gold_answers": "b"}, "", "both set"),
    ],
)
def test_what_is_wrong_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], feedback: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folders", "a.jsonl").mkdir(parents=True)
    Path("links").mkdir()
    Path("links", "a.jsonl").symlink_to("nowhere")
    Path("broken").mkdir()
    Path("broken", "config.json").write_text("no JSON")
    with pytest.raises(OperatorError) as problem:
        check_inputs(CrowdSettings(home=str(tmp_path / "home"), **settings), feedback)  # type: ignore[arg-type]
    assert named in str(problem.value)
    for name, value in settings.items():
        monkeypatch.setenv(f"CROWD_{name.upper()}", value)
    monkeypatch.setenv("CROWD_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(app, ["round", *(["--feedback", feedback] if feedback else [])])
    assert isinstance(done.exception, OperatorError)
    assert not (tmp_path / "home").exists()  # nothing was begun, trained or claimed


def test_what_is_right_passes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    assert [path.name for path in check_inputs(CrowdSettings(home=str(tmp_path / "home")), str(tmp_path))] == [
        "a.jsonl"
    ]


def test_append_of_a_missing_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_INBOX", str(tmp_path))
    done = CliRunner().invoke(
        app, ["append", str(tmp_path / "nowhere.jsonl")], env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"}
    )
    assert done.exit_code == 2
    assert "nowhere.jsonl" in done.output.replace("\n", "")
    assert "Traceback" not in done.output
