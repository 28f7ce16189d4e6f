"""Argilla 2 records: rankings and labels as preferences, texts as demonstrations.

Layouts: what ``dataset.records.to_json(path)`` writes and ``dataset.records.to_list(flatten=False)`` returns
(https://docs.argilla.io/latest/how_to_guides/import_export): a list of ``{"id", "fields", "metadata",
"suggestions", "responses", "vectors", …}`` with ``responses`` = ``{question: [{"value", "user_id"}]}``; and what the
server answers to ``GET /api/v1/datasets/{id}/records?include=responses``: ``{"items": [{"id", "external_id",
"fields", "responses": [{"user_id", "status", "values": {question: {"value"}}, "updated_at"}]}]}``.

The SDK's export holds neither times nor, for rankings made in the interface, the ranks: the interface stores
``{"value", "rank"}`` in the order of the question's options and the SDK (read: 2.8.0; reported as
https://github.com/argilla-io/argilla/issues/5712) keeps the values only. So a list of bare values is a ranking only if
somebody says so, or if its order is not everywhere the same.

Belongs here: those layouts. Does not belong here: talking to an Argilla server.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Any

from crowd_assets.importers.chat import answer_of, question_in
from crowd_assets.importers.label_studio_results import DECIDING
from crowd_assets.importers.labels import Labels, normalised, probability_of_choice
from crowd_assets.importers.records import (
    Event,
    Note,
    Record,
    RowError,
    Skipped,
    SourceError,
    demonstration,
    digest,
    excerpt,
    find_answers,
    from_scores,
    identifier_of,
    in_time_order,
    preference,
    ranked_pairs,
    share_of,
    sourced,
    text_of,
    ticks,
    time_of,
)
from crowd_assets.importers.text_tables import any_rows

TEXT_QUESTIONS = (
    "answer",
    "completion",
    "corrected_response",
    "correction",
    "demonstration",
    "response",
    "text",
)
"""Names of questions whose text answers are taken for demonstrations without being told."""

COMPARISON_PROPERTY = "comparison_id"
"""Metadata property of a record that names the comparison, where the platform made the record."""

SHARE_PROPERTY = "judgement_share"
"""Metadata property of such a record: which part of one judgement an answer is."""

ANSWER_WORDS = ("response", "answer", "completion", "generation", "option", "text")


class BareRankings(StrEnum):
    """What a ranking without ranks means."""

    AUTO = "auto"
    BEST_FIRST = "best-first"
    SKIP = "skip"


@dataclass(frozen=True)
class Questions:
    """Which fields and questions mean what.

    Attributes:
        prompt: field with the prompt; None: the first known name (see ``records``).
        answer_a, answer_b: fields that a label question compares; None: the first known pair.
        labels: questions whose label is "a" or "b", "1" or "2", "both" or "none". Without being told, only the names
            of the fields, "left", "right" and words for a tie are understood.
        texts: questions whose answers are demonstrations.
        meanings: what labels mean, those of the user first.
        source: goes into ids of people and comparisons.
        bare_rankings: how to read a ranking that comes as a list of values without ranks. ``auto``: the best first,
            unless all of the question's rankings in the file stand in one and the same order.
    """

    prompt: str | None = None
    answer_a: str | None = None
    answer_b: str | None = None
    labels: Collection[str] = ()
    texts: Collection[str] = TEXT_QUESTIONS
    bare_rankings: BareRankings = BareRankings.AUTO
    meanings: Labels = field(default_factory=Labels)
    source: str = ""


def read_settings(path: Path) -> tuple[list[str], list[str]]:
    """Names of the questions that compare two answers by a label, and of those whose texts are demonstrations.

    Layout: what ``Settings.to_json(path)`` writes. A text beside a comparison is a remark, and no demonstration.

    Raises:
        SourceError: the file is none of that kind.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        questions = {each["name"]: each["settings"] for each in settings["questions"]}
        fields = {normalised(each["name"]) for each in settings["fields"]}
        options = {
            name: [str(option["value"]) for option in each["options"]]
            for name, each in questions.items()
            if each["type"] == "label_selection"
        }
        texts = [name for name, each in questions.items() if each["type"] == "text"]
        ranked = any(each["type"] == "ranking" for each in questions.values())
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path}: not what Settings.to_json writes ({excerpt(repr(error))})") from None
    labels = [
        name
        for name, values in options.items()
        if all(normalised(value) in fields or probability_of_choice(value, known=True) is not None for value in values)
    ]
    return labels, [] if labels or ranked else texts


@dataclass(frozen=True)
class Response:
    question: str
    value: Any
    user_id: str
    submitted_at: datetime | None


def read(source: Path, *, start: datetime, questions: Questions | None = None) -> Iterator[Record]:
    """Preferences from rankings (one for every two answers ranked) and labels, demonstrations from texts.

    Args:
        source: ``.json`` or ``.jsonl``.
        start: when the first response was submitted, for exports without times; then one second a response.
        questions: which fields and questions mean what.

    Raises:
        SourceError: the file is not a JSON document.
    """
    yield from in_time_order(_records(source, start, questions or Questions()))


def _records(source: Path, start: datetime, questions: Questions) -> Iterator[Record]:
    meaningless = _meaningless(source, questions)
    clock = ticks(start)
    remarks: Counter[str] = Counter()
    for row in any_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        number, record = row[0], _with_fields(row[1])
        if not isinstance(record.get("fields"), dict):
            yield Skipped(number, "record has no fields", f"it has {', '.join(map(str, record))}")
            continue
        answered: list[Response] = []
        rated: dict[str, dict[str, Response]] = defaultdict(dict)
        there = False
        for response in _responses(record):
            there = True
            if isinstance(response, RowError):
                yield response.at(number)
                continue
            response = replace(response, user_id=_sourced(response.user_id, questions.source))
            if (of := _rated_field(response, record["fields"])) is not None:
                rated[response.user_id][of] = response
            elif not _is_rationale(response.question, record["fields"]):
                answered.append(response)
        if not there:
            yield Skipped(number, "record has no responses", f"record {record.get('id')}")
        compared = {each.user_id for each in answered if _compares(each, questions)}
        compared |= {user for user, ratings in rated.items() if len(ratings) > 1}
        for response in answered:
            submitted_at = response.submitted_at or next(clock)
            try:
                if response.question in meaningless and _bare_order(response.value) is not None:
                    raise RowError(
                        "ranking without ranks: export through the server's interface, or say --bare-rankings best-first",
                        f"question {response.question}",
                    )
                yield from _events(record, response, submitted_at, questions)
            except RowError as error:
                if response.user_id in compared and not _compares(response, questions):
                    remarks[response.question] += 1
                else:
                    yield error.at(number)
        for ratings in rated.values():
            submitted_at = next(iter(ratings.values())).submitted_at or next(clock)
            try:
                yield from _rated_pairs(record, ratings, submitted_at, questions)
            except RowError as error:
                yield error.at(number)
    for question, times in remarks.items():
        yield Note(
            f"{times:,} answers to {question!r} were left out, as another question compares; --label-question or --text-question "
            "takes them"
        )


def _meaningless(source: Path, questions: Questions) -> set[str]:
    """Questions whose rankings without ranks say nothing, as all of the file stand in one order."""
    if questions.bare_rankings is BareRankings.BEST_FIRST:
        return set()
    orders: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in any_rows(source):
        if isinstance(row, Skipped):
            continue
        for response in _responses(_with_fields(row[1])):
            order = _bare_order(response.value) if isinstance(response, Response) else None
            if isinstance(response, Response) and order is not None and len(orders[response.question]) < 2:
                orders[response.question].add(order)
    skip = questions.bare_rankings is BareRankings.SKIP
    return {question for question, found in orders.items() if skip or len(found) == 1}


def _with_fields(record: dict[str, Any]) -> dict[str, Any]:
    return record if "fields" in record else _of_columns(record)


def _compares(response: Response, questions: Questions) -> bool:
    """Whether a response is to a question that is known to compare answers: by a ranking, or by its name."""
    return (
        isinstance(response.value, list)
        or response.question in questions.labels
        or normalised(response.question) in DECIDING
    )


RATED = re.compile(r"(.+?)[-_. ]?(rating|score)", re.IGNORECASE)


def _rated_field(response: Response, fields: dict[str, Any]) -> str | None:
    """The answer that a rating is of, by its question's name, like "generation-0-rating"; None where it is no such rating."""
    found = RATED.fullmatch(response.question)
    if found is None or isinstance(response.value, bool) or not isinstance(response.value, int | float):
        return None
    return found[1] if found[1] in fields else None


def _is_rationale(question: str, fields: dict[str, Any]) -> bool:
    """Whether a question asks why, of one of the answers: a remark beside its rating."""
    name, _, word = question.rpartition("-")
    return name in fields and word in ("rationale", "reason", "comment")


def _rated_pairs(
    record: dict[str, Any], ratings: dict[str, Response], submitted_at: datetime, questions: Questions
) -> Iterator[Event]:
    """Ratings of several answers by one person as comparisons, one point a logit; all of them are one judgement."""
    fields: dict[str, Any] = record["fields"]
    names = [name for name in fields if name in ratings]
    if len(names) < 2:
        raise RowError("rating of a single answer: nothing to compare it with", ", ".join(names))
    question = question_in(fields, questions.prompt, names)
    pairs = list(combinations(names, 2))
    for name_a, name_b in pairs:
        scores = [float(ratings[name].value) for name in (name_a, name_b)]
        yield preference(
            ratings[name_a].user_id,
            _comparison_id(record, name_a, name_b, len(names), questions.source),
            question.prompt,
            answer_of(fields[name_a], name_a),
            answer_of(fields[name_b], name_b),
            from_scores(*scores),
            submitted_at,
            judgement_share=1 / len(pairs) if len(pairs) > 1 else None,
            **question.payload,
        )


def _comparison_id(record: dict[str, Any], name_a: str, name_b: str, compared: int, source: str) -> str:
    # The server's own id is "id" to the server and "_server_id" to the SDK; both know the user's one.
    given = record.get("external_id") or record.get("id")
    if given is None:
        record_id = digest(json.dumps(record["fields"], sort_keys=True), size=8)
    else:
        record_id = identifier_of(given, "record id")
    metadata = record.get("metadata")
    ours = metadata.get(COMPARISON_PROPERTY) if isinstance(metadata, dict) and compared == 2 else None
    if ours is not None:
        return identifier_of(ours, COMPARISON_PROPERTY)
    return f"argilla-{sourced(f'{record_id}-{name_a}-{name_b}', source)}"


def _sourced(user_id: str, source: str) -> str:
    return f"argilla-{sourced(user_id.removeprefix('argilla-'), source)}"


def _of_columns(row: dict[str, Any]) -> dict[str, Any]:
    """A record from the columns that ``to_datasets`` writes: fields beside "question.responses", its users and its status, and
    of version 1 "question" with the responses as objects."""
    fields: dict[str, Any] = {}
    responses: dict[str, list[dict[str, Any]]] = {}
    about: dict[str, Any] = {
        "id": row.get("id"),
        "external_id": row.get("external_id"),
        "metadata": row.get("metadata"),
    }
    asked = {name.removesuffix(".responses") for name in row if name.endswith(".responses")}
    for name, value in row.items():
        if name in ("id", "external_id", "metadata", "status", "_server_id", "inserted_at", "updated_at"):
            continue
        if isinstance(value, list) and value and all(isinstance(each, dict) and "user_id" in each for each in value):
            responses[name] = value
            continue
        if name in asked or any(name.startswith((f"{each}.", f"{each}-suggestion")) for each in (*asked, *responses)):
            continue
        if isinstance(value, str | list) and not name.endswith(("-suggestion", "-suggestion-metadata")):
            fields[name] = value
    for question in asked:
        values = row.get(f"{question}.responses") or []
        users = row.get(f"{question}.responses.users") or []
        status = row.get(f"{question}.responses.status") or ["submitted"] * len(values)
        if isinstance(values, list) and isinstance(users, list) and isinstance(status, list):
            responses[question] = [
                {"value": value, "user_id": user, "status": state}
                for value, user, state in zip(values, users, status, strict=False)
            ]
    return about | {"fields": fields, "responses": responses} if responses else row


def _responses(record: dict[str, Any]) -> Iterator[Response | RowError]:
    """The responses of a record, in either layout."""
    responses = record.get("responses")
    if isinstance(responses, dict):
        for question, answers in responses.items():
            for answer in answers if isinstance(answers, list) else [answers]:
                yield _response(question, answer, answer)
    elif isinstance(responses, list):
        for answer in responses:
            values = answer.get("values") if isinstance(answer, dict) else None
            if not isinstance(values, dict):
                yield RowError("response has no values", answer)
                continue
            for question, value in values.items():
                yield _response(question, answer, value)
    elif responses is not None:
        yield RowError("responses are neither an object nor a list", responses)


def _response(question: str, answer: object, value: object) -> Response | RowError:
    try:
        if not isinstance(answer, dict) or not isinstance(value, dict):
            raise RowError("response is not an object", answer)
        status = answer.get("status")
        if status not in (None, "submitted"):
            raise RowError(f"response is {status}" if status in ("draft", "discarded") else "status is unknown", status)
        changed_at = answer.get("updated_at") or answer.get("inserted_at")
        said = value.get("value")
        if isinstance(said, dict) and all(isinstance(said.get(name), list) for name in ("rank", "value")):
            said = [{"value": name, "rank": rank} for name, rank in zip(said["value"], said["rank"], strict=False)]
        return Response(
            question,
            said,
            f"argilla-{identifier_of(answer.get('user_id'), 'user_id')}",
            None if changed_at is None else _server_time(changed_at),
        )
    except RowError as error:
        return error


def _server_time(value: object) -> datetime:
    """The server writes UTC and leaves the zone out."""
    if isinstance(value, str) and re.fullmatch(r"[\d-]+T[\d:.]+", value):
        value += "+00:00"
    return time_of(value, "updated_at")


def _bare_order(value: object) -> tuple[str, ...] | None:
    """The order of a ranking without ranks: names, or names whose rank is null; None for anything else."""
    if not isinstance(value, list) or not value:
        return None
    names = []
    for item in value:
        name = item.get("value") if isinstance(item, dict) and item.get("rank") is None else item
        if not isinstance(name, str):
            return None
        names.append(name)
    return tuple(names)


def _events(
    record: dict[str, Any], response: Response, submitted_at: datetime, questions: Questions
) -> Iterator[Event]:
    fields: dict[str, Any] = record["fields"]
    value = response.value
    bad = False
    if isinstance(value, list):
        ranks = _ranks(value, fields)
    elif isinstance(value, str) and response.question in questions.texts:
        asked = question_in(fields, questions.prompt)
        yield demonstration(
            response.user_id, asked.prompt, text_of(value, response.question), submitted_at, **asked.payload
        )
        return
    elif isinstance(value, str):
        ranks, bad = _label_ranks(value, response.question, fields, questions)
    else:
        raise RowError("response is neither a ranking, a label nor a text", value)
    # The order of the record's fields, so that every labeler's report on a pair speaks of the same A.
    compared = [name for name in fields if name in ranks]
    metadata = record.get("metadata")
    exported = share_of(metadata.get(SHARE_PROPERTY)) if isinstance(metadata, dict) else None
    asked = question_in(fields, questions.prompt, compared)
    for name_a, name_b, probability_a, share in ranked_pairs({name: ranks[name] for name in compared}):
        yield preference(
            response.user_id,
            _comparison_id(record, name_a, name_b, len(compared), questions.source),
            asked.prompt,
            answer_of(fields[name_a], name_a),
            answer_of(fields[name_b], name_b),
            probability_a,
            submitted_at,
            question=response.question,
            both_bad=bad or None,
            judgement_share=share if share < 1 else exported,
            **asked.payload,
        )


def _ranks(ranking: list[Any], fields: dict[str, Any]) -> dict[str, float]:
    """Rank by field, the smallest the best, from ``[{"value", "rank"}, …]`` or from names, the best first."""
    ranks: dict[str, float] = {}
    order = _bare_order(ranking)
    items = ranking if order is None else [{"value": name, "rank": rank} for rank, name in enumerate(order, start=1)]
    for item in items:
        name, rank = (item.get("value"), item.get("rank")) if isinstance(item, dict) else (item, None)
        if not isinstance(name, str) or isinstance(rank, bool) or not isinstance(rank, int):
            raise RowError("ranking is neither names nor names with ranks", item)
        field = _answer_field(name, fields)
        if field in ranks:
            raise RowError("ranking names an answer twice", name)
        ranks[field] = rank
    if len(ranks) < 2:
        raise RowError("ranking of fewer than two answers", ranking)
    return ranks


def _label_ranks(
    label: str, question: str, fields: dict[str, Any], questions: Questions
) -> tuple[dict[str, float], bool]:
    """The same for a label question on two answers, whose label names a field, A or B, left or right, or a tie; and whether it
    says that both are bad."""
    try:
        name_a, name_b = find_answers(fields, questions.answer_a, questions.answer_b)
    except RowError:
        numbered = [name for name in fields if re.fullmatch(r"\D+[-_ ]?\d", name)]
        if questions.answer_a is not None or len(numbered) != 2:
            if questions.answer_a is not None:
                raise
            raise RowError(
                "neither two answers to compare nor a known text question: name the fields or the question", question
            ) from None
        name_a, name_b = numbered
    if normalised(label) in (normalised(name_a), normalised(name_b)):
        return {name_a: 1 - float(normalised(label) == normalised(name_a)), name_b: 0.5}, False
    known = question in questions.labels or normalised(question) in DECIDING
    judged = questions.meanings.judged(label, known)
    if judged is None:
        raise RowError(
            f"label {excerpt(label, 40)!r} is not understood: if it says which answer is better, name its question with "
            "--label-question, or say what it means with --label",
            f"question {question}: {label}",
        )
    return {name_a: 1 - judged[0], name_b: 0.5}, judged[1]


def _answer_field(name: str, fields: dict[str, Any]) -> str:
    """The field that a ranking's option stands for: of the same name, or "Response 2" for the option "2"."""
    if name in fields:
        return name
    wanted = {normalised(name), *(word + normalised(name) for word in ANSWER_WORDS)}
    found = [field for field in fields if normalised(field) in wanted]
    if len(found) != 1:
        raise RowError("ranking names no field of the record", f"{name}; fields: {', '.join(fields)}")
    return found[0]
