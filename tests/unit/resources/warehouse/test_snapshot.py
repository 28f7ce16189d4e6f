"""The snapshot of the last settlement, read like a warehouse."""

from pathlib import Path

import duckdb
import pytest

from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.snapshot import NoSnapshotError, SnapshotWarehouse

KEYS = "SELECT count(*) FROM round_keys"


def test_a_snapshot_shows_what_was_published_while_others_write(tmp_path: Path) -> None:
    path = str(tmp_path / "warehouse.duckdb")
    warehouse, snapshot = DuckDBWarehouse(path=path), SnapshotWarehouse(path=path)
    with warehouse.transaction() as connection:
        connection.execute("INSERT INTO round_keys VALUES (1, 'key', '')")
    with pytest.raises(NoSnapshotError, match="no round of this home was settled"):
        snapshot.query(KEYS)
    warehouse.publish_snapshot()
    with warehouse.transaction() as connection:
        connection.execute("INSERT INTO round_keys VALUES (2, 'key', '')")
        assert snapshot.query(KEYS).item() == 1  # waits for nobody
    warehouse.publish_snapshot()
    assert snapshot.query(KEYS).item() == 2


def test_nothing_is_written_into_a_snapshot(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="read only"):
        SnapshotWarehouse(path=str(tmp_path / "warehouse.duckdb")).transaction()


def test_a_snapshot_of_an_earlier_version_has_nothing_in_the_tables_that_came_later(tmp_path: Path) -> None:
    path = str(tmp_path / "warehouse.duckdb")
    warehouse, snapshot = DuckDBWarehouse(path=path), SnapshotWarehouse(path=path)
    with warehouse.transaction() as connection:
        connection.execute("INSERT INTO round_keys VALUES (1, 'key', '')")
        connection.execute("DROP TABLE judgement_values")
    warehouse.publish_snapshot()
    values = "SELECT labeler_id, judgements, value FROM judgement_values"
    with duckdb.connect(str(snapshot.snapshot_path), read_only=True) as plain, pytest.raises(duckdb.CatalogException):
        plain.execute(values)
    assert snapshot.query(values).is_empty()
    assert snapshot.query(KEYS).item() == 1
