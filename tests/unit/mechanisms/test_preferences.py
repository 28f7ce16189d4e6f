"""Preferences: triads counted as by hand, and the weights of QA-DPO."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.preferences import (
    cyclic_triads_by_judge,
    hodge_rank,
    mean_comparisons,
    quality_gap_weights,
)
from tests import REFERENCE_DATA

seeds = st.integers(0, 2**32 - 1)


def triads(a: NDArray[np.int64], b: NDArray[np.int64], chance: NDArray[np.float64]) -> tuple[int, int]:
    """Cyclic and all triads of one judge."""
    found = cyclic_triads_by_judge(np.zeros(np.shape(a), dtype=np.int64), a, b, chance)
    return int(found.cyclic.sum()), int(found.total.sum())


@given(seed=seeds, items=st.integers(2, 9), batch=st.sampled_from([2, 1 << 20]))
def test_triads_are_those_found_by_looking_at_every_triple(seed: int, items: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in combinations(range(items), 2) if rng.random() < 0.7]
    beats = {pair: rng.choice([0.0, 0.3, 0.5, 0.9]) for pair in pairs}
    cyclic = total = 0
    for u, v, w in combinations(range(items), 3):
        chances = [beats.get(pair, 0.5) for pair in ((u, v), (v, w), (u, w))]
        if 0.5 not in chances:
            total += 1
            around = [chances[0] > 0.5, chances[1] > 0.5, chances[2] < 0.5]
            cyclic += all(around) or not any(around)
    # Rows turned round, shuffled and renumbered: the figure must not change.
    names = rng.choice(10**9, items, replace=False)
    rows = [
        (names[a], names[b], p) if rng.random() < 0.5 else (names[b], names[a], 1 - p)
        for (a, b), p in beats.items()
        for _ in range(int(rng.integers(1, 4)))
    ]
    rng.shuffle(rows)
    columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.zeros(0)] * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crowd_assets.mechanisms.preferences.WEDGES_PER_BATCH", batch)
        found = triads(columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2])
    assert found == (cyclic, total)


def test_one_ranking_has_no_cycles_and_coin_flips_a_quarter() -> None:
    rng = np.random.default_rng(2)
    a, b = np.triu_indices(60, 1)
    assert triads(a, b, (a < b).astype(float))[0] == 0
    cyclic, total = triads(a, b, rng.integers(0, 2, a.size).astype(float))
    assert cyclic / total == pytest.approx(0.25, abs=0.03)


def test_opposite_reports_are_a_tie_and_no_majority() -> None:
    a, b = np.array([0, 0, 0, 1, 2]), np.array([1, 1, 1, 2, 0])
    chances = np.array([0.35, 0.7, 0.45, 1.0, 1.0])
    assert chances[:3].sum() / 3 != 0.5, "rounding alone must not make a majority"
    assert triads(a, b, chances) == (0, 0)


@given(seed=seeds)
def test_gap_weights_are_around_one_and_mirror_each_other(seed: int) -> None:
    accepted, rejected = np.random.default_rng(seed).normal(scale=20.0, size=(2, 9))
    weights = quality_gap_weights(accepted, rejected)
    assert ((weights >= 0.5) & (weights <= 1.5)).all()
    assert weights == pytest.approx(0.5 + 1 / (1 + np.exp(rejected - accepted)))
    assert weights + quality_gap_weights(rejected, accepted) == pytest.approx(np.full(9, 2.0))


def test_what_is_no_comparison_is_refused() -> None:
    one = np.array([1])
    with pytest.raises(ValueError, match="compared with itself"):
        triads(one, one, np.array([0.5]))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        triads(one, np.array([2]), np.array([np.nan]))
    with pytest.raises(ValueError, match="one length"):
        triads(one, np.array([2, 3]), np.array([0.5]))
    with pytest.raises(ValueError, match="finite"):
        quality_gap_weights(np.array([np.inf]), np.array([0.0]))
    with pytest.raises(ValueError, match="pairs"):
        quality_gap_weights(np.ones(2), np.ones(3))


def tournament(scores: NDArray[np.float64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a connected comparison graph over the items, in a random direction."""
    rng = np.random.default_rng(seed)
    pairs = [(i, i + 1) for i in range(scores.size - 1)]
    pairs += [pair for pair in combinations(range(scores.size), 2) if rng.random() < 0.4]
    turned = [pair if rng.random() < 0.5 else pair[::-1] for pair in pairs]
    return np.array([a for a, _ in turned]), np.array([b for _, b in turned])


@given(seed=seeds, items=st.integers(2, 9))
def test_hodge_rank_is_all_gradient_where_one_ranking_explains_all(seed: int, items: int) -> None:
    scores = np.random.default_rng(seed).uniform(-0.25, 0.25, items)
    a, b = tournament(scores, seed)
    split = hodge_rank(a, b, (1 + scores[a] - scores[b]) / 2)
    assert split.scores == pytest.approx(scores - scores.mean(), abs=1e-8)
    assert (split.gradient, split.curl, split.harmonic) == pytest.approx((1, 0, 0), abs=1e-9)


def test_hodge_rank_tells_a_triad_from_a_longer_circle() -> None:
    triad = hodge_rank(np.array([0, 1, 2]), np.array([1, 2, 0]), np.full(3, 0.9))
    assert (triad.gradient, triad.curl, triad.harmonic) == pytest.approx((0, 1, 0), abs=1e-9)
    square = hodge_rank(np.arange(4), np.roll(np.arange(4), -1), np.full(4, 0.9))
    assert (square.gradient, square.curl, square.harmonic) == pytest.approx((0, 0, 1), abs=1e-9)
    ties = hodge_rank(np.array([0]), np.array([1]), np.array([0.5]))
    assert (ties.gradient, ties.curl, ties.harmonic) == (0.0, 0.0, 0.0)


@given(seed=seeds, items=st.integers(3, 8))
def test_hodge_parts_are_the_least_squares_projections(seed: int, items: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = tournament(np.zeros(items), seed)
    first, second, mean, comparisons = mean_comparisons(a, b, rng.random(a.size))
    split = hodge_rank(first, second, mean)
    flow, edges = 2 * mean - 1, list(zip(first.tolist(), second.tolist(), strict=True))
    incidence = np.array([[(i == u) - (i == v) for i in range(items)] for u, v in edges], dtype=float)
    gradient = incidence @ np.linalg.lstsq(incidence, flow, rcond=None)[0]
    circles = [np.zeros(len(edges))]
    for u, v, w in combinations(range(items), 3):
        if {(u, v), (v, w), (u, w)} <= set(edges):
            circle = np.zeros(len(edges))
            circle[[edges.index((u, v)), edges.index((v, w))]], circle[edges.index((u, w))] = 1, -1
            circles.append(circle)
    curl = np.array(circles).T @ np.linalg.lstsq(np.array(circles).T, flow - gradient, rcond=None)[0]
    energy = flow @ flow
    assert comparisons.sum() == a.size
    assert (split.gradient, split.curl) == pytest.approx((gradient @ gradient / energy, curl @ curl / energy), abs=1e-7)
    assert split.gradient + split.curl + split.harmonic == pytest.approx(1.0)


def test_a_real_crowd_goes_round_in_four_percent_of_its_triads() -> None:
    """84,445 judgements on pairs of arguments (UKPConvArg1)."""
    labels = REFERENCE_DATA / "convincing_arguments" / "labels.parquet"
    if not labels.exists():
        pytest.skip(f"reference data not found: set CROWD_REFERENCE_DATA to a folder with {labels.name}")
    frame = pl.read_parquet(labels, columns=["argument_a", "argument_b", "choice"])
    number = {text: at for at, text in enumerate({*frame["argument_a"], *frame["argument_b"]})}
    a, b = (frame[side].replace_strict(number).to_numpy() for side in ("argument_a", "argument_b"))
    chance = frame["choice"].replace_strict({"a": 1.0, "equal": 0.5, "b": 0.0}).to_numpy()
    cyclic, total = triads(a, b, chance)
    assert total > 100_000
    assert cyclic / total == pytest.approx(0.042, abs=0.001)
    split = hodge_rank(a, b, chance)
    assert split.gradient > 0.7
