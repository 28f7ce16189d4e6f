"""Hashes that records of rounds, of ingestions and of erasures are kept by.

Belongs here: which text or bytes are hashed, and how. Does not belong here: what a record says (see ``resources.rounds.records``,
``resources.feedback.intake``).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(record: Mapping[str, Any]) -> str:
    """A record as the one text that is hashed: JSON with sorted keys and without spaces."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"))


def chained(previous: str, text: str) -> str:
    """Hash of a record, 64 hexadecimal digits, behind one with the hash ``previous`` (empty for the first)."""
    return hashlib.blake2b(f"{previous}\n{text}".encode(), digest_size=32).hexdigest()


def file_hash(data: bytes) -> str:
    """Hash of a file's bytes, 32 hexadecimal digits, as ``erased_files`` keeps it."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
