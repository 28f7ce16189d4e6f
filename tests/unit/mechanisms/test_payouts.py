"""The rule of pay: a sum of terms that conserves what an epoch gained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.payouts import (
    TERMS,
    Payouts,
    PayRules,
    averaging_spread,
    conserved_points,
    epoch_payouts,
    kept_points,
    noise_adjusted,
    rank_payouts,
    regression_points,
    solvent_points,
)

SEEDS = st.integers(0, 2**32 - 1)


def an_epoch(seed: int, rules: PayRules, *, gains: float = 0.05, errors: float = 0.01) -> tuple[Payouts, np.ndarray]:
    rng = np.random.default_rng(seed)
    rounds, people = int(rng.integers(1, 5)), int(rng.integers(2, 20))
    present = rng.random((rounds, people)) < 0.8
    present[0] = True
    gained = np.abs(rng.normal(scale=gains, size=rounds)) if gains else np.zeros(rounds)
    paid = epoch_payouts(
        rng.normal(scale=0.1, size=people),
        averaging_spread,
        present,
        gained,
        np.full(rounds, errors),
        np.where(present, rng.integers(1, 100, (rounds, people)), 0),
        rules,
        copied=np.where(rng.random((rounds, people)) < 0.1, 0.5, 0.0),
        rounds_taken_part=present.sum(axis=0),
        caught=rng.random(people) < 0.1,
    )
    return paid, gained


@given(seed=SEEDS)
def test_a_payout_is_the_sum_of_its_terms_as_it_was_before_there_were_any(seed: int) -> None:
    rules = PayRules(
        by_work=True, most_paid=64, covered=True, copy_discount=1.0, least_rounds=2, points_per_distance=100
    )
    rng = np.random.default_rng(seed)
    people = int(rng.integers(2, 9))
    present = np.ones((3, people), dtype=bool)
    estimates, gains, errors = rng.normal(size=people), rng.random(3), rng.random(3)
    sent, copied = rng.integers(1, 99, (3, people)).astype(float), rng.random((3, people))
    taken, caught = rng.integers(1, 4, people), rng.random(people) < 0.2
    paid = epoch_payouts(
        estimates,
        averaging_spread,
        present,
        gains,
        errors,
        sent,
        rules,
        copied=copied,
        rounds_taken_part=taken,
        caught=caught,
    )
    before = regression_points(estimates, present, gains, work=np.minimum(sent, 64))
    before = kept_points(solvent_points(before, gains), taken, copied, least_rounds=2, copy_discount=1.0)
    before = np.where(caught & (before > 0), 0.0, before)
    assert paid.points == pytest.approx(100 * before, abs=1e-9)
    assert sum(paid.terms.values()) == pytest.approx(paid.points, abs=1e-9)
    assert tuple(paid.terms) == tuple(TERMS)
    assert not paid.harm.any()


@given(seed=SEEDS, discount=st.sampled_from([0.0, 1.0]))
def test_a_conserved_epoch_pays_its_gain_and_nobody_owes(seed: int, discount: float) -> None:
    plain, gained = an_epoch(seed, PayRules(by_work=True, conserved=True))
    gain = noise_adjusted(gained, np.full(len(gained), 0.01))
    withheld = -plain.terms["forfeits"].sum()
    assert plain.points.sum() + withheld <= gain + 1e-9
    if plain.terms["equal_share"].any(axis=1).all():  # the gain of a round in which nobody took part is nobody's
        assert plain.points.sum() + withheld == pytest.approx(gain, abs=1e-9)
    assert plain.points.min() >= -1e-12
    assert plain.harm.min() >= 0
    kept, _ = an_epoch(seed, PayRules(by_work=True, conserved=True, copy_discount=discount, least_rounds=2))
    assert kept.points.sum() <= gain + 1e-9


@pytest.mark.parametrize("rules", [PayRules(by_work=True, conserved=True), PayRules(conserved=True, least_rounds=2)])
def test_without_a_gain_the_treasury_issues_nothing(rules: PayRules) -> None:
    for seed in range(20):
        paid, _ = an_epoch(seed, rules, gains=0.0)
        assert not paid.points.any()
    control, _ = an_epoch(0, PayRules(by_work=True), gains=0.0)
    assert np.maximum(control.points, 0).sum() > 0.01


def test_four_who_do_harm_are_not_paid_for_doing_less_of_it() -> None:
    estimates = np.array([-0.3, -0.31, -0.32, -0.33])
    present = np.ones((1, 4), dtype=bool)
    paid = epoch_payouts(
        estimates,
        averaging_spread,
        present,
        np.zeros(1),
        np.zeros(1),
        np.ones((1, 4)),
        PayRules(conserved=True),
        copied=np.zeros((1, 4)),
        rounds_taken_part=np.ones(4, dtype=np.int64),
        caught=np.zeros(4, dtype=bool),
    )
    assert not paid.points.any()


def test_a_gain_within_its_noise_pays_nothing_and_a_sure_one_all() -> None:
    assert noise_adjusted(np.array([0.01]), np.array([0.02])) == 0.0
    assert noise_adjusted(np.array([0.1, -0.2]), np.array([0.01, 0.01])) == 0.0
    assert noise_adjusted(np.array([1.0]), np.array([0.1])) == pytest.approx(0.99)
    with pytest.raises(ValueError, match="not negative"):
        noise_adjusted(np.array([1.0]), np.array([-0.1]))
    with pytest.raises(ValueError, match="one standard error"):
        noise_adjusted(np.array([1.0]), np.array([0.1, 0.2]))


def test_at_no_true_gain_noise_is_hardly_paid() -> None:
    seen = np.random.default_rng(0).normal(scale=0.02, size=20_000)
    adjusted = np.mean([noise_adjusted(np.array([gain]), np.array([0.02])) for gain in seen])
    assert adjusted < 0.4 * np.maximum(seen, 0).mean()


@given(seed=SEEDS)
def test_the_order_of_what_an_epoch_pays_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payouts = rng.normal(size=(3, 8))
    conserved = conserved_points(payouts, 0.5).sum(axis=0)
    due = payouts.sum(axis=0)
    order = np.argsort(due)
    assert (np.diff(conserved[order]) >= -1e-12).all()
    with pytest.raises(ValueError, match="at least 0"):
        conserved_points(payouts, -1.0)


@given(seed=SEEDS)
def test_splitting_work_is_paid_the_same_where_the_slope_is_the_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    estimates, work, gains = rng.normal(size=6), rng.integers(1, 60, (2, 6)).astype(float), rng.random(2)

    def paid(estimates: np.ndarray, work: np.ndarray) -> np.ndarray:
        return regression_points(
            estimates, np.ones(work.shape, dtype=bool), gains, spread=lambda people: 1 / people, work=work
        )

    whole = paid(estimates, work)
    split = paid(np.append(estimates, estimates[0]), np.column_stack([work, work[:, 0] / 2]) * ([0.5] + [1.0] * 6))
    assert split[:, 0] + split[:, -1] == pytest.approx(whole[:, 0])
    assert split[:, 1:-1] == pytest.approx(whole[:, 1:])


def test_rank_pays_members_of_the_best_most_and_nobody_where_the_base_stayed() -> None:
    shares = np.array([[1.0, 0, 0, 0.0], [0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0]])
    paid = rank_payouts(
        np.array([-1.0, -2.0, -1.0, -2.0]),
        shares,
        np.array([0, 0, 1, 1]),
        np.array([True, False]),
        np.array([False, True, False, False]),
    )
    assert paid.points.tolist() == [[2, 0, 1, 0], [0, 0, 0, 0]]
    assert paid.terms["forfeits"][0].tolist() == [0, -1, 0, 0]
