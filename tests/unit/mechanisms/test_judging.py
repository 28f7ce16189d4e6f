"""Pay for judgements: truth is best, what does not look earns nothing, and the budget holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowd_assets.mechanisms.judging import earned_by_agreement, earned_by_outcome, outcome_scores, paid_out

BELIEFS = 200_000


def test_no_misreport_of_a_belief_gains_in_two_hundred_thousand_instances() -> None:
    rng = np.random.default_rng(0)
    belief, base, said = rng.random(BELIEFS), rng.random(BELIEFS), rng.random(BELIEFS)

    def expected(report: np.ndarray) -> np.ndarray:
        one, none = np.ones(BELIEFS), np.zeros(BELIEFS)
        return belief * outcome_scores(report, one, base) + (1 - belief) * outcome_scores(report, none, base)

    truth = expected(belief)
    for report in (said, np.zeros(BELIEFS), np.ones(BELIEFS), np.round(belief), base, 1 - belief, np.sqrt(belief)):
        assert (expected(report) - truth).max() <= 1e-12
    assert (
        truth.min() >= -1e-12
    )  # so that answering never costs who is calibrated, and leaving out what is hard never pays


def test_reports_that_do_not_look_earn_nothing() -> None:
    rng = np.random.default_rng(1)
    share = 0.7
    outcome = (rng.random(400_000) < share).astype(float)
    for report in (
        np.full(outcome.size, share),
        np.ones(outcome.size),
        rng.integers(0, 2, outcome.size).astype(float),
        rng.permutation(outcome),
    ):
        assert outcome_scores(report, outcome, share).mean() <= 0.003
    careful = np.where(rng.random(outcome.size) < 0.95, outcome, 1 - outcome)
    assert outcome_scores(careful, outcome, share).mean() > 0.2


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), budget=st.floats(0, 100))
def test_the_budget_holds_and_names_do_not_matter(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    rows, labelers = int(rng.integers(1, 30)), int(rng.integers(1, 6))
    labeler, report, outcome = rng.integers(0, labelers, rows), rng.random(rows), rng.random(rows)
    found = earned_by_outcome(labeler, report, outcome, labelers=labelers, budget=budget)
    assert np.maximum(found.earned, 0).sum() <= budget * (1 + 1e-9)
    assert found.scored.sum() == rows
    # The same judgements under one name and under two.
    split = np.where(labeler == 0, np.where(rng.random(rows) < 0.5, 0, labelers), labeler)
    again = earned_by_outcome(split, report, outcome, labelers=labelers + 1, budget=budget)
    assert again.earned[0] + again.earned[labelers] == pytest.approx(found.earned[0], abs=1e-9)
    slot, who = np.nonzero(rng.random((8, labelers)) < 0.6)
    by_peers = earned_by_agreement(slot, who, rng.random(slot.size), slots=8, labelers=labelers, budget=budget)
    assert np.maximum(by_peers.earned, 0).sum() <= budget * (1 + 1e-9)


def test_a_coin_flipper_earns_less_than_a_twentieth_of_a_careful_worker() -> None:
    """Over 40 rounds of 20 judgements each, what is paid with what was lost before made up for."""
    rng = np.random.default_rng(2)
    accuracy = np.array([0.95, 0.8, 0.5])
    people, paid = 60, np.zeros(60)
    balance = np.zeros(people)
    for _ in range(40):
        labeler = np.repeat(np.arange(people), 20)
        outcome = rng.integers(0, 2, labeler.size).astype(float)
        right = rng.random(labeler.size) < accuracy[labeler % 3]
        earned = earned_by_outcome(
            labeler, np.where(right, outcome, 1 - outcome), outcome, labelers=people, budget=10.0
        )
        done = paid_out(balance, earned.earned)
        balance, paid = done.balance, paid + done.paid
    careful, middling, coin = (paid[kind::3].mean() for kind in range(3))
    assert coin <= 0.05 * careful
    assert coin < middling < careful
    assert paid.sum() <= 400.0


def test_what_is_paid_and_owed_is_what_was_earned() -> None:
    balance, earned = np.array([0.0, -2.0, -2.0, 0.0]), np.array([1.0, 1.0, 3.0, -1.0])
    done = paid_out(balance, earned)
    assert done.paid.tolist() == [1.0, 0.0, 1.0, 0.0]
    assert done.balance.tolist() == [0.0, -1.0, 0.0, -1.0]


def test_agreement_pays_who_looks_and_not_a_ring_that_is_known() -> None:
    rng = np.random.default_rng(3)
    slots = 4_000
    answer = rng.integers(0, 2, slots)
    reports = np.where(rng.random((slots, 6)) < 0.85, answer[:, None], 1 - answer[:, None]).astype(float)
    reports[:, 0] = rng.integers(0, 2, slots)
    reports[:, 1] = 1.0
    slot, labeler = (each.ravel() for each in np.indices(reports.shape))
    earned = earned_by_agreement(
        slot, labeler, reports.ravel(), slots=slots, labelers=6, budget=100.0, ring=np.array([0, 0, 1, 2, 3, 4])
    ).earned
    assert np.abs(earned[:2]).max() < 0.05 * earned[2:].min()


def test_arguments_that_make_no_sense_are_refused() -> None:
    one = np.array([0])
    with pytest.raises(ValueError, match="an outcome a report"):
        outcome_scores(np.zeros(1), np.zeros(2))
    with pytest.raises(ValueError, match="baseline must lie"):
        outcome_scores(np.zeros(1), np.zeros(1), 2.0)
    with pytest.raises(ValueError, match="budget"):
        earned_by_outcome(one, np.zeros(1), np.zeros(1), labelers=1, budget=-1.0)
    with pytest.raises(ValueError, match="labelers must lie"):
        earned_by_outcome(np.array([1]), np.zeros(1), np.zeros(1), labelers=1, budget=1.0)
    with pytest.raises(ValueError, match="a labeler a report"):
        earned_by_outcome(np.array([0, 0]), np.zeros(1), np.zeros(1), labelers=1, budget=1.0)
    with pytest.raises(ValueError, match="earnings of each balance"):
        paid_out(np.zeros(1), np.zeros(2))
    with pytest.raises(ValueError, match="at most 0"):
        paid_out(np.ones(1), np.zeros(1))


def test_a_ranking_is_paid_as_one_judgement() -> None:
    labeler, report, outcome = np.array([0, 1, 1, 1]), np.ones(4), np.ones(4)
    share = np.array([1.0, 1 / 3, 1 / 3, 1 / 3])
    paid = earned_by_outcome(labeler, report, outcome, labelers=2, budget=1.0, share=share).earned
    assert paid == pytest.approx([0.5, 0.5])
    with pytest.raises(ValueError, match="a share in"):
        earned_by_outcome(labeler, report, outcome, labelers=2, budget=1.0, share=np.zeros(4))


def test_agreement_on_a_ranking_is_paid_as_agreement_on_one_judgement() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 30).astype(float)
    slot, labeler = np.tile(np.arange(30), 3), np.repeat(np.arange(3), 30)
    report = np.where(rng.random(90) < 0.9, truth[slot], 1 - truth[slot])
    # All of the third labeler's reports are thirds of judgements: it earns a third of what they would earn.
    whole = earned_by_agreement(slot, labeler, report, slots=30, labelers=3, budget=90.0)
    share = np.where(labeler == 2, 1 / 3, 1.0)
    parts = earned_by_agreement(slot, labeler, report, slots=30, labelers=3, budget=70.0, share=share)
    assert parts.earned == pytest.approx(whole.earned * [1, 1, 1 / 3])
    assert parts.rate == pytest.approx(whole.rate)
