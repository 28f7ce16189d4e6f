"""What a round's candidates are trained and valued with.

Belongs here: configurations from settings, evaluation prompts. Does not belong here: training (see ``resources.training``).
"""

from dataclasses import asdict

import polars as pl

from crowd_assets.round.randomness import generator_for
from crowd_assets.round.target import find_target
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.rounds.book import Round
from resources.settings.settings import CrowdSettings
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
    asked = evaluation_prompts(round_, "valuation", len(found.texts), demonstrations)
    return Valuation(
        [(own or drawn, text) for own, drawn, text in zip(found.prompts, asked, found.texts, strict=True)],
        seeds=settings.value_seeds,
        rows=settings.value_rows,
        every=settings.value_every,
        order=settings.value_order,
    )


def evaluation_prompts(round_: Round, purpose: str, samples: int, demonstrations: pl.DataFrame) -> list[str]:
    """``samples`` prompts of the round's demonstrations for one purpose, drawn so that every distinct prompt is as
    likely as any other, however often a contributor repeats one."""
    distinct = demonstrations["prompt"].unique().sort()
    chosen = generator_for(round_, f"{purpose} prompts").integers(len(distinct), size=samples)
    return [distinct[int(index)] for index in chosen]
