"""The points at which something becomes durable, counted from outside; at one of them the process dies.

Production code knows nothing of this: what it calls is wrapped (DuckDB's statements, SQLite's commits, Dagster's events,
renames, removals, files opened for writing). Belongs here: wrapping, counting, dying. Does not belong here: where to die
(see ``harness``).
"""

import builtins
import functools
import io
import json
import os
import re
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
from dagster import DagsterInstance
from sqlalchemy.engine import default

Side = Literal["before", "during", "after"]
SIDES: tuple[Side, ...] = ("before", "during", "after")
COUNTED = ("BEGIN", "COMMIT", "CHECKPOINT", "CREATE", "COPY")  # statements of DuckDB and of the embedding cache
LONGEST_CALL_S = 0.004  # within which a kill during a call strikes


@dataclass(frozen=True)
class Kill:
    """Where a life ends: at the ``number``-th point (from 1) of those with ``label``, or of all where it is empty."""

    number: int
    side: Side
    label: str = ""
    delay_s: float = 0.0


class Points:
    """Counts the points of this process, and kills its group at one of them.

    Args:
        home: Folder whose files count.
        kill: Where; None: nowhere.
        note: File that says where it died, or at the end of an undisturbed life what was counted.
        killer: File descriptor; who reads from it a line with a number kills this process's group after as many seconds.
    """

    def __init__(self, home: Path, kill: Kill | None, note: Path, killer: int) -> None:
        self._home = f"{home.resolve()}{os.sep}"
        self._kill = kill
        self._note = note
        self._killer = killer
        self._inside = False
        self.counts: Counter[str] = Counter()

    def install(self) -> None:
        """Wrap everything that makes something durable, for the rest of this process's life."""
        for name in ("replace", "rename", "link"):
            setattr(os, name, self._of_paths(name, getattr(os, name), path_at=1))
        for name in ("unlink", "remove", "rmdir", "mkdir"):
            setattr(os, name, self._of_paths(name, getattr(os, name), path_at=0))
        # pathlib and everything else find open in different places
        io.open = builtins.open = self._opening(builtins.open)  # type: ignore[assignment]
        connect = duckdb.connect
        duckdb.connect = lambda *given, **named: _Connection(self, connect(*given, **named))  # type: ignore[assignment]
        plain_sqlite = sqlite3.connect
        sqlite3.connect = functools.partial(plain_sqlite, factory=_sqlite_connection(self))  # type: ignore[assignment]
        commit = default.DefaultDialect.do_commit
        default.DefaultDialect.do_commit = lambda dialect, connection: self.reach(  # type: ignore[method-assign]
            f"sqlite {_caller('dagster/', 'crowd_assets/desk/')}", lambda: commit(dialect, connection)
        )
        handle = DagsterInstance.handle_new_event
        DagsterInstance.handle_new_event = (  # type: ignore[method-assign]
            lambda instance, record, **named: self.reach(
                f"event {record.dagster_event.event_type_value if record.dagster_event else 'log line'}",
                lambda: handle(instance, record, **named),
            )
        )

    def reach(self, label: str, do: Callable[[], Any]) -> Any:
        """Count a point and do what it is about; the process may end before, during or after."""
        if self._inside:  # what a point does to do its work is part of it
            return do()
        self.counts[label] += 1
        kill = self._kill
        here = kill is not None and kill.number == (self.counts[kill.label] if kill.label else self.counts.total())
        if kill is None or not here or (kill.label and kill.label != label):
            return do()
        self._inside = True
        self._write({"label": label, "number": self.counts[label], "side": kill.side})
        if kill.side == "before":
            _die()
        if kill.side == "during":
            os.write(self._killer, f"{kill.delay_s}\n".encode())
        result = do()
        if kill.side == "during":
            time.sleep(60)
        _die()
        return result

    def close(self) -> None:
        """Note what was counted, at the end of an undisturbed life."""
        self._inside = True
        self._write({"counts": dict(self.counts)})

    def _write(self, found: dict[str, Any]) -> None:
        self._note.write_text(json.dumps(found))

    def ours(self, path: Any) -> str | None:
        """What a file of the home is, without what differs from one round or process to the next; None for others."""
        full = os.path.abspath(os.fspath(path)) if not isinstance(path, int) else ""
        if not full.startswith(self._home):
            return None
        name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{20,}", "H", full[len(self._home) :])
        name = re.sub(r"-[0-9a-f]{8}(?=\.)", "-H", name)
        name = re.sub(r"\.putting-[^/]*", "putting", name)
        return re.sub(r"\d+", "N", name)

    def _of_paths(self, name: str, call: Callable[..., Any], path_at: int) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapped(*given: Any, **named: Any) -> Any:
            what = self.ours(given[path_at]) if len(given) > path_at else None
            return (
                call(*given, **named) if what is None else self.reach(f"{name} {what}", lambda: call(*given, **named))
            )

        return wrapped

    def _opening(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapped(file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
            what = self.ours(file) if set(mode) & set("wax+") and not isinstance(file, int) else None
            if what is None or what.endswith((".lock", "compute_logs")):
                return call(file, mode, *given, **named)
            return self.reach(f"open {what}", lambda: call(file, mode, *given, **named))

        return wrapped


class _Connection:
    """A DuckDB connection that counts what it makes durable; a script of several statements counts each."""

    def __init__(self, points: Points, connection: Any) -> None:
        self._points = points
        self._connection = connection

    def execute(self, sql: str, *given: Any) -> Any:
        if not sql.lstrip().startswith(COUNTED):
            return self._connection.execute(sql, *given)
        for statement in [sql] if given else [each.query for each in self._connection.extract_statements(sql)]:
            word = " ".join(statement.split()[:1])
            self._points.reach(
                f"duckdb {word} {_caller('crowd_assets/', 'resources/', 'sensors/')}",
                functools.partial(self._connection.execute, statement, *given),
            )
        return self._connection

    def close(self) -> None:
        self._points.reach("duckdb close", self._connection.close)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sqlite_connection(points: Points) -> type[sqlite3.Connection]:
    class Counting(sqlite3.Connection):
        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            if not sql.startswith(COUNTED):
                return super().execute(sql, *given)
            execute = super().execute
            return points.reach(f"cache {sql.split()[0]}", lambda: execute(sql, *given))

    return Counting


def _caller(*parts: str) -> str:
    """Module and function that asked for it: the first frame below ``parts`` that is not the warehouse or its storage."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        within = frame.f_code.co_name == "_writing"
        if (
            any(part in file for part in parts)
            and not file.endswith(("warehouse.py", "sql.py", "utils.py"))
            and not within
        ):
            return f"{Path(file).stem}.{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"


def _die() -> None:
    os.killpg(0, signal.SIGKILL)
    time.sleep(60)
