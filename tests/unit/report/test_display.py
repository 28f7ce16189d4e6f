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


def test_an_image_is_dark_on_white_on_any_page() -> None:
    """Dagster's UI is light or dark, and no style of a page reaches into an image."""
    drawn = display.lines({"one": ([1.0, 2.0], [0.0, 1.0]), "two": ([1.0, 2.0], [1.0, 0.0])}, x="round", y="share")
    image = Image.open(io.BytesIO(drawn)).convert("L")
    assert image.getpixel((0, 0)) == 255
    shades = image.histogram()
    assert sum(shades[250:]) > 0.8 * image.width * image.height
    assert sum(shades[:128]) > 200  # words


def test_what_has_no_place_on_an_axis_of_logarithms_is_left_out() -> None:
    here = {"rule": ([1.0, 10.0, 100.0, 1000.0], [0.0, 2.0, float("nan"), 4.0])}
    there = {"rule": ([10.0, 1000.0], [2.0, 4.0])}
    first, second = (display.lines(each, x="slots", y="regret", log_x=True, log_y=True) for each in (here, there))
    assert first == second


def test_names_that_strangers_chose_are_drawn_as_they_are() -> None:
    names = [
        "</svg><script>alert(1)</script>",
        "var(--c1)",
        "var(--nothing)",
        "\U0001f600" * 30,
        "datum.x = 1",
        "a\nb",
        "",
    ]
    assert _is_small(display.bars(names, list(range(len(names))), axis="points"))
    assert _is_small(display.lots(names, [1.0] * len(names), [2.0] * len(names), [True] * len(names)))
    rounds: dict[str, list[float | None]] = {name: [1.0, float(place)] for place, name in enumerate(names)}
    assert _is_small(display.trajectories([1, 2], rounds, x="round", y="weight", level=1.0))


def test_a_round_without_bids_or_values_is_drawn() -> None:
    assert _is_small(display.bars([], [], axis="points"))
    assert _is_small(display.lines({}, x="round", y="events"))
    assert _is_small(display.scatter([], [], x="Shapley value", y="points"))
    assert _is_small(display.supply_and_demand([], [], [], 0.0))


def test_what_is_no_number_has_no_place_and_hides_nothing_else() -> None:
    nan = float("nan")
    assert _is_small(display.bars(["a", "b", "c"], [1.0, nan, 2.0], axis="points", errors=[0.1, 0.1, float("inf")]))
    assert _is_small(display.intervals(["a", "b"], [1.0, 2.0], [nan, 0.1], axis="points"))
    gaps = display.scatter([1.0, nan, 3.0], [1.0, 2.0, 3.0], x="x", y="y", errors=[0.1, 0.1, 0.1])
    assert _is_small(gaps)
    assert gaps != display.scatter([nan], [2.0], x="x", y="y", errors=[0.1])
    without = display.lines({"one": ([1.0, 3.0], [1.0, 2.0])}, x="slots", y="share")
    missing: list[float] = [1.0, None, 2.0]  # type: ignore[list-item]
    assert display.lines({"one": ([1.0, 2.0, 3.0], missing)}, x="slots", y="share") == without
