"""Files of feedback: each line an event, or a rejection with its reason.

Belongs here: opening a file that somebody else may replace, lines of any length, JSON, parts of a large file. Does not belong here: what a
line must say (see ``events``), Parquet (see ``parquet_rows``), storing (see ``inbox``).
Nothing read here is ever executed or unpickled: JSON and Parquet only.
"""

import errno
import hashlib
import io
import json
import math
import os
import stat
import tempfile
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, cast

from upath import UPath

from resources.feedback.events import (
    EXCERPT_CHARACTERS,
    NAMES_AS_THEY_ARE,
    InvalidEventError,
    Limits,
    parse_event,
    rejection,
)
from resources.feedback.parquet_rows import UNREADABLE, UnreadableParquetError, json_lines
from resources.feedback.pseudonyms import Pseudonyms
from resources.files.storage import is_local, state_of, state_of_status

PART_ROWS = 50_000


@dataclass
class ParsedFile:
    """Events (rows of ``EVENT_SCHEMA``) and rejections (rows of ``REJECTION_SCHEMA``) of one file, or of a part of it.

    Of a file's parts only the last has its ``digest`` and ``state``: what it was when it was opened and still was when all of
    it had been read (see ``storage.state_of``), else None. ``bytes`` is how much of the file was read; of Parquet, with the last.
    """

    digest: str = ""
    bytes: int = 0
    state: tuple[Any, ...] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    rejections: list[dict[str, Any]] = field(default_factory=list)


def read_parts(
    path: UPath, limits: Limits, pseudonyms: Pseudonyms = NAMES_AS_THEY_ARE, rows: int = PART_ROWS
) -> Iterator[ParsedFile]:
    """All lines of a feedback file, ``rows`` lines at a time; the last part has the digest, the bytes and the state of the whole file. A
    bad line is a rejection; a bad line never costs the lines around it.

    Args:
        path: of a JSON Lines or Parquet file, local or on the object store.
        limits: of a line and a text, in bytes and characters.
        rows: events and rejections in a part, at least 1.

    Raises:
        FileNotFoundError: there is no such file any more, or something else than a file has its name now.
        OSError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with _opened(path) as file:
        opened = _state_of_opened(path, file)

        def whole(part: ParsedFile) -> ParsedFile:
            part.digest, part.bytes = digest.hexdigest(), file.tell()
            if _state_of_opened(path, file) == opened:
                part.state = opened
            return part

        def parsed(lines: IO[bytes], hashed: Any, decode: Callable[[bytes], Any]) -> Iterator[ParsedFile]:
            found = _lines(lines, limits.line_bytes, hashed)
            return _read_lines(found, decode, shown_name(path), limits, pseudonyms, rows, whole)

        if path.suffix != ".parquet":
            for part in parsed(file, digest, _decode):
                part.bytes = file.tell()
                yield part
            return
        with tempfile.TemporaryFile() as copy:  # what is hashed is what is read, whatever becomes of the file meanwhile
            while piece := file.read(1 << 20):
                digest.update(piece)
                copy.write(piece)
            copy.flush()
            try:
                with json_lines(copy, limits.parquet_bytes) as lines:
                    yield from parsed(lines, hashlib.blake2b(), _decode_row)
            except UnreadableParquetError as problem:
                about = rejection(stage="ingestion", source=shown_name(path), line=0, reason=str(problem))
                yield whole(ParsedFile(rejections=[about]))


def shown_name(path: UPath) -> str:
    """A file's name as it can be stored and shown: what is no printable character is U+FFFD."""
    return "".join(character if character.isprintable() else "\ufffd" for character in path.name)


def _state_of_opened(path: UPath, file: IO[bytes]) -> tuple[Any, ...]:
    return state_of_status(os.fstat(file.fileno())) if is_local(path) else state_of(path)


@contextmanager
def _opened(path: UPath) -> Iterator[IO[bytes]]:
    """A file for reading; of a local one neither what a link points to nor a pipe that never ends."""
    if not is_local(path):
        try:
            with path.open("rb") as file, io.BufferedReader(cast(Any, file)) as buffered:
                yield buffered
        except OSError as problem:
            if problem.errno != errno.EBUSY:
                raise
            raise FileNotFoundError(f"{path} was replaced while it was read") from None
        return
    try:
        number = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        if problem.errno in (errno.ELOOP, errno.ENXIO):
            raise FileNotFoundError(f"{path} is a link or a device by now, not a file") from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise FileNotFoundError(f"{path} is no file by now")
    with open(number, "rb") as file:
        yield file


def _read_lines(
    lines: Iterator[tuple[bytes, int]],
    decode: Callable[[bytes], Any],
    source: str,
    limits: Limits,
    pseudonyms: Pseudonyms,
    rows: int,
    whole: Callable[[ParsedFile], ParsedFile],
) -> Iterator[ParsedFile]:
    """Events and rejections; ``whole`` completes the last part."""
    part, empty = ParsedFile(), True
    for number, (line, length) in enumerate(lines, start=1):
        if not line.strip() and length == len(line):
            continue
        empty = False
        try:
            if length > limits.line_bytes:
                raise InvalidEventError(f"the line has {length} bytes; at most {limits.line_bytes}")
            event = parse_event(decode(line), limits, pseudonyms)
            event["source"], event["line"] = source, number
            part.events.append(event)
        except InvalidEventError as problem:
            part.rejections.append(
                rejection(
                    stage="ingestion",
                    source=source,
                    line=number,
                    reason=pseudonyms.hidden(str(problem)),
                    excerpt=pseudonyms.hidden(line[:EXCERPT_CHARACTERS].decode("utf-8", errors="replace")),
                )
            )
        if len(part.events) + len(part.rejections) >= rows:
            yield part
            part = ParsedFile()
    if empty:
        part.rejections.append(rejection(stage="ingestion", source=source, line=0, reason="the file is empty"))
    yield whole(part)


def _lines(file: Any, longest: int, digest: Any) -> Iterator[tuple[bytes, int]]:
    """Lines and their full lengths in bytes; of a line that is too long only the beginning is kept in memory."""
    while piece := file.readline(longest + 1):
        digest.update(piece)
        length = len(piece)
        kept = piece if length <= longest else piece[:EXCERPT_CHARACTERS]
        while not piece.endswith(b"\n") and (piece := file.readline(1 << 20)):
            digest.update(piece)
            length += len(piece)
        yield kept, length


def _decode_row(line: bytes) -> Any:
    """A line that stands for a row of a Parquet file."""
    if line.startswith(UNREADABLE):
        raise InvalidEventError(line[len(UNREADABLE) :].decode("utf-8", errors="replace").strip()[:200])
    return _decode(line)


def _decode(line: bytes) -> Any:
    try:
        text = (line[len(BOM_UTF8) :] if line.startswith(BOM_UTF8) else line).decode()
        if text.startswith("\ufeff"):
            raise InvalidEventError(
                "broken JSON: Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"
            )
        return _DECODER.decode(text)
    except UnicodeDecodeError:
        raise InvalidEventError("the line is not UTF-8") from None
    except RecursionError:
        raise InvalidEventError("the JSON is nested too deeply") from None
    except InvalidEventError:
        raise
    except ValueError as problem:
        raise InvalidEventError(f"broken JSON: {str(problem)[:120]}") from None


def _refuse_constant(name: str) -> None:
    raise InvalidEventError(f"{name} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidEventError(f"{text[:40]} is not a finite number")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
