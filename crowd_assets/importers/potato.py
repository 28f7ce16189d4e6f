"""Pairwise annotations of Potato.

Layout (https://github.com/davidjurgens/potato, ``annotated_instances``): a table with ``user, instance_id, displayed_text`` and a column
"scheme:::label" for each label, "true" where it was picked; or JSON Lines, a folder a user, with ``id, displayed_text`` and
``label_annotations: {scheme: {label: value}}``. A pairwise scheme gives "selection" A, B or tie, or "scale_value" from what is negative for
A to what is positive for B. Both answers stand in ``displayed_text`` behind "A." and "B.", or in fields of the item.

Belongs here: that layout. Does not belong here: spans.
"""

import html
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from crowd_assets.importers.labels import Labels
from crowd_assets.importers.records import (
    Event,
    Record,
    RowError,
    Skipped,
    SourceError,
    digest,
    excerpt,
    find_answers,
    identifier_of,
    number_of,
    preference,
    sourced,
    text_of,
    ticks,
)
from crowd_assets.importers.text_tables import any_rows

LISTED = re.compile(r"(?:^|<br\s*/?>|\n)\s*([AB])[.:)]\s+")
TAG = re.compile(r"<[^>]{0,500}>")
PROMPT = "Which of the two is better?"
SCALE = 3.0
"""The end of a scheme's slider unless the user says otherwise, as in Potato's documentation."""


def read(
    source: Path,
    *,
    start: datetime,
    contributor: str | None = None,
    scheme: str | None = None,
    scale: float = SCALE,
    labels: Labels | None = None,
    name: str = "",
) -> Iterator[Record]:
    """One preference for each annotation of a pairwise scheme.

    Args:
        source: ``annotated_instances`` as .tsv, .csv or .jsonl, packed or not.
        start: when the first annotation was made; one second a row.
        contributor: who annotated, where rows do not say; None: the folder that the file lies in, as Potato makes one a user.
        scheme: the scheme that asks which is better; None: the only one there is.
        scale: the end of the scheme's slider, positive.
        labels: what labels mean.
        name: of the source, which goes into ids.

    Raises:
        SourceError: a scale that is not positive.
    """
    if not scale > 0:
        raise SourceError("--scale must be a positive number")
    clock = ticks(start)
    for row in any_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        number, cells = row
        try:
            who = next((cells[each] for each in ("user", "user_id", "annotator") if cells.get(each) is not None), None)
            who = identifier_of(contributor or source.parent.name if who is None else who, "user")
            yield _preference(cells, sourced(who, name), next(clock), scheme, scale, labels or Labels())
        except RowError as error:
            yield error.at(number)


def _preference(
    cells: dict[str, Any], who: str, at: datetime, scheme: str | None, scale: float, labels: Labels
) -> Event:
    probability, bad = _judged(_picked(cells, scheme), scale, labels)
    prompt, answer_a, answer_b = _answers(cells)
    if answer_a == answer_b:
        raise RowError("the two answers are the same")
    return preference(
        who,
        digest(prompt, answer_a, answer_b),
        prompt,
        answer_a,
        answer_b,
        probability,
        at,
        both_bad=bad or None,
        instance_id=cells.get("instance_id") or cells.get("id"),
    )


def _picked(cells: dict[str, Any], scheme: str | None) -> dict[str, Any]:
    """What was said in the scheme that compares, by label.

    Raises:
        RowError: there are several, or none; the reason names them.
    """
    found: dict[str, dict[str, Any]] = {}
    nested = cells.get("label_annotations")
    if isinstance(nested, dict):
        found = {str(key): value for key, value in nested.items() if isinstance(value, dict)}
    for column, value in cells.items():
        where, between, label = str(column).partition(":::")
        if between and value not in (None, "", [], "[]"):
            found.setdefault(where, {})[label] = value
    found.pop("span_annotation", None)
    if scheme is not None:
        found = {scheme: found[scheme]} if scheme in found else {}
    if not found:
        raise RowError("no annotation" if scheme is None else f"no annotation in the scheme {excerpt(scheme, 40)}")
    if len(found) > 1:
        raise RowError(
            f"several schemes ({excerpt(', '.join(sorted(found)), 80)}): name the one that compares with --scheme"
        )
    return next(iter(found.values()))


def _judged(picked: dict[str, Any], scale: float, labels: Labels) -> tuple[float, bool]:
    if "scale_value" in picked:
        value = number_of(picked["scale_value"], "scale_value")
        if abs(value) > scale:
            raise RowError(f"scale_value is not from -{scale:g} to {scale:g}: say the slider's end with --scale", value)
        return (scale - value) / (2 * scale), False
    said = (
        [str(picked["selection"])]
        if "selection" in picked
        else [label if str(value).strip().lower() in ("true", "1") else str(value) for label, value in picked.items()]
    )
    if len(said) != 1:
        raise RowError("several labels are picked", ", ".join(said))
    judged = labels.judged(said[0].strip(), known=True)
    if judged is None:
        raise RowError(f"label {excerpt(said[0], 40)!r} is not understood: say what it means with --label")
    return judged


def _answers(cells: dict[str, Any]) -> tuple[str, str, str]:
    """What is asked, and the two answers, from fields of the item or from the text that was shown."""
    prompt = next((cells[each] for each in ("prompt", "question", "instruction") if cells.get(each)), None)
    listed = next((value for value in cells.values() if isinstance(value, list) and len(value) == 2), None)
    if listed is not None and all(isinstance(each, str) for each in listed):
        return text_of(prompt or PROMPT, "prompt"), text_of(listed[0], "answer A"), text_of(listed[1], "answer B")
    shown = cells.get("displayed_text") or cells.get("text")
    marks = list(LISTED.finditer(shown)) if isinstance(shown, str) else []
    if isinstance(shown, str) and [each[1] for each in marks[:2]] == ["A", "B"]:
        before = _plain(shown[: marks[0].start()])
        answers = _plain(shown[marks[0].end() : marks[1].start()]), _plain(shown[marks[1].end() :])
        return (
            text_of(prompt or before or PROMPT, "prompt"),
            text_of(answers[0], "answer A"),
            text_of(answers[1], "answer B"),
        )
    name_a, name_b = find_answers(cells, None, None)
    return text_of(prompt or PROMPT, "prompt"), text_of(cells[name_a], name_a), text_of(cells[name_b], name_b)


def _plain(shown: str) -> str:
    """A text without the marks of a page."""
    return html.unescape(TAG.sub("", re.sub(r"<br\s*/?>", "\n", shown))).strip()
