"""What an operator decides about a labeler: paused, unpaused, or heard again on appeal; by whom, why and when.

A decision waits for the next round that is settled; from then on it is in its record. Belongs here: decisions and their record. Does
not belong here: what follows from checks (see ``crowd_assets.round.standing``).
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from resources.common.errors import OperatorError
from resources.warehouse.base import WarehouseResource, as_stored, fetch_row
from resources.warehouse.connection import Connection

PAUSED, UNPAUSED, APPEALED = "paused", "unpaused", "appealed"
DECISIONS = (PAUSED, UNPAUSED, APPEALED)
COLUMNS = "decision_id, round_no, labeler_id, decision, reason, decided_by, decided_at"


class NoDecisionError(OperatorError, LookupError):
    """Nothing was decided; the message says why."""


@dataclass(frozen=True)
class Decision:
    """One row of the table ``labeler_decisions``; ``round_no`` is the round that took it up, None while it waits for one."""

    decision_id: str
    round_no: int | None
    labeler_id: str
    decision: str
    reason: str
    decided_by: str
    decided_at: datetime


class DecisionBook:
    """Decisions about the labelers of a warehouse."""

    def __init__(self, warehouse: WarehouseResource) -> None:
        self._warehouse = warehouse

    def decide(self, labeler: str, decision: str, *, by: str, why: str, now: datetime) -> Decision:
        """Note a decision for the next round to take up; the same once more, while it waits, changes nothing.

        Raises:
            NoDecisionError: it names nobody who decides or no reason, or no contributor of the home.
        """
        if decision not in DECISIONS:
            raise ValueError(f"a decision is one of {', '.join(DECISIONS)}, got {decision!r}")
        if not by.strip() or not why.strip():
            raise NoDecisionError("A decision names who decides and why: --by and --reason.")

        def note(connection: Connection) -> Decision:
            known = fetch_row(
                connection, "SELECT 1 FROM event_index WHERE contributor_id = $who LIMIT 1", {"who": labeler}
            )
            if not known:
                raise NoDecisionError(
                    f"{labeler} is no contributor of this home: crowd-rounds standings lists its labelers."
                )
            waiting = _rows(connection, "WHERE round_no IS NULL AND labeler_id = $who", {"who": labeler})
            if waiting and waiting[-1].decision == decision:
                return waiting[-1]
            (number,) = fetch_row(connection, "SELECT count(*) FROM labeler_decisions")
            identity = hashlib.blake2b(f"{number} {labeler} {decision}".encode(), digest_size=8).hexdigest()
            found = Decision(f"d{number + 1:06d}-{identity}", None, labeler, decision, why.strip(), by.strip(), now)
            row = pl.DataFrame([{**vars(found), "decided_at": as_stored(now)}], schema_overrides={"round_no": pl.Int32})
            self._warehouse.append(connection, "labeler_decisions", row)
            return found

        return self._warehouse.atomically(note)

    def taken_by(self, round_no: int) -> list[Decision]:
        """Those that a round takes up: what waits while it is claimed is given to it, and what a skipped round had."""

        def take(connection: Connection) -> list[Decision]:
            connection.execute(
                "UPDATE labeler_decisions SET round_no = $n WHERE (round_no IS NULL OR round_no IN "
                "(SELECT round_no FROM rounds WHERE status = 'skipped')) AND EXISTS (SELECT 1 FROM rounds WHERE round_no = $n "
                "AND status = 'claimed')",
                {"n": round_no},
            )
            return _rows(connection, "WHERE round_no = $n", {"n": round_no})

        return self._warehouse.atomically(take)

    def of_round(self, round_no: int) -> list[Decision]:
        """Those that a round has taken up, in their order."""
        with self._warehouse.connect() as connection:
            return _rows(connection, "WHERE round_no = $n", {"n": round_no})

    def all(self) -> list[Decision]:
        """Every decision, in its order."""
        with self._warehouse.connect() as connection:
            return _rows(connection, "", {})


def _rows(connection: Connection, which: str, parameters: dict[str, object]) -> list[Decision]:
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM labeler_decisions {which} ORDER BY decision_id", parameters
    ).fetchall()
    return [
        Decision(name, number, labeler, decision, reason, by, at.replace(tzinfo=UTC))
        for name, number, labeler, decision, reason, by, at in rows
    ]
