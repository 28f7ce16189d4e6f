"""Attacks of sellers: as shipped they gain nothing, where nothing stops them they do."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.attacks import gains
from crowd_assets.mechanisms.auctions.lots import scoring_vcg
from crowd_assets.simulation.attacks import sellers
from tests.unit.simulation.attacks.seeds import SEEDS


def test_as_shipped_neither_further_names_nor_invented_lots_nor_unsellable_bids_gain_and_plain_they_do() -> None:
    for name in (*sellers.LOT_ATTACKS, "sybil_seller"):
        assert gains(name, "as_shipped", SEEDS, 0).gain[0] <= 1e-6
        assert gains(name, "hardened", SEEDS, 0).gain[0] <= 1e-6
    for name in ("invented_lots", "sybil_seller"):
        assert gains(name, "plain", SEEDS, 0).gain[1] > 1, "the control"
    assert gains("blocked_budget", "plain", SEEDS, 0).gain[1] > 0.1, "the control"


def test_a_ring_gains_less_than_a_tenth_as_shipped() -> None:
    assert gains("bid_ring", "as_shipped", 3, 0).gain[0] < 0.1
    assert gains("bid_ring", "plain", 3, 0).gain[0] > 1


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=3, max_size=7),
    st.integers(1, 3),
    st.integers(0, 60),
)
def test_a_ring_gains_at_most_what_the_third_best_answer_leaves_for_each_that_it_would_have_sold(
    offered: list[tuple[int, int]], size: int, least: int
) -> None:
    quality, asked = np.array(offered, dtype=np.int64).T
    values, ring = np.maximum(quality - least, 0), np.arange(size)
    third = np.sort(values - asked)[-3]
    honest = sellers.earned(values, asked, asked, ring)
    sold = int(scoring_vcg(values, asked, 2, tie_break=np.arange(values.size)).awarded[:size].sum())
    assert 0 <= sellers.best_ring(values, asked, ring) - honest <= sold * max(int(third), 0)
