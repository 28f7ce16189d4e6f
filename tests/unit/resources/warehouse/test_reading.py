"""Tables of any version are read, and the file stays as it is."""

from pathlib import Path

import duckdb
import pytest

from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.reading import for_reading, has_schema
from resources.warehouse.schema import TABLES


@pytest.mark.parametrize("lacking", [(), ("round_keys",), TABLES[1:]])
def test_tables_that_came_later_are_empty_and_the_file_stays_as_it_is(lacking: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with DuckDBWarehouse(path=str(path)).transaction() as connection:
        connection.execute("INSERT INTO home VALUES ('uuid', 1, 'program', NULL)")
        for name in lacking:
            connection.execute(f"DROP TABLE {name}")
    before = path.read_bytes()
    with for_reading(path) as reading:
        assert has_schema(reading)
        assert reading.execute("SELECT uuid FROM home").fetchall() == [("uuid",)]
        assert all(reading.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,) for name in lacking)
        with pytest.raises(duckdb.Error):
            reading.execute("INSERT INTO home VALUES ('other', 1, 'program', NULL)")
    assert path.read_bytes() == before
