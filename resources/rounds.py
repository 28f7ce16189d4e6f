"""The life of a round: claimed once, settled once, completed, or skipped with a reason.

A round is *claimed* (its events are fixed), then *settled* (ledger posted, next base model named: the point of no
return), then *completed* (tasks and report are out). A round that cannot be settled is *skipped* and gives its events
back: the next round takes them along.

Belongs here: claims, attempts and transitions, each one transaction. Does not belong here: when to try one
(see ``sensors``), what happens in one (see ``crowd_assets``).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import polars as pl

from resources.errors import OperatorError
from resources.records import append_record
from resources.settings import CrowdSettings
from resources.warehouse import SettledRoundError, WarehouseResource, as_stored, fetch_row

CLAIMED, SETTLED, COMPLETED, SKIPPED = "claimed", "settled", "completed", "skipped"


@dataclass(frozen=True)
class Round:
    """One row of the table ``rounds``; ``from_seq`` and ``to_seq`` are inclusive."""

    round_no: int
    round_id: str
    from_seq: int
    to_seq: int
    status: str
    attempt: int
    reason: str | None
    seed: int
    base_model: str | None
    next_model: str | None
    claimed_at: datetime

    @property
    def settled(self) -> bool:
        return self.status in (SETTLED, COMPLETED)


@dataclass(frozen=True)
class PendingFeedback:
    """Accepted events that no round has taken: how many, by how many contributors, waiting since when.

    ``new_events`` leaves out what a skipped round gave back: that alone starts nothing.
    """

    events: int
    new_events: int
    contributors: int
    first_seq: int
    last_seq: int
    oldest: datetime | None


@dataclass(frozen=True)
class Quorum:
    """What it takes to start a round. ``events=1`` is the quorum of a nightly round."""

    events: int
    contributors: int
    longest_wait: timedelta

    def missing(self, pending: PendingFeedback, now: datetime) -> str | None:
        """What is missing for a round to start, in words; None when it is due."""
        if pending.new_events == 0:
            return "no new feedback"
        if pending.contributors < self.contributors:
            return f"{pending.contributors} of {self.contributors} contributors"
        if pending.events >= self.events:
            return None
        if pending.oldest is not None and now - pending.oldest >= self.longest_wait:
            return None
        return f"{pending.events} of {self.events} events"


class UnknownRoundError(LookupError):
    """A partition that no claim made."""


class UnbalancedEntriesError(ValueError):
    """Ledger entries that do not sum to zero in a unit."""


class SkippedRoundError(OperatorError, RuntimeError):
    """A skipped round was started again after its events went to a later one."""


class ErasedRoundError(OperatorError, RuntimeError):
    """A settled round cannot be run again, as texts that it was made from are gone."""


def round_id_of(round_no: int) -> str:
    """The partition key of a round: ``r000001`` for 1."""
    return f"r{round_no:06d}"


class RoundBook:
    """Claims and transitions of rounds in a warehouse."""

    def __init__(self, warehouse: WarehouseResource) -> None:
        self._warehouse = warehouse

    def pending(self) -> PendingFeedback:
        """What waits for the next round."""
        with self._warehouse.connect() as connection:
            return _pending(connection)

    def open_round(self) -> Round | None:
        """The round that is claimed or settled but not completed, if there is one; there is never a second."""
        with self._warehouse.connect() as connection:
            return _open_round(connection)

    def get(self, round_id: str) -> Round:
        """The round of a partition key.

        Raises:
            UnknownRoundError: no claim made it.
        """
        with self._warehouse.connect() as connection:
            rows = _rounds(connection, "WHERE round_id = $id", {"id": round_id})
        if not rows:
            raise UnknownRoundError(
                f"{round_id} was never claimed. Rounds are claimed by round_sensor, nightly_schedule or "
                "`python -m crowd_assets round`; a partition added by hand has no events."
            )
        return rows[0]

    def all(self) -> list[Round]:
        """Every round, oldest first."""
        with self._warehouse.connect() as connection:
            return _rounds(connection, "", {})

    def claim(self, quorum: Quorum, settings: CrowdSettings, now: datetime) -> tuple[Round | None, str]:
        """Fix the next round's events, if it is due and no round is open: one transaction, so exactly once.

        Returns:
            The new round and "", or None and why there is none.
        """
        with self._warehouse.transaction() as connection:
            unfinished = _open_round(connection)
            if unfinished is not None:
                return None, f"{unfinished.round_id} is {unfinished.status}"
            erasing = fetch_row(connection, "SELECT contributor_id FROM erasures WHERE status = 'begun'")
            if erasing:
                return None, f"the texts of {erasing[0]} are being erased: repeat the command if it was interrupted"
            pending = _pending(connection)
            missing = quorum.missing(pending, now)
            if missing is not None:
                return None, missing
            round_no = int(fetch_row(connection, "SELECT coalesce(max(round_no), 0) + 1 FROM rounds")[0])
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, settings, claimed_at) "
                "VALUES ($round_no, $round_id, $from_seq, $to_seq, $status, 1, $seed, $settings, $now)",
                {
                    "round_no": round_no,
                    "round_id": round_id_of(round_no),
                    "from_seq": pending.first_seq,
                    "to_seq": pending.last_seq,
                    "status": CLAIMED,
                    "seed": settings.seed * 1_000_003 + round_no,
                    "settings": json.dumps(settings.model_dump(), sort_keys=True),
                    "now": as_stored(now),
                },
            )
            return _rounds(connection, "WHERE round_no = $n", {"n": round_no})[0], ""

    def next_attempt(self, round_no: int) -> int:
        """Count one more run of an open round and return its number."""
        with self._warehouse.transaction() as connection:
            row = fetch_row(
                connection,
                "UPDATE rounds SET attempt = attempt + 1 WHERE round_no = $n RETURNING attempt",
                {"n": round_no},
            )
        return int(row[0])

    def skip(self, round_no: int, reason: str) -> None:
        """Skip a claimed round: its events are pending again. A settled round is completed instead: it has paid."""
        with self._warehouse.transaction() as connection:
            connection.execute(
                "UPDATE rounds SET status = CASE status WHEN 'claimed' THEN 'skipped' WHEN 'settled' THEN 'completed' "
                "ELSE status END, reason = $reason WHERE round_no = $n AND status IN ('claimed', 'settled')",
                {"n": round_no, "reason": reason},
            )

    def reopen(self, round_id: str) -> Round:
        """The round of a run that is about to start; a skipped one is claimed again if no later round took its events.

        Raises:
            UnknownRoundError: no claim made it.
            SkippedRoundError: a later round took its events.
            ErasedRoundError: it is settled, and texts that it was made from were erased since.
        """
        found = self.get(round_id)
        if found.settled:
            self._check_not_erased(round_id)
        if found.status != SKIPPED:
            return found
        with self._warehouse.transaction() as connection:
            if fetch_row(connection, "SELECT max(round_no) FROM rounds")[0] != found.round_no:
                raise SkippedRoundError(
                    f"{round_id} was skipped ({found.reason}) and its events went to a later round: nothing to run."
                )
            connection.execute(
                "UPDATE rounds SET status = 'claimed', reason = NULL WHERE round_no = $n", {"n": found.round_no}
            )
            return _rounds(connection, "WHERE round_no = $n", {"n": found.round_no})[0]

    def _check_not_erased(self, round_id: str) -> None:
        with self._warehouse.connect() as connection:
            row = fetch_row(
                connection,
                "SELECT erasure_id FROM erased_files WHERE ends_with(uri, $frame)",
                {"frame": f"validated_feedback/{round_id}.parquet"},
            )
        if row:
            raise ErasedRoundError(
                f"{round_id} is settled, and texts that it was made from were erased on request ({row[0]} in the table "
                "erasures): it cannot be made again. What it settled stands."
            )

    def settle(
        self,
        found: Round,
        entries: pl.DataFrame,
        *,
        base_model: str | None,
        next_model: str | None,
        now: datetime,
        about: Mapping[str, Any],
    ) -> int:
        """Post a round's ledger entries, name the next base model and write the round's record, in one transaction: the
        point of no return.

        Of a round that is settled already nothing is written, and entries and models must be the same.

        Args:
            entries: Columns entry_id, round_id, account, unit, amount (decimal), reason, reference; sums to zero
                in each unit.
            about: What the record says besides the round's rows (``records.surroundings``).

        Returns:
            How many entries were new.

        Raises:
            UnbalancedEntriesError: a unit does not sum to zero.
            SettledRoundError: the round was settled with other entries or another model.
            SkippedRoundError: the round was skipped meanwhile.
        """
        with self._warehouse.transaction() as connection:
            current = _rounds(connection, "WHERE round_no = $n", {"n": found.round_no})[0]
            if current.status == SKIPPED:
                raise SkippedRoundError(
                    f"{found.round_id} was skipped ({current.reason}) while it ran: nothing is posted."
                )
            self._warehouse.stage(connection, "ledger", entries.with_columns(round_no=pl.lit(found.round_no, pl.Int32)))
            uneven = connection.execute(
                "SELECT unit, sum(amount) FROM incoming_ledger GROUP BY unit HAVING sum(amount) <> 0"
            ).fetchall()
            if uneven:
                raise UnbalancedEntriesError(f"{found.round_id}: entries do not sum to zero: {uneven}")
            if current.settled:
                (different,) = fetch_row(
                    connection,
                    "SELECT count(*) FROM ((FROM incoming_ledger EXCEPT ALL SELECT * FROM ledger WHERE round_no = $n) "
                    "UNION ALL (SELECT * FROM ledger WHERE round_no = $n EXCEPT ALL FROM incoming_ledger))",
                    {"n": found.round_no},
                )
                if different or (current.base_model, current.next_model) != (base_model, next_model):
                    raise SettledRoundError(
                        f"{found.round_id} is settled, and {different} ledger entries or its model would now differ. "
                        "Correct it by reversal, not by another run."
                    )
                return 0
            connection.execute("INSERT INTO ledger FROM incoming_ledger")
            connection.execute(
                "UPDATE rounds SET status = 'settled', settled_at = $now, base_model = $base, next_model = $next "
                "WHERE round_no = $n",
                {"now": as_stored(now), "base": base_model, "next": next_model, "n": found.round_no},
            )
            append_record(connection, found.round_no, about)
            return entries.height

    def complete(self, round_no: int) -> None:
        """Mark a settled round as reported."""
        with self._warehouse.transaction() as connection:
            connection.execute(
                "UPDATE rounds SET status = 'completed' WHERE round_no = $n AND status = 'settled'", {"n": round_no}
            )

    def base_model(self, round_no: int) -> str | None:
        """The model that the last settled round before ``round_no`` chose; None before the first."""
        with self._warehouse.connect() as connection:
            row = fetch_row(
                connection,
                "SELECT next_model FROM rounds WHERE round_no < $n AND status IN ('settled', 'completed') "
                "ORDER BY round_no DESC LIMIT 1",
                {"n": round_no},
            )
        return row[0] if row else None

    def rounds_through(self, round_no: int) -> list[str]:
        """Ids of the settled rounds before ``round_no``, and its own: where a round may read frames."""
        with self._warehouse.connect() as connection:
            rows = connection.execute(
                "SELECT round_id FROM rounds WHERE round_no = $n OR (round_no < $n AND status IN "
                "('settled', 'completed')) ORDER BY round_no",
                {"n": round_no},
            ).fetchall()
        return [row[0] for row in rows]


def _rounds(connection: duckdb.DuckDBPyConnection, where: str, parameters: dict[str, Any]) -> list[Round]:
    rows = connection.execute(
        "SELECT round_no, round_id, from_seq, to_seq, status, attempt, reason, seed, base_model, next_model, claimed_at "
        f"FROM rounds {where} ORDER BY round_no",
        parameters,
    ).fetchall()
    return [Round(*(*figures, claimed_at.replace(tzinfo=UTC))) for *figures, claimed_at in rows]


def _open_round(connection: duckdb.DuckDBPyConnection) -> Round | None:
    rows = _rounds(connection, "WHERE status IN ('claimed', 'settled')", {})
    return rows[0] if rows else None


def _pending(connection: duckdb.DuckDBPyConnection) -> PendingFeedback:
    taken, skipped = fetch_row(
        connection, "SELECT coalesce(max(to_seq) FILTER (status <> 'skipped'), 0), coalesce(max(to_seq), 0) FROM rounds"
    )
    events, new_events, contributors, first_seq, last_seq, oldest = fetch_row(
        connection,
        "SELECT count(*), count(*) FILTER (seq > $skipped), count(DISTINCT nullif(contributor_id, '')), coalesce(min(seq), 0), "
        "coalesce(max(seq), 0), min(ingested_at) FILTER (seq > $skipped) FROM event_index WHERE seq > $taken",
        {"taken": taken, "skipped": skipped},
    )
    return PendingFeedback(
        events, new_events, contributors, first_seq, last_seq, oldest.replace(tzinfo=UTC) if oldest else None
    )
