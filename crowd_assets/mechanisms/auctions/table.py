"""The table of auctions that a round may buy by.

Belongs here: the table. Does not belong here: any rule (see the member's module).
"""

from crowd_assets.mechanisms.auctions.base import Auction
from crowd_assets.mechanisms.auctions.constant_factor import ConstantFactor
from crowd_assets.mechanisms.auctions.fixed_price import FixedPrice
from crowd_assets.mechanisms.auctions.length_auction import LengthAuction
from crowd_assets.mechanisms.auctions.pay_as_bid import PayAsBid
from crowd_assets.mechanisms.auctions.posted_rate import PostedRate
from crowd_assets.mechanisms.auctions.proportional_share import ProportionalShare
from crowd_assets.mechanisms.auctions.random_purchase import RandomPurchase
from crowd_assets.mechanisms.auctions.scoring_vcg import ScoringVCG
from crowd_assets.mechanisms.auctions.uniform_price import UniformPrice
from crowd_assets.mechanisms.auctions.vickrey_feedback import VickreyFeedback
from crowd_assets.mechanisms.families import Family

AUCTIONS: Family[Auction] = Family(
    "auction",
    "auction",
    PostedRate(),
    ProportionalShare(),
    ConstantFactor(),
    ScoringVCG(),
    UniformPrice(),
    FixedPrice(),
    RandomPurchase(),
    PayAsBid(),
    VickreyFeedback(),
    LengthAuction(),
)
"""Auctions by name: those that guarantee most first, then baselines and controls."""
