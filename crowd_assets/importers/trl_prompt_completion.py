"""Tables of prompts and completions, as TRL's SFT and KTO trainers, alpaca, ShareGPT and OpenAI's chat files have them.

Layout: https://huggingface.co/docs/trl/dataset_formats, sections "Prompt-completion", "Unpaired preference" (with ``label``) and
"Language modeling", conversational: one column ``messages`` whose last message is the completion. Other names of both are
those of :mod:`crowd_assets.importers.chat` and ``ANSWERS``.

Belongs here: that layout in all variants. Does not belong here: pairs (see ``trl_preference``).
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from crowd_assets.importers.chat import (
    ASKED_FIELDS,
    SPOKEN_FIELDS,
    Asked,
    answer_of,
    asked,
    dialogue,
    messages_of,
    missing,
    question_of,
    refuse_unusable,
    system_of,
    untrained,
)
from crowd_assets.importers.records import (
    Note,
    Record,
    RowError,
    Skipped,
    demonstration,
    sourced,
    ticks,
)
from crowd_assets.importers.text_tables import any_rows
from crowd_assets.importers.trl_preference import DEFAULT_CONTRIBUTOR, said_by, who_may_be
from resources.feedback.conversations import ASSISTANT

ANSWERS = ("completion", "response", "output", "answer", "demonstration")
LABELS = (
    "label",
    "kto_tag",
    "desirable",
    "is_desirable",
    "accepted",
    "is_accepted",
    "approved",
    "is_safe",
    "is_response_safe",
)
SAID = ("feedback", "rating", "vote", "thumb", "thumbs", "reaction", "liked")
"""Columns that may hold such a label, or something else."""
WANTED = frozenset(
    ("true", "1", "1.0", "yes", "good", "desirable", "positive", "thumbs_up", "thumbs up", "up", "like", "liked", "👍")
)
DISLIKED = frozenset(
    ("false", "bad", "undesirable", "negative", "thumbs_down", "thumbs down", "down", "dislike", "disliked", "👎")
)
NOT_WANTED = DISLIKED | {"0", "0.0", "no", "-1"}
STEP_END = "\n"
"""What TRL puts between the steps of a completion (``step_separator``)."""
UNWANTED = "label is false: not wanted; --take-unwanted takes such rows"


def read(
    source: Path,
    *,
    start: datetime,
    contributor: str = DEFAULT_CONTRIBUTOR,
    contributor_column: str | None = None,
    take_unwanted: bool = False,
    name: str = "",
) -> Iterator[Record]:
    """One demonstration a row, one second apart.

    Args:
        source: JSON, JSON Lines or Parquet, packed or not.
        start: when the first demonstration was submitted.
        contributor: who wrote it, where no column says so; a column ``contributor_id`` does, unless another name is given.
        contributor_column: column that says who wrote it; a row without it is skipped.
        take_unwanted: whether rows whose label says that the completion is not wanted are taken all the same.
        name: of the source, which goes into ids.
    """
    clock = ticks(start)
    told: Note | None = None
    for row in any_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        number, cells = row
        submitted_at = next(clock)
        if told is None and (told := who_may_be(cells, contributor, contributor_column)) is not None:
            yield told
        try:
            cells = _joined(cells)
            question, completion = split(cells)
            if not take_unwanted and not _wanted(cells):
                raise RowError(UNWANTED)
            who = said_by(cells, contributor, contributor_column)
            yield demonstration(sourced(who, name), question.prompt, completion, submitted_at, **question.payload)
        except RowError as error:
            yield error.at(number)


def split(cells: dict[str, Any]) -> tuple[Asked, str]:
    """What is asked and the completion of a row, whichever of the variants it comes in.

    Raises:
        RowError: it has messages that do not end with an answer, or no known column; the reason lists those that are there.
    """
    refuse_unusable(cells)
    answer = next((name for name in ANSWERS if cells.get(name) not in (None, "", [])), None)
    if answer is not None and (any(cells.get(name) is not None for name in ASKED_FIELDS) or cells.get("input")):
        return question_of(cells), answer_of(cells[answer], answer)
    spoken = next((name for name in (*SPOKEN_FIELDS, "text") if cells.get(name) not in (None, "", [])), None)
    if spoken == "text" and not (isinstance(cells["text"], str) and dialogue(cells["text"])):
        spoken = None
    if spoken is None:
        absent = "completion" if any(cells.get(name) is not None for name in ASKED_FIELDS) else "prompt"
        raise RowError(f"no {absent}", f"fields: {', '.join(map(str, cells))}")
    said = messages_of(cells[spoken], spoken)
    if untrained(cells[spoken]):
        raise RowError(f"the last of {spoken} is not to be learnt (weight, train or training): not wanted")
    if answer is not None:
        return asked(said, spoken, system_of(cells)), answer_of(cells[answer], answer)
    if len(said) < 2 or said[-1]["role"] != ASSISTANT:
        raise RowError(f"{spoken} do not end with one of the assistant", cells[spoken])
    return asked(said[:-1], spoken, system_of(cells)), said[-1]["content"]


def _joined(cells: dict[str, Any]) -> dict[str, Any]:
    """A row of TRL's stepwise supervision, a completion in steps with a label each, with one completion, wanted where all steps are.

    Raises:
        RowError: there are not as many labels as steps.
    """
    steps, labels = cells.get("completions"), cells.get("labels")
    if not isinstance(steps, list) or not isinstance(labels, list) or not all(isinstance(each, str) for each in steps):
        return cells
    if len(steps) != len(labels) or not all(isinstance(each, bool | int) for each in labels):
        raise RowError("not one label for each step", f"{len(steps)} steps, {len(labels)} labels")
    return {**cells, "completion": STEP_END.join(steps), "label": all(labels)}


def _wanted(cells: dict[str, Any]) -> bool:
    """Whether the row's label, where it has one, says that the completion is wanted.

    Raises:
        RowError: the label is neither true nor false.
    """
    for name in LABELS:
        if name not in cells:
            continue
        value = cells[name]
        if missing(cells, name):
            raise RowError(f"{name} is empty: neither wanted nor not")
        if isinstance(value, list):
            raise RowError(f"{name} is a list: labels of steps are no label of the completion", value)
        said = str(value).strip().lower()
        if said in WANTED:
            continue
        if said in NOT_WANTED:
            return False
        raise RowError(f"{name} is neither true nor false", value)
    return not any(str(cells.get(name)).strip().lower() in DISLIKED for name in SAID)
