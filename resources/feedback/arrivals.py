"""What lies in an inbox and waits: listing it, sharing it among processes, how much and how old it is.

Collectors put whole files anywhere below the inbox in folders of digits, one for each part of the time:
``2026/11/21/13/collector-7-000042.jsonl``. Order of ingestion is that of paths, so hours come one after the other.

Belongs here: files as they wait. Does not belong here: reading them (see ``feedback``), taking them in (see ``inbox``).
"""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from upath import UPath

from resources.common.errors import OperatorError
from resources.feedback.events import SUFFIXES
from resources.feedback.strangers import Stranger, waits
from resources.files.storage import StoredFile, files_below, write_bytes_atomically, write_text_atomically

COLLECTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NOTICE = "backlog.json"


class CollectorError(OperatorError, ValueError):
    """A collector has a name, or a file, that the inbox does not take."""


@dataclass(frozen=True)
class Backlog:
    """How much waits in an inbox: files, bytes, and since when the oldest of them lies there (in seconds; 0: nothing waits).

    ``full`` says that more waits than CROWD_BACKLOG_MIB: collectors should send less, or later.
    """

    files: int
    bytes: int
    oldest_s: float
    full: bool


def arrived(inbox: UPath) -> list[StoredFile]:
    """Files that have their final name, by path. Hidden files, other folders than those of a time, and links are no feedback."""
    return [each for each in files_below(inbox) if waits(each.name)]


def backlog(files: Iterable[StoredFile], full_mib: int, now: datetime) -> Backlog:
    """How much of ``files`` waits; ``full_mib`` 0: never full."""
    files = list(files)
    size = sum(each.size for each in files)
    oldest = min((each.modified for each in files), default=now)
    return Backlog(len(files), size, max((now - oldest).total_seconds(), 0.0), bool(full_mib and size > full_mib << 20))


def publish_backlog(outbox: UPath, waiting: Backlog, now: datetime, strangers: Sequence[Stranger] = ()) -> None:
    """Tell collectors how much waits, and which files will never be read, in ``backlog.json`` of the outbox."""
    about = asdict(waiting) | {
        "at": now.isoformat(timespec="seconds"),
        "never_read": [asdict(each) for each in strangers],
    }
    write_text_atomically(outbox / NOTICE, json.dumps(about))


def append(inbox: UPath, collector: str, data: bytes, suffix: str, now: datetime) -> UPath:
    """Put one file of a collector where it is taken in: whole or not at all, in the folder of its hour, under a name of its own.

    Args:
        collector: its name: letters, digits, - and _, at most 64.
        suffix: ``.jsonl`` or ``.parquet``.
        now: with a zone.

    Raises:
        CollectorError: the name is another, or the suffix.
    """
    if not COLLECTOR.fullmatch(collector) or suffix not in SUFFIXES:
        raise CollectorError(
            f"{collector!r}, {suffix!r}: a collector's name is 1 to 64 letters, digits, - and _, and its files end in "
            f"{' or '.join(SUFFIXES)}."
        )
    instant = now.astimezone(UTC)
    name = f"{instant:%M%S%f}-{collector}-{uuid.uuid4().hex[:8]}{suffix}"
    path = inbox / f"{instant:%Y}" / f"{instant:%m}" / f"{instant:%d}" / f"{instant:%H}" / name
    write_bytes_atomically(path, data)
    return path


def claim(
    files: Iterable[StoredFile], claimed: Callable[[str, float], AbstractContextManager[bool]], timeout_s: float
) -> Iterator[StoredFile]:
    """Each of ``files`` while this process alone works on it; those that others are at come last, once they have let go of them.

    What was claimed is free again when a process dies. A claim spares work and nothing else: a file that is read twice counts
    once.

    Args:
        claimed: Holds the claim on a name, as ``WarehouseResource.claimed`` does.
        timeout_s: Longest wait for another process; then its file is left to it.
    """
    busy = []
    for each in files:
        with claimed(str(each.path), 0) as ours:
            if ours:
                yield each
            else:
                busy.append(each)
    for each in busy:
        with claimed(str(each.path), timeout_s) as ours:
            if ours:
                yield each
