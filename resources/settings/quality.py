"""Settings: what the gate and the detectors do with feedback.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

import re
from typing import Literal

from pydantic import BaseModel, field_validator

from resources.settings.fields import all_known, parts, setting

DETECTORS = (
    "near_duplicates",
    "copies",
    "gibberish",
    "language",
    "personal_data",
    "instructions",
    "unlikely",
    "too_fast",
    "straight_lining",
    "position_bias",
    "gold_agreement",
    "intransitivity",
    "collusion",
    "control_tokens",
    "too_long",
)


class Quality(BaseModel):
    """What the gate and the detectors do with feedback."""

    max_rejected_share: float = setting(
        default=0.5,
        ge=0,
        le=1,
        description="Share of a round's events that may be rejected before the gate stops the round, from 0 to 1. Rejections "
        "of half of the events point to a broken collector rather than to bad people.",
        shown="yes",
    )
    max_contributor_share: float = setting(
        default=0.5,
        gt=0,
        le=1,
        description="Share of a round's demonstrations, preferences or bids that one contributor may send before the gate "
        "warns. A warning stops nothing.",
        shown="yes",
    )
    max_feedback_age_days: float = setting(
        default=730.0,
        gt=0,
        description="Age of a round's newest event, in days, above which the gate warns of stale feedback. A warning stops "
        "nothing.",
        shown="yes",
    )
    drift_distance: float = setting(
        default=0.2,
        ge=0,
        le=1,
        description="Distance between the distributions of a round and of the five rounds before, above which the gate warns: "
        "of lengths, scripts, shares, prices and places in Φ. 0 is the same distribution, 1 has nothing in common."
        " Small samples may differ by more, as far as chance explains.",
        shown="yes",
    )
    detectors_reject: str = setting(
        default="copies,gibberish,instructions,unlikely,control_tokens,too_long",
        earlier="copies,gibberish,instructions",
        description="Detectors, separated by commas, whose findings go into quarantine: "
        + ", ".join(DETECTORS)
        + ". A detector that flags a labeler takes all judgements of the labeler in the round. Findings of the other detectors are "
        "shown and reject nothing. The default rejects what is rarely honest. Empty: no detector rejects.",
        shown="yes",
    )
    personal_data: Literal["mask", "reject", "keep"] = setting(
        default="mask",
        description="Treatment of e-mail addresses, telephone and card numbers and the like in texts: mask puts the kind in "
        "place of the number, reject rejects the response and masks the same data in the texts of others, keep "
        "changes nothing.",
        shown="yes",
    )
    phone_region: str = setting(
        default="US",
        description="Region (ISO 3166, two capital letters) whose telephone numbers are recognised without a country code.",
        shown="yes",
    )
    languages: str = setting(
        default="",
        description="Languages that responses may have (ISO 639-1 codes, separated by commas), such as en,de. The detector "
        "language flags every other language. Empty: any language.",
        shown="yes",
    )
    near_duplicate: float = setting(
        default=0.6,
        gt=0,
        le=1,
        description="Similarity from which two responses are near duplicates, from 0 to 1: the Jaccard index of their runs of "
        "4 bytes. Nearly the same words reach the default; a paraphrase does not.",
        shown="yes",
    )
    fastest_reading: float = setting(
        default=1000.0,
        gt=0,
        description="Words a minute above which the detector too_fast flags a judgement as made without reading. Nobody reads "
        "as fast as the default.",
        shown="yes",
    )

    @field_validator("detectors_reject")
    @classmethod
    def _known_detectors(cls, value: str) -> str:
        all_known(parts(value), DETECTORS, "detector")
        return value

    @field_validator("languages")
    @classmethod
    def _language_codes(cls, value: str) -> str:
        if not all(re.fullmatch("[a-z]{2,3}", code) for code in parts(value)):
            raise ValueError(f"{value!r} must be codes such as en,de")
        return value

    @field_validator("phone_region")
    @classmethod
    def _region_code(cls, value: str) -> str:
        if not re.fullmatch("[A-Z]{2}", value):
            raise ValueError(f"{value!r} must be two capital letters such as US or DE")
        return value

    @property
    def rejecting_detectors(self) -> tuple[str, ...]:
        """Names in ``detectors_reject``."""
        return parts(self.detectors_reject)

    @property
    def spoken_languages(self) -> tuple[str, ...]:
        """Codes in ``languages``."""
        return parts(self.languages)
