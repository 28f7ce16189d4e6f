"""Baselines: what they pay by hand, and that they fail the test of truthfulness which they do not claim to pass."""

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.baselines import (
    uniform_price,
    vickrey_feedback,
)
from crowd_assets.mechanisms.auctions.lots import scoring_vcg
from tests.unit.mechanisms.auctions.bidders import Money, gains_by_misreporting


def test_paying_what_was_asked_fails_the_truthfulness_test() -> None:
    values, costs = np.array([9, 9, 9]), np.array([1, 2, 6])

    def outcome(asked: Money) -> tuple[NDArray[np.bool_], Money]:
        clearing = scoring_vcg(values, asked, 2, tie_break=np.arange(3))
        return clearing.awarded, np.where(clearing.awarded, asked, 0)

    assert gains_by_misreporting(outcome, costs, 9) > 0


def test_uniform_price_by_hand() -> None:
    asked = np.array([5, 1, 3, 9])
    assert uniform_price(asked, 2, reserve=8, tie_break=np.arange(4)).payments.tolist() == [0, 5, 5, 0]
    assert uniform_price(asked, 3, reserve=4, tie_break=np.arange(4)).payments.tolist() == [0, 4, 4, 0]


def test_vickrey_feedback_takes_the_two_highest_at_the_second_bid() -> None:
    purchase = vickrey_feedback(np.array([4, 9, 7]), tie_break=np.arange(3))
    assert purchase.payments.tolist() == [0, 7, 7]
    assert vickrey_feedback(np.array([4]), tie_break=np.arange(1)).spent == 0
