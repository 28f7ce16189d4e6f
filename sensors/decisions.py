"""What to do about an open round, decided from plain values.

Belongs here: decisions. Does not belong here: fetching, launching, writing.
"""

from dataclasses import dataclass
from typing import Literal

from resources.rounds.book import Round


@dataclass(frozen=True)
class Decision:
    """``wait`` for a run, ``launch`` the attempt of the round's row, ``retry`` with one attempt more, or ``give_up``."""

    action: Literal["wait", "launch", "retry", "give_up"]
    reason: str


def decide(round_: Round, active_runs: int, finished_runs: int, max_attempts: int) -> Decision:
    """What an open round needs next.

    A round whose claim was made but whose launch was lost has no run of its present attempt: it is launched, not
    retried, so that a daemon killed between the two costs nothing. One that was claimed by hand, with no attempt yet, has its
    first run launched by hand, too.

    Args:
        active_runs: Runs of the round that are queued, starting or running.
        finished_runs: Runs of the round that ended without completing it.
        max_attempts: Runs that a round may take.
    """
    if active_runs:
        return Decision("wait", f"{round_.round_id} is running")
    if not round_.attempt and not finished_runs:
        return Decision("wait", f"{round_.round_id} was claimed by hand: launch its partition of crowd_round")
    if finished_runs < round_.attempt:
        return Decision("launch", f"attempt {round_.attempt} of {round_.round_id} has no run")
    if round_.attempt < max_attempts:
        return Decision("retry", f"attempt {round_.attempt} of {round_.round_id} ended without completing it")
    return Decision("give_up", f"{round_.attempt} attempts ended without completing {round_.round_id}")
