"""What to do about an open round or a waiting inbox, decided from plain values.

Belongs here: decisions. Does not belong here: fetching, launching, writing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from resources.common.instants import still_ahead
from resources.rounds.attempts import LONGEST_PAUSE, Attempt, not_before
from resources.rounds.book import Round


@dataclass(frozen=True)
class Decision:
    """``wait`` for a run or for a pause to end, ``launch`` the attempt of the round's row, ``retry`` with one attempt more, or
    ``give_up``."""

    action: Literal["wait", "launch", "retry", "give_up"]
    reason: str


def decide(
    round_: Round,
    attempts: Sequence[Attempt],
    active_runs: int,
    max_attempts: int,
    now: datetime,
    *,
    patient: bool = True,
) -> Decision:
    """What an open round needs next.

    A round whose claim was made but whose launch was lost has no run of its present attempt: it is launched, not
    retried, so that a daemon killed between the two costs nothing. One that was claimed by hand, with no attempt yet, has its
    first run launched by hand, too. Attempts that ended by what passes by itself (a lock, a full disk, a stop from outside) are
    not among those that a round may take at most.

    Args:
        attempts: Of the round, oldest first.
        active_runs: Runs of the round that are queued, starting or running.
        max_attempts: Attempts that a round may take at most.
        patient: Whether a pause after a failure is kept.
    """
    name = round_.round_id
    if active_runs or any(each.lives(now) for each in attempts):
        return Decision("wait", f"{name} is running")
    if not round_.attempt and not attempts:
        return Decision("wait", f"{name} was claimed by hand: launch its partition of crowd_round")
    present = [each for each in attempts if each.attempt == round_.attempt]
    if not present:
        return Decision("launch", f"attempt {round_.attempt} of {name} has no run")
    why = f" ({present[-1].reason})" if present[-1].reason else ""
    counted = sum(each.counts for each in attempts)
    if counted >= max_attempts:
        return Decision("give_up", f"{counted} attempts ended without completing {name}{why}")
    due = not_before(attempts)
    if patient and due is not None and still_ahead(due, now, LONGEST_PAUSE):
        return Decision(
            "wait", f"attempt {round_.attempt} of {name} failed{why}: the next one begins after {due:%H:%M:%S} UTC"
        )
    return Decision("retry", f"attempt {round_.attempt} of {name} ended without completing the round{why}")


def ingestion_waits(attempts: Sequence[Attempt], state: str, now: datetime) -> str | None:
    """Why the inbox is not taken in now; None where it is time.

    An ingestion that has ended, and left files of the inbox as it found them, is not repeated at once: whatever the reason is, it
    is tried again later and later, and at once when the inbox has changed and the last one did not fail.

    Args:
        attempts: Of ingestion, oldest first.
        state: Of the inbox now.
    """
    if any(each.lives(now) for each in attempts):
        return "an ingestion is running"
    last = attempts[-1] if attempts else None
    due = not_before(attempts)
    if last is None:
        return None
    if due is None and last.outcome == "succeeded" and last.state == state and last.ended_at is not None:
        due = not_before([*attempts[:-1], _as_failed(last)])  # what it left, it could not take in
    if due is not None and still_ahead(due, now, LONGEST_PAUSE):
        return f"the last ingestion {last.outcome} ({last.reason or 'what it left waits'}): the next begins after {due:%H:%M:%S} UTC"
    return None


def _as_failed(attempt: Attempt) -> Attempt:
    return Attempt(**{**vars(attempt), "outcome": "failed"})
