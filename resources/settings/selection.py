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
        description="Prompts on which models are compared. contributors takes the same share of every contributor's prompts; "
        "prompts takes every distinct prompt alike, so that whoever sends most prompts writes most of the exam.",
        shown="yes",
        earlier="prompts",
    )
    guard: bool = setting(
        default=True,
        description="Whether a candidate must also keep up with the base as language to win, however near the candidate is to "
        "the target. Texts of a winner may not be less likely under the base model of round 1 than reference texts"
        " are, nor too alike, nor copied from demonstrations.",
        shown="yes",
        earlier=False,
    )
    gate_command: str = setting(
        default="",
        description="Command of the operator's own benchmark, run without a shell before a model may become the next base. The words "
        "{candidate}, {base} and {root} stand for the directories of the adapters and for the root model. Any exit status but 0 "
        "blocks the model; the round records the command's last line as the reason. Empty: no command.",
        shown="no",
        per_run=False,
    )
    gate_seconds: float = setting(
        default=3600.0,
        gt=0,
        description="Seconds that CROWD_GATE_COMMAND may take. A command without an answer by then blocks the model.",
        shown="yes",
    )
    forgetting_limit: float = setting(
        default=0.05,
        ge=0,
        description="Rise of the loss of ordinary texts over the first base model's, as a share, above which a model becomes no next "
        "base: on the reference texts, where CROWD_BASE_MODEL names a model, and on CROWD_HELD_OUT_TEXTS. The limit needs CROWD_GUARD. 0: no "
        "limit.",
        earlier=0.0,
        shown="yes",
    )
    held_out_texts: str = setting(
        default="",
        description="File of answers that must not get less likely, whatever the crowd teaches: JSON Lines with the fields prompt and "
        "response. Empty: no such file.",
        shown="file",
    )
    selection_samples: int = setting(
        default=256,
        ge=8,
        description="Number of texts that each model generates for the choice of the winner. More texts make distances more "
        "certain, and generation is most of a large model's time.",
        shown="yes",
    )
    selection_confidence: float = setting(
        default=0.9,
        ge=0.5,
        lt=1,
        description="Confidence with which the best candidate must lie closer to the target than the base to replace the base,"
        " from 0.5 to 1. Models that this confidence cannot tell from the best generate further texts.",
        shown="yes",
    )
    selection_batches: int = setting(
        default=3,
        ge=1,
        description="Number of times that a model close to the best generates CROWD_SELECTION_SAMPLES texts, at most. After "
        "the last time the best model so far wins.",
        shown="yes",
    )
    report_samples: int = setting(
        default=384,
        ge=8,
        description="Number of fresh texts that base and winner generate for the distances that a report shows. Texts that "
        "chose the winner would make the winner look better than the winner is.",
        shown="yes",
    )
    max_new_tokens: int = setting(
        default=40, ge=1, description="Number of tokens that a generated text may have at most.", shown="yes"
    )
    top_k: int = setting(
        default=0,
        ge=0,
        description="Number of the likeliest tokens that a generated text may go on with. 0: all tokens. What a model's own "
        "generation_config.json says has no part in a round.",
        shown="yes",
    )
    top_p: float = setting(
        default=1.0,
        gt=0,
        le=1,
        description="Probability that the likeliest tokens must have together; a generated text goes on with these tokens alone. 1: "
        "with any token.",
        shown="yes",
    )
    min_p: float = setting(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the likeliest token's probability that a token must have to be drawn in a generated text. 0: any "
        "token.",
        shown="yes",
    )
    temperature: float = setting(
        default=1.0,
        gt=0,
        description="Sampling temperature of generated texts: 1 samples as the model was trained, lower values vary less.",
        shown="yes",
    )
