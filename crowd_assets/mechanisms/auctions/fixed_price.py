"""One posted price for every answer, as a baseline.

Belongs here: this member. Does not belong here: what members share (see ``base``).
"""

import numpy as np

from crowd_assets.mechanisms.auctions.base import (
    RATIONAL,
    TRUTHFUL,
    WHOLE,
    WITHIN_BUDGET,
    Offers,
    Sale,
    Terms,
    whole_lots,
)
from crowd_assets.mechanisms.auctions.baselines import fixed_price


class FixedPrice:
    """The reserve of an answer of quality 1 is the price of every answer; who asks no more is served in an order that is drawn.
    Answers that are served alone in their lot are dropped."""

    name = "fixed_price"
    summary = "Every answer is paid one posted price, in an order drawn by lot; blind to quality: a baseline."
    needs: tuple[str, ...] = ("asked prices",)
    guarantees: tuple[str, ...] = (
        TRUTHFUL,
        RATIONAL,
        WITHIN_BUDGET,
    )
    source = "A baseline."
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        price = terms.value_of_one * terms.reserve // WHOLE
        order = rng.permutation(offers.lot.size)
        bought = fixed_price(offers.asked_prices, price=price, budget=terms.budget, tie_break=order)
        return whole_lots(offers, bought, terms, rng)
