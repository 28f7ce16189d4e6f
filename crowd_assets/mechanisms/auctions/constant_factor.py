"""The constant-factor share, made one over lots.

Belongs here: this member. Does not belong here: what members share (see ``base``).
"""

import numpy as np

from crowd_assets.mechanisms.auctions.base import RATIONAL, TRUTHFUL, WITHIN_BUDGET, Offers, Sale, Terms, whole_lots
from crowd_assets.mechanisms.auctions.budget import constant_factor_share


class ConstantFactor:
    """``constant_factor_share`` over single answers; answers that it buys alone in their lot are dropped. Its factor holds for
    single answers, not for lots."""

    name = "constant_factor"
    summary = "The cheapest answers for their value, unless one outweighs them; lots with a lone winner are dropped."
    needs: tuple[str, ...] = ("asked prices", "verified quality")
    guarantees: tuple[str, ...] = (
        TRUTHFUL,
        RATIONAL,
        WITHIN_BUDGET,
    )
    source = "Chen, Gravin & Lu, On the approximability of budget feasible mechanisms (2011)."
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        bought = constant_factor_share(
            offers.values, offers.asked_prices, budget=terms.budget, tie_break=rng.permutation(offers.lot.size)
        )
        return whole_lots(offers, bought, terms, rng)
