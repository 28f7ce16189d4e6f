"""Values of judgements: a report's part in the aggregate, what is conserved, and who is worth what in a crowd whose answers are known."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from crowd_assets.mechanisms.judgement_values import EXACT_UP_TO, judgement_values, report_effects
from crowd_assets.mechanisms.labelers.base import nobody_known
from crowd_assets.mechanisms.labelers.table import AGGREGATES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def pool_of(name: str, labeler: Ints, report: Floats, labelers: int):  # type: ignore[no-untyped-def]
    known = nobody_known(labelers)

    def pool(of_set: Ints, row: Ints) -> Floats:
        nothing = np.full(int(of_set[-1]) + 1, np.nan)
        rng = np.random.default_rng(0)
        return AGGREGATES[name].run(known, of_set, labeler[row], report[row], nothing, entry=1.0, rng=rng).aggregates

    return pool


def test_effects_are_the_shapley_values_of_the_aggregate() -> None:
    rng = np.random.default_rng(1)
    report, labeler = rng.random(4), np.arange(4)
    pool = pool_of("log_odds", labeler, report, 4)
    expected = np.zeros(4)
    for order in permutations(range(4)):
        before = 0.5
        for at, player in enumerate(order):
            rows = np.array(sorted(order[: at + 1]))
            after = float(pool(np.zeros(rows.size, dtype=np.int64), rows)[0])
            expected[player] += (after - before) / 24
            before = after
    assert report_effects(np.zeros(4, dtype=np.int64), pool, rng=rng) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["log_odds", "mean", "median", "weighted_score_update_pooled"])
def test_effects_of_a_comparison_sum_to_its_aggregate(name: str) -> None:
    rng = np.random.default_rng(2)
    counts = np.array([1, 3, EXACT_UP_TO + 4, 2, EXACT_UP_TO, 3])
    slot = np.repeat(np.arange(counts.size), counts)
    labeler = np.concatenate([np.arange(count) for count in counts])
    report = rng.random(slot.size)
    pool = pool_of(name, labeler, report, 12)
    effects = report_effects(slot, pool, rng=rng)
    whole = pool(slot, np.arange(slot.size))
    assert np.bincount(slot, effects) == pytest.approx(whole - 0.5, abs=1e-12)


def test_who_judges_against_the_crowd_is_worth_less_and_the_sum_is_that_of_the_pairs() -> None:
    """Pairs whose accepted answer is the right one lower the loss, others raise it: the careful gain, coins and contrarians do not."""
    rng = np.random.default_rng(3)
    pairs, accuracy = 300, np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.1])
    answer = rng.random(pairs) < 0.5
    agrees = rng.random((pairs, accuracy.size)) < accuracy
    report = np.where(agrees, answer[:, None], ~answer[:, None]) * 0.8 + 0.1
    slot, labeler = np.repeat(np.arange(pairs), accuracy.size), np.tile(np.arange(accuracy.size), pairs)
    pool = pool_of("mean", labeler, report.ravel(), accuracy.size)
    effects = report_effects(slot, pool, rng=rng)
    aggregate = 0.5 + np.bincount(slot, effects)
    worth = np.where((aggregate > 0.5) == answer, 1.0, -1.0) * np.abs(aggregate - 0.5) * rng.uniform(0.5, 1.5, pairs)
    values = judgement_values(slot, labeler, effects, worth, labelers=accuracy.size)
    assert values.sum() == pytest.approx(worth.sum())
    assert values[:4].min() > 2 * max(values[4], 0.0)
    assert values[4] > values[5]
    assert values[5] < 0
    assert np.ptp(values[:4]) < values[:4].mean() / 2, "who is alike is worth about the same"


def test_a_pair_that_reports_left_undecided_is_shared_equally() -> None:
    slot, labeler = np.array([0, 0, 1]), np.array([0, 1, 0])
    values = judgement_values(slot, labeler, np.array([0.3, -0.29, 0.4]), np.array([2.0, 5.0, 9.0]), labelers=3)
    assert values.tolist() == [6.0, 1.0, 0.0]


def test_what_does_not_match_is_refused() -> None:
    two, one = np.zeros(2, dtype=np.int64), np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="an effect a report"):
        judgement_values(two, two, np.zeros(1), np.ones(1), labelers=1)
    with pytest.raises(ValueError, match="slots must lie"):
        judgement_values(one + 1, one, np.zeros(1), np.ones(1), labelers=1)
    with pytest.raises(ValueError, match="in the order"):
        report_effects(np.array([1, 0]), lambda of_set, row: np.zeros(2), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="the pool gave"):
        report_effects(two, lambda of_set, row: np.zeros(1), rng=np.random.default_rng(0))
