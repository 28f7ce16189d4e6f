"""The warehouse's tables on PostgreSQL, behind the same interface as those in the DuckDB file.

Reading takes a snapshot and no lock. Writing is one transaction at a time, as with the file: events are numbered without gaps in
the order in which they are committed, which nothing but one after the other gives. Transactions are serialisable as well: where
somebody else writes the same rows meanwhile, one of the two is undone. Ours is then repeated as a whole, as is one that loses its
connection.

Belongs here: transactions, locks and repeating in PostgreSQL's own terms, the copy for readers. Does not belong here: the
connection (see ``postgres_connection``), what every warehouse does (see ``base``), the tables (see ``schema``).
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from dagster import get_dagster_logger
from pydantic import Field
from upath import UPath

from resources.common.errors import OperatorError
from resources.files.storage import written_atomically
from resources.warehouse import postgres_connection as postgres
from resources.warehouse.base import Result, WarehouseBusyError, WarehouseResource, fetch_row
from resources.warehouse.connection import Connection
from resources.warehouse.postgres_connection import (
    ConflictError,
    LockTimeoutError,
    PostgresConnection,
    WarehouseLostError,
)
from resources.warehouse.schema import SCHEMA, TABLES

ATTEMPTS = 5
FIRST_PAUSE_S = 0.2  # doubled each time
RECONNECT_S = 30.0  # a server that is started anew answers by then
# By bytes, as DuckDB orders texts; a list of texts is never ordered.
POSTGRES_SCHEMA = re.sub(r"\bVARCHAR\b(?!\[)", 'VARCHAR COLLATE "C"', SCHEMA).replace("DOUBLE", "DOUBLE PRECISION")
INDEXES = {
    "event_index": "seq",
    **dict.fromkeys(
        ("rejected_feedback", "quality_contributors", "labeler_weights", "contributor_estimates", "ledger"), "round_no"
    ),
}
"""What is looked for and no key begins with: DuckDB skips blocks by their least and largest values instead."""
HOLDERS = (
    "SELECT application_name, a.pid, xact_start FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid JOIN pg_class c "
    "ON c.oid = l.relation WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($tables) AND granted "
    "AND mode IN ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') AND a.pid <> pg_backend_pid() "
    "ORDER BY xact_start LIMIT 1"
)
CLAIM = "hashtextextended(current_schema() || ' claims ' || $name, 0)"


class ConflictingTransactionsError(OperatorError, RuntimeError):
    """A transaction was undone again and again as others wrote the same; nothing of it was written."""


class UnusableDatabaseError(OperatorError, RuntimeError):
    """The database cannot hold a warehouse; the message says why."""


class PostgresWarehouse(WarehouseResource):
    """Tables in the database ``url``; ``path`` only names the copy for readers."""

    url: str = Field(description="URL of the database, without a password.")

    def exists(self) -> bool:
        with self._opened() as connection:
            return bool(_present(connection))

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.transaction():
            yield

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection for reading what one instant held, which waits for nobody and nobody for it."""
        with self._opened(tables=True) as connection:
            if connection.in_transaction:
                yield connection
                return
            with self._begun(connection, "REPEATABLE READ"):
                yield connection

    @contextmanager
    def session(self) -> Iterator[None]:
        """One connection for all that this thread asks of the warehouse inside."""
        with self._opened(tables=True) as connection:
            if self.url in self._sessions:
                yield
                return
            self._sessions[self.url] = connection
            try:
                yield
            finally:
                self._sessions.pop(self.url).close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in one serialisable transaction, which no other writes beside.

        Raises:
            WarehouseBusyError: another has been writing for too long.
            WarehouseLostError: the connection ended; nothing was written, or all of it as it was being committed.
            ConflictError: somebody without the lock wrote the same. :meth:`atomically` repeats what these two end.
        """
        with self._opened(tables=True) as connection:
            if connection.writing:
                raise RuntimeError("a transaction was begun within a transaction of the same session")
            reading = connection.in_transaction
            if reading:  # a session's look around, which goes on afterwards
                connection.execute("COMMIT")
            connection.writing = True
            try:
                with self._begun(connection, "SERIALIZABLE"):
                    # Before the transaction has seen anything, as LOCK is a statement that looks at nothing.
                    connection.execute("LOCK TABLE rounds IN SHARE ROW EXCLUSIVE MODE")
                    yield connection
            finally:
                connection.writing = False
                if reading and not connection.lost:
                    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")

    def atomically(self, work: Callable[[Connection], Result]) -> Result:
        """Repeats ``work`` where its transaction was undone or its connection lost.

        Raises:
            ConflictingTransactionsError: it was undone ``ATTEMPTS`` times.
            WarehouseLostError: it lost as many connections.
        """
        return self._repeated(lambda: super(PostgresWarehouse, self).atomically(work))

    @contextmanager
    def claimed(self, name: str, timeout_s: float) -> Iterator[bool]:
        """By an advisory lock of the server, so among processes of all machines; kept by a connection of its own."""
        connection = postgres.connect(self.url, timeout_s, min(RECONNECT_S, self.lock_timeout_s))
        try:
            yield _claim(connection, name.encode("utf-8", "surrogatepass").hex(), wait=timeout_s > 0)
        finally:
            connection.close()

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
        return self._repeated(lambda: super(PostgresWarehouse, self).query(sql, parameters))

    def stage(self, connection: Any, table: str, frame: pl.DataFrame) -> str:
        name = f"incoming_{table}"
        connection.execute(f"DROP TABLE IF EXISTS pg_temp.{name}")
        connection.execute(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT * FROM {table} WITH NO DATA")
        connection.load(name, frame.columns, frame.iter_rows())
        return name

    def compact(self) -> None:
        """Write the tables anew without rows that were deleted or changed, which PostgreSQL keeps until then."""
        with self._opened(tables=True) as connection:
            try:
                connection.execute(f"VACUUM (FULL, ANALYZE) {', '.join(TABLES)}")
            except LockTimeoutError:
                raise self._busy(connection) from None

    def compact_if_hollow(self) -> bool:
        """Nothing: PostgreSQL's own autovacuum does."""
        return False

    def copy_to(self, path: Path) -> None:
        """Write what one instant held as a DuckDB file, whole or not at all."""
        with written_atomically(UPath(path)) as temporary, self.connect() as connection:
            assert isinstance(connection, PostgresConnection)
            with duckdb.connect(temporary) as copy:
                copy.execute(SCHEMA)
                for table in TABLES:
                    schema = connection.sql(f"SELECT * FROM {table} LIMIT 0").pl().schema
                    for rows in connection.batches(f"SELECT * FROM {table}"):
                        copy.register("incoming_frame", pl.DataFrame(rows, schema=schema, orient="row").to_arrow())
                        copy.execute(f"INSERT INTO {table} SELECT * FROM incoming_frame")
                        copy.unregister("incoming_frame")

    @contextmanager
    def _opened(self, tables: bool = False) -> Iterator[PostgresConnection]:
        """The session's connection, or one of its own; with the tables in it where ``tables``."""
        known = self._sessions.get(self.url)
        if isinstance(known, PostgresConnection) and not known.lost:
            yield known
            return
        connection = postgres.connect(self.url, self.lock_timeout_s, min(RECONNECT_S, self.lock_timeout_s))
        in_session = known is not None
        try:
            if tables and _present(connection) != set(TABLES):
                self._create(connection)
            if in_session:  # whose connection was lost
                self._sessions[self.url] = connection
            yield connection
        finally:
            if self._sessions.get(self.url) is not connection:
                connection.close()

    @contextmanager
    def _begun(self, connection: PostgresConnection, level: str) -> Iterator[None]:
        """A transaction: committed on leaving, rolled back on any exception."""
        connection.execute(f"BEGIN ISOLATION LEVEL {level}")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException as problem:
            if connection.in_transaction:
                with suppress(WarehouseLostError):
                    connection.execute("ROLLBACK")
            if isinstance(problem, LockTimeoutError):
                raise self._busy(connection) from None
            raise

    def _repeated(self, work: Callable[[], Result]) -> Result:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return work()
            except (ConflictError, WarehouseLostError) as problem:
                if attempt == ATTEMPTS:
                    if isinstance(problem, WarehouseLostError):
                        raise
                    raise ConflictingTransactionsError(
                        f"{postgres.place_of(self.url)}: a transaction was undone {ATTEMPTS} times ({problem}), and nothing "
                        "was written: end what else writes to the warehouse's tables, and repeat the command."
                    ) from problem
                get_dagster_logger().warning(f"{problem} Repeating the call, {attempt} of {ATTEMPTS - 1}.")
                time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _create(self, connection: PostgresConnection) -> None:
        (encoding,) = fetch_row(connection, "SHOW server_encoding")
        if encoding != "UTF8":
            raise UnusableDatabaseError(
                f"{connection.place} keeps texts in {encoding}, and feedback is in every language: make a database with "
                "ENCODING 'UTF8' TEMPLATE template0, and name that database in CROWD_WAREHOUSE."
            )
        with self._begun(connection, "READ COMMITTED"):
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('crowd-rounds'))")  # two at once would collide
            for statement in filter(str.strip, POSTGRES_SCHEMA.split(";")):
                connection.execute(statement)
            for table, column in INDEXES.items():
                connection.execute(f"CREATE INDEX IF NOT EXISTS {table}_{column} ON {table} ({column})")

    def _busy(self, connection: PostgresConnection) -> WarehouseBusyError:
        holder = fetch_row(connection, HOLDERS, {"tables": list(TABLES)})
        who = "a process that just let the lock go"
        if holder:
            name, pid, since = holder
            who = f"{name or 'a client'} (server process {pid}) since {_shown(since)} UTC"
        return WarehouseBusyError(
            f"{connection.place} has been locked for {self.lock_timeout_s:.0f} s by {who}. "
            "Wait for that process or stop that process; CROWD_LOCK_TIMEOUT_S sets how long to wait."
        )


def _claim(connection: PostgresConnection, name: str, *, wait: bool) -> bool:
    """Whether the connection has the advisory lock of that name now."""
    try:
        if wait:
            connection.execute(f"SELECT pg_advisory_lock({CLAIM})", {"name": name})
            return True
        return bool(fetch_row(connection, f"SELECT pg_try_advisory_lock({CLAIM})", {"name": name})[0])
    except LockTimeoutError:
        return False


def _present(connection: PostgresConnection) -> set[str]:
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY($tables)",
        {"tables": list(TABLES)},
    ).fetchall()
    return {name for (name,) in rows}


def _shown(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}" if instant else "an unknown time"
