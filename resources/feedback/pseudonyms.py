"""Pseudonyms: what stands for contributors' names, so that the warehouse, frames and reports never hold a name.

The key is in the environment only. By it a name becomes a keyed hash, wherever it is met; a home draws a pseudonym of its own for
each such hash and keeps the two side by side in the table ``pseudonyms``. Whoever has key and home can tell which pseudonym a name
has; whoever lacks one of them cannot even test a guess. Once a row of that table is gone, nobody can, and everything that the
pseudonym stands in stays as it is. A pseudonym says by its last digits that this key made it, so a name passes the border once,
however often it comes by.

Belongs here: the key, pseudonyms, names hidden in text. Does not belong here: where the border is (see ``inbox``).
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import polars as pl

from resources.common.errors import OperatorError

if TYPE_CHECKING:
    from resources.warehouse.base import WarehouseResource
    from resources.warehouse.connection import Connection

KEY_VARIABLE = "CROWD_PSEUDONYM_KEY"
SHORTEST_KEY = 16  # characters
HIDDEN = "…"

PSEUDONYM = re.compile(r"p-([0-9a-f]{20})([0-9a-f]{8})")
_NAMED = re.compile(r"""(contributor_id["']?\s*[:=]?\s*)(?:(["'])([^"']*)(["']?)|(-?\d[\d.]*))""")


class PseudonymKeyError(OperatorError, ValueError):
    """The key cannot be used, or is not the one that the home was begun with; the message says what to do."""


class Pseudonyms:
    """Names to keyed hashes by one key, as they are on their way to a home; without a key every name stays as it is.

    Raises:
        PseudonymKeyError: the key is too short.
    """

    def __init__(self, key: str = "") -> None:
        if key and len(key) < SHORTEST_KEY:
            raise PseudonymKeyError(
                f"{KEY_VARIABLE} has {len(key)} characters; at least {SHORTEST_KEY}. Make a key by python -c 'import secrets; print(secrets.token_hex(32))' and keep the key where backups of the home are not."
            )
        self._key = hashlib.blake2b(key.encode("utf-8", "surrogatepass")).digest() if key else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Pseudonyms by the key in ``CROWD_PSEUDONYM_KEY``."""
        return cls((os.environ if environment is None else environment).get(KEY_VARIABLE, "").strip())

    @property
    def keyed(self) -> bool:
        return self._key is not None

    @property
    def fingerprint(self) -> str | None:
        """What tells this key from another and says nothing else about it; None without a key."""
        return self._hash("fingerprint", "", 16) if self.keyed else None

    def of(self, name: str) -> str:
        """The pseudonym of a name, 30 characters; "" and a pseudonym of this key stay as they are."""
        if not self.keyed or not name or self.made(name):
            return name
        body = self._hash("pseudonym", name, 10)
        return f"p-{body}{self._hash('check', body, 4)}"

    def made(self, name: str) -> bool:
        """Whether ``name`` is a pseudonym of this key."""
        found = PSEUDONYM.fullmatch(name)
        return found is not None and self.keyed and hmac.compare_digest(found[2], self._hash("check", found[1], 4))

    def hidden(self, text: str) -> str:
        """``text`` of a line that is no event, with the contributor it names by pseudonym; a name cut off is left out."""
        return _NAMED.sub(self._renamed, text) if self.keyed else text

    def _renamed(self, found: re.Match[str]) -> str:
        before, opened, name, closed, number = found.groups()
        if number is not None:
            return f"{before}{self.of(number)}"
        return f"{before}{opened}{self.of(name) if closed else HIDDEN}{closed}"

    def _hash(self, purpose: str, text: str, size: int) -> str:
        assert self._key is not None
        data = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key, person=purpose.encode(), digest_size=size).hexdigest()


BEGUN = ""
"""The row of the table ``pseudonyms`` that says that a home draws its pseudonyms; one that was begun before keeps the hashes."""


class StalePseudonymsError(RuntimeError):
    """Another process drew a pseudonym for the same name: read the table again."""


class HomePseudonyms(Pseudonyms):
    """Names to a home's own pseudonyms, drawn at random where a name is new.

    Args:
        key: As of :class:`Pseudonyms`.
        known: What the home has drawn, by slot; None: it was begun by an earlier version, and keeps the keyed hashes.
    """

    def __init__(self, key: str = "", known: Mapping[str, str] | None = None) -> None:
        super().__init__(key)
        self._known = dict(known) if known is not None else None
        self._drawn: dict[str, str] = {}

    @classmethod
    def of_home(cls, warehouse: "WarehouseResource", *names: str) -> Self:
        """The pseudonyms of a home, by the key in ``CROWD_PSEUDONYM_KEY``.

        Args:
            names: Those that will be asked for; none: any.
        """
        found = cls.from_environment()
        if not found.keyed:
            return found
        drawn = "SELECT slot, pseudonym FROM pseudonyms"
        slots = {"slots": [BEGUN, *map(found._slot, names)]} if names else {}
        with warehouse.connect() as connection:
            begun = bool(connection.execute("SELECT fingerprint FROM pseudonym_key").fetchall())
            tables = connection.execute(  # a snapshot may be older than the table
                "SELECT table_name FROM information_schema.tables WHERE table_name = 'pseudonyms'"
            ).fetchall()
            rows = (
                connection.execute(drawn + " WHERE slot = ANY($slots)" * bool(names), slots).fetchall()
                if tables
                else []
            )
        found._known = None if begun and (BEGUN, "") not in rows else dict(rows)
        return found

    @property
    def drawn_here(self) -> bool:
        """Whether pseudonyms are drawn, so that the link between a name and its own can be destroyed."""
        return self.keyed and self._known is not None

    def of(self, name: str) -> str:
        """The home's pseudonym of a name, or of the keyed hash that stands for it; 30 characters."""
        if self._known is None or not self.keyed or not name or self._drew(name):
            return super().of(name)
        slot = self._slot(name)
        if slot not in self._known:
            body = secrets.token_hex(10)
            self._known[slot] = self._drawn[slot] = f"p-{body}{self._hash('drawn', body, 4)}"
        return self._known[slot]

    def found(self, name: str) -> str | None:
        """The pseudonym of a name that has sent something to the home; None of any other."""
        if self._known is None or not self.keyed or not name or self._drew(name):
            return super().of(name)
        slot = self._slot(name)
        return None if slot in self._drawn else self._known.get(slot)

    def made(self, name: str) -> bool:
        return super().made(name) or self._drew(name)

    def keep(self, connection: "Connection", warehouse: "WarehouseResource") -> None:
        """Write down what was drawn; part of the transaction that first speaks of it.

        Raises:
            StalePseudonymsError: another process was faster with one of the names.
        """
        if not self._drawn:
            return
        drawn = pl.DataFrame({"slot": list(self._drawn), "pseudonym": list(self._drawn.values())})
        warehouse.append(connection, "pseudonyms", drawn)
        kept = connection.execute(
            "SELECT count(*) FROM incoming_pseudonyms JOIN pseudonyms USING (slot, pseudonym)"
        ).fetchall()
        if kept[0][0] != len(self._drawn):
            raise StalePseudonymsError

    def kept(self) -> None:
        """What was drawn is in the table now."""
        self._drawn.clear()

    def _slot(self, name: str) -> str:
        return self._hash("slot", super().of(name), 16)

    def _drew(self, name: str) -> bool:
        found = PSEUDONYM.fullmatch(name)
        return found is not None and self.keyed and hmac.compare_digest(found[2], self._hash("drawn", found[1], 4))
