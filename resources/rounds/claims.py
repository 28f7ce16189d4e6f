"""What a connection to the warehouse knows of rounds: which there are, which is open, what waits for the next one.

Belongs here: reading, without imports that a command that only looks would have to wait for.
Does not belong here: transitions (see ``rounds``).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from resources.settings.settings import Settings
from resources.warehouse.facts import IS_OPEN, IS_SETTLED, is_settled

if TYPE_CHECKING:
    from resources.warehouse.connection import Connection


@dataclass(frozen=True)
class Round:
    """One row of the table ``rounds``; ``from_seq`` and ``to_seq`` are inclusive. ``key`` is what its draws take their seeds from,
    and ``next_commitment`` the hash of the next one; None where ``seed`` is."""

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
    key: str | None = field(default=None, repr=False)
    next_commitment: str | None = None

    @property
    def settled(self) -> bool:
        return is_settled(self.status)


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
        if pending.oldest is not None and abs(now - pending.oldest) >= self.longest_wait:
            return None  # also where the clock was set back since: how long they wait, nobody can tell
        return f"{pending.events} of {self.events} events"


def round_quorum(settings: Settings) -> Quorum:
    """What starts a round by day."""
    return Quorum(
        settings.quorum_events, settings.quorum_contributors, timedelta(minutes=settings.longest_wait_minutes)
    )


def read_rounds(connection: "Connection", where: str, parameters: dict[str, Any]) -> list[Round]:
    """The rounds that a WHERE clause chooses, oldest first."""
    rows = connection.execute(
        "SELECT round_no, round_id, from_seq, to_seq, status, attempt, reason, seed, base_model, next_model, claimed_at, "
        "(SELECT k.key FROM round_keys k WHERE k.round_no = rounds.round_no), "
        "(SELECT k.next_commitment FROM round_keys k WHERE k.round_no = rounds.round_no) "
        f"FROM rounds {where} ORDER BY round_no",
        parameters,
    ).fetchall()
    return [Round(*(*figures, claimed_at.replace(tzinfo=UTC), key, said)) for *figures, claimed_at, key, said in rows]


def open_round(connection: "Connection") -> Round | None:
    """The round that is claimed or settled but not completed, if there is one."""
    rows = read_rounds(connection, f"WHERE {IS_OPEN}", {})
    return rows[0] if rows else None


def settled_rounds(connection: "Connection") -> list[Round]:
    """The rounds that have paid, oldest first."""
    return read_rounds(connection, f"WHERE {IS_SETTLED}", {})


def pending_feedback(connection: "Connection") -> PendingFeedback:
    """What waits for the next round."""
    ((taken, skipped),) = connection.execute(
        "SELECT coalesce(max(to_seq) FILTER (WHERE status <> 'skipped'), 0), coalesce(max(to_seq), 0) FROM rounds"
    ).fetchall()
    ((events, new_events, contributors, first_seq, last_seq, oldest),) = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE seq > $skipped), count(DISTINCT nullif(contributor_id, '')), coalesce(min(seq), 0), "
        "coalesce(max(seq), 0), min(ingested_at) FILTER (WHERE seq > $skipped) FROM event_index WHERE seq > $taken",
        {"taken": taken, "skipped": skipped},
    ).fetchall()
    return PendingFeedback(
        events, new_events, contributors, first_seq, last_seq, oldest.replace(tzinfo=UTC) if oldest else None
    )
