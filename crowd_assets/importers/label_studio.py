"""Label Studio's JSON export of pairwise and of text projects.

Layout (https://labelstud.io/guide/task_format, and exports of 1.23.2 in ``tests/exports``): a list of tasks, each
with ``id``, ``project``, ``data`` (what was imported) and ``annotations``, each with ``completed_by``, ``created_at``,
``updated_at``, ``was_cancelled``, ``ground_truth``, ``unique_id`` and ``result``: a list of
``{"type", "from_name", "value"}``. A Pairwise tag (https://labelstud.io/tags/pairwise) gives type ``pairwise`` with
``{"selected": "left" | "right"}`` and no result where neither is picked; Choices give ``{"choices": [...]}``, a
TextArea ``{"text": [...]}``, a Number ``{"number": …}``, a Rating ``{"rating": …}``, a Ranker ``{"ranker": {"rank": [ids]}}``.
Before 1.0 annotations were called ``completions``. JSON-MIN has one object an annotation, its tags beside the data.

Belongs here: that layout. Does not belong here: one annotation's tags (see
``label_studio_results``), talking to a Label Studio server (see ``resources.tools.label_studio``).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from crowd_assets.importers.chat import SPOKEN_FIELDS, SYSTEM_FIELDS, answer_of, question_in
from crowd_assets.importers.label_studio_results import (
    Fields,
    is_rating,
    judged,
    lists_of_items,
    ranking_of,
    rated,
    scaled,
    texts_of,
)
from crowd_assets.importers.records import (
    ADDRESS,
    ANSWER_FIELD_PAIRS,
    PROMPT_FIELDS,
    Event,
    Note,
    Record,
    RowError,
    Skipped,
    demonstration,
    excerpt,
    find_answers,
    identifier_of,
    in_time_order,
    named,
    number_of,
    outcome,
    preference,
    ranked_pairs,
    share_of,
    sourced,
    ticks,
    time_key,
    time_of,
)
from crowd_assets.importers.rows import Row
from crowd_assets.importers.text_tables import any_rows

COMPARISON_FIELD = "comparison_id"
"""Field of a task's data that names the comparison, where the platform made the task."""

SHARE_FIELD = "judgement_share"
"""Field of a task's data that says which part of one judgement an answer is: pairs of a ranking are one judgement together."""


OF_ANNOTATION = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time", "id", "project")
"""What JSON-MIN says of an annotation beside data and tags."""


@dataclass(frozen=True)
class _Export:
    """What holds for a whole export: its source and, by address, the numbers of those who are named by both."""

    source: str
    numbers: dict[str, str]


def read(source: Path, *, fields: Fields | None = None) -> Iterator[Record]:
    """Annotations as preferences, or as outcomes where they are ground truth; texts as demonstrations.

    An annotation that holds a comparison keeps its text areas as ``comment`` in the payload; in all others every text
    is a demonstration. Times are those of the annotations' last change. The outcome of a task is the mean of its
    ground-truth annotations and is submitted a second after the last annotation of the task.

    Args:
        source: the export.
        fields: names of the data fields and of the choice.

    Raises:
        SourceError: the file is not a JSON document.
    """
    fields = fields or Fields()
    export = _looked_through((row[1] for row in _tasks(any_rows(source)) if not isinstance(row, Skipped)), fields)
    yield from in_time_order(_records(_tasks(any_rows(source)), fields, export))


def read_tasks(tasks: Iterable[dict[str, Any]]) -> Iterator[Record]:
    """:func:`read` for tasks that a server handed over."""
    tasks = list(tasks)
    fields = Fields(source="")
    yield from in_time_order(_records(enumerate(tasks, start=1), fields, _looked_through(tasks, fields)))


def _tasks(rows: Iterable[Row | Skipped]) -> Iterator[Row | Skipped]:
    """Tasks with their annotations; a file of cloud storage holds one annotation, and the task in it."""
    for row in rows:
        if not isinstance(row, Skipped) and "result" in row[1] and isinstance(row[1].get("task"), dict):
            number, annotation = row
            yield number, {"project": annotation.get("project"), **annotation["task"], "annotations": [annotation]}
        else:
            yield row


def _looked_through(tasks: Iterable[Mapping[str, Any]], fields: Fields) -> _Export:
    first: tuple[str, int] | None = None
    data: object = None
    numbers: dict[str, str] = {}
    for task in tasks:
        number = str(task.get("id"))
        place = (str(task.get("project")), int(number)) if number.isdecimal() and len(number) < 19 else None
        if place is not None and (first is None or place < first):
            first, data = place, task.get("data", {name: task[name] for name in task if name not in OF_ANNOTATION})
        for annotation in _annotations(task) or ():
            who = annotation.get("completed_by") if isinstance(annotation, dict) else None
            if isinstance(who, dict) and isinstance(who.get("email"), str) and who.get("id") is not None:
                numbers[who["email"].strip().lower()] = str(who["id"])
    if fields.source is not None:
        return _Export(fields.source, numbers)
    if first is None or not isinstance(data, dict) or COMPARISON_FIELD in data:
        return _Export("", numbers)
    content = json.dumps([first[0], data], sort_keys=True, default=str).encode("utf-8", "replace")
    return _Export(hashlib.blake2b(content, digest_size=4).hexdigest(), numbers)


def _annotations(task: Mapping[str, Any]) -> list[Any] | None:
    """A task's annotations in any of the layouts; None where it has none of them."""
    found = task.get("annotations", task.get("completions"))
    if isinstance(found, list):
        return found
    if "annotator" not in task:
        return None
    results = [
        {"from_name": name, **each}
        for name, value in task.items()
        if name not in OF_ANNOTATION and name not in _DATA_WORDS
        for each in _minimal(value)
    ]
    about = {name: task.get(name) for name in OF_ANNOTATION}
    return [about | {"id": task.get("annotation_id"), "completed_by": task["annotator"], "result": results}]


_DATA_WORDS = frozenset(
    (
        *PROMPT_FIELDS,
        *SPOKEN_FIELDS,
        *SYSTEM_FIELDS,
        COMPARISON_FIELD,
        *(name for pair in ANSWER_FIELD_PAIRS for name in pair),
    )
)


def _minimal(value: object) -> Iterator[dict[str, Any]]:
    """The results of a tag as JSON-MIN and CSV write them: a label or a text, or a list of objects without their type."""
    if isinstance(value, str):
        yield {"type": "choices", "value": {"choices": [value]}}
        return
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            continue
        kind = next((kind for key, kind in _KINDS.items() if key in each), None)
        if kind is not None:
            yield {"type": kind, "value": each}


_KINDS = {"choices": "choices", "selected": "pairwise", "rating": "rating", "number": "number", "ranker": "ranker"}
"""The key of a result's value, and the result's type."""


def _records(rows: Iterable[Row | Skipped], fields: Fields, export: _Export) -> Iterator[Record]:
    minimal = False
    clock = ticks(fields.start)
    for row in rows:
        if isinstance(row, Skipped):
            yield row
            continue
        number, task = row
        annotations = _annotations(task)
        if annotations is None:
            yield Skipped(number, "task has no list of annotations", f"task {task.get('id')}")
            continue
        if not isinstance(task.get("data"), dict) and "annotator" in task:
            minimal = True
            task = {**task, "data": {name: value for name, value in task.items() if name not in OF_ANNOTATION}}
        if not annotations:
            yield Skipped(number, "task is not annotated", f"task {task.get('id')}")
        judgements: list[Event] = []
        truths: list[Event] = []
        for annotation in annotations:
            try:
                for event in _events(task, annotation, fields, export, next(clock)):
                    if event["kind"] == "preference":
                        truth = annotation.get("ground_truth") is True
                        (truths if truth else judgements).append(event)
                    else:
                        yield event
            except RowError as error:
                yield error.at(number)
        yield from judgements
        for comparison in dict.fromkeys(event["comparison_id"] for event in truths):
            of_pair = [event for event in truths if event["comparison_id"] == comparison]
            settled_at = max(time_key(event) for event in (*judgements, *truths)) + timedelta(seconds=1)
            mean = sum(event["probability_a"] for event in of_pair) / len(of_pair)
            truth_id = of_pair[0].get("event_id")
            outcome_id = None if truth_id is None else f"{truth_id}-outcome"
            yield outcome(comparison, mean, settled_at, event_id=outcome_id)
    if minimal:
        yield Note(
            "this is a JSON-MIN export: name the tag that compares with --choices, or export JSON, which keeps tags apart"
        )


def _events(
    task: dict[str, Any], annotation: object, fields: Fields, export: _Export, clock: datetime
) -> Iterator[Event]:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        raise RowError("annotation has no list of results", f"task {task.get('id')}")
    if annotation.get("was_cancelled"):
        raise RowError("annotation was skipped by its annotator", f"annotation {annotation.get('id')}")
    data = task.get("data")
    if not isinstance(data, dict):
        raise RowError("task has no data", f"task {task.get('id')}")
    contributor_id = _contributor(annotation.get("completed_by"), fields, export)
    submitted_at = _time(annotation, clock)
    results = [
        result for result in annotation["result"] if isinstance(result, dict) and isinstance(result.get("value"), dict)
    ]
    texts = texts_of(results)
    event_id = _event_id(task, annotation, export)
    said = judged(results, fields)
    about = {"comment": "\n".join(texts) or None, "lead_time": _lead_time(annotation)}
    if said is None and (ranking := ranking_of(results, data, fields.choices)) is not None:
        question = question_in(data, fields.prompt, lists_of_items(data))
        answers, ranks = ranking
        for one, other, probability_a, share in ranked_pairs(ranks):
            yield preference(
                contributor_id,
                f"{_comparison_id(task, data, export)}-{named(one)}-{named(other)}",
                question.prompt,
                answers[one],
                answers[other],
                probability_a,
                submitted_at,
                event_id=None if event_id is None else named(f"{event_id}-{one}-{other}"),
                judgement_share=share if share < 1 else None,
                **question.payload,
                **about,
            )
        return
    name_a, name_b = ("", "")
    if said is None and fields.scale is not None:
        said = scaled(results, fields)
    if said is None and any(is_rating(result) for result in results):
        name_a, name_b = find_answers(data, fields.answer_a, fields.answer_b)
        said = rated(results, name_a, name_b)
    if said is not None:
        name_a, name_b = find_answers(data, fields.answer_a, fields.answer_b)
        question = question_in(data, fields.prompt, (name_a, name_b, COMPARISON_FIELD, SHARE_FIELD))
        yield preference(
            contributor_id,
            _comparison_id(task, data, export),
            question.prompt,
            answer_of(data[name_a], "answer A"),
            answer_of(data[name_b], "answer B"),
            said[0],
            submitted_at,
            event_id=event_id,
            both_bad=said[1] or None,
            judgement_share=share_of(data.get(SHARE_FIELD)),
            **question.payload,
            **about,
        )
    elif texts:
        question = question_in(data, fields.prompt)
        for number, text in enumerate(texts, start=1):
            text_id = event_id if event_id is None or number == 1 else f"{event_id}-{number}"
            yield demonstration(
                contributor_id,
                question.prompt,
                text,
                submitted_at,
                event_id=text_id,
                lead_time=about["lead_time"],
                **question.payload,
            )
    else:
        there = sorted({f"{result.get('from_name')} ({result.get('type')})" for result in results})
        raise RowError(
            "annotation holds neither a comparison nor a text"
            + (f"; name the tag that compares with --choices: {excerpt(', '.join(there), 120)}" if there else ""),
            f"annotation {annotation.get('id')}",
        )


def _time(annotation: dict[str, Any], clock: datetime) -> datetime:
    """When an annotation was last changed, as text or, before 1.0, in seconds since 1970; the clock where it does not say."""
    changed_at = annotation.get("updated_at") or annotation.get("created_at")
    if changed_at is None:
        return clock
    if isinstance(changed_at, int | float) and not isinstance(changed_at, bool):
        try:
            return datetime.fromtimestamp(changed_at, UTC)
        except (ValueError, OverflowError, OSError):
            raise RowError("created_at is out of range", changed_at) from None
    return time_of(changed_at, "updated_at")


def _comparison_id(task: dict[str, Any], data: dict[str, Any], export: _Export) -> str:
    if data.get(COMPARISON_FIELD) is not None:
        return identifier_of(data[COMPARISON_FIELD], COMPARISON_FIELD)
    project = identifier_of(task.get("project") or 0, "project")
    number = f"{project}-{identifier_of(task.get('id'), 'task id')}"
    return f"label-studio-{sourced(number, export.source)}"


def _event_id(task: dict[str, Any], annotation: dict[str, Any], export: _Export) -> str | None:
    """Stays what it is when the annotation is changed, so that an annotation counts once; None without a number."""
    unique_id = annotation.get("unique_id")
    if isinstance(unique_id, str) and unique_id:
        return named(f"label-studio-{unique_id}")
    if annotation.get("id") is None:
        return None
    number = f"{task.get('project') or 0}-{task.get('id')}-{annotation['id']}"
    return named(f"label-studio-{sourced(number, export.source)}")


def _lead_time(annotation: dict[str, Any]) -> float | None:
    """Seconds that the annotator took, as far as the tool knows."""
    try:
        return number_of(annotation.get("lead_time"), "lead_time")
    except RowError:
        return None


def _contributor(completed_by: object, fields: Fields, export: _Export) -> str:
    """The user's number; exports of other versions hold an object with the number or the address, and an address that stands
    beside a number anywhere in the export is that number."""
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("id", completed_by.get("email"))
    if isinstance(completed_by, str) and ADDRESS.fullmatch(completed_by.strip()):
        completed_by = export.numbers.get(completed_by.strip().lower(), completed_by)
    if completed_by is None:
        if fields.contributor is None:
            raise RowError("no completed_by: say who annotated with --contributor")
        return sourced(fields.contributor, export.source)
    return f"label-studio-{sourced(identifier_of(completed_by, 'completed_by'), export.source)}"
