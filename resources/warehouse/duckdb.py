"""The warehouse's tables in one DuckDB file, behind one lock and short transactions.

Belongs here: the file, its lock, claims and snapshot in DuckDB's own terms. Does not belong here: what every warehouse does (see
``base``), the tables (see ``schema``), PostgreSQL (see ``postgres``).
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from filelock import FileLock, Timeout
from upath import UPath

from resources.common.errors import OperatorError
from resources.common.locks import held
from resources.files.backups import said_of_lost_file
from resources.files.storage import written_atomically
from resources.warehouse.base import WarehouseBusyError, WarehouseResource, fetch_row
from resources.warehouse.connection import Connection
from resources.warehouse.damage import LostWarehouseError, told
from resources.warehouse.engine import NAME, attached, quoted
from resources.warehouse.reading import has_schema
from resources.warehouse.schema import SCHEMA

CLAIMS = 256
"""Files of locks for :meth:`DuckDBWarehouse.claimed`, of which a name has one by its hash."""
HOLLOW = 0.2  # of the file's blocks, free: from there on writing it anew is worth that others wait

_LEFT: dict[str, tuple[int, ...] | None] = {}
"""How this process left each file that it found, or made, with every table."""


class MovedWarehouseError(OperatorError, RuntimeError):
    """The tables of this home were moved elsewhere, and the file would go its own way."""


class DuckDBWarehouse(WarehouseResource):
    """Tables in the file ``path``, one process at a time."""

    def exists(self) -> bool:
        return Path(self.path).exists()

    def moved_to(self, place: str) -> None:
        """Note where the tables are now: from then on the file opens no more."""
        self._moved.write_text(place, encoding="utf-8")

    @property
    def _moved(self) -> Path:
        return Path(self.path).with_suffix(".moved")

    @contextmanager
    def locked(self) -> Iterator[None]:
        def busy(holder: str) -> WarehouseBusyError:
            return WarehouseBusyError(
                f"{self.path} has been locked for {self.lock_timeout_s:.0f} s by {holder}. "
                "Wait for that process or stop that process; CROWD_LOCK_TIMEOUT_S sets how long to wait."
            )

        with held(Path(f"{self.path}.lock"), self.lock_timeout_s, busy):
            yield

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection under the lock, for reading; closed on leaving. In a :meth:`session` it is the session's.

        Raises:
            LostWarehouseError: the file is not there, and was before.
        """
        if self.path in self._sessions:
            yield self._sessions[self.path]
            return
        with self.locked():
            if self._moved.exists():
                raise MovedWarehouseError(
                    f"the tables of {self.path} are in {self._moved.read_text(encoding='utf-8')} now: set CROWD_WAREHOUSE. To go back to the file of before the move, remove {self._moved}."
                )
            if not self.exists() and (lost := said_of_lost_file(Path(self.path))):
                raise LostWarehouseError(lost)
            left = _LEFT.pop(self.path, None)
            known = left is not None and left == _seen(self.path)
            with told(Path(self.path)), attached(self.path) as connection:
                if not known and not has_schema(connection):
                    connection.execute(SCHEMA)
                yield connection
            _LEFT[self.path] = _seen(self.path)

    @contextmanager
    def session(self) -> Iterator[None]:
        """One connection for all that this thread asks of the warehouse inside, as opening one takes 10 ms of CPU; others wait
        until the end, so nothing slow belongs inside."""
        with self.connect() as connection:
            if self.path in self._sessions:
                yield
                return
            self._sessions[self.path] = connection
            try:
                yield
            finally:
                del self._sessions[self.path]

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection under the lock in one transaction: committed on leaving, rolled back on any exception."""
        with self.connect() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.Error):  # a commit that failed has rolled back, and its reason is what counts
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def claimed(self, name: str, timeout_s: float) -> Iterator[bool]:
        """By locks of files beside the warehouse, so among processes of this machine."""
        folder = Path(self.path).parent / "ingesting"
        folder.mkdir(parents=True, exist_ok=True)
        number = int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).digest()) % CLAIMS
        try:
            claim = FileLock(folder / f"{number:03d}.lock").acquire(timeout=timeout_s)
        except Timeout:
            yield False
            return
        with claim:
            yield True

    def stage(self, connection: Any, table: str, frame: pl.DataFrame) -> str:
        name = f"incoming_{table}"
        connection.register("incoming_frame", frame.to_arrow())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {table} LIMIT 0")
        connection.execute(f"INSERT INTO {name} BY NAME FROM incoming_frame")
        connection.unregister("incoming_frame")
        return name

    def compact(self) -> None:
        """Write the file anew with what is in its tables: DuckDB keeps deleted values in blocks that it uses again."""
        fresh = f"{self.path}.{os.getpid()}.tmp"
        with self.locked():
            Path(fresh).unlink(missing_ok=True)
            try:
                with duckdb.connect() as connection:
                    connection.execute(f"ATTACH {quoted(self.path)} AS old")
                    connection.execute(f"ATTACH {quoted(fresh)} AS fresh")
                    connection.execute("COPY FROM DATABASE old TO fresh")
                    connection.execute("CHECKPOINT old")
                os.replace(fresh, self.path)
            finally:
                Path(fresh).unlink(missing_ok=True)

    def compact_if_hollow(self) -> bool:
        """:meth:`compact`, where at least ``HOLLOW`` of the file holds nothing; whether it was."""
        with self.connect() as connection:
            connection.execute("CHECKPOINT")
            blocks = f"SELECT total_blocks, free_blocks FROM pragma_database_size() WHERE database_name = '{NAME}'"
            total, free = fetch_row(connection, blocks)
        if free < HOLLOW * total:
            return False
        self.compact()
        return True

    def copy_to(self, path: Path) -> None:
        with written_atomically(UPath(path)) as temporary, self.connect() as connection:
            connection.execute("CHECKPOINT")
            shutil.copyfile(self.path, temporary)


def _seen(path: str) -> tuple[int, ...] | None:
    """What tells whether somebody else wrote the file since; None where there is none."""
    try:
        file = os.stat(path)
    except FileNotFoundError:
        return None
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns
