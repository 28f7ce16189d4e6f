"""Tables of prompt, chosen and rejected answers, as TRL, LLaMA-Factory, axolotl and others train on them.

Layout: https://huggingface.co/docs/trl/dataset_formats, section "Preference": columns ``prompt``, ``chosen`` and
``rejected``, each text (standard format) or a list of ``{"role", "content"}`` messages (conversational format); where there is
no ``prompt``, what both answers begin with is the prompt. Other names of the prompt, ``system``, ``input`` and ``conversations``
are those of :mod:`crowd_assets.importers.chat`.

Belongs here: that layout in all variants. Does not belong here: several answers with scores (see ``ultrafeedback``).
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from crowd_assets.importers.cells import TICKED
from crowd_assets.importers.chat import (
    Asked,
    answer_of,
    asked,
    dialogue,
    has_question,
    messages_of,
    missing,
    question_of,
    refuse_unusable,
    shared_messages,
    system_of,
)
from crowd_assets.importers.records import (
    Event,
    Note,
    Record,
    RowError,
    Skipped,
    digest,
    identifier_of,
    number_of,
    positions,
    preference,
    share_of,
    sourced,
    ticks,
)
from crowd_assets.importers.text_tables import any_rows
from resources.feedback.events import is_visible

DEFAULT_CONTRIBUTOR = "trl"
LAST_TURN = "\n\nAssistant:"
"""What precedes an answer in dialogues that are written out as one text."""
SURENESS = ("chosen_prob", "probability_chosen", "prob_chosen", "chosen_probability")
"""Columns with the probability that the chosen answer is preferred."""
SCORE = re.compile(r".*(score|rating|reward|grade|rank)")
"""Names of columns with a score of each answer, without "chosen" and "rejected" and what stands between words."""
PEOPLE = ("annotator", "annotator_id", "worker", "worker_id", "labeler", "labeler_id", "rater", "judge", "user_id")
"""Columns that may say who judged, or wrote, a row."""
TIES = ("tie", "is_tie", "equal", "is_equal", "both_bad")
CHOSEN = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("preferred", "dispreferred"),
    ("preferred_output", "non_preferred_output"),
    ("chosen_messages", "rejected_messages"),
)


def read(
    source: Path,
    *,
    start: datetime,
    contributor: str = DEFAULT_CONTRIBUTOR,
    contributor_column: str | None = None,
    id_column: str | None = None,
    seed: int = 0,
    name: str = "",
) -> Iterator[Record]:
    """One preference a row: certain (1 or 0) that the chosen answer is better, unless a column says how sure.

    Whether the chosen answer stands at A is a coin that knows the two texts but not which was chosen.

    Args:
        source: JSON, JSON Lines or Parquet, packed or not.
        start: when the first preference was submitted; one second a row.
        contributor: who preferred, where no column says so; a column ``contributor_id`` does, unless another name is given.
        contributor_column: column that says who preferred; a row without it is skipped.
        id_column: column that names the comparison, each one; None: where there is a column ``id`` it goes into the name beside
            the content, as it may be the prompt's; else the content names it.
        seed: of the coin.
        name: of the source, which goes into ids.
    """
    clock = ticks(start)
    seen: dict[str, str] = {}
    told: Note | None = None
    for row in any_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        number, cells = row
        if told is None and (told := who_may_be(cells, contributor, contributor_column)) is not None:
            yield told
        submitted_at = next(clock)
        try:
            event = _preference(cells, submitted_at, contributor, contributor_column, id_column, seed, name)
            if id_column is not None:
                content = digest(event["prompt"], str(event.get("messages")), event["response_a"], event["response_b"])
                if seen.setdefault(event["comparison_id"], content) != content:
                    raise RowError(
                        f"{id_column!r} names another comparison too: choose another --id-column",
                        event["comparison_id"],
                    )
            yield event
        except RowError as error:
            yield error.at(number)


def _preference(
    cells: dict[str, Any],
    submitted_at: datetime,
    contributor: str,
    contributor_column: str | None,
    id_column: str | None,
    seed: int,
    name: str,
) -> Event:
    if isinstance(asked_of := cells.get("input"), dict) and "messages" in asked_of:  # OpenAI's
        cells = {**cells, "input": None, **asked_of}
    refuse_unusable(cells)
    question, chosen, rejected = split(cells)
    if chosen == rejected:
        raise RowError("chosen and rejected are the same")
    response_a, response_b = positions(seed, question.key, chosen, rejected)
    if cells.get("chosen_is") in ("A", "B"):  # as the exporter wrote it
        response_a, response_b = (chosen, rejected) if cells["chosen_is"] == "A" else (rejected, chosen)
    content = digest(question.key, response_a, response_b)
    comparison_id = content
    exported = cells.get("comparison_id") or (cells.get("id") if cells.get("probability_chosen") is not None else None)
    if exported is not None and id_column is None:  # as the exporter wrote it
        comparison_id = identifier_of(exported, "comparison_id")
    elif cells.get(id_column or "id") is not None:
        comparison_id = sourced(identifier_of(cells[id_column or "id"], id_column or "id"), name)
        if id_column is None:  # an id of the prompt names several comparisons: what is compared is part of the name
            comparison_id = f"{comparison_id}-{content[:8]}"
    sure = _sureness(cells)
    return preference(
        sourced(said_by(cells, contributor, contributor_column), name),
        comparison_id,
        question.prompt,
        response_a,
        response_b,
        sure if response_a == chosen else round(1 - sure, 12),
        submitted_at,
        judgement_share=share_of(cells.get("judgement_share")),
        margin=cells.get("margin"),
        **question.payload,
    )


def _sureness(cells: dict[str, Any]) -> float:
    """The probability that the chosen answer is the better one."""
    for column in SURENESS:
        if cells.get(column) is not None:
            sure = number_of(cells[column], column)
            if not 0 <= sure <= 1:
                raise RowError(f"{column} is not from 0 to 1", sure)
            return sure
    for name in TIES:
        if str(cells.get(name)).strip().lower() in TICKED:
            raise RowError(f"{name} is true: neither answer is better")
    for chosen in cells:
        rejected = str(chosen).replace("chosen", "rejected")
        kind = re.sub(r"chosen|[^a-z]", "", str(chosen).lower())
        if rejected == chosen or not SCORE.fullmatch(kind):
            continue
        if cells[chosen] is not None and cells.get(rejected) is not None:
            scores = number_of(cells[chosen], chosen), number_of(cells[rejected], rejected)
            if scores[0] == scores[1]:
                raise RowError("both answers have the same score", scores[0])
            if (scores[0] < scores[1]) != kind.endswith("rank"):
                raise RowError("the rejected answer has the higher score", scores)
    if not missing(cells, "margin") and number_of(cells["margin"], "margin") <= 0:
        raise RowError("margin is not above 0: the chosen answer is not better", cells["margin"])
    return 1.0


def said_by(cells: dict[str, Any], contributor: str, column: str | None) -> str:
    """Who speaks in a row: the one that a column names, which is ``contributor_id`` where the user names neither column nor person.

    Raises:
        RowError: the column that the user names is empty.
    """
    if column is None and contributor == DEFAULT_CONTRIBUTOR and not missing(cells, "contributor_id"):
        column = "contributor_id"
    return contributor if column is None else identifier_of(cells.get(column), column)


def who_may_be(cells: dict[str, Any], contributor: str, column: str | None) -> Note | None:
    """What to say of a column that looks like one of people, where nobody has said who speaks."""
    if column is not None or contributor != DEFAULT_CONTRIBUTOR or not missing(cells, "contributor_id"):
        return None
    found = next((name for name in PEOPLE if not missing(cells, name)), None)
    return (
        None
        if found is None
        else Note(f"all rows are of {contributor!r}; --contributor-column {found} if it says who judged")
    )


def split(cells: dict[str, Any]) -> tuple[Asked, str, str]:
    """What is asked, the chosen and the rejected answer, whichever of the variants a row comes in.

    Raises:
        RowError: one of them is missing or of another type, or there is no common beginning to be the prompt.
    """
    names = next((pair for pair in CHOSEN if cells.get(pair[0]) is not None and cells.get(pair[1]) is not None), None)
    if names is None:
        absent = next(name for name in CHOSEN[0] if cells.get(name) is None)
        raise RowError(f"no {absent}", f"fields: {', '.join(map(str, cells))}")
    chosen, rejected = cells[names[0]], cells[names[1]]
    question = question_of(cells) if has_question(cells) else None
    if isinstance(chosen, str) and isinstance(rejected, str) and (question is None or dialogue(chosen)):
        spoken = dialogue(chosen), dialogue(rejected)
        if all(spoken):
            chosen, rejected = spoken
    if isinstance(chosen, list) and isinstance(rejected, list) and max(len(chosen), len(rejected)) > 1:
        said = messages_of(chosen, names[0]), messages_of(rejected, names[1])
        shared = shared_messages(*said)
        if any(len(each) != shared + 1 for each in said):
            raise RowError("the conversations part before their last messages", f"after {shared} messages")
        if question is None or not question.messages[:-1]:
            if not shared and question is None:
                raise RowError("no prompt, and the answers do not begin alike")
            found = asked(said[0][:shared], "prompt", system_of(cells)) if shared or question is None else question
            said_so = question is None or any(each["content"] == question.prompt for each in found.messages)
            if not said_so:
                raise RowError("prompt is not what the conversations begin with", question and question.prompt)
            question = found
        chosen, rejected = said[0][-1:], said[1][-1:]
    elif question is None and isinstance(chosen, str) and isinstance(rejected, str):
        shared = _shared_text(chosen, rejected)
        if not is_visible(chosen[:shared]):
            raise RowError("no prompt, and the answers do not begin alike", f"fields: {', '.join(map(str, cells))}")
        question = Asked(chosen[:shared])
        chosen, rejected = chosen[shared:], rejected[shared:]
    if question is None:
        raise RowError("no prompt", f"fields: {', '.join(map(str, cells))}")
    return question, answer_of(chosen, names[0]), answer_of(rejected, names[1])


def _shared_text(chosen: str, rejected: str) -> int:
    """The length of what both begin with, up to the last turn of a dialogue or else the last whole word."""
    most = min(len(chosen), len(rejected))
    shared = next((index for index in range(most) if chosen[index] != rejected[index]), most)
    if (turn := chosen.rfind(LAST_TURN, 0, shared)) >= 0:
        return turn + len(LAST_TURN)
    while shared > 0 and not chosen[shared - 1].isspace():
        shared -= 1
    return shared
