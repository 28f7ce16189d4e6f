"""A posted rate: every answer is offered the same for a unit of verified value, at a rate that only other names' bids set.

Belongs here: this member. Does not belong here: what is bought at a rate (see ``rates``).
"""

import numpy as np

from crowd_assets.mechanisms.auctions.base import (
    NAMES_RAISE_NO_PRICE,
    NO_MORE_THAN_VALUE,
    RATIONAL,
    SEVERAL_ANSWERS,
    TRUTHFUL,
    UNSELLABLE_IS_NOTHING,
    WITHIN_BUDGET,
    Offers,
    Sale,
    Terms,
    best_of_lots,
    by_value,
    drawn,
    sale,
)
from crowd_assets.mechanisms.auctions.rates import accepting, clearing_rate, offered

PARTS = 16
"""Parts that names are dealt into; a rate is learned from 15 of them and paid to the other."""


class PostedRate:
    """A draw deals names into 16 parts. The rate of a part is the highest rate, at most the reserve, at which the bids of the
    *other* parts use up 15/16 of the budget. A bid is offered its value times the part's rate, and accepts if the asked price is
    no higher. Lots are served in an order that is drawn: each lot sells its best accepting answers, as many as the rest of the
    budget pays, at least two.

    *Truthful.* Neither the rate nor the part of a name depends on the name's own bids; among accepting bids, places go by
    verified value and money by the drawn order of lots. So an asked price decides only whether the bid accepts a price that
    the name cannot move, and asking the cost accepts exactly the prices that pay.

    *Names.* For the first name a second name is one of the others: the second name's bids can only lower the first name's rate
    (``rates.clearing_rate``), for any number of names, in own or rival lots. A further name gains the sale of a further answer,
    at the rate of every answer: at most (rate x value - cost) of the answer. A bid at a price that cannot be sold reserves
    nothing and changes no rate.

    *What is left.* Where more accept than a lot buys, or than the budget pays, a seller of several answers may keep one that
    pays it little back for one that pays it more: at most the difference of the two. Names that sell together, and leave
    their own bids out, raise one another's rates as far as their supply was needed, at most to the reserve.
    """

    name = "posted_rate"
    summary = "Each unit of verified quality is paid a rate that only other names' bids set, in lots drawn by lot."
    needs: tuple[str, ...] = ("asked prices", "verified quality")
    guarantees: tuple[str, ...] = (
        TRUTHFUL,
        RATIONAL,
        WITHIN_BUDGET,
        NO_MORE_THAN_VALUE,
        NAMES_RAISE_NO_PRICE,
        SEVERAL_ANSWERS,
        UNSELLABLE_IS_NOTHING,
    )
    source = (
        "This project's; prices from other parts as in Goldberg, Hartline, Karlin, Saks & Wright, Competitive auctions "
        "(2006), the rate of a budget as in Singer, Budget feasible mechanisms (2010)."
    )
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        part = (drawn(offers.seller, rng) % np.uint64(PARTS)).astype(np.int64)
        order = by_value(offers, rng)
        lots = np.argsort(drawn(offers.keys(), rng), kind="stable")
        rates = np.zeros(offers.lot.size, dtype=np.int64)
        budget = terms.budget * (PARTS - 1) // PARTS
        for number in np.unique(part).tolist():
            others = part != number
            at = np.cumsum(others) - 1
            of_others = at[order[others[order]]]
            rates[~others] = clearing_rate(offers.only(others), budget, terms.most, terms.reserve, of_others)
        prices = offered(offers.values, rates)
        best = best_of_lots(offers, accepting(offers, prices), terms.most, order)
        served = order[best[order]]
        lot = offers.lot[served]
        ends = np.cumsum(np.bincount(lot, minlength=offers.lots))
        awarded, left = np.zeros(offers.lot.size, dtype=bool), terms.budget
        for each in lots.tolist():
            bids = served[ends[each - 1] if each else 0 : ends[each]]
            costs = np.cumsum(prices[bids])
            fitting = int(np.searchsorted(costs, left, side="right"))
            if fitting >= 2:
                awarded[bids[:fitting]] = True
                left -= int(costs[fitting - 1])
        return sale(offers, awarded, prices)
