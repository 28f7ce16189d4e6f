"""Hashes of columns tell values apart and nothing else; records are a chain."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from resources.common.hashes import chained
from resources.rounds.records import append_record, column_hashes, frame_key, versions
from resources.warehouse.duckdb import DuckDBWarehouse

ALL_KINDS = pl.DataFrame(
    {
        "integer": [1, None, 3],
        "float": [0.1, None, -2.0],
        "text": ["ab", None, "c"],
        "decimal": [Decimal("1.5"), None, Decimal(0)],
        "flag": [True, None, False],
        "instant": [datetime(2026, 1, 1, tzinfo=UTC), None, datetime(1970, 1, 1, tzinfo=UTC)],
        "list": [[0.5, 1.0], None, []],
        "array": pl.Series([[1.0, 2.0], None, [3.0, 4.0]], dtype=pl.Array(pl.Float64, 2)),
    },
    schema_overrides={"decimal": pl.Decimal(18, 6)},
)


@pytest.mark.parametrize("column", ALL_KINDS.columns)
def test_another_value_gap_order_or_length_is_another_hash(column: str) -> None:
    values = ALL_KINDS[column]
    others = [
        values.head(2),
        values.reverse(),
        values.fill_null(values[0]) if column not in ("list", "array") else values.drop_nulls(),
        pl.concat([values, values.clear(1)]),
        values.cast(pl.String) if column in ("integer", "float") else values.head(0),
    ]
    hashes = [column_hashes(pl.DataFrame({column: each}))[column] for each in (values, *others)]
    assert len(set(hashes)) == len(hashes)


def test_texts_are_told_apart_by_where_they_end() -> None:
    assert column_hashes(pl.DataFrame({"text": ["ab", "c"]})) != column_hashes(pl.DataFrame({"text": ["a", "bc"]}))


def test_a_hash_depends_on_values_alone(tmp_path: Path) -> None:
    expected = column_hashes(ALL_KINDS)
    ALL_KINDS.write_parquet(tmp_path / "frame.parquet", compression="snappy", row_group_size=1)
    assert column_hashes(pl.read_parquet(tmp_path / "frame.parquet")) == expected
    assert column_hashes(ALL_KINDS.with_columns(pl.col("integer").cast(pl.Int32))) == expected
    assert column_hashes(pl.concat([ALL_KINDS.head(1), ALL_KINDS.tail(2)], rechunk=False)) == expected


def test_a_hash_is_the_same_in_later_versions() -> None:
    assert column_hashes(ALL_KINDS.select("integer", "text", "float")) == {
        "integer": "94e90f883278dd6f997798ef0a33155d",
        "text": "569b7faf0a5661576010b33bb23629c3",
        "float": "5f17e04d5288a60db84ba8dcc53bae87",
    }


def test_a_record_stands_behind_the_one_before(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(path=str(tmp_path / "warehouse.duckdb"))
    for number in (1, 2):
        with warehouse.transaction() as connection:
            append_record(connection, number, {"versions": versions()})
    (first, second) = warehouse.query("SELECT * FROM round_records ORDER BY round_no").iter_rows(named=True)
    assert first["previous_hash"] == ""
    assert second["previous_hash"] == first["hash"] == chained("", first["record"])
    assert second["hash"] == chained(first["hash"], second["record"]) != chained("", second["record"])


def test_frames_lie_under_keys_of_their_own_or_the_rounds() -> None:
    record = {"round_no": 3, "target": "t", "likelihood_range": "l"}
    keys = {name: frame_key(record, name) for name in ("target", "guard_range", "generations")}
    assert keys == {"target": "t", "guard_range": "l", "generations": "r000003"}
    assert frame_key({"round_no": 3, "target": "t"}, "generations") == "r000003"  # an earlier record names no range
