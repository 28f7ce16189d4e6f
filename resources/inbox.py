"""Inbox and outbox: where feedback files arrive and comparison tasks leave.

Belongs here: finding complete files, ingesting each exactly once, publishing files.
Does not belong here: what a line must look like (see ``feedback``).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
from dagster import ConfigurableResource, ResourceDependency
from pydantic import Field
from upath import UPath

from resources import feedback
from resources.frames import read_parquet, write_parquet
from resources.storage import is_local, write_bytes_atomically, write_text_atomically
from resources.warehouse import WarehouseResource, as_stored, fetch_row


@dataclass(frozen=True)
class IngestedFile:
    """What became of one file."""

    name: str
    accepted: int
    duplicates: int
    rejected: int


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
            try:
                parsed = feedback.read_file(path, limits)
            except FileNotFoundError:
                continue  # another ingesting process was faster and has archived it
            ingested.append(self._store(path, parsed))
            self._archive(path, parsed.digest)
            last = ingested[-1]
            progress(f"{last.name}: {last.accepted} events, {last.duplicates} duplicates, {last.rejected} rejected")
        return ingested

    def events(self, from_seq: int, to_seq: int) -> pl.DataFrame:
        """Ingested events with ``from_seq <= seq <= to_seq``, in order of ``seq``."""
        segments = self.warehouse.query(
            "SELECT uri FROM feedback_segments WHERE last_seq >= $from AND first_seq <= $to ORDER BY first_seq",
            {"from": from_seq, "to": to_seq},
        )
        frames = [self.segment(uri) for uri in segments["uri"]]
        if not frames:
            return pl.DataFrame(schema={"seq": pl.Int64(), **feedback.EVENT_SCHEMA})
        return pl.concat(frames).filter(pl.col("seq").is_between(from_seq, to_seq)).sort("seq")

    def segment(self, uri: str) -> pl.DataFrame:
        """One segment of raw feedback, by its name in ``feedback_segments``."""
        return read_parquet(UPath(self.segments, uri))

    def _store(self, path: UPath, parsed: feedback.ParsedFile) -> IngestedFile:
        now = as_stored(datetime.now(UTC))
        with self.warehouse.transaction() as connection:
            known = fetch_row(
                connection,
                "SELECT accepted, duplicates, rejected FROM ingested_files WHERE digest = $d",
                {"d": parsed.digest},
            )
            if known:
                return IngestedFile(path.name, *known)
            events = pl.DataFrame(parsed.events, schema=feedback.EVENT_SCHEMA).unique(
                "event_id", keep="first", maintain_order=True
            )
            connection.register("arrived", events.select("event_id").to_arrow())
            seen = connection.sql("SELECT event_id FROM event_index SEMI JOIN arrived USING (event_id)").pl()
            events = events.join(seen, on="event_id", how="anti", maintain_order="left")
            first = int(fetch_row(connection, "SELECT coalesce(max(seq), 0) + 1 FROM event_index")[0])
            if events.height:
                events = events.with_row_index("seq", offset=first).with_columns(pl.col("seq").cast(pl.Int64))
                uri = f"{first:012d}-{parsed.digest}.parquet"
                write_parquet(UPath(self.segments, uri), events)
                self.warehouse.append(
                    connection,
                    "feedback_segments",
                    pl.DataFrame(
                        {
                            "first_seq": [first],
                            "last_seq": [first + events.height - 1],
                            "uri": [uri],
                            "digest": [parsed.digest],
                        }
                    ),
                )
                self.warehouse.append(
                    connection,
                    "event_index",
                    events.select("event_id", "seq", "kind", "contributor_id", ingested_at=pl.lit(now)),
                )
            if parsed.rejections:
                self.warehouse.append(
                    connection, "rejected_feedback", pl.DataFrame(parsed.rejections, schema=feedback.REJECTION_SCHEMA)
                )
            done = IngestedFile(
                name=path.name,
                accepted=events.height,
                duplicates=len(parsed.events) - events.height,
                rejected=len(parsed.rejections),
            )
            self.warehouse.append(
                connection,
                "ingested_files",
                pl.DataFrame(
                    {
                        "digest": [parsed.digest],
                        "uri": [str(path)],
                        "bytes": [parsed.bytes],
                        "accepted": [done.accepted],
                        "duplicates": [done.duplicates],
                        "rejected": [done.rejected],
                        "ingested_at": [now],
                    }
                ),
            )
        return done

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
