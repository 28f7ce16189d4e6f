"""Attacks by texts that were made to score: the guard lets none of them be bought, and hardly touches honest ones."""

import numpy as np
import pytest

from benchmarks.attacks import gains
from crowd_assets.forum.comments import write_comments
from crowd_assets.simulation.attacks import texts


@pytest.mark.parametrize("name", texts.TEXT_ATTACKS)
def test_texts_made_to_score_are_not_bought_and_without_the_guard_they_are(name: str) -> None:
    assert gains(name, "as_shipped", 3, 0).gain[2] < 0
    assert gains(name, "plain", 3, 0).gain[1] > 0.3, "the control"


def test_the_guard_flags_fewer_than_one_in_two_hundred_honest_texts() -> None:
    written = write_comments(1_000, np.random.default_rng(3))
    assert texts.the_forum().outside([each.response for each in written]).mean() <= 0.005
