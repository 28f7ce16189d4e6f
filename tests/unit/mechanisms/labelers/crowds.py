"""Crowds of labelers that tests of their mechanisms share."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.score_update import (
    LabelerState,
)

seeds = st.integers(0, 2**32 - 1)


def crowd(seed: int, slots: int, labelers: int, absent: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    reports = rng.beta(0.5, 0.5, (slots, labelers))
    reports[rng.random(reports.shape) < absent] = np.nan
    return reports, rng.integers(0, 2, slots).astype(float)


def some_state(seed: int, labelers: int) -> LabelerState:
    weights = np.random.default_rng(seed).dirichlet(np.full(labelers, 0.5)) + 1e-12
    return LabelerState(weights / weights.sum(), 0, np.zeros(labelers), np.zeros(labelers, dtype=np.int64))
