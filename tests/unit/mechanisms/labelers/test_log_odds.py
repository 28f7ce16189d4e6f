"""Pooling of log-odds: it goes on where it stopped, starts as naive Bayes, and finds who is reliable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.log_odds import initial_reliability, reliabilities, run_log_odds
from crowd_assets.mechanisms.labelers.score_update import (
    initial_state,
    run_reports,
)
from tests.unit.mechanisms.labelers.crowds import seeds


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


def test_a_report_that_counts_half_is_pooled_for_half_and_teaches_as_much() -> None:
    slot, labeler, report = np.zeros(2, int), np.arange(2), np.ones(2)
    whole = run_log_odds(initial_reliability(2), slot, labeler, report, np.ones(1))
    half = run_log_odds(initial_reliability(2), slot, labeler, report, np.ones(1), parts=np.full(2, 0.5))
    assert whole.aggregates == pytest.approx([0.9])  # two of three right, independently: odds of 3 each
    assert half.aggregates == pytest.approx([0.75])
    assert half.state.score.tolist() == whole.state.score.tolist()
    with pytest.raises(ValueError, match="a part a report"):
        run_log_odds(initial_reliability(2), slot, labeler, report, np.ones(1), parts=np.ones(3))
