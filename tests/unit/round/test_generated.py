"""Comparisons of what the base and its successor wrote."""

from pathlib import Path

import polars as pl

from crowd_assets.round.generated import generated_tasks
from resources.feedback.generated import generated_answers
from tests.unit.round.small_home import SmallHome

WRITTEN = pl.DataFrame(
    {
        "prompt": [f"q{at}" for at in range(6)],
        "base": ["same", "b1", "b2", "b3", "b4", "same"],
        "winner": ["same", "w1", "w2", "w3", "w4", "same"],
    }
)


def test_as_many_prompts_as_are_asked_for_are_drawn_where_the_answers_differ(tmp_path: Path) -> None:
    home = SmallHome(tmp_path, generated_pairs=3)
    assert generated_tasks(home.round, home.settings, home.frames).is_empty(), "nothing was written"
    home.frames.write("generations", home.round.round_id, WRITTEN, settled=False)
    drawn = generated_tasks(home.round, home.settings, home.frames)
    assert drawn.height == drawn["comparison_id"].n_unique() == 3
    texts = generated_answers([*drawn["event_id_a"], *drawn["event_id_b"]], home.frames)
    shown = drawn.join(texts, left_on="event_id_a", right_on="event_id").join(
        texts, left_on="event_id_b", right_on="event_id", suffix="_b"
    )
    for prompt, one, other in shown.select("prompt", "response", "response_b").iter_rows():
        assert {one, other} == {f"b{prompt[1]}", f"w{prompt[1]}"}
    everything = home.settings.model_copy(update={"generated_pairs": 50})
    assert generated_tasks(home.round, everything, home.frames).height == 4
    none = home.settings.model_copy(update={"generated_pairs": 0})
    assert generated_tasks(home.round, none, home.frames).is_empty()


def test_the_aligned_model_takes_the_place_of_the_winner_and_sides_are_drawn(tmp_path: Path) -> None:
    home = SmallHome(tmp_path, generated_pairs=40)
    written = pl.DataFrame({"prompt": ["q"] * 40, "base": ["b"] * 40, "winner": ["w"] * 40})
    home.frames.write("generations", home.round.round_id, written, settled=False)
    home.frames.write("aligned_generations", home.round.round_id, pl.DataFrame({"aligned": ["a"] * 40}), settled=False)
    left = generated_tasks(home.round, home.settings, home.frames)["event_id_a"].str.split(" ").list.get(1)
    assert set(left) == {"base", "aligned"}
    assert 8 < (left == "base").sum() < 32
