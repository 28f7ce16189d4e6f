"""What a round's candidates are trained and valued with.

Belongs here: configurations from settings, evaluation prompts. Does not belong here: training (see ``resources.training``).
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from crowd_assets.round.randomness import generator_for
from crowd_assets.round.target import find_target
from resources.feedback.conversations import messages_of
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.training.candidate_runs import CandidateConfig
from resources.training.prompting import Prompt
from resources.training.supervised import AdapterConfig
from resources.training.valuation import Valuation


def adapter_config(settings: CrowdSettings, learning_rate: float, epochs: int) -> AdapterConfig:
    """How the adapters of a round are trained: candidates and alignment differ in learning rate and epochs alone."""
    return AdapterConfig(
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=settings.batch_size,
        rank=settings.lora_rank,
        alpha=settings.lora_alpha,
        max_tokens=settings.max_tokens,
    )


def candidate_config(settings: CrowdSettings, learning_rate: float) -> CandidateConfig:
    """How a round's candidates are trained, at a peak rate that is set or was found (``round.rates``)."""
    return CandidateConfig(
        **asdict(adapter_config(settings, learning_rate, settings.epochs)),
        held_out=settings.held_out_demonstrations,
        patience=settings.patience,
        tokens_per_pass=settings.tokens_per_pass,
        gradient_checkpointing=settings.gradient_checkpointing,
        compile=settings.compile,
    )


def valuation_of(
    round_: Round,
    demonstrations: pl.DataFrame,
    settings: CrowdSettings,
    embedder: EmbedderResource,
    frames: FramesResource,
) -> Valuation | None:
    """The target's texts as answers to their own prompts, or the round's: what contributors are worth something for making
    likelier."""
    if settings.shapley_method != "in_run":
        return None
    aim = find_target(settings, embedder, frames)
    asked = evaluation_prompts(round_, "valuation", len(aim.texts), demonstrations, by=settings.exam)
    return Valuation(
        [(own or drawn, text) for own, drawn, text in zip(aim.prompts, asked, aim.texts, strict=True)],
        **settings.values,
    )


def sampling_of(settings: CrowdSettings) -> dict[str, Any]:
    """How models of a round write: arguments of ``TrainerResource.generate`` beside models, prompts and seed."""
    return {
        "max_new_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "top_k": settings.top_k,
        "top_p": settings.top_p,
        "min_p": settings.min_p,
        "longest": settings.max_tokens,
    }


def prompt_of(prompt: str, messages: str | None) -> Prompt:
    """What a response answers: the conversation where the event has one, else its prompt."""
    return messages_of(prompt, messages) if messages else prompt


def prompts_of(rows: pl.DataFrame) -> list[Prompt]:
    """:func:`prompt_of` each row of ``prompt`` and, where the frame has such a column, ``messages``."""
    messages = rows["messages"].to_list() if "messages" in rows.columns else [None] * rows.height
    return [prompt_of(prompt, said) for prompt, said in zip(rows["prompt"], messages, strict=True)]


def last_turn(prompt: Prompt) -> str:
    """What the user says last."""
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def evaluation_prompts(
    round_: Round, purpose: str, samples: int, demonstrations: pl.DataFrame, *, by: str = "contributors"
) -> list[Prompt]:
    """``samples`` prompts of the round's demonstrations for one purpose, conversations where they are that.

    Args:
        by: ``contributors``: every contributor's prompts fill the same share, as nearly as whole numbers go, so that nobody writes
            more of the exam by sending more; of one contributor's distinct prompts each is as likely. ``prompts``: every distinct
            prompt of all is as likely as any other.
    """
    rng = generator_for(round_, f"{purpose} prompts")
    if "messages" not in demonstrations.columns:
        demonstrations = demonstrations.with_columns(messages=pl.lit(None, pl.String))
    asked = ["prompt", "messages"]
    if by == "prompts":
        distinct = prompts_of(demonstrations.select(asked).unique().sort(asked))
        return [distinct[int(index)] for index in rng.integers(len(distinct), size=samples)]
    own = demonstrations.select("contributor_id", *asked).unique().sort("contributor_id", *asked)
    prompts = [prompts_of(rows) for _, rows in own.group_by("contributor_id", maintain_order=True)]
    turns = np.concatenate([rng.permutation(len(prompts)) for _ in range(-(-samples // len(prompts)))])[:samples]
    return [prompts[turn][int(rng.integers(len(prompts[turn])))] for turn in turns]
