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

Belongs here: tables of text, workbooks, what a mapping makes of a row. Does not belong here: any tool's own layout.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations, islice
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from crowd_assets.importers.chat import UNUSABLE, Asked, answer_of, asked, messages_of, refuse_unusable
from crowd_assets.importers.mapping import Mapping, axes_of, each_of, read_mapping, root_of
from crowd_assets.importers.records import (
    Event,
    Labels,
    Record,
    RowError,
    Skipped,
    SourceError,
    digest,
    excerpt,
    from_scores,
    identifier_of,
    named,
    number_of,
    positions,
    ranked_pairs,
    sourced,
    text_of,
    ticks,
    time_of,
)
from crowd_assets.importers.rows import (
    BLOCK,
    PARQUET,
    ZIP,
    Row,
    begins_with,
    is_json,
    mark_of,
    read_rows,
    refuse_others,
    unpacked,
    workbook,
)
from resources.common.instants import instant
from resources.feedback.events import FIELDS, IDENTIFIERS, OPTIONAL, SHARES, TEXTS, is_visible

__all__ = ["Mapping", "read", "read_mapping"]

DELIMITERS = ",;\t|"
LONGEST_CELL = 16 * 1024 * 1024  # characters
LONGEST_ROW = 64 * 1024 * 1024  # characters: a quote that nobody closes must not take the whole file into memory
MTURK_TIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2} \d{1,2} \d\d:\d\d:\d\d) ([A-Z]{3,4}) (\d{4})")
HOURS = {"UTC": 0, "GMT": 0, "PST": -8, "PDT": -7, "MST": -7, "MDT": -6, "CST": -6, "CDT": -5, "EST": -5, "EDT": -4}
SOURCED = ("contributor_id", "comparison_id")
TICKED = ("1", "1.0", "true", "yes", "x", "on")
STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]|\[(:-1)\]")


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
    asked = [mapping.of_question(each) for each in mapping.questions] or [mapping]
    refused = set(UNUSABLE) - mapping.used()
    for line, cells in _together(_without_headers(_rows(source, mapping), mapping), mapping):
        submitted_at = next(clock)
        if isinstance(cells, str):
            yield Skipped(line, cells)
            continue
        try:
            if (reason := _left_out(cells, mapping)) is not None:
                raise RowError(reason)
            cells = _cut(cells, mapping)
            if mapping.same and any(_at(cells, each) != _at(cells, mapping.same[0]) for each in mapping.same):
                raise RowError(f"{' and '.join(mapping.same)} are not the same")
            refuse_unusable({name: cells[name] for name in refused if name in cells})
            said = [_compared(_at(cells, each)) for each in mapping.differ]
            if said and said[0] != "" and len(set(said)) == 1:
                raise RowError(f"{' and '.join(mapping.differ)} are the same: neither answer is better", said[0])
            for row, contributor, of in _answers(cells, mapping, asked):
                try:
                    yield from _events(row, of, submitted_at, name, labels, contributor)
                except RowError as error:
                    if not (mapping.explode or mapping.questions):
                        raise
                    place = contributor or mapping.questions[asked.index(of)]["column"]
                    yield Skipped(line, error.reason, f"{place}: {error.detail}")
        except RowError as error:
            yield error.at(line)


def _with_labels(mapping: Mapping, labels: Labels) -> Mapping:
    """The mapping with what the user says of labels beside what it says of cells."""
    said = mapping.values.get("probability_a")
    if not isinstance(said, dict) or not labels.own:
        return mapping
    own = {label: "both-bad" if meaning is None else meaning for label, meaning in labels.own.items()}
    return replace(mapping, values={**mapping.values, "probability_a": {**said, **own}})


def any_rows(source: Path) -> Iterator[Row | Skipped]:
    """Rows of any container by the names of their columns, as importers of a layout of their own read them: tables of text and
    workbooks too.

    Raises:
        SourceError: as :func:`read`, or the file is a text that is no table.
    """
    head = begins_with(source)
    json_or_parquet = head.startswith(PARQUET) or is_json(head)
    no_text = b"\x00" in head and mark_of(head) is None
    if json_or_parquet or not (head.startswith(ZIP) or (len(_names_of(head)) > 1 and not no_text)):
        yield from read_rows(source)
        return
    for line, cells in _without_headers(_rows(source, ANY), ANY):
        yield (
            Skipped(line, cells)
            if isinstance(cells, str)
            else (line, {name: _decoded_cell(cell) for name, cell in cells.items()})
        )


def _names_of(head: bytes) -> list[str]:
    """The cells of the first line of a text."""
    first = re.split(r"\r\n|\n|\r", head.decode(mark_of(head) or "utf-8", "replace").lstrip("\ufeff"), maxsplit=1)[0]
    return first.split(max(DELIMITERS, key=first.count))


def _decoded_cell(cell: Any) -> Any:
    """A cell, decoded where it is a list or an object as JSON; None where it is empty."""
    if isinstance(cell, str) and cell.lstrip().startswith(("[", "{")):
        return _decoded(cell)
    return cell or None


def _without_headers(
    rows: Iterator[tuple[int, dict[str, Any] | str]], mapping: Mapping
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows below those that name the columns: as many as the mapping says, or until Qualtrics' row of import ids."""
    first = list(islice(rows, max(2, mapping.header_rows - 1)))
    named = mapping.header_rows - 1
    for place, (_, cells) in enumerate(first[:2], start=1):
        if isinstance(cells, dict) and any(
            isinstance(cell, str) and cell.startswith('{"ImportId"') for cell in cells.values()
        ):
            named = max(named, place)
    yield from first[named:]
    yield from rows


def _together(
    rows: Iterator[tuple[int, dict[str, Any] | str]], mapping: Mapping
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows that follow each other and are alike in the mapping's ``group``, as one: the first, with all of them in its ``""``."""
    if not mapping.group:
        yield from rows
        return
    began, gathered, key = 0, list[dict[str, Any]](), list[str]()
    for line, cells in rows:
        if isinstance(cells, str) or _left_out(cells, mapping) is not None:
            yield line, cells
            continue
        its_key = [_plain(_at(cells, column)) for column in mapping.group]
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
    if mapping.turn is None or not _plain(_at(cells, mapping.turn)):
        return cells
    turn = number_of(_at(cells, mapping.turn), "turn")
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
    there = [of for of, each in zip(asked, mapping.questions, strict=True) if _plain(_at(cells, each["column"]))]
    if not there:
        raise RowError("no answer to any of the questions")
    yield from ((cells, None, of) for of in there)


ANY = Mapping("demonstration", {})
"""No mapping: every column under its own name."""


def _rows(source: Path, mapping: Mapping) -> Iterator[tuple[int, dict[str, Any] | str]]:
    head = begins_with(source)
    refuse_others(source, head)
    if head.startswith(PARQUET) or is_json(head):
        known = False
        for row in read_rows(source):
            if isinstance(row, Skipped):
                yield row.row, row.reason
                continue
            if not known:
                known = True
                _check_columns(source, list(row[1]), mapping, strict=False)
            yield row
    elif head.startswith(ZIP):
        yield from _workbook(source, mapping)
    else:
        yield from _text_rows(source, mapping, head)


def _workbook(source: Path, mapping: Mapping) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of a workbook's first sheet, cell by cell as text; formulas count as what they came to when it was saved."""
    names: list[str] | None = None
    with workbook(source) as sheet:
        for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
            cells = [_cell_text(value) for value in row]
            if not any(cell.strip() for cell in cells):
                continue
            if names is None:
                names = [cell.strip() for cell in cells]
                _check_columns(source, names, mapping)
            else:
                yield number, _by_name(cells, names, mapping)
    if names is None:
        raise SourceError(f"{source}: its first sheet is empty; the first row must name the columns")


def _cell_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _text_rows(source: Path, mapping: Mapping, head: bytes) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows by column, or why there is none, with the number of the line that the row begins on."""
    encoding = mark_of(head) or mapping.encoding
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        with unpacked(source) as file:
            text = io.TextIOWrapper(cast(Any, file), encoding=encoding, newline="")
            try:
                yield from _parsed(source, _counted(source, text), mapping)
            except UnicodeDecodeError as error:
                raise SourceError(_other_encoding(source, encoding, error, mapping is ANY)) from None
            finally:
                text.detach()
    finally:
        csv.field_size_limit(limit)


def _counted(source: Path, text: io.TextIOWrapper) -> Iterator[str]:
    """Lines of a text with their ends, none longer than a row may be. A carriage return alone ends a line only where it ends the
    first one: elsewhere it is part of a cell."""
    rest, ends = "", ""
    while piece := text.read(BLOCK):
        rest += piece
        if not ends and (first := re.search(r"\r\n|\n|\r(?=.)", rest, re.DOTALL)):
            ends = r"(?<=\n)|(?<=\r)(?!\n)" if first[0] == "\r" else r"(?<=\n)"
        if ends:
            lines = re.split(ends, rest)
            # The last one may go on, and a carriage return at its end may be followed by a line feed.
            rest = lines.pop()
            if not rest and lines and lines[-1].endswith("\r"):
                rest = lines.pop()
            yield from (line for line in lines if line)
        if len(rest) > LONGEST_ROW:
            raise SourceError(f"{source}: a line of more than {LONGEST_ROW} characters")
    if rest:
        yield rest


def _ended_otherwise(line: str, delimiter: str, quote: str, cells: int) -> list[list[str]]:
    """The rows of a line of a text with mixed ends, in which carriage returns alone stand between rows; none where they do not."""
    options: Any = {"quotechar": quote, "strict": True} if quote else {"quoting": csv.QUOTE_NONE}
    try:
        rows = list(csv.reader(re.split(r"\r(?![\r\n]|$)", line), delimiter=delimiter, **options))
    except csv.Error:
        return []
    return rows if len(rows) > 1 and all(len(row) == cells for row in rows) else []


def _other_encoding(source: Path, encoding: str, error: UnicodeDecodeError, without_mapping: bool) -> str:
    if b"\x00" in error.object[:64]:
        return f"{source}: not a table of text; save it as .csv or .xlsx"
    number = 1
    with unpacked(source) as file:
        for number, line in enumerate(file, start=1):  # noqa: B007
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                break
    if without_mapping:
        return (
            f"{source}, line {number}: not {encoding}; save it in UTF-8, or `iconv -f cp1252 -t utf-8 {source.name}` (or what it is) "
            "into another file"
        )
    return f'{source}, line {number}: not {encoding}; say encoding = "cp1252" (or what it is) in the mapping'


def _parsed(source: Path, lines: Iterator[str], mapping: Mapping) -> Iterator[tuple[int, dict[str, Any] | str]]:
    first = next(lines, "")
    sample = first.lstrip("\ufeff")
    delimiter = mapping.delimiter or max(DELIMITERS, key=sample.count)
    in_quotes = all(re.fullmatch(r'".+"', each) for each in sample.rstrip("\r\n").split(delimiter))
    quote = mapping.quote if mapping.quote is not None else ("" if delimiter == "\t" and not in_quotes else '"')
    taken: list[str] = []

    def fed() -> Iterator[str]:
        size = 0
        if sample:
            taken.append(sample)
            yield sample
        for line in lines:
            taken.append(line)
            size = sum(map(len, taken)) if len(taken) > 1 else len(line)
            if size > LONGEST_ROW:
                raise SourceError(
                    f'{source}: a quote that begins {len(taken)} lines before is not closed; say quote = "none" in the mapping'
                )
            yield line

    reader = csv.reader(
        fed(),
        delimiter=delimiter,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        escapechar=mapping.escape,
        doublequote=mapping.escape is None,
        strict=bool(quote),
    )
    names: list[str] | None = list(mapping.names) or None
    if names is not None:
        _check_columns(source, names, mapping)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            several = [] if names is None else _ended_otherwise("".join(taken), delimiter, quote, len(names))
            for cells in several:
                yield line, _by_name(cells, names or [], mapping)
            if not several:
                way_out = '; say escape = "\\\\" in the mapping' if any('\\"' in each for each in taken) else ""
                yield line, f"row is not CSV: {error}{way_out}"
            line += len(taken)
            taken.clear()
            continue
        began, line = line, line + len(taken)
        spanned = taken[1:-1]
        taken.clear()
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = [name.strip() for name in cells]
            _check_columns(source, names, mapping)
            continue
        if mapping.quote is None and len(names) > 1 and spanned and _are_rows(spanned, delimiter, quote, len(names)):
            raise SourceError(
                f"{source}, line {began}: a quote takes {len(spanned) + 1} more lines into one cell, and they look like rows; say "
                f'quote = "none" in the mapping, or quote = \'"\' if the cell is meant'
            )
        shown = [cell.removeprefix("'") for cell in cells] if mapping.apostrophe else cells
        yield began, _by_name(shown, names, mapping)
    if names is None:
        raise SourceError(f"{source}: empty; the first line must name the columns")


def _are_rows(lines: list[str], delimiter: str, quote: str, cells: int) -> bool:
    """Whether every one of some lines is a row of as many cells as the header has."""
    try:
        return all(len(row) == cells for row in csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE))
    except csv.Error:
        return False


def _by_name(cells: list[str], names: list[str], mapping: Mapping) -> dict[str, Any] | str:
    """A row by column, or why it is none. Cells at its end that no column of the mapping is about may be missing, as Mechanical
    Turk leaves them out; more of them than the header names may be there where they are empty."""
    if len(cells) > len(names) and not any(cell.strip() for cell in cells[len(names) :]):
        cells = cells[: len(names)]
    missing = names[len(cells) :]
    if len(cells) > len(names) or (missing and mapping.needed(names) & set(missing)):
        return f"row has {len(cells)} cells; the header {len(names)}"
    return dict(zip(names, [*cells, *[""] * len(missing)], strict=True))


def _check_columns(source: Path, names: list[str], mapping: Mapping, strict: bool = True) -> None:
    wanted = [name for name in sorted(mapping.needed(names)) if name not in names]
    roots = {name for name in wanted if root_of(name, names) in names}
    defaulted = {
        column for field, columns in mapping.columns.items() if field in mapping.defaults for column in each_of(columns)
    }
    if strict and (missing := [name for name in wanted if name not in roots]):
        raise SourceError(
            f"{source}: no column {', '.join(map(repr, missing))}; there are {', '.join(map(repr, names[:40]))}{mapping.copied}"
        )
    if not strict and wanted and not set(names) & mapping.used() and not roots and not defaulted:
        raise SourceError(
            f"{source}: none of the mapping's columns is there; there are {', '.join(map(repr, names[:40]))}{mapping.copied}"
        )
    if twice := sorted({name for name in mapping.used() if names.count(name) > 1}):
        raise SourceError(f"{source}: several columns {', '.join(map(repr, twice))}")


def _left_out(cells: dict[str, Any], mapping: Mapping) -> str | None:
    """Why a row is not one of those that the mapping's ``where`` asks for."""
    for column, wanted in mapping.where.items():
        found = _plain(_at(cells, column))
        values = [str(each) for each in (wanted if isinstance(wanted, list) else [wanted])]
        refused = [each.removeprefix("!=").strip() for each in values if each.startswith("!=")]
        taken = [each for each in values if not each.startswith("!=")]
        if found in refused or (taken and found not in taken):
            return f"left out by where: {column} is {excerpt(found, 30)!r}"
    return None


def _exploded(cells: dict[str, Any], mapping: Mapping) -> Iterator[tuple[dict[str, Any], str | None]]:
    """A row for each person whose answer a column holds, under the name of the field that it answers; or the row itself."""
    if not mapping.explode:
        yield cells, None
        return
    there = False
    for column in mapping.explode:
        value = _at(cells, column)
        if _plain(value):
            there = True
            yield {**cells, "": value}, column
    if not there:
        raise RowError("no answer in any of the columns of explode")


def _events(
    cells: dict[str, Any],
    mapping: Mapping,
    submitted_at: datetime,
    source: str,
    labels: Labels,
    contributor: str | None,
) -> Iterator[Event]:
    time = _cell("submitted_at", cells, mapping)
    at = (submitted_at if time is None else _instant(time, mapping)).isoformat()
    event: Event = {"kind": mapping.kind}
    answered = {"preference": "probability_a", "demonstration": "response"}.get(mapping.kind, "")
    question = _question(cells, mapping) if "prompt" in FIELDS[mapping.kind] else None
    made = ("probability_a", "response_a", "response_b", "comparison_id") if mapping.responses else ()
    for name in FIELDS[mapping.kind]:
        if name in made or (
            name == "comparison_id" and _cell(name, cells, mapping) is None and mapping.kind == "preference"
        ):
            continue
        if name == "prompt" and question is not None:
            event[name] = question.prompt
        elif name == "contributor_id" and contributor is not None and _cell(name, cells, mapping) is None:
            event[name] = named(sourced(contributor, source))
        else:
            where = Mapping(mapping.kind, {name: ""}, mapping.values, scale=mapping.scale)
            exploded = contributor is not None and name == answered
            value = _value(name, cells, where if exploded else mapping, labels)
            if isinstance(value, tuple):
                value, bad = value
                event |= {"both_bad": True} if bad else {}
            event[name] = named(sourced(value, source)) if name in SOURCED else value
    event["submitted_at"] = at
    if question is not None:
        event |= question.payload
    for name in ("both_bad", "judgement_share"):
        if name in OPTIONAL[mapping.kind] and (value := _cell(name, cells, mapping)) is not None:
            event[name] = _plain(value).lower() in TICKED if name == "both_bad" else number_of(value, name)
    if (event_id := _cell("event_id", cells, mapping)) is not None:
        event["event_id"] = named(identifier_of(event_id, "event_id"))
    event |= {
        name: value for name in mapping.payload if (value := _at(cells, name)) not in ("", None) and name not in event
    }
    if mapping.responses:
        yield from _pairs(event, cells, mapping, question.key if question else "", source)
        return
    if mapping.kind == "preference":
        if event["response_a"] == event["response_b"]:
            raise RowError("the two answers are the same")
        if "comparison_id" not in event:
            event["comparison_id"] = digest(question.key if question else "", event["response_a"], event["response_b"])
    if mapping.original:
        yield from _corrected(event, answer_of(_first(cells, each_of(mapping.original)), "response"), question)
        return
    yield event


def _corrected(event: Event, original: str, question: Asked | None) -> Iterator[Event]:
    """A correction as what it shows, and as a preference for it over what was corrected."""
    corrected = event["response"]
    if corrected == original:
        raise RowError("nothing was corrected")
    yield event
    key = question.key if question else ""
    response_a, response_b = positions(0, key, corrected, original)
    kept = {name: value for name, value in event.items() if name not in ("response", "event_id")}
    yield kept | {
        "kind": "preference",
        "comparison_id": digest(key, response_a, response_b),
        "response_a": response_a,
        "response_b": response_b,
        "probability_a": float(response_a == corrected),
    }


def _pairs(event: Event, cells: dict[str, Any], mapping: Mapping, asked_key: str, source: str) -> Iterator[Event]:
    """A ranking, ratings or a best-of-K as pairs, which together are one judgement."""
    texts = [answer_of(each, "response") for each in _several(cells, mapping.responses)]
    names = [str(number) for number in range(len(texts))]
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise RowError("fewer than two responses, or two that are the same")
    if mapping.best:
        chosen = _best(cells, mapping, texts)
        others = [number for number in range(len(texts)) if number != chosen]
        # The best of K is preferred to each of the others, of which nothing is said among themselves.
        found: list[tuple[int, int, float, float]] = [
            (min(chosen, other), max(chosen, other), float(chosen < other), 1 / len(others)) for other in others
        ]
    else:
        numbers = _ranks(cells, mapping) if mapping.ranks else _ratings(cells, mapping)
        if len(numbers) != len(texts):
            raise RowError("not as many ranks or ratings as responses", numbers)
        if mapping.ranks:
            pairs = ranked_pairs(dict(zip(names, numbers, strict=True)))
            found = [(int(one), int(other), probability, share) for one, other, probability, share in pairs]
        else:
            found = [
                (
                    one,
                    other,
                    from_scores(numbers[one], numbers[other]),
                    2 / (len(texts) * (len(texts) - 1)),
                )
                for one, other in combinations(range(len(texts)), 2)
            ]
    given_id = _cell("comparison_id", cells, mapping)
    for one, other, probability, share in found:
        content = digest(asked_key, texts[one], texts[other])
        pair = {"response_a": texts[one], "response_b": texts[other], "probability_a": probability}
        comparison = (
            content if given_id is None else f"{identifier_of(given_id, 'comparison_id')}-{one + 1}-{other + 1}"
        )
        yield (
            event
            | pair
            | {"comparison_id": named(comparison if given_id is None else sourced(comparison, source))}
            | ({"judgement_share": share} if share < 1 else {})
        )


def _ranks(cells: dict[str, Any], mapping: Mapping) -> list[float]:
    return [number_of(each, "rank") for each in _several(cells, mapping.ranks)]


def _ratings(cells: dict[str, Any], mapping: Mapping) -> list[float]:
    """The strength of each response in logits: its ratings on all axes, by their weights."""
    axes = axes_of(mapping.ratings)
    if mapping.group:
        rated = [[_at(row, column) for axis in axes for column in each_of(axis)] for row in cells[""]]
    elif any(not isinstance(axis, str) for axis in axes):
        rated = [[_at(cells, column) for column in each_of(axis)] for axis in axes]
    else:
        rated = [[each] for each in _several(cells, cast("tuple[str, ...]", axes))]
    return [_strength(each, mapping) for each in rated]


def _strength(given: list[Any], mapping: Mapping) -> float:
    weights = mapping.weights.get("ratings", (1.0,) * len(given))
    if len(weights) != len(given):
        raise RowError("not as many ratings as weights", given)
    rated = [(_points(each, mapping), weight) for each, weight in zip(given, weights, strict=True) if _plain(each)]
    if not sum(weight for _, weight in rated) > 0:
        raise RowError("no rating of a response")
    return sum(points * weight for points, weight in rated) / sum(weight for _, weight in rated)


def _points(given: Any, mapping: Mapping) -> float:
    """A rating in logits."""
    text = given.strip().removesuffix("%") if isinstance(given, str) else given
    points = number_of(text, "rating")
    if "ratings" not in mapping.scale:
        return points / (mapping.points_per_logit or 1.0)
    low, high = mapping.scale["ratings"]
    if not min(low, high) <= points <= max(low, high):
        raise RowError(f"rating is not on the scale from {min(low, high):g} to {max(low, high):g}", given)
    return (points - low) / (mapping.points_per_logit or abs(high - low) / 4) * (1 if high > low else -1)


def _best(cells: dict[str, Any], mapping: Mapping, texts: list[str]) -> int:
    value = _plain(_first(cells, each_of(mapping.best)))
    columns = each_of(mapping.responses)
    if value in texts:
        return texts.index(value)
    if value in columns:
        return columns.index(value)
    number = number_of(value, "best")
    if not number.is_integer() or not 1 <= number <= len(texts):
        raise RowError("best is none of the responses: write its number from 1, its column or its text", value)
    return int(number) - 1


def _several(cells: dict[str, Any], columns: Any) -> list[Any]:
    """The values of several columns that are not empty, or of the list that one column holds."""
    if isinstance(cells.get(""), list):  # rows that belong together
        return [_at(row, columns if isinstance(columns, str) else columns[0]) for row in cells[""]]
    found = [_at(cells, column) for column in each_of(columns)]
    if len(found) == 1 and isinstance(found[0], list):
        return found[0]
    return [each for each in found if _plain(each)]


def _question(cells: dict[str, Any], mapping: Mapping) -> Asked:
    system = _cell("system", cells, mapping)
    system = None if system is None else text_of(system, "system")
    spoken = _cell("messages", cells, mapping)
    value = spoken if spoken is not None else _cell("prompt", cells, mapping)
    if value is None:
        raise RowError("no prompt")
    return asked(messages_of(value, "prompt"), "prompt", system)


def _value(name: str, cells: dict[str, Any], mapping: Mapping, labels: Labels) -> Any:
    if name in mapping.weights:
        return _mean_share(name, cells, mapping, labels)
    value = _cell(name, cells, mapping)
    if value is None:
        raise RowError(f"no {name}")
    if name in IDENTIFIERS:
        return identifier_of(value, name) if name in SOURCED else named(identifier_of(value, name))
    if name in TEXTS:
        return answer_of(_of_parts(value), name)
    if name in SHARES:
        return _share(name, value, mapping, labels)
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
        value = _cell(name, cells, replace(mapping, columns={name: column}, defaults={}))
        if value is not None:
            share = _share(name, value, mapping, labels)
            said.append((share[0] if isinstance(share, tuple) else share, weight))
    if not sum(weight for _, weight in said) > 0:
        raise RowError(f"no {name}")
    return float(sum(share * weight for share, weight in said) / sum(weight for _, weight in said))


def _share(name: str, value: Any, mapping: Mapping, labels: Labels) -> Any:
    if isinstance(value, str) and value.strip().lower() in ("both-bad", "both bad") and name == "probability_a":
        return 0.5, True
    if name == "probability_a" and name not in mapping.values and _plain(value) in labels.own:
        return labels.judged(_plain(value), known=True)
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
        meaning = (
            labels.judged(value.strip(), known=True) if isinstance(value, str) and name == "probability_a" else None
        )
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


def _cell(name: str, cells: dict[str, Any], mapping: Mapping) -> Any:
    """What the mapping makes of a cell; the default, or None, where it is empty or there is no column."""
    columns = mapping.columns.get(name)
    if columns is None:
        return mapping.defaults.get(name)
    meanings = mapping.values.get(name)
    if isinstance(meanings, list):
        ticked = [
            meaning for column, meaning in zip(each_of(columns), meanings, strict=False) if _ticked(_at(cells, column))
        ]
        if len(ticked) > 1:
            raise RowError(f"several columns of {name} are ticked", ticked)
        return ticked[0] if ticked else mapping.defaults.get(name)
    if isinstance(columns, tuple) and name in TEXTS:
        parts = [text for column in columns if is_visible(text := _plain(_at(cells, column), strip=False))]
        return "\n\n".join(parts) if parts else mapping.defaults.get(name)
    cell = _first(cells, each_of(columns))
    if not _plain(cell):
        return mapping.defaults.get(name)
    if meanings is None:
        return cell.strip() if isinstance(cell, str) and name not in TEXTS else cell
    plain = _plain(cell)
    if plain not in meanings:
        if name == "probability_a" and re.fullmatch(r"\d+(\.\d+)?\s?%", plain):
            return plain  # how sure
        if name == "probability_a":
            raise RowError(
                f"label {excerpt(plain, 40)!r} is not understood: the mapping's values have {excerpt(', '.join(meanings), 80)}; say what it "
                "means there, or with --label"
            )
        raise RowError(f"{name} is none of {', '.join(meanings)}", cell)
    return meanings[plain]


def _compared(cell: object) -> str | float:
    """A cell as it is held against another one: 5 is 5.0."""
    try:
        return number_of(cell, "")
    except RowError:
        return _plain(cell)


def _ticked(cell: object) -> bool:
    return _plain(cell).lower() in TICKED


def _first(cells: dict[str, Any], columns: tuple[str, ...]) -> Any:
    return next((value for column in columns if _plain(value := _at(cells, column))), "")


def _at(cells: dict[str, Any], column: str) -> Any:
    """What a column holds, or what lies at a path into it: ``data.q``, ``answers[0].x``."""
    if column in cells:
        return cells[column]
    if "[*]" in column:
        place, _, of_each = column.partition("[*]")
        listed = _at(cells, place)
        return [_at({"each": each}, f"each{of_each}") for each in listed] if isinstance(listed, list) else None
    root = root_of(column, cells)
    value: Any = cells
    steps = STEP.findall(column.removeprefix(root)) if root in cells else STEP.findall(column)
    if root in cells:
        value = _decoded(cells[root]) if isinstance(cells[root], str) else cells[root]
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
            value = _decoded(value)
    return value


def _decoded(text: str) -> Any:
    """An object or a list that a cell of a table of text holds as JSON, as Mechanical Turk's answers are."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _plain(cell: object, strip: bool = True) -> str:
    """A cell as text; empty where there is nothing to see in it."""
    if cell is None or cell == [] or cell == {}:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    text = cell if isinstance(cell, str) else str(cell)
    return (text.strip() if strip else text) if is_visible(text) else ""


def _instant(value: object, mapping: Mapping) -> datetime:
    """A time as the mapping says it is written, or ISO 8601, seconds since 1970, or Mechanical Turk's way.

    Raises:
        RowError: it is written in another way, or has no zone.
    """
    text = _plain(value)
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
        at = datetime.strptime(f"{turk[1]} {turk[3]}", "%b %d %H:%M:%S %Y")
        found = at.replace(tzinfo=timezone(timedelta(hours=HOURS[turk[2]])))
    else:
        found = re.sub(r" ?(UTC|GMT)$", "+00:00", text)
    if mapping.time_zone is not None:
        try:
            at = instant(found) if isinstance(found, str) else cast(datetime, found)
        except ValueError:
            raise RowError("submitted_at is not an ISO 8601 time", text) from None
        if at.tzinfo is None:
            found = at.replace(tzinfo=ZoneInfo(mapping.time_zone))
    try:
        return time_of(found, "submitted_at")
    except RowError as error:
        hints = {"submitted_at is not an ISO 8601 time": "time_format", "submitted_at has no time zone": "time_zone"}
        hint = hints.get(error.reason)
        raise error if hint is None else RowError(f"{error.reason}: say its {hint} in the mapping", text) from None
