"""The warehouse: every small table of the platform in one DuckDB file, behind one lock and short transactions.

Its SQL, here and everywhere, is what DuckDB and PostgreSQL both read: a home may keep its tables there instead.
Belongs here: the schema, the lock, transactions, replacing a round's rows, the snapshot for readers. Does not belong here: the
life of a round and its settlement (see ``rounds``), bulk frames (see ``frames``), PostgreSQL (see ``postgres_warehouse``).
"""

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import polars as pl
from dagster import ConfigurableResource
from filelock import FileLock, Timeout
from pydantic import Field
from upath import UPath

from resources.common.errors import OperatorError
from resources.common.locks import held
from resources.files.storage import written_atomically
from resources.warehouse.postgres_connection import Connection

# Instants are TIMESTAMP in UTC: DuckDB's TIMESTAMPTZ arithmetic needs an extension that it downloads.
SCHEMA = """
CREATE TABLE IF NOT EXISTS ingested_files (
    digest VARCHAR PRIMARY KEY, uri VARCHAR, bytes BIGINT, accepted BIGINT, duplicates BIGINT, rejected BIGINT,
    ingested_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS feedback_segments (
    first_seq BIGINT PRIMARY KEY, last_seq BIGINT UNIQUE, uri VARCHAR, digest VARCHAR);
CREATE TABLE IF NOT EXISTS event_index (
    event_id VARCHAR PRIMARY KEY, seq BIGINT, kind VARCHAR, contributor_id VARCHAR, ingested_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS pseudonym_key (fingerprint VARCHAR PRIMARY KEY, since TIMESTAMP);
CREATE TABLE IF NOT EXISTS erasures (
    erasure_id VARCHAR PRIMARY KEY, contributor_id VARCHAR, reason VARCHAR, status VARCHAR, begun_at TIMESTAMP,
    done_at TIMESTAMP, events BIGINT, rejections BIGINT, trained_on VARCHAR[], descended VARCHAR[]);
CREATE TABLE IF NOT EXISTS erased_files (
    erasure_id VARCHAR, uri VARCHAR, places BIGINT, digest_before VARCHAR, digest_after VARCHAR,
    PRIMARY KEY (erasure_id, uri));
CREATE TABLE IF NOT EXISTS withdrawn_comparisons (comparison_id VARCHAR PRIMARY KEY, erasure_id VARCHAR);
CREATE TABLE IF NOT EXISTS rejected_feedback (
    rejection_id VARCHAR PRIMARY KEY, round_no INTEGER, stage VARCHAR, source VARCHAR, line BIGINT, kind VARCHAR,
    contributor_id VARCHAR, event_id VARCHAR, reason VARCHAR, excerpt VARCHAR);
CREATE TABLE IF NOT EXISTS releases (
    rejection_id VARCHAR PRIMARY KEY, event_id VARCHAR, round_no INTEGER, seq BIGINT, rejected_for VARCHAR,
    released_by VARCHAR, released_why VARCHAR, released_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS rounds (
    round_no INTEGER PRIMARY KEY, round_id VARCHAR UNIQUE, from_seq BIGINT, to_seq BIGINT UNIQUE, status VARCHAR,
    attempt INTEGER, reason VARCHAR, seed BIGINT, settings VARCHAR, claimed_at TIMESTAMP, settled_at TIMESTAMP,
    base_model VARCHAR, next_model VARCHAR);
CREATE TABLE IF NOT EXISTS quality_verdicts (
    round_no INTEGER PRIMARY KEY, passed BOOLEAN, reason VARCHAR, accepted BIGINT, rejected BIGINT);
CREATE TABLE IF NOT EXISTS quality_findings (
    round_no INTEGER, suite VARCHAR, expectation VARCHAR, severity VARCHAR, rows BIGINT, failing BIGINT,
    figure DOUBLE, low DOUBLE, high DOUBLE, PRIMARY KEY (round_no, suite, expectation));
CREATE TABLE IF NOT EXISTS quality_contributors (
    round_no INTEGER, contributor_id VARCHAR, detector VARCHAR, value DOUBLE, n BIGINT, p_value DOUBLE, flagged BOOLEAN,
    detail VARCHAR);
CREATE TABLE IF NOT EXISTS rings (
    round_no INTEGER, contributor_id VARCHAR, ring BIGINT, PRIMARY KEY (round_no, contributor_id));
CREATE TABLE IF NOT EXISTS labeler_weights (
    round_no INTEGER, labeler_id VARCHAR, weight DOUBLE, slots_seen BIGINT, cumulative_loss DOUBLE, slots BIGINT,
    reports BIGINT);
CREATE TABLE IF NOT EXISTS contributor_groups (
    round_no INTEGER, contributor_id VARCHAR, group_index INTEGER, demonstrations BIGINT,
    PRIMARY KEY (round_no, contributor_id));
CREATE TABLE IF NOT EXISTS candidates (
    round_no INTEGER, group_index INTEGER, model VARCHAR, contributors BIGINT, demonstrations BIGINT,
    PRIMARY KEY (round_no, group_index));
CREATE TABLE IF NOT EXISTS contributor_values (
    round_no INTEGER, contributor_id VARCHAR, seed_index INTEGER, group_index INTEGER, loss_reduction DOUBLE,
    PRIMARY KEY (round_no, contributor_id, seed_index));
CREATE TABLE IF NOT EXISTS selections (
    round_no INTEGER, model VARCHAR, role VARCHAR, group_index INTEGER, distance DOUBLE, standard_error DOUBLE,
    rank INTEGER, selected BOOLEAN, fresh_distance DOUBLE, fresh_standard_error DOUBLE,
    PRIMARY KEY (round_no, role, group_index));
CREATE TABLE IF NOT EXISTS alignments (
    round_no INTEGER PRIMARY KEY, model VARCHAR, kept BOOLEAN, reason VARCHAR, pairs BIGINT, held_out BIGINT,
    accuracy_before DOUBLE, accuracy_after DOUBLE, distance_before DOUBLE, distance_after DOUBLE,
    fresh_distance DOUBLE, fresh_standard_error DOUBLE);
CREATE TABLE IF NOT EXISTS contributions (
    round_no INTEGER, contributor_id VARCHAR, shapley_value DOUBLE, standard_error DOUBLE, method VARCHAR,
    PRIMARY KEY (round_no, contributor_id));
CREATE TABLE IF NOT EXISTS contributor_estimates (
    round_no INTEGER, contributor_id VARCHAR, scheme VARCHAR, estimate DOUBLE, standard_error DOUBLE,
    provisional_points DOUBLE);
CREATE TABLE IF NOT EXISTS epochs (
    round_no INTEGER PRIMARY KEY, first_round_no INTEGER, closes BOOLEAN, reliability DOUBLE, observed_variance DOUBLE,
    noise_variance DOUBLE);
CREATE TABLE IF NOT EXISTS awards (
    round_no INTEGER, lot_id VARCHAR, event_id VARCHAR, contributor_id VARCHAR, quality DOUBLE,
    value DECIMAL(18,6), asked_price DECIMAL(18,6), payment DECIMAL(18,6), awarded BOOLEAN, lot_cleared BOOLEAN,
    PRIMARY KEY (round_no, event_id));
CREATE TABLE IF NOT EXISTS comparison_tasks (
    round_no INTEGER, comparison_id VARCHAR PRIMARY KEY, lot_id VARCHAR, event_id_a VARCHAR, event_id_b VARCHAR);
CREATE TABLE IF NOT EXISTS ledger (
    entry_id VARCHAR PRIMARY KEY, round_no INTEGER, round_id VARCHAR, account VARCHAR, unit VARCHAR,
    amount DECIMAL(18,6), reason VARCHAR, reference VARCHAR);
CREATE TABLE IF NOT EXISTS removed_models (model VARCHAR PRIMARY KEY, round_no INTEGER, removed_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS round_records (
    round_no INTEGER PRIMARY KEY, record VARCHAR, previous_hash VARCHAR, hash VARCHAR);
"""

CLAIMS = 256
"""Files of locks for :meth:`WarehouseResource.claimed`, of which a name has one by its hash."""
HOLLOW = 0.2  # of the file's blocks, free: from there on writing it anew is worth that others wait
KEYS = {
    "quality_contributors": "contributor_id, detector",
    "labeler_weights": "labeler_id",
    "contributor_estimates": "contributor_id",
}
"""What is unique in a round, in the tables that have most rows: checked as they are written, as an index of all rounds would take
three times the room of the rows."""

TABLES = tuple(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", SCHEMA))
NAMES_EVERY_TABLE = f"SELECT 1 WHERE false AND ({' OR '.join(f'EXISTS (FROM {name})' for name in TABLES)})"

ROUND_TABLES = (
    "quality_verdicts",
    "quality_findings",
    "quality_contributors",
    "rings",
    "labeler_weights",
    "contributor_groups",
    "candidates",
    "contributor_values",
    "selections",
    "alignments",
    "contributions",
    "contributor_estimates",
    "epochs",
    "awards",
    "comparison_tasks",
)


Result = TypeVar("Result")


class _Sessions(threading.local):
    """Connections of sessions of a thread, by path or URL."""

    def __init__(self) -> None:
        self.connections: dict[str, Any] = {}


_SESSIONS = _Sessions()


class WarehouseBusyError(OperatorError, TimeoutError):
    """The warehouse's lock was not had in time; the message says who holds it."""


class MovedWarehouseError(OperatorError, RuntimeError):
    """The tables of this home were moved elsewhere, and the file would go its own way."""


class SettledRoundError(RuntimeError):
    """A settled round was about to be rewritten with other content."""


class WarehouseResource(ConfigurableResource):
    """Tables in ``path``, one process at a time: opened late, closed always, never held while a model trains."""

    path: str = Field(description="Local path of the DuckDB file.")
    lock_timeout_s: float = Field(default=120.0, description="Longest wait for the lock, in seconds.")

    @property
    def snapshot_path(self) -> Path:
        """Read-only copy for notebooks and plots, replaced atomically by :meth:`publish_snapshot`."""
        return Path(self.path).with_suffix(".snapshot.duckdb")

    def exists(self) -> bool:
        """Whether there is one: connecting makes one, which a mistyped home should be spared."""
        return Path(self.path).exists()

    def moved_to(self, place: str) -> None:
        """Note where the tables are now: from then on the file opens no more."""
        self._moved.write_text(place, encoding="utf-8")

    @property
    def _moved(self) -> Path:
        return Path(self.path).with_suffix(".moved")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The lock alone, for what is done to the file as a whole.

        Raises:
            WarehouseBusyError: it was not had in time.
        """

        def busy(holder: str) -> WarehouseBusyError:
            return WarehouseBusyError(
                f"{self.path} has been locked for {self.lock_timeout_s:.0f} s by {holder}. "
                "Wait for it or stop it; CROWD_LOCK_TIMEOUT_S sets how long to wait."
            )

        with held(Path(f"{self.path}.lock"), self.lock_timeout_s, busy):
            yield

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection under the lock, for reading; closed on leaving. In a :meth:`session` it is the session's."""
        if self.path in self._sessions:
            yield self._sessions[self.path]
            return
        with self.locked():
            if self._moved.exists():
                raise MovedWarehouseError(
                    f"the tables of {self.path} are in {self._moved.read_text(encoding='utf-8')} now: set CROWD_WAREHOUSE. To go "
                    f"back to the file as it was when they were moved, remove {self._moved}."
                )
            new = not os.path.exists(self.path)
            connection = duckdb.connect(self.path)
            try:
                if new or not _has_schema(connection):
                    connection.execute(SCHEMA)
                yield connection
            finally:
                connection.close()

    @property
    def _sessions(self) -> dict[str, Any]:
        return _SESSIONS.connections

    @contextmanager
    def session(self) -> Iterator[None]:
        """One connection for all that this thread asks of the warehouse inside, as opening one takes 30 ms of CPU; others wait
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

    def atomically(self, work: Callable[[Connection], Result]) -> Result:
        """What ``work`` returns, done in one :meth:`transaction`; it may be called more than once, and the last call counts."""
        with self.transaction() as connection:
            return work(connection)

    @contextmanager
    def claimed(self, name: str, timeout_s: float) -> Iterator[bool]:
        """Whether the claim on ``name`` was had within ``timeout_s`` seconds; it is kept inside, and let go of by a process that
        dies. Some names share one."""
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

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """The rows of one SELECT with bound ``$name`` parameters."""
        with self.connect() as connection:
            return connection.sql(sql, params=dict(parameters or {})).pl()

    def read_round(self, table: str, round_no: int) -> pl.DataFrame:
        """All rows of ``table`` of one round."""
        return self.query(f"SELECT * FROM {_checked(table)} WHERE round_no = $n ORDER BY ALL", {"n": round_no})

    def read_rounds(self, table: str, round_nos: Sequence[int]) -> pl.DataFrame:
        """All rows of ``table`` of several rounds, by round."""
        return self.query(
            f"SELECT * FROM {_checked(table)} WHERE round_no = ANY($rounds) ORDER BY ALL",
            {"rounds": list(round_nos)},
        )

    def read_last_before(self, table: str, round_no: int) -> pl.DataFrame:
        """All rows of ``table`` of the last settled round before ``round_no`` that has any, as of :meth:`read_before`."""
        return self.query(
            f"SELECT * FROM {_checked(table)} WHERE round_no = (SELECT max(round_no) FROM {table} JOIN rounds r "
            "USING (round_no) WHERE round_no < $n AND r.status IN ('settled', 'completed')) ORDER BY ALL",
            {"n": round_no},
        )

    def read_before(self, table: str, round_no: int) -> pl.DataFrame:
        """All rows of ``table`` of the settled rounds before ``round_no``: prior state is never "the latest"."""
        return self.query(
            f"SELECT t.* FROM {_checked(table)} t JOIN rounds r USING (round_no) "
            "WHERE round_no < $n AND r.status IN ('settled', 'completed') ORDER BY ALL",
            {"n": round_no},
        )

    def replace_round(self, table: str, round_no: int, frame: pl.DataFrame) -> None:
        """Make ``frame`` the rows of ``table`` in ``round_no``: delete and insert in one transaction.

        Of a settled round the rows stay as they are, and must equal ``frame``.

        Raises:
            SettledRoundError: the round is settled with other rows.
        """
        _checked(table)

        def replace(connection: Connection) -> None:
            status = fetch_row(connection, "SELECT status FROM rounds WHERE round_no = $n", {"n": round_no})
            incoming = self.stage(connection, table, frame.with_columns(round_no=pl.lit(round_no, pl.Int32)))
            if status and status[0] in ("settled", "completed"):
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

    def stage(self, connection: Any, table: str, frame: pl.DataFrame) -> str:
        """Put ``frame`` into the temporary table ``incoming_<table>``, with the columns and types of ``table``; those that it has
        not are empty.

        Returns:
            The temporary table's name.
        """
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
                    connection.execute(f"ATTACH {_quoted(self.path)} AS old")
                    connection.execute(f"ATTACH {_quoted(fresh)} AS fresh")
                    connection.execute("COPY FROM DATABASE old TO fresh")
                    connection.execute("CHECKPOINT old")
                os.replace(fresh, self.path)
            finally:
                Path(fresh).unlink(missing_ok=True)

    def compact_if_hollow(self) -> bool:
        """:meth:`compact`, where at least ``HOLLOW`` of the file holds nothing; whether it was."""
        with self.connect() as connection:
            connection.execute("CHECKPOINT")
            total, free = fetch_row(connection, "SELECT total_blocks, free_blocks FROM pragma_database_size()")
        if free < HOLLOW * total:
            return False
        self.compact()
        return True

    def publish_snapshot(self) -> Path:
        """Copy the warehouse for readers; they see the old copy or the new one, never a part.

        Returns:
            Where the copy lies.
        """
        self.copy_to(self.snapshot_path)
        return self.snapshot_path

    def copy_to(self, path: Path) -> None:
        """Copy the warehouse as the last transaction left it to the file ``path``, whole or not at all."""
        with written_atomically(UPath(path)) as temporary, self.connect() as connection:
            connection.execute("CHECKPOINT")
            connection.close()  # type: ignore[attr-defined]  # DuckDB's own
            shutil.copyfile(self.path, temporary)


def as_stored(instant: datetime) -> datetime:
    """An instant with a zone as the warehouse keeps it: UTC without one."""
    return instant.astimezone(UTC).replace(tzinfo=None)


def fetch_row(connection: Connection, sql: str, parameters: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    """The first row of a statement, () where there is none; the rest is read too, which frees the connection."""
    rows = connection.execute(sql, dict(parameters or {})).fetchall()
    return rows[0] if rows else ()


def _has_schema(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether every table is there: a home of an earlier version lacks those that came later."""
    try:
        connection.execute(NAMES_EVERY_TABLE)  # cheaper than to list them
    except duckdb.CatalogException:
        return False
    return True


def _quoted(path: str) -> str:
    """A path as SQL text: ATTACH takes no parameter."""
    return "'" + path.replace("'", "''") + "'"


def _checked(table: str) -> str:
    """``table`` if a round's rows live there: identifiers cannot be bound, so only known names reach the SQL."""
    if table not in ROUND_TABLES and table != "ledger":
        raise ValueError(f"{table!r} is no table of a round; expected one of {', '.join(ROUND_TABLES)}, ledger.")
    return table
