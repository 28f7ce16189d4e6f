"""Inbox and outbox: where feedback files arrive and comparison tasks leave.

Belongs here: finding complete files, ingesting each exactly once, publishing files.
Does not belong here: what a line must look like (see ``feedback``).
"""

import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import duckdb
import polars as pl
from dagster import ConfigurableResource, ResourceDependency
from pydantic import Field
from upath import UPath

from resources import feedback
from resources.frames import read_parquet, write_parquet
from resources.storage import is_local, write_bytes_atomically, write_text_atomically
from resources.warehouse import WarehouseResource, as_stored, fetch_row

CHUNK_ROWS = 50_000  # events looked at together
SPOOLED_BYTES = 64 << 20


@dataclass(frozen=True)
class IngestedFile:
    """What became of one file."""

    name: str
    accepted: int
    duplicates: int
    rejected: int


class _Parts:
    """What was read of a file, kept in a temporary one: in memory while it is small, then without a name on the disk.

    Attributes:
        digest, bytes: Of the file, once all of it was added.
        events, rejections: How many there are.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = ""
        self.bytes = self.events = self.rejections = 0
        self._sizes: list[int] = []
        self._file = file

    def add(self, part: feedback.ParsedFile) -> None:
        self.digest, self.bytes = part.digest, part.bytes
        self.events += len(part.events)
        self.rejections += len(part.rejections)
        for rows, schema in ((part.events, feedback.EVENT_SCHEMA), (part.rejections, feedback.REJECTION_SCHEMA)):
            buffer = io.BytesIO()
            pl.DataFrame(rows, schema=schema).write_ipc(buffer)
            self._sizes.append(self._file.write(buffer.getbuffer()))

    def __iter__(self) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Events and rejections of each part."""
        self._file.seek(0)
        frames = (pl.read_ipc(io.BytesIO(self._file.read(size))) for size in self._sizes)
        return zip(frames, frames, strict=True)


class InboxResource(ConfigurableResource):
    """Feedback files under ``root``; what was ingested lies in segments under ``segments``, numbered by ``seq`` from 1."""

    warehouse: ResourceDependency[WarehouseResource]
    root: str = Field(description="Folder or URI where feedback files arrive.")
    archive: str = Field(description="Folder or URI where ingested files are kept.")
    segments: str = Field(description="Folder or URI of the append-only Parquet segments of raw feedback.")
    max_line_bytes: int = Field(default=1_000_000, description="Longest line, in bytes.")
    max_text_characters: int = Field(default=20_000, description="Longest text, in characters.")

    def complete_files(self) -> list[UPath]:
        """Files that have their final name, by name. Hidden files, folders and links are not feedback."""
        root = UPath(self.root)
        if not root.exists():
            return []
        return sorted(
            (
                path
                for path in root.iterdir()
                if path.suffix in feedback.SUFFIXES
                and not path.name.startswith(".")
                and not _is_link(path)
                and path.is_file()
            ),
            key=lambda path: path.name,
        )

    def ingest(self, progress: Callable[[str], None] = lambda line: None) -> list[IngestedFile]:
        """Take every complete file in, one transaction a file; then move it to the archive.

        Killed at any point, the next call finishes: a file whose digest is known is only moved.
        """
        limits = feedback.Limits(line_bytes=self.max_line_bytes, text_characters=self.max_text_characters)
        ingested = []
        for path in self.complete_files():
            with tempfile.SpooledTemporaryFile(max_size=SPOOLED_BYTES) as file:
                parts = _Parts(file)
                try:
                    for part in feedback.read_parts(path, limits, CHUNK_ROWS):
                        parts.add(part)
                except FileNotFoundError:
                    continue  # another ingesting process was faster and has archived it
                last = self._store(path, parts)
                self._archive(path, parts.digest)
            ingested.append(last)
            progress(f"{last.name}: {last.accepted} events, {last.duplicates} duplicates, {last.rejected} rejected")
        return ingested

    def events(self, from_seq: int, to_seq: int) -> pl.DataFrame:
        """Ingested events with ``from_seq <= seq <= to_seq``, in order of ``seq``."""
        frames = [read_parquet(UPath(self.segments, uri)) for uri in self._segments(from_seq, to_seq)]
        if not frames:
            return pl.DataFrame(schema={"seq": pl.Int64(), **feedback.EVENT_SCHEMA})
        return pl.concat(frames).filter(pl.col("seq").is_between(from_seq, to_seq)).sort("seq")

    def chunks(self, from_seq: int, to_seq: int) -> Iterator[pl.DataFrame]:
        """:meth:`events` in frames of at most ``CHUNK_ROWS`` rows, one after the other."""
        for uri in self._segments(from_seq, to_seq):
            segment = read_parquet(UPath(self.segments, uri))
            yield from segment.filter(pl.col("seq").is_between(from_seq, to_seq)).iter_slices(CHUNK_ROWS)

    def _segments(self, from_seq: int, to_seq: int) -> list[str]:
        found = self.warehouse.query(
            "SELECT uri FROM feedback_segments WHERE last_seq >= $from AND first_seq <= $to ORDER BY first_seq",
            {"from": from_seq, "to": to_seq},
        )
        return found["uri"].to_list()

    def _store(self, path: UPath, parts: "_Parts") -> IngestedFile:
        now = as_stored(datetime.now(UTC))
        with self.warehouse.transaction() as connection:
            known = fetch_row(
                connection,
                "SELECT accepted, duplicates, rejected FROM ingested_files WHERE digest = $d",
                {"d": parts.digest},
            )
            if known:
                return IngestedFile(path.name, *known)
            first = int(fetch_row(connection, "SELECT coalesce(max(seq), 0) + 1 FROM event_index")[0])
            accepted = 0
            for events, rejections in parts:
                accepted += self._store_events(connection, events, first + accepted, parts.digest, now)
                if rejections.height:
                    self.warehouse.append(connection, "rejected_feedback", rejections)
            done = IngestedFile(
                name=path.name,
                accepted=accepted,
                duplicates=parts.events - accepted,
                rejected=parts.rejections,
            )
            self.warehouse.append(
                connection,
                "ingested_files",
                pl.DataFrame(
                    {
                        "digest": [parts.digest],
                        "uri": [str(path)],
                        "bytes": [parts.bytes],
                        "accepted": [done.accepted],
                        "duplicates": [done.duplicates],
                        "rejected": [done.rejected],
                        "ingested_at": [now],
                    }
                ),
            )
        return done

    def _store_events(
        self, connection: duckdb.DuckDBPyConnection, events: pl.DataFrame, first: int, digest: str, now: datetime
    ) -> int:
        """Store what is new of a part's events as a segment that begins with ``seq`` ``first``; returns how many."""
        events = events.unique("event_id", keep="first", maintain_order=True)
        connection.register("arrived", events.select("event_id").to_arrow())
        seen = connection.sql("SELECT event_id FROM event_index SEMI JOIN arrived USING (event_id)").pl()
        connection.unregister("arrived")
        events = events.join(seen, on="event_id", how="anti", maintain_order="left")
        if events.is_empty():
            return 0
        events = events.with_row_index("seq", offset=first).with_columns(pl.col("seq").cast(pl.Int64))
        uri = f"{first:012d}-{digest}.parquet"
        write_parquet(UPath(self.segments, uri), events)
        last = first + events.height - 1
        segment = {"first_seq": [first], "last_seq": [last], "uri": [uri], "digest": [digest]}
        self.warehouse.append(connection, "feedback_segments", pl.DataFrame(segment))
        self.warehouse.append(
            connection,
            "event_index",
            events.select("event_id", "seq", "kind", "contributor_id", ingested_at=pl.lit(now)),
        )
        return events.height

    def _archive(self, path: UPath, digest: str) -> None:
        target = UPath(self.archive, f"{digest}-{path.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if is_local(path) and is_local(target):
                path.rename(target)
            else:
                write_bytes_atomically(target, path.read_bytes())
                path.unlink()
        except FileNotFoundError:
            return  # another ingesting process archived it


class OutboxResource(ConfigurableResource):
    """Files for the crowd under ``root``."""

    root: str = Field(description="Folder or URI where comparison tasks are published.")

    def publish(self, topic: str, round_id: str, rows: list[dict[str, Any]]) -> UPath:
        """Write ``rows`` as JSON Lines to ``<root>/<topic>/<round_id>.jsonl``, whole or not at all."""
        if not re.fullmatch(r"[a-z_]+", topic) or not re.fullmatch(r"r\d{6,}", round_id):
            raise ValueError(
                f"{topic!r}/{round_id!r}: a topic is lower-case letters, a round r and six digits or more."
            )
        path = UPath(self.root, topic, f"{round_id}.jsonl")
        write_text_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return path


def _is_link(path: UPath) -> bool:
    try:
        return path.is_symlink()
    except (AttributeError, NotImplementedError):
        return False  # object storage has none
