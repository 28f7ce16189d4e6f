"""Whether the members of the four families that the settings choose fit together, said before a round begins.

Belongs here: what a home's settings give to members, and refusing. Does not belong here: what each member needs (see its module),
choices of a setting (see ``resources.common.members``).
"""

from typing import Any

from crowd_assets.mechanisms.auctions.table import AUCTIONS
from crowd_assets.mechanisms.families import NEEDS, Family
from crowd_assets.mechanisms.groupings.table import GROUPINGS
from crowd_assets.mechanisms.labelers.table import AGGREGATES
from crowd_assets.mechanisms.points_schemes.table import POINTS_SCHEMES
from resources.settings.fields import SettingError
from resources.settings.settings import Settings

FAMILIES: tuple[Family[Any], ...] = (POINTS_SCHEMES, AUCTIONS, AGGREGATES, GROUPINGS)
"""Families of which a setting chooses the member of a round."""


def missing(settings: Settings) -> dict[str, str]:
    """Words of ``NEEDS`` that a round with these settings cannot give, each with the setting that takes it away. What comes with feedback,
    such as outcomes, may still come."""
    found = {}
    if POINTS_SCHEMES[settings.points_scheme].every_round:
        found["estimates"] = f"CROWD_POINTS_SCHEME={settings.points_scheme} pays each round by itself"
    if settings.memory_rounds == 1:
        found["memory"] = "CROWD_MEMORY_ROUNDS=1 looks back on no earlier round"
    return found


def check_members(settings: Settings) -> None:
    """Refuse settings whose members do not fit together.

    Raises:
        SettingError: a member needs what another setting takes away; the message names both settings, and members that fit.
    """
    lacking = missing(settings)
    there = NEEDS.keys() - lacking.keys()
    for family in FAMILIES:
        name = getattr(settings, family.setting)
        if not family.unmet(name, there):
            continue
        variable = f"CROWD_{family.setting.upper()}"
        need = next(each for each in family[name].needs if each in lacking)
        fitting = " or ".join(each for each in family if not family.unmet(each, there))
        raise SettingError(
            f"{variable}={name} needs {NEEDS[need]}, and {lacking[need]}: set {variable} to {fitting}, or change the other setting."
        )
