"""Money saved is read off where both curves reach an accuracy."""

import numpy as np
import pytest

from crowd_assets.experiments.procurement import _saved


def test_money_saved_is_read_off_where_both_curves_reach_an_accuracy() -> None:
    money = np.array([1.0, 2.0, 4.0, 8.0])
    theirs = np.array([0.5, 0.6, 0.7, 0.8])
    assert _saved(np.array([0.6, 0.7, 0.8, 0.9]), theirs, money) == pytest.approx(0.5)
    assert _saved(theirs, theirs, money) == pytest.approx(0.0)
    assert np.isnan(_saved(theirs + 1, theirs, money))
