"""Peer prediction: informed truth scores best, and what ignores the slot scores nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.peer import (
    accuracy_by_agreement,
    correlated_agreement,
)

SLOTS = 20_000
Strategy = NDArray[np.float64]


def scored(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    slot, labeler = np.nonzero(~np.isnan(reports))
    return correlated_agreement(
        slot, labeler, reports[slot, labeler], slots=len(reports), labelers=reports.shape[1]
    ).score


def crowd(rng: np.random.Generator, share_of_a: float = 0.5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Answers, and reports of four people of accuracy 0.8."""
    answer = (rng.random(SLOTS) < share_of_a).astype(float)
    right = rng.random((SLOTS, 4)) < 0.8
    return answer, np.where(right, answer[:, None], 1 - answer[:, None])


@pytest.mark.parametrize("share_of_a", [0.5, 0.8])
def test_truth_scores_best_and_what_ignores_the_slot_nothing(share_of_a: float) -> None:
    rng = np.random.default_rng(0)
    _, reports = crowd(rng, share_of_a)
    signal = reports[:, 0].copy()
    worth = {}
    for name, said in {
        "truth": signal,
        "inverted": 1 - signal,
        "always A": np.ones(SLOTS),
        "coin": rng.integers(0, 2, SLOTS).astype(float),
        "common": (rng.random(SLOTS) < share_of_a).astype(float),
        "half": np.where(rng.random(SLOTS) < 0.5, signal, rng.integers(0, 2, SLOTS)),
    }.items():
        reports[:, 0] = said
        worth[name] = scored(reports)[0]
    assert worth["truth"] > 2 * 0.9 * worth["half"] > 0.1
    for name in ("always A", "coin", "common"):
        assert abs(worth[name]) < 0.03
    assert worth["inverted"] == pytest.approx(-worth["truth"])
    reports[:, 0] = 0.6 * signal + 0.2  # less sure, the same side
    assert scored(reports)[0] == pytest.approx(worth["truth"])


def test_partners_of_a_ring_are_no_peers() -> None:
    rng = np.random.default_rng(1)
    _, reports = crowd(rng)
    reports[:, 0] = reports[:, 1] = rng.integers(0, 2, SLOTS)
    slot, labeler = (each.ravel() for each in np.indices(reports.shape))
    alone = correlated_agreement(slot, labeler, reports.ravel(), slots=SLOTS, labelers=4).score
    known = correlated_agreement(
        slot, labeler, reports.ravel(), slots=SLOTS, labelers=4, ring=np.array([0, 0, 1, 2])
    ).score
    assert alone[0] > 0.25
    assert abs(known[0]) < 0.03
    assert known[2] > 0.1


def test_accuracies_come_out_without_outcomes() -> None:
    rng = np.random.default_rng(2)
    accuracy = np.array([0.95, 0.85, 0.75, 0.65, 0.5])
    answer = rng.integers(0, 2, SLOTS)
    reports = np.where(rng.random((SLOTS, 5)) < accuracy, answer[:, None], 1 - answer[:, None]).astype(float)
    slot, labeler = (each.ravel() for each in np.indices(reports.shape))
    found = accuracy_by_agreement(
        correlated_agreement(slot, labeler, reports.ravel(), slots=SLOTS, labelers=5), prior=1.0
    )
    assert (np.diff(found) < 0).all()
    assert np.abs(found - accuracy).max() < 0.12


def test_a_crowd_that_does_not_agree_tells_nobody_from_anybody() -> None:
    nothing = correlated_agreement(
        np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0), slots=3, labelers=2
    )
    assert (nothing.score == 0).all()
    assert (accuracy_by_agreement(nothing) == 0.5).all()


def test_arguments_that_make_no_sense_are_refused() -> None:
    one = np.array([0])
    with pytest.raises(ValueError, match="ring"):
        correlated_agreement(one, one, np.ones(1), slots=1, labelers=1, ring=np.zeros(2, dtype=np.int64))
    with pytest.raises(ValueError, match="prior"):
        accuracy_by_agreement(correlated_agreement(one, one, np.ones(1), slots=1, labelers=1), prior=0.0)
