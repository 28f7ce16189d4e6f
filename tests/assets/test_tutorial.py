"""docs/tutorial.md, block by block: its script writes the feedback, its commands run the round, and what it shows is what comes out."""

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from crowd_assets.forum import comments as forum
from resources.rounds.book import RoundBook
from resources.warehouse.duckdb import DuckDBWarehouse
from tests.conftest import QUICK
from tests.project.test_docs import DOCS, PROJECT, blocks

TUTORIAL = DOCS / "tutorial.md"


def made(line: str) -> list[str]:
    """The arguments of the command that a line is, or that its ``make`` comes to; none where it only sets up."""
    words = shlex.split(line, comments=True)
    if words[0] == "crowd-rounds":
        return words[1:]
    dry = ["make", "--no-print-directory", "-n", "-o", ".venv/.installed", "-C", str(PROJECT), *words[1:]]
    printed = subprocess.run(dry, capture_output=True, text=True, check=True).stdout
    commands = [each for each in printed.splitlines() if " -m crowd_assets " in each]
    return shlex.split(commands[0])[3:] if commands else []


def test_the_tutorial_from_its_first_block_to_its_last(
    tmp_path: Path, seed_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for name, value in {**QUICK, "epochs": 1, "selection_batches": 1, "shapley_method": "centroid"}.items():
        monkeypatch.setenv(f"CROWD_{name.upper()}", str(value))
    texts = forum.write_comments(400, np.random.default_rng(1))
    (tmp_path / "ordinary.txt").write_text("\n".join(each.response for each in texts))
    monkeypatch.setenv("CROWD_REFERENCE_TEXTS", str(tmp_path / "ordinary.txt"))
    (tmp_path / "tutorial").mkdir()
    (tmp_path / "tutorial" / "seed").symlink_to(seed_folder)

    printed = ""
    shown = [block for block in blocks(TUTORIAL) if block.language in ("python", "sh", "text")]
    for block in shown:
        if block.language == "text":
            continue
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})
            printed += capsys.readouterr().out
            continue
        for line in block.text.splitlines():
            if line.startswith("export "):
                for assignment in shlex.split(line)[1:]:
                    monkeypatch.setenv(*assignment.split("=", 1))
            elif arguments := made(line):
                result = CliRunner().invoke(app, arguments, catch_exceptions=False)
                assert result.exit_code == 0, (line, result.output)
                printed += result.output + capsys.readouterr().out

    assert "108 good lines and 4 bad ones" in printed
    round_ = RoundBook(DuckDBWarehouse(path="tutorial/warehouse.duckdb")).get("r000001")
    assert round_.status == "completed"
    texts = [block.text for block in shown if block.language == "text"]
    ingested, _, rejected, _ = texts
    assert ingested.strip() in printed
    for line in rejected.splitlines():
        number, reason = line.split("  ", 1)
        assert number in printed
        assert reason[:60] in printed
    assert "r000001  ok" in printed
    assert "lantern walk" in printed
