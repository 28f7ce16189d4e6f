"""Proportional share over lots: all answers are paid one rate, the one at which their lots use the budget up.

Belongs here: this member. Does not belong here: the rate (see ``rates``).
"""

import numpy as np

from crowd_assets.mechanisms.auctions.base import (
    NAMES_RAISE_NO_PRICE,
    NO_MORE_THAN_VALUE,
    RATIONAL,
    TRUTHFUL,
    UNSELLABLE_IS_NOTHING,
    WITHIN_BUDGET,
    Offers,
    Sale,
    Terms,
    best_of_lots,
    by_value,
    sale,
)
from crowd_assets.mechanisms.auctions.rates import accepting, clearing_rate, offered


class ProportionalShare:
    """Let R be the highest rate, at most the reserve, at which all lots cost no more than the budget. Every answer is offered
    its value times R; of those who ask no more the best of each lot win, and all are paid.

    *Truthful.* While a bid asks no more than its value times R, what lots cost at R and above counts it in any case, so R
    stays, and so does who is among a lot's best. If it asks more, R can rise towards what it asks and not to it, as from there
    on it would be counted again and cost too much: it loses. Its value times R is thus its threshold.
    """

    name = "proportional_share"
    summary = "All answers are paid one rate for a unit of verified quality, the one that uses the budget up."
    needs: tuple[str, ...] = ("asked prices", "verified quality")
    guarantees: tuple[str, ...] = (
        TRUTHFUL,
        RATIONAL,
        WITHIN_BUDGET,
        NO_MORE_THAN_VALUE,
        NAMES_RAISE_NO_PRICE,
        UNSELLABLE_IS_NOTHING,
    )
    source = (
        "Singer, Budget feasible mechanisms (2010); Chen, Gravin & Lu, On the approximability of budget feasible mechanisms "
        "(2011); over lots: this project's."
    )
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        order = by_value(offers, rng)
        prices = offered(offers.values, clearing_rate(offers, terms.budget, terms.most, terms.reserve, order))
        return sale(offers, best_of_lots(offers, accepting(offers, prices), terms.most, order), prices)
