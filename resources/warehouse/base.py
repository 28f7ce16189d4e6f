"""What every warehouse is: small tables behind transactions, whose rows of a round are replaced as a whole.

SQL, here and everywhere, is what DuckDB and PostgreSQL both read. Belongs here: what both do alike, and what each must say for
itself. Does not belong here: files, locks and connections of the one or the other (see ``duckdb``, ``postgres``), the tables
(see ``schema``), the life of a round and its settlement (see ``resources.rounds``), bulk frames (see ``resources.files.frames``).
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import polars as pl
from dagster import ConfigurableResource
from pydantic import Field
from upath import UPath

from resources.common.errors import OperatorError
from resources.files.storage import written_atomically
from resources.warehouse.connection import Connection
from resources.warehouse.dictionary import comment
from resources.warehouse.facts import SETTLED_ROUNDS, is_settled
from resources.warehouse.schema import KEYS, checked

Result = TypeVar("Result")


class _Sessions(threading.local):
    """Connections of sessions of a thread, by path or URL."""

    def __init__(self) -> None:
        self.connections: dict[str, Any] = {}


_SESSIONS = _Sessions()


class WarehouseBusyError(OperatorError, TimeoutError):
    """The warehouse's lock was not had in time; the message says who holds it."""


class SettledRoundError(RuntimeError):
    """A settled round was about to be rewritten with other content."""


class WarehouseResource(ConfigurableResource, ABC):
    """Tables, opened late, closed always, never held while a model trains."""

    path: str = Field(
        description="Local path of the DuckDB file, or of the one beside which the copy for readers lies."
    )
    lock_timeout_s: float = Field(default=120.0, description="Longest wait for the lock, in seconds.")

    @property
    def snapshot_path(self) -> Path:
        """Read-only copy for notebooks and plots, replaced atomically by :meth:`publish_snapshot`."""
        return Path(self.path).with_suffix(".snapshot.duckdb")

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is one: connecting makes one, which a mistyped home should be spared."""

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """The lock alone, for what is done to the warehouse as a whole.

        Raises:
            WarehouseBusyError: it was not had in time.
        """

    @abstractmethod
    def connect(self) -> AbstractContextManager[Connection]:
        """A connection for reading, closed on leaving. In a :meth:`session` it is the session's."""

    @abstractmethod
    def session(self) -> AbstractContextManager[None]:
        """One connection for all that this thread asks of the warehouse inside."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Connection]:
        """A connection in one transaction, which no other writes beside: committed on leaving, rolled back on any exception."""

    def atomically(self, work: Callable[[Connection], Result]) -> Result:
        """What ``work`` returns, done in one :meth:`transaction`; it may be called more than once, and the last call counts."""
        with self.transaction() as connection:
            return work(connection)

    @abstractmethod
    def claimed(self, name: str, timeout_s: float) -> AbstractContextManager[bool]:
        """Whether the claim on ``name`` was had within ``timeout_s`` seconds; it is kept inside, and let go of by a process that
        dies. Some names share one."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """The rows of one SELECT with bound ``$name`` parameters."""
        with self.connect() as connection:
            return connection.sql(sql, params=dict(parameters or {})).pl()

    def read_round(self, table: str, round_no: int) -> pl.DataFrame:
        """All rows of ``table`` of one round."""
        return self.query(f"SELECT * FROM {checked(table)} WHERE round_no = $n ORDER BY ALL", {"n": round_no})

    def read_rounds(self, table: str, round_nos: Sequence[int]) -> pl.DataFrame:
        """All rows of ``table`` of several rounds, by round."""
        return self.query(
            f"SELECT * FROM {checked(table)} WHERE round_no = ANY($rounds) ORDER BY ALL",
            {"rounds": list(round_nos)},
        )

    def read_last_before(self, table: str, round_no: int) -> pl.DataFrame:
        """All rows of ``table`` of the last settled round before ``round_no`` that has any, as of :meth:`read_before`."""
        return self.query(
            f"SELECT * FROM {checked(table)} WHERE round_no = (SELECT max(round_no) FROM {table} JOIN {SETTLED_ROUNDS} r "
            "USING (round_no) WHERE round_no < $n) ORDER BY ALL",
            {"n": round_no},
        )

    def read_before(self, table: str, round_no: int) -> pl.DataFrame:
        """All rows of ``table`` of the settled rounds before ``round_no``: prior state is never "the latest"."""
        return self.query(
            f"SELECT t.* FROM {checked(table)} t JOIN {SETTLED_ROUNDS} r USING (round_no) WHERE round_no < $n ORDER BY ALL",
            {"n": round_no},
        )

    def replace_round(self, table: str, round_no: int, frame: pl.DataFrame) -> None:
        """Make ``frame`` the rows of ``table`` in ``round_no``: delete and insert in one transaction.

        Of a settled round the rows stay as they are, and must equal ``frame``.

        Raises:
            SettledRoundError: the round is settled with other rows.
        """
        checked(table)

        def replace(connection: Connection) -> None:
            status = fetch_row(connection, "SELECT status FROM rounds WHERE round_no = $n", {"n": round_no})
            incoming = self.stage(connection, table, frame.with_columns(round_no=pl.lit(round_no, pl.Int32)))
            if status and is_settled(status[0]):
                difference = fetch_row(
                    connection,
                    f"SELECT count(*) FROM ((SELECT * FROM {incoming} EXCEPT ALL SELECT * FROM {table} WHERE round_no = $n) "
                    f"UNION ALL (SELECT * FROM {table} WHERE round_no = $n EXCEPT ALL SELECT * FROM {incoming})) apart",
                    {"n": round_no},
                )
                held = fetch_row(connection, f"SELECT count(*) FROM {table} WHERE round_no = $n", {"n": round_no})
                if held[0] and difference[0]:
                    raise SettledRoundError(
                        f"round {round_no} is settled, and {difference[0]} rows of {table} would now differ. "
                        "Settings, seed and inputs must be those the round was settled with."
                    )
                if held[0]:
                    return
            connection.execute(f"DELETE FROM {table} WHERE round_no = $n", {"n": round_no})
            connection.execute(f"INSERT INTO {table} SELECT * FROM {incoming}")
            if table in KEYS:
                (twice,) = fetch_row(connection, f"SELECT count(*) - count(DISTINCT ({KEYS[table]})) FROM {incoming}")
                if twice:
                    raise ValueError(
                        f"round {round_no}: {twice} rows of {table} have a {KEYS[table]} that others have."
                    )

        self.atomically(replace)

    def append(self, connection: Connection, table: str, frame: pl.DataFrame) -> int:
        """Insert the rows of ``frame`` whose primary key ``table`` does not hold yet, inside a transaction.

        Returns:
            How many rows were new.
        """
        incoming = self.stage(connection, table, frame)
        return int(fetch_row(connection, f"INSERT INTO {table} SELECT * FROM {incoming} ON CONFLICT DO NOTHING")[0])

    @abstractmethod
    def stage(self, connection: Any, table: str, frame: pl.DataFrame) -> str:
        """Put ``frame`` into the temporary table ``incoming_<table>``, with the columns and types of ``table``; those that it has
        not are empty.

        Returns:
            The temporary table's name.
        """

    @abstractmethod
    def compact(self) -> None:
        """Write the tables anew without rows that were deleted or changed, which the database keeps until then."""

    @abstractmethod
    def compact_if_hollow(self) -> bool:
        """:meth:`compact`, where much of what is kept holds nothing; whether it was."""

    @abstractmethod
    def copy_to(self, path: Path) -> None:
        """Write what the last transaction left as the DuckDB file ``path``, whole or not at all."""

    def publish_snapshot(self) -> Path:
        """Copy the warehouse for readers; they see the old copy or the new one, never a part. What every table and column says
        (``dictionary``) stands beside each as a comment.

        Returns:
            Where the copy lies.
        """
        with written_atomically(UPath(self.snapshot_path)) as temporary:
            self.copy_to(Path(temporary))
            with duckdb.connect(temporary) as copy:
                comment(copy)
        return self.snapshot_path

    @property
    def _sessions(self) -> dict[str, Any]:
        return _SESSIONS.connections


def as_stored(instant: datetime) -> datetime:
    """An instant with a zone as the warehouse keeps it: UTC without one."""
    return instant.astimezone(UTC).replace(tzinfo=None)


def fetch_row(connection: Connection, sql: str, parameters: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    """The first row of a statement, () where there is none; the rest is read too, which frees the connection."""
    rows = connection.execute(sql, dict(parameters or {})).fetchall()
    return rows[0] if rows else ()
