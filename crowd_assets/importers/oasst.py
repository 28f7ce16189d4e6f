"""Message trees of OpenAssistant: ranked answers to what was said before them.

Layout (https://github.com/LAION-AI/Open-Assistant, "oasst-data"): one tree a line, ``{"message_tree_id", "tree_state", "prompt": {...}}``,
each message with ``text``, ``role`` ("prompter" or "assistant"), ``rank`` among its siblings from 0, ``deleted`` and ``replies``; or, as on
the hub (OpenAssistant/oasst1 and oasst2), one message a row with ``message_id``, ``parent_id`` and ``message_tree_id``, a tree's rows
one after the other.

Belongs here: that layout, both ways. Does not belong here: what a ranking is worth (see ``records.ranked_pairs``).
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from crowd_assets.importers.chat import asked, content_of
from crowd_assets.importers.records import (
    Record,
    RowError,
    Skipped,
    digest,
    number_of,
    preference,
    ranked_pairs,
    sourced,
    ticks,
)
from crowd_assets.importers.text_tables import any_rows
from resources.feedback.conversations import ASSISTANT, USER, Message

DEFAULT_CONTRIBUTOR = "open-assistant"
ROLES = {"prompter": USER, "assistant": ASSISTANT}
DEEPEST_TREE = 30
"""Replies to replies; no conversation of the data set comes near."""


def read(source: Path, *, start: datetime, contributor: str = DEFAULT_CONTRIBUTOR, name: str = "") -> Iterator[Record]:
    """Every two ranked answers to a message as a preference, at any depth; the ranking of K answers is one judgement.

    Args:
        source: JSON Lines or Parquet, packed or not.
        start: when the first ranking was given; one second a ranking.
        contributor: who ranked: the data says what volunteers agreed on, not who they are.
        name: of the source, which goes into the contributor's id.
    """
    clock = ticks(start)
    for number, tree in _trees(any_rows(source)):
        if isinstance(tree, Skipped):
            yield tree
            continue
        found = 0
        for spoken, replies in _answered(tree, []):
            try:
                for event in _ranked(spoken, replies, next(clock), sourced(contributor, name)):
                    found += 1
                    yield event
            except RowError as error:
                yield error.at(number)
        if not found:
            yield Skipped(number, "tree has no two ranked answers to a message")


def _trees(rows: Iterator[Any]) -> Iterator[tuple[int, dict[str, Any] | Skipped]]:
    """Trees with the row that they begin on, put together from messages where those are what the rows hold."""
    began, messages = 0, list[dict[str, Any]]()
    for row in rows:
        if isinstance(row, Skipped):
            yield row.row, row
            continue
        number, cells = row
        if isinstance(cells.get("prompt"), dict):
            yield number, cells["prompt"]
        elif "message_id" not in cells:
            yield (
                number,
                Skipped(number, "row is neither a tree nor a message", f"fields: {', '.join(map(str, cells))}"),
            )
        else:
            if messages and messages[0].get("message_tree_id") != cells.get("message_tree_id"):
                yield began, _grown(messages)
                messages = []
            began = began if messages else number
            messages.append(cells)
    if messages:
        yield began, _grown(messages)


def _grown(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The first message of a tree with its replies, and theirs."""
    by_id = {str(each["message_id"]): {**each, "replies": []} for each in messages}
    root = by_id[str(messages[0]["message_id"])]
    for each in by_id.values():
        parent = by_id.get(str(each.get("parent_id")))
        if parent is not None and each is not root:
            parent["replies"].append(each)
    return root


def _answered(
    message: dict[str, Any], before: list[dict[str, Any]]
) -> Iterator[tuple[list[Any], list[dict[str, Any]]]]:
    """What was said up to each message of a tree that has ranked answers, and these."""
    spoken = [*before, message]
    replies = [each for each in message.get("replies") or [] if isinstance(each, dict) and not each.get("deleted")]
    ranked = [each for each in replies if each.get("role") == "assistant" and each.get("rank") is not None]
    if len(ranked) > 1:
        yield spoken, ranked
    if len(spoken) < DEEPEST_TREE:
        for each in replies:
            yield from _answered(each, spoken)


def _ranked(
    spoken: list[Any], answers: list[dict[str, Any]], at: datetime, contributor: str
) -> Iterator[dict[str, Any]]:
    question = asked([_message(each) for each in spoken], "message")
    texts = [content_of(each.get("text"), "answer") for each in answers]
    if len(set(texts)) < len(texts):
        raise RowError("two answers are the same")
    ranks = {text: number_of(each["rank"], "rank") for text, each in zip(texts, answers, strict=True)}
    for one, other, probability, share in ranked_pairs({text: ranks[text] for text in sorted(ranks)}):
        yield preference(
            contributor,
            digest(question.key, one, other),
            question.prompt,
            one,
            other,
            probability,
            at,
            judgement_share=share if share < 1 else None,
            **question.payload,
        )


def _message(message: dict[str, Any]) -> Message:
    role = ROLES.get(str(message.get("role")))
    if role is None:
        raise RowError("message of an unknown role", message.get("role"))
    return {"role": role, "content": content_of(message.get("text"), "message")}
