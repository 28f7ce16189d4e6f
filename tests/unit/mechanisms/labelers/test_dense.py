"""Updates slot by slot: weights stay a distribution, and many crowds are updated as each alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.labelers.dense import drawn, run_slots, update_slot, updated_weights
from crowd_assets.mechanisms.labelers.regret import regret
from crowd_assets.mechanisms.labelers.score_update import (
    LabelerState,
    anytime_step,
    initial_state,
)
from tests.unit.mechanisms.labelers.crowds import crowd, seeds, some_state


@given(seed=seeds, labelers=st.integers(1, 12), step=st.floats(0, 0.5), keep=st.floats(0.01, 1.0))
def test_weights_stay_a_distribution(seed: int, labelers: int, step: float, keep: float) -> None:
    reports, outcomes = crowd(seed, 20, labelers, 0.3)
    state = some_state(seed, labelers)
    for row, outcome in zip(reports, outcomes, strict=True):
        state, aggregate = update_slot(state, row, outcome, step=step, keep=keep)
        assert (state.weights > 0).all()
        assert state.weights.sum() == pytest.approx(1.0, abs=1e-12)
        if not np.isnan(row).all():
            assert np.nanmin(row) <= aggregate <= np.nanmax(row)
        else:
            assert np.isnan(aggregate)
    counted = ~np.isnan(reports)
    assert np.array_equal(state.slots_seen, counted.sum(axis=0))
    assert state.cumulative_loss == pytest.approx(np.nansum((reports - outcomes[:, None]) ** 2, axis=0))
    assert state.slots == counted.any(axis=1).sum()


@given(seed=seeds, labelers=st.integers(2, 8))
def test_who_did_not_report_keeps_their_share(seed: int, labelers: int) -> None:
    reports, outcomes = crowd(seed, 1, labelers, 0.5)
    before = some_state(seed, labelers)
    after, _ = update_slot(before, reports[0], outcomes[0], step=0.5)
    absent = np.isnan(reports[0])
    assert after.weights[absent] == pytest.approx(before.weights[absent], rel=1e-12)


@given(seed=seeds, labelers=st.integers(2, 8))
def test_update_is_the_closed_form(seed: int, labelers: int) -> None:
    reports, outcomes = crowd(seed, 1, labelers, 0.0)
    before = some_state(seed, labelers)
    after, aggregate = update_slot(before, reports[0], outcomes[0], step=0.3)
    losses = (reports[0] - outcomes[0]) ** 2
    assert after.weights == pytest.approx(before.weights * (1 - 0.3 * (losses - before.weights @ losses)))
    assert aggregate == pytest.approx(before.weights @ reports[0])
    pulled, _ = update_slot(before, reports[0], outcomes[0], step=0.3, keep=0.8)
    assert pulled.weights == pytest.approx(0.8 * after.weights + 0.2 / labelers)


def test_a_labeler_that_turns_bad_is_not_followed_three_times_as_long_as_it_was_good() -> None:
    """A falling step alone has linear regret on this stream; ``keep`` is what bounds it."""
    slots = 8000
    outcomes = np.ones(slots)
    reports = np.zeros((slots, 2))
    reports[: slots // 4, 0] = 1.0
    reports[slots // 4 :, 1] = 1.0
    bound = 3 * np.sqrt(slots * np.log(2))
    run = run_slots(initial_state(2), reports, outcomes)
    assert regret(run.aggregates, outcomes, reports) < bound
    state, aggregates = initial_state(2), np.empty(slots)
    for t in range(slots):
        step = anytime_step(2, t + 1)
        state, aggregates[t] = update_slot(state, reports[t], outcomes[t], step=step)
    assert regret(aggregates, outcomes, reports) > 4 * bound


def test_weights_survive_a_long_run() -> None:
    """The sum of weights is an unstable fixed point: without renormalising it collapses by T = 16,000."""
    reports, outcomes = crowd(1, 20_000, 3, 0.0)
    state = run_slots(initial_state(3), reports, outcomes).state
    assert state.weights.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_labeler_that_was_wrong_for_long_can_come_back() -> None:
    """Without a floor its weight underflows to zero, from which no update brings it back."""
    state = initial_state(2)
    for _ in range(3000):
        state, _ = update_slot(state, np.array([1.0, 0.0]), 1.0, step=0.5)
    assert state.weights[1] > 0
    for _ in range(3000):
        state, _ = update_slot(state, np.array([1.0, 0.0]), 0.0, step=0.5)
    assert state.weights[1] > 0.99


@given(seed=seeds, labelers=st.integers(1, 6), keep=st.floats(0.1, 1.0))
def test_many_crowds_are_updated_as_each_alone(seed: int, labelers: int, keep: float) -> None:
    rng = np.random.default_rng(seed)
    weights, reports = rng.dirichlet(np.ones(labelers), 4), rng.random((4, labelers))
    outcomes, steps = rng.integers(0, 2, 4).astype(float), rng.uniform(0, 0.5, (4, 1))
    after = updated_weights(weights, np.square(reports - outcomes[:, None]), step=steps, keep=keep)
    for row in range(4):
        state = LabelerState(weights[row], 0, np.zeros(labelers), np.zeros(labelers, dtype=np.int64))
        alone, _ = update_slot(state, reports[row], outcomes[row], step=float(steps[row, 0]), keep=keep)
        assert after[row] == pytest.approx(alone.weights, abs=1e-12)


def test_labelers_are_drawn_by_weight() -> None:
    draws = drawn(np.tile([0.1, 0.0, 0.6, 0.3], (20_000, 1)), np.random.default_rng(0))
    assert np.bincount(draws, minlength=4) / 20_000 == pytest.approx([0.1, 0.0, 0.6, 0.3], abs=0.015)
    assert (np.bincount(draws, minlength=4) == 0).tolist() == [False, True, False, False]
