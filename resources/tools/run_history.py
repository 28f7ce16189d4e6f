"""Which runs are in progress and whether the daemon lives, from Dagster's storage: its SQLite files are read as they are,
since importing Dagster takes longer than a look may; other storage is asked by way of Dagster.

Belongs here: reading. Does not belong here: what follows from it (see ``sensors.rounds`` and ``crowd_assets.monitoring.status``).
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import DagsterInstance

ACTIVE = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
BEGIN = ("STEP_START", "STEP_RESTARTED")
END = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED", "STEP_UP_FOR_RETRY")

Event = tuple[str | None, str | None, str, datetime]  # type, None where it is a line of the log; step; message; when


@dataclass(frozen=True)
class ActiveRun:
    """A run that has not ended: the steps that run now, the last line of its log and when its last event was."""

    run_id: str
    job: str
    status: str
    tags: dict[str, str]
    steps: tuple[str, ...]
    said: str
    last_event: datetime | None


@dataclass(frozen=True)
class RunHistory:
    """Runs in progress, oldest first, and when each daemon last said that it lives; ``unread`` says why neither is known, where
    the files cannot be read, and the way out."""

    active: list[ActiveRun]
    heartbeats: dict[str, datetime]
    unread: str = ""


def read_history(dagster_home: Path) -> RunHistory:
    """What the storage of the instance in ``dagster_home`` says; nothing where none was made yet."""
    folder = _sqlite_folder(dagster_home)
    if folder is not None:
        try:
            return _of_files(folder / "history")
        except sqlite3.Error as problem:  # a full disk, a damaged file, a writer that does not end
            words = (
                f"{folder / 'history'} cannot be read ({problem}): make room; where the files are damaged, stop the daemon and "
                f"move {folder} aside, as no round needs the history"
            )
            return RunHistory([], {}, words)
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        return _of_instance(instance)


def _sqlite_folder(dagster_home: Path) -> Path | None:
    """Where the SQLite files lie, from ``dagster.yaml``; None where the storage is another."""
    import yaml

    path = dagster_home / "dagster.yaml"
    configuration = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}
    if {"run_storage", "event_log_storage"} & set(configuration):
        return None
    storage = configuration.get("storage", {"sqlite": {"base_dir": str(dagster_home)}})
    place = storage.get("sqlite", {}).get("base_dir")
    return Path(place) if isinstance(place, str) else None


def _of_files(history: Path) -> RunHistory:
    runs = history / "runs.db"
    if not runs.exists():
        return RunHistory([], {})
    with closing(_opened(runs)) as connection:
        rows = connection.execute(
            f"SELECT run_id, pipeline_name, status FROM runs WHERE status IN ({', '.join('?' * len(ACTIVE))}) ORDER BY id",
            ACTIVE,
        ).fetchall()
        tags = {
            run_id: dict(connection.execute("SELECT key, value FROM run_tags WHERE run_id = ?", (run_id,)))
            for run_id, *_ in rows
        }
        heartbeats = dict(connection.execute("SELECT daemon_type, timestamp FROM daemon_heartbeats"))
    active = [
        _active(run_id, job, status, tags[run_id], _events_of_file(history / "runs" / f"{run_id}.db"))
        for run_id, job, status in rows
    ]
    return RunHistory(active, {name: _instant(beat) for name, beat in heartbeats.items()})


def _events_of_file(path: Path) -> list[Event]:
    if not path.exists():
        return []
    with closing(_opened(path)) as connection:
        rows = connection.execute(
            "SELECT dagster_event_type, step_key, CASE WHEN dagster_event_type IS NULL THEN "
            "json_extract(event, '$.user_message') ELSE '' END, timestamp FROM event_logs ORDER BY id"
        ).fetchall()
    return [(kind, step, said, _instant(at)) for kind, step, said, at in rows]


def _instant(stored: str) -> datetime:
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)


def _of_instance(instance: "DagsterInstance") -> RunHistory:
    from dagster import DagsterRunStatus, RunsFilter

    runs = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus(status) for status in ACTIVE]), ascending=True)
    active = []
    for run in runs:
        entries = (record.event_log_entry for record in instance.get_records_for_run(run.run_id).records)
        events: list[Event] = [
            (
                each.dagster_event_type and each.dagster_event_type.value,
                each.step_key,
                each.user_message,
                datetime.fromtimestamp(each.timestamp, UTC),
            )
            for each in entries
        ]
        active.append(_active(run.run_id, run.job_name, run.status.value, dict(run.tags), events))
    beats = instance.get_daemon_heartbeats()
    return RunHistory(active, {name: datetime.fromtimestamp(beat.timestamp, UTC) for name, beat in beats.items()})


def _active(run_id: str, job: str, status: str, tags: dict[str, str], events: Iterable[Event]) -> ActiveRun:
    steps: dict[str, None] = {}
    said, last = "", None
    for kind, step, message, at in events:
        last = at
        if kind is None:
            said = message
        elif step and kind in BEGIN:
            steps[step] = None
        elif step and kind in END:
            steps.pop(step, None)
    return ActiveRun(run_id, job, status, tags, tuple(steps), said, last)
