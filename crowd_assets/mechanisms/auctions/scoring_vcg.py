"""Scoring VCG in every lot, for two answers.

Belongs here: this member. Does not belong here: what members share (see ``base``).
"""

import numpy as np

from crowd_assets.mechanisms.auctions.base import (
    LEAST,
    NO_MORE_THAN_VALUE,
    RATIONAL,
    TRUTHFUL,
    WITHIN_BUDGET,
    Offers,
    Sale,
    Terms,
    sale,
)
from crowd_assets.mechanisms.auctions.lots import clear_lots


class ScoringVCG:
    """``clear_lots``: in every lot the two highest scores, value less asked price, win, each paid its value less the third
    score. Lots that may cost more than is left of the budget are passed over, whatever they ask: bids that cannot be sold
    reserve budget, and a lot with two bids pays their full values. What rounds before this setting ran by."""

    name = "scoring_vcg"
    summary = (
        "In every lot the two answers that leave most to the buyer win, paid their value less what the third leaves."
    )
    needs: tuple[str, ...] = ("asked prices", "verified quality")
    guarantees: tuple[str, ...] = (
        TRUTHFUL,
        RATIONAL,
        WITHIN_BUDGET,
        NO_MORE_THAN_VALUE,
    )
    source = "Vickrey (1961), Clarke (1971), Groves (1973); as a scoring auction: Che (1993)."
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        cleared = clear_lots(
            offers.lot, offers.values, offers.asked_prices, winners_per_lot=LEAST, budget=terms.budget, rng=rng
        )
        return sale(offers, cleared.awarded, cleared.payments)
