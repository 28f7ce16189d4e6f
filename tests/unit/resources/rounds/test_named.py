"""Which settled round a name means."""

from datetime import UTC, datetime

import pytest

from resources.rounds.claims import Round
from resources.rounds.named import NoSuchRoundError, named_round


def round_of(number: int, status: str, reason: str | None = None) -> Round:
    return Round(
        round_no=number,
        round_id=f"r{number:06d}",
        from_seq=number,
        to_seq=number,
        status=status,
        attempt=1,
        reason=reason,
        seed=0,
        base_model=None,
        next_model=None,
        claimed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


ROUNDS = [
    round_of(1, "settled"),
    round_of(2, "skipped", "2 contributors"),
    round_of(3, "settled"),
    round_of(4, "claimed"),
]


@pytest.mark.parametrize(
    ("name", "expected"), [("", 3), ("1", 1), ("r1", 1), ("r000001", 1), (" 3 ", 3), ("000000003", 3)]
)
def test_a_settled_round_is_found_by_number_by_id_and_by_nothing(name: str, expected: int) -> None:
    assert named_round(ROUNDS, name, "home").round_no == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("r2", "r000002 was skipped .2 contributors."),
        ("4", "r000004 is claimed and not settled yet"),
        ("5", "there is no r000005; settled rounds of CROWD_HOME=home: r000001, r000003"),
        ("last", "'last' names no round"),
        ("-1", "'-1' names no round"),
        ("1_0", "'1_0' names no round"),
        ("r1; DROP TABLE rounds", "names no round"),
    ],
)
def test_another_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(NoSuchRoundError, match=reason):
        named_round(ROUNDS, name, "home")


def test_a_home_without_a_settled_round_says_how_to_have_one() -> None:
    with pytest.raises(NoSuchRoundError, match=r"none yet.*make round"):
        named_round(ROUNDS[1:2], "", "home")
