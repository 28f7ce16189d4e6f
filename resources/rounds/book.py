"""The life of a round: claimed once, settled once, completed, or skipped with a reason.

A round is *claimed* (its events are fixed), then *settled* (ledger posted, next base model named: the point of no
return), then *completed* (tasks and report are out). A round that cannot be settled is *skipped* and gives its events
back: the next round takes them along.

Belongs here: claims, attempts and transitions, each one transaction. Does not belong here: when to try one
(see ``sensors``), what happens in one (see ``crowd_assets``).
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from resources.common.errors import OperatorError
from resources.rounds.claims import (
    PendingFeedback,
    Quorum,
    Round,
    open_round,
    pending_feedback,
    read_rounds,
    settled_rounds,
)
from resources.rounds.records import append_record
from resources.rounds.secret import FILE, VARIABLE, SecretError, commitment, home_secret, round_key
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import SettledRoundError, WarehouseResource, as_stored, fetch_row
from resources.warehouse.connection import Connection
from resources.warehouse.facts import BEGUN_ERASURE, CLAIMED, IS_OPEN, IS_SETTLED, SETTLED_ROUNDS, SKIPPED, round_id_of


class UnknownRoundError(LookupError):
    """A partition that no claim made."""


class UnbalancedEntriesError(ValueError):
    """Ledger entries that do not sum to zero in a unit."""


class SkippedRoundError(OperatorError, RuntimeError):
    """A skipped round was started again after its events went to a later one."""


class ErasedRoundError(OperatorError, RuntimeError):
    """A settled round cannot be run again, as texts that it was made from are gone."""


class RoundBook:
    """Claims and transitions of rounds in a warehouse."""

    def __init__(self, warehouse: WarehouseResource) -> None:
        self._warehouse = warehouse

    def pending(self) -> PendingFeedback:
        """What waits for the next round."""
        with self._warehouse.connect() as connection:
            return pending_feedback(connection)

    def open_round(self) -> Round | None:
        """The round that is claimed or settled but not completed, if there is one; there is never a second."""
        with self._warehouse.connect() as connection:
            return open_round(connection)

    def get(self, round_id: str) -> Round:
        """The round of a partition key.

        Raises:
            UnknownRoundError: no claim made it.
        """
        with self._warehouse.connect() as connection:
            rows = read_rounds(connection, "WHERE round_id = $id", {"id": round_id})
        if not rows:
            raise UnknownRoundError(
                f"{round_id} was never claimed. Rounds are claimed by round_sensor, nightly_schedule or "
                "`crowd-rounds round`; a partition added by hand has no events."
            )
        return rows[0]

    def all(self) -> list[Round]:
        """Every round, oldest first."""
        with self._warehouse.connect() as connection:
            return read_rounds(connection, "", {})

    def settled(self, through: int | None = None) -> list[Round]:
        """Every round that has paid, oldest first; those through number ``through``."""
        with self._warehouse.connect() as connection:
            return [each for each in settled_rounds(connection) if through is None or each.round_no <= through]

    def claim(
        self, quorum: Quorum, settings: CrowdSettings, now: datetime, *, by_hand: bool = False
    ) -> tuple[Round | None, str]:
        """Fix the next round's events, if it is due and no round is open: one transaction, so exactly once.

        Args:
            by_hand: The round has had no attempt yet, and its first is not the sensor's to launch.

        Returns:
            The new round and "", or None and why there is none.

        Raises:
            SecretError: the last record speaks of another secret than the home's.
        """

        def claim(connection: Connection) -> tuple[Round | None, str]:
            unfinished = open_round(connection)
            if unfinished is not None:
                return None, f"{unfinished.round_id} is {unfinished.status}"
            erasing = fetch_row(connection, BEGUN_ERASURE)
            if erasing:
                return (
                    None,
                    f"the texts of {erasing[0]} are being erased: repeat that command if the erasure was interrupted",
                )
            pending = pending_feedback(connection)
            missing = quorum.missing(pending, now)
            if missing is not None:
                return None, missing
            round_no = int(fetch_row(connection, "SELECT coalesce(max(round_no), 0) + 1 FROM rounds")[0])
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, settings, claimed_at) "
                "VALUES ($round_no, $round_id, $from_seq, $to_seq, $status, $attempt, $seed, $settings, $now)",
                {
                    "round_no": round_no,
                    "round_id": round_id_of(round_no),
                    "from_seq": pending.first_seq,
                    "to_seq": pending.last_seq,
                    "status": CLAIMED,
                    "attempt": 0 if by_hand else 1,
                    "seed": settings.seed * 1_000_003 + round_no,
                    "settings": json.dumps(settings.model_dump(), sort_keys=True),
                    "now": as_stored(now),
                },
            )
            if not settings.repeatable:
                connection.execute(
                    "INSERT INTO round_keys VALUES ($n, $key, $next)",
                    {"n": round_no, **_keys(connection, home_secret(settings))},
                )
            return read_rounds(connection, "WHERE round_no = $n", {"n": round_no})[0], ""

        return self._warehouse.atomically(claim)

    def next_attempt(self, round_no: int) -> int:
        """Count one more run of an open round and return its number."""
        statement = "UPDATE rounds SET attempt = attempt + 1 WHERE round_no = $n RETURNING attempt"
        row = self._warehouse.atomically(lambda connection: fetch_row(connection, statement, {"n": round_no}))
        return int(row[0])

    def skip(self, round_no: int, reason: str) -> None:
        """Skip a claimed round: its events are pending again. A settled round is completed instead: it has paid."""
        self._execute(
            "UPDATE rounds SET status = CASE status WHEN 'claimed' THEN 'skipped' WHEN 'settled' THEN 'completed' "
            f"ELSE status END, reason = $reason WHERE round_no = $n AND {IS_OPEN}",
            {"n": round_no, "reason": reason},
        )

    def reopen(self, round_id: str) -> Round:
        """The round of a run that is about to start; a skipped one is claimed again if no later round took its events.

        Raises:
            UnknownRoundError: no claim made it.
            SkippedRoundError: a later round took its events.
            ErasedRoundError: it is settled, and texts that it was made from were erased since.
        """
        round_ = self.get(round_id)
        if round_.settled:
            self._check_not_erased(round_id)
        if round_.status != SKIPPED:
            return round_

        def claim_again(connection: Connection) -> Round:
            if fetch_row(connection, "SELECT max(round_no) FROM rounds")[0] != round_.round_no:
                raise SkippedRoundError(
                    f"{round_id} was skipped ({round_.reason}) and its events went to a later round: nothing to run."
                )
            connection.execute(
                "UPDATE rounds SET status = 'claimed', reason = NULL WHERE round_no = $n", {"n": round_.round_no}
            )
            return read_rounds(connection, "WHERE round_no = $n", {"n": round_.round_no})[0]

        return self._warehouse.atomically(claim_again)

    def _check_not_erased(self, round_id: str) -> None:
        with self._warehouse.connect() as connection:
            row = fetch_row(
                connection,
                "SELECT erasure_id FROM erased_files WHERE right(uri, length($frame)) = $frame",
                {"frame": f"validated_feedback/{round_id}.parquet"},
            )
        if row:
            raise ErasedRoundError(
                f"{round_id} is settled, and texts that it was made from were erased on request ({row[0]} in the table erasures): the round cannot be made again, and stands as settled."
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

        def post(connection: Connection) -> int:
            current = read_rounds(connection, "WHERE round_no = $n", {"n": found.round_no})[0]
            if current.status == SKIPPED:
                raise SkippedRoundError(
                    f"{found.round_id} was skipped ({current.reason}) while the run went on: nothing is posted."
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
                    "SELECT count(*) FROM ((SELECT * FROM incoming_ledger EXCEPT ALL SELECT * FROM ledger WHERE round_no = $n) "
                    "UNION ALL (SELECT * FROM ledger WHERE round_no = $n EXCEPT ALL SELECT * FROM incoming_ledger)) apart",
                    {"n": found.round_no},
                )
                if different or (current.base_model, current.next_model) != (base_model, next_model):
                    raise SettledRoundError(
                        f"{found.round_id} is settled, and {different} ledger entries or its model would now differ. "
                        "Correct entries by crowd-rounds correct, not by another run."
                    )
                return 0
            connection.execute("INSERT INTO ledger SELECT * FROM incoming_ledger")
            connection.execute(
                "UPDATE rounds SET status = 'settled', settled_at = $now, base_model = $base, next_model = $next "
                "WHERE round_no = $n",
                {"now": as_stored(now), "base": base_model, "next": next_model, "n": found.round_no},
            )
            append_record(connection, found.round_no, about)
            return entries.height

        return self._warehouse.atomically(post)

    def complete(self, round_no: int) -> None:
        """Mark a settled round as reported."""
        self._execute(
            "UPDATE rounds SET status = 'completed' WHERE round_no = $n AND status = 'settled'", {"n": round_no}
        )

    def base_model(self, round_no: int) -> str | None:
        """The model that the last settled round before ``round_no`` chose; None before the first."""
        with self._warehouse.connect() as connection:
            row = fetch_row(
                connection,
                f"SELECT next_model FROM {SETTLED_ROUNDS} r WHERE round_no < $n ORDER BY round_no DESC LIMIT 1",
                {"n": round_no},
            )
        return row[0] if row else None

    def rounds_through(self, round_no: int) -> list[str]:
        """Ids of the settled rounds before ``round_no``, and its own: where a round may read frames."""
        with self._warehouse.connect() as connection:
            rows = connection.execute(
                f"SELECT round_id FROM rounds WHERE round_no = $n OR (round_no < $n AND {IS_SETTLED}) ORDER BY round_no",
                {"n": round_no},
            ).fetchall()
        return [row[0] for row in rows]

    def _execute(self, statement: str, parameters: Mapping[str, Any]) -> None:
        self._warehouse.atomically(lambda connection: connection.execute(statement, parameters))


def _keys(connection: Connection, secret: bytes) -> dict[str, str]:
    """Key of the round that is claimed, and the commitment to the one after it."""
    settled, last = fetch_row(connection, f"SELECT count(*), max(round_no) FROM {SETTLED_ROUNDS} r")
    key = round_key(secret, int(settled))
    said = (
        fetch_row(connection, "SELECT next_commitment FROM round_keys WHERE round_no = $n", {"n": last})
        if settled
        else None
    )
    if said and said[0] != commitment(key):
        raise SecretError(
            f"the record of the last settled round speaks of another secret than {VARIABLE} or <home>/{FILE} has: its keys "
            "would be refused by every audit. Restore the secret from a backup, or set CROWD_REPEATABLE=1 to go on without one."
        )
    return {"key": key, "next": commitment(round_key(secret, int(settled) + 1))}
