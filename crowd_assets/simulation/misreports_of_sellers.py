"""The best lie that sellers find, against others who tell the truth.

Belongs here: random markets, what a seller earns under each auction, the search. Does not belong here: the auctions themselves (see
``mechanisms.auctions``), labelers (see ``misreports``), figures (see ``experiments.truthfulness``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions import baselines, budget, money
from crowd_assets.mechanisms.auctions import lots as auction
from crowd_assets.mechanisms.auctions.base import WHOLE, Offers, Terms
from crowd_assets.mechanisms.auctions.table import AUCTIONS
from crowd_assets.simulation.misreports import REFINEMENTS
from resources.settings.settings import Settings

Money = NDArray[np.int64]


SCALE = 1_000_000


LEAST_COST = SCALE // 20


PRICES = 60


@dataclass(frozen=True, slots=True)
class Market:
    """True ``values`` and ``costs`` (n,) in quanta, ``claims`` (n,) of value (truthful unless changed), the terms."""

    values: Money
    costs: Money
    winners: int
    reserve: int
    budget: int
    tie_break: Money
    lot: Money
    seed: int


LOTS = 2


SHIPPED = Settings()


UNSELLABLE = 1_000 * SCALE


Outcome = tuple[NDArray[np.bool_], Money]


def seller_gains(mechanism: str, instances: int, seed: int, batch: int) -> list[float]:
    """Gain of the best misreport that one seller finds in each instance, as a share of its true cost.

    A seller asks any price, and where the mechanism reads what it claims its answer is worth, claims any value as well,
    against others who ask their costs and claim true values. Money in whole quanta of 1e-6: gains are exact.
    """
    outcome, reads_claims = SELLERS[mechanism]
    rng = np.random.default_rng([seed, batch, sorted(SELLERS).index(mechanism)])
    gains = []
    for _ in range(instances):
        bids = int(rng.integers(3, 9))
        values, costs = rng.integers(SCALE // 10, SCALE, bids), rng.integers(LEAST_COST, SCALE, bids)
        market = Market(
            values=values,
            costs=costs,
            winners=int(rng.integers(1, 4)),
            reserve=int(rng.integers(SCALE // 4, SCALE)),
            budget=int(costs.sum() * rng.uniform(0.1, 0.9)),
            tie_break=rng.permutation(bids),
            lot=rng.integers(0, 2, bids),
            seed=int(rng.integers(1 << 31)),
        )
        seller = int(rng.integers(bids))
        if mechanism == "as_shipped":
            market = replace(market, costs=costs // 4)  # answers that cost as much as they are worth are not sold
        gain = _best_bid(partial(outcome, market), market, seller, reads_claims, rng)
        if mechanism == "as_shipped":
            gain = max(gain, _best_company(market, seller, rng))
        gains.append(gain / int(market.costs[seller]))
    return gains


def _shipped(market: Market, asked: Money, company: Sequence[tuple[int, int]] = ()) -> Outcome:
    """What a round as shipped buys of published lots, and ``company`` (lot, value): bids of further names at prices that nobody pays."""
    lots, values = np.array(company, dtype=np.int64).reshape(-1, 2).T
    names = np.arange(market.values.size + lots.size, dtype=np.int64)
    published = np.append(np.ones(market.values.size, dtype=bool), lots < LOTS)
    bids = Offers(
        np.append(market.lot, lots)[published],
        names[published],
        np.append(market.values, values)[published],
        np.append(asked, np.full(lots.size, UNSELLABLE))[published],
        np.zeros(int(published.sum()), dtype=np.int64),
        np.arange(LOTS),
    )
    terms = Terms(market.budget, SHIPPED.answers_per_lot, round(SHIPPED.reserve * WHOLE), SCALE)
    found = AUCTIONS[SHIPPED.auction].clear(bids, terms, np.random.default_rng(market.seed))
    own = slice(market.values.size)
    return found.awarded[own], found.payments[own]


def _best_company(market: Market, seller: int, rng: np.random.Generator) -> int:
    """Most quanta that ``seller`` gains by bids of further names in its own lot, in others and in lots that it invents, at its cost or
    another price."""

    def utility(asked: Money, company: Sequence[tuple[int, int]]) -> int:
        awarded, payments = _shipped(market, asked, company)
        return int(payments[seller] - market.costs[seller]) if awarded[seller] else 0

    truthful = best = utility(market.costs, ())
    for _ in range(REFINEMENTS):
        many = int(rng.integers(1, 6))
        company = list(
            zip(rng.integers(LOTS + 1, size=many).tolist(), rng.integers(2 * SCALE, size=many).tolist(), strict=True)
        )
        asked = market.costs.copy()
        if rng.random() < 0.5:
            asked[seller] = int(rng.integers(2 * SCALE))
        best = max(best, utility(asked, company))
    return best - truthful


def _best_bid(
    outcome: Callable[[Money, Money], Outcome],
    market: Market,
    seller: int,
    reads_claims: bool,
    rng: np.random.Generator,
) -> int:
    """Most quanta that ``seller`` gains by a price, a claim or both."""
    cost, value = int(market.costs[seller]), int(market.values[seller])

    def utility(price: int, claim: int) -> int:
        asked, claims = market.costs.copy(), market.values.copy()
        asked[seller], claims[seller] = price, claim
        awarded, payments = outcome(claims, asked)
        return int(payments[seller]) - cost if awarded[seller] else 0

    truthful = best = utility(cost, value)
    at = (cost, value)
    for price, claim in _bids_to_try(market, cost, value, reads_claims, rng):
        payoff = utility(price, claim)
        if payoff > best:
            best, at = payoff, (price, claim)
    for width in (SCALE // 10, SCALE // 100, SCALE // 1000, 10, 1):
        for _ in range(REFINEMENTS // 4):
            price = max(int(at[0] + rng.normal(0, width)), 0)
            claim = max(int(at[1] + rng.normal(0, width)), 0) if reads_claims else value
            payoff = utility(price, claim)
            if payoff > best:
                best, at = payoff, (price, claim)
    return best - truthful


def _bids_to_try(
    market: Market, cost: int, value: int, reads_claims: bool, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """A grid, a quantum to either side of every number in sight, and random ones: of prices, claims, and both."""
    landmarks = [*market.costs.tolist(), *market.values.tolist(), market.reserve, market.budget]
    amounts = [*np.linspace(0, 2 * SCALE, PRICES).astype(int).tolist(), *rng.integers(0, 2 * SCALE, PRICES).tolist()]
    amounts += [max(landmark + off, 0) for landmark in landmarks for off in (-1, 0, 1)]
    for amount in amounts:
        yield amount, value
    if reads_claims:
        for amount in amounts:
            yield cost, amount
            yield int(rng.choice(amounts)), amount


def _of(purchase: money.Purchase | auction.Clearing | auction.LotClearing) -> Outcome:
    return purchase.awarded, purchase.payments


def _highest_claim(market: Market, claims: Money, asked: Money) -> Outcome:
    """A posted price for the k highest claims among those who ask no more."""
    accepting = asked <= market.reserve
    best_first = np.lexsort((market.tie_break, -np.where(accepting, claims, -1)))
    awarded = np.zeros(claims.size, dtype=bool)
    awarded[best_first[: market.winners]] = True
    awarded &= accepting
    return awarded, np.where(awarded, market.reserve, 0)


SELLERS: dict[str, tuple[Callable[[Market, Money, Money], Outcome], bool]] = {
    "as_shipped": (lambda m, claims, asked: _shipped(m, asked), False),
    "uniform_price": (
        lambda m, claims, asked: _of(
            baselines.uniform_price(asked, m.winners, reserve=m.reserve, tie_break=m.tie_break)
        ),
        False,
    ),
    "scoring_vcg": (
        lambda m, claims, asked: _of(auction.scoring_vcg(m.values, asked, m.winners, tie_break=m.tie_break)),
        False,
    ),
    "clear_lots": (
        lambda m, claims, asked: _of(
            auction.clear_lots(m.lot, m.values, asked, budget=4 * m.budget, rng=np.random.default_rng(m.seed))
        ),
        False,
    ),
    "proportional_share": (
        lambda m, claims, asked: _of(
            budget.proportional_share(m.values, asked, budget=m.budget, tie_break=m.tie_break)
        ),
        False,
    ),
    "constant_factor_share": (
        lambda m, claims, asked: _of(
            budget.constant_factor_share(m.values, asked, budget=m.budget, tie_break=m.tie_break)
        ),
        False,
    ),
    "fixed_price": (
        lambda m, claims, asked: _of(
            baselines.fixed_price(asked, price=m.reserve, budget=2 * m.budget, tie_break=m.tie_break)
        ),
        False,
    ),
    "vickrey_feedback": (
        lambda m, claims, asked: _of(baselines.vickrey_feedback(asked, tie_break=m.tie_break)),
        False,
    ),
    "pay_as_bid": (
        lambda m, claims, asked: _of(baselines.pay_as_bid(m.values, asked, m.winners, tie_break=m.tie_break)),
        False,
    ),
    "random_purchase": (
        lambda m, claims, asked: _of(baselines.random_purchase(asked, budget=m.budget, tie_break=m.tie_break)),
        False,
    ),
    "highest_claimed_quality": (_highest_claim, True),
    "scoring_vcg_on_claims": (
        lambda m, claims, asked: _of(auction.scoring_vcg(claims, asked, m.winners, tie_break=m.tie_break)),
        True,
    ),
}
"""By mechanism: awards and payments from a market, claims and asked prices; and whether claims are read."""
