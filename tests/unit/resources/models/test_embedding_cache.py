"""The file that keeps vectors: each text once, the vector stored first everybody's, nothing of a text in it."""

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from resources.models.embedding_cache import EmbeddingCache, EmbeddingCacheError

MIB = 2**20


class Maker:
    """Makes vectors that tell which call they are from, and remembers what it was asked."""

    def __init__(self, call: float = 0.0, dimensions: int = 3) -> None:
        self.call, self.dimensions = call, dimensions
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.asked.append(list(texts))
        self.call += 1
        return np.full((len(texts), self.dimensions), self.call)


def test_only_texts_not_known_are_embedded_and_each_once(tmp_path: Path) -> None:
    cache, make = EmbeddingCache(tmp_path / "e.sqlite", "phi", MIB), Maker()
    assert cache.embed(["a", "b", "a"], make)[:, 0].tolist() == [1, 1, 1]
    assert cache.embed(["c", "a", "c", ""], make)[:, 0].tolist() == [2, 1, 2, 2]
    assert make.asked == [["a", "b"], ["c", ""]]
    other = EmbeddingCache(tmp_path / "e.sqlite", "another phi", MIB)
    assert other.embed(["a"], make)[:, 0].tolist() == [3]
    many = [str(number) for number in range(1_201)]
    cache.embed(many, make)
    assert cache.embed(many[::-1], make).shape == (1_201, 3)
    assert len(make.asked) == 4


def test_the_vector_stored_first_is_everybodys(tmp_path: Path) -> None:
    def overtaken(texts: list[str]) -> NDArray[np.float64]:
        cache.embed(["a"], Maker(call=10))
        return Maker(call=20)(texts)

    cache = EmbeddingCache(tmp_path / "e.sqlite", "phi", MIB)
    assert cache.embed(["a", "b"], overtaken)[:, 0].tolist() == [11, 21]


def test_nothing_of_a_text_is_in_the_file(tmp_path: Path) -> None:
    texts = ["'); DROP TABLE vectors; --", "a secret of Annegret's", "\ud800 alone", "?"]
    path, make = tmp_path / "e.sqlite", Maker()
    cache = EmbeddingCache(path, "phi", MIB)
    cache.embed(texts, make)
    cache.embed(texts, make)
    assert make.asked == [texts]
    content = path.read_bytes()
    assert not any(part in content for part in (b"DROP", b"secret", b"Annegret", b"alone"))
    assert hashlib.blake2b(texts[1].encode(), digest_size=20).digest() not in content, (
        "whoever guesses a text must also know Φ"
    )


def test_the_file_stays_within_its_size_and_what_was_stored_first_goes_first(tmp_path: Path) -> None:
    path, make = tmp_path / "e.sqlite", Maker(dimensions=32)
    cache = EmbeddingCache(path, "phi", 100_000)
    batches = [[f"{batch} {number}" for number in range(100)] for batch in range(12)]
    for batch in batches:
        assert cache.embed(batch, make).shape == (100, 32)
    assert 50_000 < path.stat().st_size <= 100_000
    known = len(make.asked)
    cache.embed(batches[-1], make)
    assert len(make.asked) == known
    cache.embed(batches[0], make)
    assert make.asked[known] == batches[0]
    assert EmbeddingCache(path, "phi", 50_000).embed(["one more"], make).shape == (1, 32)
    assert path.stat().st_size <= 50_000
    assert EmbeddingCache(path, "phi", 0).embed(["a", "b"], make).shape == (2, 32)


def test_a_file_that_cannot_be_used_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(EmbeddingCacheError, match=r"e\.sqlite.*Delete the file.*CROWD_EMBEDDING_CACHE_MIB=0"):
        EmbeddingCache(path, "phi", MIB).embed(["a"], Maker())
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddingCacheError, match="CROWD_EMBEDDING_CACHE_MIB=0"):
        EmbeddingCache(tmp_path / "file" / "e.sqlite", "phi", MIB).embed(["a"], Maker())


PROCESS = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from resources.models.embedding_cache import EmbeddingCache

path, number, killed, processes = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "killed", int(sys.argv[4])
make = lambda texts: np.full((len(texts), 3), float(number))
cache = EmbeddingCache(path, "phi", 2**20)
if killed:
    EmbeddingCache._drop_oldest = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
path.with_name(f"ready-{number}").touch()
while len(list(path.parent.glob("ready-*"))) < processes:
    time.sleep(0.001)
rng = np.random.default_rng(number)
for _ in range(8):
    cache.embed([str(text) for text in rng.permutation(60)[:15]], make)
print(cache.embed([str(text) for text in range(60)], make)[:, 0].tolist())
"""


def test_processes_that_write_at_once_end_with_the_same_vectors(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "e.sqlite")]
    running = [
        subprocess.Popen([*command, str(number), "", "3"], stdout=subprocess.PIPE, text=True) for number in range(3)
    ]
    results = [json.loads(process.communicate(timeout=100)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert results[0] == results[1] == results[2]
    assert set(results[0]) <= {0.0, 1.0, 2.0}


def test_a_process_killed_while_it_stores_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    path, make = tmp_path / "e.sqlite", Maker()
    cache = EmbeddingCache(path, "phi", MIB)
    cache.embed(["before"], make)
    killed = subprocess.run([sys.executable, "-c", PROCESS, str(path), "9", "killed", "1"], check=False)
    assert killed.returncode == -9
    assert cache.embed(["before", *map(str, range(60))], make)[:, 0].tolist() == [1] + [2] * 60
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
