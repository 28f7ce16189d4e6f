"""Cohen's coefficient of two people and of each two of many: as the reference library has it."""

import math

import numpy as np
import pytest

from crowd_assets.mechanisms.agreement_of_pairs import cohen_kappa, cohen_of_pairs
from tests.unit.mechanisms.test_agreement import rows, table_with_gaps


@pytest.mark.parametrize("weights", ["identity", "linear", "quadratic"])
def test_cohens_kappa_equals_the_reference_library(weights: str) -> None:
    score = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra 'test'").cohen_kappa_score
    rng = np.random.default_rng(8)
    for _ in range(200):
        first, second = rng.integers(0, 4, (2, int(rng.integers(5, 30)))).astype(float)
        named = {"identity": None}.get(weights, weights)
        expected = score(first.astype(int), second.astype(int), weights=named)
        levels = np.unique(np.concatenate([first, second]))
        if levels.size > 1 and not math.isnan(expected):
            assert cohen_kappa(first, second, weights) == pytest.approx(expected, abs=1e-9)


def test_pairs_of_people_are_cohens_pair_by_pair() -> None:
    rng = np.random.default_rng(14)
    table = table_with_gaps(rng)
    item, person, value = rows(table)
    order = rng.permutation(item.size)
    found = cohen_of_pairs(item[order], person[order], value[order])
    expected = {
        (i, j): both
        for i in range(table.shape[1])
        for j in range(i + 1, table.shape[1])
        if (both := np.flatnonzero(~np.isnan(table[:, i]) & ~np.isnan(table[:, j]))).size
    }
    assert list(zip(found.one.tolist(), found.other.tolist(), strict=True)) == list(expected)
    for at, ((i, j), both) in enumerate(expected.items()):
        assert found.shared[at] == both.size
        assert found.agreement[at] == pytest.approx((table[both, i] == table[both, j]).mean())
        assert found.kappa[at] == pytest.approx(cohen_kappa(table[both, i], table[both, j]), nan_ok=True)
    assert (cohen_of_pairs(item, person, value, fewest_shared=3).shared >= 3).all()
