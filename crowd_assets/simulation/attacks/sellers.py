"""Attacks on the auction.

Belongs here: sellers, honest and not, and what they earn. Does not belong here: what is reported of them (see ``payoffs``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.base import WHOLE, Offers, Terms
from crowd_assets.mechanisms.auctions.baselines import vickrey_feedback
from crowd_assets.mechanisms.auctions.lots import scoring_vcg
from crowd_assets.mechanisms.auctions.table import AUCTIONS
from crowd_assets.mechanisms.labelers.score_update import counted_reports
from crowd_assets.simulation.attacks.judges import (
    BELIEF_NOISE,
    LABEL_RULES,
    LABELERS,
    WITH_OUTCOME,
    Judges,
    pooled_rounds,
)
from resources.settings.settings import Settings

LOTS, SELLERS, RING = 12, 8, 3


QUANTA = 1_000_000


BUDGET = 24 * QUANTA


SCARCE = "12"  # credits, half of what the lots are worth: a budget that can be blocked


LEAST_SURPLUS = 0.5  # credits of an answer's value that the buyer keeps, hardened


IMAGINED = 1_000_000  # added to the number of a run for the draws that a ring imagines


DRAWS = 6  # of a round's key, over which a seller who cannot know it expects what it earns


UNSELLABLE = 1_000 * QUANTA  # an asked price that nobody pays


@dataclass(frozen=True, slots=True)
class Sellers:
    """Answers on sale in L lots: ``cost`` and ``quality`` (L, n); quality in [0, 1], cost in quanta. The first are the
    attacker's."""

    cost: NDArray[np.int64]
    quality: NDArray[np.float64]


def sellers(rng: np.random.Generator) -> Sellers:
    """Sellers as the demo has them: most of their answers on target, each at its cost."""
    skill = rng.uniform(0.6, 0.95, SELLERS)
    quality = np.clip(
        np.where(rng.random((LOTS, SELLERS)) < skill, 0.75, 0.25) + rng.normal(0, 0.08, (LOTS, SELLERS)), 0, 1
    )
    cost = rng.uniform(0.1, 0.4, SELLERS) * rng.uniform(0.8, 1.2, (LOTS, SELLERS))
    return Sellers(np.rint(cost * QUANTA).astype(np.int64), quality)


def earned(
    values: NDArray[np.int64], asked: NDArray[np.int64], cost: NDArray[np.int64], whose: NDArray[np.int64]
) -> int:
    """What bids at the places ``whose`` earn in one lot over their cost, quanta."""
    cleared = scoring_vcg(values, asked, 2, tie_break=np.arange(values.size))
    if cleared.awarded.sum() < 2:
        return 0
    won = whose[cleared.awarded[whose]]
    return int((cleared.payments[won] - cost[won]).sum())


def worth(quality: NDArray[np.float64], surplus: float = 0.0) -> NDArray[np.int64]:
    """Values of answers of ``quality`` to a buyer who keeps ``surplus`` credits of each, in quanta."""
    return np.floor(np.maximum(quality - surplus, 0.0) * QUANTA).astype(np.int64)


def best_ring(
    values: NDArray[np.int64], asked: NDArray[np.int64], ring: NDArray[np.int64], most_bids: int | None = None
) -> int:
    """The most that a ring earns in one lot by keeping some of its bids back, where it knows all the others'."""
    best = 0
    for size in range(1, min(ring.size, most_bids or ring.size) + 1):
        for bidding in combinations(ring.tolist(), size):
            there = np.setdiff1d(np.arange(values.size), np.setdiff1d(ring, bidding))
            own = np.flatnonzero(np.isin(there, bidding))
            best = max(best, earned(values[there], asked[there], asked[there], own))
    return best


def ring_pay(market: Sellers, rules: str, cheat: bool, run: int = 0) -> float:
    """Credits that three of the sellers earn over their costs, bidding as a ring or each for itself.

    Plain is the VickreyFeedback summary's rule, where bids are claims of quality: a ring claims what the budget of a lot
    bears. Elsewhere each of the three asks its cost, or what the reserve pays, or keeps its poorer half back, as is best
    together for draws that it imagines; what it then earns is of other draws.
    """
    ring = np.arange(RING)
    if rules == "plain":
        total = 0
        for cost, quality in zip(market.cost, market.quality, strict=True):
            claimed = worth(quality)
            if cheat:
                claimed[ring] = BUDGET // LOTS // 2
            bought = vickrey_feedback(claimed, tie_break=np.arange(claimed.size))
            total += int((bought.payments[ring] - np.where(bought.awarded[ring], cost[ring], 0)).sum())
        return total / QUANTA
    honest, settings = on_sale(market), OF_COLUMN[rules]
    if not cheat:
        return credits(honest, settings, ring, run)
    reserve = np.floor(worth(honest.quality, float(settings.least_surplus)) * settings.reserve).astype(np.int64)
    poor = honest.quality < np.median(honest.quality)
    ways = (honest.asked, np.maximum(honest.asked, reserve), np.where(poor, UNSELLABLE, honest.asked))
    together = [
        replace(
            honest, asked=np.select([honest.seller == one for one in ring], [ways[way] for way in chosen], honest.asked)
        )
        for chosen in product(range(len(ways)), repeat=RING)
    ]
    best = max(together, key=lambda bids: credits(bids, settings, ring, run + IMAGINED))
    return credits(best, settings, ring, run)


def sybil_seller_pay(market: Sellers, rules: str, cheat: bool, run: int = 0) -> float:
    """Credits of one seller that has three answers in each lot, under its own name or under three.

    Plain, a name offers one answer, and the three names claim what the budget of a lot bears.
    """
    if rules == "plain":
        total = 0
        for cost, quality in zip(market.cost, market.quality, strict=True):
            price = cost[0]
            quality = quality.copy()
            quality[:RING] = quality[0]
            names = np.arange(RING if cheat else 1)
            there = np.concatenate([names, np.arange(RING, SELLERS)])
            claimed = worth(quality)
            if cheat:
                claimed[:RING] = BUDGET // LOTS // 2
            bought = vickrey_feedback(claimed[there], tie_break=np.arange(there.size))
            total += int(bought.payments[names].sum()) - int(price) * int(bought.awarded[names].sum())
        return total / QUANTA
    bids = on_sale(market)
    kept = (bids.seller == 0) | (bids.seller >= RING)
    bids = Bids(*(getattr(bids, name)[kept] for name in Bids.__slots__))
    own = bids.seller == 0
    rows = [
        (int(lot), int(name) if cheat else 0, float(quality), int(cost), int(cost))
        for lot, quality, cost in zip(bids.lot[own], bids.quality[own], bids.cost[own], strict=True)
        for name in NAMES[1:]
    ]
    return credits(bids.plus(rows), OF_COLUMN[rules], NAMES, run)


def owner_pay(market: Sellers, rules: str, cheat: bool, rng: np.random.Generator, run: int = 0) -> float:
    """Credits of a seller that a labeler owns. Plain: the buyer verifies quality by the mean of what labelers say of each
    answer; elsewhere by its place in Φ, of which no labeler is asked."""
    if rules != "plain":
        return credits(on_sale(market), OF_COLUMN[rules], np.zeros(1, dtype=np.int64), run)
    total = 0
    for cost, quality in zip(market.cost, market.quality, strict=True):
        said = np.clip(quality + rng.normal(scale=BELIEF_NOISE, size=(LABELERS, SELLERS)), 0.0, 1.0)
        if cheat:
            said[0] = np.arange(SELLERS) == 0
        total += earned(worth(said.mean(axis=0)), cost, cost, np.zeros(1, dtype=np.int64))
    return total / QUANTA


def owner_say(judges: Judges, rules: str, cheat: bool, *, apart: bool, run: int) -> float:
    """How much the crowd is said to prefer the seller's answers, one of each pair without an outcome: the mean aggregate for
    them. No report of a name counts that sold one of the two, except under the plain rules; ``apart``: the labeler judges
    under another name than it sells."""
    reports = judges.reports.copy()
    if cheat:
        reports[:, WITH_OUTCOME:, 0] = 1.0
    if rules != "plain" and not apart:
        _, slots, labelers = reports.shape
        slot, labeler = np.divmod(np.arange(slots * labelers), labelers)
        sold = np.arange(WITH_OUTCOME, slots)
        own = counted_reports(slot, labeler, interested=(sold, np.zeros(sold.size, dtype=np.int64)))
        reports = np.where(own.reshape(slots, labelers), reports, np.nan)
    nobody_linked = replace(
        LABEL_RULES[rules], rings_once=False
    )  # people who judge by themselves, and one of them lies
    rounds = pooled_rounds(replace(judges, reports=reports), nobody_linked, np.random.default_rng([run, 3]))
    return float(np.mean([aggregates for _, aggregates in rounds]))


@dataclass(frozen=True, slots=True)
class Bids:
    """n bids on sale: ``lot``, ``seller``, ``quality``, ``cost`` and ``asked`` quanta, (n,) each. Lots from ``LOTS`` on are a
    seller's own inventions."""

    lot: NDArray[np.int64]
    seller: NDArray[np.int64]
    quality: NDArray[np.float64]
    cost: NDArray[np.int64]
    asked: NDArray[np.int64]

    def plus(self, rows: Sequence[tuple[int, int, float, int, int]]) -> "Bids":
        """And ``rows`` (lot, seller, quality, cost, asked price)."""
        if not rows:
            return self
        columns = zip(*rows, strict=True)
        return Bids(
            *(
                np.append(getattr(self, name), np.array(more, dtype=getattr(self, name).dtype))
                for name, more in zip(self.__slots__, columns, strict=True)
            )
        )


def on_sale(market: Sellers) -> Bids:
    """Every seller's answers, each at its cost."""
    lot, seller = np.divmod(np.arange(market.cost.size), SELLERS)
    return Bids(lot, seller, market.quality.ravel(), market.cost.ravel(), market.cost.ravel())


def credits(bids: Bids, settings: Settings, whose: NDArray[np.int64], run: int) -> float:
    """Credits that the sellers ``whose`` earn over their costs in a round with ``settings``, the mean over draws of its key.
    Bids for lots that the platform did not publish are refused, unless any lot may be named."""
    if settings.lots_source != "any":
        kept = bids.lot < LOTS
        bids = Bids(*(getattr(bids, name)[kept] for name in Bids.__slots__))
    offers = Offers(
        bids.lot,
        bids.seller,
        worth(bids.quality, float(settings.least_surplus)),
        bids.asked,
        np.zeros(bids.lot.size, dtype=np.int64),
    )
    terms = Terms(
        int(float(settings.budget) * QUANTA), settings.answers_per_lot, round(settings.reserve * WHOLE), QUANTA
    )
    own, total = np.isin(bids.seller, whose), 0
    for draw in range(DRAWS):
        clearing = AUCTIONS[settings.auction].clear(offers, terms, np.random.default_rng([run, draw]))
        total += int(clearing.payments[own].sum() - bids.cost[own & clearing.awarded].sum())
    return total / DRAWS / QUANTA


SHIPPED = Settings()
"""The settings of somebody who sets nothing."""


OF_COLUMN = {
    "plain": Settings(auction="scoring_vcg", lots_from="any"),
    "as_shipped": SHIPPED,
    "hardened": Settings(least_surplus=str(LEAST_SURPLUS)),
}
"""Settings of the games in which bids are cleared as a round clears them; *plain* is the market before lots were published."""

NAMES = np.array([0, 100, 101])
"""The cheating seller's own name and two that it makes up."""


def invented_lots(bids: Bids) -> Bids:
    """Two names bid 0 in 48 lots of their own invention."""
    return bids.plus([(LOTS + number, int(name), 0.7, 0, 0) for number in range(48) for name in NAMES[1:]])


def blocked_budget(bids: Bids) -> Bids:
    """Two names ask what nobody pays for good texts in every lot, in which the seller offers its own."""
    return bids.plus([(lot, int(name), 0.95, 0, UNSELLABLE) for lot in range(LOTS) for name in NAMES[1:]])


def withheld(bids: Bids) -> Bids:
    """A second name asks what nobody pays wherever the seller's own answer is worth least, and the seller keeps that one back."""
    own = bids.seller == 0
    poor = own & (bids.quality < np.median(bids.quality[own]))
    asked = np.where(poor, UNSELLABLE, bids.asked)
    more = [(int(lot), int(NAMES[1]), 0.95, 0, UNSELLABLE) for lot in bids.lot[poor]]
    return Bids(bids.lot, bids.seller, bids.quality, bids.cost, asked).plus(more)


LOT_ATTACKS: dict[str, Callable[[Bids], Bids]] = {
    "invented_lots": invented_lots,
    "blocked_budget": blocked_budget,
    "second_name_rival_lots": withheld,
}


def lot_pay(name: str, market: Sellers, column: str, cheat: bool, run: int) -> float:
    """Credits of one seller, honest under one name or cheating with further ones; who blocks the budget is said to gain what the
    others lose."""
    honest, settings = on_sale(market), OF_COLUMN[column]
    if name == "blocked_budget":
        settings = settings.model_copy(update={"budget": SCARCE})
    bids = LOT_ATTACKS[name](honest) if cheat else honest
    others = np.arange(1, SELLERS)
    taken = 0.0
    if cheat and name == "blocked_budget":
        taken = credits(honest, settings, others, run) - credits(bids, settings, others, run)
    return credits(bids, settings, NAMES, run) + taken


MARKET_ATTACKS = (
    "bid_ring",
    "sybil_seller",
    *LOT_ATTACKS,
    "labeler_owns_bidder",
    "labeler_owns_bidder_say",
    "labeler_owns_bidder_apart",
)
