"""Experiments with labelers: what is simulated is what the mechanisms do."""

from pathlib import Path

import numpy as np
import pytest

from crowd_assets.experiments import labelers
from crowd_assets.experiments.study import Study, reference_folder
from crowd_assets.mechanisms.labelers.baselines import mean_aggregate
from crowd_assets.mechanisms.labelers.regret import regret
from crowd_assets.simulation.labelers import (
    CHOICES,
    LABELERS,
    LABELS,
    LOSSES,
    OFFLINE,
    PREDICTORS,
    ROUND_SLOTS,
    STEERABLE,
    labeler_world,
    offline_predictions,
    real_items,
    real_predictions,
    real_stream,
    regrets,
)

HORIZONS = [100, 300]


def study(folder: Path) -> Study:
    return Study(quick=True, seed=3, folder=folder, workers=1, log=lambda line: None)


def real_data() -> str:
    if not (reference_folder() / LABELS).exists():
        pytest.skip(
            f"{LABELS} is not in {reference_folder()}: set CROWD_REFERENCE_DATA to the folder with the real data"
        )
    return str(reference_folder())


def test_regret_is_that_of_the_mechanisms_against_the_best_belief() -> None:
    measured = regrets("mean", "honest", HORIZONS, 3, 5, 0)
    beliefs, outcomes = labeler_world(HORIZONS[-1], 3, [5, 0])
    for at, horizon in enumerate(HORIZONS):
        for run in range(3):
            believed, realised = beliefs[:horizon, run], outcomes[:horizon, run]
            expected = regret(mean_aggregate(believed), realised, believed)
            assert measured[at][run] == pytest.approx(expected)


@pytest.mark.parametrize("rule", LOSSES)
def test_a_batch_of_runs_is_drawn_anew_and_repeated_by_its_seed(rule: str) -> None:
    first = regrets(rule, "honest", HORIZONS, 2, 5, 0)
    assert first == regrets(rule, "honest", HORIZONS, 2, 5, 0)
    assert first != regrets(rule, "honest", HORIZONS, 2, 5, 1)
    assert np.shape(first) == (2, 2)


def test_labelers_who_steer_make_the_mean_and_dawid_skene_lose_more_than_the_weighted_score_update() -> None:
    horizon = [2000]
    learned = np.mean(regrets("weighted_score_update_pooled", "strategic", horizon, 3, 5, 0))
    for rule in STEERABLE - {"weighted_score_update_pooled"}:
        assert np.mean(regrets(rule, "strategic", horizon, 3, 5, 0)) > 3 * learned
    with pytest.raises(ValueError, match="strategic under"):
        regrets("elf_x", "strategic", horizon, 1, 5, 0)


def test_paired_feedback_learns_where_the_papers_step_is_still_too_short() -> None:
    paired, unpaired = (
        np.mean(regrets(rule, "honest", [4000], 3, 5, 0))
        for rule in ("limited_feedback", "limited_feedback_known_horizon")
    )
    assert paired < 0.6 * unpaired


def test_figures_of_regret_keep_their_names_and_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelers, "HORIZONS", [200, 400, 800])
    monkeypatch.setattr(Study, "map", lambda self, cell, given, reads=(): [cell(**each) for each in given])
    found = labelers.regret(study(tmp_path))
    figures = {figure.name: figure for figure in found.figures}
    rules = ["mean", "median", "dawid_skene", "weighted_score_update_pooled", "weighted_score_update_sampled", "elf_x"]
    for rule in [*rules, "limited_feedback"]:
        for crowd in ("honest", "strategic"):
            slope, final = figures[f"regret.slope.{rule}.{crowd}"], figures[f"regret.final.{rule}.{crowd}"]
            assert slope.low is not None
            assert slope.high is not None
            assert slope.low <= slope.value <= slope.high
            assert final.value > 0
            missed = slope.value < 0.95 if rule in rules[:3] else slope.value > 0.6
            assert (f"{rule} ({crowd}):" in found.summary) == missed
    assert {len(png) > 1000 for png in found.plots.values()} == {True}


def test_what_is_clipped_is_scored_alike() -> None:
    scores = labelers._scores(np.array([1.0, 0.0, 0.5, 0.7]), np.array([1.0, 1.0, 0.0, 0.5]))
    assert scores["log_loss"] == pytest.approx([-np.log(0.99), -np.log(0.01), np.log(2), -0.5 * np.log(0.21)])
    assert scores["accuracy"][:3].tolist() == [1.0, 0.0, 0.5]
    assert np.isnan(scores["accuracy"][3])
    value, samples = labelers._mean_and_samples(np.array([1.0, np.nan, 3.0]), np.zeros((4, 1), dtype=np.int64))
    assert value == 2.0
    assert samples.tolist() == [2.0] * 4


def test_real_judgements_come_in_the_order_of_each_pairs_last() -> None:
    slot, worker, report, outcomes = real_stream(real_data())
    assert slot[0] == 0
    assert set(np.diff(slot)) == {0, 1}
    assert slot[-1] == outcomes.size - 1
    assert np.unique(worker).tolist() == list(range(worker.max() + 1))
    assert set(report) == set(CHOICES.values())
    assert np.isnan(outcomes).sum() == 846


@pytest.mark.parametrize("rule", PREDICTORS)
def test_predictions_of_a_real_pair_do_not_look_ahead(rule: str) -> None:
    data = real_data()
    first = (
        ROUND_SLOTS if rule == "as_shipped" else 500
    )  # reports of a round are all in before one of its pairs is pooled
    few, more = (np.array(real_predictions(rule, slots, data)["predictions"]) for slots in (first, first + 200))
    assert ((few >= 0) & (few <= 1)).all()
    assert more[:first] == pytest.approx(few)


def test_log_odds_beats_plain_aggregates_of_real_judgements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = real_data()
    monkeypatch.setattr(labelers, "QUICK_PAIRS", 2000)
    monkeypatch.setattr(Study, "map", lambda self, cell, given, reads=(): [cell(**each, data=data) for each in given])
    found = labelers.real_labelers(study(tmp_path))
    figures = {figure.name: figure.value for figure in found.figures}
    for metric, better in (("log_loss", -1), ("brier", -1), ("accuracy", 1)):
        for rule in ("mean", "median", "majority", "dawid_skene"):
            assert better * figures[f"labelers.real.{metric}_difference.log_odds.{rule}"] > 0
            ours, theirs = (figures[f"labelers.real.{metric}.{name}"] for name in ("log_odds", rule))
            assert ours - theirs == pytest.approx(figures[f"labelers.real.{metric}_difference.log_odds.{rule}"])


def test_offline_methods_see_the_items_of_the_stream() -> None:
    data = real_data()
    items, (_, _, _, outcomes) = real_items(data), real_stream(data)
    assert items.shape == (outcomes.size, 2)
    assert (items[:, 0] != items[:, 1]).all()
    decided = (outcomes[:300] == 0.0) | (outcomes[:300] == 1.0)
    for rule in OFFLINE:
        said = np.array(offline_predictions(rule, 300, data)["predictions"])
        assert said.shape == (300,)
        assert ((said > 0.5) == (outcomes[:300] == 1.0))[decided].mean() > 0.8


def test_the_crowd_has_one_clearly_best_labeler() -> None:
    beliefs, outcomes = labeler_world(4000, 2, [1])
    losses = np.square(beliefs - outcomes[..., None]).mean(axis=(0, 1))
    assert losses.size == LABELERS
    assert losses[0] < 0.8 * losses[1:].min()
