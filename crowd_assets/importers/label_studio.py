"""Label Studio's JSON export of pairwise and of text projects.

Layout (https://labelstud.io/guide/task_format, and exports of 1.23.2 in ``tests/exports``): a list of tasks, each
with ``id``, ``project``, ``data`` (what was imported) and ``annotations``, each with ``completed_by``, ``created_at``,
``updated_at``, ``was_cancelled``, ``ground_truth``, ``unique_id`` and ``result``: a list of
``{"type", "from_name", "value"}``. A Pairwise tag (https://labelstud.io/tags/pairwise) gives type ``pairwise`` with
``{"selected": "left" | "right"}`` and no result where neither is picked; Choices give ``{"choices": [...]}``, a
TextArea ``{"text": [...]}``, a Number ``{"number": …}``. The export named JSON is meant, not JSON-MIN, which drops who
annotated and when.

Belongs here: that layout. Does not belong here: talking to a Label Studio server (see ``resources.tools.label_studio``).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from crowd_assets.importers.records import (
    PROMPT_FIELDS,
    Event,
    Note,
    Record,
    RowError,
    Skipped,
    demonstration,
    find_answers,
    find_field,
    identifier_of,
    in_time_order,
    named,
    number_of,
    outcome,
    preference,
    probability_of_choice,
    text_of,
    time_key,
    time_of,
)
from crowd_assets.importers.rows import Row, read_rows
from resources.feedback.events import is_visible

CERTAINTY = "certainty"
"""Number tag that says how sure the annotator is of the answer picked, in percent from 50 (a coin) to 100."""

COMPARISON_FIELD = "comparison_id"
"""Field of a task's data that names the comparison, where the platform made the task."""


@dataclass(frozen=True)
class Fields:
    """What is called how in the project.

    Attributes:
        prompt, answer_a, answer_b: fields of a task's ``data``; None: the first known name (see ``records``).
        choices: the Choices tag that asks which answer is better; None: every Choices tag, but only "left", "right"
            and words for a tie are understood.
    """

    prompt: str | None = None
    answer_a: str | None = None
    answer_b: str | None = None
    choices: str | None = None


def read(source: Path, *, fields: Fields | None = None) -> Iterator[Record]:
    """Pairwise annotations as preferences, or as outcomes where they are ground truth; texts as demonstrations.

    An annotation that holds a comparison keeps its text areas as ``comment`` in the payload; in all others every text
    is a demonstration. Times are those of the annotations' last change. The outcome of a task is the mean of its
    ground-truth annotations and is submitted a second after the last annotation of the task.

    Args:
        source: the export.
        fields: names of the data fields and of the choice.

    Raises:
        SourceError: the file is not a JSON document.
    """
    yield from in_time_order(_records(read_rows(source), fields or Fields()))


def read_tasks(tasks: Iterable[dict[str, Any]]) -> Iterator[Record]:
    """:func:`read` for tasks that a server handed over."""
    yield from in_time_order(_records(enumerate(tasks, start=1), Fields()))


def _records(rows: Iterable[Row | Skipped], fields: Fields) -> Iterator[Record]:
    minimal = False
    for row in rows:
        if isinstance(row, Skipped):
            yield row
            continue
        number, task = row
        annotations = task.get("annotations")
        if not isinstance(annotations, list):
            minimal = minimal or "annotator" in task
            yield Skipped(number, "task has no list of annotations", f"task {task.get('id')}")
            continue
        if not annotations:
            yield Skipped(number, "task is not annotated", f"task {task.get('id')}")
        judgements: list[Event] = []
        truths: list[Event] = []
        for annotation in annotations:
            try:
                for event in _events(task, annotation, fields):
                    if event["kind"] == "preference":
                        truth = annotation.get("ground_truth") is True
                        (truths if truth else judgements).append(event)
                    else:
                        yield event
            except RowError as error:
                yield error.at(number)
        yield from judgements
        if truths:
            settled_at = max(time_key(event) for event in (*judgements, *truths)) + timedelta(seconds=1)
            mean = sum(event["probability_a"] for event in truths) / len(truths)
            truth_id = truths[0].get("event_id")
            outcome_id = None if truth_id is None else f"{truth_id}-outcome"
            yield outcome(truths[0]["comparison_id"], mean, settled_at, event_id=outcome_id)
    if minimal:
        yield Note("this looks like a JSON-MIN export: export the project as JSON, which keeps the annotations")


def _events(task: dict[str, Any], annotation: object, fields: Fields) -> Iterator[Event]:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        raise RowError("annotation has no list of results", f"task {task.get('id')}")
    if annotation.get("was_cancelled"):
        raise RowError("annotation was skipped by its annotator", f"annotation {annotation.get('id')}")
    data = task.get("data")
    if not isinstance(data, dict):
        raise RowError("task has no data", f"task {task.get('id')}")
    contributor_id = _contributor(annotation.get("completed_by"))
    changed_at = annotation.get("updated_at") or annotation.get("created_at")
    submitted_at = time_of(changed_at, "updated_at")
    results = [
        result for result in annotation["result"] if isinstance(result, dict) and isinstance(result.get("value"), dict)
    ]
    texts = _texts(results)
    probability_a = _probability_a(results, fields.choices)
    event_id = _event_id(task, annotation)
    if probability_a is not None:
        name_a, name_b = find_answers(data, fields.answer_a, fields.answer_b)
        prompts = [name for name in PROMPT_FIELDS if name not in (name_a, name_b)]
        yield preference(
            contributor_id,
            _comparison_id(task, data),
            text_of(data[find_field(data, fields.prompt, prompts, "the prompt")], "prompt"),
            text_of(data[name_a], "answer A"),
            text_of(data[name_b], "answer B"),
            probability_a,
            submitted_at,
            event_id=event_id,
            comment="\n".join(texts) or None,
            lead_time=_lead_time(annotation),
        )
    elif texts:
        prompt = text_of(data[find_field(data, fields.prompt, PROMPT_FIELDS, "the prompt")], "prompt")
        for number, text in enumerate(texts, start=1):
            text_id = event_id if event_id is None or number == 1 else f"{event_id}-{number}"
            yield demonstration(
                contributor_id, prompt, text, submitted_at, event_id=text_id, lead_time=_lead_time(annotation)
            )
    else:
        raise RowError("annotation holds neither a comparison nor a text", f"annotation {annotation.get('id')}")


def _comparison_id(task: dict[str, Any], data: dict[str, Any]) -> str:
    if data.get(COMPARISON_FIELD) is not None:
        return identifier_of(data[COMPARISON_FIELD], COMPARISON_FIELD)
    project = identifier_of(task.get("project") or 0, "project")
    return f"label-studio-{project}-{identifier_of(task.get('id'), 'task id')}"


def _event_id(task: dict[str, Any], annotation: dict[str, Any]) -> str | None:
    """Stays what it is when the annotation is changed, so that an annotation counts once; None without a number."""
    unique_id = annotation.get("unique_id")
    if isinstance(unique_id, str) and unique_id:
        return named(f"label-studio-{unique_id}")
    if annotation.get("id") is None:
        return None
    return named(f"label-studio-{task.get('project') or 0}-{task.get('id')}-{annotation['id']}")


def _lead_time(annotation: dict[str, Any]) -> float | None:
    """Seconds that the annotator took, as far as the tool knows."""
    try:
        return number_of(annotation.get("lead_time"), "lead_time")
    except RowError:
        return None


def _contributor(completed_by: object) -> str:
    """The user's number; exports of other versions hold an object with the number or the address."""
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("id", completed_by.get("email"))
    return f"label-studio-{identifier_of(completed_by, 'completed_by')}"


def _probability_a(results: list[dict[str, Any]], choices: str | None) -> float | None:
    """What the annotation says about the pair: 1, 0 or ½, or between them as sure as the annotator says to be; None
    where it says nothing.

    Raises:
        RowError: it says two things at once, or the certainty is none.
    """
    said: set[float] = set()
    certainty = 1.0
    for result in results:
        value = result["value"]
        if result.get("type") == "pairwise" and value.get("selected") in ("left", "right"):
            said.add(1.0 if value["selected"] == "left" else 0.0)
        elif result.get("type") == "number" and result.get("from_name") == CERTAINTY:
            certainty = number_of(value.get("number"), CERTAINTY) / 100
            if not 0.5 <= certainty <= 1:
                raise RowError(f"{CERTAINTY} is not from 50 to 100", value.get("number"))
        elif result.get("type") == "choices" and isinstance(value.get("choices"), list):
            if choices is not None and result.get("from_name") != choices:
                continue
            for choice in value["choices"]:
                probability_a = (
                    probability_of_choice(choice, known=choices is not None) if isinstance(choice, str) else None
                )
                if probability_a is not None:
                    said.add(probability_a)
    if len(said) > 1:
        raise RowError("annotation contradicts itself on which answer is better")
    if not said:
        return None
    preferred = said.pop()
    if preferred == 0.5:
        return preferred
    return certainty if preferred == 1.0 else round(1 - certainty, 6)  # 1 − 0.85 is not 0.15 in binary


def _texts(results: list[dict[str, Any]]) -> list[str]:
    texts = []
    for result in results:
        if result.get("type") == "textarea":
            entries = result["value"].get("text")
            entries = entries if isinstance(entries, list) else [entries]
            texts += [entry for entry in entries if isinstance(entry, str) and is_visible(entry)]
    return texts
