"""Status: what it says of a home, without waiting for anybody and without importing what takes long."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from dagster import DagsterInstance, DagsterRunStatus, OpExecutionContext, job, op
from filelock import FileLock

from crowd_assets.monitoring.status import Status, status
from resources.home.names import ROUND_TAG
from resources.rounds.attempts import INGESTION, AttemptBook, _machine, _started
from resources.rounds.book import RoundBook
from resources.rounds.claims import Quorum
from resources.settings.resource import CrowdSettings
from resources.tools.run_history import RunHistory, _of_files, _of_instance, read_history
from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.look import NothingToReadError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Home:
    """A home with feedback that waits, without models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = CrowdSettings(home=str(folder), quorum_events=10, quorum_contributors=2)
        self.warehouse = DuckDBWarehouse(path=str(folder / "warehouse.duckdb"))
        self.dagster_home = folder / "dagster_home"
        self.dagster_home.mkdir()

    def receive(self, *kinds: str) -> None:
        with self.warehouse.transaction() as connection:
            (first,) = connection.execute("SELECT count(*) FROM event_index").fetchall()[0]
            for number, kind in enumerate(kinds, start=first + 1):
                connection.execute(
                    "INSERT INTO event_index VALUES ($1, $2, $3, $4, $5)",
                    [f"e{number}", number, kind, f"person {number}", datetime(2026, 5, 1, 11)],
                )

    def status(self) -> Status:
        return status(self.settings, self.dagster_home)

    def health(self) -> dict[str, bool | None]:
        return {finding.name: finding.well for finding in self.status().health}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path)
    found.receive("bid", "demonstration", "demonstration")
    return found


def test_status_says_what_waits_and_what_the_next_round_lacks(home: Home) -> None:
    (home.folder / "inbox").mkdir()
    (home.folder / "inbox" / "more.jsonl").touch()
    (home.folder / "inbox" / "unfinished.jsonl.tmp").touch()
    found = home.status()
    assert found.waiting == {"bid": 1, "demonstration": 2}
    assert (found.waiting_contributors, found.waiting_since) == (3, "2026-05-01 11:00:00")
    assert found.inbox_files == 1
    assert found.next_round_lacks is None  # three events wait since a time long past
    patient = CrowdSettings(home=str(home.folder), quorum_events=10, quorum_contributors=2, longest_wait_minutes=10**8)
    assert status(patient, home.dagster_home).next_round_lacks == "3 of 10 events"
    assert (found.last_round, found.open_round, found.running) == (None, None, [])


def test_a_mistyped_home_stays_empty(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path / "mistyped"))
    with pytest.raises(NothingToReadError, match="mistyped"):
        status(settings, tmp_path)
    assert not (tmp_path / "mistyped").exists()


def test_while_another_process_writes_the_snapshot_is_shown_and_said(home: Home) -> None:
    home.warehouse.publish_snapshot()
    home.receive("outcome")
    assert home.status().waiting["outcome"] == 1
    with FileLock(f"{home.warehouse.path}.lock"):
        found = home.status()
    assert found.from_snapshot
    assert "outcome" not in found.waiting


def test_what_is_not_well_is_said(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    well = {"ledger": True, "runs": True, "ingestion": None, "quarantine": None, "disk": True, "daemon": None}
    assert home.health() == well
    with home.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO ledger VALUES ('x', 1, 'r000001', 'contributor:ada', 'point', $1, '', '')", [Decimal(1)]
        )
    claimed, _ = RoundBook(home.warehouse).claim(_any_quorum(), home.settings, NOW)
    assert claimed is not None
    monkeypatch.setattr("resources.home.space.shutil.disk_usage", lambda place: _Usage(free=2**29))
    AttemptBook(home.warehouse, 60).note_ended("a-run", INGESTION, 0, "it ended before it began")
    assert home.health() == well | {"ledger": False, "runs": False, "ingestion": False, "disk": False}
    assert home.status().open_round == "r000001"


class _Usage(NamedTuple):
    free: int


def _any_quorum() -> Quorum:
    return Quorum(1, 1, timedelta(0))


def test_a_round_with_too_much_in_quarantine_is_not_well(home: Home) -> None:
    RoundBook(home.warehouse).claim(_any_quorum(), home.settings, NOW)
    verdict = {"passed": [False], "reason": ["too many rejected"], "accepted": [1], "rejected": [3]}
    home.warehouse.replace_round("quality_verdicts", 1, pl.DataFrame(verdict))
    (found,) = [finding for finding in home.status().health if finding.name == "quarantine"]
    assert not found.well
    assert found.words.startswith("75.0% of the events of r000001 rejected")


@op
def looking(context: OpExecutionContext) -> list[RunHistory]:
    """Logs a line and looks at its own run, from the files and by way of Dagster."""
    context.log.info("4 of 5, about 3 s left")
    root = Path(context.instance.root_directory)
    context.instance.add_run_tags(context.run_id, {ROUND_TAG: "r000007"})
    return [_of_files(root / "history"), _of_instance(context.instance)]


@job
def looks() -> None:
    looking()


def test_runs_are_read_from_the_files_as_dagster_would_say(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster_home))
    with DagsterInstance.get() as instance:
        result = looks.execute_in_process(instance=instance)
        of_files, of_instance = result.output_for_node("looking")
        assert of_files == of_instance
        (run,) = of_files.active
        assert (run.steps, run.said, run.tags[ROUND_TAG]) == (("looking",), "4 of 5, about 3 s left", "r000007")
        assert read_history(home.dagster_home) == RunHistory([], {}) == _of_instance(instance)


def test_other_storage_is_asked_by_way_of_dagster(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.dagster_home / "dagster.yaml").write_text("storage: {postgres: {postgres_url: nowhere}}")
    asked = []
    monkeypatch.setattr(DagsterInstance, "get", lambda: nullcontext("the instance"))
    monkeypatch.setattr(
        "resources.tools.run_history._of_instance", lambda instance: asked.append(instance) or RunHistory([], {})
    )
    home.status()
    assert asked == ["the instance"]


def test_a_history_that_cannot_be_read_is_said_and_hides_nothing_else(home: Home) -> None:
    before = home.status()
    history = home.dagster_home / "history"
    history.mkdir(exist_ok=True)
    (history / "runs.db").write_bytes(b"no database at all" * 1000)
    found = home.status()
    assert found.waiting == before.waiting
    said = {each.name: each for each in found.health}
    assert f"{history} cannot be read" in said["runs"].words
    assert (said["runs"].well, said["daemon"].well) == (False, None)
    assert {name for name, finding in said.items() if finding.well is False} == {"runs"}


def test_a_run_whose_process_is_gone_is_not_well(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster_home))
    attempts = AttemptBook(home.warehouse, lease_s=60)
    with DagsterInstance.get() as instance:
        run = instance.create_run_for_job(looks, tags={ROUND_TAG: "r000001"}, status=DagsterRunStatus.STARTED)
        attempts.begin(run.run_id, "r000001", 1)
        (found,) = home.status().running
        assert (found.job, found.round_id, found.process_is_gone) == ("looks", "r000001", False)
        monkeypatch.setattr("resources.rounds.attempts.this_process", _ended_process)
        attempts.begin(run.run_id, "r000001", 1)
        assert home.status().running[0].process_is_gone
    assert home.health()["runs"] is False


def _ended_process() -> str:
    process = subprocess.Popen([sys.executable, "-c", ""])
    holder = f"{_machine()}:{process.pid}:{_started(process.pid)}"
    process.wait()
    return holder


def test_looking_imports_nothing_that_takes_long(home: Home) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from crowd_assets.__main__ import app\n"
        "result = CliRunner().invoke(app, ['status', '--json'], catch_exceptions=False); print(result.stdout)\n"
        "print(sorted({'dagster', 'torch', 'polars', 'numpy', 'pandas', 'upath'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = os.environ | {"CROWD_HOME": str(home.folder), "DAGSTER_HOME": str(home.dagster_home)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["waiting"] == {"bid": 1, "demonstration": 2}
    assert done.stderr.splitlines()[0] == "[]"
