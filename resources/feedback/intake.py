"""The chain of what was taken in: each ingesting transaction appends a record of its file, behind the hash of the record before.

A round's record names the last of these, so the two chains are one from the first file on: whoever takes away a file's row, to
have the file accepted a second time, or changes whose an event is before a round has it, breaks it.

Belongs here: what a record says, the chain. Does not belong here: holding it against what lies there (see
``crowd_assets.operations.audit_intake``).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from upath import UPath

from resources.common.hashes import canonical, chained, file_hash
from resources.warehouse.base import fetch_row
from resources.warehouse.connection import Connection

VOUCHED = ("rejection_id", "source", "line", "kind", "contributor_id", "event_id")
"""Columns of rejected lines that nothing changes; reason and excerpt may quote a text, and are erased with it."""
MODULUS = 1 << 128


@dataclass
class Taken:
    """What one transaction took in.

    Attributes:
        files: Rows of ``ingested_files``, each with the file's name in place of its place.
        segments: First and last ``seq``, name and hash of each segment of raw feedback that was written.
        rejected, rejected_sum: How many lines were rejected, and the sum of their hashes: of a set, in whatever order.
        aliases: Names whose person changed, with the person; None: the name is nobody's alias any more.
        aliases_by, aliases_at: Who said so, and when, as ISO 8601.
    """

    files: list[dict[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    rejected: int = 0
    rejected_sum: int = 0
    aliases: dict[str, str | None] = field(default_factory=dict)
    aliases_by: str = ""
    aliases_at: str = ""

    def reject(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add rejected lines, each as its ``VOUCHED`` columns."""
        for row in rows:
            self.rejected += 1
            self.rejected_sum = (self.rejected_sum + _row_hash(row)) % MODULUS

    def write(self, uri: str, first: int, last: int, path: UPath) -> None:
        """Add a segment that lies in ``path``."""
        self.segments.append({"uri": uri, "first_seq": first, "last_seq": last, "file": file_hash(path.read_bytes())})


def file_row(
    digest: str, uri: str, size: int, accepted: int, duplicates: int, rejected: int, ingested_at: Any
) -> dict[str, Any]:
    """A row of ``ingested_files`` as a record has it: where the file lies may change."""
    return {
        "digest": digest,
        "name": PurePosixPath(uri).name,
        "bytes": size,
        "accepted": accepted,
        "duplicates": duplicates,
        "rejected": rejected,
        "ingested_at": ingested_at.isoformat(),
    }


def append_intake(connection: Connection, taken: Taken, segment: Callable[[str], UPath]) -> None:
    """Append a transaction's record; part of the transaction. What a home took in before it had a chain becomes the first.

    Args:
        segment: Where a segment lies, by its name.
    """
    number, previous = _last(connection)
    if not number:
        before = _before(connection, taken, segment)
        if before.files or before.segments:
            previous = _append(connection, 1, previous, before)
            number = 1
    _append(connection, number + 1, previous, taken)


def _last(connection: Connection) -> tuple[int, str]:
    row = fetch_row(connection, "SELECT number, hash FROM ingestions ORDER BY number DESC LIMIT 1")
    return (int(row[0]), str(row[1])) if row else (0, "")


def _append(connection: Connection, number: int, previous: str, taken: Taken) -> str:
    said = {**asdict(taken), "number": number, "rejected_sum": f"{taken.rejected_sum:032x}"}
    if not taken.aliases:
        said = {name: value for name, value in said.items() if not name.startswith("aliases")}
    text = canonical(said)
    hashed = chained(previous, text)
    connection.execute(
        "INSERT INTO ingestions VALUES ($number, $record, $previous, $hash)",
        {"number": number, "record": text, "previous": previous, "hash": hashed},
    )
    return hashed


def _before(connection: Connection, taken: Taken, segment: Callable[[str], UPath]) -> Taken:
    """What is there already and not of this transaction."""
    found = Taken()
    new_files = {each["digest"] for each in taken.files}
    new_segments = {each["uri"] for each in taken.segments}
    rows = connection.execute(
        "SELECT digest, uri, bytes, accepted, duplicates, rejected, ingested_at FROM ingested_files ORDER BY ingested_at, digest"
    ).fetchall()
    found.files = [file_row(*row) for row in rows if row[0] not in new_files]
    segments = connection.execute(
        "SELECT uri, first_seq, last_seq FROM feedback_segments ORDER BY first_seq"
    ).fetchall()
    for uri, first, last in segments:
        if uri not in new_segments:
            found.write(uri, first, last, segment(uri))
    found.reject(rejected_lines(connection))
    found.rejected -= taken.rejected
    found.rejected_sum = (found.rejected_sum - taken.rejected_sum) % MODULUS
    return found


def known_aliases(connection: Connection) -> dict[str, str]:
    """The person behind each name that is an alias."""
    return dict(connection.execute("SELECT name, person FROM aliases").fetchall())


def rejected_lines(connection: Connection) -> list[tuple[Any, ...]]:
    """All lines that ingestion rejected, as their ``VOUCHED`` columns."""
    return connection.execute(
        f"SELECT {', '.join(VOUCHED)} FROM rejected_feedback WHERE stage = 'ingestion' ORDER BY rejection_id"
    ).fetchall()


def _row_hash(row: Sequence[Any]) -> int:
    text = json.dumps(list(row), ensure_ascii=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())
