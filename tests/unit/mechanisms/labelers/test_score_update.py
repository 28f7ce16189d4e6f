"""The weighted score update: truth-telling is optimal, regret stays within its bounds, newcomers enter with a share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowd_assets.mechanisms.labelers import score_update as aggregation
from crowd_assets.mechanisms.labelers.baselines import mean_aggregate, median_aggregate
from crowd_assets.mechanisms.labelers.dense import run_slots, update_slot
from crowd_assets.mechanisms.labelers.regret import regret
from crowd_assets.mechanisms.labelers.score_update import (
    LabelerState,
    SlotResults,
    anytime_step,
    counted_reports,
    initial_state,
    known_horizon_step,
    run_reports,
    with_newcomers,
)
from tests.unit.mechanisms.labelers.crowds import crowd, seeds, some_state


@settings(max_examples=50)
@given(seed=seeds, labelers=st.integers(2, 6), keep=st.sampled_from([0.9, 1.0]))
def test_truthful_reporting_maximises_the_expected_next_weight(seed: int, labelers: int, keep: float) -> None:
    rng = np.random.default_rng(seed)
    state = some_state(seed, labelers)
    belief = round(float(rng.random()), 2)
    reports = rng.random(labelers)
    if rng.random() < 0.5:
        reports[labelers - 1] = np.nan
    reports[1] = rng.random()

    def expected_weight(report: float) -> float:
        reports[0] = report
        return sum(
            chance * update_slot(state, reports, outcome, step=0.5, keep=keep)[0].weights[0]
            for outcome, chance in ((1.0, belief), (0.0, 1.0 - belief))
        )

    grid = np.linspace(0, 1, 101)
    assert abs(grid[np.argmax([expected_weight(report) for report in grid])] - belief) < 0.011


@settings(max_examples=40)
@given(seed=seeds, labelers=st.integers(2, 10), slots=st.integers(1, 120), absent=st.sampled_from([0.0, 0.4]))
def test_regret_stays_within_its_bounds(seed: int, labelers: int, slots: int, absent: float) -> None:
    reports, outcomes = crowd(seed, slots, labelers, absent)
    good = np.random.default_rng(seed).integers(labelers)
    reports[:, good] = np.where(np.isnan(reports[:, good]), np.nan, 0.9 * outcomes + 0.05)
    root = np.sqrt(slots * np.log(labelers))
    anytime = run_slots(initial_state(labelers), reports, outcomes)
    assert not regret(anytime.aggregates, outcomes, reports) > 3 * root
    state, aggregates = initial_state(labelers), np.empty(slots)
    for t in range(slots):
        step = known_horizon_step(labelers, slots)
        state, aggregates[t] = update_slot(state, reports[t], outcomes[t], step=step)
    assert not regret(aggregates, outcomes, reports) > 2 * root


def test_averages_have_linear_regret_where_rivals_share_a_bias_and_the_update_has_not() -> None:
    rng = np.random.default_rng(11)
    slots, labelers = 4000, 10
    theta = rng.beta(0.5, 0.5, slots)
    outcomes = (rng.random(slots) < theta).astype(float)
    reports = np.clip(theta[:, None] + rng.normal(scale=0.2, size=(slots, labelers)), 0, 1)
    reports[:, 0] = np.clip(theta + rng.normal(scale=0.05, size=slots), 0, 1)
    reports[:, 1:7] = np.clip(reports[:, 1:7] + 0.35, 0, 1)
    learned = regret(run_slots(initial_state(labelers), reports, outcomes).aggregates, outcomes, reports)
    assert learned < regret(mean_aggregate(reports), outcomes, reports) / 4
    assert learned < regret(median_aggregate(reports), outcomes, reports) / 4


@given(seed=seeds, labelers=st.integers(1, 6), rule=st.sampled_from(["pooled", "sampled"]))
def test_two_batches_one_after_the_other_equal_one(seed: int, labelers: int, rule: str) -> None:
    reports, outcomes = crowd(seed, 30, labelers, 0.4)
    outcomes[::7] = np.nan
    whole = run_slots(initial_state(labelers), reports, outcomes, rule=rule, rng=np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    first = run_slots(initial_state(labelers), reports[:13], outcomes[:13], rule=rule, rng=rng)
    second = run_slots(first.state, reports[13:], outcomes[13:], rule=rule, rng=rng)
    assert np.array_equal(second.state.weights, whole.state.weights)
    assert second.state.slots == whole.state.slots
    assert np.array_equal(np.r_[first.aggregates, second.aggregates], whole.aggregates, equal_nan=True)


@given(seed=seeds, labelers=st.integers(2, 6))
def test_run_is_the_slot_by_slot_update_and_learns_nothing_without_an_outcome(seed: int, labelers: int) -> None:
    reports, outcomes = crowd(seed, 15, labelers, 0.3)
    outcomes[3] = np.nan
    run = run_slots(initial_state(labelers), reports, outcomes)
    state = initial_state(labelers)
    for t in range(15):
        now, after = (anytime_step(labelers, state.slots + shift) for shift in (1, 2))
        state, aggregate = update_slot(state, reports[t], outcomes[t], step=now, keep=after / now)
        assert run.aggregates[t] == pytest.approx(aggregate, nan_ok=True)
    assert run.state.weights == pytest.approx(state.weights)
    assert np.array_equal(np.isnan(run.losses), np.isnan(run.aggregates) | np.isnan(outcomes))


@given(
    seed=seeds, labelers=st.integers(2, 40), lazy_slots=st.integers(1, 60), rule=st.sampled_from(["pooled", "sampled"])
)
def test_a_large_crowd_learns_what_a_small_one_does(seed: int, labelers: int, lazy_slots: int, rule: str) -> None:
    reports, outcomes = crowd(seed, 200, labelers, 0.7)
    outcomes[::9] = np.nan
    reports[::31] = np.clip(np.nan_to_num(reports[::31], nan=0.5), 0, 1)  # everybody reports

    def learn() -> SlotResults:
        return run_slots(initial_state(labelers), reports, outcomes, rule=rule, rng=np.random.default_rng(seed))

    small = learn()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregation, "LARGE_CROWD", 0)
        patch.setattr(aggregation, "LAZY_SLOTS", lazy_slots)
        large = learn()
    assert large.state.weights == pytest.approx(small.state.weights, rel=1e-9)
    assert large.state.weights.sum() == pytest.approx(1)
    assert large.aggregates == pytest.approx(small.aggregates, rel=1e-9, nan_ok=True)


def test_sampled_rule_uses_one_report_as_often_as_its_labeler_has_weight() -> None:
    state = LabelerState(np.array([0.7, 0.2, 0.1]), 0, np.zeros(3), np.zeros(3, dtype=np.int64))
    reports = np.tile([0.0, 0.5, 1.0], (4000, 1))
    run = run_slots(state, reports, np.full(4000, np.nan), rule="sampled", rng=np.random.default_rng(2))
    assert [np.mean(run.aggregates == report) for report in (0.0, 0.5, 1.0)] == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


@given(seed=seeds, labelers=st.integers(1, 6), count=st.integers(0, 5))
def test_newcomers_enter_with_the_mean_weight(seed: int, labelers: int, count: int) -> None:
    before = some_state(seed, labelers)
    after = with_newcomers(before, count)
    assert after.weights.sum() == pytest.approx(1.0)
    assert after.weights[labelers:] == pytest.approx(np.full(count, 1 / (labelers + count)))
    assert after.weights[:labelers] / after.weights[0] == pytest.approx(before.weights / before.weights[0])
    assert after.slots_seen.size == after.cumulative_loss.size == labelers + count


def test_reports_that_make_no_sense_are_refused() -> None:
    state = initial_state(2)
    half = np.array([0.5, 0.5])
    with pytest.raises(ValueError, match="at least one labeler"):
        initial_state(0)
    with pytest.raises(ValueError, match="negative"):
        with_newcomers(state, -1)
    with pytest.raises(ValueError, match=r"reports must lie"):
        update_slot(state, np.array([0.5, 1.5]), 1.0, step=0.1)
    with pytest.raises(ValueError, match="outcomes must lie"):
        update_slot(state, half, 2.0, step=0.1)
    with pytest.raises(ValueError, match="step must lie"):
        update_slot(state, half, 1.0, step=0.6)
    with pytest.raises(ValueError, match="keep must lie"):
        update_slot(state, half, 1.0, step=0.1, keep=0.0)
    with pytest.raises(ValueError, match="expected 2 reports"):
        update_slot(state, np.array([0.5]), 1.0, step=0.1)
    with pytest.raises(ValueError, match="pass rng"):
        run_slots(state, half[None, :], np.ones(1), rule="sampled")
    with pytest.raises(ValueError, match="unknown rule"):
        run_slots(state, half[None, :], np.ones(1), rule="mean")
    zero = np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match="twice in one slot"):
        run_reports(state, zero, zero, half, np.ones(1))
    with pytest.raises(ValueError, match="sorted by slot"):
        run_reports(state, np.array([1, 0]), np.array([0, 1]), half, np.ones(2))
    with pytest.raises(ValueError, match="labelers in"):
        run_reports(state, zero, np.array([0, 2]), half, np.ones(1))


@given(count=st.integers(1, 9), entry=st.floats(0.05, 1.0))
def test_a_newcomer_enters_with_its_share_of_the_mean_weight(count: int, entry: float) -> None:
    before = LabelerState(np.array([0.5, 0.3, 0.2]), 5, np.zeros(3), np.full(3, 5))
    after = with_newcomers(before, count, entry=entry)
    assert after.weights.sum() == pytest.approx(1.0)
    assert after.weights[:3] / after.weights[:3].sum() == pytest.approx(before.weights)
    assert after.weights[3:] == pytest.approx(entry * after.weights[:3].mean())
    with pytest.raises(ValueError, match="entry must lie"):
        with_newcomers(before, count, entry=0.0)


@given(seed=seeds, once=st.booleans())
def test_reports_count_as_a_loop_over_them_would_have_it(seed: int, once: bool) -> None:
    rng = np.random.default_rng(seed)
    slot, ring = np.sort(rng.integers(0, 4, 20)), rng.integers(0, 5, 20)
    sold, seller = rng.integers(0, 4, 6), rng.integers(0, 7, 6)
    counts = counted_reports(slot, ring, interested=(sold, seller), once=once)
    seen = set(zip(sold.tolist(), seller.tolist(), strict=True))
    for place, pair in enumerate(zip(slot.tolist(), ring.tolist(), strict=True)):
        assert counts[place] == (pair not in seen)
        if once:
            seen.add(pair)
    assert counted_reports(slot, ring).all()
    with pytest.raises(ValueError, match="one slot and ring a report"):
        counted_reports(slot, ring[:-1])
