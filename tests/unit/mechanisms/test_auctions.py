"""Auctions: truthful, individually rational and within budget, checked by letting bidders misreport."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.baselines import (
    fixed_price,
    pay_as_bid,
    random_purchase,
    uniform_price,
    vickrey_feedback,
)
from crowd_assets.mechanisms.auctions.budget import _Knapsack, constant_factor_share, proportional_share
from crowd_assets.mechanisms.auctions.lots import BUDGET_PASSES, Clearing, clear_lots, scoring_vcg
from crowd_assets.mechanisms.auctions.money import Purchase, from_quanta, to_quanta

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


@given(st.integers(0, 10**18))
def test_quanta_and_credits_convert_both_ways_exactly(quanta: int) -> None:
    assert to_quanta(from_quanta(quanta)) == quanta
    assert from_quanta(-quanta) == -from_quanta(quanta)


def test_conversion_by_hand() -> None:
    assert to_quanta(Decimal("1.25")) == 1_250_000
    assert str(from_quanta(1)) == "0.000001"
    assert to_quanta(Decimal("1E+3")) == 10**9


@pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("-1"), Decimal("1e-7"), Decimal("Infinity"), 1.0])
def test_what_is_no_money_is_refused(amount: Decimal) -> None:
    with pytest.raises(ValueError, match=r"Decimal|negative|finer"):
        to_quanta(amount)


@given(seed=seeds, bids=st.integers(0, 7), winners=st.integers(1, 3))
def test_scoring_vcg_takes_the_best_scores_and_never_pays_below_the_asked_price(
    seed: int, bids: int, winners: int
) -> None:
    rng = np.random.default_rng(seed)
    values, asked = rng.integers(0, 12, bids), rng.integers(0, 12, bids)
    clearing = scoring_vcg(values, asked, winners, tie_break=rng.permutation(bids))
    scores = values - asked
    best = np.sort(scores)[::-1]
    assert np.array_equal(clearing.scores, scores)
    assert clearing.awarded.sum() == min(winners, (scores > 0).sum())
    assert scores[clearing.awarded].sum() == np.maximum(best, 0)[:winners].sum()
    assert clearing.cutoff == (max(best[winners], 0) if bids > winners else 0)
    assert (clearing.payments[clearing.awarded] >= asked[clearing.awarded]).all()
    assert (clearing.payments <= values).all()
    assert not clearing.payments[~clearing.awarded].any()


@settings(max_examples=60)
@given(seed=seeds, bids=st.integers(1, 6), winners=st.integers(1, 3))
def test_scoring_vcg_is_truthful(seed: int, bids: int, winners: int) -> None:
    rng = np.random.default_rng(seed)
    values, costs, tie_break = rng.integers(0, 8, bids), rng.integers(0, 8, bids), rng.permutation(bids)

    def outcome(asked: Money) -> tuple[NDArray[np.bool_], Money]:
        clearing = scoring_vcg(values, asked, winners, tie_break=tie_break)
        return clearing.awarded, clearing.payments

    assert gains_by_misreporting(outcome, costs, 9) == 0


def cleared(seed: int, bids: int, winners: int) -> tuple[Money, Money, Money, int, Clearing]:
    rng = np.random.default_rng(seed)
    lot, values = rng.integers(0, 4, bids), rng.integers(0, rng.choice([3, 9]), bids)
    asked, budget = rng.integers(0, rng.choice([2, 9]), bids), int(rng.integers(0, rng.choice([12, 40])))
    clearing = clear_lots(lot, values, asked, winners_per_lot=winners, budget=budget, rng=np.random.default_rng(seed))
    return lot, values, asked, budget, clearing


@settings(max_examples=300)
@given(seed=seeds, bids=st.integers(0, 20), winners=st.integers(1, 3))
def test_lots_are_cleared_as_a_loop_over_lots_would(seed: int, bids: int, winners: int) -> None:
    lot, values, asked, budget, clearing = cleared(seed, bids, winners)
    left, spent = budget, 0
    for each in clearing.order:
        members = np.flatnonzero(lot == each)
        highest = np.sort(values[members][values[members] > 0])[::-1][:winners]
        taken = highest.size == winners and highest.sum() <= left
        left -= highest.sum() if taken else 0
        ranks = np.argsort(np.argsort(clearing.tie_break[members]))
        alone = scoring_vcg(values[members], asked[members], winners, tie_break=ranks)
        made = taken and alone.awarded.sum() == winners
        assert clearing.lot_cleared[each] == made
        assert clearing.cutoff[each] == (alone.cutoff if made else 0)
        assert np.array_equal(clearing.awarded[members], alone.awarded & made)
        assert np.array_equal(clearing.payments[members], alone.payments * made)
        spent += int(clearing.payments[members].sum())
    assert clearing.spent == spent <= budget
    assert (clearing.payments[clearing.awarded] >= asked[clearing.awarded]).all()
    assert set(np.bincount(lot[clearing.awarded])) <= {0, winners}


@settings(max_examples=60)
@given(seed=seeds, bids=st.integers(1, 9), winners=st.integers(1, 3))
def test_lots_of_exactly_k_awards_or_none_are_truthful(seed: int, bids: int, winners: int) -> None:
    rng = np.random.default_rng(seed)
    lot, values, costs = rng.integers(0, 3, bids), rng.integers(0, 8, bids), rng.integers(0, 8, bids)
    budget = int(rng.integers(0, 40))

    def outcome(asked: Money) -> tuple[NDArray[np.bool_], Money]:
        clearing = clear_lots(
            lot, values, asked, winners_per_lot=winners, budget=budget, rng=np.random.default_rng(seed)
        )
        return clearing.awarded, clearing.payments

    assert gains_by_misreporting(outcome, costs, 9) == 0


def test_paying_what_was_asked_fails_the_truthfulness_test() -> None:
    values, costs = np.array([9, 9, 9]), np.array([1, 2, 6])

    def outcome(asked: Money) -> tuple[NDArray[np.bool_], Money]:
        clearing = scoring_vcg(values, asked, 2, tie_break=np.arange(3))
        return clearing.awarded, np.where(clearing.awarded, asked, 0)

    assert gains_by_misreporting(outcome, costs, 9) > 0


@given(seed=seeds)
def test_asked_prices_never_decide_which_lots_are_taken(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lot, values = rng.integers(0, 6, 30), rng.integers(1, 9, 30)
    free = clear_lots(lot, values, np.zeros(30, dtype=int), budget=50, rng=np.random.default_rng(seed))
    asked = rng.integers(0, 9, 30)
    priced = clear_lots(lot, values, asked, budget=50, rng=np.random.default_rng(seed))
    assert not (priced.lot_cleared & ~free.lot_cleared).any()
    ample = clear_lots(lot, values, asked, budget=10**6, rng=np.random.default_rng(seed))
    assert np.array_equal(priced.lot_cleared, ample.lot_cleared & free.lot_cleared)


def test_a_lot_that_does_not_fit_is_passed_over_and_later_ones_are_not() -> None:
    costs = np.array([50, 40, 30, 20, 5, 1])
    lot = np.repeat(np.arange(6), 2)
    values = np.repeat(costs, 2)
    for seed in range(20):
        clearing = clear_lots(lot, values, values - 1, budget=100, rng=np.random.default_rng(seed))
        left = 100
        for each in clearing.order:
            assert clearing.lot_cleared[each] == (2 * costs[each] <= left)
            left -= 2 * costs[each] * clearing.lot_cleared[each]
    assert BUDGET_PASSES >= 6


def test_a_million_bids_clear_in_seconds() -> None:
    rng = np.random.default_rng(1)
    bids = 1_000_000
    lot, values = rng.integers(0, bids // 4, bids), rng.integers(0, 10**6, bids)
    clearing = clear_lots(lot, values, rng.integers(0, 10**6, bids), budget=10**10, rng=rng)
    assert 0 < clearing.spent <= 10**10


def test_bids_that_make_no_sense_are_refused() -> None:
    one = np.array([1])
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="never float"):
        scoring_vcg(np.array([1.0]), one, 1, tie_break=np.array([0]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        scoring_vcg(-one, one, 1, tie_break=np.array([0]))
    with pytest.raises(ValueError, match="permutation"):
        scoring_vcg(one, one, 1, tie_break=one)
    with pytest.raises(ValueError, match="winners"):
        scoring_vcg(one, one, 0, tie_break=np.array([0]))
    with pytest.raises(ValueError, match="sum to more"):
        clear_lots(np.zeros(2, dtype=int), np.full(2, 1 << 61), np.zeros(2, dtype=int), budget=1, rng=rng)
    with pytest.raises(ValueError, match="budget"):
        clear_lots(one, one, one, budget=-1, rng=rng)
    with pytest.raises(ValueError, match="one row a bid"):
        clear_lots(one, one, np.array([1, 2]), budget=1, rng=rng)


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


def test_uniform_price_by_hand() -> None:
    asked = np.array([5, 1, 3, 9])
    assert uniform_price(asked, 2, reserve=8, tie_break=np.arange(4)).payments.tolist() == [0, 5, 5, 0]
    assert uniform_price(asked, 3, reserve=4, tie_break=np.arange(4)).payments.tolist() == [0, 4, 4, 0]


def test_vickrey_feedback_takes_the_two_highest_at_the_second_bid() -> None:
    purchase = vickrey_feedback(np.array([4, 9, 7]), tie_break=np.arange(3))
    assert purchase.payments.tolist() == [0, 7, 7]
    assert vickrey_feedback(np.array([4]), tie_break=np.arange(1)).spent == 0


def test_rates_that_floats_cannot_tell_apart_are_told_apart() -> None:
    big = 10**17
    values, asked = np.array([big, big + 1]), np.array([big - 1, big])
    purchase = proportional_share(values, asked, budget=big, tie_break=np.array([1, 0]))
    assert purchase.awarded.tolist() == [True, False]
