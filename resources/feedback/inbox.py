"""Inbox and outbox: where feedback files arrive and comparison tasks leave.

Belongs here: finding complete files, ingesting each exactly once, publishing files.
Does not belong here: what a line must look like (see ``feedback``).
"""

import errno
import hashlib
import io
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import polars as pl
from dagster import ConfigurableResource, ResourceDependency
from pydantic import Field
from upath import UPath

from resources.common.progress import throttled
from resources.feedback import event_files
from resources.feedback import events as feedback
from resources.feedback.arrivals import arrived, claim
from resources.feedback.intake import VOUCHED, Taken, append_intake, file_row, known_aliases
from resources.feedback.pseudonyms import (
    BEGUN,
    KEY_VARIABLE,
    HomePseudonyms,
    PseudonymKeyError,
    Pseudonyms,
    StalePseudonymsError,
)
from resources.feedback.strangers import never_read
from resources.files.frames import read_parquet, read_parquets, write_parquet
from resources.files.storage import StoredFile, UnwritableError, files_below, move, remove_if, write_text_atomically
from resources.warehouse.base import WarehouseResource, as_stored, fetch_row
from resources.warehouse.connection import Connection
from resources.warehouse.facts import WITHDRAWN

MIB = 2**20
CHUNK_ROWS = 50_000  # events looked at together
SPOOLED_BYTES = 64 << 20
LONGEST_NAME = 255  # bytes, of a file in a folder
COMPARISON_TASKS = "comparison_tasks"
"""Topic of the outbox: what labelers are asked next."""
ASSIGNMENTS = "assignments"
"""Topic of the outbox: who is asked what next."""
AUDITS = "audits"
"""Topic of the outbox: ids of comparisons that somebody trusted is to send outcomes for. Ids alone: texts lie in one place,
from where they can be erased."""


@dataclass(frozen=True)
class IngestedFile:
    """What became of one file; ``left`` says why it lies in the inbox as it lay, where it cannot be read."""

    name: str
    accepted: int
    duplicates: int
    rejected: int
    left: str = ""


class _Parts:
    """What was read of a file, kept in a temporary one: in memory while it is small, then without a name on the disk.

    Attributes:
        digest, bytes, state: Of the file, once all of it was added.
        events, rejections: How many there are.
        reasons: Of rejections, with how many there are of each.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = ""
        self.reasons: Counter[str] = Counter()
        self.state: tuple[Any, ...] | None = None
        self.bytes = self.events = self.rejections = 0
        self._sizes: list[int] = []
        self._file = file

    def add(self, part: event_files.ParsedFile) -> None:
        self.digest, self.bytes, self.state = part.digest, part.bytes, part.state
        self.events += len(part.events)
        self.rejections += len(part.rejections)
        self.reasons.update(each["reason"] for each in part.rejections)
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
    max_parquet_mib: int = Field(default=2048, description="Largest content of a Parquet file, decompressed, in MiB.")

    def arrived(self) -> list[StoredFile]:
        """Files that have their final name, as :func:`arrivals.arrived` lists them."""
        return arrived(UPath(self.root))

    def complete_files(self) -> list[UPath]:
        """Where they lie."""
        return [each.path for each in self.arrived()]

    def ingest(
        self, progress: Callable[[str], None] = lambda line: None, *, most_files: int = 0, most_mib: int = 0
    ) -> list[IngestedFile]:
        """Take complete files in, oldest hour first and then by name, one transaction a file; then move each to the archive.

        Several processes share the work: a file that another one is at is left to it, and looked at again at the end.

        With a key (see ``pseudonyms``) contributors' names end here: they are hashed, and the files that hold them are
        removed instead of archived. Killed at any point, the next call finishes: a file whose digest is known is only
        moved. A file that is written to or replaced meanwhile stays, and the next call takes in what is new of it. One that cannot
        be read is named and left, and keeps no other waiting.

        Args:
            most_files, most_mib: What this call takes in at most, the size about; the next one goes on. 0: all there is.

        Raises:
            PseudonymKeyError: the home was begun with another key, or without one.
            UnwritableError: there is no room for what was read.
        """
        pseudonyms = HomePseudonyms.of_home(self.warehouse)
        limits = feedback.Limits(self.max_line_bytes, self.max_text_characters, self.max_parquet_mib << 20)
        ingested: list[IngestedFile] = []
        left: list[IngestedFile] = []
        again = False
        files = self.arrived()
        total, before, events = sum(each.size for each in files) / MIB, 0.0, 0
        said = throttled("ingestion", progress, "MiB")
        for each in claim(files, self.warehouse.claimed, self.warehouse.lock_timeout_s):
            path = each.path
            if ingested and (0 < most_files <= len(ingested) or 0 < most_mib < before + each.size / MIB):
                break
            with tempfile.SpooledTemporaryFile(max_size=SPOOLED_BYTES) as file:
                parts = _Parts(file)
                try:
                    for part in event_files.read_parts(path, limits, pseudonyms, CHUNK_ROWS):
                        parts.add(part)
                        read = min(part.bytes, each.size) / MIB  # a file may grow
                        said(round(before + read, 1), round(total, 1), f"{events + parts.events:,} events")
                except FileNotFoundError:
                    continue  # another ingesting process was faster and has archived it
                except OSError as problem:
                    if problem.errno in (errno.ENOSPC, errno.EDQUOT):  # of our own copy of what was read
                        raise UnwritableError(
                            f"{event_files.shown_name(path)} was not taken in: {problem.strerror} in {tempfile.gettempdir()}. Make room; "
                            "the next call goes on."
                        ) from None
                    left.append(
                        IngestedFile(event_files.shown_name(path), 0, 0, 0, left=problem.strerror or str(problem))
                    )
                    progress(f"{left[-1].name} cannot be read ({left[-1].left}) and stays in the inbox")
                    continue
                try:
                    last = self._store(path, parts, pseudonyms)
                except (
                    StalePseudonymsError
                ):  # another process drew for the same name first: read once more with what it drew
                    pseudonyms, again = HomePseudonyms.of_home(self.warehouse), True
                    continue
                self._put_away(path, parts, keep=not pseudonyms.keyed)
            before, events = before + each.size / MIB, events + parts.events
            ingested.append(last)
            most = parts.reasons.most_common(1)
            why = f"; {most[0][1]} of them: {most[0][0]}" if last.rejected and most else ""
            progress(
                f"{last.name}: {last.accepted} events, {last.duplicates} duplicates, {last.rejected} rejected{why}"
            )
        if again:
            return ingested + self.ingest(progress, most_files=most_files, most_mib=most_mib)
        for stranger in never_read(UPath(self.root)):
            progress(f"{stranger.name} is never read: {stranger.reason}")
        return ingested + left

    def events(self, from_seq: int, to_seq: int) -> pl.DataFrame:
        """Ingested events with ``from_seq <= seq <= to_seq``, in order of ``seq``; without those whose texts were erased."""
        frames = [feedback.completed(each) for each in read_parquets(self.segment_paths(from_seq, to_seq).values())]
        if not frames:
            return pl.DataFrame(schema={"seq": pl.Int64(), **feedback.EVENT_SCHEMA})
        return _within(pl.concat(frames), from_seq, to_seq).sort("seq")

    def chunks(self, from_seq: int, to_seq: int) -> Iterator[pl.DataFrame]:
        """:meth:`events` in frames of at most ``CHUNK_ROWS`` rows, one after the other."""
        for segment in read_parquets(self.segment_paths(from_seq, to_seq).values()):
            yield from _within(feedback.completed(segment), from_seq, to_seq).iter_slices(CHUNK_ROWS)

    def _segments(self, from_seq: int, to_seq: int) -> list[str]:
        found = self.warehouse.query(
            "SELECT uri FROM feedback_segments WHERE last_seq >= $from AND first_seq <= $to ORDER BY first_seq",
            {"from": from_seq, "to": to_seq},
        )
        return found["uri"].to_list()

    def segment_paths(self, from_seq: int, to_seq: int) -> dict[str, UPath]:
        """Where the segments lie that hold events of a range, by their names in ``feedback_segments``."""
        return {uri: UPath(self.segments, uri) for uri in self._segments(from_seq, to_seq)}

    def segment(self, uri: str) -> pl.DataFrame:
        """One segment of raw feedback, by its name in ``feedback_segments``."""
        return feedback.completed(read_parquet(UPath(self.segments, uri)))

    def deliver(self, name: str, events: list[dict[str, Any]]) -> UPath:
        """Write a feedback file into the inbox, whole or not at all, with contributors by keyed hash where there is a key.

        Args:
            name: of the file, without its suffix.
        """
        pseudonyms = Pseudonyms.from_environment()
        named = [
            event | {"contributor_id": pseudonyms.of(event["contributor_id"])} if "contributor_id" in event else event
            for event in events
        ]
        path = UPath(self.root, f"{name}.jsonl")
        write_text_atomically(path, _json_lines(named))
        return path

    def withdrawn_comparisons(self) -> list[str]:
        """Comparisons that are asked no more, as a contributor's texts in them were erased."""
        return self.warehouse.query(f"{WITHDRAWN} ORDER BY ALL").to_series().to_list()

    def not_ingested(self, event_ids: list[str]) -> list[str]:
        """Those of ``event_ids``, in their order, that no ingested event has."""
        wanted = pl.DataFrame({"event_id": event_ids}, schema={"event_id": pl.String})
        with self.warehouse.connect() as connection:
            known = self._ingested(connection, wanted)
        return wanted.join(known, on="event_id", how="anti", maintain_order="left")["event_id"].to_list()

    def _store(self, path: UPath, parts: "_Parts", pseudonyms: HomePseudonyms) -> IngestedFile:
        now = as_stored(datetime.now(UTC))

        def store(connection: Connection) -> IngestedFile:
            check_key(connection, pseudonyms, now)
            pseudonyms.keep(connection, self.warehouse)
            known = fetch_row(
                connection,
                "SELECT accepted, duplicates, rejected FROM ingested_files WHERE digest = $d",
                {"d": parts.digest},
            )
            if known:
                return IngestedFile(event_files.shown_name(path), *known)
            first = int(fetch_row(connection, "SELECT coalesce(max(seq), 0) + 1 FROM event_index")[0])
            accepted = refused = 0
            taken = Taken()
            aliases = known_aliases(connection)
            for read, rejections in parts:
                person = pl.col("contributor_id")
                named = read.with_columns(person.replace(aliases)) if aliases else read
                events, withdrawn = refuse_withdrawn(connection, named)
                refused += withdrawn.height
                rejections = _of_file(parts.digest, pl.concat([rejections, withdrawn]))
                accepted += self._store_events(connection, events, first + accepted, parts.digest, now, taken)
                if rejections.height:
                    taken.reject(rejections.select(VOUCHED).iter_rows())
                    self.warehouse.append(connection, "rejected_feedback", rejections)
            done = IngestedFile(
                name=event_files.shown_name(path),
                accepted=accepted,
                duplicates=parts.events - refused - accepted,
                rejected=parts.rejections + refused,
            )
            row: dict[str, Any] = {
                "digest": parts.digest,
                "uri": str(path.with_name(event_files.shown_name(path))),
                "bytes": parts.bytes,
                "accepted": done.accepted,
                "duplicates": done.duplicates,
                "rejected": done.rejected,
                "ingested_at": now,
            }
            self.warehouse.append(connection, "ingested_files", pl.DataFrame([row]))
            taken.files.append(file_row(**{"size" if name == "bytes" else name: value for name, value in row.items()}))
            append_intake(connection, taken, lambda uri: UPath(self.segments, uri))
            return done

        done = self.warehouse.atomically(store)
        pseudonyms.kept()
        return done

    def _store_events(
        self, connection: Connection, events: pl.DataFrame, first: int, digest: str, now: datetime, taken: Taken
    ) -> int:
        """Store what is new of a part's events as a segment that begins with ``seq`` ``first``; returns how many."""
        events = events.unique("event_id", keep="first", maintain_order=True)
        seen = self._ingested(connection, events.select("event_id"))
        events = events.join(seen, on="event_id", how="anti", maintain_order="left")
        if events.is_empty():
            return 0
        events = events.with_row_index("seq", offset=first).with_columns(pl.col("seq").cast(pl.Int64))
        uri = f"{first:012d}-{digest}.parquet"
        write_parquet(UPath(self.segments, uri), events)
        last = first + events.height - 1
        taken.write(uri, first, last, UPath(self.segments, uri))
        segment = {"first_seq": [first], "last_seq": [last], "uri": [uri], "digest": [digest]}
        self.warehouse.append(connection, "feedback_segments", pl.DataFrame(segment))
        self.warehouse.append(
            connection,
            "event_index",
            events.select("event_id", "seq", "kind", "contributor_id", ingested_at=pl.lit(now)),
        )
        return events.height

    def _ingested(self, connection: Connection, events: pl.DataFrame) -> pl.DataFrame:
        """Those of the ``event_id`` of a frame that an ingested event has."""
        arrived = self.warehouse.stage(connection, "event_index", events)
        return connection.sql(
            f"SELECT event_id FROM event_index WHERE event_id IN (SELECT event_id FROM {arrived})"
        ).pl()

    def _put_away(self, path: UPath, parts: _Parts, *, keep: bool) -> None:
        """Move an ingested file to the archive, or remove it; what arrived under its name meanwhile stays, as nobody has read
        it yet."""
        name = f"{parts.digest}-{path.name}"
        if len(os.fsencode(name)) > LONGEST_NAME:
            name = f"{parts.digest}{path.suffix}"
        if parts.state is None:
            return
        with suppress(FileNotFoundError):  # another ingesting process put it away
            if keep:
                move(path, UPath(self.archive, name), parts.state)
            else:
                remove_if(path, parts.state)


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
        write_text_atomically(path, _json_lines(rows))
        return path

    def files(self, topic: str) -> list[UPath]:
        """The files of a topic, oldest round first."""
        paths = (each.path for each in files_below(UPath(self.root, topic)))
        return sorted(path for path in paths if re.fullmatch(r"r.*\.jsonl", path.name))

    def published(self, topic: str) -> list[dict[str, Any]]:
        """The rows of a topic, oldest round first."""
        return [row for path in self.files(topic) for row in rows_of(path)]


def rows_of(path: UPath) -> list[dict[str, Any]]:
    """The rows of one file of the outbox."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def check_key(connection: Connection, pseudonyms: HomePseudonyms, now: datetime) -> None:
    """Note the key that a home is begun with; refuse another, and names beside pseudonyms.

    Raises:
        PseudonymKeyError: the home was begun with another key, or without one.
    """
    (events,) = fetch_row(connection, "SELECT count(*) FROM event_index")
    known = fetch_row(connection, "SELECT fingerprint FROM pseudonym_key")
    if not known and not events and pseudonyms.keyed:
        connection.execute(
            "INSERT INTO pseudonym_key VALUES ($fingerprint, $now)", {"fingerprint": pseudonyms.fingerprint, "now": now}
        )
        connection.execute("INSERT INTO pseudonyms VALUES ($begun, '') ON CONFLICT DO NOTHING", {"begun": BEGUN})
    elif known and known[0] != pseudonyms.fingerprint:
        which = "is another one" if pseudonyms.keyed else "is not set"
        raise PseudonymKeyError(
            f"this home keeps contributors by pseudonym, and {KEY_VARIABLE} {which} (fingerprint "
            f"{pseudonyms.fingerprint or 'none'}, begun with {known[0]}): set the key that the home was begun with."
        )
    elif not known and events and pseudonyms.keyed:
        raise PseudonymKeyError(
            f"this home holds contributors by name since before {KEY_VARIABLE} was set, and would know each contributor twice: unset the key, or begin another home (CROWD_HOME) with the key."
        )


def refuse_withdrawn(connection: Connection, events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events, and as rejections the judgements of withdrawn comparisons: they would bring back the texts that were erased."""
    withdrawn = [name for (name,) in connection.execute(WITHDRAWN).fetchall()]
    refused = (pl.col("kind") == "preference") & pl.col("comparison_id").is_in(withdrawn)
    rejections = [
        feedback.rejection(
            stage="ingestion", reason="the comparison is withdrawn: a contributor's texts were erased", **event
        )
        for event in events.filter(refused)
        .select("source", "line", "kind", "contributor_id", "event_id")
        .iter_rows(named=True)
    ]
    kept = events.filter(refused.not_().fill_null(True))
    return kept, pl.DataFrame(rejections, schema=feedback.REJECTION_SCHEMA)


def _within(segment: pl.DataFrame, from_seq: int, to_seq: int) -> pl.DataFrame:
    return segment.filter(pl.col("seq").is_between(from_seq, to_seq), ~feedback.is_erased())


def _of_file(digest: str, rejections: pl.DataFrame) -> pl.DataFrame:
    """Rejections of a file that stay apart from those of another file that had its name."""
    ids = [
        hashlib.blake2b(f"{digest} {each}".encode(), digest_size=16).hexdigest() for each in rejections["rejection_id"]
    ]
    return rejections.with_columns(rejection_id=pl.Series(ids, dtype=pl.String))


def _json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
