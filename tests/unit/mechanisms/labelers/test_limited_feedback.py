"""Limited and paired feedback: what they ask for, what they learn from it, and what they lose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.base import Known, Pooled, nobody_known
from crowd_assets.mechanisms.labelers.by_limited_feedback import LimitedFeedback
from crowd_assets.mechanisms.labelers.dense import updated_weights
from crowd_assets.mechanisms.labelers.limited_feedback import (
    PairedState,
    initial_paired_state,
    limited_feedback_step,
    paired_feedback_step,
    update_paired,
)
from crowd_assets.mechanisms.labelers.regret import regret
from tests.unit.mechanisms.labelers.crowds import seeds


def run_member(known: Known, reports: NDArray[np.float64], outcomes: NDArray[np.float64], seed: int) -> Pooled:
    slots, labelers = reports.shape
    return LimitedFeedback().run(
        known,
        np.repeat(np.arange(slots), labelers),
        np.tile(np.arange(labelers), slots),
        reports.ravel(),
        outcomes,
        entry=1.0,
        rng=np.random.default_rng(seed),
    )


def test_the_member_keeps_its_bound_and_finds_the_best_labeler() -> None:
    rng = np.random.default_rng(8)
    slots, labelers = 6000, 8
    theta = rng.beta(0.5, 0.5, (slots, 1))
    outcomes = (rng.random(slots) < theta[:, 0]).astype(float)
    reports = np.clip(theta + 0.1 * rng.standard_normal((slots, labelers)) + 0.35 * (np.arange(labelers) > 0), 0, 1)
    run = run_member(nobody_known(labelers), reports, outcomes, 1)
    assert regret(run.aggregates, outcomes, reports) < 3 * np.sqrt(2 * labelers * slots * np.log(labelers))
    assert run.known.weights[0] > 0.9
    assert limited_feedback_step(4, 1) == 0.125
    with pytest.raises(ValueError, match="at least one labeler"):
        initial_paired_state(0)


def some_paired_state(seed: int, labelers: int) -> PairedState:
    rng = np.random.default_rng(seed)
    squares = rng.uniform(0, 100, labelers)
    return PairedState(rng.dirichlet(np.ones(labelers)), squares, paired_feedback_step(0.8 * squares))


@given(seed=seeds, labelers=st.integers(2, 6))
def test_paired_feedback_moves_weights_on_average_as_full_feedback_does(seed: int, labelers: int) -> None:
    """Whoever gave the aggregate: what is subtracted from everybody's loss drops out."""
    state, losses = some_paired_state(seed, labelers), np.random.default_rng(seed).random(labelers)
    step, keep = state.step, paired_feedback_step(state.squares) / state.step
    full = updated_weights(state.weights, losses, step=step, keep=keep)
    for asked in range(labelers):
        after = [
            update_paired(state, np.array(asked), np.array(other), losses[asked], losses[other]).weights
            for other in range(labelers)
        ]
        assert np.mean(after, axis=0) == pytest.approx(full, abs=1e-9)
        assert after[asked] == pytest.approx(keep * state.weights + (1 - keep) / labelers)


@given(seed=seeds, labelers=st.integers(2, 5))
def test_under_paired_feedback_an_own_loss_only_ever_lowers_the_next_weight_and_in_proportion(
    seed: int, labelers: int
) -> None:
    state, losses = some_paired_state(seed, labelers), np.random.default_rng(seed).random(labelers)
    for asked in range(labelers):
        for other in range(labelers):
            after = []
            for own in (0.0, 0.5, 1.0):
                losses[0] = own
                here = update_paired(state, np.array(asked), np.array(other), losses[asked], losses[other])
                assert here.weights.sum() == pytest.approx(1.0)
                assert (here.weights > 0).all()
                after.append(here.weights[0])
            assert after[0] - after[1] == pytest.approx(after[1] - after[2], abs=1e-12)
            assert after[0] >= after[2] - 1e-12
