"""Plain aggregates: means that leave out the absent, and Dawid and Skene's accuracies."""

import numpy as np
import pytest

from crowd_assets.mechanisms.labelers.baselines import dawid_skene, mean_aggregate, median_aggregate
from crowd_assets.mechanisms.labelers.score_update import (
    pooled,
)


def test_baselines_leave_out_who_did_not_report() -> None:
    reports = np.array([[0.0, 0.2, 1.0], [0.4, np.nan, 0.6], [np.nan] * 3])
    assert mean_aggregate(reports) == pytest.approx([0.4, 0.5, np.nan], nan_ok=True)
    assert median_aggregate(reports) == pytest.approx([0.2, 0.5, np.nan], nan_ok=True)
    weighted = pooled(np.array([0.5, 0.25, 0.25]), reports)
    assert weighted == pytest.approx([0.3, (0.2 + 0.15) / 0.75, np.nan], nan_ok=True)


def test_dawid_skene_finds_accuracies_without_outcomes_and_falls_for_a_shared_bias() -> None:
    rng = np.random.default_rng(4)
    slots, accuracy = 800, np.array([0.95, 0.9, 0.7, 0.6, 0.55, 0.2])
    answers = rng.integers(0, 2, slots).astype(bool)
    slot, labeler = np.nonzero(rng.random((slots, accuracy.size)) < 0.8)
    right = rng.random(slot.size) < accuracy[labeler]
    report = np.where(right, answers[slot], ~answers[slot]).astype(float)
    found = dawid_skene(slot, labeler, report, slots=slots + 1, labelers=accuracy.size)
    assert found.converged
    assert found.accuracy == pytest.approx(accuracy, abs=0.06)
    assert np.isnan(found.probability_a[-1])
    heard = ~np.isnan(found.probability_a[:-1])
    mean = np.bincount(slot, report, minlength=slots)[heard] / np.bincount(slot, minlength=slots)[heard]
    wrong = np.mean((found.probability_a[:-1][heard] > 0.5) != answers[heard])
    assert wrong < 0.7 * np.mean((mean > 0.5) != answers[heard])
    biased = np.ones(3 * slots)
    fooled = dawid_skene(np.tile(np.arange(slots), 3), np.repeat(np.arange(3), slots), biased, slots=slots, labelers=3)
    assert (fooled.probability_a > 0.99).all()


def test_dawid_skene_refuses_what_makes_no_sense() -> None:
    one = np.array([0])
    with pytest.raises(ValueError, match="labelers in"):
        dawid_skene(one, np.array([1]), np.array([0.5]), slots=1, labelers=1)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        dawid_skene(one, one, np.array([np.nan]), slots=1, labelers=1)
    with pytest.raises(ValueError, match="one row"):
        dawid_skene(one, one, np.array([0.5, 0.5]), slots=1, labelers=1)
    nobody = dawid_skene(np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0), slots=2, labelers=1)
    assert np.isnan(nobody.probability_a).all()
    assert nobody.converged
