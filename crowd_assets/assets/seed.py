"""Stage 0, the embedded default: a small language model, a classifier, and the target that the crowd works towards.

Belongs here: building the seed models once, and finding the target once.
Does not belong here: the grammar (see ``crowd_assets.forum.comments``), training loops (see ``resources.training``).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from dagster import AssetExecutionContext, DataVersion, MaterializeResult, asset
from numpy.typing import NDArray
from upath import UPath

from crowd_assets.assets import OWNERS
from crowd_assets.forum import comments as forum
from crowd_assets.mechanisms.target import distances, highest_centroid, nearest_centroid
from crowd_assets.report import display
from resources.common.errors import OperatorError
from resources.common.locks import held
from resources.common.progress import throttled
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.models.store import fingerprint
from resources.settings.settings import CrowdSettings, SettingError
from resources.training.seed.common import train_seed_classifier, train_seed_language_model

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
LONGEST_BUILD_S = 3600.0  # another process's, that one waits for
KEPT_TEXTS = 100
TARGET = "target"  # the frame


class SeedBusyError(OperatorError, TimeoutError):
    """Another process is at a seed model for too long; the message says which."""


@dataclass(frozen=True)
class Target:
    """What the crowd works towards.

    Attributes:
        vector: Target (d,) in the space of Φ.
        ordinary_distance: Mean distance of the reference texts to it: what an ordinary text is away, above 0.
        texts: At most 100 texts that it is made of: the neighbourhood's nearest first, those of the top k highest first,
            those of a file in its order.
        prompts: What each of them answers; empty where it answers nothing known.
        key: Name of its frame: the hash of everything that it follows from.
    """

    vector: NDArray[np.float64]
    ordinary_distance: float
    texts: tuple[str, ...]
    prompts: tuple[str, ...]
    key: str


@asset(group_name="0_seed", kinds={"huggingface", "pytorch"}, owners=OWNERS)
def seed_language_model(context: AssetExecutionContext, settings: CrowdSettings) -> MaterializeResult[None]:
    """A small Llama with its own tokenizer, trained on the comments of the embedded forum: the base model of round 1
    where CROWD_BASE_MODEL names no other. Built once; afterwards only its figures are shown again."""
    if settings.base_model:
        return MaterializeResult(metadata={"base model": settings.base_model, "used": False})

    def build(directory: Path, progress: Callable[[int, int, str], None]) -> dict[str, Any]:
        comments = forum.write_comments(COMMENTS, np.random.default_rng(SEED))
        pairs = [(comment.prompt, comment.response) for comment in comments]
        return train_seed_language_model(pairs, directory, seed=SEED, progress=progress, threads=THREADS)

    figures = _built_once(settings.seed_language_model_path, build, context.log.info)
    return _built(settings.seed_language_model_path, figures)


@asset(group_name="0_seed", kinds={"huggingface", "pytorch"}, owners=OWNERS)
def seed_classifier(context: AssetExecutionContext, settings: CrowdSettings) -> MaterializeResult[None]:
    """A small classifier with one sigmoid a mood, trained on labelled comments of the embedded forum: the default Φ
    where CROWD_EMBEDDER names no other. Built once; afterwards only its figures are shown again."""
    if settings.embedder:
        return MaterializeResult(metadata={"embedder": settings.embedder, "used": False})

    def build(directory: Path, progress: Callable[[int, int, str], None]) -> dict[str, Any]:
        rng = np.random.default_rng(SEED)
        comments = forum.write_comments(LABELLED_COMMENTS, rng)
        unlabelled = [
            forum.off_topic_text(rng) if number % 2 else forum.spam_text(rng) for number in range(UNLABELLED_COMMENTS)
        ]
        texts = [comment.response for comment in comments] + unlabelled
        labels = [(comment.mood,) for comment in comments] + [()] * len(unlabelled)
        return train_seed_classifier(
            texts, labels, forum.MOODS, directory, seed=SEED, progress=progress, threads=THREADS
        )

    figures = _built_once(settings.seed_classifier_path, build, context.log.info)
    return _built(settings.seed_classifier_path, figures)


@asset(group_name="0_seed", kinds={"huggingface", "polars"}, owners=OWNERS, deps=[seed_language_model, seed_classifier])
def target(settings: CrowdSettings, embedder: EmbedderResource, frames: FramesResource) -> MaterializeResult[None]:
    """What the crowd works towards, as a point in the space of Φ: the centroid of the neighbours of the text that shows the
    wanted attribute most (Crowd-SFT, arXiv 2506.04063), of the texts that show it most, of texts to be like or of gold
    answers. Found once for each choice of Φ, attribute and texts."""
    found = find_target(settings, embedder, frames)
    dimensions = embedder.labels or tuple(f"dimension {index}" for index in range(found.vector.size))
    order = np.argsort(-np.abs(found.vector))[:12]
    return MaterializeResult(
        metadata={
            "from": f"{settings.target_source}: {settings.target_name}",
            "ordinary_distance": round(found.ordinary_distance, 4),
            "vector": display.plot(
                display.bars([dimensions[i] for i in order], [float(found.vector[i]) for i in order], axis="target")
            ),
            "texts": display.table(pl.DataFrame({"texts": list(found.texts[:8])})),
        }
    )


def find_target(settings: CrowdSettings, embedder: EmbedderResource, frames: FramesResource) -> Target:
    """The target of the settings, computed at first use and read from its frame afterwards.

    Raises:
        SettingError: Φ has no label of the attribute's name, or a file of texts is missing, empty or not as it should be.
    """
    wanted = _wanted(settings)
    if settings.reference_texts:
        ordinary = _texts(settings.reference_texts, "CROWD_REFERENCE_TEXTS")
    else:
        ordinary = list(_comments_of_the_forum(REFERENCE_COMMENTS))
    key = fingerprint(
        phi=embedder.identity,
        recipe=RECIPE,
        source=settings.target_source,
        attribute=settings.target_attribute,
        neighbours=settings.target_neighbours,
        wanted=wanted,
        ordinary=ordinary,
    )
    path = frames.path(TARGET, key)
    if not path.exists():
        frames.write(TARGET, key, _find(settings, embedder, wanted, ordinary))
    return read_target(frames, key)


@cache
def _comments_of_the_forum(count: int) -> tuple[str, ...]:
    return tuple(comment.response for comment in forum.write_comments(count, np.random.default_rng(SEED + 1)))


def read_target(frames: FramesResource, key: str) -> Target:
    """A target that was found before.

    Raises:
        FileNotFoundError: there is none of that key.
    """
    row = frames.read(TARGET, key).row(0, named=True)
    return Target(np.array(row["vector"]), row["ordinary_distance"], tuple(row["texts"]), tuple(row["prompts"]), key)


def _find(
    settings: CrowdSettings, embedder: EmbedderResource, wanted: list[tuple[str, str]], ordinary: list[str]
) -> pl.DataFrame:
    """The target's frame, from (prompt, text) to be like, or else from the reference texts that show the attribute."""
    if wanted:
        vectors = embedder.embed(ordinary)
        vector = embedder.embed([text for _, text in wanted]).mean(axis=0)
    else:
        label = _label(settings, embedder, len(ordinary))
        vectors = embedder.embed(ordinary)
        choose = nearest_centroid if settings.target_source == "neighbourhood" else highest_centroid
        vector, chosen = choose(vectors, vectors[:, label], settings.target_neighbours)
        wanted = [("", ordinary[index]) for index in chosen]
    ordinary_distance = float(distances(vectors, vector).mean())
    if ordinary_distance == 0:
        raise SettingError("the reference texts all lie on the target: set CROWD_REFERENCE_TEXTS to ordinary texts.")
    kept = wanted[:KEPT_TEXTS]
    return pl.DataFrame(
        {
            "vector": [vector.tolist()],
            "ordinary_distance": [ordinary_distance],
            "texts": [[text for _, text in kept]],
            "prompts": [[prompt for prompt, _ in kept]],
        }
    )


def _label(settings: CrowdSettings, embedder: EmbedderResource, texts: int) -> int:
    """Which dimension of Φ is the attribute, if the target can be found by it among so many reference texts."""
    to_be_like = "set CROWD_TARGET_TEXTS or CROWD_GOLD_ANSWERS to a file of texts to be like"
    if not embedder.labels:
        raise SettingError(
            f"CROWD_TARGET_ATTRIBUTE={settings.target_attribute!r} is no label of {embedder.source}, which has none: it is a "
            f"sentence encoder or a language model. Set CROWD_EMBEDDER to a multi-label classifier, or {to_be_like}."
        )
    if settings.target_attribute not in embedder.labels:
        raise SettingError(
            f"CROWD_TARGET_ATTRIBUTE={settings.target_attribute!r} is no label of {embedder.source}; its labels are "
            f"{', '.join(embedder.labels)}. Choose one of them, or {to_be_like}."
        )
    needed = settings.target_neighbours + (settings.target_source == "neighbourhood")
    if texts < needed:
        raise SettingError(
            f"CROWD_TARGET_NEIGHBOURS={settings.target_neighbours} needs {needed} reference texts, and "
            f"CROWD_REFERENCE_TEXTS={settings.reference_texts!r} has {texts}: lower the one or add to the other."
        )
    return embedder.labels.index(settings.target_attribute)


def _wanted(settings: CrowdSettings) -> list[tuple[str, str]]:
    """(prompt, text) to be like, from a file: the prompt is empty where none is known. Nothing where an attribute says it."""
    if settings.target_source == "texts":
        return [("", text) for text in _texts(settings.target_texts, "CROWD_TARGET_TEXTS")]
    if settings.target_source == "gold":
        return [
            (_text(row, "prompt", where) if row.get("prompt") else "", _text(row, "response", where))
            for where, row in _json_lines(settings.gold_answers, "CROWD_GOLD_ANSWERS")
        ]
    return []


def _texts(source: str, setting: str) -> list[str]:
    if UPath(source).suffix != ".jsonl":
        return [line for line in _content(source, setting).splitlines() if line.strip()]
    return [_text(row, "text", where) for where, row in _json_lines(source, setting)]


def _json_lines(source: str, setting: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a JSON Lines file, and where it stands, for errors."""
    for number, line in enumerate(_content(source, setting).split("\n"), start=1):
        if line.strip():
            where = f"{setting}={source!r}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as problem:
                raise SettingError(f"{where}: {problem}; every line must be a JSON object.") from None
            if not isinstance(row, dict):
                raise SettingError(f"{where}: every line must be a JSON object.")
            yield where, row


def _text(row: dict[str, Any], field: str, where: str) -> str:
    text = row.get(field)
    if not isinstance(text, str) or not text.strip():
        raise SettingError(f"{where}: the field {field} must be a text that is not empty.")
    return text


def _content(source: str, setting: str) -> str:
    path = UPath(source)
    if not path.is_file():
        raise SettingError(f"{setting}={source!r}: no such file.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise SettingError(f"{setting}={source!r}: {problem}; it must be text in UTF-8.") from None
    if not text.strip():
        raise SettingError(f"{setting}={source!r}: the file has no text.")
    return text


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
            f"{directory} has been built for {LONGEST_BUILD_S / 60:.0f} minutes by {holder}. Wait for it or stop it."
        )

    lock = Path(f"{directory}.lock")
    with held(lock, LONGEST_BUILD_S, busy, lambda holder: say(f"{directory.name}: waiting, it is built by {holder}")):
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
