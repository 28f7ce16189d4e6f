"""ELF-X: chances that fall in one's own loss, drawn as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.labelers.lottery import elf_x, lottery_chances
from tests.unit.mechanisms.labelers.crowds import seeds


@given(seed=seeds)
def test_lotteries_drawn_at_once_are_won_as_often_as_their_chances_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses, slots = rng.random(4), 4000
    run = elf_x(np.tile(np.sqrt(losses), (slots, 1)), np.zeros(slots), rng=rng)
    assert run.wins / slots == pytest.approx(lottery_chances(losses), abs=0.045)
    assert run.wins.sum() == slots


@given(seed=seeds, labelers=st.integers(1, 9))
def test_lottery_chances_are_a_distribution_that_falls_in_ones_own_loss(seed: int, labelers: int) -> None:
    losses = np.random.default_rng(seed).choice([0.0, 0.3, 1.0], labelers)
    chances = lottery_chances(losses)
    assert chances.sum() == pytest.approx(1.0)
    assert (chances >= 0).all()
    assert np.array_equal(np.argsort(-chances, kind="stable"), np.argsort(losses, kind="stable"))


def test_elf_x_follows_the_best_labeler_and_counts_a_win_for_every_outcome() -> None:
    rng = np.random.default_rng(3)
    outcomes = rng.integers(0, 2, 3000).astype(float)
    reports = np.stack([np.abs(outcomes - 0.1), np.full(3000, 0.5), np.abs(outcomes - 0.8)], axis=1)
    outcomes[::10] = np.nan
    reports[5] = np.nan
    run = elf_x(reports, outcomes, rng=rng)
    assert run.wins.sum() == np.isfinite(outcomes).sum() - 1
    assert np.argmax(run.wins) == 0
    assert np.isnan(run.aggregates[5])
    assert np.mean(run.aggregates[500:] == reports[500:, 0]) == 1.0
    more = elf_x(reports[:10], outcomes[:10], wins=run.wins, rng=rng)
    assert more.wins.sum() > run.wins.sum()
