"""What waits in a home and why: said alike by ``status``, the metrics and a check in the UI.

Belongs here: looking and saying. Does not belong here: doing something about it (see ``sensors``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from resources.common.instants import still_ahead
from resources.feedback.strangers import Stranger
from resources.home.space import lacking_space
from resources.rounds.attempts import INGESTION, LONGEST_PAUSE, Attempt, known_attempts, not_before
from resources.rounds.claims import open_round, pending_feedback, round_quorum
from resources.settings.settings import Settings
from resources.warehouse.facts import BEGUN_ERASURE

if TYPE_CHECKING:
    from resources.warehouse.connection import Connection

What = Literal["files", "strangers", "events", "round"]
Cause = Literal[
    "running", "look", "pause", "quorum", "open_round", "by_hand", "space", "failed", "erasure", "never_read"
]
STUCK: frozenset[Cause] = frozenset({"space", "failed", "erasure", "never_read"})
"""Causes that do not pass unless somebody does something."""
NAMED = 5  # files that are never read


@dataclass(frozen=True)
class Waiting:
    """One thing that waits.

    Attributes:
        what: ``files`` of the inbox that were not taken in, ``strangers`` there that never are, ``events`` that no round has
            taken, or the open ``round``.
        count: How many.
        why: In words, without a text of anybody.
        since: When the first of them came, where that is known.
        due: When it is tried again, where that is known.
    """

    what: What
    count: int
    cause: Cause
    why: str
    since: datetime | None = None
    due: datetime | None = None

    @property
    def stuck(self) -> bool:
        return self.cause in STUCK


def what_waits(
    settings: Settings, connection: "Connection", now: datetime, files: int | None, strangers: Sequence[Stranger] = ()
) -> list[Waiting]:
    """All that waits in a home.

    Args:
        files: How many files lie in the inbox; None where it does not answer.
        strangers: Files there that no ingestion takes.
    """
    found = []
    lacking = lacking_space(settings)
    if files:
        found.append(
            Waiting("files", files, *_tried(known_attempts(connection, INGESTION), lacking, now, "crowd-rounds ingest"))
        )
    if strangers:
        named = ", ".join(f"{each.name} ({each.reason})" for each in strangers[:NAMED])
        found.append(Waiting("strangers", len(strangers), "never_read", f"never read: {named}"))
    begun = open_round(connection)
    if begun is not None:
        attempts = known_attempts(connection, begun.round_id)
        if not begun.attempt and not attempts:
            words = (
                f"{begun.round_id} was claimed by hand: launch the partition of the round in the UI, or call make round"
            )
            found.append(Waiting("round", 1, "by_hand", words, begun.claimed_at))
        else:
            cause, why, _, due = _tried(attempts, lacking, now, "make round")
            found.append(
                Waiting("round", 1, cause, f"{begun.round_id} is {begun.status}: {why}", begun.claimed_at, due)
            )
    pending = pending_feedback(connection)
    if pending.events:
        erasing = connection.execute(BEGUN_ERASURE).fetchall()
        missing = round_quorum(settings).missing(pending, now)
        cause, why = "look", "a round is due: the daemon's next look claims the round, or make round"
        if erasing:
            cause, why = "erasure", f"the erasure {erasing[0][1]} was interrupted: repeat the command"
        elif begun is not None:
            cause, why = "open_round", f"{begun.round_id} comes first"
        elif lacking:
            cause, why = "space", lacking
        elif missing is not None:
            cause, why = "quorum", f"a round is not due: {missing}"
        found.append(Waiting("events", pending.events, cause, why, pending.oldest))
    return found


def _tried(
    attempts: Sequence[Attempt], lacking: str | None, now: datetime, command: str
) -> tuple[Cause, str, datetime | None, datetime | None]:
    """Cause and words, since when (nobody knows), and when the next attempt comes."""
    if any(each.lives(now) for each in attempts):
        return "running", "a run works on it", None, None
    if lacking:
        return "space", lacking, None, None
    last = attempts[-1] if attempts else None
    if last is None or (last.outcome == "succeeded" and not last.reason):
        return "look", f"the daemon's next look begins, or {command}", None, None
    due = not_before(attempts)
    why = f"the last attempt {last.outcome or 'was lost'} ({last.reason or 'the process is gone'})"
    if due is not None and still_ahead(due, now, LONGEST_PAUSE):
        return "pause", f"{why}: the next try comes after {due:%H:%M:%S} UTC, or by {command}", None, due
    if last.outcome in ("lost", "interrupted", None):
        return "look", f"{why}: the daemon's next look begins again, or {command}", None, None
    return "failed", f"{why}: the next try comes when the daemon looks, or by {command}", None, due
