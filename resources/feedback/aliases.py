"""Names that are one person's: a person has one in each tool, and is paid under one.

An alias says that a name is a person's other name. From then on what arrives under the name is the person's; what was taken in before
stays under the name, as rounds may have settled it. Both are kept by pseudonym where a home has a key. Every change is a record in the
chain of what was taken in, so the audit knows under whose name each event had to be stored.

Belongs here: the table of aliases. Does not belong here: pseudonyms (see ``pseudonyms``), who acts as one without saying so (see
``crowd_assets.quality``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from upath import UPath

from resources.common.errors import OperatorError
from resources.feedback.events import IDENTIFIER
from resources.feedback.inbox import InboxResource, check_key
from resources.feedback.intake import Taken, append_intake, known_aliases
from resources.feedback.pseudonyms import HomePseudonyms, StalePseudonymsError
from resources.warehouse.base import WarehouseResource, as_stored
from resources.warehouse.connection import Connection

__all__ = ["Alias", "AliasBook", "AliasError", "known_aliases", "names_of", "person_of", "persons"]


class AliasError(OperatorError, ValueError):
    """Two names cannot be said to be one person's, or were not; the message says why."""


@dataclass(frozen=True)
class Alias:
    """``name`` is another name of ``person``, as ``said_by`` said ``since`` then."""

    name: str
    person: str
    said_by: str
    since: datetime


class AliasBook:
    """Aliases of a home."""

    def __init__(self, inbox: InboxResource) -> None:
        self._warehouse: WarehouseResource = inbox.warehouse
        self._segments = inbox.segments

    def all(self) -> list[Alias]:
        """All aliases, by person and name."""
        rows = self._warehouse.query("SELECT name, person, said_by, since FROM aliases ORDER BY person, name")
        return [Alias(*row) for row in rows.iter_rows()]

    def add(self, name: str, person: str, *, by: str, now: datetime | None = None) -> Alias:
        """Say that ``name`` is another name of ``person``; what is an alias of ``name`` becomes one of ``person``. Twice is once.

        Raises:
            AliasError: they are one name, or no names, ``name`` is the person behind ``person``, or has another person, or nobody says so.
            PseudonymKeyError: the home was begun with another key.
        """
        if not by.strip():
            raise AliasError("say who says so: --by")
        for each in (name, person):
            if not IDENTIFIER.fullmatch(each):
                raise AliasError(f"{each!r} is no contributor's name: 1 to 128 letters, digits or _ . : @ | -")
        while True:
            pseudonyms = HomePseudonyms.of_home(self._warehouse, name, person)
            at = as_stored(now or datetime.now(UTC))
            try:
                return self._add(pseudonyms, name, person, by, at)
            except StalePseudonymsError:  # one of the names came in meanwhile
                continue

    def _add(self, pseudonyms: HomePseudonyms, name: str, person: str, by: str, at: datetime) -> Alias:
        name, person = pseudonyms.of(name), pseudonyms.of(person)

        def add(connection: Connection) -> Alias:
            check_key(connection, pseudonyms, at)
            pseudonyms.keep(connection, self._warehouse)
            known = known_aliases(connection)
            behind = known.get(person, person)
            if name == behind:
                raise AliasError(f"{person} is {name} already: one of two names is the person, the other the alias")
            if known.get(name, behind) != behind:
                raise AliasError(f"{name} is {known[name]} already: remove the alias first (alias {name} --remove)")
            moved = {name, *(other for other, whose in known.items() if whose == name)} - {
                other for other, whose in known.items() if whose == behind
            }
            for other in sorted(moved):
                connection.execute("DELETE FROM aliases WHERE name = $name", {"name": other})
                connection.execute(
                    "INSERT INTO aliases VALUES ($name, $person, $by, $at)",
                    {"name": other, "person": behind, "by": by, "at": at},
                )
            if moved:
                self._record(
                    connection,
                    Taken(aliases=dict.fromkeys(sorted(moved), behind), aliases_by=by, aliases_at=at.isoformat()),
                )
            return Alias(name, behind, by, at)

        return self._warehouse.atomically(add)

    def remove(self, name: str) -> Alias:
        """Take an alias back: what arrives under the name is of somebody of its own again.

        Raises:
            AliasError: the name is no alias.
        """
        name = HomePseudonyms.of_home(self._warehouse, name).found(name) or name
        found = next((each for each in self.all() if each.name == name), None)
        if found is None:
            raise AliasError(f"{name} is no alias; `alias` without a name lists those that there are")

        def remove(connection: Connection) -> None:
            connection.execute("DELETE FROM aliases WHERE name = $name", {"name": name})
            self._record(connection, Taken(aliases={name: None}))

        self._warehouse.atomically(remove)
        return found

    def _record(self, connection: Connection, taken: Taken) -> None:
        append_intake(connection, taken, lambda uri: UPath(self._segments, uri))


def person_of(warehouse: WarehouseResource, contributor: str) -> str:
    """The person behind a name or pseudonym: who what arrives under it belongs to; the name itself where the home does not know it."""
    return names_of(warehouse, contributor)[0]


def persons(warehouse: WarehouseResource) -> Callable[[str], str]:
    """:func:`person_of` for any number of names, as a home has them at this moment."""
    pseudonyms = HomePseudonyms.of_home(warehouse)
    with warehouse.connect() as connection:
        aliases = known_aliases(connection)

    def person(name: str) -> str:
        known = pseudonyms.found(name) or name
        return aliases.get(known, known)

    return person


def names_of(warehouse: WarehouseResource, contributor: str) -> list[str]:
    """The person behind a name or pseudonym, and then every alias of the person, as the home keeps them."""
    name = HomePseudonyms.of_home(warehouse, contributor).found(contributor) or contributor
    with warehouse.connect() as connection:
        aliases = known_aliases(connection)
    person = aliases.get(name, name)
    return [person, *sorted(other for other, whose in aliases.items() if whose == person)]
