"""Rows of any columns in any container, with a mapping file that says which is what.

The mapping is TOML or JSON::

    kind = "preference"              # or "demonstration", "outcome", "bid"
    delimiter = ";"                  # optional: by default the one that the header uses, of , ; tab |
    encoding = "utf-8"               # optional
    apostrophe = true                # optional: cells may begin with one that keeps them from being a formula

    [columns]                        # field = column
    contributor_id = "annotator"
    comparison_id = "id"
    prompt = "question"
    response_a = "left"
    response_b = "right"
    probability_a = "choice"
    submitted_at = "time"

    [values.probability_a]           # optional: what the cells of a column mean
    A = 1
    B = 0
    tie = 0.5

    [defaults]                       # optional: where there is no column, or the cell is empty
    contributor_id = "survey-7"

Columns that are not named are left out, but for those in ``payload = ["…"]``. All that a mapping can say is listed in
``mapping.Mapping``.

Belongs here: what a mapping makes of a row. Does not belong here: any tool's own layout, files (see ``text_tables`` and ``rows``), cells
(see ``cells``), rankings and ratings (see ``several``).
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from crowd_assets.importers.cells import (
    SOURCED,
    at,
    cell_of,
    compared,
    first_of,
    instant_of,
    is_ticked,
    plain,
    question_of_row,
    spoken_of,
    value_of,
)
from crowd_assets.importers.chat import MARKED, UNUSABLE, Asked, answer_of, refuse_unusable
from crowd_assets.importers.labels import Labels
from crowd_assets.importers.mapping import Mapping, each_of, read_mapping
from crowd_assets.importers.records import (
    WHOLE,
    Event,
    Record,
    RowError,
    Skipped,
    digest,
    excerpt,
    identifier_of,
    named,
    number_of,
    sourced,
    ticks,
)
from crowd_assets.importers.several import correction_of, pairs_of
from crowd_assets.importers.text_tables import below_headers, rows_of
from resources.feedback.events import FIELDS, OPTIONAL

FLAGS = ("both_bad", "judgement_share")
"""Fields of a preference that a mapping may name, besides those that it must."""

__all__ = ["Mapping", "read", "read_mapping"]


def read(
    source: Path, *, mapping: Mapping, start: datetime, name: str = "", labels: Labels | None = None
) -> Iterator[Record]:
    """The events of each row, in the order of the rows; rows that become none are skipped with their number (of a table of text
    that of the line on which they begin).

    Args:
        source: a table of text, a workbook, JSON, JSON Lines or Parquet, packed or not.
        mapping: see the module.
        start: when the first event was submitted, for tables without times; then one second a row.
        name: of the source, which goes into ids of people and comparisons.
        labels: what labels mean that the mapping has no values for.

    Raises:
        SourceError: the table has no header, or lacks a column of the mapping, or is in another encoding.
    """
    clock = ticks(start)
    labels = labels or Labels()
    mapping = _with_labels(mapping, labels)
    header, rows = below_headers(rows_of(source, mapping), mapping)
    if mapping.headed:
        mapping = mapping.asked_in(header)
    asked = [mapping.of_question(each) for each in mapping.questions] or [mapping]
    refused = {*UNUSABLE, *MARKED} - mapping.used()
    for line, cells in _together(rows, mapping) if mapping.group else rows:
        submitted_at = next(clock)
        if isinstance(cells, str):
            yield Skipped(line, cells)
            continue
        try:
            if (reason := _left_out(cells, mapping)) is not None:
                raise RowError(reason)
            cells = _cut(cells, mapping)
            if mapping.same and any(at(cells, each) != at(cells, mapping.same[0]) for each in mapping.same):
                raise RowError(f"{' and '.join(mapping.same)} are not the same")
            if not refused.isdisjoint(cells):
                refuse_unusable({name: cells[name] for name in refused if name in cells})
            if mapping.differ:
                _refuse_alike(cells, mapping)
            if not (mapping.explode or mapping.questions):
                yield from _events(cells, mapping, submitted_at, name, labels, None)
                continue
            for row, contributor, of in _answers(cells, mapping, asked):
                try:
                    yield from _events(row, of, submitted_at, name, labels, contributor)
                except RowError as error:
                    place = contributor or mapping.questions[asked.index(of)]["column"]
                    yield Skipped(line, error.reason, f"{place}: {error.detail}")
        except RowError as error:
            yield error.at(line)


def _refuse_alike(cells: dict[str, Any], mapping: Mapping) -> None:
    said = [compared(at(cells, each)) for each in mapping.differ]
    if said[0] != "" and len(set(said)) == 1:
        raise RowError(f"{' and '.join(mapping.differ)} are the same: neither answer is better", said[0])


def _with_labels(mapping: Mapping, labels: Labels) -> Mapping:
    """The mapping with what the user says of labels beside what it says of cells."""
    said = mapping.values.get("probability_a")
    if not isinstance(said, dict) or not labels.own:
        return mapping
    own = {label: "both-bad" if meaning is None else meaning for label, meaning in labels.own.items()}
    return replace(mapping, values={**mapping.values, "probability_a": {**said, **own}})


def _together(
    rows: Iterator[tuple[int, dict[str, Any] | str]], mapping: Mapping
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows that follow each other and are alike in the mapping's ``group``, as one: the first, with all of them in its ``""``."""
    began, gathered, key = 0, list[dict[str, Any]](), list[str]()
    for line, cells in rows:
        if isinstance(cells, str) or _left_out(cells, mapping) is not None:
            yield line, cells
            continue
        its_key = [plain(at(cells, column)) for column in mapping.group]
        if gathered and its_key != key:
            yield began, {**gathered[0], "": gathered}
            gathered = []
        if not gathered:
            began, key = line, its_key
        gathered.append(cells)
    if gathered:
        yield began, {**gathered[0], "": gathered}


def _cut(cells: dict[str, Any], mapping: Mapping) -> dict[str, Any]:
    """The row with its conversations cut after the exchange that was judged."""
    if mapping.turn is None or not plain(at(cells, mapping.turn)):
        return cells
    turn = number_of(at(cells, mapping.turn), "turn")
    if not turn.is_integer() or turn < 1:
        raise RowError("turn is not a number from 1", turn)
    spoken = {
        name: value[: 2 * int(turn)]
        for name, value in cells.items()
        if isinstance(value, list) and value and all(isinstance(each, dict) and "role" in each for each in value)
    }
    return {**cells, **spoken}


def _answers(
    cells: dict[str, Any], mapping: Mapping, asked: list[Mapping]
) -> Iterator[tuple[dict[str, Any], str | None, Mapping]]:
    """What a row answers: itself, each person's answer, or the answer to each question."""
    if not mapping.questions:
        yield from ((row, contributor, mapping) for row, contributor in _exploded(cells, mapping))
        return
    there = [of for of, each in zip(asked, mapping.questions, strict=True) if plain(at(cells, each["column"]))]
    if not there:
        raise RowError("no answer to any of the questions")
    yield from ((cells, None, of) for of in there)


def _left_out(cells: dict[str, Any], mapping: Mapping) -> str | None:
    """Why a row is not one of those that the mapping's ``where`` asks for."""
    for column, wanted in mapping.where.items():
        found = plain(at(cells, column))
        values = [str(each) for each in (wanted if isinstance(wanted, list) else [wanted])]
        refused = [_folded(each.removeprefix("!=").strip()) for each in values if each.startswith("!=")]
        taken = [_folded(each) for each in values if not each.startswith("!=")]
        if _folded(found) in refused or (taken and _folded(found) not in taken):
            return f"left out by where: {column} is {excerpt(found, 30)!r}"
    return None


def _folded(said: str) -> str:
    """A cell as it is held against a condition: whoever saved a table again may write True for true, and 1.0 for 1."""
    if said.lower() in ("true", "false"):
        return said.lower()
    return said.removesuffix(".0") if WHOLE.fullmatch(said) else said


def _exploded(cells: dict[str, Any], mapping: Mapping) -> Iterator[tuple[dict[str, Any], str | None]]:
    """A row for each person whose answer a column holds, under the name of the field that it answers; or the row itself."""
    if not mapping.explode:
        yield cells, None
        return
    there = False
    for column in mapping.explode:
        value = at(cells, column)
        if plain(value):
            there = True
            yield {**cells, "": value}, column
    if not there:
        raise RowError("no answer in any of the columns of explode")


ANSWERED = {"preference": "probability_a", "demonstration": "response"}
"""What a person says of a question, by kind."""
PAIRED = ("probability_a", "response_a", "response_b", "comparison_id")
"""What is made of several responses."""


def _events(
    cells: dict[str, Any],
    mapping: Mapping,
    submitted_at: datetime,
    source: str,
    labels: Labels,
    contributor: str | None,
) -> Iterator[Event]:
    kind = mapping.kind
    given = mapping.given
    time = cell_of("submitted_at", cells, mapping) if "submitted_at" in given else None
    event: Event = {"kind": kind}
    question: Asked | None = None
    said: dict[str, str] = {}
    if mapping.conversations:
        question, said = spoken_of(cells, mapping)
    elif "prompt" in FIELDS[kind]:
        question = question_of_row(cells, mapping)
    for name in FIELDS[kind]:
        if name == "prompt" and question is not None:
            event[name] = question.prompt
        elif name in said:
            event[name] = said[name]
        elif (mapping.responses and name in PAIRED) or (
            name == "comparison_id" and kind == "preference" and cell_of(name, cells, mapping) is None
        ):
            continue
        elif name == "contributor_id" and contributor is not None and cell_of(name, cells, mapping) is None:
            event[name] = named(sourced(contributor, source))
        else:
            of = mapping
            if contributor is not None and name == ANSWERED.get(kind):
                of = Mapping(kind, {name: ""}, mapping.values, scale=mapping.scale)
            value = value_of(name, cells, of, labels, event)
            if isinstance(value, tuple):
                value, bad = value
                event |= {"both_bad": True} if bad else {}
            event[name] = named(sourced(value, source)) if name in SOURCED else value
    event["submitted_at"] = (submitted_at if time is None else instant_of(time, mapping)).isoformat()
    if question is not None and question.messages[1:]:
        event |= question.payload
    for name in OPTIONAL[kind]:
        if name in given and name in FLAGS and (value := cell_of(name, cells, mapping)) is not None:
            event[name] = is_ticked(value, name) if name == "both_bad" else number_of(value, name)
    if "event_id" in given and (event_id := cell_of("event_id", cells, mapping)) is not None:
        event["event_id"] = named(identifier_of(event_id, "event_id"))
    for name in mapping.payload:
        if name not in event and (value := at(cells, name)) not in ("", None):
            event[name] = value
    if mapping.responses:
        yield from pairs_of(event, cells, mapping, question.key if question else "", source)
        return
    if kind == "preference":
        if event["response_a"] == event["response_b"]:
            raise RowError("the two answers are the same")
        if "comparison_id" not in event:
            event["comparison_id"] = digest(question.key if question else "", event["response_a"], event["response_b"])
    if mapping.original:
        yield from correction_of(event, answer_of(first_of(cells, each_of(mapping.original)), "response"), question)
        return
    yield event
