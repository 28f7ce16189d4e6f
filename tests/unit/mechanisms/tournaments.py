"""Made-up tournaments that tests of estimates and payouts share."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.payouts import (
    weight_shares,
)

seeds = st.integers(0, 2**32 - 1)


def tournament(seed: int, contributors: int, rounds: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Shares and round of each candidate when contributors are split at random into groups of about four."""
    rng = np.random.default_rng(seed)
    groups = max(2, contributors // 4)
    splits = [rng.permutation(np.arange(contributors) % groups) for _ in range(rounds)]
    return np.concatenate([weight_shares(split, groups) for split in splits]), np.repeat(np.arange(rounds), groups)
