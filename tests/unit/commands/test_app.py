"""One command line has every command."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app


def test_one_command_line_has_them_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["--help"], terminal_width=200).stdout
    for command in ("import", "ingest", "round", "status", "leaderboard", "audit", "export", "reproduce", "exchange"):
        assert f" {command} " in listed, command
    assert "goemotions" in CliRunner().invoke(app, ["import", "--help"]).stdout
    assert "label-studio" in CliRunner().invoke(app, ["exchange", "--help"]).stdout
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    done = CliRunner().invoke(app, ["import", "trl-prompt-completion", str(rows), "--out", str(tmp_path / "inbox")])
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "inbox").iterdir())
    assert CliRunner().invoke(app, ["import", "trl-prompt-completion", str(rows)]).exit_code == 2


def test_help_and_other_tools_files_wait_for_no_library_that_takes_long() -> None:
    code = (
        "import sys; from crowd_assets.__main__ import app\n"
        "loaded = lambda *names: sorted(set(names) & set(sys.modules)); heavy = 'dagster', 'torch', 'scipy', 'pandas'\n"
        "assert not loaded(*heavy, 'polars', 'duckdb', 'resources.settings.settings'), loaded(*heavy, 'polars', 'duckdb')\n"
        "import crowd_assets.importers.cli, crowd_assets.exporters.cli\n"
        "assert not loaded(*heavy), loaded(*heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
