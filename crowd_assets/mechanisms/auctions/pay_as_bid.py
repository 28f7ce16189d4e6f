"""The awards of scoring VCG, each paid what it asked, as a baseline.

Belongs here: this member. Does not belong here: what members share (see ``base``).
"""

import numpy as np

from crowd_assets.mechanisms.auctions.base import LEAST, RATIONAL, WITHIN_BUDGET, Offers, Sale, Terms, sale
from crowd_assets.mechanisms.auctions.lots import clear_lots


class PayAsBid:
    """The awards of ``scoring_vcg``, each paid what it asked: asking more pays more."""

    name = "pay_as_bid"
    summary = "The two answers of a lot that leave most to the buyer win, each at the asked price: a baseline."
    needs: tuple[str, ...] = ("asked prices", "verified quality")
    guarantees: tuple[str, ...] = (
        RATIONAL,
        WITHIN_BUDGET,
    )
    source = "A baseline."
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        cleared = clear_lots(
            offers.lot, offers.values, offers.asked_prices, winners_per_lot=LEAST, budget=terms.budget, rng=rng
        )
        return sale(offers, cleared.awarded, offers.asked_prices)
