"""Groupings: each member of the table gives candidates somebody to be trained by, and puts together whom it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.groupings.base import (
    Entrants,
    exploration_probability,
    group_sizes,
    members_of,
)
from crowd_assets.mechanisms.groupings.nested import RATIO
from crowd_assets.mechanisms.groupings.table import GROUPINGS
from tests.toys import Together


@given(
    name=st.sampled_from(GROUPINGS.names),
    groups=st.integers(1, 9),
    extra=st.integers(0, 40),
    round_no=st.integers(1, 20),
    small=st.sampled_from([1.0, 0.3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_candidate_has_a_member_that_no_earlier_one_has(
    name: str, groups: int, extra: int, round_no: int, small: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 5, groups + extra).astype(float)
    entrants = Entrants(keys, groups, round_no=round_no, rounds=10, small=small)
    first = GROUPINGS[name].assign(entrants, np.random.default_rng(seed))
    assert np.array_equal(first, GROUPINGS[name].assign(entrants, np.random.default_rng(seed)))
    assert first.shape == keys.shape
    candidates = int(first.max()) + 1
    assert set(range(candidates)) <= set(first.tolist()) <= set(range(-1, candidates))
    member = members_of(first, partition=GROUPINGS[name].partition)
    assert member.any(axis=1).all()
    if GROUPINGS[name].partition:
        assert candidates == groups
        assert (member.sum(axis=0) == 1).all()
        if name != "interleaved":
            assert sorted(member.sum(axis=1)) == sorted(entrants.sizes)
    else:
        assert candidates <= groups
        assert (member[:-1] <= member[1:]).all()


def test_nested_candidates_are_the_best_few_and_some_more_about_the_last_winners_size() -> None:
    keys = np.random.default_rng(0).permutation(24).astype(float)
    member = members_of(GROUPINGS["nested"].assign(Entrants(keys, 2), np.random.default_rng(1)), partition=False)
    assert member.sum(axis=1).tolist() == [round(12 / RATIO**0.5), round(12 * RATIO**0.5)]
    for candidate in member:
        assert keys[candidate].min() > keys[~candidate].max()
    larger = members_of(
        GROUPINGS["nested"].assign(Entrants(keys, 2, centre=1.0), np.random.default_rng(1)), partition=False
    )
    assert larger.sum(axis=1).tolist() == [20, 24]


def test_interleaved_gives_every_group_its_share_of_both_halves() -> None:
    keys = np.arange(20.0)
    group = GROUPINGS["interleaved"].assign(Entrants(keys, 5), np.random.default_rng(1))
    assert (np.bincount(group[keys >= 10], minlength=5) == 2).all()
    assert (np.bincount(group[keys < 10], minlength=5) == 2).all()


def test_epsilon_greedy_explores_as_often_as_it_says_and_sorts_otherwise() -> None:
    rng = np.random.default_rng(3)
    keys = rng.permutation(12).astype(float)
    by_key = np.empty(12, dtype=np.int64)
    by_key[np.argsort(-keys)] = np.arange(12) // 4
    entrants = Entrants(keys, 3, round_no=10, rounds=10)
    greedy = GROUPINGS["epsilon_greedy"]
    assert abs(np.mean([np.array_equal(greedy.assign(entrants, rng), by_key) for _ in range(2000)]) - 0.6) < 0.05
    assert exploration_probability(1, 10) == pytest.approx(0.9)
    assert exploration_probability(99, 10) == 0.4


def test_equal_keys_do_not_let_row_order_decide() -> None:
    rng = np.random.default_rng(4)
    entrants = Entrants(np.ones(10), 2, round_no=10, rounds=10)
    first = [GROUPINGS["epsilon_greedy"].assign(entrants, rng)[0] for _ in range(400)]
    assert 0.4 < np.mean(first) < 0.6


def test_first_rounds_can_be_kept_random_until_estimates_have_something_to_go_by() -> None:
    rng = np.random.default_rng(5)
    entrants = Entrants(np.arange(12.0), 3, round_no=9, rounds=9, random_rounds=9)
    first = sum(GROUPINGS["epsilon_greedy"].assign(entrants, rng)[11] == 0 for _ in range(900))
    assert 0.27 < first / 900 < 0.4


def test_posterior_sampling_sorts_by_a_draw_and_exploring_rounds_by_its_deviation_alone() -> None:
    entrants = Entrants(
        np.array([0.0, 10.0, 20.0, 30.0]), 2, round_no=9, rounds=10, deviation=np.array([40.0, 0.0, 5.0, 1.0])
    )
    seen = {tuple(GROUPINGS["posterior_sampling"].assign(entrants, np.random.default_rng(seed))) for seed in range(40)}
    assert seen == {(0, 1, 1, 0), (0, 1, 0, 1)}  # by 40, 10, 25, 31 and by 40, 0, 5, 1


@pytest.mark.parametrize(
    ("contributors", "groups", "round_no"),
    [(1, 2, 1), (4, 0, 1), (4, 2, 0)],
)
def test_what_cannot_be_grouped_is_refused(contributors: int, groups: int, round_no: int) -> None:
    with pytest.raises(ValueError, match=r"cannot fill|count from 1"):
        Entrants(np.ones(contributors), groups, round_no=round_no, rounds=5)


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Entrants(np.array([1.0, np.nan]), 1)
    with pytest.raises(ValueError, match="deviation"):
        Entrants(np.zeros(5), 2, deviation=np.zeros(4))
    with pytest.raises(ValueError, match="centre"):
        Entrants(np.zeros(5), 2, centre=0.0)
    with pytest.raises(ValueError, match="small must lie"):
        group_sizes(5, 2, small=0.0)


@given(groups=st.integers(1, 9), extra=st.integers(0, 60), small=st.floats(0.05, 1.0), smallest=st.integers(1, 4))
def test_sizes_of_groups_split_everybody(groups: int, extra: int, small: float, smallest: int) -> None:
    sizes = group_sizes(groups + extra, groups, small=small, smallest=smallest)
    assert sizes.shape == (groups,)
    assert sizes.sum() == groups + extra
    assert sizes.min() >= 1
    assert np.array_equal(sizes, np.sort(sizes))


def test_small_groups_are_a_share_of_an_equal_split() -> None:
    assert group_sizes(100, 5, small=0.25).tolist() == [5, 5, 5, 5, 80]
    assert group_sizes(20, 6, small=0.25).tolist() == [2, 2, 2, 2, 2, 10]
    assert group_sizes(7, 3, small=1.0).tolist() == [2, 2, 3]


def test_a_member_more_is_a_module_and_a_row() -> None:
    family = GROUPINGS.plus(Together())
    assert family["together"].assign(Entrants(np.zeros(4), 2), np.random.default_rng(0)).tolist() == [0] * 4
    assert "together" not in GROUPINGS
