"""What the tests of auctions share: rules by name, and the most that anybody gains by misreporting."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.baselines import (
    fixed_price,
    pay_as_bid,
    random_purchase,
    uniform_price,
    vickrey_feedback,
)
from crowd_assets.mechanisms.auctions.budget import constant_factor_share, proportional_share
from crowd_assets.mechanisms.auctions.money import Purchase

seeds = st.integers(0, 2**32 - 1)


Money = NDArray[np.int64]


def gains_by_misreporting(
    outcome: Callable[[Money], tuple[NDArray[np.bool_], Money]], costs: Money, highest: int
) -> int:
    """The most any single bidder with these true costs gains by asking another price from 0 to
    ``highest``."""
    awarded, payments = outcome(costs)
    truthful = np.where(awarded, payments - costs, 0)
    best = 0
    for bidder in range(costs.size):
        for asked in range(highest + 1):
            asked_prices = costs.copy()
            asked_prices[bidder] = asked
            awarded, payments = outcome(asked_prices)
            utility = int(payments[bidder] - costs[bidder]) if awarded[bidder] else 0
            best = max(best, utility - int(truthful[bidder]))
    return best


Rule = Callable[[Money, Money, int, Money], Purchase]
"""Values, asked prices, budget (or reserve) and tie-break to a purchase."""


TRUTHFUL: dict[str, Rule] = {
    "uniform_price": lambda v, b, money, ties: uniform_price(b, 2, reserve=money // 3, tie_break=ties),
    "proportional_share": lambda v, b, money, ties: proportional_share(v, b, budget=money, tie_break=ties),
    "constant_factor_share": lambda v, b, money, ties: constant_factor_share(v, b, budget=money, tie_break=ties),
    "fixed_price": lambda v, b, money, ties: fixed_price(b, price=money // 4, budget=money, tie_break=ties),
}


NOT_TRUTHFUL: dict[str, Rule] = {
    "pay_as_bid": lambda v, b, money, ties: pay_as_bid(v, b, 2, tie_break=ties),
    "vickrey_feedback": lambda v, b, money, ties: vickrey_feedback(b, tie_break=ties),
    "random_purchase": lambda v, b, money, ties: random_purchase(b, budget=money, tie_break=ties),
}


def most_gained(rule: Rule, seed: int, bids: int) -> int:
    rng = np.random.default_rng(seed)
    values, costs = rng.integers(0, 9, bids), rng.integers(0, 9, bids)
    money, ties = int(rng.integers(0, 25)), rng.permutation(bids)

    def outcome(asked: Money) -> tuple[NDArray[np.bool_], Money]:
        purchase = rule(values, asked, money, ties)
        return purchase.awarded, purchase.payments

    return gains_by_misreporting(outcome, costs, 27)
