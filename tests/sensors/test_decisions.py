"""What an open round needs next."""

from datetime import UTC, datetime

import pytest

from resources.rounds.book import Round
from sensors.decisions import decide
from sensors.feedback import inbox_run_key


def open_round(attempt: int) -> Round:
    return Round(1, "r000001", 1, 9, "claimed", attempt, None, 1, None, None, datetime(2026, 1, 1, tzinfo=UTC))


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
        (0, 0, 1, "retry"),
    ],
)
def test_every_state_of_an_open_round_has_one_answer(attempt: int, active: int, finished: int, action: str) -> None:
    assert decide(open_round(attempt), active, finished, max_attempts=3).action == action


def test_the_run_key_changes_with_the_inbox_and_not_with_the_order_of_listing() -> None:
    one, other = ("a.jsonl", 10, 1.0), ("b.jsonl", 20, 2.0)
    assert inbox_run_key([one, other]) == inbox_run_key([other, one])
    assert len({inbox_run_key(files) for files in ([one], [one, other], [("a.jsonl", 11, 1.0)])}) == 3
