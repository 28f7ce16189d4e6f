"""Tables in a DuckDB file, read as whatever version left them, and never written.

Belongs here: that, without Dagster. Does not belong here: tables that are written (see ``duckdb``), who may read when (see ``look`` and
``snapshot``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from resources.warehouse.schema import NAMES_EVERY_TABLE, STATEMENTS


@contextmanager
def for_reading(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reads the file ``path`` and writes nothing. Tables that came after the version that wrote the file are there, empty
    and for this connection alone."""
    with duckdb.connect(str(path), read_only=True) as connection:
        if not has_schema(connection):
            there = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
            for name, columns in STATEMENTS.items():
                if name not in there:
                    connection.execute(f"CREATE TEMP TABLE {name} ({columns})")
        yield connection


def has_schema(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether every table is there: a home of an earlier version lacks those that came later."""
    try:
        connection.execute(NAMES_EVERY_TABLE)  # cheaper than to list them
    except duckdb.CatalogException:
        return False
    return True
