"""Settings: what a round may spend on answers, and on which.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, field_validator

from resources.common.members import MemberOf
from resources.settings.fields import SettingError, decimal_text, setting


class Market(BaseModel):
    """What a round may spend on answers, and on which."""

    budget: str = setting(
        default="24",
        description="Credits that a round may spend on answers, with at most 6 decimal places. Credits that a round does not "
        "spend are not carried over.",
        shown="yes",
        essential=True,
    )
    value_per_quality: str = setting(
        default="1",
        description="Credits that an answer of quality 1 is worth to the buyer, with at most 6 decimal places. An answer of "
        "quality 0.5 is worth half as many.",
        shown="yes",
    )
    least_surplus: str = setting(
        default="0",
        description="Credits of an answer's value that the buyer keeps at least, with at most 6 decimal places. No payment "
        "exceeds the value less this surplus, also where sellers bid as a ring. A lot is not bought where fewer "
        "than two answers are worth the asked price and the surplus. 0, the default, buys the most lots.",
        shown="yes",
    )
    lots: str = setting(
        default="",
        description="File of the lots that may be bid for where CROWD_LOTS_FROM is listed: one lot_id a line.",
        shown="file",
    )
    lots_from: Literal["auto", "forum", "file", "worst", "listed", "any"] = setting(
        default="auto",
        description="Which lots may be bid for. The platform publishes lots for the next round in <outbox>/lots, with prompts "
        "of the embedded forum (forum), of the file CROWD_LOT_PROMPTS (file), or on which the base model is "
        "furthest from the target (worst). Without publishing, bids may name the lots of the file CROWD_LOTS "
        "(listed) or any lot (any), by which two names can take a whole budget. auto takes listed or file where "
        "such a file is set, else forum for the embedded model and worst for any other model.",
        shown="yes",
        earlier="any",
    )
    lot_prompts: str = setting(
        default="",
        description="Text file with the prompts of lots where CROWD_LOTS_FROM is file: one prompt a line.",
        shown="file",
    )
    lots_published: int = setting(
        default=12,
        ge=1,
        description="Number of lots that the platform publishes for a round, where CROWD_LOTS_FROM is forum, file or worst.",
        shown="yes",
    )
    auction: Annotated[str, MemberOf("crowd_assets.mechanisms.auctions.table:AUCTIONS")] = setting(
        default="posted_rate",
        description="Auction by which answers are bought. posted_rate, the default, is truthful, stays within the budget, and "
        "no seller raises a price by taking further names.",
        shown="yes",
        essential=True,
        earlier="scoring_vcg",
    )
    answers_per_lot: int = setting(
        default=8,
        ge=2,
        le=64,
        description="Number of answers bought in a lot at most; labelers compare the answers two by two. scoring_vcg, "
        "pay_as_bid, vickrey_feedback and length_auction always buy 2 answers in a lot.",
        shown="yes",
        earlier=2,
    )
    reserve: float = setting(
        default=0.75,
        gt=0,
        le=1,
        description="Payment for an answer at most, as a share of the answer's value. Sellers who are too few to compete are "
        "paid this share. Read by posted_rate, proportional_share, uniform_price and fixed_price.",
        shown="yes",
    )
    judging_budget: str = setting(
        default="6",
        description="Credits that a round may pay for judgements, with at most 6 decimal places. Each scored judgement earns "
        "its score times the budget over the number of scored judgements. The score goes by the outcome of the "
        "comparison, or by agreement with other labelers in a home that has no outcome yet. 0: judgements earn "
        "nothing.",
        shown="yes",
        essential=True,
        earlier="0",
    )
    judging_dues: float = setting(
        default=8.0,
        ge=0,
        le=1000,
        description="Points of score that a new labeler is not paid for: what a name loses ends with the name, so that without dues sure "
        "answers under many names would earn what luck brings and lose nothing.",
        shown="yes",
        earlier=2.0,
    )
    audit_share: float = setting(
        default=0.0,
        ge=0,
        le=1,
        description="Share of a round's comparison tasks, drawn at random, that <outbox>/audits also lists for a trusted "
        "person who sends outcomes. Labelers then never know which comparison has no outcome. 0, the default, "
        "needs no such person.",
        shown="yes",
    )

    @field_validator("budget", "judging_budget", "value_per_quality", "least_surplus")
    @classmethod
    def _credits(cls, value: str) -> str:
        return decimal_text(value)

    def known_lots(self) -> frozenset[str]:
        """The lots that the file of CROWD_LOTS lists.

        Raises:
            SettingError: the file cannot be read, or names none.
        """
        return frozenset(word for line in self._lines("lots") for word in line.split())

    def known_prompts(self) -> list[str]:
        """The prompts that the file of CROWD_LOT_PROMPTS lists, in order, each once.

        Raises:
            SettingError: the file cannot be read, or has none.
        """
        return list(dict.fromkeys(line.strip() for line in self._lines("lot_prompts")))

    def _lines(self, name: Literal["lots", "lot_prompts"]) -> list[str]:
        from upath import UPath

        place, variable = getattr(self, name), f"CROWD_{name.upper()}"
        if not place:
            raise SettingError(f"CROWD_LOTS_FROM={self.lots_from} needs {variable}: name a text file.")
        try:
            lines = [line for line in UPath(place).read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as problem:
            raise SettingError(
                f"{variable}={place!r} cannot be read ({problem}): name a text file, or unset {variable}."
            ) from None
        if not lines:
            raise SettingError(f"{variable}={place!r} names no lot: write one a line, or unset {variable}.")
        return lines
