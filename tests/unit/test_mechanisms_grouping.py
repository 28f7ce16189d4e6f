"""Grouping: always a partition, and each scheme puts together whom it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.grouping import (
    GROUPING_SCHEMES,
    assign_groups,
    exploration_probability,
    group_sizes,
)


@given(
    scheme=st.sampled_from(GROUPING_SCHEMES),
    groups=st.integers(1, 9),
    extra=st.integers(0, 40),
    round_no=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_groups_are_a_partition_of_nearly_equal_sizes(
    scheme: str, groups: int, extra: int, round_no: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 5, groups + extra).astype(float)
    group = assign_groups(scheme, points, groups, round_no=round_no, rounds=10, rng=rng)
    sizes = np.bincount(group, minlength=groups)
    assert group.shape == points.shape
    assert sizes.size == groups
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("scheme", GROUPING_SCHEMES)
def test_same_generator_state_gives_the_same_groups(scheme: str) -> None:
    points = np.arange(11.0)
    once, again = (
        assign_groups(scheme, points, 3, round_no=2, rounds=5, rng=np.random.default_rng(8)) for _ in range(2)
    )
    assert np.array_equal(once, again)


def test_interleaved_gives_every_group_its_share_of_both_halves() -> None:
    points = np.arange(20.0)
    group = assign_groups("interleaved", points, 5, round_no=1, rounds=1, rng=np.random.default_rng(1))
    assert (np.bincount(group[points >= 10], minlength=5) == 2).all()
    assert (np.bincount(group[points < 10], minlength=5) == 2).all()


def test_epsilon_greedy_explores_as_often_as_it_says_and_sorts_otherwise() -> None:
    rng = np.random.default_rng(3)
    points = rng.permutation(12).astype(float)
    by_points = np.empty(12, dtype=np.int64)
    by_points[np.argsort(-points)] = np.arange(12) // 4
    sorted_splits = [
        np.array_equal(assign_groups("epsilon_greedy", points, 3, round_no=10, rounds=10, rng=rng), by_points)
        for _ in range(2000)
    ]
    assert abs(np.mean(sorted_splits) - 0.6) < 0.05
    assert exploration_probability(1, 10) == pytest.approx(0.9)
    assert exploration_probability(99, 10) == 0.4


def test_equal_points_do_not_let_row_order_decide() -> None:
    rng = np.random.default_rng(4)
    first = [assign_groups("epsilon_greedy", np.ones(10), 2, round_no=10, rounds=10, rng=rng)[0] for _ in range(400)]
    assert 0.4 < np.mean(first) < 0.6


@pytest.mark.parametrize(
    ("scheme", "contributors", "groups", "round_no"),
    [("alphabetical", 4, 2, 1), ("random", 1, 2, 1), ("random", 4, 0, 1), ("random", 4, 2, 0)],
)
def test_what_cannot_be_grouped_is_refused(scheme: str, contributors: int, groups: int, round_no: int) -> None:
    with pytest.raises(ValueError, match=r"unknown|cannot fill|count from 1"):
        assign_groups(scheme, np.ones(contributors), groups, round_no=round_no, rounds=5, rng=np.random.default_rng(0))


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        assign_groups("random", np.array([1.0, np.nan]), 1, round_no=1, rounds=1, rng=np.random.default_rng(0))


def test_first_rounds_can_be_kept_random_until_estimates_have_something_to_go_by() -> None:
    points = np.arange(12.0)
    rng = np.random.default_rng(5)
    sorted_splits = sum(
        assign_groups("epsilon_greedy", points, 3, round_no=9, rounds=9, rng=rng, random_rounds=9)[11] == 0
        for _ in range(900)
    )
    assert 0.27 < sorted_splits / 900 < 0.4


@given(groups=st.integers(1, 9), extra=st.integers(0, 60), small=st.floats(0.05, 1.0), smallest=st.integers(1, 4))
def test_sizes_of_groups_split_everybody(groups: int, extra: int, small: float, smallest: int) -> None:
    sizes = group_sizes(groups + extra, groups, small=small, smallest=smallest)
    assert sizes.shape == (groups,)
    assert sizes.sum() == groups + extra
    assert sizes.min() >= 1
    assert np.array_equal(sizes, np.sort(sizes))
    group = assign_groups(
        "random", np.zeros(groups + extra), groups, round_no=1, rounds=1, rng=np.random.default_rng(0), sizes=sizes
    )
    assert np.bincount(group).tolist() == sizes.tolist()


def test_small_groups_are_a_share_of_an_equal_split() -> None:
    assert group_sizes(100, 5, small=0.25).tolist() == [5, 5, 5, 5, 80]
    assert group_sizes(20, 6, small=0.25).tolist() == [2, 2, 2, 2, 2, 10]
    assert group_sizes(7, 3, small=1.0).tolist() == [2, 2, 3]


def test_posterior_sampling_sorts_by_a_draw_and_exploring_rounds_by_its_deviation_alone() -> None:
    estimates, deviation = np.array([0.0, 10.0, 20.0, 30.0]), np.array([40.0, 0.0, 5.0, 1.0])
    seen = {
        tuple(
            assign_groups(
                "posterior_sampling",
                estimates,
                2,
                round_no=9,
                rounds=10,
                rng=np.random.default_rng(seed),
                deviation=deviation,
            )
        )
        for seed in range(40)
    }
    assert seen == {(0, 1, 1, 0), (0, 1, 0, 1)}  # by 40, 10, 25, 31 and by 40, 0, 5, 1


def test_sizes_and_deviations_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="do not split"):
        assign_groups("random", np.zeros(5), 2, round_no=1, rounds=1, rng=rng, sizes=np.array([1, 3]))
    with pytest.raises(ValueError, match="equal size"):
        assign_groups("interleaved", np.zeros(5), 2, round_no=1, rounds=1, rng=rng, sizes=np.array([1, 4]))
    with pytest.raises(ValueError, match="deviation"):
        assign_groups("posterior_sampling", np.zeros(5), 2, round_no=1, rounds=1, rng=rng, deviation=np.zeros(4))
    with pytest.raises(ValueError, match="small must lie"):
        group_sizes(5, 2, small=0.0)
