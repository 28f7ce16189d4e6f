"""Strategic labelers: who gains by lying under which rule, found by trying."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowd_assets.mechanisms.labelers.baselines import mean_aggregate
from crowd_assets.mechanisms.labelers.regret import regret
from crowd_assets.mechanisms.labelers.strategic import (
    MOTIVES,
    forward_looking_report,
    log_odds_steering_reports,
    lottery_report,
    median_equilibrium,
    myopic_report,
    simulate_crowd,
    steering_equilibrium,
    steering_report,
    steering_reports,
)

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, labelers=st.integers(2, 6))
def test_a_myopic_labelers_best_report_is_its_belief(seed: int, labelers: int) -> None:
    rng = np.random.default_rng(seed)
    weights, reports, belief = rng.dirichlet(np.ones(labelers)), rng.random(labelers), round(rng.random(), 2)
    assert myopic_report(weights, 0, belief, reports, step=0.5) == pytest.approx(belief, abs=0.011)
    looking_at_one_slot = forward_looking_report(weights, 0, np.array([belief]), reports[None, :], step=0.5)
    assert looking_at_one_slot == pytest.approx(belief, abs=0.011)


def test_looking_ahead_pays_a_little_under_the_weighted_score_update() -> None:
    """The update is truthful for myopic labelers only: a control that lookahead must find a better lie."""
    weights, beliefs = np.array([0.2, 0.8]), np.full(6, 0.8)
    reports = np.tile([0.5, 0.1], (6, 1))
    shaded = forward_looking_report(weights, 0, beliefs, reports, step=0.5)
    assert 0.02 <= abs(shaded - 0.8) < 0.2


@settings(max_examples=25, deadline=None)
@given(seed=seeds, horizon=st.integers(1, 3))
def test_looking_ahead_does_not_pay_under_elf_x(seed: int, horizon: int) -> None:
    rng = np.random.default_rng(seed)
    beliefs = rng.random(horizon).round(2)
    assert lottery_report(0, beliefs, rng.random((horizon, 3))) == pytest.approx(beliefs[0], abs=0.011)


@given(seed=seeds, labelers=st.integers(1, 7))
def test_a_crowd_that_steers_settles_on_a_median_with_phantoms(seed: int, labelers: int) -> None:
    rng = np.random.default_rng(seed)
    beliefs, equal = rng.random(labelers), np.full(labelers, 1 / labelers)
    phantoms = np.arange(1, labelers) / labelers
    settled = steering_equilibrium(equal, beliefs)
    assert settled == pytest.approx(np.median(np.r_[beliefs, phantoms]))
    weights = rng.dirichlet(np.ones(labelers))
    reports = steering_reports(weights, beliefs, np.ones(labelers, dtype=bool))
    assert weights @ reports == pytest.approx(steering_equilibrium(weights, beliefs))
    steering = rng.random(labelers) < 0.5
    reports = steering_reports(weights, beliefs, steering)
    assert np.array_equal(reports[~steering], beliefs[~steering])
    for labeler in np.flatnonzero(steering):
        own = steering_report(weights, labeler, beliefs[labeler], reports)
        moved = weights @ reports + weights[labeler] * (own - reports[labeler])
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


def test_steering_pays_under_the_pooled_rule_and_not_under_the_sampled_one() -> None:
    weights, reports = np.full(4, 0.25), np.array([0.6, 0.2, 0.2, 0.2])
    assert steering_report(weights, 0, 0.6, reports) == 1.0
    assert steering_report(weights, 0, 0.6, reports, rule="sampled") == 0.6
    with pytest.raises(ValueError, match="unknown rule"):
        steering_report(weights, 0, 0.6, reports, rule="mean")


def test_a_crowd_with_every_motive_is_simulated() -> None:
    rng = np.random.default_rng(6)
    theta = rng.beta(0.5, 0.5, 150)
    outcomes = (rng.random(150) < theta).astype(float)
    beliefs = np.clip(theta[:, None] + rng.normal(scale=[0.05, 0.1, 0.1, 0.3], size=(150, 4)), 0, 1)
    run = simulate_crowd(beliefs, outcomes, MOTIVES, lookahead=2, grid=51, rng=rng)
    truthful, myopic, forward_looking, steering = run.misreports
    assert truthful == 0.0
    assert myopic < 0.011
    assert forward_looking < 0.1
    assert steering > 0.1
    fair = simulate_crowd(beliefs, outcomes, ("steering",) * 4, rule="sampled", rng=rng)
    assert not fair.misreports.any()


def test_steering_rivals_make_the_plain_average_worse_than_the_update() -> None:
    rng = np.random.default_rng(7)
    slots, labelers = 400, 6
    theta = rng.beta(0.5, 0.5, slots)
    outcomes = (rng.random(slots) < theta).astype(float)
    beliefs = np.clip(theta[:, None] + 0.35 + rng.normal(scale=0.1, size=(slots, labelers)), 0, 1)
    beliefs[:, 0] = theta
    run = simulate_crowd(beliefs, outcomes, ("truthful", *["steering"] * (labelers - 1)), rng=rng)
    learned = regret(run.results.aggregates, outcomes, beliefs)
    assert learned < regret(mean_aggregate(run.reports), outcomes, beliefs) / 2


def test_crowds_that_do_not_fit_together_are_refused() -> None:
    rng = np.random.default_rng(0)
    half = np.full((3, 2), 0.5)
    with pytest.raises(ValueError, match="unknown motives"):
        simulate_crowd(half, np.ones(3), ("greedy", "myopic"), rng=rng)
    with pytest.raises(ValueError, match="beliefs of shape"):
        simulate_crowd(half, np.ones(2), ("myopic", "myopic"), rng=rng)
    with pytest.raises(ValueError, match="1 to 12 slots"):
        forward_looking_report(np.full(2, 0.5), 0, np.ones(13), np.ones((13, 2)), step=0.1)
    with pytest.raises(ValueError, match="too many courses"):
        lottery_report(0, np.ones(7), np.ones((7, 5)))
    with pytest.raises(ValueError, match="beliefs must lie"):
        steering_equilibrium(np.ones(1), np.array([1.5]))
    with pytest.raises(ValueError, match="sum to one"):
        steering_equilibrium(np.ones(2), np.zeros(2))
    with pytest.raises(ValueError, match="one weight and belief"):
        steering_equilibrium(np.ones(1), np.zeros(2))
