"""Plots stay small, however large the crowd: Dagster's event log keeps every one of them."""

import io

import numpy as np
from PIL import Image

from crowd_assets.report import display

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
    names, values = [str(place) for place in range(100)], [float(place) for place in range(100)]
    drawn = display.bars(names, values, axis="x")
    assert _is_small(drawn)
    assert drawn == display.bars(names[:20] + names[80:], values[:20] + values[80:], axis="x")


def test_trajectories_of_one_round_and_one_labeler_are_drawn() -> None:
    assert _is_small(display.trajectories([1], {"ada": [1.0]}, x="round", y="weight", level=1.0))
