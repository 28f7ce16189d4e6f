"""Consensus without outcomes: it finds good labelers and liars, and agrees with crowd-kit's implementations."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.crowdlab import crowdlab
from crowd_assets.mechanisms.labelers.glad import glad
from crowd_assets.mechanisms.labelers.m_msr import m_msr
from crowd_assets.mechanisms.labelers.mace import mace
from crowd_assets.mechanisms.labelers.noisy_bt import noisy_bradley_terry
from crowd_assets.mechanisms.labelers.votes import Consensus

Ints, Floats = NDArray[np.int64], NDArray[np.float64]
SLOTS, LABELERS = 300, 15
RULES: dict[str, Callable[..., Consensus]] = {"mace": mace, "glad": glad, "m_msr": m_msr}
CROWD_KIT = {"mace": "MACE", "glad": "GLAD", "m_msr": "MMSR"}
pytestmark = pytest.mark.filterwarnings("ignore")


def crowd(seed: int = 0) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """Slot, labeler, report, the answer of each slot, and accuracies: three good labelers, ten middling, two coin-flippers."""
    rng = np.random.default_rng(seed)
    answer = rng.integers(0, 2, SLOTS)
    accuracy = np.array([0.97, 0.95, 0.93] + [0.7] * 10 + [0.5, 0.5])
    slot, labeler = np.nonzero(rng.random((SLOTS, LABELERS)) < 0.5)
    right = rng.random(slot.size) < accuracy[labeler]
    report = np.where(right, answer[slot], 1 - answer[slot]).astype(float)
    return slot.astype(np.int64), labeler.astype(np.int64), report, answer.astype(float), accuracy


@pytest.fixture(scope="module")
def crowd_kit() -> ModuleType:
    return pytest.importorskip("crowdkit.aggregation", reason="crowd-kit is in the extra 'test'")


@pytest.mark.parametrize("rule", RULES)
def test_good_labelers_are_told_from_coins_and_the_consensus_beats_the_mean(rule: str) -> None:
    slot, labeler, report, answer, _ = crowd()
    found = RULES[rule](slot, labeler, report, slots=SLOTS, labelers=LABELERS)
    mean = np.bincount(slot, report, minlength=SLOTS) / np.bincount(slot, minlength=SLOTS)
    assert ((found.probability_a > 0.5) == answer).mean() > ((mean > 0.5) == answer).mean() + 0.02
    assert found.accuracy[:3].min() > found.accuracy[3:13].max()
    assert found.accuracy[3:13].min() > found.accuracy[13:].max()


@pytest.mark.parametrize("rule", RULES)
def test_consensus_agrees_with_crowd_kits(rule: str, crowd_kit: ModuleType) -> None:
    slot, labeler, report, answer, _ = crowd(1)
    found = RULES[rule](slot, labeler, report, slots=SLOTS, labelers=LABELERS)
    rows = pd.DataFrame({"task": slot, "worker": labeler, "label": report.astype(int)})
    aggregator = getattr(crowd_kit, CROWD_KIT[rule])
    options = {
        "mace": {"n_restarts": 2, "n_iter": 20, "random_state": 0},
        "glad": {"n_iter": 5, "m_step_max_iter": 8},
    }.get(rule, {})
    theirs = aggregator(**options).fit_predict(rows)
    theirs = theirs.reindex(range(SLOTS)).to_numpy()
    ours = (found.probability_a > 0.5).astype(int)
    heard = ~np.isnan(found.probability_a)
    assert (ours == theirs)[heard].mean() >= 0.97
    assert (ours == answer)[heard].mean() >= (theirs == answer)[heard].mean() - 0.01


def test_m_msr_is_not_led_by_a_liar() -> None:
    rng = np.random.default_rng(2)
    answer = rng.integers(0, 2, SLOTS)
    table = np.where(rng.random((SLOTS, 8)) < 0.75, answer[:, None], 1 - answer[:, None]).astype(float)
    table[:, 0] = 1 - answer  # always wrong
    slot, labeler = (each.ravel() for each in np.indices(table.shape))
    found = m_msr(slot, labeler, table.ravel(), slots=SLOTS, labelers=8)
    assert found.accuracy[0] < 0.1
    assert ((found.probability_a > 0.5) == answer).mean() > 0.99


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_consensus_does_not_care_for_names_order_or_sides(rule: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, labelers = int(rng.integers(2, 12)), int(rng.integers(2, 6))
    slot, labeler = np.nonzero(rng.random((slots, labelers)) < 0.7)
    report = rng.choice([0.0, 0.25, 0.5, 1.0], slot.size)
    once = RULES[rule](slot, labeler, report, slots=slots, labelers=labelers)
    unheard = np.bincount(slot, minlength=slots) == 0
    assert (np.isnan(once.probability_a) == unheard).all()
    heard = ~unheard
    assert ((once.probability_a[heard] >= 0) & (once.probability_a[heard] <= 1)).all()
    order, names = rng.permutation(slot.size), rng.permutation(labelers)
    again = RULES[rule](slot[order], names[labeler][order], report[order], slots=slots, labelers=labelers)
    np.testing.assert_allclose(again.probability_a, once.probability_a, atol=1e-6)
    np.testing.assert_allclose(again.accuracy[names], once.accuracy, atol=1e-6)
    if rule != "mace":  # whose habit has a side
        swapped = RULES[rule](slot, labeler, 1 - report, slots=slots, labelers=labelers)
        np.testing.assert_allclose(swapped.probability_a, 1 - once.probability_a, atol=1e-6)


def comparisons(seed: int) -> tuple[Ints, Ints, Ints, Ints, Floats, Floats]:
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, 25)
    first, second = rng.integers(0, 25, (2, 600))
    apart = first != second
    first, second = first[apart], second[apart]
    slot = np.repeat(np.arange(first.size), 3)
    labeler = rng.integers(0, 12, slot.size)
    chance = 1 / (1 + np.exp(-(score[first] - score[second])[slot]))
    chance = np.where(labeler < 3, 0.9, chance)  # three who say A whatever stands there
    return first, second, slot, labeler, (rng.random(slot.size) < chance).astype(float), score


def test_noisy_bradley_terry_finds_scores_and_who_clicks_one_side() -> None:
    first, second, slot, labeler, report, score = comparisons(3)
    found = noisy_bradley_terry(first, second, slot, labeler, report, items=25, labelers=12)
    assert found.converged
    assert np.corrcoef(found.score, score)[0, 1] > 0.95
    assert found.attention[:3].max() < found.attention[3:].min()
    assert found.leaning[:3].min() > 0.75


def test_noisy_bradley_terry_agrees_with_crowd_kits(crowd_kit: ModuleType) -> None:
    first, second, slot, labeler, report, _ = comparisons(4)
    found = noisy_bradley_terry(first, second, slot, labeler, report, items=25, labelers=12)
    left, right = first[slot], second[slot]
    rows = pd.DataFrame({"worker": labeler, "left": left, "right": right, "label": np.where(report == 1, left, right)})
    theirs = crowd_kit.NoisyBradleyTerry(n_iter=100).fit_predict(rows).reindex(range(25)).to_numpy()
    assert pd.Series(found.score).corr(pd.Series(theirs), method="spearman") > 0.95


def test_crowdlab_listens_to_a_good_model_and_not_to_a_bad_one() -> None:
    slot, labeler, report, answer, _ = crowd(5)
    few = np.isin(labeler, [3, 4, 5])  # middling people alone
    slot, labeler, report = slot[few], labeler[few], report[few]
    heard = np.bincount(slot, minlength=SLOTS) > 0
    good, bad = np.where(answer == 1, 0.9, 0.1), np.full(SLOTS, 0.5)
    right = [
        ((crowdlab(slot, labeler, report, model, slots=SLOTS, labelers=LABELERS).probability_a > 0.5) == answer)[
            heard
        ].mean()
        for model in (good, bad)
    ]
    mean = np.bincount(slot, report, minlength=SLOTS)[heard] / np.bincount(slot, minlength=SLOTS)[heard]
    plain = np.where(mean == 0.5, 0.5, (mean > 0.5) == answer[heard]).mean()
    assert right[0] > 0.9 > plain
    assert right[1] > plain - 0.1


@pytest.mark.parametrize("rule", RULES)
def test_rows_that_are_no_votes_are_refused(rule: str) -> None:
    run = RULES[rule]
    with pytest.raises(ValueError, match="one row"):
        run(np.array([0]), np.array([0, 1]), np.array([0.5]), slots=1, labelers=2)
    with pytest.raises(ValueError, match="must lie in 0"):
        run(np.array([1]), np.array([0]), np.array([0.5]), slots=1, labelers=1)
    for report in (1.5, np.nan):
        with pytest.raises(ValueError, match=r"reports must lie in \[0, 1\]"):
            run(np.array([0]), np.array([0]), np.array([report]), slots=1, labelers=1)
    nobody = np.zeros(0, dtype=np.int64)
    assert np.isnan(run(nobody, nobody, np.zeros(0), slots=2, labelers=1).probability_a).all()


def test_other_arguments_that_make_no_sense_are_refused() -> None:
    rows = (np.array([0]), np.array([0]), np.array([1.0]))
    with pytest.raises(ValueError, match="liars"):
        m_msr(*rows, slots=1, labelers=1, liars=-1)
    with pytest.raises(ValueError, match="items must lie"):
        noisy_bradley_terry(np.array([3]), np.array([0]), *rows, items=2, labelers=1)
    with pytest.raises(ValueError, match="two items"):
        noisy_bradley_terry(np.array([0]), np.array([0, 1]), *rows, items=2, labelers=1)
    with pytest.raises(ValueError, match="one probability"):
        crowdlab(*rows, np.array([2.0]), slots=1, labelers=1)
