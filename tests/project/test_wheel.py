"""Installed by pip and run outside of a clone: the packages are whole, and nothing is written beside them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import PROJECT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as pip installs it, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if "/" not in name or name.startswith(("crowd_assets/", "resources/", "sensors/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, copy / name, follow_symlinks=False)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-compile"]
    subprocess.run([*pip, "--target", str(folder / "site"), str(copy)], check=True)
    return folder / "site"


def run(installed: Path, home: Path, *command: str) -> str:
    """A command of the installed program, from a folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CROWD_", "DAGSTER_", "PYTHON"))}
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "crowd_assets", *command],
        cwd=home,
        env=kept | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1", "CROWD_HOME": str(home / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_installed_program_works_and_writes_nothing_beside_itself(installed: Path, tmp_path: Path) -> None:
    before = files_below(installed)
    assert {"resources/home/dagster.yaml"} <= before
    assert run(installed, tmp_path, "--version").startswith("crowd-rounds ")
    assert "round" in run(installed, tmp_path, "-h")
    (tmp_path / "home" / "inbox").mkdir(parents=True)
    (tmp_path / "home" / "inbox" / "a.jsonl").write_text("no JSON\n")
    assert "ingest_feedback took" in run(installed, tmp_path, "ingest")
    assert (tmp_path / "home" / "dagster" / "history" / "runs.db").exists()
    assert "enabled: false" in (tmp_path / "home" / "dagster" / "dagster.yaml").read_text()
    assert files_below(installed) == before
    assert not (tmp_path / ".crowd").exists()


def test_the_licences_are_part_of_what_is_installed(installed: Path) -> None:
    (about,) = installed.glob("crowd_rounds-*.dist-info")
    assert {"LICENSE", "NOTICE"} <= {path.name for path in (about / "licenses").iterdir()}
