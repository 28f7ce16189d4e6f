"""Attacks on the auction.

Belongs here: sellers, honest and not, and what they earn. Does not belong here: what is reported of them (see ``payoffs``).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.baselines import vickrey_feedback
from crowd_assets.mechanisms.auctions.lots import scoring_vcg
from crowd_assets.mechanisms.labelers.dense import run_slots
from crowd_assets.mechanisms.labelers.score_update import counted_reports, initial_state, pooled
from crowd_assets.simulation.attacks.judges import BELIEF_NOISE, LABELERS, WITH_OUTCOME, Judges

LOTS, SELLERS, RING = 12, 8, 3


QUANTA = 1_000_000


BUDGET = 24 * QUANTA


LEAST_SURPLUS = 0.5  # credits of an answer's value that the buyer keeps, hardened


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


def ring_pay(market: Sellers, rules: str, cheat: bool) -> float:
    """Credits that three of the sellers earn over their costs, bidding as a ring or each for itself.

    Plain is the VickreyFeedback summary's rule, where bids are claims of quality: a ring claims what the budget of a lot
    bears. Hardened: the buyer keeps ``LEAST_SURPLUS`` of every answer's value.
    """
    ring, total = np.arange(RING), 0
    for cost, quality in zip(market.cost, market.quality, strict=True):
        if rules == "plain":
            bids = worth(quality)
            if cheat:
                bids[ring] = BUDGET // LOTS // 2
            bought = vickrey_feedback(bids, tie_break=np.arange(bids.size))
            total += int((bought.payments[ring] - np.where(bought.awarded[ring], cost[ring], 0)).sum())
        else:
            values = worth(quality, LEAST_SURPLUS if rules == "hardened" else 0.0)
            total += best_ring(values, cost, ring) if cheat else earned(values, cost, cost, ring)
    return total / QUANTA


def sybil_seller_pay(market: Sellers, rules: str, cheat: bool) -> float:
    """Credits of one seller with one answer a lot, or with three names that offer three: hardened, as one ring that is
    admitted with its first bid."""
    total = 0
    for cost, quality in zip(market.cost, market.quality, strict=True):
        own = cost[0]
        cost, quality = cost.copy(), quality.copy()
        cost[:RING], quality[:RING] = own, quality[0]
        names = np.arange(RING if cheat and rules != "hardened" else 1)
        there = np.concatenate([names, np.arange(RING, SELLERS)])
        if rules == "plain":
            bids = worth(quality)
            if cheat:
                bids[:RING] = BUDGET // LOTS // 2
            bought = vickrey_feedback(bids[there], tie_break=np.arange(there.size))
            total += int(bought.payments[names].sum()) - int(own) * int(bought.awarded[names].sum())
        else:
            values = worth(quality)[there]
            total += best_ring(values, cost[there], names) if cheat else earned(values, cost[there], cost[there], names)
    return total / QUANTA


def owner_pay(market: Sellers, rules: str, cheat: bool, rng: np.random.Generator) -> float:
    """Credits of a seller that a labeler owns. Plain: the buyer verifies quality by the mean of what labelers say of each
    answer; as shipped: by its place in Φ, of which no labeler is asked."""
    total = 0
    for cost, quality in zip(market.cost, market.quality, strict=True):
        said = np.clip(quality + rng.normal(scale=BELIEF_NOISE, size=(LABELERS, SELLERS)), 0.0, 1.0)
        if cheat:
            said[0] = np.arange(SELLERS) == 0
        values = worth(said.mean(axis=0) if rules == "plain" else quality)
        total += earned(values, cost, cost, np.zeros(1, dtype=np.int64))
    return total / QUANTA


def owner_say(judges: Judges, rules: str, cheat: bool) -> float:
    """How much the crowd is said to prefer the seller's answers, one of each pair without an outcome: the mean aggregate for
    them. Hardened, no report counts of who sells one of the two."""
    weights = np.full(LABELERS, 1.0 / LABELERS)
    if rules != "plain":
        reports = judges.reports[:, :WITH_OUTCOME].reshape(-1, LABELERS)
        weights = run_slots(initial_state(LABELERS), reports, judges.outcomes[:, :WITH_OUTCOME].ravel()).state.weights
    reports = judges.reports[:, WITH_OUTCOME:].reshape(-1, LABELERS).copy()
    if cheat:
        reports[:, 0] = 1.0
    if rules == "hardened":
        slot, labeler = np.divmod(np.arange(reports.size), LABELERS)
        own = counted_reports(
            slot, labeler, interested=(np.arange(len(reports)), np.zeros(len(reports), dtype=np.int64))
        )
        reports = np.where(own.reshape(reports.shape), reports, np.nan)
    return float(pooled(weights, reports).mean())


MARKET_ATTACKS = ("bid_ring", "sybil_seller", "labeler_owns_bidder", "labeler_owns_bidder_say")
