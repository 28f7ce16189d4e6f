"""The target: the point in Φ that a round's models should come close to.

Belongs here: finding it from labels, texts or gold answers, and reading it. Does not belong here: distances to it (see
``mechanisms.target``).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from upath import UPath

from crowd_assets.forum import comments as forum
from crowd_assets.forum.recipe import RECIPE, REFERENCE_COMMENTS, SEED
from crowd_assets.mechanisms.target import distances, highest_centroid, nearest_centroid
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.models.store import fingerprint
from resources.settings.fields import SettingError
from resources.settings.resource import CrowdSettings

KEPT_TEXTS = 100


TARGET = "target"  # the frame


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


def find_target(settings: CrowdSettings, embedder: EmbedderResource, frames: FramesResource) -> Target:
    """The target of the settings, computed at first use and read from its frame afterwards.

    Raises:
        SettingError: Φ has no label of the attribute's name, or a file of texts is missing, empty or not as it should be.
    """
    wanted = wanted_texts(settings)
    ordinary = ordinary_texts(settings)
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


def ordinary_texts(settings: CrowdSettings) -> list[str]:
    """The reference texts: the operator's, or comments of the embedded forum.

    Raises:
        SettingError: a file of texts is missing, empty or not as it should be.
    """
    if settings.reference_texts:
        return reference_texts(settings)
    return list(_comments_of_the_forum(REFERENCE_COMMENTS))


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
            f"CROWD_TARGET_ATTRIBUTE={settings.target_attribute!r} is no label of {embedder.source}, which has no labels, as a sentence encoder or a language model has none. Set CROWD_EMBEDDER to a multi-label classifier, or {to_be_like}."
        )
    if settings.target_attribute not in embedder.labels:
        raise SettingError(
            f"CROWD_TARGET_ATTRIBUTE={settings.target_attribute!r} is no label of {embedder.source}; its labels are "
            f"{', '.join(embedder.labels)}. Choose one of the labels, or {to_be_like}."
        )
    check_neighbours(settings, texts)
    return embedder.labels.index(settings.target_attribute)


def check_neighbours(settings: CrowdSettings, texts: int) -> None:
    """Whether there are as many reference texts as the target is the centroid of.

    Raises:
        SettingError: there are fewer.
    """
    needed = settings.target_neighbours + (settings.target_source == "neighbourhood")
    if texts < needed:
        raise SettingError(
            f"CROWD_TARGET_NEIGHBOURS={settings.target_neighbours} needs {needed} reference texts, and "
            f"CROWD_REFERENCE_TEXTS={settings.reference_texts!r} has {texts}: lower the one or add to the other."
        )


def reference_texts(settings: CrowdSettings) -> list[str]:
    """Ordinary texts, from the file of the settings.

    Raises:
        SettingError: it is missing, empty or not as it should be.
    """
    return _texts(settings.reference_texts, "CROWD_REFERENCE_TEXTS")


def wanted_texts(settings: CrowdSettings) -> list[tuple[str, str]]:
    """(prompt, text) to be like, from a file: the prompt is empty where none is known. Nothing where an attribute says it."""
    if settings.target_source == "texts":
        return [("", text) for text in _texts(settings.target_texts, "CROWD_TARGET_TEXTS")]
    if settings.target_source == "gold":
        return answers_of(settings.gold_answers, "CROWD_GOLD_ANSWERS")
    return []


def answers_of(source: str, setting: str) -> list[tuple[str, str]]:
    """(prompt, response) of a JSON Lines file that a setting names; the prompt is empty where none is given.

    Raises:
        SettingError: it is missing, empty or not as it should be.
    """
    return [
        (_text(row, "prompt", where) if row.get("prompt") else "", _text(row, "response", where))
        for where, row in _json_lines(source, setting)
    ]


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
        raise SettingError(f"{setting}={source!r}: {problem}; expected text in UTF-8.") from None
    if not text.strip():
        raise SettingError(f"{setting}={source!r}: the file has no text.")
    return text
