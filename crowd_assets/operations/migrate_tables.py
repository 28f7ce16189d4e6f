"""A home moves: every table of its DuckDB file to PostgreSQL, in one transaction, and proven before it counts.

Row counts and hashes of the contents are compared table by table before the transaction is committed; then the audit recomputes
every settled round from the new tables. Only then is a note left beside the file, by which it opens no more: two ledgers of one home
would go apart unseen.

Belongs here: moving, comparing, proving. Does not belong here: what an audit compares (see ``audit``), where the tables live (see
``resources.warehouse.duckdb``).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from crowd_assets.operations.audit import Audit, AuditedRound, audit
from resources.build import duckdb_warehouse, postgres_warehouse
from resources.common.errors import OperatorError
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import fetch_row
from resources.warehouse.engine import beside
from resources.warehouse.postgres_connection import BATCH_ROWS, PostgresConnection
from resources.warehouse.schema import TABLES


class MigrationError(OperatorError, RuntimeError):
    """Nothing was moved, or what was moved is not proven; the message says which."""


@dataclass(frozen=True)
class Moved:
    """What was moved: rows by table, to where, and the audit of it."""

    place: str
    rows: dict[str, int]
    audit: Audit


def migrate_tables(
    settings: CrowdSettings,
    *,
    copied: Callable[[str, int], None] = lambda table, rows: None,
    found: Callable[[AuditedRound], None] = lambda each: None,
) -> Moved:
    """Move the tables of a home to the PostgreSQL that ``settings.warehouse`` names. The DuckDB file stays as it is.

    Args:
        copied, found: Are given each table and each audited round as soon as it is done.

    Raises:
        MigrationError: the home has no DuckDB file, the database has rows already, what arrived is not what was sent (then nothing
            was committed), or the audit of what arrived is not clean (then the file still counts).
    """
    source, target = duckdb_warehouse(settings), postgres_warehouse(settings)
    if not source.exists():
        raise MigrationError(f"CROWD_HOME={settings.home}: there is no warehouse.duckdb, so nothing to move.")
    rows = {}
    with source.connect() as old:
        with target.transaction() as new:
            assert isinstance(new, PostgresConnection)
            place = new.place
            for table in TABLES:
                if fetch_row(new, f"SELECT 1 FROM {table} LIMIT 1"):
                    raise MigrationError(f"{place} has rows in {table}: name an empty database. Nothing was moved.")
                columns = old.sql(f"FROM {table} LIMIT 0").columns
                new.load(table, columns, _rows(old, f"FROM {table}"))
                named = ", ".join(columns)
                before = _content(_rows(old, f"FROM {table} ORDER BY ALL"))
                after = _content(
                    row for some in new.batches(f"SELECT {named} FROM {table} ORDER BY {named}") for row in some
                )
                if before != after:
                    raise MigrationError(
                        f"{table}: {after[0]} rows with the hash {after[1]} arrived in {place}, of {before[0]} with "
                        f"{before[1]}. Nothing was moved."
                    )
                rows[table] = before[0]
                copied(table, before[0])
        proof = audit(settings, found=found)
        if not proof.clean:
            raise MigrationError(
                f"the tables were copied to {place} unchanged, and their audit is not clean: `crowd-rounds audit` without CROWD_WAREHOUSE says "
                "whether the audit was clean before. The DuckDB file still counts; empty the database before moving again."
            )
        source.moved_to(place)
    return Moved(place, rows, proof)


def _rows(connection: Any, select: str) -> Iterator[tuple[Any, ...]]:
    """Rows of DuckDB, not all of them in memory."""
    with beside(connection) as cursor:
        rows = cursor.execute(select)
        while some := rows.fetchmany(BATCH_ROWS):
            yield from some


def _content(rows: Iterable[tuple[Any, ...]]) -> tuple[int, str]:
    """How many rows there are, and a hash (BLAKE2b-128) of their values in order."""
    digest = hashlib.blake2b(digest_size=16)
    count = 0
    for row in rows:
        digest.update(repr(row).encode())
        count += 1
    return count, digest.hexdigest()
