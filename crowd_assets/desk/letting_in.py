"""Who is let in: invitations, sessions, and forms that come from our own pages.

Everything is signed by a key that is made from the home's secret. An invitation names a person and the number of the link, so that it can
be shown again and made void; a session is a cookie of thirty days that names the same; a form carries a token of the session that shows it.

Belongs here: signatures, how often somebody may send. Does not belong here: who there is (see ``store``).
"""

import hashlib
import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from itsdangerous import BadData, URLSafeSerializer, URLSafeTimedSerializer

SESSION_S = 30 * 24 * 3600
FORM_S = 24 * 3600
KNOWN_AT_ONCE = 50_000  # people whose speed is watched; whoever sent longest ago is forgotten first


class KeepsWaitingError(RuntimeError):
    """Somebody sends faster than people do; ``seconds`` says when to try again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"try again in {seconds:.0f} seconds")
        self.seconds = max(seconds, 1.0)


@dataclass(frozen=True)
class Form:
    """What the token of a form says: whose it is, what it is about, and for how many seconds it was open."""

    name: str
    subject: str
    seconds: float


class Seals:
    """Signs and reads what leaves the desk and comes back.

    Args:
        secret: The home's.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.new(secret, b"desk", hashlib.sha256).digest()
        self._invitations = URLSafeSerializer(self._key, salt="invitation", signer_kwargs=_SHA256)
        self._sessions = URLSafeTimedSerializer(self._key, salt="session", signer_kwargs=_SHA256)
        self._forms = URLSafeTimedSerializer(self._key, salt="form", signer_kwargs=_SHA256)

    def invitation(self, name: str, link: int) -> str:
        """The token of an invitation's link."""
        return str(self._invitations.dumps([name, link]))

    def invited(self, token: str) -> tuple[str, int] | None:
        """Whom an invitation names, and the number of its link; None where nobody here signed it."""
        try:
            name, link = self._invitations.loads(token)
        except (BadData, ValueError, TypeError):
            return None
        return (name, link) if isinstance(name, str) and isinstance(link, int) else None

    def session(self, name: str, link: int) -> str:
        """The value of a session's cookie."""
        return str(self._sessions.dumps([name, link]))

    def in_session(self, value: str) -> tuple[str, int] | None:
        """Whose session a cookie is, and by which link; None where nobody here signed it, or too long ago."""
        try:
            name, link = self._sessions.loads(value, max_age=SESSION_S)
        except (BadData, ValueError, TypeError):
            return None
        return (name, link) if isinstance(name, str) and isinstance(link, int) else None

    def form(self, name: str, subject: str = "") -> str:
        """The token of a form that is shown to somebody now."""
        return str(self._forms.dumps([name, subject]))

    def of_form(self, token: str) -> Form | None:
        """What a form's token says; None where nobody here signed it, or longer ago than a day."""
        try:
            (name, subject), since = self._forms.loads(token, max_age=FORM_S, return_timestamp=True)
        except (BadData, ValueError, TypeError):
            return None
        return Form(name, subject, max(time.time() - since.timestamp(), 0.0))

    def hashed(self, *parts: str) -> str:
        """A keyed hash of parts, 32 hexadecimal digits: nobody outside can test a guess."""
        content = "\0".join(f"{len(part)}:{part}" for part in parts)
        return hmac.new(self._key, content.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def drawn(self, *parts: str) -> int:
        """A number of 64 bits by the same, for what is shuffled."""
        return int(self.hashed(*parts)[:16], 16)


class Paces:
    """How often each may send: so many forms at once, and as many again in each minute."""

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, who: str) -> None:
        """One form of somebody's.

        Raises:
            KeepsWaitingError: there were too many in the last minute.
        """
        now = time.monotonic()
        with self._lock:
            left, since = self._left.pop(who, (self._most, now))
            left = min(self._most, left + (now - since) * self._most / 60)
            self._left[who] = (max(left - 1, 0.0), now)
            while len(self._left) > KNOWN_AT_ONCE:
                self._left.popitem(last=False)
        if left < 1:
            raise KeepsWaitingError((1 - left) * 60 / self._most)


_SHA256 = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
