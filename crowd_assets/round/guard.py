"""The guard of a round: whether what a candidate writes is language, before it may win.

Belongs here: reference texts, scoring what models wrote, rows of ``guard_verdicts``. Does not belong here: figures and limits (see
``mechanisms.guard``).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from crowd_assets.forum.comments import misspell
from crowd_assets.mechanisms.guard import (
    LikelihoodRange,
    Limits,
    Weigh,
    Writing,
    calibrated,
    falls_behind,
    likelihoods,
    writing,
)
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.rates import losses_of
from crowd_assets.round.target import answers_of, ordinary_texts
from crowd_assets.round.training import evaluation_prompts
from resources.files.frames import FramesResource
from resources.models.store import fingerprint
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.training.prompting import Prompt

RANGE = "guard_range"  # the frame that keeps the range of feedback
FEEDBACK_REFERENCES = 2_000  # reference texts of it: of fewer than 1 / TAIL the outermost lie beyond it too often
REFERENCES = 400  # reference texts that the range is calibrated on
GENERAL = 100  # reference texts that forgetting is looked for in
LEAST = 20  # reference texts, below which nothing can be calibrated

Verdict = dict[str, Any]
SCHEMA = {
    "group_index": pl.Int32,
    "outside": pl.Float64,
    "distinct_pairs": pl.Float64,
    "overlap": pl.Float64,
    "copied": pl.Float64,
    "texts": pl.Int64,
    "refused": pl.String,
}


@dataclass(frozen=True)
class Kept:
    """What no model of a lineage may forget: sets of prompts and responses by name, each with its loss under the root, nats a
    token."""

    trainer: TrainerResource
    sets: dict[str, list[tuple[Prompt, str]]]
    of_root: dict[str, float]
    max_tokens: int
    limit: float

    def rises(self, model: str) -> dict[str, float]:
        """By how much each set's loss is higher under a stored model than under the root, as a share of that."""
        losses = losses_of(self.trainer, model, self.sets, self.max_tokens)
        return {name: loss / self.of_root[name] - 1 for name, loss in losses.items()}

    def forgotten(self, model: str) -> str:
        """What a stored model forgot beyond the limit, in words; empty where it forgot no more than that."""
        return "; ".join(
            f"the loss of {name} rose by {rise:.1%} over the first base's, and CROWD_FORGETTING_LIMIT allows {self.limit:.1%}"
            for name, rise in self.rises(model).items()
            if rise > self.limit
        )


def kept_texts(round_: Round, settings: CrowdSettings, frames: FramesResource, trainer: TrainerResource) -> Kept:
    """What the settings ask to be kept: nothing without a limit. The embedded model knows its forum only, so its reference texts are
    no general knowledge."""
    sets: dict[str, list[tuple[Prompt, str]]] = {}
    if settings.forgetting_limit and settings.base_model:
        demonstrations = frames.read("validated_feedback", round_.round_id).filter(pl.col("kind") == "demonstration")
        ordinary = ordinary_texts(settings)
        chosen = generator_for(round_, "forgetting").permutation(len(ordinary))[:GENERAL].tolist()
        asked = evaluation_prompts(round_, "forgetting", len(chosen), demonstrations, by=settings.exam)
        sets["reference texts"] = [(prompt, ordinary[index]) for prompt, index in zip(asked, chosen, strict=True)]
    if settings.forgetting_limit and settings.held_out_texts:
        sets["CROWD_HELD_OUT_TEXTS"] = [*answers_of(settings.held_out_texts, "CROWD_HELD_OUT_TEXTS")]
    of_root = losses_of(trainer, None, sets, settings.max_tokens)
    return Kept(trainer, sets, of_root, settings.max_tokens, settings.forgetting_limit)


@dataclass
class Guard:
    """Verdicts on models of one round, by what they wrote to the same ``prompts``."""

    trainer: TrainerResource
    prompts: list[Prompt]
    max_tokens: int
    range: LikelihoodRange
    kept: Kept
    _base: Writing | None = None

    def base(self, texts: Sequence[str]) -> Verdict:
        """The base's figures, which candidates are held against."""
        self._base = self._writing(texts, [])
        return _row(-1, self._base, "")

    def candidate(self, group: int, model: str, texts: Sequence[str], learnt: Sequence[str]) -> Verdict:
        """A candidate's figures, and ``refused``: what it falls behind the base in, or what it forgot; empty where it may win.

        Args:
            model: The stored model.
            texts: What it wrote.
            learnt: What it was trained on.

        Raises:
            RuntimeError: before the base.
        """
        if self._base is None:
            raise RuntimeError("a candidate is held against the base: look at the base's texts first")
        writing = self._writing(texts, learnt)
        return _row(group, writing, falls_behind(writing, self._base, Limits()) or self.kept.forgotten(model))

    def _writing(self, texts: Sequence[str], learnt: Sequence[str]) -> Writing:
        seen = list(texts[: len(self.prompts)])
        scores = self.trainer.likelihoods(None, list(zip(self.prompts, seen, strict=True)), self.max_tokens)
        return writing(seen, self.range.outside(likelihoods(scores)), learnt)


def guard_of(round_: Round, settings: CrowdSettings, frames: FramesResource, trainer: TrainerResource) -> Guard | None:
    """The guard of a round, calibrated on reference texts under the root; None with too few of them."""
    demonstrations = frames.read("validated_feedback", round_.round_id).filter(pl.col("kind") == "demonstration")
    ordinary = ordinary_texts(settings)
    rng = generator_for(round_, "guard")
    chosen = rng.permutation(len(ordinary))[:REFERENCES].tolist()
    if len(chosen) < LEAST:
        return None
    asked = evaluation_prompts(round_, "guard", len(chosen), demonstrations, by=settings.exam)
    pairs = [(prompt, ordinary[index]) for prompt, index in zip(asked, chosen, strict=True)]
    bounds = calibrated(likelihoods(trainer.likelihoods(None, pairs, settings.max_tokens)))
    prompts = evaluation_prompts(round_, "selection", settings.samples["selection"], demonstrations, by=settings.exam)
    return Guard(trainer, prompts, settings.max_tokens, bounds, kept_texts(round_, settings, frames, trainer))


def weigher_of(
    round_: Round, settings: CrowdSettings, frames: FramesResource, trainer: TrainerResource
) -> Weigh | None:
    """How likely the root finds responses, and what puts one outside the range of reference texts; None without reference texts of the
    campaign's domain.

    The range is of a root and reference texts, half of them with slips of the hand, and is kept. References and responses are scored after prompts that are dealt
    to them at random, so that nobody makes its text likely by the prompt that it brings.
    """
    key = range_key(settings, trainer)
    if key is None:
        return None
    ordinary = ordinary_texts(settings)

    def weigh(pairs: Sequence[tuple[str, str]]) -> list[tuple[float, str]]:
        prompts = [prompt for prompt, _ in pairs]
        if not frames.path(RANGE, key).exists():
            rng = generator_for(round_, "range of feedback")
            chosen = [ordinary[int(index)] for index in rng.permutation(len(ordinary))[:FEEDBACK_REFERENCES]]
            asked = [prompts[int(index)] for index in rng.integers(len(prompts), size=len(chosen))]
            spelt = with_slips(chosen, rng)
            scores = trainer.likelihoods(None, list(zip(asked, spelt, strict=True)), settings.max_tokens)
            frames.write(RANGE, key, pl.DataFrame([asdict(calibrated(likelihoods(scores)))]))
        bounds = LikelihoodRange(**frames.read(RANGE, key).row(0, named=True))
        dealt = [prompts[int(index)] for index in generator_for(round_, "guard of feedback").permutation(len(prompts))]
        responses = [response for _, response in pairs]
        found = likelihoods(trainer.likelihoods(None, list(zip(dealt, responses, strict=True)), settings.max_tokens))
        return [(float(nats), bounds.why(found, index)) for index, nats in enumerate(found.mean)]

    return weigh


def range_key(settings: CrowdSettings, trainer: TrainerResource) -> str | None:
    """Which range of likelihood feedback is held against: the name of its frame; None where feedback is held against none."""
    own_domain = bool(settings.reference_texts) or not settings.base_model
    if not (settings.guard and own_domain):
        return None
    ordinary = ordinary_texts(settings)
    if len(ordinary) < LEAST:
        return None
    return fingerprint(root=trainer.root_identity(), texts=ordinary, max_tokens=settings.max_tokens)


def with_slips(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Texts, of which every second has slips of the hand in a quarter of its words: who misspells is no machine."""
    return [misspell(text, rng) if number % 2 else text for number, text in enumerate(texts)]


def with_block(verdicts: Sequence[Verdict], group: int, reason: str) -> list[Verdict]:
    """The verdicts with a candidate blocked for ``reason``, whether or not the guard had looked at the candidate."""
    nothing: Verdict = dict.fromkeys(SCHEMA) | {"group_index": group}
    known = next((each for each in verdicts if each["group_index"] == group), nothing)
    return [*(each for each in verdicts if each["group_index"] != group), known | {"refused": reason}]


def verdict_rows(verdicts: Sequence[Verdict]) -> pl.DataFrame:
    """Rows of ``guard_verdicts``."""
    return pl.DataFrame(list(verdicts), schema=SCHEMA)


def _row(group: int, writing: Writing, refused: str) -> Verdict:
    return {
        "group_index": group,
        "outside": writing.outside,
        "distinct_pairs": writing.distinct,
        "overlap": writing.overlap,
        "copied": writing.copied,
        "texts": writing.texts,
        "refused": refused,
    }
