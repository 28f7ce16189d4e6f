"""A look at the warehouse that waits for nobody and writes nothing: what ``status`` and ``leaderboard`` show.

Belongs here: which copy is read. Does not belong here: what is read, and every use that must be up to date (see ``base``).
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from resources.common.errors import OperatorError
from resources.common.locks import held
from resources.files.backups import said_of_lost_file
from resources.settings.settings import Settings

if TYPE_CHECKING:
    from resources.warehouse.connection import Connection

LONGEST_WAIT_S = 0.3  # a transaction takes milliseconds


class NothingToReadError(OperatorError, LookupError):
    """The home has no warehouse yet, or one that is in use and of which no snapshot was published."""


class _BusyError(TimeoutError):
    """Another process holds the warehouse."""


@dataclass(frozen=True)
class Look:
    """An open read-only connection, when what it shows was so, and whether that is the snapshot of the last settlement."""

    connection: "Connection"
    as_of: datetime
    snapshot: bool


@contextmanager
def look(settings: Settings) -> Iterator[Look]:
    """The warehouse of a home as it is now; where another process holds it, the snapshot that the last round published.

    Raises:
        NothingToReadError: there is neither.
    """
    from resources.warehouse.damage import told
    from resources.warehouse.reading import for_reading

    if settings.warehouse:
        with _look_at_postgres(settings) as home:
            yield home
        return
    warehouse = Path(settings.home, "warehouse.duckdb")
    snapshot = warehouse.with_suffix(".snapshot.duckdb")
    if not warehouse.exists():  # and nothing is made in what may be a mistyped home
        raise NothingToReadError(
            said_of_lost_file(warehouse)
            or f"CROWD_HOME={settings.home}: no warehouse there yet. `make round` runs rounds; CROWD_HOME names the folder of "
            "others."
        )
    moved = warehouse.with_suffix(".moved")
    if moved.exists():
        raise NothingToReadError(f"the tables of {warehouse} are in {moved.read_text()} now: set CROWD_WAREHOUSE.")
    with suppress(_BusyError), held(Path(f"{warehouse}.lock"), LONGEST_WAIT_S, _BusyError):
        with told(warehouse), for_reading(warehouse) as connection:
            yield Look(connection, datetime.now(UTC), snapshot=False)
        return
    if not snapshot.exists():
        raise NothingToReadError(f"{warehouse} is in use, and no round has published a snapshot yet: try again.")
    with told(snapshot), for_reading(snapshot) as connection:
        yield Look(connection, datetime.fromtimestamp(snapshot.stat().st_mtime, UTC), snapshot=True)


@contextmanager
def _look_at_postgres(settings: Settings) -> Iterator[Look]:
    """What one instant held: readers there wait for nobody."""
    from resources.warehouse.postgres_connection import connect

    with closing(connect(settings.warehouse, LONGEST_WAIT_S, patience_s=0)) as connection:
        if connection.execute("SELECT to_regclass('round_records') IS NULL").fetchall() == [(True,)]:
            raise NothingToReadError(
                f"{connection.place}: no warehouse there yet. `make round` runs rounds; CROWD_WAREHOUSE names the database."
            )
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield Look(connection, datetime.now(UTC), snapshot=False)
