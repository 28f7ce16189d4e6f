"""Whether the audit finds any one byte or row of a settled home that was changed.

A settled home (``CROWD_HOME``) is copied, and changed in one place at a time, drawn by the seed: a row of the warehouse (a value of it
changed, the row gone, or there twice), or one bit of a file. After each change the audit must find a difference, first by the records
alone and else by computing again. What is changed is put back.

Not drawn is what nobody is paid or chosen by, and no round reads: leases and counts of attempts, Dagster's storage, pages for people,
the snapshot, vectors and notes that spare computing twice, locks, logs. A bit of the warehouse's file that is in no table, as each
table is read as before, is drawn again.

Belongs here: changing and asking. Does not belong here: what the audit compares (see ``crowd_assets.operations``).
"""

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import WALL, finish, options, say
from crowd_assets.operations.audit import audit
from resources.common.errors import OperatorError
from resources.settings.resource import CrowdSettings
from resources.warehouse.schema import COLUMNS

WAREHOUSE = "warehouse.duckdb"
FOLDERS = ("frames", "archive", "models", "outbox", "home.json", "secret", WAREHOUSE)
NOT_VOUCHED = ("models/made/", "models/pinned/", "outbox/backlog.json")
NAMES = ("README.md",)
OPERATIONAL = {"attempts"}
COLUMNS_LEFT = {("rounds", "attempt"), ("ingested_files", "uri")}
"""How often a round was tried, and where a file lay before it was archived."""


@dataclass(frozen=True)
class Change:
    """One change: of a ``row`` or a ``byte``, where, and how it is put back."""

    kind: str
    where: str
    undo: Callable[[], None]


class Tamperer:
    """Changes a home in one place at a time.

    Args:
        home: Folder, which is changed and put back.
        pristine: A copy of it.
    """

    def __init__(self, home: Path, pristine: Path, draws: random.Random) -> None:
        self._home, self._pristine, self._draws = home, pristine, draws
        self._files = sorted(
            path.relative_to(home)
            for name in FOLDERS
            for path in ([home / name] if (home / name).is_file() else (home / name).rglob("*"))
            if path.is_file() and self._vouched(path.relative_to(home).as_posix())
        )
        with duckdb.connect(str(home / WAREHOUSE), read_only=True) as connection:
            self._rows = {
                table: count
                for table in COLUMNS
                if table not in OPERATIONAL
                and (count := connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
            }

    @staticmethod
    def _vouched(name: str) -> bool:
        return not name.startswith(NOT_VOUCHED) and not name.endswith((*NAMES, ".lock", ".tmp"))

    @contextmanager
    def change(self) -> Iterator[Change]:
        """One change, put back on leaving."""
        change = self._row() if self._draws.random() < 0.5 else self._byte()
        try:
            yield change
        finally:
            change.undo()

    def _put_back(self, name: Path) -> Callable[[], None]:
        def undo() -> None:
            shutil.copyfile(self._pristine / name, self._home / name)
            (self._home / f"{name}.wal").unlink(missing_ok=True)

        return undo

    def _byte(self) -> Change:
        while True:
            name = self._draws.choice(self._files)
            path = self._home / name
            data = bytearray(path.read_bytes())
            if not data:
                continue
            at, bit = self._draws.randrange(len(data)), self._draws.randrange(8)
            data[at] ^= 1 << bit
            path.write_bytes(data)
            undo = self._put_back(name)
            if name.as_posix() != WAREHOUSE or self._reads_otherwise():
                return Change("byte", f"{name} byte {at} bit {bit}", undo)
            undo()

    def _reads_otherwise(self) -> bool:
        """Whether the warehouse's tables are not what they were, or cannot be read."""
        try:
            with duckdb.connect() as connection:
                for name, folder in (("one", self._home), ("other", self._pristine)):
                    connection.execute(f"ATTACH '{folder / WAREHOUSE}' AS {name} (READ_ONLY)")
                return any(
                    connection.execute(f"SELECT * FROM one.{table} ORDER BY ALL").fetchall()
                    != connection.execute(f"SELECT * FROM other.{table} ORDER BY ALL").fetchall()
                    for table in COLUMNS
                )
        except duckdb.Error:
            return True

    def _row(self) -> Change:
        table = self._draws.choice(sorted(self._rows))
        number = self._draws.randrange(self._rows[table])
        undo = self._put_back(Path(WAREHOUSE))
        with duckdb.connect(str(self._home / WAREHOUSE)) as connection:
            (row,) = connection.execute(f"SELECT rowid FROM {table} ORDER BY rowid LIMIT 1 OFFSET {number}").fetchall()[
                0
            ]
            columns = [column for column in COLUMNS[table] if (table, column) not in COLUMNS_LEFT]
            how = self._draws.choice([*columns, *columns, "gone", "twice"])
            try:
                if how == "gone":
                    connection.execute(f"DELETE FROM {table} WHERE rowid = {row}")
                elif how == "twice":
                    connection.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = {row}")
                else:
                    self._set(connection, table, how, row)
            except duckdb.ConstraintException:
                connection.execute(f"DELETE FROM {table} WHERE rowid = {row}")
                how = "gone"
        return Change("row", f"{table} row {number} {how}", undo)

    def _set(self, connection: Any, table: str, column: str, row: int) -> None:
        kind = dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall())[column]
        value = {
            "BOOLEAN": f"NOT coalesce({column}, false)",
            "VARCHAR": f"coalesce({column}, '') || 'x'",
            "TIMESTAMP": f"coalesce({column}, TIMESTAMP '2026-01-01') + INTERVAL 1 SECOND",
            "VARCHAR[]": f"list_append({column}, 'x')",
            "DOUBLE": f"coalesce({column} * 1.25, 0) + 0.125",
        }.get(kind, f"coalesce({column}, 0) + 1")
        connection.execute(f"UPDATE {table} SET {column} = {value} WHERE rowid = {row}")


def found_by(settings: CrowdSettings) -> str:
    """``records``, ``recomputation`` or ``reading`` where the audit finds a difference, empty where it does not."""
    try:
        if not audit(settings, recompute=False).clean:
            return "records"
        return "" if audit(settings).clean else "recomputation"
    except OperatorError:
        return "reading"


def tampered(
    home: Path, settings: Callable[[Path], CrowdSettings], changes: int, seed: int, said: Callable[[str], None] = say
) -> dict[str, Any]:
    """Change a home ``changes`` times; how many were found, by what, and which were not.

    Args:
        home: A settled home, which is copied.
        settings: Of the home in a folder.
    """
    with tempfile.TemporaryDirectory(prefix="tampering-") as folder:
        working, pristine = Path(folder, "home"), Path(folder, "pristine")
        for copy in (working, pristine):
            shutil.copytree(home, copy, symlinks=True, ignore=shutil.ignore_patterns("dagster", "*.lock"))
        of_home = settings(working)
        if found_by(of_home):
            raise SystemExit(f"{home}: its audit is not clean before anything is changed: run crowd-rounds audit.")
        tamperer = Tamperer(working, pristine, random.Random(seed))
        by: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        missed: list[str] = []
        for number in range(1, changes + 1):
            with tamperer.change() as change:
                kinds[change.kind] += 1
                try:
                    found = found_by(of_home)
                except Exception as problem:  # an audit that ends in a traceback has found nothing
                    found = ""
                    change = Change(
                        change.kind, f"{change.where}: {type(problem).__name__} {problem}"[:200], change.undo
                    )
            by[found] += 1
            if not found:
                missed.append(change.where)
                said(f"not found: {change.where}")
            if number % 50 == 0:
                said(f"{number} changes, {len(missed)} not found")
    return {"changes": changes, "found": changes - len(missed), "by": dict(by), "kinds": dict(kinds), "missed": missed}


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen: argparse.Namespace = options(__doc__, argv, changes=(1000, "changes"))
    source = CrowdSettings.from_environment()
    started = WALL()
    figures = tampered(
        Path(source.home),
        lambda folder: CrowdSettings.from_environment(home=str(folder)),
        20 if chosen.quick else chosen.changes,
        chosen.seed,
    )
    finish(figures, {"seed": chosen.seed, "seconds": round(WALL() - started, 1)}, "duckdb", "polars")


if __name__ == "__main__":
    main()
