"""What the results of a Label Studio annotation say: which answer is better, how sure, a ranking, ratings, texts.

Belongs here: one annotation's tags. Does not belong here: tasks, people, ids and times (see ``label_studio``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from crowd_assets.importers.chat import answer_of
from crowd_assets.importers.labels import Labels, normalised
from crowd_assets.importers.records import (
    DEFAULT_START,
    RowError,
    excerpt,
    from_scores,
    number_of,
    start_of,
)
from resources.feedback.events import is_visible

CERTAINTY = "certainty"
"""Number tag that says how sure the annotator is of the answer picked, in percent from 50 (a coin) to 100."""

DECIDING = frozenset(
    [
        "winner",
        "preferred",
        "preference",
        "better",
        "best",
        "tie",
        "equal",
        "choice",
        "overall",
        "overallpreference",
        "verdict",
        "comparison",
        "whichisbetter",
        "betterresponse",
        "betteranswer",
        "preferredresponse",
        "preferredanswer",
    ]
)
"""Names of Choices tags that ask which answer is better, normalised; any other is one only where the user says so."""


@dataclass(frozen=True)
class Fields:
    """What is called how in the project.

    Attributes:
        prompt, answer_a, answer_b: fields of a task's ``data``; None: the first known name (see ``records``).
        choices: the tag that asks which answer is better; None: a Pairwise tag, and Choices tags whose name says so or that
            belong to both answers.
        labels: what labels mean.
        source: goes into ids of people and comparisons, as each server numbers its own from 1; None: a short hash of the
            export's first task, which stays what it is as the export grows; empty: nothing, for the platform's own tasks.
        contributor: who annotated where the export does not say.
        scale: of a Rating or a Number that says which answer is better: what means B and what means A.
        start: when the first annotation was made, where the export does not say.
    """

    prompt: str | None = None
    answer_a: str | None = None
    answer_b: str | None = None
    choices: str | None = None
    labels: Labels = field(default_factory=Labels)
    source: str | None = None
    contributor: str | None = None
    scale: tuple[float, float] | None = None
    start: datetime = field(default_factory=lambda: start_of(DEFAULT_START))


def judged(results: list[dict[str, Any]], fields: Fields) -> tuple[float, bool] | None:
    """What the annotation says about the pair: 1, 0 or ½, or between them as sure as the annotator says to be, and whether both
    answers are bad; None where it says nothing.

    Raises:
        RowError: it says two things at once, a label is not understood, or the certainty is none.
    """
    said: set[tuple[float, bool]] = set()
    tags: set[str] = set()
    certainty = 1.0
    for result in results:
        value, tag = result["value"], str(result.get("from_name"))
        if result.get("type") == "pairwise" and value.get("selected") in ("left", "right"):
            if fields.choices is None or tag == fields.choices or not _is_there(results, fields.choices):
                said.add((1.0 if value["selected"] == "left" else 0.0, False))
                tags.add(tag)
        elif result.get("type") == "number" and tag == CERTAINTY:
            certainty = number_of(value.get("number"), CERTAINTY) / 100
            if not 0.5 <= certainty <= 1:
                raise RowError(f"{CERTAINTY} is not from 50 to 100", value.get("number"))
        elif result.get("type") == "choices" and isinstance(value.get("choices"), list):
            if not _decides(result, fields):
                continue
            for choice in value["choices"]:
                meaning = fields.labels.judged(choice, known=True) if isinstance(choice, str) else None
                if meaning is None:
                    if fields.choices is None and any(_is_picked(each) for each in results):
                        continue  # a Pairwise tag has said it, and this one asks something else
                    raise RowError(
                        f"label {excerpt(choice, 40)!r} of {excerpt(tag, 40)} is not understood: say what it means with --label"
                    )
                said.add(meaning)
                if meaning[0] != 0.5:
                    tags.add(tag)
    if len(tags) > 1:
        raise RowError(f"several tags say which answer is better ({', '.join(sorted(tags))}): name one with --choices")
    if len(said) > 1:
        raise RowError("annotation contradicts itself on which answer is better")
    if not said:
        return None
    preferred, bad = said.pop()
    if preferred not in (0.0, 1.0):
        return preferred, bad
    return (certainty if preferred == 1.0 else round(1 - certainty, 6)), bad  # 1 − 0.85 is not 0.15 in binary


def _is_picked(result: dict[str, Any]) -> bool:
    return result.get("type") == "pairwise" and result["value"].get("selected") in ("left", "right")


def _is_there(results: list[dict[str, Any]], tag: str) -> bool:
    return any(result.get("from_name") == tag for result in results)


def _decides(result: dict[str, Any], fields: Fields) -> bool:
    """Whether a Choices tag asks which answer is better: the one that the user names, or whose name or place says so."""
    if fields.choices is not None:
        return result.get("from_name") == fields.choices
    return normalised(str(result.get("from_name"))) in DECIDING or "," in str(result.get("to_name"))


def scaled(results: list[dict[str, Any]], fields: Fields) -> tuple[float, bool] | None:
    """What one Rating or Number that compares says, on the scale that the user names; None where there is none."""
    there = [each for each in results if is_rating(each) and fields.choices in (None, each.get("from_name"))]
    if len(there) != 1 or fields.scale is None:
        return None
    kind = str(there[0]["type"])
    low, high = fields.scale
    share = (number_of(there[0]["value"].get(kind), kind) - low) / (high - low)
    if not 0 <= share <= 1:
        raise RowError(f"{kind} is not on the scale from {low:g} to {high:g}", there[0]["value"])
    return abs(share), False


def rated(results: list[dict[str, Any]], name_a: str, name_b: str) -> tuple[float, bool] | None:
    """Ratings of both answers as a comparison: one star a logit; of numbers, whose scale is not known, the larger one is better.

    Raises:
        RowError: it is not one rating of each; the reason names the tags.
    """
    stars: dict[str, list[float]] = {name_a: [], name_b: []}
    there = [result for result in results if is_rating(result)]
    for result in there:
        tag, of = normalised(str(result.get("from_name"))), str(result.get("to_name"))
        for name in (name_a, name_b):
            ending = ("a", "1", "left") if name == name_a else ("b", "2", "right")
            if of == name or normalised(name) in tag or (of not in stars and tag.endswith(ending)):
                kind = str(result["type"])
                stars[name].append(number_of(result["value"].get(kind), kind))
    if any(len(each) != 1 for each in stars.values()):
        names = ", ".join(sorted({f"{result.get('from_name')} ({result['type']})" for result in there}))
        raise RowError(
            f"ratings that are not one of each answer: {excerpt(names, 120)}; if one of them compares, name it with --choices and say "
            "its --scale"
        )
    one, other = stars[name_a][0], stars[name_b][0]
    if any(result["type"] == "number" for result in there):
        return 0.5 if one == other else float(one > other), False
    return from_scores(one, other), False


def is_rating(result: Mapping[str, Any]) -> bool:
    return result.get("type") == "rating" or (result.get("type") == "number" and result.get("from_name") != CERTAINTY)


def lists_of_items(data: Mapping[str, Any]) -> list[str]:
    """Fields of a task that hold what a Ranker orders."""
    return [
        name
        for name, value in data.items()
        if isinstance(value, list) and value and all(isinstance(item, dict) and "id" in item for item in value)
    ]


def _order(ranked: dict[str, Any] | list[Any], bucket: str | None) -> list[Any] | None:
    """What a Ranker put in order: all, or the bucket that the user names."""
    if isinstance(ranked, list):
        return ranked
    filled = {name: each for name, each in ranked.items() if isinstance(each, list) and each}
    if bucket in filled:
        return filled[bucket]
    if len(filled) > 1:
        raise RowError(
            f"items are in several buckets ({excerpt(', '.join(filled), 80)}): name the ordered one with --choices"
        )
    return next(iter(filled.values()), None)


def ranking_of(
    results: list[dict[str, Any]], data: Mapping[str, Any], bucket: str | None
) -> tuple[dict[str, str], dict[str, float]] | None:
    """The texts and the ranks that a Ranker tag gave them, in the order of the task's data; None where there is no such tag.

    Raises:
        RowError: an id that is ranked is none of the task's.
    """
    for result in results:
        ranked = result["value"].get("ranker")
        if result.get("type") != "ranker" or not isinstance(ranked, dict | list):
            continue
        order = _order(ranked, bucket)
        for name in lists_of_items(data):
            items = {str(item["id"]): item for item in data[name]}
            if order is not None and len(order) > 1 and all(str(each) in items for each in order):
                ranks = {str(each): float(place) for place, each in enumerate(order)}
                texts = {
                    key: answer_of(item.get("body") or item.get("text") or item.get("title"), "item")
                    for key, item in items.items()
                    if key in ranks
                }
                return texts, {key: ranks[key] for key in texts}
        raise RowError("ranking names no items of the task, or fewer than two", ranked)
    return None


def texts_of(results: list[dict[str, Any]]) -> list[str]:
    texts = []
    for result in results:
        if result.get("type") == "textarea":
            entries = result["value"].get("text")
            entries = entries if isinstance(entries, list) else [entries]
            texts += [entry for entry in entries if isinstance(entry, str) and is_visible(entry)]
    return texts
