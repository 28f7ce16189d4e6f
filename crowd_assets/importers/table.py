"""A plain table (CSV and the like) of any columns, with a mapping file that says which is what.

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

Columns that are not named are left out, but for those in ``payload = ["…"]``.

Belongs here: mapping files and tables. Does not belong here: any tool's own layout.
"""

import codecs
import csv
import io
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from crowd_assets.importers.records import (
    Event,
    Record,
    RowError,
    Skipped,
    SourceError,
    excerpt,
    identifier_of,
    in_time_order,
    named,
    number_of,
    text_of,
    ticks,
    time_of,
)
from resources.feedback.events import FIELDS, IDENTIFIERS, KINDS, SHARES, TEXTS, is_visible

DELIMITERS = ",;\t|"
LONGEST_CELL = 16 * 1024 * 1024  # characters
MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
KEYS = {"kind", "columns", "values", "defaults", "payload", "delimiter", "encoding", "apostrophe"}


@dataclass(frozen=True)
class Mapping:
    """What a mapping file says.

    Attributes:
        kind: of every row.
        columns: the column of each field.
        values: for a field, what its cells mean.
        defaults: for a field, what stands in where there is no column or an empty cell.
        payload: columns that are kept under their own names.
        delimiter: between cells; None: by the header.
        encoding: of the file; a byte-order mark goes before it.
        apostrophe: whether the first apostrophe of a cell is not part of it.
    """

    kind: str
    columns: dict[str, str]
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    payload: tuple[str, ...] = ()
    delimiter: str | None = None
    encoding: str = "utf-8"
    apostrophe: bool = False


def read_mapping(path: Path) -> Mapping:
    """The mapping of a ``.toml`` or ``.json`` file.

    Raises:
        SourceError: it is none, or does not say what the fields of its kind are; the message says what to write.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not a TOML or JSON file ({excerpt(str(error))})") from None
    if not isinstance(found, dict) or found.get("kind") not in KINDS:
        raise SourceError(f"{path}: kind must be one of {', '.join(KINDS)}")
    if unknown := sorted(set(found) - KEYS):
        raise SourceError(f"{path}: unknown {', '.join(unknown)}; there are {', '.join(sorted(KEYS))}")
    fields = {*FIELDS[found["kind"]], "submitted_at", "event_id"}
    for table in ("columns", "values", "defaults"):
        part = found.get(table, {})
        if not isinstance(part, dict) or (
            table == "values" and not all(isinstance(each, dict) for each in part.values())
        ):
            raise SourceError(f"{path}: {table} must be a table")
        if wrong := sorted(set(part) - fields):
            raise SourceError(
                f"{path}: {table} has {', '.join(wrong)}; a {found['kind']} has {', '.join(sorted(fields))}"
            )
    columns, payload = found.get("columns", {}), found.get("payload", [])
    if not all(isinstance(name, str) for name in columns.values()):
        raise SourceError(f"{path}: columns must be names")
    if not isinstance(payload, list) or not all(isinstance(name, str) for name in payload):
        raise SourceError(f"{path}: payload must be a list of column names")
    if missing := [
        name for name in FIELDS[found["kind"]] if name not in columns and name not in found.get("defaults", {})
    ]:
        raise SourceError(f"{path}: say the column, or a default, of {', '.join(missing)}")
    delimiter, encoding = found.get("delimiter"), found.get("encoding", "utf-8")
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n'):
        raise SourceError(f"{path}: delimiter must be one character, and no quote or line end")
    try:
        codecs.lookup(encoding)
    except (LookupError, TypeError):
        raise SourceError(f"{path}: unknown encoding {encoding!r}; try utf-8, cp1252 or utf-16") from None
    values = {
        name: {str(cell): meaning for cell, meaning in each.items()} for name, each in found.get("values", {}).items()
    }
    apostrophe = found.get("apostrophe", False) is True
    defaults = found.get("defaults", {})
    return Mapping(found["kind"], columns, values, defaults, tuple(payload), delimiter, encoding, apostrophe)


def read(source: Path, *, mapping: Mapping, start: datetime) -> Iterator[Record]:
    """One event a row; rows that become none are skipped with the number of the line that they begin on.

    Args:
        source: the table, its first line the names of the columns.
        mapping: see the module.
        start: when the first event was submitted, for tables without times; then one second a row.

    Raises:
        SourceError: the table has no header, or lacks a column of the mapping, or is in another encoding.
    """
    yield from in_time_order(_records(source, mapping, start))


def _records(source: Path, mapping: Mapping, start: datetime) -> Iterator[Record]:
    clock = ticks(start)
    for line, cells in _rows(source, mapping):
        submitted_at = next(clock)
        if isinstance(cells, str):
            yield Skipped(line, cells)
            continue
        try:
            yield _event(cells, mapping, submitted_at)
        except RowError as error:
            yield error.at(line)


def _rows(source: Path, mapping: Mapping) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Rows by column, or why there is none, with the number of the line that the row begins on."""
    data = source.read_bytes()
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), mapping.encoding)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f'{source}, line {line}: not {encoding}; say encoding = "cp1252" (or what it is) in the mapping'
        ) from None
    header = text.split("\n", 1)[0]
    delimiter = mapping.delimiter or max(DELIMITERS, key=header.count)
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names: list[str] | None = None
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                yield line, f"row is not CSV: {error}"
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if names is None:
                names = [name.strip() for name in cells]
                _check_header(source, names, mapping)
            elif len(cells) != len(names):
                yield line, f"row has {len(cells)} cells; the header {len(names)}"
            else:
                shown = [cell.removeprefix("'") for cell in cells] if mapping.apostrophe else cells
                yield line, dict(zip(names, shown, strict=True))
        if names is None:
            raise SourceError(f"{source}: empty; the first line must name the columns")
    finally:
        csv.field_size_limit(limit)


def _check_header(source: Path, names: list[str], mapping: Mapping) -> None:
    wanted = [*mapping.columns.values(), *mapping.payload]
    if missing := [name for name in wanted if name not in names]:
        raise SourceError(
            f"{source}: no column {', '.join(map(repr, missing))}; there are {', '.join(map(repr, names[:40]))}"
        )
    if twice := sorted({name for name in wanted if names.count(name) > 1}):
        raise SourceError(f"{source}: several columns {', '.join(map(repr, twice))}")


def _event(cells: dict[str, str], mapping: Mapping, submitted_at: datetime) -> Event:
    event: Event = {"kind": mapping.kind}
    for name in FIELDS[mapping.kind]:
        event[name] = _value(name, cells, mapping)
    time = _cell("submitted_at", cells, mapping)
    event["submitted_at"] = (submitted_at if time is None else time_of(time, "submitted_at")).isoformat()
    if (event_id := _cell("event_id", cells, mapping)) is not None:
        event["event_id"] = named(identifier_of(event_id, "event_id"))
    return event | {name: cells[name] for name in mapping.payload if cells[name] and name not in event}


def _value(name: str, cells: dict[str, str], mapping: Mapping) -> Any:
    value = _cell(name, cells, mapping)
    if value is None:
        raise RowError(f"no {name}")
    if name in IDENTIFIERS:
        return named(identifier_of(value, name))
    if name in TEXTS:
        return text_of(value, name)
    if name in SHARES:
        share = number_of(value, name)
        if not 0 <= share <= 1:
            raise RowError(f"{name} is not from 0 to 1", value)
        return share
    return str(value).strip()


def _cell(name: str, cells: dict[str, str], mapping: Mapping) -> Any:
    """What the mapping makes of a cell; the default, or None, where it is empty or there is no column."""
    column = mapping.columns.get(name)
    cell = "" if column is None else cells[column]
    if not is_visible(cell):
        return mapping.defaults.get(name)
    meanings = mapping.values.get(name)
    if meanings is None:
        return cell if name in TEXTS else cell.strip()
    if cell.strip() not in meanings:
        raise RowError(f"{name} is none of {', '.join(meanings)}", cell)
    return meanings[cell.strip()]
