"""Weights of two rounds: who misreports loses, and regrets add up."""

import polars as pl
import pytest

from crowd_assets.round.labelers import REGRETS, regret_so_far
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from tests.assets.platform import Platform


def test_who_misreports_loses_weight(two_rounds: Platform) -> None:
    crowd = SimulatedCrowd("gratitude", two_rounds.settings.seed).truth()
    weights = two_rounds.warehouse.read_round("labeler_weights", 2)
    mean = 1 / weights.height
    assert weights["weight"].sum() == pytest.approx(1)
    for labeler, weight in weights.select("labeler_id", "weight").iter_rows():
        if crowd[labeler]["kind"] in ("biased", "strategic"):
            assert weight < mean, labeler
        if crowd[labeler]["kind"] == "accurate":
            assert weight > mean, labeler


def test_regrets_add_up_over_rounds(two_rounds: Platform) -> None:
    """The sums that rounds hand on are what all outcomes give at once: aggregates by their own losses, less the reports'."""
    frames = [
        pl.read_parquet(two_rounds.settings.path("frames", REGRETS, f"r00000{number}.parquet")) for number in (1, 2)
    ]
    weights = two_rounds.warehouse.read_round("labeler_weights", 2)
    both = frames[1].join(weights, on="labeler_id")
    assert both.height == weights.height
    assert both["slots"].to_list() == both["slots_seen"].to_list()
    assert (frames[1]["slots"].sum(), frames[0]["slots"].sum() > 0) == (weights["slots_seen"].sum(), True)
    lost = both["excess_loss"] + both["cumulative_loss"]  # of the aggregate, over the same outcomes
    assert lost.is_between(0, both["slots"].cast(pl.Float64)).all()
    found = regret_so_far(two_rounds.warehouse, build_resources(two_rounds.settings).frames, 2)
    assert found["round_no"].to_list() == [1, 2]
    assert (found["regret"] <= found["bound"]).all()
