"""Tables of text and workbooks, as rows by the names of their columns.

Belongs here: delimiters, quotes, encodings, line ends, headers and what is wrong with a row's cells. Does not belong here: JSON and
Parquet (see ``rows``), what the cells mean (see ``cells`` and ``table``).
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from crowd_assets.importers.cells import decoded
from crowd_assets.importers.mapping import Mapping, each_of, root_of
from crowd_assets.importers.records import Skipped, SourceError
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
    refuse_unmarked,
    unpacked,
    workbook,
)

DELIMITERS = ",;\t|"
LONGEST_CELL = 16 * 1024 * 1024  # characters
LONGEST_ROW = 64 * 1024 * 1024  # characters: a quote that nobody closes must not take the whole file into memory
NOTHING = frozenset(
    ("NA", "NaN", "nan", "<NA>", "#N/A", "\\N", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!")
)
"""What R, pandas, databases and spreadsheets write into a cell that holds nothing, or that went wrong."""
LONGEST_OF_SHEET = 32_767  # characters, at which Excel cuts a text off
SEPARATOR = re.compile(r"sep=([,;\t|])\r?\n?")
LOOKED_AT = 200  # lines
QUOTED = re.compile(r'"(?:[^"]|"")*"')
ANY = Mapping("demonstration", {})
"""No mapping: every column under its own name."""


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
    _, rows = below_headers(rows_of(source, ANY), ANY)
    for line, cells in rows:
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
        return decoded(cell)
    return cell or None


def below_headers(
    rows: Iterator[tuple[int, dict[str, Any] | str]], mapping: Mapping
) -> tuple[dict[str, Any], Iterator[tuple[int, dict[str, Any] | str]]]:
    """The second row that names the columns, empty where there is none, and the rows below all of these: as many as the mapping says, or
    until Qualtrics' row of import ids.
    """
    first = list(islice(rows, max(2, mapping.header_rows - 1)))
    naming = mapping.header_rows - 1
    for place, (_, cells) in enumerate(first[:2], start=1):
        if isinstance(cells, dict) and any(
            isinstance(cell, str) and cell.replace(" ", "").startswith('{"ImportId"') for cell in cells.values()
        ):
            naming = max(naming, place)
    second = first[0][1] if naming else {}
    return (second if isinstance(second, dict) else {}), chain(first[naming:], rows)


def rows_of(source: Path, mapping: Mapping) -> Iterator[tuple[int, dict[str, Any] | str]]:
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
                yield number, _by_name(_of_sheet(cells), names, mapping)
        for other in sheet.parent.worksheets[1:]:
            if any(any(value is not None for value in row) for row in other.iter_rows(values_only=True, max_row=50)):
                yield 0, f"sheet {other.title!r} is not read, only the first one: save it as a workbook of its own"
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
    if encoding.lower().startswith("utf-8"):
        refuse_unmarked(source, head)
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
            ends = r"(?<=\n)|(?<=\r)(?!\n)" if first[0] == "\r" else "\n"
        if ends == "\n":
            *lines, rest = rest.split("\n")
            yield from (f"{line}\n" for line in lines)
        elif ends:
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
    taken: list[str] = []
    separator = SEPARATOR.fullmatch(sample)
    if separator is not None and mapping.delimiter in (None, separator[1]):  # as Excel writes it above the header
        taken.append(sample)
        mapping, sample = replace(mapping, delimiter=separator[1]), next(lines, "")
    seen = list(islice(lines, LOOKED_AT))
    lines = chain(seen, lines)
    delimiter = mapping.delimiter or max(DELIMITERS, key=sample.count)
    in_quotes = all(re.fullmatch(r'".+"', each) for each in sample.rstrip("\r\n").split(delimiter))
    quote = (
        mapping.quote
        if mapping.quote is not None
        else ("" if delimiter == "\t" and not in_quotes and not _are_quoted(seen) else '"')
    )

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
        if not any(map(str.strip, cells)):
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
        if not quote and mapping.quote is None and any('""' in cell[1:-1] and QUOTED.fullmatch(cell) for cell in cells):
            yield (
                began,
                'a cell is in quotes, and cells before were not: say quote = \'"\' or quote = "none" in a mapping',
            )
            continue
        shown = [cell.removeprefix("'") for cell in cells] if mapping.apostrophe else cells
        yield began, _by_name(shown, names, mapping)
    if names is None:
        raise SourceError(f"{source}: empty; the first line must name the columns")


def _are_quoted(lines: list[str]) -> bool:
    """Whether lines of cells between tabs are in quotes where need be: a cell has quotes twice, as only those in quotes have, and no
    cell begins with a quote that means itself."""
    cells = [cell for line in lines for cell in line.rstrip("\r\n").split("\t") if cell.startswith('"')]
    return all(map(QUOTED.fullmatch, cells)) and any('""' in cell[1:-1] for cell in cells)


def _are_rows(lines: list[str], delimiter: str, quote: str, cells: int) -> bool:
    """Whether every one of some lines is a row of as many cells as the header has."""
    try:
        return all(len(row) == cells for row in csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE))
    except csv.Error:
        return False


def _of_sheet(cells: list[str]) -> list[str]:
    """The cells, empty where a workbook cut the text off: half an answer is none."""
    return ["" if len(cell) == LONGEST_OF_SHEET else cell for cell in cells]


def _by_name(cells: list[str], names: list[str], mapping: Mapping) -> dict[str, Any] | str:
    """A row by column, or why it is none. Cells at its end that no column of the mapping is about may be missing, as Mechanical
    Turk leaves them out; more of them than the header names may be there where they are empty."""
    if not NOTHING.isdisjoint(cells):
        cells = ["" if cell in NOTHING and cell not in mapping.spelt else cell for cell in cells]
    if len(cells) == len(names):
        return dict(zip(names, cells, strict=True))
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
