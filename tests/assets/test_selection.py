"""Selection: a round goes on from what the round before chose, and results are checked without blocking."""

import polars as pl
from dagster import (
    AssetCheckSeverity,
)

from tests.assets.platform import Platform, shown_of


def test_rounds_complete_and_the_next_starts_from_the_last(two_rounds: Platform) -> None:
    first, second = two_rounds.book.all()
    assert (first.status, second.status) == ("completed", "completed")
    assert second.from_seq == first.to_seq + 1
    assert second.base_model == first.next_model
    selections = two_rounds.warehouse.read_round("selections", 2)
    assert selections.filter(pl.col("role") == "base")["model"].item() == first.next_model


def test_results_are_checked_and_block_nothing(two_rounds: Platform) -> None:
    shown = shown_of(two_rounds, "r000002")
    selections, alignment = (two_rounds.warehouse.read_round(name, 2) for name in ("selections", "alignments"))
    base = selections.filter(pl.col("role") == "base")["fresh_distance"].item()
    kept = alignment["kept"].item()
    after = (alignment if kept else selections.filter("selected"))["fresh_distance"].item()
    assert shown["distance_fell"]["passed"] == (after < base)
    correlation = shown["point_ledger"]["correlation_with_shapley"].value
    assert shown["points_track_shapley"]["passed"] == (correlation >= 0.5)
    assert shown["regret_within_bound"]["passed"]
    for check in ("distance_fell", "points_track_shapley", "regret_within_bound"):
        assert shown[check]["severity"] == AssetCheckSeverity.WARN
    for check in ("ledger_balances", "within_budget"):
        assert shown[check]["passed"]
        assert shown[check]["severity"] == AssetCheckSeverity.ERROR
