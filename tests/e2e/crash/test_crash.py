"""Rounds that are killed again and again end as if nothing had happened: a few kills, before the
300 of ``make test-crash``."""

import tempfile
from pathlib import Path

import pytest

from tests.e2e.crash.harness import MEMORY, Harness

SHARE = 8
REACH = 0.3  # rounds


@pytest.mark.crash
def test_killed_rounds_end_as_undisturbed_ones(seed_folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="crash-", dir=MEMORY if MEMORY.is_dir() else None) as folder,
        Harness(Path(folder), seed_folder, rounds=1, seed=0, reach=REACH) as harness,
    ):
        figures = harness.run(SHARE, print)
    assert figures.kills == SHARE
    assert figures.recoveries > 0
