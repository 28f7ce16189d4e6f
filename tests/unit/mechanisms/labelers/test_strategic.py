"""Labelers who steer: nobody gains by another report where a crowd of them settles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.labelers.strategic import (
    log_odds_steering_reports,
    median_equilibrium,
    steering_reports,
)

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, labelers=st.integers(1, 7))
def test_a_crowd_that_steers_settles_on_a_median_with_phantoms(seed: int, labelers: int) -> None:
    rng = np.random.default_rng(seed)
    beliefs, equal = rng.random(labelers), np.full(labelers, 1 / labelers)
    phantoms = np.arange(1, labelers) / labelers
    settled = equal @ steering_reports(equal, beliefs, np.ones(labelers, dtype=bool))
    assert settled == pytest.approx(np.median(np.r_[beliefs, phantoms]))
    weights = rng.dirichlet(np.ones(labelers))
    steering = rng.random(labelers) < 0.5
    reports = steering_reports(weights, beliefs, steering)
    assert np.array_equal(reports[~steering], beliefs[~steering])
    for labeler in np.flatnonzero(steering):
        others = weights @ reports - weights[labeler] * reports[labeler]
        own = np.clip((beliefs[labeler] - others) / weights[labeler], 0, 1)
        moved = others + weights[labeler] * own
        assert abs(moved - beliefs[labeler]) > abs(weights @ reports - beliefs[labeler]) - 1e-9


@given(seed=seeds, labelers=st.integers(1, 7))
def test_many_crowds_that_steer_settle_as_each_alone(seed: int, labelers: int) -> None:
    rng = np.random.default_rng(seed)
    weights, beliefs = rng.dirichlet(np.ones(labelers), 5), rng.random((5, labelers)).round(1)
    steering = rng.random((5, labelers)) < 0.6
    at_once = steering_reports(weights, beliefs, steering)
    for row in range(5):
        assert at_once[row] == pytest.approx(steering_reports(weights[row], beliefs[row], steering[row]))


@given(seed=seeds, labelers=st.integers(1, 8))
def test_nobody_can_pull_the_median_from_where_a_crowd_that_steers_settles(seed: int, labelers: int) -> None:
    rng = np.random.default_rng(seed)
    beliefs = rng.random(labelers)
    settled = float(median_equilibrium(beliefs))
    if labelers % 2:
        assert settled == np.median(beliefs)
        return
    reports = (beliefs > settled).astype(float)
    at = beliefs == settled
    reports[at] = np.clip(2 * settled - (settled > 0.5), 0, 1)
    assert np.median(reports) == pytest.approx(settled)
    for labeler in range(labelers):
        for tried in np.linspace(0, 1, 21):
            moved = reports.copy()
            moved[labeler] = tried
            assert abs(np.median(moved) - beliefs[labeler]) > abs(settled - beliefs[labeler]) - 1e-9
    with pytest.raises(ValueError, match="at least one labeler"):
        median_equilibrium(np.zeros(0))


@given(seed=seeds, labelers=st.integers(1, 6))
def test_nobody_can_pull_a_log_odds_pool_from_where_a_crowd_that_steers_settles(seed: int, labelers: int) -> None:
    rng = np.random.default_rng(seed)
    weights, prior, beliefs = rng.normal(0.5, 1, labelers), float(rng.normal()), rng.random((4, labelers))
    reports, settled = log_odds_steering_reports(weights, prior, beliefs)
    for row in range(4):

        def pool(given: np.ndarray) -> float:
            return float(1 / (1 + np.exp(-prior - (2 * given - 1) @ weights)))

        assert pool(reports[row]) == pytest.approx(settled[row])
        for labeler in range(labelers):
            for tried in np.linspace(0, 1, 21):
                moved = reports[row].copy()
                moved[labeler] = tried
                away = abs(settled[row] - beliefs[row, labeler])
                assert abs(pool(moved) - beliefs[row, labeler]) > away - 1e-9
