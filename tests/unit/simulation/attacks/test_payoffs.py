"""Payoffs: what of the points of epochs an attacker keeps in the end."""

import numpy as np
import pytest

from crowd_assets.simulation.attacks import payoffs as attacks


def test_what_is_kept_in_the_end() -> None:
    earned = np.array([2.0, -1.0, 3.0])
    assert attacks.kept(earned, 0.0) == 4.0
    assert attacks.kept(earned, 2.5) == 1.5
    assert attacks.kept(earned, 9.0) == 0.0
    assert attacks.kept(np.array([2.0, 2.0]), 0.0, 0.5) == pytest.approx(2.0)
    found_half_the_time = (
        0.5 * 0.0 + 0.25 * 2.0 + 0.5 * 0.5 * 0.0
    )  # never found: the second epoch; found first: a new deposit
    assert attacks.kept(np.array([2.0, 2.0]), 2.0, 0.5) == pytest.approx(found_half_the_time)
