"""Files of rows, read with a row's number and without trust.

Belongs here: JSON Lines, JSON documents and Parquet, packed by gzip or zstd or not, as an iterator of rows, known by what a
file begins with and not by its name. A row that cannot be read is a ``Skipped``; a file that cannot be read at all is a
``SourceError``. Does not belong here: what the rows mean, tables of text (see ``table``). Nothing here executes what it
reads: no pickle, no eval.
"""

import codecs
import gzip
import io
import json
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast
from zipfile import ZipFile

from crowd_assets.importers.records import Skipped, SourceError, excerpt
from resources.feedback.events import is_deep
from resources.feedback.parquet_rows import UNREADABLE, UnreadableParquetError, json_lines
from resources.settings.settings import Settings

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes; a longer line is skipped and not read into memory as a whole. Also the longest element of a list."""

DEEPEST_NESTING = 64
"""Levels of objects and lists in one row; no export comes near, and deeper ones exhaust a reader's stack."""

LARGEST_DOCUMENT = 256 << 20
"""Bytes of a JSON document that is one object, which is read as a whole."""

GZIP, ZSTD, PARQUET, ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"PK\x03\x04"
BLOCK = 1 << 16

Row = tuple[int, dict[str, Any]]


@contextmanager
def unpacked(source: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, or of what it packs; at most CROWD_MAX_PARQUET_MIB of them.

    Raises:
        SourceError: the packing is broken, or holds more.
    """
    with source.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        try:
            if head.startswith(GZIP):
                with gzip.open(file) as inside:
                    yield _limited(source, cast("IO[bytes]", inside))
            elif head == ZSTD:
                import pyarrow

                with pyarrow.CompressedInputStream(file, "zstd") as inside:
                    yield _limited(source, inside)
            else:
                yield file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(f"{source}: its packing is broken ({excerpt(str(error))}); copy it again") from None


def _limited(source: Path, file: IO[bytes]) -> IO[bytes]:
    return io.BufferedReader(_Limited(source, file))


class _Limited(io.RawIOBase):
    """No more of a stream than may come out of a packed file: a few bytes can stand for gigabytes."""

    def __init__(self, source: Path, file: IO[bytes]) -> None:
        self._source, self._file = source, file
        self._left = Settings.from_environment().max_parquet_mib << 20

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except OSError as error:
            raise SourceError(f"{self._source}: its packing is broken ({excerpt(str(error))}); copy it again") from None
        self._left -= len(data)
        if self._left < 0:
            raise SourceError(f"{self._source}: holds more than CROWD_MAX_PARQUET_MIB once it is unpacked")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def workbook(source: Path) -> Iterator[Any]:
    """The first sheet of a workbook of Excel, whatever the file is called.

    Raises:
        SourceError: it is none, is locked by a password, or unpacks to more than CROWD_MAX_PARQUET_MIB.
    """
    from openpyxl import load_workbook

    with source.open("rb") as file:
        try:
            with ZipFile(file) as packed:
                size = sum(each.file_size for each in packed.infolist())
            if size > Settings.from_environment().max_parquet_mib << 20:
                raise SourceError(f"{source}: holds more than CROWD_MAX_PARQUET_MIB once it is unpacked")
            yield load_workbook(file, read_only=True, data_only=True, keep_links=False).worksheets[0]
        except SourceError:
            raise
        except Exception as error:  # of whatever kind: it is the file that is broken
            raise SourceError(
                f"{source}: not a workbook of Excel ({excerpt(str(error))}); save it as .xlsx without a password, or as .csv; an "
                "archive is unpacked first"
            ) from None


def begins_with(source: Path, size: int = BLOCK) -> bytes:
    """The first bytes of a file, of what it packs where it is packed."""
    with unpacked(source) as file:
        return file.read(size)


KNOWN_OTHERWISE = {
    b"\xd0\xcf\x11\xe0": "a workbook that a password locks, or of Excel before 2007; save it as .xlsx without a password, or as .csv",
    b"%PDF": "a PDF, which holds no table; export .csv or .json from the tool itself",
    b"\x93NUM": "an array of NumPy, which is not read; write a table of text",
    b"\x80\x04": "a pickle, which could run a program and is never read; write JSON Lines or Parquet",
    b"\x80\x05": "a pickle, which could run a program and is never read; write JSON Lines or Parquet",
    **dict.fromkeys(
        (b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x1f\x9d", b"\x04\x22\x4d\x18"),
        "packed in a way that is not read; unpack it first, or pack it by gzip or zstd",
    ),
    b"SQLi": "a database of SQLite; export the table as .csv",
    b"ARRO": "Arrow, which is not read; write Parquet (to_parquet)",
    b"\xff\xff\xff\xff": "Arrow as `datasets` keeps it, which is not read; write Parquet (to_parquet)",
    b"<?xml": "XML, which is not read; export .csv or .json from the tool itself",
    b"version https://git-lfs": "a pointer of Git LFS and not the file; fetch the file with `git lfs pull`",
}
"""What files begin with that people take for a table, and what to do with them."""


def refuse_others(source: Path, head: bytes) -> None:
    """Refuse what is neither text, JSON, Parquet nor a workbook, by its name.

    Raises:
        SourceError: the file is one of those.
    """
    for beginning, what in KNOWN_OTHERWISE.items():
        if head.startswith(beginning):
            raise SourceError(f"{source}: {what}")
    if head[:1000].lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<meta", b"<table")):
        raise SourceError(
            f"{source}: a page of the web; download the file that the page shows, or save the table in it as .csv"
        )
    if head.startswith((GZIP, ZSTD)):
        raise SourceError(f"{source}: packed twice; unpack it once")
    if head[257:262] == b"ustar":
        raise SourceError(f"{source}: an archive; unpack it first (tar xf {source.name}) and import the file in it")


def refuse_unmarked(source: Path, head: bytes) -> None:
    """Refuse UTF-16 that does not say so, which reads as text with a NUL after every character.

    Raises:
        SourceError: the file is such a text.
    """
    if mark_of(head) is None and head[1:40:2].count(0) > 15:
        raise SourceError(
            f'{source}: UTF-16 without a mark at its beginning; save it in UTF-8, or say encoding = "utf-16-le" in a mapping'
        )


def mark_of(head: bytes) -> str | None:
    """The encoding that a byte-order mark says; None without one."""
    marks = (
        (codecs.BOM_UTF32_LE, "utf-32"),  # begins as that of UTF-16 does
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    )
    return next((name for mark, name in marks if head.startswith(mark)), None)


def is_json(head: bytes) -> bool:
    """Whether a file that begins so is JSON or JSON Lines."""
    text = head.decode(mark_of(head) or "utf-8", "replace").lstrip("\ufeff \t\r\n")
    return text.startswith(("{", "[{", "[[", "[ ", "[\n", "[\r", "[]"))


def read_rows(source: Path) -> Iterator[Row | Skipped]:
    """Rows of JSON Lines, a JSON document or Parquet, packed or not, numbered from 1 (of JSON Lines by their line).

    A JSON document holds a list of objects; one object; an object with such a list (``items``, ``data``, the only split of a
    data set); or columns as pandas and ``datasets`` write them.

    Raises:
        SourceError: the file is none of these, or broken as a whole; the message says what to do.
    """
    head = begins_with(source)
    refuse_others(source, head)
    refuse_unmarked(source, head)
    if head.startswith(PARQUET):
        yield from _parquet_rows(source)
        return
    if head.startswith(ZIP):
        raise SourceError(
            f"{source}: a workbook or an archive; a workbook is read by `import table`, an archive unpacked first"
        )
    text = head.decode(mark_of(head) or "utf-8", "replace").lstrip("\ufeff \t\r\n")
    by_name = [suffix.lower() for suffix in source.suffixes]
    if text.startswith("["):
        yield from _json_lines(source) if _is_lines(text) else _list(source, mark_of(head))
    elif text.startswith("{") and ".json" in by_name and not _is_lines(text):
        yield from _document(source, mark_of(head))
    elif not text and ".json" not in by_name:
        yield Skipped(0, "the file is empty")
    elif text.startswith("{") or {".jsonl", ".ndjson"} & set(by_name):
        yield from _json_lines(source)
    else:
        raise SourceError(
            f"{source}: neither JSON, JSON Lines nor Parquet (it begins with {excerpt(text, 20)!r}); a table of text is read by "
            "`import table --mapping FILE`"
        )


def _is_lines(text: str) -> bool:
    """Whether a text that begins with an object, or a list, has another one on the next line."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        first = text.split("\n", 1)[0].rstrip()
        return len(first) > 1 and first.endswith("}") and text.startswith("{")
    return bool(rest := text[end:].strip()) and (text.startswith("{") or rest.startswith("["))


def read_lines(source: Path) -> Iterator[tuple[int, str] | Skipped]:
    """Lines of text without their line ends, numbered from 1; blank lines are left out. UTF-8, or what a byte-order mark says."""
    with unpacked(source) as packed:
        file: Any = io.BufferedReader(cast(Any, packed)) if not hasattr(packed, "peek") else packed
        head = file.peek(BLOCK)[:BLOCK]
        if (encoding := mark_of(head)) is not None and encoding != "utf-8-sig":
            file = io.BufferedReader(cast(Any, _Recoded(file, encoding)))
        elif b"\n" not in head and b"\r" in head.rstrip(b"\r"):
            file = io.BufferedReader(cast(Any, _OtherLineEnds(file)))
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


class _Recoded(io.RawIOBase):
    """UTF-16 or UTF-32 with a byte-order mark as UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._file, self._decoder, self._left = file, codecs.getincrementaldecoder(encoding)("replace"), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and (data := self._file.read(BLOCK)):
            self._left = self._decoder.decode(data).encode("utf-8", "replace")
        piece, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


class _OtherLineEnds(io.RawIOBase):
    """Lines that end with a carriage return alone, as old spreadsheets write them, with ends that everybody knows."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(piece)] = piece
        return len(piece)


def _json_lines(source: Path) -> Iterator[Row | Skipped]:
    for line in read_lines(source):
        if isinstance(line, Skipped):
            yield line
            continue
        number, text = line
        try:
            row = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            yield Skipped(number, "line is not JSON", excerpt(str(error)))
            continue
        yield _object(number, row)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice in one object")
    return found


def _list(source: Path, encoding: str | None) -> Iterator[Row | Skipped]:
    """The elements of a list, one after the other: never the whole file in memory."""
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    space = re.compile(r"[ \t\r\n]*")
    with unpacked(source) as file:
        reader = codecs.getreader(encoding or "utf-8")(cast(Any, file))
        try:
            text = reader.read(BLOCK).lstrip("\ufeff \t\r\n")[1:]
            number, step = 0, BLOCK
            after_comma = False
            while True:
                place = space.match(text).end()  # type: ignore[union-attr]
                if place == len(text):
                    more = reader.read(step)
                    if not more:
                        raise ValueError("the list does not end")
                    text = more
                    continue
                if text[place] == "]":
                    if after_comma:
                        raise ValueError("a comma, and nothing after it")
                    if (text[place + 1 :] + reader.read(BLOCK)).strip():
                        raise ValueError("something after the end of the list")
                    return
                if text[place] == "," and number and not after_comma:
                    text, after_comma = text[place + 1 :], True
                    continue
                if number and not after_comma:
                    raise ValueError("expected a comma between two elements")
                try:
                    value, end = decoder.raw_decode(text, place)
                    complete = end < len(text)  # a number may go on
                except (ValueError, RecursionError):
                    complete = False
                if not complete:
                    more = "" if len(text) > LONGEST_LINE else reader.read(step)
                    if not more:
                        value, end = decoder.raw_decode(text, place)
                    else:
                        text, step = text[place:] + more, 2 * step
                        continue
                number, step, after_comma, text = number + 1, BLOCK, False, text[end:]
                yield _object(number, value)
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f"{source}: not a JSON document ({excerpt(str(error))}, element {number + 1}); export it again"
            ) from None


def _document(source: Path, encoding: str | None) -> Iterator[Row | Skipped]:
    with unpacked(source) as file:
        data = file.read(LARGEST_DOCUMENT + 1)
    if len(data) > LARGEST_DOCUMENT:
        raise SourceError(f"{source}: one object of more than {LARGEST_DOCUMENT >> 20} MiB; write it as JSON Lines")
    try:
        document = json.loads(data.decode(encoding or "utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{source}: not a JSON document ({excerpt(str(error))}); export it again") from None
    for number, row in enumerate(_rows_in(source, document), start=1):
        yield _object(number, row)


def _rows_in(source: Path, document: dict[str, Any]) -> list[Any]:
    """The rows of an object: one, those of a list in it, or those that its columns make.

    Raises:
        SourceError: it holds several lists of rows.
    """
    lists = {
        name: value for name, value in document.items() if isinstance(value, list) and value and _are_objects(value)
    }
    known = [name for name in ("items", "data", "rows", "records", "instances") if isinstance(document.get(name), list)]
    if known:
        return cast("list[Any]", document[known[0]])
    if document and len(lists) == len(document):
        if len(lists) > 1:
            raise SourceError(
                f"{source}: several lists of rows ({', '.join(lists)}); write the one that is meant into a file of its own"
            )
        return next(iter(lists.values()))
    columns = list(document.values())
    if (
        len(columns) > 1
        and all(isinstance(each, list) for each in columns)
        and len({len(each) for each in columns}) == 1
    ):
        return [dict(zip(document, values, strict=True)) for values in zip(*columns, strict=True)]
    if len(columns) > 1 and all(isinstance(each, dict) and each for each in columns):
        keys = list(columns[0])
        if all(list(each) == keys for each in columns) and all(key.isdigit() for key in keys):
            return [{name: document[name][key] for name in document} for key in keys]
    return [document]


def _are_objects(values: list[Any]) -> bool:
    return all(isinstance(each, dict) and not {"role", "from"} & set(each) for each in values)


def _object(number: int, row: object) -> Row | Skipped:
    if isinstance(row, dict) and isinstance(row.get("row"), dict) and isinstance(row.get("truncated_cells"), list):
        if row["truncated_cells"]:  # as the hub shows rows of a data set
            return Skipped(
                number, "row is cut off by the page that shows it: download the data set", row["truncated_cells"][0]
            )
        row = row["row"]
    if is_deep(row, DEEPEST_NESTING):
        return Skipped(number, f"row is nested more than {DEEPEST_NESTING} levels deep")
    if isinstance(row, list) and row and all(isinstance(each, dict) and {"role", "from"} & set(each) for each in row):
        row = {"messages": row}  # a conversation a line
    if isinstance(row, list) and len(row) == 1:
        row = row[0]
    if isinstance(row, dict):
        return number, row
    return Skipped(number, "row is not an object", excerpt(row))


def _parquet_rows(source: Path) -> Iterator[Row | Skipped]:
    largest = Settings.from_environment().max_parquet_mib << 20
    try:
        with unpacked(source) as packed, tempfile.TemporaryFile() as file:
            while piece := packed.read(1 << 20):
                file.write(piece)
            file.flush()
            with json_lines(file, largest) as lines:
                for number, line in enumerate(lines, start=1):
                    if line.startswith(UNREADABLE):
                        yield Skipped(number, "row is not valid text", excerpt(line.decode("utf-8", "replace")))
                    else:
                        yield _object(number, json.loads(line))
    except UnreadableParquetError as problem:
        raise SourceError(f"{source}: {excerpt(str(problem))}") from None
