"""The rule of VickreyFeedback's summary, as a control.

Belongs here: this member. Does not belong here: what members share (see ``base``).
"""

import numpy as np

from crowd_assets.mechanisms.auctions.base import Offers, Sale, Terms, lot_by_lot
from crowd_assets.mechanisms.auctions.baselines import vickrey_feedback


class VickreyFeedback:
    """In every lot the two highest asked prices win, both paid the second, until a lot no longer fits the budget. A control: who
    asks more wins."""

    name = "vickrey_feedback"
    summary = "The two highest asked prices of a lot win, both paid the second: the paper's summary, a control."
    needs: tuple[str, ...] = ("asked prices",)
    guarantees: tuple[str, ...] = ()
    source = "VickreyFeedback (arXiv 2409.18417), on the auction."
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        return lot_by_lot(
            offers,
            terms.budget,
            rng,
            lambda bids: vickrey_feedback(offers.asked_prices[bids], tie_break=rng.permutation(bids.size)),
        )
