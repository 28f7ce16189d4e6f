"""Attacks on draws: nobody guesses what a key draws, and where no key draws anybody does."""

import pytest

from benchmarks.attacks import gains
from crowd_assets.simulation.attacks import draws


@pytest.mark.parametrize("name", draws.DRAW_ATTACKS)
def test_nobody_guesses_what_a_key_draws_nor_writes_the_exam_and_without_either_they_do(name: str) -> None:
    assert gains(name, "as_shipped", 12, 0).gain[1] <= 0
    assert gains(name, "plain", 3, 0).gain[1] > 1, "the control"
