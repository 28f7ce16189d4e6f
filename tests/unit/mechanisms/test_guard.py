"""The guard: texts that were made to score are outside, clean ones are not, and a model that repeats itself falls behind."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.guard import (
    TAIL,
    WINDOW,
    LikelihoodRange,
    Limits,
    Writing,
    calibrated,
    falls_behind,
    likelihoods,
    writing,
)

BOUNDS = LikelihoodRange(-3.0, -0.5, -5.0)


def test_of_further_clean_texts_hardly_any_is_outside() -> None:
    rng = np.random.default_rng(0)

    def clean(count: int) -> list[np.ndarray]:
        return [-rng.gamma(2.0, 0.5, int(rng.integers(5, 40))) for _ in range(count)]

    bounds = calibrated(likelihoods(clean(2_000)))
    assert bounds.outside(likelihoods(clean(10_000))).mean() <= 0.005
    assert TAIL * 3 < 0.005


def test_the_worst_window_of_tokens_shows_a_hostile_sentence_before_a_likely_text() -> None:
    salad = np.concatenate([np.full(WINDOW, -9.0), np.full(60, -1.0)])
    found = likelihoods([salad, np.full(60, -1.0), np.full(3, -4.0), np.full(60, -0.1), np.zeros(0)])
    assert found.mean[0] == pytest.approx((-9.0 * WINDOW - 60) / (WINDOW + 60))
    assert found.worst[:3] == pytest.approx([-9.0, -1.0, -4.0])
    assert BOUNDS.outside(found).tolist() == [True, False, True, True, True]
    assert [BOUNDS.why(found, index).split(" ")[0] for index in range(4)] == ["5", "", "-4.00", "-0.10"]


@given(seed=st.integers(0, 2**32 - 1))
def test_a_text_like_the_references_is_within_their_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = likelihoods([-rng.gamma(2.0, 0.5, int(rng.integers(1, 30))) for _ in range(30)])
    assert not calibrated(found).outside(found).any()


def test_what_cannot_be_calibrated_or_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="20 reference texts"):
        calibrated(likelihoods([np.zeros(3)] * 19))
    with pytest.raises(ValueError, match="tail"):
        calibrated(likelihoods([np.zeros(3)] * 30), tail=0.0)
    with pytest.raises(ValueError, match="text 1: expected finite"):
        likelihoods([np.zeros(2), np.array([np.nan])])
    with pytest.raises(ValueError, match="one verdict"):
        writing(["a"], np.zeros(2, dtype=bool))


def test_who_writes_one_sentence_copies_or_salad_falls_behind_who_varies_does_not() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(400)]

    def varied(count: int) -> list[str]:
        return [" ".join(rng.choice(words, 12)) for _ in range(count)]

    inside = np.zeros(60, dtype=bool)
    base = writing(varied(60), inside)
    honest = varied(60)
    assert falls_behind(writing(honest, inside, varied(60)), base, Limits()) == ""
    one = writing(["thank you for all of this"] * 60, inside)
    assert "distinct" in falls_behind(one, base, Limits())
    assert "copied" in falls_behind(writing(honest, inside, honest), base, Limits())
    assert "unlike" in falls_behind(writing(honest, ~inside), base, Limits())
    assert writing(["Thanks"] * 60, inside, ["thanks"]).copied == 1.0
    alike = replace(base, overlap=1.0)
    assert "share" in falls_behind(alike, base, Limits())
    with pytest.raises(ValueError, match="one size"):
        falls_behind(replace(base, texts=59), base, Limits())


def test_a_base_that_is_outside_itself_is_what_candidates_are_held_against() -> None:
    base = Writing(outside=0.4, distinct=0.7, overlap=0.4, copied=0.0, texts=256)
    assert falls_behind(replace(base, outside=0.55), base, Limits()) == ""
    assert falls_behind(replace(base, outside=0.62), base, Limits()) != ""
    few = replace(base, texts=16)
    assert falls_behind(replace(few, outside=0.7), few, Limits()) == "", "so few texts cannot tell"
