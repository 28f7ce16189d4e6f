"""Settings: how models are sampled and the winner is chosen.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from typing import Literal

from pydantic import BaseModel

from resources.settings.fields import setting


class Selection(BaseModel):
    """How models are sampled and the winner is chosen."""

    exam: Literal["contributors", "prompts"] = setting(
        default="contributors",
        description="What fills the prompts on which models are compared: the same share of every contributor's prompts, or every "
        "distinct prompt alike, so that whoever sends most writes most of them.",
        shown="yes",
        earlier="prompts",
    )
    guard: bool = setting(
        default=True,
        description="A candidate does not win, however near to the target, whose texts fall behind the base's as language: unlike the "
        "reference texts by their likelihood under the base model of round 1, too alike, or copied from what it learnt.",
        shown="yes",
        earlier=False,
    )
    selection_samples: int = setting(
        default=256, ge=8, description="Generations per model on which the winner is chosen.", shown="yes"
    )
    selection_confidence: float = setting(
        default=0.9,
        ge=0.5,
        lt=1,
        description="Confidence with which the best candidate must be closer to the target than the base to replace it. "
        "Models that it cannot be told from with that confidence are measured on further samples.",
        shown="yes",
    )
    selection_batches: int = setting(
        default=3,
        ge=1,
        description="Samples of CROWD_SELECTION_SAMPLES generations that a model close to the best may take. Afterwards the best model so far wins.",
        shown="yes",
    )
    report_samples: int = setting(
        default=384, ge=8, description="Fresh generations per model on which distances are reported.", shown="yes"
    )
    max_new_tokens: int = setting(default=40, ge=1, description="Longest generation, in tokens.", shown="yes")
    temperature: float = setting(default=1.0, gt=0, description="Sampling temperature of generations.", shown="yes")
