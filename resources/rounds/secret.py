"""The secret of a home, the key of a round, and what is said of a key before it is shown.

Draws that pay or hide something take their seeds from a round's key, which is an HMAC of the home's secret: nobody outside can
compute them beforehand. The hash of the next key stands in each record (commit); the key stands in the record of its own round
(reveal), so that everything is computed again by whoever audits, and no operator can choose a key once feedback is in.

Belongs here: the secret, keys, commitments. Does not belong here: what is drawn (see ``crowd_assets.round.randomness``).
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from filelock import FileLock

from resources.common.errors import OperatorError
from resources.settings.settings import Settings

VARIABLE = "CROWD_SECRET"
FILE = "secret"


class SecretError(OperatorError, RuntimeError):
    """The home's secret is not the one that its last record speaks of."""


def home_secret(settings: Settings) -> bytes:
    """The secret of a home: ``CROWD_SECRET``, or the file ``<home>/secret``, which is made where it is missing and is readable by
    its owner alone."""
    if given := os.environ.get(VARIABLE, ""):
        return given.encode()
    path = Path(settings.home, FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            unfinished = path.with_suffix(".tmp")
            unfinished.unlink(missing_ok=True)
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
            unfinished.rename(path)
        secret = path.read_text(encoding="ascii").strip()
    if not secret:
        raise SecretError(f"{path} is empty: restore the file from a backup.")
    return secret.encode()


def round_key(secret: bytes, settled: int) -> str:
    """Key of the round before which ``settled`` rounds were settled, 64 hexadecimal digits: HMAC-SHA256 of the secret. A round
    that is skipped gives its key, of which nothing was shown, to the next."""
    return hmac.new(secret, f"round {settled}".encode(), hashlib.sha256).hexdigest()


def commitment(key: str) -> str:
    """What is said of a key before it is shown: its BLAKE2b-256, 64 hexadecimal digits."""
    return hashlib.blake2b(key.encode(), digest_size=32).hexdigest()


def derived(key: str, purpose: str, size: int) -> int:
    """A number of ``size`` bytes for one purpose of a round's key: HMAC-SHA256."""
    return int.from_bytes(hmac.new(bytes.fromhex(key), purpose.encode(), hashlib.sha256).digest()[:size])
