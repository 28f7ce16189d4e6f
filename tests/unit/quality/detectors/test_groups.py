"""The detector of collusion: people who see well are alike and not accused, rings are, and nobody is named in what others read."""

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from crowd_assets.quality.detectors.base import CONTRIBUTORS, FLAGGED_EVENTS, Detection
from crowd_assets.quality.detectors.groups import collusion

PAIRS, PEOPLE, ACCURATE = 80, 16, 5
NOTHING = Detection("", pl.DataFrame(schema=FLAGGED_EVENTS), pl.DataFrame(schema=CONTRIBUTORS))


def five_accurate(rng: np.random.Generator) -> NDArray[np.float64]:
    """Five who are right in 97 of 100, the others in 65, all in the same two numbers."""
    accuracy = np.r_[np.full(ACCURATE, 0.97), np.full(PEOPLE - ACCURATE, 0.65)]
    answer = rng.random((PAIRS, 1)) < 0.5
    return np.where(rng.random((PAIRS, PEOPLE)) < accuracy, answer, ~answer) * 0.8 + 0.1


def all_accurate(rng: np.random.Generator) -> NDArray[np.float64]:
    answer = rng.random((PAIRS, 1)) < 0.5
    return np.where(rng.random((PAIRS, PEOPLE)) < 0.96, answer, ~answer) * 1.0


def who_sees_the_chance(rng: np.random.Generator) -> NDArray[np.float64]:
    """Five who know each pair's chance to .04 and say it in tenths, the others to .3."""
    noise = np.r_[np.full(ACCURATE, 0.04), np.full(PEOPLE - ACCURATE, 0.3)]
    chance = rng.beta(0.5, 0.5, (PAIRS, 1))
    return np.clip(chance + noise * rng.standard_normal((PAIRS, PEOPLE)), 0, 1).round(1)


def easy_and_hard(rng: np.random.Generator) -> NDArray[np.float64]:
    """Half of the pairs are easy for everybody, half a coin for nearly everybody."""
    ease, answer = rng.choice([3.0, 0.2], (PAIRS, 1)), rng.random((PAIRS, 1)) < 0.5
    ability = np.r_[np.full(ACCURATE, 1.6), np.full(PEOPLE - ACCURATE, 0.9)]
    right = rng.random((PAIRS, PEOPLE)) < 1 / (1 + np.exp(-ability * ease))
    return np.where(right, answer, ~answer) * 1.0


def with_ties(rng: np.random.Generator) -> NDArray[np.float64]:
    reports = five_accurate(rng)
    close = rng.random((PAIRS, 1)) < 0.3
    return np.where(close & (rng.random(reports.shape) < 0.8), 0.5, reports)


CROWDS = [five_accurate, all_accurate, who_sees_the_chance, easy_and_hard, with_ties]


def linked(reports: NDArray[np.float64], rng: np.random.Generator) -> tuple[set[str], Detection]:
    pair, person = np.nonzero(rng.random(reports.shape) < 0.7)
    events = pl.DataFrame(
        {
            "event_id": [f"{one}-{other}" for one, other in zip(pair, person, strict=True)],
            "seq": np.arange(pair.size),
            "kind": ["preference"] * pair.size,
            "contributor_id": [f"person{number:02d}" for number in person],
            "comparison_id": [str(number) for number in pair],
            "probability_a": reports[pair, person],
        }
    )
    found = collusion(events, NOTHING, NOTHING)
    return set(found.rings["contributor_id"]), found


@pytest.mark.parametrize("crowd", CROWDS)
def test_people_who_judge_by_themselves_are_not_accused(crowd) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    accused = sum(len(linked(crowd(rng), rng)[0]) for _ in range(12))
    assert accused <= 0.01 * 12 * PEOPLE


@pytest.mark.parametrize("crowd", [five_accurate, who_sees_the_chance, easy_and_hard])
def test_a_ring_is_found_and_nobody_beside_it(crowd) -> None:  # type: ignore[no-untyped-def]
    rng, caught, beside = np.random.default_rng(1), 0, 0
    ring = {f"person{number:02d}" for number in range(PEOPLE - 3, PEOPLE)}
    for _ in range(10):
        reports = crowd(rng)
        reports[:, PEOPLE - 3 :] = reports[:, [PEOPLE - 3]]
        names, _ = linked(reports, rng)
        caught, beside = caught + len(names & ring), beside + len(names - ring)
    assert caught >= 24
    assert beside == 0


def test_details_name_nobody() -> None:
    rng = np.random.default_rng(2)
    reports = five_accurate(rng)
    reports[:, PEOPLE - 3 :] = reports[:, [PEOPLE - 3]]
    names, found = linked(reports, rng)
    assert names
    assert not any("person" in detail for detail in found.contributors["detail"])
    assert all("in a group of 3" in detail for detail in found.contributors.filter("flagged")["detail"])
