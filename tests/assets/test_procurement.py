"""The auction of two rounds: it pays what was asked within the budget, and its tasks come back as preferences."""

import json
from decimal import Decimal

import polars as pl

from tests.assets.platform import Platform


def test_the_ledger_balances_and_pays_what_was_asked_within_the_budget(two_rounds: Platform) -> None:
    sums = two_rounds.warehouse.query("SELECT round_id, unit, sum(amount) AS total FROM ledger GROUP BY ALL")
    assert sums.height
    assert sums["total"].to_list() == [Decimal(0)] * sums.height
    awards = two_rounds.warehouse.query("SELECT * FROM awards")
    paid = awards.filter("awarded")
    assert paid.height
    assert paid.filter(pl.col("payment") < pl.col("asked_price")).is_empty()
    assert awards.filter(~pl.col("awarded") & (pl.col("payment") != 0)).is_empty()
    per_round = paid.group_by("round_no").agg(pl.col("payment").sum())["payment"]
    assert max(per_round) <= Decimal(two_rounds.settings.budget)
    assert set(paid.group_by("round_no", "lot_id").len()["len"]) <= set(
        range(2, two_rounds.settings.answers_per_lot + 1)
    )
    assert set(awards["lot_id"]) <= set(two_rounds.warehouse.query("SELECT lot_id FROM published_lots")["lot_id"])


def test_tasks_are_published_and_come_back_as_preferences(two_rounds: Platform) -> None:
    published = (two_rounds.settings.outbox_path / "comparison_tasks" / "r000001.jsonl").read_text().splitlines()
    names = {json.loads(line)["comparison_id"] for line in published}
    assert names
    judged = pl.read_parquet(two_rounds.settings.path("frames", "aggregated_preferences", "r000002.parquet"))
    assert names <= set(judged["comparison_id"])
