"""FPL-ELF: truth is best for who looks ahead, runs add up, and the best labeler is found."""

import math

import numpy as np
import pytest

from crowd_assets.mechanisms.labelers.fpl_elf import follow_chances, fpl_elf


def test_no_report_beats_the_truth_over_slots_to_come() -> None:
    """Expected number of later slots in which labeler 0 is followed, exactly, over outcomes and lotteries of two slots."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        labelers = int(rng.integers(2, 5))
        belief, others = rng.random(2), rng.random((2, labelers))
        start, lotteries = rng.integers(0, 5, labelers).astype(float), float(rng.integers(0, 30))

        def worth(
            reports: tuple[float, float],
            belief: np.ndarray = belief,
            others: np.ndarray = others,
            start: np.ndarray = start,
            lotteries: float = lotteries,
        ) -> float:
            def later(wins: np.ndarray, slot: int) -> float:
                given = others[slot].copy()
                given[0] = reports[slot]
                total = 0.0
                for outcome, chance in ((1.0, belief[slot]), (0.0, 1 - belief[slot])):
                    losses = np.square(given - outcome)
                    winning = (1 - losses + losses.mean()) / losses.size
                    for winner in range(losses.size):
                        after = wins.copy()
                        after[winner] += 1
                        slots = np.array(lotteries + slot + 1)
                        here = float(follow_chances(after, slots, np.ones(losses.size))[0])
                        total += chance * winning[winner] * (here + (later(after, slot + 1) if slot == 0 else 0.0))
                return total

            return later(start, 0)

        truth = worth((belief[0], belief[1]))
        for _ in range(25):
            assert worth((float(rng.random()), float(rng.random()))) <= truth + 1e-12


def test_the_best_labeler_is_followed_in_the_end_and_regret_is_within_the_bound() -> None:
    rng = np.random.default_rng(1)
    theta = rng.random(6_000)
    outcomes = (rng.random(theta.size) < theta).astype(float)
    reports = np.column_stack([theta, *(np.clip(theta + 0.5, 0, 1) for _ in range(4))])
    found = fpl_elf(reports, outcomes, rng=rng)
    assert found.chances[-1, 0] > 0.95
    lost = (found.chances * np.square(reports - outcomes[:, None])).sum() - np.square(theta - outcomes).sum()
    assert lost < 5 * math.sqrt(5 * theta.size * math.log(5)) + 5 * math.log(5)


def test_two_batches_are_one_run_in_their_chances() -> None:
    rng = np.random.default_rng(2)
    reports, outcomes = rng.random((40, 3)), rng.integers(0, 2, 40).astype(float)
    reports[rng.random(reports.shape) < 0.3] = np.nan
    outcomes[5] = np.nan
    first = fpl_elf(reports[:20], outcomes[:20], rng=rng)
    second = fpl_elf(reports[20:], outcomes[20:], wins=first.wins, slots=first.slots, rng=rng)
    present = ~np.isnan(reports)
    assert first.slots == (present[:20].any(axis=1) & ~np.isnan(outcomes[:20])).sum()
    assert second.wins.sum() == second.slots
    expected = follow_chances(first.wins.astype(float), np.array(float(first.slots)), present[20].astype(float))
    np.testing.assert_allclose(second.chances[0], expected)
    followed = ~np.isnan(first.aggregates)
    assert (followed == present[:20].any(axis=1)).all()
    assert all(value in row for value, row in zip(first.aggregates[followed], reports[:20][followed], strict=True))


def test_arguments_that_make_no_sense_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="an outcome a slot"):
        fpl_elf(np.zeros((2, 2)), np.zeros(3), rng=rng)
    with pytest.raises(ValueError, match="reports must lie"):
        fpl_elf(np.full((1, 2), 2.0), np.zeros(1), rng=rng)
    with pytest.raises(ValueError, match="outcomes must lie"):
        fpl_elf(np.zeros((1, 2)), np.full(1, -1.0), rng=rng)
    with pytest.raises(ValueError, match="counts of wins"):
        fpl_elf(np.zeros((1, 2)), np.zeros(1), wins=np.zeros(3, dtype=np.int64), rng=rng)
