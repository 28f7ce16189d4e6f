"""Answers bought at random at what they ask, as a baseline.

Belongs here: this member. Does not belong here: what members share (see ``base``).
"""

import numpy as np

from crowd_assets.mechanisms.auctions.base import RATIONAL, WITHIN_BUDGET, Offers, Sale, Terms, whole_lots
from crowd_assets.mechanisms.auctions.baselines import random_purchase


class RandomPurchase:
    """Answers in an order that is drawn, each at what it asks, as long as it fits the budget; those that are alone in their lot
    are dropped."""

    name = "random_purchase"
    summary = "Answers are bought at random at the asked prices: a baseline."
    needs: tuple[str, ...] = ("asked prices",)
    guarantees: tuple[str, ...] = (
        RATIONAL,
        WITHIN_BUDGET,
    )
    source = "A baseline."
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        order = rng.permutation(offers.lot.size)
        bought = random_purchase(offers.asked_prices, budget=terms.budget, tie_break=order)
        return whole_lots(offers, bought, terms, rng)
