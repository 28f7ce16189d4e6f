"""Stage 0, the embedded default: a small language model, a classifier, and the target that the crowd works towards.

Belongs here: building the seed models once, and finding the target once.
Does not belong here: the grammar (see ``crowd_assets.forum.comments``), training loops (see ``resources.training``).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from dagster import AssetExecutionContext, DataVersion, MaterializeResult, asset

from crowd_assets.assets import OWNERS
from crowd_assets.forum import comments as forum
from crowd_assets.forum import recipe
from crowd_assets.report import display
from crowd_assets.round.target import find_target
from resources.common.errors import OperatorError
from resources.common.locks import held
from resources.common.progress import throttled
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.models.store import fingerprint
from resources.settings.resource import CrowdSettings
from resources.training.packaged import packaged, packaged_folder
from resources.training.seed.common import train_seed_classifier, train_seed_language_model

THREADS = 2  # the same weights on every machine of one kind, however many cores it has
FIGURES = "figures.json"
LONGEST_BUILD_S = 3600.0  # another process's, that one waits for


class SeedBusyError(OperatorError, TimeoutError):
    """Another process is at a seed model for too long; the message says which."""


@asset(group_name="0_seed", kinds={"huggingface", "pytorch"}, owners=OWNERS)
def seed_language_model(context: AssetExecutionContext, settings: CrowdSettings) -> MaterializeResult[None]:
    """A small Llama with its own tokenizer, trained on the comments of the embedded forum: the base model of round 1
    where CROWD_BASE_MODEL names no other. Built once; afterwards only its figures are shown again."""
    if packaged(settings.base_model):
        packaged_folder(settings.base_model, context.log.info)
    if settings.base_model:
        return MaterializeResult(metadata={"base model": settings.base_model, "used": False})

    def build(directory: Path, progress: Callable[[int, int, str], None]) -> dict[str, Any]:
        comments = forum.write_comments(recipe.COMMENTS, np.random.default_rng(recipe.SEED))
        pairs = [(comment.prompt, comment.response) for comment in comments]
        return train_seed_language_model(pairs, directory, seed=recipe.SEED, progress=progress, threads=THREADS)

    figures = _built_once(settings.seed_language_model_path, build, context.log.info)
    return _built(settings.seed_language_model_path, figures)


@asset(group_name="0_seed", kinds={"huggingface", "pytorch"}, owners=OWNERS)
def seed_classifier(context: AssetExecutionContext, settings: CrowdSettings) -> MaterializeResult[None]:
    """A small classifier with one sigmoid a mood, trained on labelled comments of the embedded forum: the default Φ
    where CROWD_EMBEDDER names no other. Built once; afterwards only its figures are shown again."""
    if settings.embedder:
        return MaterializeResult(metadata={"embedder": settings.embedder, "used": False})

    def build(directory: Path, progress: Callable[[int, int, str], None]) -> dict[str, Any]:
        rng = np.random.default_rng(recipe.SEED)
        comments = forum.write_comments(recipe.LABELLED_COMMENTS, rng)
        unlabelled = [
            forum.off_topic_text(rng) if number % 2 else forum.spam_text(rng)
            for number in range(recipe.UNLABELLED_COMMENTS)
        ]
        texts = [comment.response for comment in comments] + unlabelled
        labels = [(comment.mood,) for comment in comments] + [()] * len(unlabelled)
        return train_seed_classifier(
            texts, labels, forum.MOODS, directory, seed=recipe.SEED, progress=progress, threads=THREADS
        )

    figures = _built_once(settings.seed_classifier_path, build, context.log.info)
    return _built(settings.seed_classifier_path, figures)


@asset(group_name="0_seed", kinds={"huggingface", "polars"}, owners=OWNERS, deps=[seed_language_model, seed_classifier])
def target(settings: CrowdSettings, embedder: EmbedderResource, frames: FramesResource) -> MaterializeResult[None]:
    """What the crowd works towards, as a point in the space of Φ: the centroid of the neighbours of the text that shows the
    wanted attribute most (Crowd-SFT, arXiv 2506.04063), of the texts that show it most, of texts to be like or of gold
    answers. Found once for each choice of Φ, attribute and texts."""
    aim = find_target(settings, embedder, frames)
    dimensions = embedder.labels or tuple(f"dimension {index}" for index in range(aim.vector.size))
    order = np.argsort(-np.abs(aim.vector))[:12]
    return MaterializeResult(
        metadata={
            "from": f"{settings.target_source}: {settings.target_name}",
            "ordinary_distance": round(aim.ordinary_distance, 4),
            "vector": display.plot(
                display.bars([dimensions[i] for i in order], [float(aim.vector[i]) for i in order], axis="target")
            ),
            "texts": display.table(pl.DataFrame({"texts": list(aim.texts[:8])})),
        }
    )


def _built_once(
    directory: Path,
    build: Callable[[Path, Callable[[int, int, str], None]], dict[str, Any]],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Build a seed model if it is not there; its figures, from the building or from the file beside it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    note = directory.with_name(f"{directory.name}.{FIGURES}")

    def busy(holder: str) -> SeedBusyError:
        return SeedBusyError(
            f"{directory} has been built for {LONGEST_BUILD_S / 60:.0f} minutes by {holder}. Wait for that process or stop that process."
        )

    lock = Path(f"{directory}.lock")
    with held(
        lock,
        LONGEST_BUILD_S,
        busy,
        lambda holder: say(f"{directory.name}: waiting while {holder} builds the model"),
    ):
        if not directory.exists():
            progress = throttled(directory.name, say)
            figures = build(directory, progress)
            note.write_text(json.dumps(figures | {"recipe": recipe.RECIPE}))
        return json.loads(note.read_text()) if note.exists() else {}


def _built(directory: Path, figures: dict[str, Any]) -> MaterializeResult[None]:
    """The same version of data as long as the model is the same, so that showing it again makes nothing stale."""
    shown = {name: value for name, value in figures.items() if isinstance(value, int | float | str)}
    return MaterializeResult(
        metadata=display.rounded({"used": True, "path": str(directory.resolve()), **shown}),
        data_version=DataVersion(fingerprint(**figures)),
    )
