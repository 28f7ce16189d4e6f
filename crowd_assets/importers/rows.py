"""Files of rows, read with a row's number and without trust.

Belongs here: JSON Lines, JSON documents and Parquet as an iterator of rows. A row that cannot be read is a
``Skipped``; a file that cannot be read at all is a ``SourceError``. Does not belong here: what the rows mean. Nothing
here executes what it reads: no pickle, no eval.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crowd_assets.importers.records import Skipped, SourceError, excerpt
from resources.feedback.events import is_deep
from resources.feedback.parquet_rows import UNREADABLE, UnreadableParquetError, json_lines
from resources.settings.settings import CrowdSettings

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes; a longer line is skipped and not read into memory as a whole."""

DEEPEST_NESTING = 64
"""Levels of objects and lists in one row; no export comes near, and deeper ones exhaust a reader's stack."""

Row = tuple[int, dict[str, Any]]


def read_rows(source: Path) -> Iterator[Row | Skipped]:
    """Rows of a ``.parquet``, ``.jsonl``/``.ndjson`` or ``.json`` file, numbered from 1.

    A ``.json`` file holds a list of objects, ``{"items": [...]}`` as web interfaces return it, one object, or (often,
    whatever its name says) JSON Lines.

    Raises:
        SourceError: the file is none of these, or broken as a whole.
    """
    suffix = source.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(source)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(source)
    elif suffix == ".json":
        yield from _json_document(source)
    else:
        raise SourceError(f"{source}: expected a .jsonl, .ndjson, .json or .parquet file, found {suffix!r}")


def read_lines(source: Path) -> Iterator[tuple[int, str] | Skipped]:
    """Lines of UTF-8 text without their line ends, numbered from 1; blank lines are left out."""
    with source.open("rb") as file:
        number = 0
        while data := file.readline(LONGEST_LINE):
            number += 1
            if len(data) == LONGEST_LINE and not data.endswith(b"\n"):
                while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield Skipped(number, f"line is longer than {LONGEST_LINE} bytes")
                continue
            try:
                line = data.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                yield Skipped(number, "line is not UTF-8", f"byte {error.start + 1} of the line")
                continue
            if line.strip():
                yield number, line


def _json_lines(source: Path) -> Iterator[Row | Skipped]:
    for line in read_lines(source):
        if isinstance(line, Skipped):
            yield line
            continue
        number, text = line
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Skipped(number, "line is not JSON", excerpt(str(error)))
            continue
        yield _object(number, row)


def _json_document(source: Path) -> Iterator[Row | Skipped]:
    try:
        document = json.loads(source.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        # Several objects one below the other are the usual reason, and then the lines can be read one by one.
        with source.open("rb") as file:
            if file.read(64).decode("utf-8", "replace").lstrip("\ufeff \t\r\n").startswith("{"):
                yield from _json_lines(source)
                return
        raise SourceError(f"{source}: not a JSON document ({excerpt(str(error))}); export it again") from None
    if isinstance(document, dict):
        document = document["items"] if isinstance(document.get("items"), list) else [document]
    if not isinstance(document, list):
        raise SourceError(f"{source}: expected a list of objects, found {type(document).__name__}")
    for number, row in enumerate(document, start=1):
        yield _object(number, row)


def _object(number: int, row: object) -> Row | Skipped:
    if is_deep(row, DEEPEST_NESTING):
        return Skipped(number, f"row is nested more than {DEEPEST_NESTING} levels deep")
    if isinstance(row, dict):
        return number, row
    return Skipped(number, "row is not an object", excerpt(row))


def _parquet_rows(source: Path) -> Iterator[Row | Skipped]:
    largest = CrowdSettings.from_environment().max_parquet_mib << 20
    try:
        with source.open("rb") as file, json_lines(file, largest) as lines:
            for number, line in enumerate(lines, start=1):
                if line.startswith(UNREADABLE):
                    yield Skipped(number, "row is not valid text", excerpt(line.decode("utf-8", "replace")))
                else:
                    yield _object(number, json.loads(line))
    except UnreadableParquetError as problem:
        raise SourceError(f"{source}: {excerpt(str(problem))}") from None
