"""Payouts: the rule of pay, to whom it pays what, and that it sums to what the model gained."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.payouts import (
    TERMS,
    Payouts,
    PayRules,
    averaging_spread,
    conserved_points,
    epoch_payouts,
    kept_points,
    noise_adjusted,
    rank_of,
    rank_payouts,
    rank_points,
    regression_points,
    solvent_points,
    weight_shares,
)
from crowd_assets.mechanisms.shapley import exact_shapley
from tests.unit.mechanisms.tournaments import seeds


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


@given(seed=seeds)
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


@given(seed=seeds, discount=st.sampled_from([0.0, 1.0]))
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


@given(seed=seeds)
def test_the_order_of_what_an_epoch_pays_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payouts = rng.normal(size=(3, 8))
    conserved = conserved_points(payouts, 0.5).sum(axis=0)
    due = payouts.sum(axis=0)
    order = np.argsort(due)
    assert (np.diff(conserved[order]) >= -1e-12).all()
    with pytest.raises(ValueError, match="at least 0"):
        conserved_points(payouts, -1.0)


@given(seed=seeds)
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


def test_rank_of_breaks_ties_by_index() -> None:
    assert rank_of(np.array([0.3, 0.1, 0.3, 0.2])).tolist() == [2, 0, 3, 1]


def test_every_member_of_the_best_group_gets_as_many_points_as_there_are_groups() -> None:
    points = rank_points(np.array([0.5, 0.1, 0.9]), np.array([0, 1, 2, 1, 0]))
    assert points.tolist() == [2.0, 3.0, 1.0, 3.0, 2.0]


def test_missing_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        rank_of(np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match="one candidate for each group"):
        rank_points(np.array([0.1, 0.2]), np.array([0, 2]))


@given(seed=seeds)
def test_weight_shares_sum_to_one_in_every_candidate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(-1, 3, 12)
    shares = weight_shares(group, 3, rng.uniform(0.1, 5, 12))
    assert shares.sum(axis=1) == pytest.approx([float((group == j).any()) for j in range(3)])
    assert not shares[:, group == -1].any()


@given(seed=seeds, spread=st.one_of(st.none(), st.floats(0, 100)), allow_negative=st.booleans())
def test_payouts_sum_to_the_realised_gain_and_go_to_those_who_took_part(
    seed: int, spread: float | None, allow_negative: bool
) -> None:
    rng = np.random.default_rng(seed)
    estimates, took_part, gains = rng.normal(size=9), rng.random((5, 9)) < 0.6, rng.normal(size=5)
    took_part[0] = False
    payouts = regression_points(estimates, took_part, gains, spread=spread, allow_negative=allow_negative)
    assert payouts.sum(axis=1) == pytest.approx(np.where(took_part.any(axis=1), gains, 0.0), abs=1e-9)
    assert not payouts[~took_part].any()
    for payout, present, gain in zip(payouts, took_part, gains, strict=True):
        assert (np.diff(payout[present][np.argsort(estimates[present])]) >= -1e-12).all()
        if not allow_negative and gain > 0:
            assert (payout >= -1e-12).all()


@given(seed=seeds, contributors=st.integers(1, 9))
def test_default_spread_makes_payouts_the_shapley_values_of_averaging(seed: int, contributors: int) -> None:
    worth = np.random.default_rng(seed).normal(size=contributors)

    def mean_worth(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        return masks @ worth / np.maximum(masks.sum(axis=1), 1)

    shapley = exact_shapley(mean_worth, contributors).values
    paid = regression_points(worth, np.ones((1, contributors), dtype=bool), worth.mean(keepdims=True))
    assert paid[0] == pytest.approx(shapley)
    assert 0 < averaging_spread(contributors) <= 1


def epoch(seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Estimates, participation, gains and work of 6 contributors in 3 rounds."""
    rng = np.random.default_rng(seed)
    participated = rng.random((3, 6)) < 0.8
    return (
        rng.normal(size=6),
        participated,
        rng.uniform(0, 1, 3),
        np.where(participated, rng.uniform(0.1, 9, (3, 6)), 0.0),
    )


@given(seed=seeds)
def test_payouts_by_work_sum_to_the_gain_and_equal_work_is_paid_as_if_it_were_not_looked_at(seed: int) -> None:
    estimates, participated, gains, work = epoch(seed)
    paid = regression_points(estimates, participated, gains, work=work)
    assert paid.sum(axis=1) == pytest.approx(np.where(participated.any(axis=1), gains, 0.0))
    assert not paid[~participated].any()
    equal = regression_points(estimates, participated, gains, work=np.full((3, 6), 7.0))
    assert equal == pytest.approx(regression_points(estimates, participated, gains))
    with pytest.raises(ValueError, match="positive for who took part"):
        regression_points(estimates, np.ones((3, 6), dtype=bool), gains, work=np.zeros((3, 6)))


@given(seed=seeds, names=st.integers(2, 6), spread=st.floats(0, 1))
def test_splitting_work_between_names_is_paid_the_same_up_to_the_slope_and_by_name_it_pays(
    seed: int, names: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    estimates, gain, work = rng.normal(size=5), np.ones(1), rng.uniform(1, 9, (1, 5))
    split = np.concatenate([estimates, np.full(names - 1, estimates[0])])
    parts = np.concatenate([work, np.full((1, names - 1), work[0, 0] / names)], axis=1)
    parts[0, 0] /= names
    own = np.array([True] + [False] * 4 + [True] * (names - 1))
    whole = regression_points(estimates, np.ones((1, 5), dtype=bool), gain, spread=spread, work=work)
    pieces = regression_points(
        split, np.ones((1, own.size), dtype=bool), gain, spread=5 / (4 + names) * spread, work=parts
    )
    assert pieces[0, own].sum() == pytest.approx(whole[0, 0])
    assert pieces[0, ~own] == pytest.approx(whole[0, 1:])
    by_name = regression_points(np.zeros(own.size), np.ones((1, own.size), dtype=bool), gain, spread=0.0)
    assert by_name[0, own].sum() > 1 / 5 + 1e-9


@given(seed=seeds)
def test_what_is_withheld_is_withheld_from_what_is_above_zero_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payouts, copied, rounds = rng.normal(size=(3, 6)), rng.random((3, 6)), rng.integers(1, 4, 6)
    kept = kept_points(payouts, rounds, copied, least_rounds=2, copy_discount=0.5)
    assert (kept <= payouts + 1e-12).all()
    assert kept[payouts <= 0] == pytest.approx(payouts[payouts <= 0])
    assert not kept[:, rounds < 2][payouts[:, rounds < 2] > 0].any()
    known = (payouts > 0) & (rounds >= 2)
    assert kept[known] == pytest.approx((payouts * (1 - 0.5 * copied))[known])
    assert kept_points(payouts, rounds, copied) == pytest.approx(payouts)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        kept_points(payouts, rounds, copied + 1)


@given(seed=seeds)
def test_covered_payouts_need_nobodys_debts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    payouts, gains = rng.normal(size=(3, 6)), rng.normal(size=3)
    covered = solvent_points(payouts, gains)
    above = payouts > 0
    assert covered[above].sum() <= max(gains.sum(), 0.0) + 1e-9
    assert covered[~above] == pytest.approx(payouts[~above])
    assert solvent_points(payouts, np.abs(gains) + payouts[above].sum()) == pytest.approx(payouts)


def test_a_scapegoat_raises_its_friends_pay_only_where_its_debt_is_counted_on() -> None:
    estimates, gains = np.array([1.0, 1.0, 1.0, 0.0]), np.array([4.0])
    goat = np.array([1.0, 1.0, 1.0, 0.0, -9.0])
    before, after = (
        regression_points(who, np.ones((1, who.size), dtype=bool), gains, spread=0.5) for who in (estimates, goat)
    )
    assert after[0, :3].sum() > 1.3 * before[0, :3].sum()
    shares = [solvent_points(paid, gains)[0, :3].sum() for paid in (before, after)]
    assert shares[1] <= shares[0] * 1.05
