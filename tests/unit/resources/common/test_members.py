"""A setting's choices come from a family's table, which is imported when they are needed."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from resources.common.members import MemberOf, choices, family

TABLE = "tests.unit.mechanisms.test_families:GREETINGS"


class Chosen(BaseModel):
    greeting: Annotated[str, MemberOf(TABLE)] = "hello"
    other: str = ""


def test_a_setting_takes_a_member_and_names_all_of_them() -> None:
    assert Chosen(greeting="good_day").greeting == "good_day"
    assert choices(Chosen.model_fields["greeting"]) == ("hello", "good_day")
    assert choices(Chosen.model_fields["other"]) == ()


def test_a_member_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValidationError, match="'bye' is none of hello, good_day"):
        Chosen(greeting="bye")


@pytest.mark.parametrize(
    "table",
    ["tests", "tests:a b", "tests.nowhere:TABLE", "tests.unit.mechanisms.test_families:NONE", f"{__name__}:TABLE"],
)
def test_a_table_that_is_not_there_is_named(table: str) -> None:
    with pytest.raises(ValueError, match="table"):
        family(table)
