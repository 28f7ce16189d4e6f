"""Pseudonyms: contributors' names as keyed hashes, so that the warehouse, frames and reports never hold a name.

The key is in the environment only. Whoever has it can tell which pseudonym a name has; whoever has not cannot even test a
guess. A pseudonym says by its last digits that this key made it, so a name passes the border once, however often it comes by.

Belongs here: the key, pseudonyms, names hidden in text. Does not belong here: where the border is (see ``inbox``).
"""

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from typing import Self

from resources.common.errors import OperatorError

KEY_VARIABLE = "CROWD_PSEUDONYM_KEY"
SHORTEST_KEY = 16  # characters
HIDDEN = "…"

_PSEUDONYM = re.compile(r"p-([0-9a-f]{20})([0-9a-f]{8})")
_NAMED = re.compile(r"""(contributor_id["']?\s*[:=]?\s*)(?:(["'])([^"']*)(["']?)|(-?\d[\d.]*))""")


class PseudonymKeyError(OperatorError, ValueError):
    """The key cannot be used, or is not the one that the home was begun with; the message says what to do."""


class Pseudonyms:
    """Names to pseudonyms by one key; without a key every name stays as it is.

    Raises:
        PseudonymKeyError: the key is too short.
    """

    def __init__(self, key: str = "") -> None:
        if key and len(key) < SHORTEST_KEY:
            raise PseudonymKeyError(
                f"{KEY_VARIABLE} has {len(key)} characters; at least {SHORTEST_KEY}. Make one by "
                "python -c 'import secrets; print(secrets.token_hex(32))' and keep it where backups of the home are not."
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
        found = _PSEUDONYM.fullmatch(name)
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
