"""A desk that is killed while people send forms keeps what was acknowledged: a few kills, before the 300 of ``make test-crash``."""

import pytest

from tests.e2e.crash.desk import killed_desk

KILLS = 25


@pytest.mark.crash
def test_what_a_killed_desk_acknowledged_lies_in_the_inbox_once() -> None:
    figures = killed_desk(KILLS, seed=0)
    assert figures.kills == KILLS
    assert figures.acknowledged > 0
    assert figures.sent_again > 0
    assert (figures.lost, figures.twice, figures.torn) == (0, 0, 0)
