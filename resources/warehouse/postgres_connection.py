"""PostgreSQL as DuckDB would answer: a connection that takes the warehouse's SQL and gives back frames with DuckDB's types.

The warehouse's SQL keeps to what both databases read. What is left to translate is ``$name`` parameters, a closing ``ORDER BY
ALL``, and how many rows a statement changed. Belongs here: connecting, translating, types; without Dagster, which a command that
only looks would have to wait for. Does not belong here: tables, transactions and who holds a lock (see ``postgres``).
"""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

from resources.common.errors import OperatorError

if TYPE_CHECKING:
    import psycopg

URL = re.compile(r"postgres(ql)?://")
ORDER_BY_ALL = " ORDER BY ALL"
TOKEN = re.compile(r"'(?:[^']|'')*'|\$([a-z_]\w*)|%")
BATCH_ROWS = 50_000
FETCHED_ROWS = 5_000  # at a time, by a cursor of the server
CONNECT_TIMEOUT_S = 10
# What a server would say again, however long one waits.
ANSWERED = re.compile(r"FATAL:(?!\s*(the database system is|sorry, too many|remaining connection|terminating))")
# A server or client that vanished without a word is noticed within a minute, on both sides.
KEEPALIVES = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
ON_THE_SERVER = {
    "tcp_keepalives_idle": 20,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
    "timezone": "'UTC'",
}
# DuckDB's types of what the warehouse's tables and queries hold, by PostgreSQL's type.
TYPES: dict[int, Any] = {
    16: pl.Boolean,
    20: pl.Int64,
    21: pl.Int32,
    23: pl.Int32,
    25: pl.String,
    701: pl.Float64,
    705: pl.String,
    1009: pl.List(pl.String),
    1015: pl.List(pl.String),
    1043: pl.String,
    1114: pl.Datetime("us"),
}
NUMERIC = 1700
LARGEST_DECIMAL = pl.Decimal(38, 6)  # of a sum, as DuckDB has it


class WarehouseUnreachableError(OperatorError, ConnectionError):
    """PostgreSQL does not answer, or refuses the connection."""


class WarehouseLostError(OperatorError, ConnectionError):
    """The connection to PostgreSQL ended in the middle of something; the message says what became of it."""


class LockTimeoutError(TimeoutError):
    """A lock was not had in time."""


class ConflictError(RuntimeError):
    """A transaction was undone as others, at the same time, read or wrote the same: it can be repeated."""


class PostgresConnection:
    """A connection whose transactions are begun and ended by hand, as with DuckDB.

    Attributes:
        place: Server and database, without credentials.
        writing: Whether the open transaction is one that writes, as who begins it notes.
        lost: Whether the server ended it.
    """

    def __init__(self, connection: "psycopg.Connection[Any]", place: str) -> None:
        self._connection = connection
        self.place = place
        self.writing = False

    def execute(self, query: str, parameters: Mapping[str, Any] | None = None, /) -> "Rows":
        """Run a statement.

        Raises:
            WarehouseLostError: the connection ended.
            LockTimeoutError: somebody else holds a lock that it needs.
            ConflictError: the transaction must be repeated.
        """
        with self._watched(query):
            return Rows(self._connection.execute(translated(query), parameters or None, binary=True))

    def sql(self, query: str, *, params: Mapping[str, Any] | None = None) -> "Rows":
        """:meth:`execute`, and rows in the order of all columns where the query asks for it: the database's own order of texts
        may be another."""
        found = self.execute(query.removesuffix(ORDER_BY_ALL), params)
        found.ordered = query.endswith(ORDER_BY_ALL)
        return found

    def batches(self, query: str) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a SELECT without parameters, some at a time, inside a transaction."""
        with self._watched(query), self._connection.cursor("crowd_batches", binary=True) as cursor:
            cursor.itersize = FETCHED_ROWS
            cursor.execute(query)
            while rows := cursor.fetchmany(BATCH_ROWS):
                yield rows

    def load(self, table: str, columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
        """Append rows to a table, as text that the server reads as the columns' types."""
        from psycopg import sql

        into = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with self._watched(f"COPY {table}"), self._connection.cursor() as cursor, cursor.copy(into) as copy:
            for row in rows:
                copy.write_row(row)

    @property
    def lost(self) -> bool:
        return self._connection.closed

    @property
    def in_transaction(self) -> bool:
        return not self.lost and self._connection.info.transaction_status.name != "IDLE"

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _watched(self, query: str) -> Iterator[None]:
        from psycopg import OperationalError, errors

        try:
            yield
        except errors.LockNotAvailable as problem:
            raise LockTimeoutError(str(problem)) from None
        except (errors.SerializationFailure, errors.DeadlockDetected) as problem:
            raise ConflictError(str(problem).splitlines()[0]) from None
        except OperationalError as problem:
            if not self._connection.closed:
                raise
            became = (
                "as a transaction was being committed, and nobody knows yet whether the transaction was committed: repeat the command, which finds out"
                if query == "COMMIT"
                else "and what its transaction had done is undone: repeat the command"
            )
            reason = (str(problem).splitlines() or ["without a word"])[0]
            raise WarehouseLostError(f"the connection to {self.place} was lost ({reason}), {became}.") from problem


class Rows:
    """What a statement gave."""

    def __init__(self, cursor: "psycopg.Cursor[Any]") -> None:
        self._cursor = cursor
        self.ordered = False

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows; of a statement without any, how many it changed, as DuckDB says it."""
        return self._cursor.fetchall() if self._cursor.description else [(max(self._cursor.rowcount, 0),)]

    def pl(self) -> pl.DataFrame:
        """The rows as a frame, with the types that DuckDB would have given."""
        columns = self._cursor.description or []
        schema = {each.name: _dtype(each) for each in columns}
        frame = pl.DataFrame(self._cursor.fetchall(), schema=schema, orient="row")
        return frame.sort(frame.columns, nulls_last=True) if self.ordered else frame


def translated(query: str) -> str:
    """A statement with ``$name`` parameters as psycopg takes it; what stands in quotes stays as it is.

    >>> translated("SELECT 7 % $n WHERE a = '$n %'")
    "SELECT 7 %% %(n)s WHERE a = '$n %%'"
    """
    if not any(match[1] for match in TOKEN.finditer(query)):
        return query  # psycopg reads no placeholders where there are no parameters
    return TOKEN.sub(lambda match: f"%({match[1]})s" if match[1] else match[0].replace("%", "%%"), query)


def connect(url: str, lock_timeout_s: float, patience_s: float) -> PostgresConnection:
    """A connection by a ``postgresql://`` URL; the password comes from PGPASSWORD, PGPASSFILE or ~/.pgpass.

    Args:
        lock_timeout_s: Longest wait for a lock, in seconds.
        patience_s: How long to try again where the server does not answer, in seconds, as it may be starting.

    Raises:
        WarehouseUnreachableError: it does not, or refuses us.
    """
    try:
        import psycopg
    except ImportError:
        raise WarehouseUnreachableError(
            "CROWD_WAREHOUSE names a PostgreSQL, and psycopg is not installed: install the extra `cluster`."
        ) from None
    until = time.monotonic() + patience_s
    place = place_of(url)
    while True:
        try:
            connection = psycopg.connect(
                url,
                autocommit=True,
                prepare_threshold=None,  # connections are short
                client_encoding="utf8",
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name=f"crowd-rounds process {os.getpid()} on {socket.gethostname()}"[:63],
                **KEEPALIVES,  # type: ignore[arg-type, unused-ignore]  # without psycopg, too
            )
            wanted = ON_THE_SERVER | {"lock_timeout": max(1, round(1000 * lock_timeout_s))}
            connection.execute("; ".join(f"SET {name} = {value}" for name, value in wanted.items()))
            return PostgresConnection(connection, place)
        except psycopg.OperationalError as problem:
            said = " ".join(str(problem).split())
            if time.monotonic() > until or ANSWERED.search(said):
                raise WarehouseUnreachableError(
                    f"{place} cannot be had ({said}): start the server, or correct CROWD_WAREHOUSE, PGPASSWORD or PGPASSFILE."
                ) from None
            time.sleep(0.2)


def place_of(url: str) -> str:
    """Server and database of a URL, for people.

    Raises:
        WarehouseUnreachableError: it is no URL of PostgreSQL.
    """
    from psycopg import ProgrammingError, conninfo

    try:
        parts = conninfo.conninfo_to_dict(url)
    except ProgrammingError as problem:
        raise WarehouseUnreachableError(
            f"CROWD_WAREHOUSE cannot be read ({str(problem).strip()}): correct CROWD_WAREHOUSE."
        ) from None
    where = f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}"
    return f"PostgreSQL {where}/{parts.get('dbname') or ''}"


def _dtype(column: "psycopg.Column") -> Any:
    if column.type_code == NUMERIC:
        return pl.Decimal(column.precision, column.scale or 0) if column.precision else LARGEST_DECIMAL
    return TYPES[column.type_code]
