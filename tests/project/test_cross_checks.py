"""Mechanisms against other people's implementations: shap, shapiq and crowd-kit; and fast forms against plain loops.

Belongs here: agreement with peers. Does not belong here: guarantees of ours (see the tests of each mechanism).
"""

from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.budget import proportional_share
from crowd_assets.mechanisms.labelers.baselines import dawid_skene, mean_aggregate
from crowd_assets.mechanisms.labelers.dense import run_slots, update_slot
from crowd_assets.mechanisms.labelers.score_update import anytime_step as step_of
from crowd_assets.mechanisms.labelers.score_update import initial_state, pooled
from crowd_assets.mechanisms.shapley import Game, exact_shapley, kernel_shapley, permutation_shapley
from crowd_assets.mechanisms.target import centroid_game

PLAYERS = 8
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:.*inplace keyword", "ignore:.*copy keyword"
)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def shapiq() -> ModuleType:
    return pytest.importorskip("shapiq", reason="shapiq is in the extra 'test'")


@pytest.fixture(scope="module")
def shap() -> ModuleType:
    return pytest.importorskip("shap", reason="shap is in the extra 'test'")


@pytest.fixture(scope="module")
def crowdkit() -> ModuleType:
    return pytest.importorskip("crowdkit.aggregation", reason="crowd-kit is in the extra 'test'")


def arbitrary(players: int, seed: int) -> Game:
    """A game in which every coalition's worth is drawn on its own."""
    worth = np.random.default_rng(seed).standard_normal(1 << players)
    return lambda masks: worth[masks @ (1 << np.arange(players))]


def centroids(players: int, seed: int) -> Game:
    rng = np.random.default_rng(seed)
    return centroid_game(rng.uniform(0, 5, (players, 4)), rng.uniform(0, 5, 4), empty=np.zeros(4))


GAMES = [arbitrary, centroids]


def in_shapiq(found: Any, players: int) -> NDArray[np.float64]:
    return np.array([found[(player,)] for player in range(players)])


@pytest.mark.parametrize("kind", GAMES)
def test_exact_values_are_those_of_shapiq(shapiq: ModuleType, kind: Any) -> None:
    game = kind(PLAYERS, 3)
    theirs = shapiq.ExactComputer(game, PLAYERS)(index="SV", order=1)
    assert exact_shapley(game, PLAYERS).values == pytest.approx(in_shapiq(theirs, PLAYERS), abs=1e-9)


@pytest.mark.parametrize("kind", GAMES)
def test_exact_values_are_those_of_the_kernel_explainer_on_all_coalitions(shap: ModuleType, kind: Any) -> None:
    game = kind(PLAYERS, 4)
    explainer = shap.KernelExplainer(lambda rows: game(rows > 0.5), np.zeros((1, PLAYERS)))
    theirs = explainer.shap_values(np.ones((1, PLAYERS)), nsamples=1 << PLAYERS, l1_reg=False, silent=True)
    assert exact_shapley(game, PLAYERS).values == pytest.approx(np.asarray(theirs).reshape(PLAYERS), abs=1e-6)


@pytest.mark.parametrize("kind", GAMES)
def test_kernel_estimates_agree_with_shapiq_within_their_standard_errors(shapiq: ModuleType, kind: Any) -> None:
    players = 12
    game = kind(players, 5)
    theirs = in_shapiq(shapiq.ExactComputer(game, players)(index="SV", order=1), players)
    ours = kernel_shapley(game, players, evaluations=1_000, rng=np.random.default_rng(0))
    assert ours.method == "paired_kernel"
    assert np.abs(ours.values - theirs).max() < 4 * ours.standard_errors.max()
    assert np.corrcoef(ours.values, theirs)[0, 1] > 0.9


def test_kernel_estimates_beat_the_kernel_regression_of_shapiq_at_the_same_budget(shapiq: ModuleType) -> None:
    players, budget = 14, 600
    ours, theirs = [], []
    for seed in range(5):
        game = centroids(players, seed)
        exact = exact_shapley(game, players).values
        found = kernel_shapley(game, players, evaluations=budget, rng=np.random.default_rng(seed)).values
        peer = shapiq.KernelSHAP(n=players, pairing_trick=True, random_state=seed).approximate(budget, game)
        ours.append(np.sqrt(np.mean(np.square(found - exact))))
        theirs.append(np.sqrt(np.mean(np.square(in_shapiq(peer, players) - exact))))
    assert np.mean(ours) < 0.5 * np.mean(theirs)


@pytest.mark.parametrize("players", [12, 13])
def test_kernel_estimates_of_size_dependent_sums_are_exact_up_to_the_slopes_left_unknown(players: int) -> None:
    """In v(S) = (sum of a over S) / |S| all of the variance is one that slopes explain."""
    share = np.random.default_rng(1).standard_normal(players)

    def mean_member(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        return masks @ share / np.maximum(masks.sum(axis=1), 1)

    exact = exact_shapley(mean_member, players).values
    errors = {}
    for name, estimate in (
        ("kernel", kernel_shapley(mean_member, players, evaluations=1_500, rng=np.random.default_rng(2))),
        ("permutation", permutation_shapley(mean_member, players, permutations=125, rng=np.random.default_rng(2))),
    ):
        errors[name] = np.sqrt(np.mean(np.square(estimate.values - exact)))
    assert errors["kernel"] < 0.1 * errors["permutation"]


def votes(seed: int, labelers: int = 12, slots: int = 150) -> tuple[NDArray[np.int64], ...]:
    """Slot, labeler and vote (0 or 1) of a crowd in which a fifth of the votes are missing, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.random(slots) < 0.5
    accuracy = rng.uniform(0.55, 0.95, labelers)
    slot, labeler = np.nonzero(rng.random((slots, labelers)) < 0.8)
    right = rng.random(slot.size) < accuracy[labeler]
    return slot, labeler, np.where(right, truth[slot], ~truth[slot]).astype(np.int64), truth


def as_frame(slot: NDArray[np.int64], labeler: NDArray[np.int64], vote: NDArray[np.int64]) -> pd.DataFrame:
    return pd.DataFrame({"task": slot, "worker": labeler, "label": vote})


@pytest.mark.parametrize("seed", range(3))
def test_dawid_skene_agrees_with_crowd_kits_one_coin(crowdkit: ModuleType, seed: int) -> None:
    """Ours adds a vote of each kind to a labeler's record, theirs does not: over many slots that no longer matters."""
    slots = 1_500
    slot, labeler, vote, _ = votes(seed, slots=slots)
    ours = dawid_skene(slot, labeler, vote.astype(np.float64), slots=slots, labelers=12, iterations=500)
    model = crowdkit.OneCoinDawidSkene(n_iter=500, tol=1e-12).fit(as_frame(slot, labeler, vote))
    theirs = model.probas_[1].reindex(range(slots)).to_numpy()
    assert ours.converged
    assert ours.probability_a == pytest.approx(theirs, abs=0.01)
    assert ours.accuracy == pytest.approx(model.skills_.reindex(range(12)).to_numpy(), abs=0.002)


def test_dawid_skene_agrees_with_crowd_kits_two_coins_where_errors_do_not_depend_on_the_answer(
    crowdkit: ModuleType,
) -> None:
    slot, labeler, vote, truth = votes(7)
    ours = dawid_skene(slot, labeler, vote.astype(np.float64), slots=150, labelers=12).probability_a > 0.5
    theirs = crowdkit.DawidSkene(n_iter=200).fit_predict(as_frame(slot, labeler, vote)).reindex(range(150)).to_numpy()
    assert np.mean(ours == theirs) > 0.97
    assert np.mean(ours == truth) > 0.9


def test_plain_and_weighted_means_of_votes_are_crowd_kits_majority_shares(crowdkit: ModuleType) -> None:
    slot, labeler, vote, _ = votes(8)
    reports = np.full((150, 12), np.nan)
    reports[slot, labeler] = vote
    frame = as_frame(slot, labeler, vote)
    majority = crowdkit.MajorityVote().fit_predict_proba(frame)[1].reindex(range(150)).to_numpy()
    assert mean_aggregate(reports) == pytest.approx(majority)
    skills = np.random.default_rng(9).uniform(0.1, 1.0, 12)
    weighted = crowdkit.MajorityVote().fit_predict_proba(frame, skills=pd.Series(skills))[1].reindex(range(150))
    assert pooled(skills, reports) == pytest.approx(weighted.to_numpy())
    assert not np.allclose(pooled(skills, reports), majority)


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from([3, 20, 40, 55]), st.booleans())
def test_proportional_share_equals_the_loop_over_bids_in_exact_integers(seed: int, bits: int, ties: bool) -> None:
    """Amounts far beyond what floats and products of 64 bits hold, and prices that tie exactly or but for one quantum."""
    rng = np.random.default_rng(seed)
    bids = int(rng.integers(1, 20))
    values, asked = rng.integers(0, 1 << bits, bids), rng.integers(0, 1 << bits, bids)
    if ties:
        values = np.where(values > 0, (1 << bits - 1) + 1 - rng.integers(0, 2, bids), 0)
        asked = (1 << bits - 2) * rng.integers(0, 3, bids) + rng.integers(0, 2, bids)
    budget, order = int(rng.integers(0, 2 * asked.sum() + 2)), rng.permutation(bids)
    v, b = values.tolist(), asked.tolist()
    ranked = sorted(
        (i for i in range(bids) if v[i] > 0 and b[i] <= budget),
        key=lambda i: ((b[i] << 128) // v[i], order[i]),
    )
    total, won = 0, []
    for i in ranked:
        if b[i] * (total + v[i]) > budget * v[i]:
            break
        total += v[i]
        won.append(i)
    expected = [0] * bids
    for i in won:
        expected[i] = budget * v[i] // total
        if len(won) < len(ranked):
            following = ranked[len(won)]
            expected[i] = min(expected[i], b[following] * v[i] // v[following])
    purchase = proportional_share(values, asked, budget=budget, tie_break=order)
    assert np.flatnonzero(purchase.awarded).tolist() == sorted(won)
    assert purchase.payments.tolist() == expected


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 8), st.sampled_from([0.0, 0.4]))
def test_a_run_over_slots_equals_updates_one_by_one(seed: int, labelers: int, absent: float) -> None:
    rng = np.random.default_rng(seed)
    reports = rng.random((80, labelers))
    reports[rng.random(reports.shape) < absent] = np.nan
    outcomes = np.where(rng.random(80) < 0.1, np.nan, rng.random(80))
    state, aggregates = initial_state(labelers), []
    for t in range(80):
        step, later = step_of(labelers, state.slots + 1), step_of(labelers, state.slots + 2)
        state, aggregate = update_slot(state, reports[t], outcomes[t], step=step, keep=later / step if step else 1.0)
        aggregates.append(aggregate)
    run = run_slots(initial_state(labelers), reports, outcomes)
    assert run.aggregates == pytest.approx(aggregates, nan_ok=True, rel=1e-10)
    assert run.state.weights == pytest.approx(state.weights, rel=1e-9)
    assert run.state.cumulative_loss == pytest.approx(state.cumulative_loss)
