"""Vectors of texts that were embedded before, in one SQLite file that steps and processes share.

Belongs here: keys, storing, the bound on its size. Does not belong here: embedding (see ``training.embedding``).
Texts and what Φ they went through are kept as one hash, vectors as plain numbers: nothing in the file can be read back as text
or run.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resources.common.errors import OperatorError

WAIT_S = 60.0  # for another process's transaction, which takes milliseconds
ASKED_AT_ONCE = 500
STORED = np.dtype("<f4")
SCHEMA = """CREATE TABLE IF NOT EXISTS vectors (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL
)"""


class EmbeddingCacheError(OperatorError, RuntimeError):
    """The file cannot be used; the message names it and the way out."""


class EmbeddingCache:
    """Vectors at ``path``, by the keyed BLAKE2 hash of each text under its Φ.

    The first vector stored for a text is the one that everybody gets from then on, as the last digits of a fresh one depend on
    the texts embedded with it.

    Args:
        path: The file; it is made at first use.
        phi: Which Φ makes the vectors, and how: at most 64 bytes.
        largest_bytes: Size above which the vectors stored first are dropped.
    """

    def __init__(self, path: Path, phi: str, largest_bytes: int) -> None:
        self.path, self.phi, self.largest_bytes = path, phi.encode(), largest_bytes

    def embed(self, texts: Sequence[str], make: Callable[[list[str]], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Vectors (n, d) of n >= 1 ``texts``, in their order; ``make`` is called with those not yet known, each once.

        Raises:
            EmbeddingCacheError: the file is damaged, cannot be written, or stays locked.
        """
        keys = [self._key(text) for text in texts]
        with self._connection() as connection:
            known = _read(connection, set(keys))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            made = make(list(missing.values())).astype(STORED)
            with self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "INSERT OR IGNORE INTO vectors (key, vector) VALUES (?, ?)",
                    [(key, vector.tobytes()) for key, vector in zip(missing, made, strict=True)],
                )
                known |= _read(connection, missing)
                self._drop_oldest(connection)
                connection.execute("COMMIT")
        return np.stack([np.frombuffer(known[key], STORED) for key in keys]).astype(np.float64)

    def _key(self, text: str) -> bytes:
        content = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, key=self.phi, digest_size=20).digest()

    def _drop_oldest(self, connection: sqlite3.Connection) -> None:
        while _used_bytes(connection) > self.largest_bytes:
            first, last = connection.execute("SELECT min(number), max(number) FROM vectors").fetchone()
            if first is None:
                return
            connection.execute("DELETE FROM vectors WHERE number <= ?", (first + (last - first) // 10,))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One connection for one transaction: none is held while texts are embedded."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)) as connection:
                connection.execute("PRAGMA auto_vacuum = FULL")
                connection.execute(SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as problem:
            raise EmbeddingCacheError(
                f"the embedding cache {self.path} cannot be used: {problem}. Delete the file if the file is damaged: vectors are made again; CROWD_EMBEDDING_CACHE_MIB=0 goes without."
            ) from problem


def _read(connection: sqlite3.Connection, keys: Iterable[bytes]) -> dict[bytes, bytes]:
    asked = list(keys)
    vectors: dict[bytes, bytes] = {}
    for start in range(0, len(asked), ASKED_AT_ONCE):
        some = asked[start : start + ASKED_AT_ONCE]
        marks = ", ".join("?" * len(some))
        vectors |= dict(connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", some))
    return vectors


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
