"""Stage 0, the embedded default: a small language model, a classifier, and the target that the crowd works towards.

Belongs here: building the seed models once, and finding the target once.
Does not belong here: the grammar (see ``crowd_assets.simulation.forum``), training loops (see ``resources.training``).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from dagster import AssetExecutionContext, DataVersion, MaterializeResult, asset
from filelock import FileLock
from numpy.typing import NDArray
from upath import UPath

from crowd_assets import display
from crowd_assets.assets import OWNERS
from crowd_assets.mechanisms.target import distances, nearest_centroid
from crowd_assets.simulation import forum
from resources.embedder import EmbedderResource
from resources.frames import FramesResource
from resources.model_store import fingerprint
from resources.progress import throttled
from resources.settings import CrowdSettings, SettingError
from resources.training.seed import train_seed_classifier, train_seed_language_model

SEED = 20260101
THREADS = 2  # the same weights on every machine of one kind, however many cores it has
COMMENTS = 20_000
LABELLED_COMMENTS = 10_000
UNLABELLED_COMMENTS = 1_500
REFERENCE_COMMENTS = 4_000
RECIPE = {
    "seed": SEED,
    "comments": COMMENTS,
    "labelled": LABELLED_COMMENTS,
    "unlabelled": UNLABELLED_COMMENTS,
    "grammar": 1,
}
FIGURES = "figures.json"


@dataclass(frozen=True)
class Target:
    """What the crowd works towards.

    Attributes:
        vector: Target (d,) in the space of Φ.
        ordinary_distance: Mean distance of the reference texts to it: what an ordinary text is away, above 0.
        texts: The texts nearest to it, nearest first.
    """

    vector: NDArray[np.float64]
    ordinary_distance: float
    texts: tuple[str, ...]


@asset(group_name="seed", kinds={"huggingface", "torch"}, owners=OWNERS)
def seed_language_model(context: AssetExecutionContext, settings: CrowdSettings) -> MaterializeResult[None]:
    """A small Llama with its own tokenizer, trained on the comments of the embedded forum: the base model of round 1
    where CROWD_BASE_MODEL names no other. Built once; afterwards only its figures are shown again."""
    if settings.base_model:
        return MaterializeResult(metadata={"base model": settings.base_model, "used": False})
    comments = forum.write_comments(COMMENTS, np.random.default_rng(SEED))

    def build(directory: Path, progress: Callable[[int, int, str], None]) -> dict[str, Any]:
        pairs = [(comment.prompt, comment.response) for comment in comments]
        return train_seed_language_model(pairs, directory, seed=SEED, progress=progress, threads=THREADS)

    figures = _built_once(settings.seed_language_model_path, build, context.log.info)
    return _built(settings.seed_language_model_path, figures)


@asset(group_name="seed", kinds={"huggingface", "torch"}, owners=OWNERS)
def seed_classifier(context: AssetExecutionContext, settings: CrowdSettings) -> MaterializeResult[None]:
    """A small classifier with one sigmoid a mood, trained on labelled comments of the embedded forum: the default Φ
    where CROWD_EMBEDDER names no other. Built once; afterwards only its figures are shown again."""
    if settings.embedder:
        return MaterializeResult(metadata={"embedder": settings.embedder, "used": False})
    rng = np.random.default_rng(SEED)
    comments = forum.write_comments(LABELLED_COMMENTS, rng)
    unlabelled = [
        forum.off_topic_text(rng) if number % 2 else forum.spam_text(rng) for number in range(UNLABELLED_COMMENTS)
    ]
    texts = [comment.response for comment in comments] + unlabelled
    labels = [(comment.mood,) for comment in comments] + [()] * len(unlabelled)

    def build(directory: Path, progress: Callable[[int, int, str], None]) -> dict[str, Any]:
        return train_seed_classifier(
            texts, labels, forum.MOODS, directory, seed=SEED, progress=progress, threads=THREADS
        )

    figures = _built_once(settings.seed_classifier_path, build, context.log.info)
    return _built(settings.seed_classifier_path, figures)


@asset(group_name="seed", kinds={"huggingface", "polars"}, owners=OWNERS, deps=[seed_classifier])
def target(settings: CrowdSettings, embedder: EmbedderResource, frames: FramesResource) -> MaterializeResult[None]:
    """What the crowd works towards, as a point in the space of Φ: the centroid of the texts to be like, or of the
    neighbours of the text that shows the wanted attribute most (Crowd-SFT, arXiv 2506.04063). Found once for each
    choice of Φ, attribute and texts."""
    found = find_target(settings, embedder, frames)
    dimensions = embedder.labels or tuple(f"dimension {index}" for index in range(found.vector.size))
    order = np.argsort(-np.abs(found.vector))[:12]
    return MaterializeResult(
        metadata={
            "attribute": settings.target_texts or settings.target_attribute,
            "ordinary_distance": round(found.ordinary_distance, 4),
            "vector": display.plot(
                display.bars([dimensions[i] for i in order], [float(found.vector[i]) for i in order], axis="target")
            ),
            "texts": display.table(pl.DataFrame({"nearest texts": list(found.texts[:8])})),
        }
    )


def find_target(settings: CrowdSettings, embedder: EmbedderResource, frames: FramesResource) -> Target:
    """The target of the settings, computed at first use and read from its frame afterwards.

    Raises:
        SettingError: the attribute is no label of Φ, or a file of texts is missing or empty.
    """
    wanted = _texts(settings.target_texts, "CROWD_TARGET_TEXTS") if settings.target_texts else []
    if settings.reference_texts:
        ordinary = _texts(settings.reference_texts, "CROWD_REFERENCE_TEXTS")
    else:
        ordinary = [c.response for c in forum.write_comments(REFERENCE_COMMENTS, np.random.default_rng(SEED + 1))]
    key = fingerprint(
        embedder=embedder.source,
        revision=embedder.revision,
        recipe=RECIPE,
        attribute=settings.target_attribute,
        neighbours=settings.target_neighbours,
        wanted=wanted,
        ordinary=ordinary,
    )
    path = frames.path("target", key)
    if not path.exists():
        frames.write("target", key, _find(settings, embedder, wanted, ordinary))
    row = frames.read("target", key).row(0, named=True)
    return Target(np.array(row["vector"]), row["ordinary_distance"], tuple(row["texts"]))


def _find(settings: CrowdSettings, embedder: EmbedderResource, wanted: list[str], ordinary: list[str]) -> pl.DataFrame:
    vectors = embedder.embed(ordinary)
    if wanted:
        vector = embedder.embed(wanted).mean(axis=0)
        nearest = wanted
    else:
        if settings.target_attribute not in embedder.labels:
            known = ", ".join(embedder.labels) or "none, as it is a sentence encoder"
            raise SettingError(
                f"CROWD_TARGET_ATTRIBUTE={settings.target_attribute!r} is no label of {embedder.source}; its labels "
                f"are {known}. Choose one of them, or set CROWD_TARGET_TEXTS to a file of texts to be like."
            )
        scores = vectors[:, embedder.labels.index(settings.target_attribute)]
        vector, neighbours = nearest_centroid(vectors, scores, min(settings.target_neighbours, len(ordinary)))
        nearest = [ordinary[index] for index in neighbours]
    ordinary_distance = float(distances(vectors, vector).mean())
    if ordinary_distance == 0:
        raise SettingError("the reference texts all lie on the target: set CROWD_REFERENCE_TEXTS to ordinary texts.")
    return pl.DataFrame(
        {"vector": [vector.tolist()], "ordinary_distance": [ordinary_distance], "texts": [list(nearest[:100])]}
    )


def _texts(source: str, setting: str) -> list[str]:
    path = UPath(source)
    if not path.is_file():
        raise SettingError(f"{setting}={source!r}: no such file.")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if path.suffix == ".jsonl":
        try:
            lines = [str(json.loads(line)["text"]) for line in lines]
        except (ValueError, KeyError, TypeError):
            raise SettingError(f"{setting}={source!r}: every line must be a JSON object with a field text.") from None
    if not lines:
        raise SettingError(f"{setting}={source!r}: the file has no text.")
    return lines


def _built_once(
    directory: Path,
    build: Callable[[Path, Callable[[int, int, str], None]], dict[str, Any]],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Build a seed model if it is not there; its figures, from the building or from the file beside it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    note = directory.with_name(f"{directory.name}.{FIGURES}")
    with FileLock(f"{directory}.lock"):
        if not directory.exists():
            progress = throttled(directory.name, say)
            figures = build(directory, progress)
            note.write_text(json.dumps(figures | {"recipe": RECIPE}))
        return json.loads(note.read_text()) if note.exists() else {}


def _built(directory: Path, figures: dict[str, Any]) -> MaterializeResult[None]:
    """The same version of data as long as the model is the same, so that showing it again makes nothing stale."""
    shown = {name: value for name, value in figures.items() if isinstance(value, int | float | str)}
    return MaterializeResult(
        metadata=display.rounded({"used": True, "path": str(directory.resolve()), **shown}),
        data_version=DataVersion(fingerprint(**figures)),
    )
