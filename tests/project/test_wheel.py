"""Installed by pip and run outside of a clone: the packages are whole, rounds and pages work, and nothing is written beside them."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crowd_assets.commands.ui import CODE_LOCATION
from resources.home.identity import known_home
from resources.home.instance import FOLDER
from resources.settings.resource import CrowdSettings
from tests import PROJECT
from tests.conftest import QUICK
from tests.e2e.conftest import LOCATIONS, Worker, free_port, wait_for

COMMAND = "crowd-rounds"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the project from its wheel, and from elsewhere only what the wheel depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if "/" not in name or name.startswith(("crowd_assets/", "resources/", "sensors/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, copy / name, follow_symlinks=False)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = str(folder / "wheels")
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, str(copy)], check=True)
    (wheel,) = Path(wheels).iterdir()
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    # Folders that a .pth names give their packages and no .pth of their own: a clone that is installed there stays out.
    (site(environment) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment


def site(environment: Path) -> Path:
    """The folder of an environment's packages."""
    (found,) = environment.glob("lib/python*/site-packages")
    return found


def surroundings(folder: Path, **settings: object) -> dict[str, str]:
    """The environment of the installed program: a home below ``folder``, and nothing of this process's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CROWD_", "DAGSTER_", "PYTHON"))}
    wanted = {f"CROWD_{name.upper()}": str(value) for name, value in settings.items()}
    return kept | wanted | {"CROWD_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}


def run(installed: Path, folder: Path, *command: str, **settings: object) -> str:
    """A command of the installed program, from a folder outside of the clone; what it printed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(installed / "bin" / COMMAND), *command],
        cwd=folder,
        env=surroundings(folder, **settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def completion(installed: Path, folder: Path, **asked: str) -> str:
    """What a shell is told that asks for it as bash does."""
    command = str(installed / "bin" / COMMAND)
    done = subprocess.run([command], env=surroundings(folder) | asked, capture_output=True, text=True, check=False)
    return done.stdout


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_installed_program_works_and_writes_nothing_beside_itself(installed: Path, tmp_path: Path) -> None:
    before = files_below(installed)
    assert (site(installed) / "resources" / "home" / "dagster.yaml").exists()
    code = "import crowd_assets, resources, sensors; print(crowd_assets.__file__, resources.__file__, sensors.__file__)"
    python = [str(installed / "bin" / "python"), "-c", code]
    found = subprocess.check_output(python, text=True, cwd=tmp_path, env=surroundings(tmp_path)).split()
    assert all(Path(each).is_relative_to(installed) for each in found), found
    assert run(installed, tmp_path, "--version").startswith("crowd-rounds ")
    assert "round" in run(installed, tmp_path, "-h")
    assert "complete" in completion(installed, tmp_path, _CROWD_ROUNDS_COMPLETE="source_bash")
    asked = {"_CROWD_ROUNDS_COMPLETE": "complete_bash", "COMP_WORDS": "crowd-rounds stat", "COMP_CWORD": "1"}
    assert completion(installed, tmp_path, **asked).split() == ["status", "statement"]
    (tmp_path / "home" / "inbox").mkdir(parents=True)
    (tmp_path / "home" / "inbox" / "a.jsonl").write_text("no JSON\n")
    assert "ingest_feedback took" in run(installed, tmp_path, "ingest")
    assert (tmp_path / "home" / "dagster" / "history" / "runs.db").exists()
    assert "enabled: false" in (tmp_path / "home" / "dagster" / "dagster.yaml").read_text()
    assert files_below(installed) == before
    assert not (tmp_path / ".crowd").exists()


def test_the_licences_are_part_of_what_is_installed(installed: Path) -> None:
    (about,) = site(installed).glob("crowd_rounds-*.dist-info")
    assert {"LICENSE", "NOTICE"} <= {path.name for path in (about / "licenses").iterdir()}


@pytest.mark.crash
def test_the_installed_program_runs_a_round_and_serves_the_ui_and_the_desk(
    installed: Path, tmp_path: Path, seed_folder: Path
) -> None:
    before = files_below(installed)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "seed").symlink_to(seed_folder)
    printed = run(installed, tmp_path, "round", "--rounds", "1", **QUICK)
    assert "target distance on a fresh sample" in printed
    settings = CrowdSettings(home=str(tmp_path / "home"))
    known = known_home(settings)
    assert known is not None
    assert known.last_record
    assert "r000001" in run(installed, tmp_path, "status", **QUICK)
    assert " ok" in run(installed, tmp_path, "audit", **QUICK)

    with served(installed, tmp_path, "ui") as (url, worker):
        wait_for("the UI with its code", lambda: loaded(url), seconds=120, explain=worker.tail)
    with served(installed, tmp_path, "serve") as (url, worker):
        wait_for("the desk", lambda: answer(url), seconds=60, explain=worker.tail)
    assert files_below(installed) == before
    assert (tmp_path / "home" / FOLDER / "workspace.yaml").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"home", "ui.log", "serve.log"}


@contextmanager
def served(installed: Path, folder: Path, command: str) -> Iterator[tuple[str, Worker]]:
    """What a command of the installed program serves, and its process."""
    port = free_port()
    words = [str(installed / "bin" / COMMAND), command, "--port", str(port)]
    worker = Worker(words, folder, surroundings(folder, **QUICK), folder / f"{command}.log")
    try:
        yield f"http://127.0.0.1:{port}", worker
    finally:
        worker.stop()


def answer(url: str, body: bytes | None = None) -> str | None:
    """What a server answers; None where nobody serves yet."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(response.read().decode())
    except OSError:
        return None


def loaded(url: str) -> bool:
    """Whether the UI has loaded the platform, and shows its round."""
    said = answer(f"{url}/graphql", json.dumps({"query": LOCATIONS}).encode())
    if said is None:
        return False
    entries = json.loads(said)["data"]["workspaceOrError"]["locationEntries"]
    states = {each["name"]: each["loadStatus"] for each in entries}
    return states == {CODE_LOCATION: "LOADED", "experiments": "LOADED"}
