"""Rounds that are killed again and again end as if nothing had happened: CI's share of the kills. ``make test-crash`` makes
300."""

import tempfile
from pathlib import Path

import pytest

from tests.e2e.crash.harness import MEMORY, Harness

SHARE_OF_CI = 1
REACH = 0.3  # rounds


@pytest.mark.e2e
def test_killed_rounds_end_as_undisturbed_ones(seed_folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="crash-", dir=MEMORY if MEMORY.is_dir() else None) as folder,
        Harness(Path(folder), seed_folder, rounds=1, seed=0, reach=REACH) as harness,
    ):
        figures = harness.run(SHARE_OF_CI, print)
    assert figures.kills == SHARE_OF_CI
    assert figures.recoveries > 0
