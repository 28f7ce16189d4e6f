"""The rule of VickreyFeedback with the response's length as the bid, as a control.

Belongs here: this member. Does not belong here: what members share (see ``base``).
"""

import numpy as np

from crowd_assets.mechanisms.auctions.base import Offers, Sale, Terms, lot_by_lot
from crowd_assets.mechanisms.auctions.baselines import vickrey_feedback

QUANTA_A_CHARACTER = 1_000
"""What a character is paid: a thousandth of a credit."""


class LengthAuction:
    """The bid is the response's length: in every lot the two longest win, and the second-longest is the price of both, 0.001
    credits a character. A control: whoever writes more wins, whatever it says."""

    name = "length_auction"
    summary = (
        "The two longest responses of a lot win, both paid by the length of the second: the published rule, a control."
    )
    needs: tuple[str, ...] = ("response lengths",)
    guarantees: tuple[str, ...] = ()
    source = "VickreyFeedback (arXiv 2409.18417), with the length of a response as its bid."
    page = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """See ``base.Auction.clear``."""
        bids_by_length = offers.lengths * QUANTA_A_CHARACTER
        return lot_by_lot(
            offers,
            terms.budget,
            rng,
            lambda bids: vickrey_feedback(bids_by_length[bids], tie_break=rng.permutation(bids.size)),
        )
