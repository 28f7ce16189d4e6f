"""Purchases within a budget: truthful, individually rational, and their thresholds exact, checked by letting bidders misreport."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.budget import _Knapsack, constant_factor_share, proportional_share
from crowd_assets.mechanisms.auctions.lots import clear_lots, scoring_vcg
from crowd_assets.mechanisms.auctions.money import Purchase
from tests.unit.mechanisms.auctions.bidders import NOT_TRUTHFUL, TRUTHFUL, Money, most_gained, seeds


@pytest.mark.parametrize("name", TRUTHFUL)
@settings(max_examples=60)
@given(seed=seeds, bids=st.integers(1, 6))
def test_rules_that_claim_it_are_truthful(name: str, seed: int, bids: int) -> None:
    assert most_gained(TRUTHFUL[name], seed, bids) == 0


@pytest.mark.parametrize("name", ["clear_lots", "scoring_vcg", *TRUTHFUL])
@given(seed=seeds, bids=st.integers(1, 7))
def test_payments_are_thresholds_to_the_last_quantum(name: str, seed: int, bids: int) -> None:
    """A winner still wins one quantum below its payment and no longer wins one quantum above it."""
    rng = np.random.default_rng(seed)
    scale = int(rng.choice([9, 400]))
    values, asked, ties = rng.integers(0, scale, bids), rng.integers(0, scale, bids), rng.permutation(bids)
    lot, budget = rng.integers(0, 2, bids), int(rng.integers(1, 3 * scale))

    def outcome(asked: Money) -> tuple[NDArray[np.bool_], Money]:
        if name == "scoring_vcg":
            alone = scoring_vcg(values, asked, 2, tie_break=ties)
            return alone.awarded, alone.payments
        if name == "clear_lots":
            lots = clear_lots(lot, values, asked, budget=budget, rng=np.random.default_rng(seed))
            return lots.awarded, lots.payments
        purchase = TRUTHFUL[name](values, asked, budget, ties)
        return purchase.awarded, purchase.payments

    awarded, payments = outcome(asked)
    for winner in np.flatnonzero(awarded):
        for change, wins in ((-1, True), (1, False)):
            if payments[winner] + change >= 0:
                moved = asked.copy()
                moved[winner] = payments[winner] + change
                assert outcome(moved)[0][winner] == wins


@pytest.mark.parametrize("name", NOT_TRUTHFUL)
def test_rules_that_do_not_claim_it_fail_the_truthfulness_test(name: str) -> None:
    assert max(most_gained(NOT_TRUTHFUL[name], seed, 4) for seed in range(20)) > 0


@pytest.mark.parametrize("name", [*TRUTHFUL, "random_purchase"])
@given(seed=seeds, bids=st.integers(0, 8))
def test_winners_get_what_they_asked_and_the_budget_holds(name: str, seed: int, bids: int) -> None:
    rng = np.random.default_rng(seed)
    values, asked = rng.integers(0, 10**12, bids), rng.integers(0, 10**12, bids)
    budget, ties = int(rng.integers(0, 3 * 10**12)), rng.permutation(bids)
    purchase = {**TRUTHFUL, **NOT_TRUTHFUL}[name](values, asked, budget, ties)
    assert (purchase.payments[purchase.awarded] >= asked[purchase.awarded]).all()
    assert not purchase.payments[~purchase.awarded].any()
    assert purchase.spent == purchase.payments.sum() <= budget


def test_paying_by_the_sellers_claim_makes_over_claiming_pay() -> None:
    """The control for values that are verified by the buyer: the highest claimed quality wins."""
    costs, ties = np.array([3, 3, 3]), np.arange(3)
    honest = scoring_vcg(np.array([5, 6, 7]), costs, 1, tie_break=ties)
    boastful = scoring_vcg(np.array([9, 6, 7]), costs, 1, tie_break=ties)
    assert not honest.awarded[0]
    assert boastful.payments[0] - costs[0] > 0


def test_without_its_own_cap_the_constant_factor_rule_is_not_truthful() -> None:
    """A winner beside the dearest item gains by asking more than the price at which the branch turns."""

    def uncapped(values: Money, asked: Money, money: int, ties: Money) -> Purchase:
        capped = constant_factor_share(values, asked, budget=money, tie_break=ties)
        share = proportional_share(values, asked, budget=money, tie_break=ties)
        return share if np.array_equal(capped.awarded, share.awarded) else capped

    assert max(most_gained(uncapped, seed, 3) for seed in range(20)) > 0


@settings(max_examples=80)
@given(seed=seeds, bids=st.integers(1, 7))
def test_constant_factor_rule_reaches_its_share_of_the_best_purchase(seed: int, bids: int) -> None:
    rng = np.random.default_rng(seed)
    values, asked, budget = rng.integers(1, 40, bids), rng.integers(0, 30, bids), int(rng.integers(1, 60))
    purchase = constant_factor_share(values, asked, budget=budget, tie_break=rng.permutation(bids))
    subsets = (np.arange(1 << bids)[:, None] >> np.arange(bids) & 1).astype(bool)
    best = max(int(values[s].sum()) for s in subsets if asked[s].sum() <= budget)
    assert values[purchase.awarded].sum() * (2 + 2**0.5) >= best * (1 - 1e-6)


@given(seed=seeds, bids=st.integers(2, 7))
def test_fractional_knapsack_with_one_price_changed_is_the_greedy_fill(seed: int, bids: int) -> None:
    rng = np.random.default_rng(seed)
    values, prices = rng.integers(1, 20, bids).tolist(), rng.integers(0, 20, bids).tolist()
    changed, price, budget = int(rng.integers(bids)), int(rng.integers(0, 20)), int(rng.integers(0, 50))
    by_rate = sorted(range(bids), key=lambda bid: Fraction(prices[bid], values[bid]))
    found = _Knapsack(by_rate, values, prices).worth(budget, changed, price)
    prices[changed] = price
    left, expected = budget, Fraction(0)
    for bid in sorted(range(bids), key=lambda bid: Fraction(prices[bid], values[bid])):
        share = min(Fraction(1), Fraction(left, prices[bid])) if prices[bid] else Fraction(1)
        expected, left = expected + share * values[bid], left - share * prices[bid]
    assert found == expected


def test_proportional_share_by_hand() -> None:
    # Rates 1, 2, 5: of a budget of 12, rates up to 12 / 5 fit the first two, and 5 stops the third.
    purchase = proportional_share(np.array([3, 2, 4]), np.array([3, 4, 20]), budget=12, tie_break=np.arange(3))
    assert purchase.awarded.tolist() == [True, True, False]
    assert purchase.payments.tolist() == [7, 4, 0]


def test_rates_that_floats_cannot_tell_apart_are_told_apart() -> None:
    big = 10**17
    values, asked = np.array([big, big + 1]), np.array([big - 1, big])
    purchase = proportional_share(values, asked, budget=big, tie_break=np.array([1, 0]))
    assert purchase.awarded.tolist() == [True, False]
