"""Coefficients of agreement: equal to reference libraries on tables with gaps, their intervals, and how much more is to be asked."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from crowd_assets.mechanisms import agreement
from crowd_assets.mechanisms.agreement import (
    COEFFICIENTS,
    METRICS,
    fleiss_kappa,
    gwet_ac1,
    gwet_ac2,
    krippendorff_alpha,
    with_interval,
)
from crowd_assets.mechanisms.agreement_of_pairs import cohen_of_pairs
from crowd_assets.mechanisms.sample_size import (
    comparisons_until_decided,
    comparisons_until_margin,
    items_until_interval,
)

GAP = math.nan
PUBLISHED = np.array(
    [
        [1, 1, GAP, 1],
        [2, 2, 3, 2],
        [3, 3, 3, 3],
        [3, 3, 3, 3],
        [2, 2, 2, 2],
        [1, 2, 3, 4],
        [4, 4, 4, 4],
        [1, 1, 2, 1],
        [2, 2, 2, 2],
        [GAP, 5, 5, 5],
        [GAP, GAP, 1, 1],
        [GAP, GAP, 3, GAP],
    ]
)
"""12 units by 4 people: Krippendorff, "Computing Krippendorff's alpha-reliability" (2011)."""


def rows(table: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    item, person = np.nonzero(~np.isnan(table))
    return item.astype(np.int64), person.astype(np.int64), table[item, person]


def table_with_gaps(rng: np.random.Generator) -> NDArray[np.float64]:
    """A table of up to 20 items by 8 people in up to 6 values, each with some leaning to the item's own, and gaps."""
    items, people, values = rng.integers(2, 21), rng.integers(2, 9), rng.integers(2, 7)
    own = rng.integers(0, values, (items, 1))
    table = np.where(rng.random((items, people)) < rng.random(), own, rng.integers(0, values, (items, people)))
    points = np.sort(rng.normal(size=values))
    table = points[table]
    table[rng.random(table.shape) < 0.7 * rng.random()] = GAP
    return table


def defined(item: NDArray[np.int64], value: NDArray[np.float64]) -> bool:
    """Whether two judgements of one item exist, and two values among such."""
    paired = np.bincount(item)[item] > 1
    return np.unique(value[paired]).size > 1


@pytest.mark.parametrize("metric", METRICS)
def test_alpha_equals_the_reference_library_on_random_tables_with_gaps(metric: str) -> None:
    krippendorff = pytest.importorskip("krippendorff", reason="krippendorff is in the extra 'test'")
    rng, compared = np.random.default_rng(7), 0
    for _ in range(1_000):
        table = table_with_gaps(rng)
        item, _, value = rows(table)
        if defined(item, value):
            expected = krippendorff.alpha(table.T, level_of_measurement=metric)
            assert krippendorff_alpha(item, value, metric) == pytest.approx(expected, abs=1e-9)
            compared += 1
        else:
            assert math.isnan(krippendorff_alpha(item, value, metric))
    assert compared > 900


def test_fleiss_kappa_equals_the_reference_library_where_everybody_judges() -> None:
    reference = pytest.importorskip("statsmodels.stats.inter_rater", reason="statsmodels is in the extra 'test'")
    rng = np.random.default_rng(9)
    for _ in range(200):
        table = rng.integers(0, 3, (int(rng.integers(3, 30)), int(rng.integers(2, 7)))).astype(float)
        counts, _ = reference.aggregate_raters(table.astype(int))
        item, _, value = rows(table)
        assert fleiss_kappa(item, value) == pytest.approx(reference.fleiss_kappa(counts), abs=1e-9)


def by_loops(table: NDArray[np.float64], weights: str, gwet: bool) -> float:
    """Fleiss' kappa or Gwet's AC by the book: Gwet (2014), a unit and a pair of people at a time."""
    values = sorted({float(each) for each in table[~np.isnan(table)]})
    reach = values[-1] - values[0]

    def credit(one: float, other: float) -> float:
        away = abs(one - other) / reach if reach else 0.0
        return {"identity": float(one == other), "linear": 1 - away, "quadratic": 1 - away**2}[weights]

    agreed, shares, rated = [], np.zeros(len(values)), 0
    for unit in table:
        given = [float(each) for each in unit if not math.isnan(each)]
        if given:
            rated += 1
            shares += [given.count(value) / len(given) for value in values]
        if len(given) > 1:
            pairs = [credit(one, two) for i, one in enumerate(given) for j, two in enumerate(given) if i != j]
            agreed.append(sum(pairs) / len(pairs))
    shares /= rated
    total = sum(credit(one, two) for one in values for two in values)
    if gwet:
        chance = total / (len(values) * (len(values) - 1)) * float((shares * (1 - shares)).sum())
    else:
        chance = sum(credit(a, b) * shares[i] * shares[j] for i, a in enumerate(values) for j, b in enumerate(values))
    return (float(np.mean(agreed)) - chance) / (1 - chance)


@pytest.mark.parametrize("weights", ["identity", "linear", "quadratic"])
def test_gwets_and_fleiss_coefficients_equal_the_book_on_tables_with_gaps(weights: str) -> None:
    rng, compared = np.random.default_rng(10), 0
    while compared < 100:
        table = table_with_gaps(rng)
        item, _, value = rows(table)
        if not defined(item, value):
            continue
        compared += 1
        assert gwet_ac2(item, value, weights) == pytest.approx(by_loops(table, weights, True), abs=1e-9)
        if weights == "identity":
            assert gwet_ac1(item, value) == pytest.approx(by_loops(table, weights, True), abs=1e-9)
            assert fleiss_kappa(item, value) == pytest.approx(by_loops(table, weights, False), abs=1e-9)


def test_published_figures() -> None:
    item, _, value = rows(PUBLISHED)
    assert krippendorff_alpha(item, value) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(item, value, "ordinal") == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(item, value, "interval") == pytest.approx(0.849, abs=5e-4)
    assert gwet_ac1(item, value) == pytest.approx(0.77544, abs=5e-6)
    assert fleiss_kappa(item, value) == pytest.approx(0.76117, abs=5e-6)


def test_nothing_is_said_where_nothing_can_be() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    for coefficient in COEFFICIENTS.values():
        assert math.isnan(coefficient(nothing, np.zeros(0)))
        assert math.isnan(coefficient(np.arange(3), np.array([0.0, 1.0, 0.5])))  # one judgement of each
    one_value = (np.array([0, 0, 1, 1]), np.ones(4))
    for name, coefficient in COEFFICIENTS.items():
        value = coefficient(*one_value)
        assert value == 1.0 if name.startswith("gwet") else math.isnan(value)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_the_interval_holds_the_coefficient_and_narrows_with_items(coefficient: str) -> None:
    def crowd(items: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        rng = np.random.default_rng(11)
        side = rng.integers(0, 2, (items, 1))
        judged = np.where(rng.random((items, 4)) < 0.8, side, 1 - side).astype(float)
        judged[rng.random(judged.shape) < 0.2] = GAP
        item, _, value = rows(judged)
        return item, value

    few, many = (
        with_interval(coefficient, *crowd(items), resamples=200, rng=np.random.default_rng(0)) for items in (60, 5_000)
    )
    for found in (few, many):
        assert found.low < found.value < found.high
    # Items fall 83-fold, so that a half width falls 9-fold; 5,000 items are resampled in groups.
    assert 6 < (few.high - few.low) / (many.high - many.low) < 13


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_the_interval_covers_the_truth_as_often_as_it_says(coefficient: str) -> None:
    rng, covered = np.random.default_rng(12), 0
    # Two people, each right with chance 0.8 on a fair coin: kappa, alpha and AC are 2 (0.8^2 + 0.2^2) - 1 = 0.36.
    for _ in range(60):
        side = rng.integers(0, 2, (150, 1))
        judged = np.where(rng.random((150, 2)) < 0.8, side, 1 - side).astype(float)
        item, _, value = rows(judged)
        found = with_interval(coefficient, item, value, resamples=200, rng=rng)
        covered += found.low <= 0.36 <= found.high
    assert 50 <= covered <= 60


def test_many_distinct_values_have_intervals_too() -> None:
    rng = np.random.default_rng(13)
    item = np.repeat(np.arange(400), 3)
    value = np.clip(rng.random(400)[item] + 0.1 * rng.standard_normal(item.size), 0, 1)
    assert np.unique(value).size > agreement.MOST_LEVELS
    for name in ("alpha_ordinal", "alpha_interval"):
        found = with_interval(name, item, value, resamples=100, rng=rng)
        assert 0.7 < found.low < found.value < found.high < 1
    nominal = with_interval("alpha_nominal", item, np.round(value, 2), resamples=100, rng=rng)
    assert nominal.low < nominal.value < nominal.high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: krippendorff_alpha(np.array([0]), np.array([0.0]), "ratio"), "unknown metric"),
        (lambda: krippendorff_alpha(np.array([0, 1]), np.array([0.0])), "one item and value"),
        (lambda: krippendorff_alpha(np.array([-1]), np.array([0.0])), "numbered from 0"),
        (lambda: krippendorff_alpha(np.array([0]), np.array([math.nan])), "finite"),
        (lambda: gwet_ac2(np.array([0]), np.array([0.0]), "cubic"), "unknown weights"),
        (lambda: cohen_of_pairs(np.array([0, 0]), np.array([1, 1]), np.zeros(2)), "judged an item twice"),
        (lambda: items_until_interval(0.0, 1, 0.1), "positive widths"),
        (lambda: comparisons_until_margin(0.5, 0.0), "a margin"),
        (lambda: comparisons_until_decided(1.5), "a rate"),
    ],
)
def test_what_is_not_a_judgement_is_refused(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=words):
        call()


def test_unknown_coefficients_and_levels_are_refused() -> None:
    rng = np.random.default_rng(0)
    item, value = np.zeros(2, dtype=np.int64), np.zeros(2)
    with pytest.raises(ValueError, match="unknown coefficient"):
        with_interval("alpha", item, value, rng=rng)
    with pytest.raises(ValueError, match="level"):
        with_interval("gwet_ac1", item, value, level=1.0, rng=rng)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_an_item_of_weight_two_counts_as_two_items(coefficient: str) -> None:
    rng = np.random.default_rng(3)
    item, value = np.repeat(np.arange(12), 3), rng.integers(0, 3, 36) / 2
    once = np.isin(item, np.arange(6))
    twice = np.concatenate([item, item[once] + 12]), np.concatenate([value, value[once]])
    weight = np.where(np.arange(12) < 6, 2.0, 1.0)
    found = with_interval(coefficient, item, value, resamples=5, rng=rng, weight=weight)
    assert found.value == pytest.approx(COEFFICIENTS[coefficient](*twice))
    assert with_interval(coefficient, item, value, resamples=5, rng=rng, weight=np.ones(12)).value == pytest.approx(
        COEFFICIENTS[coefficient](item, value)
    )
    with pytest.raises(ValueError, match="weights must be positive"):
        with_interval(coefficient, item, value, resamples=5, rng=rng, weight=np.zeros(12))
