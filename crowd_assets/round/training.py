"""What a round's candidates are trained and valued with.

Belongs here: configurations from settings, evaluation prompts. Does not belong here: training (see ``resources.training``).
"""

from dataclasses import asdict

import numpy as np
import polars as pl

from crowd_assets.round.randomness import generator_for
from crowd_assets.round.target import find_target
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.training.candidates import CandidateConfig
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


def candidate_config(settings: CrowdSettings) -> CandidateConfig:
    return CandidateConfig(
        **asdict(adapter_config(settings, settings.learning_rate, settings.epochs)),
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
    found = find_target(settings, embedder, frames)
    asked = evaluation_prompts(round_, "valuation", len(found.texts), demonstrations, by=settings.exam)
    return Valuation(
        [(own or drawn, text) for own, drawn, text in zip(found.prompts, asked, found.texts, strict=True)],
        seeds=settings.value_seeds,
        rows=settings.value_rows,
        every=settings.value_every,
        order=settings.value_order,
    )


def evaluation_prompts(
    round_: Round, purpose: str, samples: int, demonstrations: pl.DataFrame, *, by: str = "contributors"
) -> list[str]:
    """``samples`` prompts of the round's demonstrations for one purpose.

    Args:
        by: ``contributors``: every contributor's prompts fill the same share, as nearly as whole numbers go, so that nobody writes
            more of the exam by sending more; of one contributor's distinct prompts each is as likely. ``prompts``: every distinct
            prompt of all is as likely as any other.
    """
    rng = generator_for(round_, f"{purpose} prompts")
    if by == "prompts":
        distinct = demonstrations["prompt"].unique().sort()
        return [distinct[int(index)] for index in rng.integers(len(distinct), size=samples)]
    own = demonstrations.group_by("contributor_id").agg(pl.col("prompt").unique().sort()).sort("contributor_id")
    prompts = own["prompt"].to_list()
    turns = np.concatenate([rng.permutation(len(prompts)) for _ in range(-(-samples // len(prompts)))])[:samples]
    return [prompts[turn][int(rng.integers(len(prompts[turn])))] for turn in turns]
