"""What DuckDB says of a file that is damaged or has no room, in words that have a way out.

Belongs here: telling. Does not belong here: the file (see ``duckdb``), looking for damage (see ``crowd_assets.operations.doctor``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from resources.common.errors import OperatorError
from resources.files.backups import way_back

NO_ROOM = ("No space left", "disk is full", "Disk quota", "could not write", "Could not write", "Could not truncate")
LACKING = ("does not have a column", "not found in FROM clause", "does not exist", "has a conflicting", "columns but")
DAMAGE = (duckdb.FatalException, duckdb.InternalException, duckdb.IOException, duckdb.SerializationException)
LONGEST = 160


class LostWarehouseError(OperatorError, RuntimeError):
    """The home was begun, and its tables are not there: going on would begin it a second time over what it holds."""


class DamagedWarehouseError(OperatorError, RuntimeError):
    """The warehouse's file cannot be read as what it should be; the message names the newest backup and the command."""


class NoSpaceError(OperatorError, OSError):
    """There is no room for what a transaction would write; what was committed before stands, and nothing else was written."""


@contextmanager
def told(path: Path) -> Iterator[None]:
    """DuckDB's own errors about its file, raised anew in one line; every other one is let through."""
    try:
        yield
    except duckdb.Error as problem:
        said = " ".join(str(problem).split())
        if any(words in said for words in NO_ROOM):
            raise NoSpaceError(
                f"{path}: no room for what was to be written ({said[:LONGEST]}). Nothing is half written: make room, then run the same command again."
            ) from problem
        lacks = isinstance(problem, duckdb.BinderException | duckdb.CatalogException) and any(
            words in said for words in LACKING
        )
        corrupt = "orrupt database" in said or "checksum" in said  # which has no class of its own
        if not isinstance(problem, DAMAGE) and not lacks and not corrupt:
            raise
        raise DamagedWarehouseError(
            f"{path} is damaged ({said[:LONGEST]}). Stop the daemon, then look at the home by crowd-rounds doctor. "
            f"{way_back(str(path.parent))}"
        ) from problem
