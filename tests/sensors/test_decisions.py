"""What an open round needs next."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from resources.rounds.attempts import Attempt
from resources.rounds.book import Round
from sensors.decisions import decide, ingestion_waits
from sensors.feedback import inbox_run_key


def open_round(attempt: int) -> Round:
    return Round(1, "r000001", 1, 9, "claimed", attempt, None, 1, None, None, datetime(2026, 1, 1, tzinfo=UTC))


NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ended(attempt: int, outcome: str = "lost", *, transient: bool = False, minutes_ago: float = 60) -> Attempt:
    at = NOW - timedelta(minutes=minutes_ago)
    return Attempt(
        f"run-{attempt}", "r000001", attempt, "elsewhere/1:1:1", "", at, at, at, at, outcome, transient, "reason"
    )


@pytest.mark.parametrize(
    ("attempt", "active", "finished", "action"),
    [
        (1, 1, 0, "wait"),
        (1, 0, 0, "launch"),  # claimed, and the daemon was killed before it launched
        (1, 0, 1, "retry"),
        (2, 0, 1, "launch"),  # counted, and killed before it launched
        (2, 1, 1, "wait"),
        (3, 0, 3, "give_up"),
        (3, 1, 2, "wait"),
        (0, 0, 0, "wait"),  # claimed by hand, and not launched yet
        (0, 1, 0, "wait"),
    ],
)
def test_every_state_of_an_open_round_has_one_answer(attempt: int, active: int, finished: int, action: str) -> None:
    attempts = [ended(number) for number in range(1, finished + 1)]
    assert decide(open_round(attempt), attempts, active, 3, NOW).action == action


def test_a_pause_after_failures_grows_and_ends() -> None:
    def failures(number: int, minutes_ago: float) -> list[Attempt]:
        return [ended(each, "failed", transient=True, minutes_ago=minutes_ago) for each in range(1, number + 1)]

    assert decide(open_round(1), failures(1, 0.1), 0, 3, NOW).action == "wait"
    assert decide(open_round(1), failures(1, 0.1), 0, 3, NOW, patient=False).action == "retry"
    assert decide(open_round(1), failures(1, 0.2), 0, 3, NOW).action == "retry"
    assert decide(open_round(5), failures(5, 2.5), 0, 3, NOW).action == "wait"
    assert (
        decide(open_round(99), failures(99, 10.1), 0, 3, NOW).action == "retry"
    )  # never later than that, nor given up


def test_an_attempt_that_lives_anywhere_is_waited_for() -> None:
    at = NOW - timedelta(seconds=30)
    living = Attempt(
        "run", "r000001", 1, "elsewhere/1:1:1", "", at, at, at + timedelta(seconds=90), None, None, None, None
    )
    assert decide(open_round(1), [living], 0, 3, NOW).action == "wait"
    assert not living.lives(NOW + timedelta(seconds=61))


def test_what_an_ingestion_left_is_tried_again_later() -> None:
    done = replace(ended(1, "succeeded", minutes_ago=0.1), state="as it is")
    assert ingestion_waits([done], "as it is", NOW) is not None
    assert ingestion_waits([done], "with one file more", NOW) is None
    assert ingestion_waits([done], "as it is", NOW + timedelta(minutes=1)) is None


def test_the_run_key_changes_with_the_inbox_and_not_with_the_order_of_listing() -> None:
    one, other = ("a.jsonl", 10, 1.0), ("b.jsonl", 20, 2.0)
    assert inbox_run_key([one, other]) == inbox_run_key([other, one])
    assert len({inbox_run_key(files) for files in ([one], [one, other], [("a.jsonl", 11, 1.0)])}) == 3
