"""Plots stay small, however large the crowd: Dagster's event log keeps every one of them."""

import io

import numpy as np
import polars as pl
from PIL import Image

from crowd_assets import display

LARGEST = 40_000  # bytes


def _is_small(png: bytes) -> bool:
    width, height = Image.open(io.BytesIO(png)).size
    return len(png) < LARGEST and width < 1000 and height < 1500


def test_plots_of_a_large_crowd_are_small() -> None:
    rng = np.random.default_rng(0)
    rounds = list(range(1, 101))
    weights = {f"labeler-{number}": list(rng.random(100).cumsum()) for number in range(60)}
    weights["newcomer"] = [None] * 99 + [1.0]
    assert _is_small(display.trajectories(rounds, weights, x="round", y="weight", level=1.0))
    asked, values, awarded = rng.random(500), rng.random(500), rng.random(500) < 0.2
    assert _is_small(display.supply_and_demand(list(asked), list(values), list(awarded), 0.4))
    names = [f"lot-{number % 40}" for number in range(500)]
    assert _is_small(display.lots(names, list(asked), list(values), list(awarded)))
    assert _is_small(display.scatter(list(asked), list(values), x="x", y="y", title="correlation 0.10"))


def test_of_a_large_crowd_both_ends_are_shown() -> None:
    frame = pl.DataFrame({"place": range(100)})
    assert display.ends(frame, 6)["place"].to_list() == [0, 1, 2, 97, 98, 99]
    assert display.ends(frame.head(6), 6)["place"].to_list() == [0, 1, 2, 3, 4, 5]
    bars = display.ends(frame)["place"].to_list()
    assert _is_small(display.bars([str(place) for place in bars], [float(place) for place in bars], axis="x"))


def test_trajectories_of_one_round_and_one_labeler_are_drawn() -> None:
    assert _is_small(display.trajectories([1], {"ada": [1.0]}, x="round", y="weight", level=1.0))
