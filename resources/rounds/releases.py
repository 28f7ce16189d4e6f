"""Appeals: a quarantined event is released, by whom and why, and takes part in the next round.

A released event whose round is over arrives again: it gets a new ``seq`` behind all others and so reaches the next
round that is claimed, once; the round that rejected it keeps it as it was, under the old ``seq``. Where that round was
skipped the event waits already and keeps its ``seq``.

Belongs here: releases and their record. Does not belong here: what is rejected (see ``crowd_assets.quality``).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
from upath import UPath

from resources.common.errors import OperatorError
from resources.feedback.inbox import InboxResource
from resources.feedback.intake import Taken, append_intake
from resources.files.frames import write_parquet
from resources.rounds.book import Round
from resources.warehouse.base import as_stored, fetch_row
from resources.warehouse.connection import Connection
from resources.warehouse.facts import CLAIMED, SKIPPED, round_id_of

COLUMNS = "rejection_id, event_id, round_no, seq, rejected_for, released_by, released_why, released_at"


@dataclass(frozen=True)
class Release:
    """One row of the table ``releases``: what was rejected in which round and for what, who released it, why and
    when; the event takes part under ``seq``."""

    rejection_id: str
    event_id: str
    round_no: int
    seq: int
    rejected_for: str
    released_by: str
    released_why: str
    released_at: datetime


class NoReleaseError(OperatorError, LookupError):
    """What was named cannot be released; the message says why."""


class ReleaseBook:
    """Releases of what lies in the quarantine of an inbox's warehouse."""

    def __init__(self, inbox: InboxResource) -> None:
        self._inbox = inbox
        self._warehouse = inbox.warehouse

    def release(self, reference: str, *, by: str, why: str, now: datetime) -> Release:
        """Release a rejection, named by its id or by the event's (then its latest one); once released it stays so.

        Raises:
            NoReleaseError: there is no such rejection, it is of a line that is no event, its round is not over, or the
            event
                took part in a later round anyway.
        """
        if not by.strip() or not why.strip():
            raise NoReleaseError("A release names who released and why: --by and --reason.")

        def note(connection: Connection) -> Release:
            rejection_id, event_id, round_no, rejected_for = _rejection(connection, reference)
            known = _releases(connection, "WHERE rejection_id = $id", {"id": rejection_id})
            if known:
                return known[0]
            (seq,) = fetch_row(connection, "SELECT seq FROM event_index WHERE event_id = $id", {"id": event_id})
            taken_by = fetch_row(
                connection,
                "SELECT round_no, status FROM rounds WHERE $seq BETWEEN from_seq AND to_seq AND status <> $skipped "
                "ORDER BY round_no DESC LIMIT 1",
                {"seq": seq, "skipped": SKIPPED},
            )
            if taken_by:
                taken_no, status = taken_by
                if taken_no != round_no:
                    raise NoReleaseError(
                        f"{reference}: the event was released or given back since, and is in {round_id_of(taken_no)}. "
                        "Release the event there, if that round rejected the event."
                    )
                if status == CLAIMED:
                    raise NoReleaseError(
                        f"{reference}: {round_id_of(taken_no)} is not over. Release the event when the round is settled or skipped."
                    )
                seq = self._arrive_again(connection, seq, event_id, rejection_id, now)
            release = Release(rejection_id, event_id, round_no, seq, rejected_for, by.strip(), why.strip(), now)
            self._warehouse.append(
                connection,
                "releases",
                pl.DataFrame([{**vars(release), "released_at": as_stored(now)}]),
            )
            return release

        return self._warehouse.atomically(note)

    def released(self, round_: Round) -> dict[str, set[str]]:
        """The rules that each released event of a round need not meet again, by ``event_id``."""
        rows = self._warehouse.query(
            "SELECT event_id, rejected_for FROM releases WHERE seq BETWEEN $from AND $to",
            {"from": round_.from_seq, "to": round_.to_seq},
        )
        rules: dict[str, set[str]] = {}
        for event_id, rejected_for in rows.iter_rows():
            rules.setdefault(event_id, set()).update(rule_of(reason) for reason in rejected_for.split("; "))
        return rules

    def _arrive_again(self, connection: Connection, seq: int, event_id: str, rejection_id: str, now: datetime) -> int:
        (last,) = fetch_row(connection, "SELECT max(seq) FROM event_index")
        (uri,) = fetch_row(
            connection, "SELECT uri FROM feedback_segments WHERE $seq BETWEEN first_seq AND last_seq", {"seq": seq}
        )
        event = (
            self._inbox.segment(uri).filter(pl.col("event_id") == event_id).with_columns(seq=pl.lit(last + 1, pl.Int64))
        )
        again = f"{last + 1:012d}-{rejection_id}.parquet"
        write_parquet(UPath(self._inbox.segments, again), event)
        connection.execute(
            "INSERT INTO feedback_segments VALUES ($seq, $seq, $uri, $id)",
            {"seq": last + 1, "uri": again, "id": rejection_id},
        )
        connection.execute(
            "UPDATE event_index SET seq = $seq, ingested_at = $now WHERE event_id = $id",
            {"seq": last + 1, "now": as_stored(now), "id": event_id},
        )
        taken = Taken()
        taken.write(again, last + 1, last + 1, UPath(self._inbox.segments, again))
        append_intake(connection, taken, lambda uri: UPath(self._inbox.segments, uri))
        return int(last) + 1


def rule_of(reason: str) -> str:
    """What was broken, without this case's details: the name of a detector, or an expectation in words."""
    return reason if reason.startswith("not met: ") else reason.split(": ", 1)[0]


def _rejection(connection: Connection, reference: str) -> tuple[Any, ...]:
    found = fetch_row(
        connection,
        "SELECT rejection_id, event_id, round_no, reason, stage FROM rejected_feedback "
        "WHERE rejection_id = $id OR event_id = $id ORDER BY round_no DESC NULLS LAST, rejection_id LIMIT 1",
        {"id": reference},
    )
    if not found:
        raise NoReleaseError(
            f"{reference} is neither a rejection_id nor an event_id of rejected_feedback: see .crowd/warehouse.snapshot.duckdb."
        )
    *rejection, stage = found
    if stage != "gate":
        raise NoReleaseError(
            f"{reference} is a line that is no event ({rejection[-1]}): correct the line and put the line into the inbox again."
        )
    return tuple(rejection)


def _releases(connection: Connection, where: str, parameters: dict[str, Any]) -> list[Release]:
    rows = connection.execute(f"SELECT {COLUMNS} FROM releases {where}", parameters).fetchall()
    return [Release(*(*fields, released_at.replace(tzinfo=UTC))) for *fields, released_at in rows]
