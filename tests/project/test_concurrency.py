"""Several processes on one home, and what goes wrong on a machine: nothing is lost, nothing counts twice, and a re-run
repairs what was left."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from filelock import FileLock

from crowd_assets.round.settlement import as_frame
from resources.build import build_resources
from resources.common import locks
from resources.feedback import event_files
from resources.feedback.inbox import InboxResource
from resources.files.storage import UnwritableError
from resources.rounds.book import Quorum, RoundBook
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource, QualityBusyError
from resources.warehouse.base import WarehouseResource

PROCESSES = 8
FILES = 12
EVENTS = 30  # a file; the last 10 are the first 10 of the next
QUORUM = Quorum(events=1, contributors=1, longest_wait=timedelta(hours=1))
# Forks of a process that has not imported polars, whose threads no fork has: they begin at once, and together.
INGESTING = f"""
import os, sys
import dagster, duckdb, filelock, numpy, pydantic, upath
children = []
for number in range({PROCESSES}):
    pid = os.fork()
    children.append(pid)
    if pid == 0:
        from resources.feedback.inbox import InboxResource
        from resources.warehouse.duckdb import DuckDBWarehouse
        home = sys.argv[1]
        inbox = InboxResource(
            warehouse=DuckDBWarehouse(path=home + "/warehouse.duckdb"), root=home + "/inbox",
            archive=home + "/archive", segments=home + "/frames/raw_feedback")
        status = 1
        try:
            inbox.ingest()
            status = 0
        finally:
            os._exit(status)
failed = [pid for pid in children if os.waitpid(pid, 0)[1]]
sys.stdout.flush()
os._exit(len(failed))
"""
LIMITED = """
import os, resource, sys
from resources.feedback.inbox import InboxResource
from resources.warehouse.duckdb import DuckDBWarehouse
home = sys.argv[1]
inbox = InboxResource(
    warehouse=DuckDBWarehouse(path=home + "/warehouse.duckdb"), root=home + "/inbox",
    archive=home + "/archive", segments=home + "/frames/raw_feedback")
for limit in sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    try:
        inbox.ingest()
    except Exception as problem:
        print(type(problem).__name__, " ".join(str(problem).splitlines()), flush=True)
os._exit(0)
"""


@pytest.fixture
def settings(tmp_path: Path) -> CrowdSettings:
    (tmp_path / "inbox").mkdir()
    return CrowdSettings(home=str(tmp_path))


@pytest.fixture
def inbox(settings: CrowdSettings) -> InboxResource:
    return build_resources(settings).inbox


@pytest.fixture
def warehouse(settings: CrowdSettings) -> WarehouseResource:
    return build_resources(settings).warehouse


def lines(first: int, last: int) -> str:
    return "".join(
        json.dumps(
            {
                "kind": "demonstration",
                "contributor_id": f"c{number % 5}",
                "prompt": "p",
                "response": f"response {number}",
                "submitted_at": "2026-01-01T00:00:00Z",
            }
        )
        + "\n"
        for number in range(first, last)
    )


def drop(inbox: InboxResource, name: str, content: str) -> Path:
    path = Path(inbox.root, name)
    path.with_suffix(".tmp").write_text(content)
    path.with_suffix(".tmp").replace(path)
    return path


def responses(inbox: InboxResource) -> list[str]:
    return sorted(inbox.events(1, 10_000)["response"], key=lambda text: int(text.split()[1]))


def test_eight_processes_ingest_one_inbox_and_every_event_is_there_once(
    inbox: InboxResource, warehouse: WarehouseResource, tmp_path: Path
) -> None:
    for number in range(FILES):
        drop(inbox, f"{number:02d}.jsonl", lines(20 * number, 20 * number + EVENTS) + "broken\n")
    done = subprocess.run([sys.executable, "-c", INGESTING, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    events = 20 * (FILES - 1) + EVENTS
    assert responses(inbox) == [f"response {number}" for number in range(events)]
    index = warehouse.query("SELECT seq FROM event_index ORDER BY seq")
    assert index["seq"].to_list() == list(range(1, events + 1))
    assert warehouse.query("SELECT count(*) AS n FROM rejected_feedback").item() == FILES
    assert inbox.complete_files() == []
    assert len(list(Path(inbox.archive).iterdir())) == FILES


@pytest.mark.parametrize("keyed", [False, True])
def test_a_file_that_is_replaced_while_it_is_read_is_ingested_next(
    inbox: InboxResource, monkeypatch: pytest.MonkeyPatch, keyed: bool
) -> None:
    if keyed:
        monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "11" * 32)
    drop(inbox, "a.jsonl", lines(0, 3))
    store = InboxResource._store

    def replaced_before(self: InboxResource, *given: Any) -> Any:
        drop(inbox, "a.jsonl", lines(2, 5))
        return store(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(InboxResource, "_store", replaced_before)
        inbox.ingest()
    assert responses(inbox) == [f"response {number}" for number in range(3)]
    (again,) = inbox.ingest()
    assert (again.accepted, again.duplicates) == (2, 1)
    assert responses(inbox) == [f"response {number}" for number in range(5)]
    assert inbox.complete_files() == []


def test_a_file_that_is_written_to_while_it_is_read_is_read_to_its_end_next(
    inbox: InboxResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop(inbox, "a.jsonl", lines(0, 3))
    read = event_files.read_parts

    def appended_after(*given: Any) -> Any:
        yield from read(*given)
        with path.open("a") as file:
            file.write(lines(3, 4))

    with monkeypatch.context() as patch:
        patch.setattr(event_files, "read_parts", appended_after)
        inbox.ingest()
    inbox.ingest()
    assert responses(inbox) == [f"response {number}" for number in range(4)]


def test_a_reader_keeps_its_snapshot_while_it_is_replaced(inbox: InboxResource, warehouse: WarehouseResource) -> None:
    counting = "SELECT count(*) FROM event_index"
    holding = duckdb.connect(str(warehouse.publish_snapshot()), read_only=True)
    for number in range(4):
        drop(inbox, f"{number}.jsonl", lines(10 * number, 10 * number + 10))
        inbox.ingest()
        path = warehouse.publish_snapshot()
        fresh = f"import duckdb, os; print(duckdb.connect({str(path)!r}, read_only=True).sql('{counting}').fetchall()[0][0])"
        if number == 3:  # in a process of its own: in this one DuckDB hands out the file that is open
            seen = subprocess.run([sys.executable, "-c", fresh], capture_output=True, text=True)
            assert seen.returncode == 0, seen.stderr
            assert int(seen.stdout.split()[0]) == 10 * (number + 1)
        assert holding.sql(counting).fetchall() == [(0,)]
    holding.close()
    assert not list(path.parent.glob("*.tmp"))


def test_a_gate_that_waits_in_vain_says_for_whom(tmp_path: Path) -> None:
    quality = DataQualityResource(root=str(tmp_path / "quality"), lock_timeout_s=0.1)
    (tmp_path / "quality").mkdir()
    (tmp_path / "quality" / "context.lock.holder").write_text("process 7 on host since 2026-01-01 00:00:00 UTC")
    with FileLock(tmp_path / "quality" / "context.lock"), pytest.raises(QualityBusyError, match="process 7 on host"):
        quality.run_suites({}, {}, "r000001")


def test_a_long_wait_for_a_lock_is_spoken_of_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    lock, heard = tmp_path / "a.lock", list[str]()
    owner = FileLock(lock)

    def waiting(holder: str) -> None:
        heard.append(holder)
        owner.release()

    owner.acquire()
    with locks.held(lock, 60.0, lambda holder: AssertionError("held again"), waiting):
        assert heard == ["an unknown process"]  # which took the lock without leaving its name
    owner.acquire()
    with pytest.raises(TimeoutError, match=f"process {os.getpid()} on"):  # noqa: SIM117  # the one above left its name
        with locks.held(lock, 0.2, TimeoutError, heard.append):
            pass
    assert len(heard) == 2


@pytest.mark.parametrize("marked", [True, False])
def test_a_gate_that_was_killed_while_great_expectations_wrote_runs_again(tmp_path: Path, marked: bool) -> None:
    quality = DataQualityResource(root=str(tmp_path))

    def run(round_id: str) -> dict[tuple[str, str], int]:
        from great_expectations.expectations import ExpectColumnValuesToNotBeNull

        suite = [ExpectColumnValuesToNotBeNull(column="a", description="a is there")]
        return quality.run_suites({"s": pl.DataFrame({"a": [1, None]})}, {"s": suite}, round_id)

    run("r000001")
    assert not (tmp_path / "unfinished").exists()
    torn = [path for path in (tmp_path / "gx").rglob("*") if path.suffix in (".json", ".yml")]
    assert len(torn) >= 5
    for path in torn:
        path.write_text(path.read_text()[:20])
    if not marked:
        with pytest.raises(Exception):  # noqa: B017, PT011  # the reason for the mark: whatever Great Expectations says
            run("r000002")
        return
    (tmp_path / "unfinished").touch()
    assert run("r000002") == {("s", "a"): 1}
    assert list((tmp_path / "gx" / "uncommitted" / "data_docs").rglob("*r000002*"))


def test_a_clock_that_jumps_back_between_claim_and_settlement_changes_nothing(
    settings: CrowdSettings, inbox: InboxResource, warehouse: WarehouseResource
) -> None:
    book = RoundBook(warehouse)
    entries = as_frame([])
    now = datetime.now(UTC)
    for number in range(3):
        drop(inbox, f"{number}.jsonl", lines(10 * number, 10 * number + 10))
        inbox.ingest()
        claimed, reason = book.claim(QUORUM, settings, now)
        assert claimed is not None, reason
        now -= timedelta(days=1)
        book.settle(claimed, entries, base_model="", next_model=f"m{number}", now=now, about={})
        book.complete(claimed.round_no)
    assert [(each.from_seq, each.to_seq) for each in book.all()] == [(1, 10), (11, 20), (21, 30)]
    assert book.base_model(4) == "m2"
    settled = warehouse.query("SELECT bool_and(settled_at < claimed_at) AS back FROM rounds").item()
    assert settled  # the clock did jump


def test_where_no_file_may_grow_an_error_says_so_and_the_next_run_repairs(
    inbox: InboxResource, warehouse: WarehouseResource, tmp_path: Path
) -> None:
    drop(inbox, "a.jsonl", lines(0, 5))
    inbox.ingest()
    drop(inbox, "b.jsonl", lines(5, 2000))
    # The segment does not fit into the first limit, the warehouse's log not into the second.
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), "1000", "20000"], capture_output=True, text=True, timeout=300
    )
    problems = done.stdout.splitlines()
    assert len(problems) == 2, done.stderr
    for problem in problems:
        assert str(tmp_path) in problem
        assert "File too large" in problem
    assert responses(inbox) == [f"response {number}" for number in range(5)]
    inbox.ingest()
    assert responses(inbox) == [f"response {number}" for number in range(2000)]


def _no_room(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read_only(*_: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize(
    ("fails", "words"), [(_no_room, "No space left on device.*make room"), (_read_only, "Read-only.*folder")]
)
def test_what_cannot_be_written_is_named_with_the_way_out_and_nothing_is_half_there(
    inbox: InboxResource,
    warehouse: WarehouseResource,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., None],
    words: str,
) -> None:
    drop(inbox, "a.jsonl", lines(0, 5))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(UnwritableError, match=rf"raw_feedback/.*parquet cannot be written \({words}"):
            inbox.ingest()
    assert not list(Path(inbox.segments).glob("*"))
    assert len(inbox.complete_files()) == 1
    inbox.ingest()
    assert responses(inbox) == [f"response {number}" for number in range(5)]


def test_a_file_where_a_folder_should_be_is_named(inbox: InboxResource) -> None:
    drop(inbox, "a.jsonl", lines(0, 5))
    folder = Path(inbox.segments)
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way")
    with pytest.raises(UnwritableError, match=r"raw_feedback.*cannot be written"):
        inbox.ingest()
    folder.unlink()
    inbox.ingest()
    assert responses(inbox) == [f"response {number}" for number in range(5)]
