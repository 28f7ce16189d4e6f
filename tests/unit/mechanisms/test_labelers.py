"""Aggregation: weights stay a distribution, truth-telling is optimal, regret stays within its bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers import score_update as aggregation
from crowd_assets.mechanisms.labelers.baselines import dawid_skene, mean_aggregate, median_aggregate
from crowd_assets.mechanisms.labelers.dense import drawn, run_slots, update_slot, updated_weights
from crowd_assets.mechanisms.labelers.limited_feedback import (
    PairedState,
    initial_paired_state,
    limited_feedback_step,
    paired_feedback_step,
    run_limited_feedback,
    run_paired_feedback,
    update_paired,
)
from crowd_assets.mechanisms.labelers.log_odds import initial_reliability, reliabilities, run_log_odds
from crowd_assets.mechanisms.labelers.lottery import elf_x, lottery_chances
from crowd_assets.mechanisms.labelers.regret import anytime_regret_bound, excess_losses, regret
from crowd_assets.mechanisms.labelers.score_update import (
    LabelerState,
    SlotResults,
    anytime_step,
    counted_reports,
    initial_state,
    known_horizon_step,
    pooled,
    run_reports,
    with_newcomers,
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


def test_baselines_leave_out_who_did_not_report() -> None:
    reports = np.array([[0.0, 0.2, 1.0], [0.4, np.nan, 0.6], [np.nan] * 3])
    assert mean_aggregate(reports) == pytest.approx([0.4, 0.5, np.nan], nan_ok=True)
    assert median_aggregate(reports) == pytest.approx([0.2, 0.5, np.nan], nan_ok=True)
    weighted = pooled(np.array([0.5, 0.25, 0.25]), reports)
    assert weighted == pytest.approx([0.3, (0.2 + 0.15) / 0.75, np.nan], nan_ok=True)


def test_regret_counts_the_slots_each_labeler_took_part_in() -> None:
    reports = np.array([[1.0, np.nan], [np.nan, 1.0], [0.0, 0.0]])
    outcomes = np.array([1.0, 1.0, np.nan])
    assert regret(np.array([0.5, 0.0, 0.5]), outcomes, reports) == pytest.approx(1.0)
    assert np.isnan(regret(np.full(3, np.nan), outcomes, reports))


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


def votes(
    seed: int, slots: int, labelers: int, each: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labeler = np.argsort(rng.random((slots, labelers)), axis=1)[:, :each].ravel()
    return np.repeat(np.arange(slots), each), labeler, rng.choice([0.0, 0.5, 1.0], slots * each)


@given(seed=seeds, cut=st.integers(0, 40))
def test_log_odds_pooling_goes_on_where_it_stopped(seed: int, cut: int) -> None:
    slot, labeler, report = votes(seed, 40, 6, 3)
    outcomes = np.random.default_rng(seed).choice([0.0, 1.0, 0.5, np.nan], 40)
    whole = run_log_odds(initial_reliability(6), slot, labeler, report, outcomes)
    early = slot < cut
    first = run_log_odds(initial_reliability(6), slot[early], labeler[early], report[early], outcomes[:cut])
    rest = run_log_odds(first.state, slot[~early] - cut, labeler[~early], report[~early], outcomes[cut:])
    assert np.r_[first.aggregates, rest.aggregates] == pytest.approx(whole.aggregates)
    assert reliabilities(rest.state) == pytest.approx(reliabilities(whole.state))
    assert rest.state.slots == np.isfinite(outcomes).sum()


def test_log_odds_pooling_starts_as_naive_bayes_and_adds_up_each_labelers_own_past() -> None:
    state = initial_reliability(3)
    assert reliabilities(state) == pytest.approx([0.75] * 3)
    zero, nobody = np.zeros(3, dtype=np.int64), np.array([np.nan])
    two_to_one = run_log_odds(state, zero, np.arange(3), np.array([1.0, 1.0, 0.0]), nobody)
    assert two_to_one.aggregates == pytest.approx([0.75])
    assert two_to_one.state.slots == 0
    split = run_log_odds(state, zero[:2], np.arange(2), np.array([0.5, 0.5]), nobody)
    assert split.aggregates == pytest.approx([0.5])
    taught = run_log_odds(state, zero, np.arange(3), np.array([1.0, 0.5, 0.0]), np.ones(1)).state
    assert taught.score == pytest.approx([1.0, 0.75, 0.0])
    first, second, third = reliabilities(taught)
    assert first > second > third


def test_log_odds_pooling_finds_the_reliable_and_beats_the_mean_on_votes() -> None:
    rng = np.random.default_rng(5)
    slots, labelers = 3000, 60
    accuracy = np.where(np.arange(labelers) < 20, 0.95, 0.55)
    answers = rng.integers(0, 2, slots).astype(float)
    slot, labeler, _ = votes(5, slots, labelers, 5)
    right = rng.random(slot.size) < accuracy[labeler]
    report = np.where(right, answers[slot], 1 - answers[slot])
    found = run_log_odds(initial_reliability(labelers), slot, labeler, report, answers)
    assert reliabilities(found.state) == pytest.approx(accuracy, abs=0.12)
    mean = np.bincount(slot, report) / 5
    assert np.mean(found.losses[500:]) < 0.5 * np.mean(np.square(mean - answers)[500:])
    weighted = run_reports(initial_state(labelers), slot, labeler, report, answers)
    assert np.mean(found.losses[500:]) < 0.9 * np.mean(weighted.losses[500:])


def test_log_odds_pooling_learns_that_undecided_reporters_announce_a_tie() -> None:
    rng = np.random.default_rng(6)
    slots = 2000
    tie = rng.random(slots) < 0.4
    answers = np.where(tie, 0.5, rng.integers(0, 2, slots))
    slot, labeler = np.repeat(np.arange(slots), 5), np.tile(np.arange(5), slots)
    undecided = rng.random(slot.size) < np.where(tie, 0.6, 0.05)[slot]
    side = np.where(tie[slot], rng.integers(0, 2, slot.size), answers[slot])
    found = run_log_odds(initial_reliability(5), slot, labeler, np.where(undecided, 0.5, side), answers)
    sharp, blunt = found.state.sharpness
    assert blunt > 0.5 * sharp > 0
    with pytest.raises(ValueError, match="at least one labeler"):
        initial_reliability(0)


@given(seed=seeds)
def test_lotteries_drawn_at_once_are_won_as_often_as_their_chances_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses, slots = rng.random(4), 4000
    run = elf_x(np.tile(np.sqrt(losses), (slots, 1)), np.zeros(slots), rng=rng)
    assert run.wins / slots == pytest.approx(lottery_chances(losses), abs=0.045)
    assert run.wins.sum() == slots


@given(seed=seeds, labelers=st.integers(1, 9))
def test_lottery_chances_are_a_distribution_that_falls_in_ones_own_loss(seed: int, labelers: int) -> None:
    losses = np.random.default_rng(seed).choice([0.0, 0.3, 1.0], labelers)
    chances = lottery_chances(losses)
    assert chances.sum() == pytest.approx(1.0)
    assert (chances >= 0).all()
    assert np.array_equal(np.argsort(-chances, kind="stable"), np.argsort(losses, kind="stable"))


def test_elf_x_follows_the_best_labeler_and_counts_a_win_for_every_outcome() -> None:
    rng = np.random.default_rng(3)
    outcomes = rng.integers(0, 2, 3000).astype(float)
    reports = np.stack([np.abs(outcomes - 0.1), np.full(3000, 0.5), np.abs(outcomes - 0.8)], axis=1)
    outcomes[::10] = np.nan
    reports[5] = np.nan
    run = elf_x(reports, outcomes, rng=rng)
    assert run.wins.sum() == np.isfinite(outcomes).sum() - 1
    assert np.argmax(run.wins) == 0
    assert np.isnan(run.aggregates[5])
    assert np.mean(run.aggregates[500:] == reports[500:, 0]) == 1.0
    more = elf_x(reports[:10], outcomes[:10], wins=run.wins, rng=rng)
    assert more.wins.sum() > run.wins.sum()


def test_dawid_skene_finds_accuracies_without_outcomes_and_falls_for_a_shared_bias() -> None:
    rng = np.random.default_rng(4)
    slots, accuracy = 800, np.array([0.95, 0.9, 0.7, 0.6, 0.55, 0.2])
    answers = rng.integers(0, 2, slots).astype(bool)
    slot, labeler = np.nonzero(rng.random((slots, accuracy.size)) < 0.8)
    right = rng.random(slot.size) < accuracy[labeler]
    report = np.where(right, answers[slot], ~answers[slot]).astype(float)
    found = dawid_skene(slot, labeler, report, slots=slots + 1, labelers=accuracy.size)
    assert found.converged
    assert found.accuracy == pytest.approx(accuracy, abs=0.06)
    assert np.isnan(found.probability_a[-1])
    heard = ~np.isnan(found.probability_a[:-1])
    mean = np.bincount(slot, report, minlength=slots)[heard] / np.bincount(slot, minlength=slots)[heard]
    wrong = np.mean((found.probability_a[:-1][heard] > 0.5) != answers[heard])
    assert wrong < 0.7 * np.mean((mean > 0.5) != answers[heard])
    biased = np.ones(3 * slots)
    fooled = dawid_skene(np.tile(np.arange(slots), 3), np.repeat(np.arange(3), slots), biased, slots=slots, labelers=3)
    assert (fooled.probability_a > 0.99).all()


def test_dawid_skene_refuses_what_makes_no_sense() -> None:
    one = np.array([0])
    with pytest.raises(ValueError, match="labelers in"):
        dawid_skene(one, np.array([1]), np.array([0.5]), slots=1, labelers=1)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        dawid_skene(one, one, np.array([np.nan]), slots=1, labelers=1)
    with pytest.raises(ValueError, match="one row"):
        dawid_skene(one, one, np.array([0.5, 0.5]), slots=1, labelers=1)
    nobody = dawid_skene(np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0), slots=2, labelers=1)
    assert np.isnan(nobody.probability_a).all()
    assert nobody.converged


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
