"""Regret: over the slots that each labeler took part in, and additive over runs."""

import numpy as np
import pytest

from crowd_assets.mechanisms.labelers.regret import anytime_regret_bound, excess_losses, regret
from crowd_assets.mechanisms.labelers.score_update import (
    initial_state,
    run_reports,
)


def test_regret_counts_the_slots_each_labeler_took_part_in() -> None:
    reports = np.array([[1.0, np.nan], [np.nan, 1.0], [0.0, 0.0]])
    outcomes = np.array([1.0, 1.0, np.nan])
    assert regret(np.array([0.5, 0.0, 0.5]), outcomes, reports) == pytest.approx(1.0)
    assert np.isnan(regret(np.full(3, np.nan), outcomes, reports))


def test_excess_losses_are_what_regret_is_the_largest_of_and_add_up_over_runs() -> None:
    rng = np.random.default_rng(5)
    labelers, slots = 6, 300
    outcomes = rng.integers(0, 2, slots).astype(float)
    outcomes[::17] = np.nan
    reports = np.where(rng.random((slots, labelers)) < 0.6, rng.random((slots, labelers)), np.nan)
    slot, labeler = np.nonzero(~np.isnan(reports))
    state = initial_state(labelers)
    aggregates = run_reports(state, slot, labeler, reports[slot, labeler], outcomes).aggregates
    sums, counts = excess_losses(aggregates, outcomes, slot, labeler, reports[slot, labeler], labelers)
    assert sums.max() == pytest.approx(regret(aggregates, outcomes, reports))
    assert counts.sum() == (~np.isnan(outcomes[slot])).sum()
    parts = [
        excess_losses(aggregates, outcomes, slot[chosen], labeler[chosen], reports[slot, labeler][chosen], labelers)
        for chosen in (slot < 100, slot >= 100)
    ]
    assert sum(part[0] for part in parts) == pytest.approx(sums)
    assert sums.max() <= anytime_regret_bound(labelers, slots)
