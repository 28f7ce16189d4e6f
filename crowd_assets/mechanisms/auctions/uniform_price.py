"""The uniform price, blind to quality.

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
from crowd_assets.mechanisms.auctions.baselines import uniform_price
from crowd_assets.mechanisms.auctions.money import Purchase


class UniformPrice:
    """The lowest asked prices win, as many as the budget pays at the reserve, each paid the first price that does not win, at
    most the reserve: the share of it that an answer of quality 1 is worth. Answers that win alone in their lot are dropped."""

    name = "uniform_price"
    summary = "The lowest asked prices win, all paid the first that does not; blind to quality."
    needs: tuple[str, ...] = ("asked prices",)
    guarantees: tuple[str, ...] = (
        TRUTHFUL,
        RATIONAL,
        WITHIN_BUDGET,
    )
    source = "Vickrey, Counterspeculation, auctions, and competitive sealed tenders (1961)."
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        reserve = terms.value_of_one * terms.reserve // WHOLE
        winners = min(terms.budget // reserve, offers.lot.size) if reserve else 0
        if not winners:
            bought = Purchase(np.zeros(offers.lot.size, dtype=bool), np.zeros(offers.lot.size, dtype=np.int64), 0)
            return whole_lots(offers, bought, terms, rng)
        order = rng.permutation(offers.lot.size)
        return whole_lots(
            offers, uniform_price(offers.asked_prices, winners, reserve=reserve, tie_break=order), terms, rng
        )
