"""The warehouse's SQL as PostgreSQL takes it, and the setting that names a server; the server itself is in tests/cluster."""

import re

import polars as pl
import pytest

from resources.settings.fields import SettingError
from resources.settings.resource import CrowdSettings
from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.postgres import INDEXES, POSTGRES_SCHEMA
from resources.warehouse.schema import TABLES


def test_every_table_has_the_same_columns_there() -> None:
    assert tuple(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", POSTGRES_SCHEMA)) == TABLES
    assert not re.search(r"\bDOUBLE\b(?! PRECISION)|VARCHAR COLLATE \"C\"\[\]", POSTGRES_SCHEMA)
    assert re.search(r'reason VARCHAR COLLATE "C", .*trained_on VARCHAR\[\]', POSTGRES_SCHEMA, re.DOTALL)
    assert set(INDEXES) <= set(TABLES)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann@db/crowd",
        "postgres:///crowd?host=/run/postgresql",
        "postgresql://a:1,b:2/crowd?sslmode=require",
    ],
)
def test_a_database_is_named_without_a_password(url: str) -> None:
    assert CrowdSettings.from_environment({"CROWD_WAREHOUSE": url}).warehouse == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:canary@db/crowd",
        "postgresql://ann:can/ary@db/crowd",
        "postgresql://ann:c@nary@db/crowd",
        "postgresql://ann@db/crowd?password=canary",
        "postgresql://db/crowd?user=ann&sslpassword=canary",
        "duckdb:///warehouse",
    ],
)
def test_a_password_in_the_setting_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingError, match=r"CROWD_WAREHOUSE=.*PGPASSFILE") as refused:
        CrowdSettings.from_environment({"CROWD_WAREHOUSE": url})
    assert not re.search("canary|nary|ary@", str(refused.value))


def test_rows_come_in_the_order_of_all_columns_as_duckdb_has_it(tmp_path: object) -> None:
    """The order that is made of frames from PostgreSQL is the one that hashes of records are made in."""
    warehouse = DuckDBWarehouse(path=f"{tmp_path}/warehouse.duckdb")
    rows = pl.DataFrame(
        {
            "contributor_id": ["b", None, "ä", "B", "", "b", "b"],
            "shapley_value": [float("nan"), 1.0, None, -1.0, 0.0, None, float("inf")],
        }
    )
    with warehouse.connect() as connection:
        connection.register("shuffled", rows.to_arrow())  # type: ignore[attr-defined]
        ordered = connection.sql("FROM shuffled ORDER BY ALL").pl()
    assert repr(rows.sort(rows.columns, nulls_last=True).rows()) == repr(ordered.rows())
