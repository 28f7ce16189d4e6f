"""Markets in which judgements are bought: sellers with costs and qualities, drawn or real, and the rules that buy from them.

Belongs here: who sells, how sellers who are not paid truthfully shade their prices, and what each rule buys for a budget.
Does not belong here: the auctions (see ``crowd_assets.mechanisms.auctions.lots``), training on what was bought.

Money is int64 quanta. A seller's quality is what one of its judgements adds over a coin, max(0, 2 accuracy - 1) in [0, 1];
its value is the same as the buyer verified it, with noise, never the seller's own claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.base import WHOLE, Offers, Terms
from crowd_assets.mechanisms.auctions.baselines import fixed_price, random_purchase, uniform_price, vickrey_feedback
from crowd_assets.mechanisms.auctions.budget import constant_factor_share, proportional_share
from crowd_assets.mechanisms.auctions.lots import clear_lots
from crowd_assets.mechanisms.auctions.money import Purchase
from crowd_assets.mechanisms.auctions.table import AUCTIONS
from resources.settings.settings import Settings

SHIPPED = Settings()
"""The settings of somebody who sets nothing."""
LABELS = "convincing_arguments/labels.parquet"
QUANTA = 1_000_000  # of a credit; in the world of real workers a credit pays one second
SELLERS = 200
LOTS = 25
LEAST_JUDGEMENTS = 20
PRIOR = 8.0  # judgements that a verified accuracy is shrunk by, towards the mean of all
WORLDS = ("independent", "correlated", "real")
MECHANISMS = (
    "as_shipped",
    "proportional_share",
    "constant_factor_share",
    "uniform_price",
    "scoring_vcg",
    "fixed_price_best",
    "fixed_price_median_cost",
    "pay_as_bid",
    "random_purchase",
    "vickrey_feedback",
)
DRAWS_OF_THE_MARKET = 40  # markets that posted prices, reserves and shading are learned on


@dataclass(frozen=True, slots=True)
class Market:
    """Sellers of one judgement each: ``cost`` (n,) quanta, ``quality`` (n,) in [0, 1], ``value`` (n,), the verified quality
    in millionths."""

    cost: NDArray[np.int64]
    quality: NDArray[np.float64]
    value: NDArray[np.int64]

    def draw(self, count: int, rng: np.random.Generator) -> "Market":
        """``count`` of the sellers, with replacement where there are fewer."""
        chosen = rng.choice(self.cost.size, count, replace=count > self.cost.size)
        return Market(self.cost[chosen], self.quality[chosen], self.value[chosen])


def real_workers(data: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Crowd workers of UKPConvArg1 with 20 judgements or more on pairs with gold: seconds a judgement (median over their
    tasks), and the accuracy on each half of their judgements: one for the buyer to verify, one that it gets."""
    labels = pl.read_parquet(Path(data, LABELS)).filter(pl.col("gold").is_not_null()).sort("submitted_at", "pair_id")
    seconds = (pl.col("submitted_at") - pl.col("accepted_at")).dt.total_seconds() / pl.len().over("worker_id", "hit_id")
    workers = (
        labels.with_columns(seconds=seconds, half=pl.int_range(pl.len()).over("worker_id") % 2)
        .group_by("worker_id")
        .agg(
            count=pl.len(),
            seconds=pl.col("seconds").median(),
            verified=(pl.col("choice") == pl.col("gold")).filter(pl.col("half") == 0).mean(),
            accuracy=(pl.col("choice") == pl.col("gold")).filter(pl.col("half") == 1).mean(),
        )
        .filter(pl.col("count") >= LEAST_JUDGEMENTS)
        .sort("worker_id")
    )
    half = workers["count"].to_numpy() / 2
    verified = workers["verified"].to_numpy()
    shrunk = (half * verified + PRIOR * verified.mean()) / (half + PRIOR)
    return workers["seconds"].to_numpy(), shrunk, workers["accuracy"].to_numpy()


def over_a_coin(accuracy: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a judgement of this accuracy adds over a coin, in [0, 1]."""
    return np.clip(2.0 * accuracy - 1.0, 0.0, 1.0)


def population(world: str, data: str, rng: np.random.Generator, size: int = 4000) -> Market:
    """All sellers of a world. Simulated costs are log-normal, accuracies from Beta(6, 2.5); in ``correlated`` better sellers
    cost more; the buyer verifies an accuracy on 20 judgements."""
    if world == "real":
        seconds, verified, accuracy = real_workers(data)
        cost = np.rint(seconds * QUANTA).astype(np.int64)
        return Market(cost, over_a_coin(accuracy), np.rint(over_a_coin(verified) * QUANTA).astype(np.int64))
    shared = rng.normal(size=size)
    own = rng.normal(size=size)
    accuracy = np.quantile(rng.beta(6.0, 2.5, 20_000), (np.argsort(np.argsort(shared)) + 0.5) / size)
    skill = 0.6 * shared + 0.8 * own if world == "correlated" else own
    seen = rng.binomial(20, accuracy) / 20
    shrunk = (20 * seen + PRIOR * accuracy.mean()) / (20 + PRIOR)
    cost = np.rint(np.exp(0.5 * skill) * QUANTA).astype(np.int64)
    return Market(cost, over_a_coin(accuracy), np.rint(over_a_coin(shrunk) * QUANTA).astype(np.int64))


def greedy_by_rate(value: NDArray[np.int64], asked: NDArray[np.int64], budget: int) -> Purchase:
    """Pay-as-bid under a budget: the lowest asked prices for their value, each paid what it asks, until one does not fit."""
    order = np.argsort(asked / np.maximum(value, 1), kind="stable")
    order = order[value[order] > 0]
    bought = order[np.cumsum(asked[order]) <= budget]
    awarded = np.zeros(value.size, dtype=bool)
    awarded[bought] = True
    payments = np.where(awarded, asked, 0)
    return Purchase(awarded, payments, int(payments.sum()))


def equilibrium_shading(
    markets: Sequence[Market], budget: int, rounds: int = 30, points: int = 200
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Symmetric equilibrium of pay-as-bid under a budget, by best replies to the history of cut-off rates.

    A seller with cost for its value r that asks the rate a gains (a - r) P(cut-off >= a), with the cut-off, the highest
    rate that is still bought, taken over draws of the market and all rounds so far (fictitious play).

    Returns:
        rates of cost and the rates asked at each, (points,) both; in between, interpolate.
    """
    rates = [market.cost / np.maximum(market.value, 1) for market in markets]
    grid = np.quantile(np.concatenate(rates), np.linspace(0.0, 1.0, points))
    asked = grid.copy()
    cutoffs: list[float] = []
    for _ in range(rounds):
        for market, rate in zip(markets, rates, strict=True):
            prices = np.rint(np.interp(rate, grid, asked) * market.value).astype(np.int64)
            bought = greedy_by_rate(market.value, prices, budget).awarded
            cutoffs.append(float((prices[bought] / market.value[bought]).max()) if bought.any() else 0.0)
        ordered = np.sort(cutoffs)
        chance = 1.0 - np.searchsorted(ordered, ordered, side="left") / ordered.size
        gain = (ordered[None, :] - grid[:, None]) * chance[None, :]
        best = ordered[np.argmax(gain, axis=1)]
        asked = np.where(gain.max(axis=1) > 0, best, grid)
    return grid, asked


@dataclass(frozen=True, slots=True)
class Learned:
    """What a buyer knows of a world from other draws of it: the posted price that buys most quality, the median cost, the
    reserve and number of winners of a uniform price, and how sellers shade when they are paid as they bid."""

    best_price: int
    median_cost: int
    winners: int
    value_of_quality: int
    shading: tuple[NDArray[np.float64], NDArray[np.float64]]


def learn(sellers: Market, count: int, budget: int, rng: np.random.Generator) -> Learned:
    """Learn from 40 draws of ``count`` of the sellers, with true costs for the posted price: its best case."""
    markets = [sellers.draw(count, rng) for _ in range(DRAWS_OF_THE_MARKET)]
    prices = np.quantile(sellers.cost, np.linspace(0.02, 0.98, 49)).astype(np.int64)
    bought = [
        np.mean(
            [
                market.quality[
                    fixed_price(market.cost, price=int(price), budget=budget, tie_break=np.arange(count)).awarded
                ].sum()
                for market in markets
            ]
        )
        for price in prices
    ]
    shares = [
        proportional_share(market.value, market.cost, budget=budget, tie_break=np.arange(count)) for market in markets
    ]
    rate = float(
        np.median(
            [
                share.spent / max(market.value[share.awarded].sum(), 1)
                for share, market in zip(shares, markets, strict=True)
            ]
        )
    )
    return Learned(
        best_price=int(prices[int(np.argmax(bought))]),
        median_cost=int(np.median(sellers.cost)),
        winners=int(np.median([share.awarded.sum() for share in shares])),
        value_of_quality=max(1, round(rate * QUANTA)),
        shading=equilibrium_shading(markets, budget),
    )


def purchase(mechanism: str, market: Market, budget: int, learned: Learned, rng: np.random.Generator) -> Purchase:
    """What one rule buys. Sellers ask their costs, except under pay-as-bid, where they shade, and under
    vickrey_feedback and random purchase, where they ask the posted price's best level at least, as nothing holds them back."""
    count = market.cost.size
    ties = rng.permutation(count)
    if mechanism == "as_shipped":
        return as_shipped(market, budget, rng)
    if mechanism == "proportional_share":
        return proportional_share(market.value, market.cost, budget=budget, tie_break=ties)
    if mechanism == "constant_factor_share":
        return constant_factor_share(market.value, market.cost, budget=budget, tie_break=ties)
    if mechanism == "uniform_price":
        winners = max(1, learned.winners)
        return uniform_price(market.cost, winners, reserve=budget // winners, tie_break=ties)
    if mechanism == "scoring_vcg":
        lot = rng.permutation(count) % LOTS
        worth = np.rint(2.0 * learned.value_of_quality * market.value / QUANTA).astype(np.int64)
        cleared = clear_lots(lot, worth, market.cost, budget=budget, rng=rng)
        return Purchase(cleared.awarded, cleared.payments, cleared.spent)
    if mechanism.startswith("fixed_price"):
        price = learned.best_price if mechanism == "fixed_price_best" else learned.median_cost
        return fixed_price(market.cost, price=price, budget=budget, tie_break=ties)
    if mechanism == "pay_as_bid":
        rates = np.interp(market.cost / np.maximum(market.value, 1), *learned.shading)
        asked = np.maximum(np.rint(rates * market.value).astype(np.int64), market.cost)
        return greedy_by_rate(market.value, asked, budget)
    asked = np.maximum(market.cost, learned.best_price)
    if mechanism == "random_purchase":
        return random_purchase(asked, budget=budget, tie_break=ties)
    return _vickrey_lots(market, asked, budget, rng)


def as_shipped(market: Market, budget: int, rng: np.random.Generator) -> Purchase:
    """What a round buys with exactly the default settings but for the budget: each seller answers one of the lots that are
    published. A unit of quality is worth ten times the mean cost, so that the budget binds and not the reserve."""
    lot = rng.permutation(market.cost.size) % SHIPPED.lots_published
    one = 10 * int(market.cost.mean())
    values = np.rint(market.value / QUANTA * one).astype(np.int64)
    offers = Offers(lot, np.arange(lot.size), values, market.cost, np.zeros(lot.size, dtype=np.int64))
    terms = Terms(budget, SHIPPED.answers_per_lot, round(SHIPPED.reserve * WHOLE), one)
    clearing = AUCTIONS[SHIPPED.auction].clear(offers, terms, rng)
    return Purchase(clearing.awarded, clearing.payments, clearing.spent)


def _vickrey_lots(market: Market, asked: NDArray[np.int64], budget: int, rng: np.random.Generator) -> Purchase:
    """The two highest bids of a lot at the second one's price, lot by lot in random order until one does not fit."""
    awarded, payments = np.zeros(asked.size, dtype=bool), np.zeros(asked.size, dtype=np.int64)
    left = budget
    for lot in np.array_split(rng.permutation(asked.size), LOTS):
        bought = vickrey_feedback(asked[lot], tie_break=np.arange(lot.size))
        if bought.spent <= left:
            awarded[lot], payments[lot] = bought.awarded, bought.payments
            left -= bought.spent
    return Purchase(awarded, payments, budget - left)


def market_cell(*, data: str, world: str, shares: Sequence[float], runs: int, seed: int) -> Any:
    """Quality bought and money spent by every rule in ``runs`` draws of a world, for budgets that are ``shares`` of the cost of
    all 200 sellers on sale."""
    rng = np.random.default_rng([seed, WORLDS.index(world)])
    sellers = population(world, data, rng)
    purchases = []
    for share in shares:
        budget = int(share * SELLERS * sellers.cost.mean())
        learned = learn(sellers, SELLERS, budget, rng)
        for run in range(runs):
            market = sellers.draw(SELLERS, rng)
            for mechanism in MECHANISMS:
                bought = purchase(mechanism, market, budget, learned, rng)
                purchases.append(
                    {
                        "share": share,
                        "run": run,
                        "mechanism": mechanism,
                        "budget": budget / QUANTA,
                        "spent": bought.spent / QUANTA,
                        "bought": int(bought.awarded.sum()),
                        "quality": float(market.quality[bought.awarded].sum()),
                    }
                )
    return purchases
