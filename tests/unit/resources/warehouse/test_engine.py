"""A file is attached for as long as a connection lasts, and an error leaves nothing behind."""

import multiprocessing
from pathlib import Path

import duckdb
import pytest

from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.engine import attached, beside


def test_between_connections_the_file_is_anybodys(tmp_path: Path) -> None:
    path = str(tmp_path / "it's.duckdb")
    with attached(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    with duckdb.connect(path) as outside:
        outside.execute("INSERT INTO t VALUES (2)")
    with attached(path) as connection:
        assert connection.execute("SELECT sum(n) FROM t").fetchall() == [(3,)]


def test_after_an_error_the_next_connection_begins_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "w.duckdb")
    with attached(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    with pytest.raises(duckdb.CatalogException), attached(path) as connection:
        connection.execute("FROM nowhere")
    with attached(path) as connection:
        assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_a_second_cursor_reads_the_file_while_the_first_reads(tmp_path: Path) -> None:
    path = str(tmp_path / "w.duckdb")
    with attached(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT * FROM range(5000) AS numbers(n)")
        rows = connection.execute("FROM t ORDER BY n")
        with beside(connection) as cursor:
            assert cursor.execute("SELECT count(*) FROM t").fetchall() == [(5000,)]
        assert len(rows.fetchmany(10)) == 10
    with duckdb.connect(path) as outside:
        assert outside.execute("SELECT count(*) FROM t").fetchall() == [(5000,)]


def _count(path: str) -> None:
    with attached(path) as connection:
        assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]


def test_a_forked_process_has_an_engine_of_its_own(tmp_path: Path) -> None:
    path = str(tmp_path / "w.duckdb")
    with attached(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    child = multiprocessing.get_context("fork").Process(target=_count, args=(path,))
    child.start()
    child.join(30)
    assert child.exitcode == 0


def test_tables_that_somebody_else_took_away_are_made_again(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(path=str(tmp_path / "w.duckdb"))
    for _ in range(2):
        assert warehouse.query("SELECT count(*) AS n FROM rounds").item() == 0
    with duckdb.connect(warehouse.path) as outside:
        outside.execute("DROP TABLE rounds")
    assert warehouse.query("SELECT count(*) AS n FROM rounds").item() == 0
