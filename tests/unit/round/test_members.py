"""Members that do not fit together are refused with both settings and what would fit; every other combination is taken."""

from itertools import product

import pytest

from crowd_assets.mechanisms.groupings.table import GROUPINGS
from crowd_assets.mechanisms.points_schemes.table import POINTS_SCHEMES
from crowd_assets.round.members import FAMILIES, check_members
from resources.settings.fields import SettingError
from resources.settings.settings import Settings


def test_the_default_and_every_member_beside_the_defaults_of_the_others_fit() -> None:
    check_members(Settings())
    for family in FAMILIES:
        for name in family:
            if name != "rank":
                check_members(Settings(**{family.setting: name}))  # type: ignore[arg-type]


@pytest.mark.parametrize("grouping", ["posterior_sampling", "nested"])
def test_a_grouping_by_estimates_is_refused_where_points_make_none(grouping: str) -> None:
    with pytest.raises(SettingError) as refused:
        check_members(Settings(points_scheme="rank", grouping=grouping))  # type: ignore[call-arg]
    said = str(refused.value)
    assert f"CROWD_GROUPING={grouping} needs estimates of contributors" in said
    assert "CROWD_POINTS_SCHEME=rank pays each round by itself" in said
    assert "random or epsilon_greedy or interleaved" in said


def test_nested_candidates_are_refused_where_nothing_is_remembered() -> None:
    with pytest.raises(SettingError, match="CROWD_MEMORY_ROUNDS=1 looks back on no earlier round"):
        check_members(Settings(grouping="nested", memory_rounds=1))  # type: ignore[call-arg]


def test_what_is_refused_is_what_a_member_says_it_needs() -> None:
    for scheme, grouping in product(POINTS_SCHEMES, GROUPINGS):
        fits = not (POINTS_SCHEMES[scheme].every_round and "estimates" in GROUPINGS[grouping].needs)
        settings = Settings(points_scheme=scheme, grouping=grouping)  # type: ignore[call-arg]
        if fits:
            check_members(settings)
        else:
            with pytest.raises(SettingError):
                check_members(settings)
