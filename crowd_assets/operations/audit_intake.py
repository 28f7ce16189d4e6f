"""The audit of what was taken in: files, segments, index and rejected lines against the chain of ingestions.

Belongs here: comparing. Does not belong here: the chain (see ``resources.feedback.intake``), rounds (see ``audit``).
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
from upath import UPath

from crowd_assets.operations.differences import BY_RECOMPUTATION, BY_RECORD, Difference
from resources.common.hashes import chained, file_hash
from resources.feedback.inbox import InboxResource
from resources.feedback.intake import Taken, file_row, rejected_lines
from resources.files.frames import parsed_parquet
from resources.files.storage import files_below
from resources.warehouse.base import WarehouseResource

Erasures = Callable[[UPath, str, str], str | None]
"""The recorded erasures that led a file from one hash to another."""


def intake_differences(
    warehouse: WarehouseResource, inbox: InboxResource, heads: list[str], erasures: Erasures
) -> Iterator[Difference]:
    """Differences of what was taken in, the chain's own first.

    Args:
        heads: Hashes of the chain that records of rounds name, oldest first.
    """
    chain = warehouse.query("SELECT * FROM ingestions ORDER BY number")
    if chain.is_empty():
        if heads:
            yield Difference("ingestions", "", "hash", "none", heads[-1], BY_RECORD)
        return  # a home of a version that kept none, which the next ingestion begins
    previous, hashes, records = "", [], []
    for number, row in enumerate(chain.iter_rows(named=True), start=1):
        key = f"number {row['number']}"
        if row["number"] != number:
            yield Difference("ingestions", key, "number", str(row["number"]), str(number), BY_RECORD)
            return
        if row["previous_hash"] != previous:
            yield Difference("ingestions", key, "previous_hash", row["previous_hash"], previous or "none", BY_RECORD)
            return
        if (hashed := chained(previous, row["record"])) != row["hash"]:
            yield Difference("ingestions", key, "hash", row["hash"], hashed, BY_RECOMPUTATION)
            return
        previous = row["hash"]
        hashes.append(previous)
        records.append(json.loads(row["record"]))
    for head in heads:
        if head not in hashes:
            yield Difference("ingestions", "", "hash", hashes[-1], head, BY_RECORD)
    yield from _rows(
        "ingested_files",
        "digest",
        [
            file_row(*row)
            for row in warehouse.query(
                "SELECT digest, uri, bytes, accepted, duplicates, rejected, ingested_at FROM ingested_files"
            ).iter_rows()
        ],
        [each for record in records for each in record["files"]],
    )
    segments = [each for record in records for each in record["segments"]]
    yield from _rows(
        "feedback_segments",
        "uri",
        warehouse.query("SELECT uri, first_seq, last_seq FROM feedback_segments").to_dicts(),
        [{name: each[name] for name in ("uri", "first_seq", "last_seq")} for each in segments],
    )
    aliases: dict[str, dict[str, str]] = {}
    for record in records:
        for name, person in record.get("aliases", {}).items():
            aliases.pop(name, None)
            if person is not None:
                aliases[name] = {"name": name, "person": person}
                if record.get("aliases_by"):  # what an earlier version said had neither
                    aliases[name] |= {"said_by": record["aliases_by"], "since": record["aliases_at"]}
        for each in record["segments"]:
            each["aliases"] = {name: row["person"] for name, row in aliases.items()}
    kept = warehouse.query("SELECT * FROM aliases ORDER BY name").to_dicts()
    there = [row | {"since": row["since"].isoformat()} for row in kept]
    yield from _rows("aliases", "name", there, [aliases[name] for name in sorted(aliases)])
    yield from _lines(records)
    yield from _rejected(warehouse, records)
    yield from _events(warehouse, inbox, segments, erasures)
    yield from _archive(warehouse, inbox, erasures)


def _rows(where: str, key: str, stored: list[dict[str, Any]], expected: list[dict[str, Any]]) -> Iterator[Difference]:
    """Rows that are missing, too many, or other ones."""
    there, should = ({row[key]: row for row in rows} for rows in (stored, expected))
    for name in sorted(there | should):
        if name not in there:
            yield Difference(where, name, key, "no row", "a row", BY_RECORD)
        elif name not in should:
            yield Difference(where, name, key, "a row", "no row", BY_RECORD)
        else:
            for column, value in should[name].items():
                if there[name][column] != value:
                    yield Difference(where, name, column, str(there[name][column]), str(value), BY_RECORD)


def _lines(records: list[dict[str, Any]]) -> Iterator[Difference]:
    """Every line of every file was accepted, as so many events of its segments, or was a duplicate, or was rejected."""
    for record in records:
        accepted = sum(each["accepted"] for each in record["files"])
        written = sum(each["last_seq"] - each["first_seq"] + 1 for each in record["segments"])
        rejected = sum(each["rejected"] for each in record["files"])
        if record["files"] and len(record["files"]) == 1 and (accepted, rejected) != (written, record["rejected"]):
            key = record["files"][0]["digest"]
            stored = f"{accepted} accepted, {rejected} rejected"
            yield Difference(
                "ingested_files", key, "accepted", stored, f"{written}, {record['rejected']}", BY_RECOMPUTATION
            )


def _rejected(warehouse: WarehouseResource, records: list[dict[str, Any]]) -> Iterator[Difference]:
    taken = Taken()
    with warehouse.connect() as connection:
        taken.reject(rejected_lines(connection))
    rows = sum(each["rejected"] for each in records)
    total = sum(int(each["rejected_sum"], 16) for each in records) % (1 << 128)
    if taken.rejected != rows:
        yield Difference("rejected_feedback", "", "rows of ingestion", str(taken.rejected), str(rows), BY_RECORD)
    elif taken.rejected_sum != total:
        stored, expected = (f"{each:032x}" for each in (taken.rejected_sum, total))
        yield Difference("rejected_feedback", "", "sum of hashes", stored, expected, BY_RECORD)


def _events(
    warehouse: WarehouseResource, inbox: InboxResource, segments: list[dict[str, Any]], erasures: Erasures
) -> Iterator[Difference]:
    """Segments as they were written, and the index as they say: an event that was released has the last of its numbers."""
    columns = ["event_id", "seq", "kind", "contributor_id"]
    parts = []
    for each in segments:
        path = UPath(inbox.segments, each["uri"])
        try:
            data = path.read_bytes()
            rows = parsed_parquet(data).select(columns)
        except (OSError, pl.exceptions.PolarsError) as problem:
            yield Difference(f"segment {each['uri']}", "", "file", str(problem)[:120], each["file"], BY_RECORD)
            return
        now = file_hash(data)
        if now != each["file"] and not erasures(path, each["file"], now):
            yield Difference(f"segment {each['uri']}", "", "file", now, each["file"], BY_RECORD)
        for event_id, name in (
            rows.filter(pl.col("contributor_id").is_in(list(each["aliases"])))
            .select("event_id", "contributor_id")
            .iter_rows()
        ):
            yield Difference(
                f"segment {each['uri']}", event_id, "contributor_id", name, each["aliases"][name], BY_RECORD
            )
        parts.append(rows)
    stored = warehouse.query(f"SELECT {', '.join(columns)} FROM event_index ORDER BY event_id")
    expected = stored.clear()
    if parts:
        said = pl.concat(parts).cast(stored.schema)
        expected = said.sort("seq").unique("event_id", keep="last").sort("event_id")
    yield from _rows("event_index", "event_id", stored.to_dicts(), expected.to_dicts())


def _archive(warehouse: WarehouseResource, inbox: InboxResource, erasures: Erasures) -> Iterator[Difference]:
    """Archived files have the digest that their names begin with; those that retention removed are not missed."""
    known = set(warehouse.query("SELECT digest FROM ingested_files")["digest"])
    for each in files_below(UPath(inbox.archive)):
        digest = re.split("[-.]", each.path.name)[0]
        now = file_hash(each.path.read_bytes())
        if digest not in known:
            yield Difference("archive", each.name, "file", "a file", "no file that was taken in", BY_RECORD)
        elif now != digest and not erasures(each.path, digest, now):
            yield Difference("archive", each.name, "file", now, digest, BY_RECORD)
