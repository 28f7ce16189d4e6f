"""What a mapping makes of a row's cells: the value of each field, the conversation that is asked, the time.

Belongs here: paths into cells, labels, scales, ticks, times. Does not belong here: where rows come from (see ``text_tables``), what
becomes of a row as a whole (see ``table``).
"""

import ast
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast
from zoneinfo import ZoneInfo

from crowd_assets.importers.chat import LONGEST_LITERAL, Asked, answer_of, asked, messages_of, parted
from crowd_assets.importers.labels import Labels
from crowd_assets.importers.mapping import ANY_OF, Mapping, each_of, root_of
from crowd_assets.importers.records import (
    Event,
    RowError,
    excerpt,
    identifier_of,
    named,
    number_of,
    text_of,
    time_of,
)
from resources.common.instants import instant
from resources.feedback.conversations import ASSISTANT, USER, Message
from resources.feedback.events import IDENTIFIERS, SHARES, TEXTS, is_visible

MTURK_TIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2} \d{1,2} \d\d:\d\d:\d\d) ([A-Z]{3,4}) (\d{4})")
HOURS = {"UTC": 0, "GMT": 0, "PST": -8, "PDT": -7, "MST": -7, "MDT": -6, "CST": -6, "CDT": -5, "EST": -5, "EDT": -4}
SOURCED = ("contributor_id", "comparison_id")
TICKED = frozenset(("1", "1.0", "true", "t", "yes", "y", "x", "on"))
UNTICKED = frozenset(("", "0", "0.0", "false", "f", "no", "n", "off"))
NUMBER = re.compile(r"-?\d+(\.\d+)?")
ANSWERS = ("response_a", "response_b")
STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]|\[(:-1)\]")


def question_of_row(cells: dict[str, Any], mapping: Mapping) -> Asked:
    system = cell_of("system", cells, mapping)
    system = None if system is None else text_of(system, "system")
    spoken = cell_of("messages", cells, mapping)
    value = spoken if spoken is not None else cell_of("prompt", cells, mapping)
    if value is None:
        raise RowError("no prompt")
    return asked(messages_of(value, "prompt"), "prompt", system)


def spoken_of(cells: dict[str, Any], mapping: Mapping) -> tuple[Asked, dict[str, str]]:
    """What two conversations both begin with, and what each goes on with as the two answers: a comparison over whole conversations.

    Raises:
        RowError: one of them is none, or they do not begin with the same question.
    """
    said = [_conversation(cells, each) for each in mapping.conversations]
    shared, (answer_a, answer_b) = parted(*said)
    return asked(shared), {"response_a": answer_a, "response_b": answer_b}


def _conversation(cells: dict[str, Any], columns: str | tuple[str, ...]) -> list[Message]:
    """A column with messages, or two with what the user and the assistant said in turn."""
    if isinstance(columns, str):
        return messages_of(at(cells, columns), columns)
    turns = [at(cells, column) for column in columns]
    turns = [_printed(each) if isinstance(each, str) and each.lstrip().startswith("[") else each for each in turns]
    turns = [each if isinstance(each, list) else [each] for each in turns]
    if len(turns[0]) != len(turns[1]):
        raise RowError(f"{' and '.join(columns)} are not as many turns", [len(each) for each in turns])
    return [
        {"role": role, "content": text_of(text, column)}
        for exchange in zip(*turns, strict=True)
        for text, column, role in zip(exchange, columns, (USER, ASSISTANT), strict=True)
    ]


def value_of(name: str, cells: dict[str, Any], mapping: Mapping, labels: Labels, event: Event) -> Any:
    """The value of a field, from what the mapping says of the row; ``event`` is what is known of it so far.

    Raises:
        RowError: there is none, or it is no value of the field.
    """
    if name in mapping.weights:
        return _mean_share(name, cells, mapping, labels)
    value = cell_of(name, cells, mapping)
    if value is None:
        raise RowError(f"no {name}")
    if name in IDENTIFIERS:
        return identifier_of(value, name) if name in SOURCED else named(identifier_of(value, name))
    if name in TEXTS:
        return answer_of(_of_parts(value), name)
    if name in SHARES:
        return _share(name, value, mapping, labels, event)
    return str(value).strip()


def _of_parts(value: Any) -> Any:
    """A message for a list of the parts of one, as OpenAI writes contents; anything else as it is."""
    parts = isinstance(value, list) and value and all(isinstance(each, dict) and "type" in each for each in value)
    return {"role": "assistant", "content": value} if parts else value


def _mean_share(name: str, cells: dict[str, Any], mapping: Mapping, labels: Labels) -> float:
    """What several axes say together, by their weights; those that are empty are left out."""
    columns, weights = each_of(mapping.columns.get(name, ())), mapping.weights[name]
    if len(columns) != len(weights):
        raise RowError(f"{name} has {len(columns)} columns and {len(weights)} weights")
    said = []
    for column, weight in zip(columns, weights, strict=True):
        value = cell_of(name, cells, replace(mapping, columns={name: column}, defaults={}))
        if value is not None:
            share = _share(name, value, mapping, labels, {})
            said.append((share[0] if isinstance(share, tuple) else share, weight))
    if not sum(weight for _, weight in said) > 0:
        raise RowError(f"no {name}")
    return float(sum(share * weight for share, weight in said) / sum(weight for _, weight in said))


def _share(name: str, value: Any, mapping: Mapping, labels: Labels, event: Event) -> Any:
    if isinstance(value, str) and value.strip().lower() in ("both-bad", "both bad") and name == "probability_a":
        return 0.5, True
    if name == "probability_a" and name not in mapping.values and plain(value) in labels.own:
        return labels.judged(plain(value), known=True)
    if name in mapping.scale:
        low, high = mapping.scale[name]
        share = (number_of(value, name) - low) / (high - low)
        if not -1e-9 <= share <= 1 + 1e-9:
            raise RowError(f"{name} is not on the scale from {min(low, high):g} to {max(low, high):g}", value)
        return abs(min(max(share, 0.0), 1.0))  # 0 and no -0
    try:
        share = number_of(value.removesuffix("%").strip() if isinstance(value, str) else value, name)
        share = share / 100 if isinstance(value, str) and value.strip().endswith("%") else share
    except RowError:
        said = value.strip() if isinstance(value, str) and name == "probability_a" else ""
        meaning = labels.judged(said, known=True) if said else None
        if meaning is None and said and said in (answers := [event.get(each, "").strip() for each in ANSWERS]):
            return 1.0 - answers.index(said)  # the better one is written out
        if meaning is None:
            if name == "probability_a" and isinstance(value, str) and _is_word(value):
                raise RowError(
                    f"label {excerpt(value, 40)!r} is not understood: say what it means in values, or with --label"
                ) from None
            raise
        return meaning
    if not 0 <= share <= 1:
        raise RowError(
            f"{name} is not from 0 to 1: say its scale in the mapping, or what its numbers mean in values or with --label",
            value,
        )
    return share


def _is_word(value: str) -> bool:
    """Whether a cell holds a word, and no broken number."""
    return any(character.isalpha() for character in value) and value.strip().lower() not in (
        "nan",
        "inf",
        "-inf",
        "infinity",
    )


def cell_of(name: str, cells: dict[str, Any], mapping: Mapping) -> Any:
    """What the mapping makes of a cell; the default, or None, where it is empty or there is no column."""
    columns = mapping.columns.get(name)
    if columns is None:
        return mapping.defaults.get(name)
    meanings = mapping.values.get(name)
    if isinstance(meanings, list):
        ticked = [
            meaning
            for column, meaning in zip(each_of(columns), meanings, strict=False)
            if is_ticked(at(cells, column), column)
        ]
        if len(ticked) > 1:
            raise RowError(f"several columns of {name} are ticked", ticked)
        return ticked[0] if ticked else mapping.defaults.get(name)
    if isinstance(columns, tuple) and name in TEXTS:
        parts = [text for column in columns if is_visible(text := plain(at(cells, column), strip=False))]
        return "\n\n".join(parts) if parts else mapping.defaults.get(name)
    cell = at(cells, columns) if isinstance(columns, str) else first_of(cells, columns)
    if meanings is None and isinstance(cell, str) and name in TEXTS:
        return cell if is_visible(cell) else mapping.defaults.get(name)
    shown = plain(cell)
    if not shown:
        return mapping.defaults.get(name)
    if meanings is None:
        return shown if isinstance(cell, str) and name not in TEXTS else cell
    if shown not in meanings:
        if name == "probability_a" and re.fullmatch(r"\d+(\.\d+)?\s?%", shown):
            return shown  # how sure
        if name in mapping.scale and NUMBER.fullmatch(shown):
            return shown
        if name == "probability_a":
            raise RowError(
                f"label {excerpt(shown, 40)!r} is not understood: the mapping's values have {excerpt(', '.join(meanings), 80)}; say what it "
                "means there, or with --label"
            )
        raise RowError(f"{name} is none of {', '.join(meanings)}", cell)
    return meanings[shown]


def compared(cell: object) -> str | float:
    """A cell as it is held against another one: 5 is 5.0."""
    try:
        return number_of(cell, "")
    except RowError:
        return plain(cell)


def is_ticked(cell: object, name: str) -> bool:
    """Whether a cell that stands for yes or no says yes.

    Raises:
        RowError: it says neither; ``name`` is that of the column or the field.
    """
    said = plain(cell).lower()
    if said not in TICKED and said not in UNTICKED:
        raise RowError(f"{name} is neither true nor false", cell)
    return said in TICKED


def _ticked_of(cells: dict[str, Any], beginning: str) -> str:
    """The rest of the name of the one column that begins so, or key of the object there, that is ticked: ``choice.A`` says A; empty where
    none is."""
    there = {name.removeprefix(beginning): cells[name] for name in cells if name.startswith(beginning)}
    if not there and isinstance(listed := at(cells, beginning.removesuffix(".")), dict):
        there = listed
    ticked = [name for name, cell in there.items() if is_ticked(cell, f"{beginning}{name}")]
    if len(ticked) > 1:
        raise RowError(f"several of {beginning}* are ticked", ", ".join(ticked))
    return ticked[0] if ticked else ""


def first_of(cells: dict[str, Any], columns: tuple[str, ...]) -> Any:
    return next((value for column in columns if plain(value := at(cells, column))), "")


def at(cells: dict[str, Any], column: str) -> Any:
    """What a column holds, or what lies at a path into it: ``data.q``, ``answers[0].x``."""
    if column in cells:
        return cells[column]
    if column.endswith(ANY_OF):
        return _ticked_of(cells, column.removesuffix("*"))
    if "[*]" in column:
        place, _, of_each = column.partition("[*]")
        listed = at(cells, place)
        return [at({"each": each}, f"each{of_each}") for each in listed] if isinstance(listed, list) else None
    root = root_of(column, cells)
    value: Any = cells
    steps = STEP.findall(column.removeprefix(root)) if root in cells else STEP.findall(column)
    if root in cells:
        value = _printed(cells[root]) if isinstance(cells[root], str) else cells[root]
    for name, index, but_last in steps:
        if name and isinstance(value, dict):
            value = value.get(name)
        elif index and isinstance(value, list) and -len(value) <= int(index) < len(value):
            value = value[int(index)]
        elif but_last and isinstance(value, list):
            value = value[:-1]
        else:
            return None
        if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
            value = _printed(value)
    return value


def decoded(text: str) -> Any:
    """An object or a list that a cell of a table of text holds as JSON, as Mechanical Turk's answers are."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _printed(text: str) -> Any:
    """:func:`decoded`, or a list or an object as Python prints it, which is what pandas writes into a cell; constants alone: nothing is
    executed."""
    found = decoded(text)
    if not isinstance(found, str) or len(text) > LONGEST_LITERAL:
        return found
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def plain(cell: object, strip: bool = True) -> str:
    """A cell as text; empty where there is nothing to see in it."""
    if cell is None or cell == [] or cell == {}:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    text = cell if isinstance(cell, str) else str(cell)
    return (text.strip() if strip else text) if is_visible(text) else ""


def instant_of(value: object, mapping: Mapping) -> datetime:
    """A time as the mapping says it is written, or ISO 8601, seconds since 1970, or Mechanical Turk's way.

    Raises:
        RowError: it is written in another way, or has no zone.
    """
    text = plain(value)
    if mapping.time_format in ("epoch", "epoch_ms") or (
        mapping.time_format is None and re.fullmatch(r"\d{10}(\d{3})?(\.\d+)?", text)
    ):
        seconds = number_of(text, "submitted_at")
        thousandths = mapping.time_format == "epoch_ms" or (mapping.time_format is None and seconds > 1e11)
        try:
            return datetime.fromtimestamp(seconds / 1000 if thousandths else seconds, UTC)
        except (ValueError, OverflowError, OSError):
            raise RowError("submitted_at is out of range", text) from None
    if mapping.time_format is not None:
        try:
            found: object = datetime.strptime(text, mapping.time_format)
        except ValueError:
            raise RowError(f"submitted_at is not written as {mapping.time_format}", text) from None
    elif (turk := MTURK_TIME.fullmatch(text)) and turk[2] in HOURS:
        moment = datetime.strptime(f"{turk[1]} {turk[3]}", "%b %d %H:%M:%S %Y")
        found = moment.replace(tzinfo=timezone(timedelta(hours=HOURS[turk[2]])))
    else:
        found = re.sub(r" ?(UTC|GMT)$", "+00:00", text)
    if mapping.time_zone is not None:
        try:
            moment = instant(found) if isinstance(found, str) else cast(datetime, found)
        except ValueError:
            raise RowError("submitted_at is not an ISO 8601 time", text) from None
        if moment.tzinfo is None:
            found = moment.replace(tzinfo=ZoneInfo(mapping.time_zone))
    try:
        return time_of(found, "submitted_at")
    except RowError as error:
        hints = {"submitted_at is not an ISO 8601 time": "time_format", "submitted_at has no time zone": "time_zone"}
        hint = hints.get(error.reason)
        raise error if hint is None else RowError(f"{error.reason}: say its {hint} in the mapping", text) from None
