"""A family is a table of members that nobody changes, and a wrong name is answered with the right ones."""

from dataclasses import dataclass
from typing import Protocol

import pytest

from crowd_assets.mechanisms.families import Family, Member, NoSuchMemberError


class Greeting(Member, Protocol):
    def greet(self, whom: str) -> str: ...


@dataclass(frozen=True)
class Said:
    name: str
    summary: str = "Says its own name."
    needs: tuple[str, ...] = ()
    guarantees: tuple[str, ...] = ()
    source: str = "ours"
    page: str = "greetings.md"

    def greet(self, whom: str) -> str:
        return f"{self.name} {whom}"


GREETINGS: Family[Greeting] = Family(
    "greeting", "greeting", Said("hello"), Said("good_day", needs=("outcomes", "horizon"))
)


def test_members_are_found_by_name_in_the_order_of_the_table() -> None:
    assert GREETINGS["good_day"].greet("you") == "good_day you"
    assert GREETINGS.names == tuple(GREETINGS) == ("hello", "good_day")
    assert "hello" in GREETINGS
    assert "bye" not in GREETINGS


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    with pytest.raises(NoSuchMemberError, match="no greeting is called 'bye'; there are hello, good_day"):
        GREETINGS["bye"]


def test_a_toy_member_is_one_more_row() -> None:
    more = GREETINGS.plus(Said("bye"))
    assert more.names == ("hello", "good_day", "bye")
    assert GREETINGS.names == ("hello", "good_day")


@pytest.mark.parametrize(
    "member", [Said("hello"), Said("no name"), Said("mute", summary=""), Said("odd", needs=("luck",))]
)
def test_a_member_that_does_not_describe_itself_is_refused(member: Said) -> None:
    with pytest.raises(ValueError, match="needs"):
        GREETINGS.plus(member)


def test_a_family_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="cannot be changed"):
        GREETINGS.title = "other"
    with pytest.raises(TypeError):
        GREETINGS["bye"] = Said("bye")  # type: ignore[index]


def test_what_a_member_lacks_is_said() -> None:
    assert GREETINGS.unmet("good_day", {"outcomes"}) == ("horizon: how many slots or rounds there will be",)
    assert GREETINGS.unmet("hello", ()) == ()
