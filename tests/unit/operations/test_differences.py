"""Differences: the first one by key and column, within tolerances for figures and none for anything else."""

from collections.abc import Iterator
from decimal import Decimal

import polars as pl
import pytest

from crowd_assets.operations.differences import Difference, first_difference, first_or_unreadable
from resources.common.errors import OperatorError

ROWS = pl.DataFrame(
    {"who": ["a", "b", "c"], "points": [1.0, 2.0, None], "kept": [True, False, True], "at": [[0.5], [1.0, 2.0], []]}
)


def changed(column: str, value: object, row: int = 1) -> pl.DataFrame:
    values = ROWS[column].to_list()
    values[row] = value
    return ROWS.with_columns(pl.Series(column, values, dtype=ROWS.schema[column]))


def test_equal_frames_in_another_order_differ_nowhere() -> None:
    assert first_difference("table", ["who"], ROWS.reverse(), ROWS.select("at", "kept", "points", "who")) is None


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("points", 2.001, "table, b, points: stored 2.001, recomputed 2.0"),
        ("points", None, "table, b, points: stored none, recomputed 2.0"),
        ("kept", True, "table, b, kept: stored True, recomputed False"),
        ("at", [1.0], "table, b, at: stored [1, …], recomputed [1, 2, …]"),
        ("at", [1.0, 3.0], "table, b, at: stored [1, 3, …], recomputed [1, 2, …]"),
    ],
)
def test_a_changed_value_is_named_with_its_row(column: str, value: object, said: str) -> None:
    assert str(first_difference("table", ["who"], changed(column, value), ROWS)) == said


@pytest.mark.parametrize(("column", "value"), [("points", 2.0 + 1e-6), ("at", [1.0, 2.0 + 1e-6])])
def test_another_machines_last_digits_are_no_difference(column: str, value: object) -> None:
    assert first_difference("table", ["who"], changed(column, value), ROWS) is None


def test_a_lone_row_is_named_before_any_value() -> None:
    later = changed("points", 9.0, row=0)
    assert str(first_difference("table", ["who"], later.head(2), ROWS)).endswith(
        "c, who: stored no row, recomputed a row"
    )
    assert str(first_difference("table", ["who"], later, ROWS.head(2))).endswith(
        "c, who: stored a row, recomputed no row"
    )


def test_money_is_exact_outside_the_ledger_and_to_a_few_quanta_of_points_within() -> None:
    stored, expected = (pl.DataFrame({"id": ["x"], "amount": [Decimal(value)]}) for value in ("1.000001", "1.000000"))
    assert first_difference("awards", ["id"], stored, expected) is not None
    assert first_difference("ledger", ["id"], stored, expected) is None
    assert first_difference("ledger", ["id"], stored, expected.with_columns(amount=pl.lit(Decimal("1.1")))) is not None


def test_a_column_that_came_later_counts_only_where_it_says_something() -> None:
    silent, speaking = ROWS.with_columns(new=pl.lit(None, pl.Float64)), ROWS.with_columns(new=pl.lit(1.0))
    assert first_difference("table", ["who"], ROWS, silent) is None
    assert first_difference("table", ["who"], speaking, silent) is not None


def test_what_cannot_be_read_is_a_difference_and_what_an_operator_set_wrong_is_none() -> None:
    def found(problem: Exception) -> Iterator[Difference]:
        raise problem
        yield

    difference = first_or_unreadable(found(ValueError("no\nJSON")), "r000001")
    assert difference is not None
    assert str(difference) == "r000001, content: stored unreadable (ValueError: no JSON), the record says readable"
    assert first_or_unreadable(iter(()), "r000001") is None
    with pytest.raises(OperatorError):
        first_or_unreadable(found(OperatorError("set CROWD_HOME")), "r000001")
