"""Markets of judgements: nobody overspends, nobody is paid below cost, and shading pays where it may."""

import os

import numpy as np
import pytest

from crowd_assets.experiments.study import reference_folder
from crowd_assets.simulation.market import (
    LABELS,
    MECHANISMS,
    Market,
    equilibrium_shading,
    greedy_by_rate,
    learn,
    population,
    purchase,
    real_workers,
)


@pytest.fixture(scope="module")
def sellers() -> Market:
    return population("correlated", "", np.random.default_rng(0), size=600)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_no_rule_overspends_or_pays_below_cost(sellers: Market, mechanism: str) -> None:
    rng = np.random.default_rng(1)
    budget = int(0.2 * 80 * sellers.cost.mean())
    learned = learn(sellers, 80, budget, rng)
    for _ in range(5):
        market = sellers.draw(80, rng)
        bought = purchase(mechanism, market, budget, learned, rng)
        assert bought.spent <= budget
        assert bought.awarded.any()
        if mechanism != "vickrey_feedback":  # read as a purchase, it pays the dearest answer the second price
            assert (bought.payments[bought.awarded] >= market.cost[bought.awarded]).all()


def test_better_sellers_cost_more_only_where_the_world_says_so() -> None:
    rng = np.random.default_rng(2)
    tied, free = (population(world, "", rng, size=3000) for world in ("correlated", "independent"))
    assert np.corrcoef(tied.cost, tied.quality)[0, 1] > 0.3
    assert abs(np.corrcoef(free.cost, free.quality)[0, 1]) < 0.1
    assert np.corrcoef(free.value, free.quality)[0, 1] > 0.5


def test_sellers_who_are_paid_as_they_bid_ask_more_than_their_cost_and_gain_by_it(sellers: Market) -> None:
    rng = np.random.default_rng(3)
    markets = [sellers.draw(80, rng) for _ in range(20)]
    budget = int(0.2 * 80 * sellers.cost.mean())
    grid, asked = equilibrium_shading(markets, budget)
    assert (asked >= grid - 1e-9).all()
    gains = []
    for market in markets:
        rates = np.interp(market.cost / np.maximum(market.value, 1), grid, asked)
        prices = np.maximum(np.rint(rates * market.value).astype(np.int64), market.cost)
        truthful, shaded = (
            greedy_by_rate(market.value, market.cost, budget),
            greedy_by_rate(market.value, prices, budget),
        )
        assert truthful.spent == market.cost[truthful.awarded].sum()
        gains.append(shaded.spent - market.cost[shaded.awarded].sum())
    assert np.mean(gains) > 0


def test_real_workers_have_prices_and_two_records_each() -> None:
    folder = reference_folder()
    if not os.path.exists(folder / LABELS):
        pytest.skip(f"{folder / LABELS} is missing: set CROWD_REFERENCE_DATA (see docs/experiments.md)")
    seconds, verified, accuracy = real_workers(str(folder))
    assert seconds.shape == verified.shape == accuracy.shape
    assert seconds.min() > 0
    assert verified.std() < accuracy.std()  # shrunk towards the mean of all
    assert np.corrcoef(verified, accuracy)[0, 1] > 0.3
