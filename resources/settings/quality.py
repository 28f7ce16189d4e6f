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
    "too_fast",
    "straight_lining",
    "position_bias",
    "gold_agreement",
    "intransitivity",
    "collusion",
)


class Quality(BaseModel):
    """What the gate and the detectors do with feedback."""

    max_rejected_share: float = setting(
        default=0.5,
        ge=0,
        le=1,
        description="Share of a round's events that may be rejected before the gate closes.",
        shown="yes",
    )
    max_contributor_share: float = setting(
        default=0.5,
        gt=0,
        le=1,
        description="Share of a round's demonstrations, preferences or bids that one contributor may send without a warning.",
        shown="yes",
    )
    max_feedback_age_days: float = setting(
        default=730.0,
        gt=0,
        description="Age of a round's newest event, in days, above which it is warned of.",
        shown="yes",
    )
    drift_distance: float = setting(
        default=0.2,
        ge=0,
        le=1,
        description="Distance of a round's lengths, scripts, shares, prices and places in Φ from those of the five rounds "
        "before it, from 0 (the same) to 1 (nothing in common), above which it is warned of. Small samples may differ more.",
        shown="yes",
    )
    detectors_reject: str = setting(
        default="copies,gibberish,instructions",
        description="Detectors, separated by commas, whose events go into quarantine: "
        + ", ".join(DETECTORS)
        + ". Of one that "
        "flags labelers these are all their judgements of the round. What a detector finds is shown in any case. Empty: none.",
        shown="yes",
    )
    personal_data: Literal["mask", "reject", "keep"] = setting(
        default="mask",
        description="What becomes of e-mail addresses, telephone and card numbers and the like in texts: replaced by their kind, "
        "the response rejected (and what others' texts hold of it replaced), or nothing.",
        shown="yes",
    )
    phone_region: str = setting(
        default="US",
        description="Region (ISO 3166) whose telephone numbers are found without their country code.",
        shown="yes",
    )
    languages: str = setting(
        default="",
        description="Languages of responses (ISO 639-1, separated by commas) outside which the detector language flags. Empty: any.",
        shown="yes",
    )
    near_duplicate: float = setting(
        default=0.6,
        gt=0,
        le=1,
        description="Similarity (Jaccard, of runs of 4 bytes) from which two responses are near duplicates.",
        shown="yes",
    )
    fastest_reading: float = setting(
        default=1000.0,
        gt=0,
        description="Words a minute above which a judgement was made too fast to be read.",
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
