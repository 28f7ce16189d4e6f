"""Parts of a page: tables that say what they leave out, numbers as people read them, and no library without a chart."""

import polars as pl
import pytest

from crowd_assets.report import charts
from crowd_assets.report.figures import general_reason
from crowd_assets.report.page import Column, number, ordinal, render, table


def test_a_large_crowd_makes_a_table_that_says_how_many_it_leaves_out() -> None:
    crowd = pl.DataFrame({"who": [f"c{place}" for place in range(30)], "points": range(30)})
    found = table("people", crowd, {"who": Column("contributor"), "points": Column("points")}, size=5, most=20)
    assert len(found.rows) == 20
    assert found.left_out == 10


def test_numbers_are_written_as_people_read_them() -> None:
    assert [number(-1234.5, 1), number(-0.0004, 2), number(None), number(float("nan")), number(7)] == [
        *("−1,234.5", "0.00", "–", "–", "7")
    ]
    assert [ordinal(place) for place in (1, 2, 3, 4, 11, 12, 21, 112)] == [
        "1st",
        "2nd",
        "3rd",
        "4th",
        "11th",
        "12th",
        "21st",
        "112th",
    ]
    assert general_reason("copies: word for word 78aa14c444823d0b6ee3f138cc306d09, like 'me'") == (
        "copies: word for word …, like …"
    )


def test_a_page_without_charts_carries_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "runtime", lambda: pytest.fail("no chart, no library"))
    assert len(render("base.html.jinja")) < 30_000
