"""What a report counts for beside those of names that share its errors."""

import numpy as np
import pytest
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.alike import Alikeness, alikeness

SLOTS, HONEST, NOISE = 200, 9, 0.15


def parts_of(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean part of each labeler of reports (T, N)."""
    slot, labeler = np.divmod(np.arange(reports.size), reports.shape[1])
    found = alikeness(slot, labeler, reports.ravel(), labelers=reports.shape[1])
    return found.parts(slot, labeler).reshape(reports.shape).mean(axis=0)


@pytest.fixture(scope="module")
def honest() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.clip(rng.beta(0.5, 0.5, (SLOTS, 1)) + rng.normal(scale=NOISE, size=(SLOTS, HONEST)), 0, 1)


def test_people_who_judge_by_themselves_count_as_one_each(honest: NDArray[np.float64]) -> None:
    assert parts_of(honest) == pytest.approx(np.ones(HONEST), abs=0.35)


@pytest.mark.parametrize("names", [2, 4])
@pytest.mark.parametrize("disguise", [0.0, 0.05, 0.1, 0.2, 0.3])
def test_noise_does_not_let_names_of_one_labeler_count_more_than_one(
    honest: NDArray[np.float64], names: int, disguise: float
) -> None:
    rng = np.random.default_rng(1)
    own = np.clip(honest[:, :1] + rng.normal(scale=disguise, size=(SLOTS, names)), 0, 1)
    together = parts_of(np.concatenate([own, honest[:, 1:]], axis=1))
    assert together[:names].sum() < 1.15 * parts_of(honest)[0]
    assert together[names:].mean() > 0.8, "nor do others count less"


def test_names_whose_noises_cancel_are_too_noisy_to_count_as_several(honest: NDArray[np.float64]) -> None:
    noise = np.random.default_rng(2).normal(size=(SLOTS, 4))
    opposed = (noise - noise.mean(axis=1, keepdims=True)) * NOISE * 2
    together = parts_of(np.concatenate([np.clip(honest[:, :1] + opposed, 0, 1), honest[:, 1:]], axis=1))
    assert together[:4].sum() < 1.5 * parts_of(honest)[0]


def test_a_part_depends_on_who_else_reports_in_the_slot() -> None:
    links = alikeness(np.zeros(0, int), np.zeros(0, int), np.zeros(0), labelers=3).links.tolil()
    links[0, 1] = links[1, 0] = 1.0
    found = Alikeness(np.array([1.0, 1.0, 2.0]), links.tocsr())
    slot, labeler = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 2])
    assert found.parts(slot, labeler).tolist() == [0.5, 0.5, 2.0, 1.0, 2.0]


def test_who_judged_little_or_alone_counts_as_usual() -> None:
    found = alikeness(np.arange(5), np.zeros(5, int), np.ones(5), labelers=2)
    assert found.parts(np.arange(5), np.zeros(5, int)).tolist() == [1.0] * 5


def test_labelers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        alikeness(np.zeros(1, int), np.array([2]), np.zeros(1), labelers=2)
    with pytest.raises(ValueError, match="a report"):
        alikeness(np.zeros(1, int), np.zeros(2, int), np.zeros(1), labelers=2)
