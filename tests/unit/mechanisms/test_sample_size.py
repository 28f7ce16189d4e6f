"""How much more is to be asked: more for a narrower interval, and for a closer race."""

import math

import pytest
from scipy.stats import norm

from crowd_assets.mechanisms.sample_size import (
    comparisons_until_decided,
    comparisons_until_margin,
    items_until_interval,
)


def test_power_tells_how_much_more_is_to_be_asked() -> None:
    assert items_until_interval(0.1, 100, 0.05) == 300
    assert items_until_interval(0.04, 100, 0.05) == 0
    assert comparisons_until_margin(0.5, 0.05) == 385  # the pollster's number
    needed = comparisons_until_decided(0.6)
    assert needed is not None
    # With that many comparisons the test of size 5 % tells 0.6 from 1/2 four times in five.
    shift = (0.1 * math.sqrt(needed) - norm.ppf(0.975) / 2) / math.sqrt(0.6 * 0.4)
    assert norm.cdf(shift) == pytest.approx(0.8, abs=0.01)
    assert comparisons_until_decided(0.4) == needed
    assert comparisons_until_decided(0.5) is None
