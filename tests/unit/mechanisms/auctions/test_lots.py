"""Auctions of lots: truthful, at or above the asked price, and within budget, as a loop over lots has it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.lots import BUDGET_PASSES, Clearing, clear_lots, scoring_vcg
from tests.unit.mechanisms.auctions.bidders import Money, gains_by_misreporting, seeds


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
