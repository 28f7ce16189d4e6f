"""Choices of a setting that names a member of a family, found by the name of the family's table.

``resources`` imports nothing of ``crowd_assets``, where families of mechanisms are: a setting says
``Annotated[str, MemberOf("crowd_assets.mechanisms.auctions.table:AUCTIONS")]``, and the table is imported when a value is
checked or choices are listed.

Belongs here: finding a table and checking a name. Does not belong here: families (see ``crowd_assets.mechanisms.families``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema


@cache
def family(table: str) -> Mapping[str, Any]:
    """The table that ``"package.module:TABLE"`` names: members of a family by name, in order.

    Raises:
        ValueError: no such form, module or table.
    """
    module, colon, name = table.partition(":")
    if not colon or not name.isidentifier():
        raise ValueError(f"a table is named as package.module:TABLE, not {table!r}")
    try:
        members = getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as problem:
        raise ValueError(f"there is no table {table}: {problem}") from None
    if not isinstance(members, Mapping):
        raise ValueError(f"{table} is no table of members, but {type(members).__name__}")
    return members


@dataclass(frozen=True, slots=True)
class MemberOf:
    """Mark of a setting's type: a ``str`` that names a member of the family ``table``, ``"package.module:TABLE"``."""

    table: str

    def names(self) -> tuple[str, ...]:
        """Names of the members, in the order of the table."""
        return tuple(family(self.table))

    def checked(self, name: str) -> str:
        """``name``, if a member is called so.

        Raises:
            ValueError: none is; the message lists those that there are.
        """
        if name not in family(self.table):
            raise ValueError(f"{name!r} is none of {', '.join(self.names())}")
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.checked, handler(source))


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Names that a setting marked with ``MemberOf`` may have; empty for every other setting."""
    return next((mark.names() for mark in field.metadata if isinstance(mark, MemberOf)), ())
