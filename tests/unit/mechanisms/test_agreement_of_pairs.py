"""Cohen's coefficient of each two of many people: as the reference library has it."""

import warnings

import numpy as np
import pytest

from crowd_assets.mechanisms.agreement_of_pairs import cohen_of_pairs
from tests.unit.mechanisms.test_agreement import rows, table_with_gaps


def test_pairs_of_people_have_the_kappa_of_the_reference_library() -> None:
    score = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra 'test'").cohen_kappa_score
    rng = np.random.default_rng(14)
    for _ in range(30):
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
            first, second = (np.unique(table, return_inverse=True)[1].reshape(table.shape)[both, k] for k in (i, j))
            assert found.shared[at] == both.size
            assert found.agreement[at] == pytest.approx((first == second).mean())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert found.kappa[at] == pytest.approx(score(first, second), nan_ok=True, abs=1e-9)
    assert (cohen_of_pairs(item, person, value, fewest_shared=3).shared >= 3).all()
    assert np.isnan(cohen_of_pairs(np.array([0, 0]), np.array([0, 1]), np.ones(2)).kappa).all()
