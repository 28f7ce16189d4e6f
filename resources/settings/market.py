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
        default="24", description="Credits a round may spend on bought answers.", shown="yes", essential=True
    )
    value_per_quality: str = setting(
        default="1", description="Credits that an answer of quality 1 is worth to the buyer.", shown="yes"
    )
    least_surplus: str = setting(
        default="0",
        description="Credits of an answer's value that the buyer keeps at least: what sellers that bid as a ring can raise a "
        "payment to is the value less this. Lots in which no two answers are worth that much more than asked are not bought.",
        shown="yes",
    )
    lots: str = setting(
        default="",
        description="File with the lots that may be bid for, one lot_id a line, where CROWD_LOTS_FROM says so.",
        shown="file",
    )
    lots_from: Literal["auto", "forum", "file", "worst", "listed", "any"] = setting(
        default="auto",
        description="Which lots may be bid for. Published by the platform in <outbox>/lots, for the next round: with prompts of the "
        "embedded forum (forum), of CROWD_LOT_PROMPTS (file), or those on which the base model is furthest from the target (worst). "
        "Not published: those of CROWD_LOTS (listed), or any that a seller names (any), with which two names take a budget. auto: "
        "listed or file where the file is set, else forum for the embedded model and worst for another.",
        shown="yes",
        earlier="any",
    )
    lot_prompts: str = setting(
        default="",
        description="Text file with prompts of lots, one a line, for CROWD_LOTS_FROM=file.",
        shown="file",
    )
    lots_published: int = setting(default=12, ge=1, description="Lots published for a round.", shown="yes")
    auction: Annotated[str, MemberOf("crowd_assets.mechanisms.auctions.table:AUCTIONS")] = setting(
        default="posted_rate",
        description="The auction that answers are bought by.",
        shown="yes",
        essential=True,
        earlier="scoring_vcg",
    )
    answers_per_lot: int = setting(
        default=8,
        ge=2,
        le=64,
        description="Answers bought in a lot at most; labelers compare them two by two. scoring_vcg and the controls buy 2.",
        shown="yes",
        earlier=2,
    )
    reserve: float = setting(
        default=0.75,
        gt=0,
        le=1,
        description="Most that an answer is paid, as a share of its value: what sellers are paid who are too few to compete. For "
        "posted_rate, proportional_share, uniform_price and fixed_price.",
        shown="yes",
    )
    judging_budget: str = setting(
        default="6",
        description="Credits that a round may pay for judgements. Each judgement scored in the round earns its score times the budget "
        "over the number of judgements scored: by the outcome of its comparison, or by agreement with peers in a home where nothing was "
        "realised yet. 0: judgements earn nothing.",
        shown="yes",
        essential=True,
        earlier="0",
    )
    audit_share: float = setting(
        default=0.0,
        ge=0,
        le=1,
        description="Share of a round's comparison tasks, drawn at random, that <outbox>/audits lists as well, for somebody "
        "trusted to send outcomes for: so that labelers cannot know of which comparison nobody will learn the truth.",
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
            found = [line for line in UPath(place).read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as problem:
            raise SettingError(
                f"{variable}={place!r} cannot be read ({problem}): name a text file, or unset it."
            ) from None
        if not found:
            raise SettingError(f"{variable}={place!r} names no lot: write one a line, or unset it.")
        return found
