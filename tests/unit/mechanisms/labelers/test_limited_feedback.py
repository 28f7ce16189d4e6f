"""Limited and paired feedback: what they ask for, what they learn from it, and what they lose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowd_assets.mechanisms.labelers.dense import updated_weights
from crowd_assets.mechanisms.labelers.limited_feedback import (
    PairedState,
    initial_paired_state,
    limited_feedback_step,
    paired_feedback_step,
    run_limited_feedback,
    run_paired_feedback,
    update_paired,
)
from crowd_assets.mechanisms.labelers.regret import regret
from crowd_assets.mechanisms.labelers.score_update import (
    initial_state,
)
from tests.unit.mechanisms.labelers.crowds import crowd, seeds


@settings(max_examples=10)
@given(seed=seeds, labelers=st.integers(2, 6))
def test_limited_feedback_learns_from_one_labeler_a_slot_and_keeps_its_expected_regret(
    seed: int, labelers: int
) -> None:
    slots = 400
    reports, outcomes = crowd(seed, slots, labelers, 0.0)
    reports[:, 0] = 0.9 * outcomes + 0.05
    regrets = []
    for draw in range(5):
        rng = np.random.default_rng([seed, draw])
        run = run_limited_feedback(initial_state(labelers), reports, outcomes, rng=rng)
        assert run.state.slots_seen.sum() == run.state.slots == slots
        assert run.state.weights.sum() == pytest.approx(1.0)
        assert (run.state.weights > 0).all()
        regrets.append(regret(run.aggregates, outcomes, reports))
    assert np.mean(regrets) < 2 * np.sqrt(2 * labelers * slots * np.log(labelers))
    assert run.state.weights[0] == run.state.weights.max()


def test_limited_feedback_asks_for_every_report_and_a_small_step() -> None:
    assert limited_feedback_step(4, 1) == 0.125
    rng = np.random.default_rng(0)
    half = np.full((1, 2), 0.5)
    with pytest.raises(ValueError, match="every labeler needs a report"):
        run_limited_feedback(initial_state(2), half * np.nan, np.ones(1), rng=rng)
    with pytest.raises(ValueError, match="step must lie"):
        run_limited_feedback(initial_state(2), half, np.ones(1), step=0.3, rng=rng)
    with pytest.raises(ValueError, match="2 labelers and 1 outcomes"):
        run_limited_feedback(initial_state(2), np.full((1, 3), 0.5), np.ones(1), rng=rng)


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


def test_paired_feedback_loses_a_fraction_of_what_unpaired_feedback_loses() -> None:
    rng = np.random.default_rng(8)
    slots, labelers = 6000, 8
    theta = rng.beta(0.5, 0.5, (slots, 1))
    outcomes = (rng.random(slots) < theta[:, 0]).astype(float)
    reports = np.clip(theta + 0.1 * rng.standard_normal((slots, labelers)) + 0.35 * (np.arange(labelers) > 0), 0, 1)
    run = run_paired_feedback(initial_paired_state(labelers), reports, outcomes, rng=rng)
    plain = run_limited_feedback(initial_state(labelers), reports, outcomes, rng=rng)
    assert regret(run.aggregates, outcomes, reports) < 0.5 * regret(plain.aggregates, outcomes, reports)
    assert np.array_equal(run.aggregates, reports[np.arange(slots), run.asked[:, 0]])
    assert run.state.weights[0] > 0.9
    rng = np.random.default_rng(1)
    whole = run_paired_feedback(initial_paired_state(labelers), reports[:60], outcomes[:60], rng=rng)
    rng = np.random.default_rng(1)
    half = run_paired_feedback(initial_paired_state(labelers), reports[:30], outcomes[:30], rng=rng)
    rest = run_paired_feedback(half.state, reports[30:60], outcomes[30:60], rng=rng)
    assert np.array_equal(rest.state.weights, whole.state.weights)


def test_paired_feedback_refuses_what_it_cannot_ask() -> None:
    rng, half = np.random.default_rng(0), np.full((1, 2), 0.5)
    with pytest.raises(ValueError, match="every labeler needs a report"):
        run_paired_feedback(initial_paired_state(2), half * np.nan, np.ones(1), rng=rng)
    with pytest.raises(ValueError, match="1 outcomes"):
        run_paired_feedback(initial_paired_state(3), half, np.ones(1), rng=rng)
    with pytest.raises(ValueError, match="at least one labeler"):
        initial_paired_state(0)
