"""Crowds that fine-tune a model of comments: the whole path on small models trained on the embedded forum's comments, in
the layout of the real data."""

import numpy as np
import pytest

from crowd_assets.forum import comments as forum
from crowd_assets.simulation.comment_crowd import KINDS, crowd_cell, open_crowd, paper_cell, workshop
from crowd_assets.simulation.comment_models import read_comments, train_comment_models


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    (folder / "goemotions").mkdir()
    comments = forum.write_comments(500, np.random.default_rng(1))
    lines = [
        f"{comment.response}\t{forum.MOODS.index(comment.mood)}\t{number}" for number, comment in enumerate(comments)
    ]
    lines[0] = lines[0].replace("\t", "\t1,", 1)
    (folder / "goemotions" / "train.tsv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "goemotions" / "emotions.txt").write_text("\n".join(forum.MOODS), encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module")
def models(data: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "built"
    train_comment_models(folder, data=data, seed=0, epochs=2, share=1.0, threads=1, say=lambda line: None)
    return str(folder)


def test_comments_are_read_with_all_their_emotions(data: str) -> None:
    texts, labels, emotions = read_comments(data)
    assert len(texts) == len(labels) == 500
    assert emotions == forum.MOODS
    assert len(labels[0]) == 2
    assert {len(each) for each in labels[1:]} == {1}


def test_half_of_the_crowd_writes_what_lies_around_the_target(data: str, models: str) -> None:
    shop = workshop(models, data)
    goal = shop.goal("gratitude")
    assert goal.floor < goal.away.mean()
    crowd = open_crowd(shop, goal, "gratitude", 3)
    near = {shop.texts[index] for index in goal.neighbours}
    assert [set(pool) <= near for pool in crowd.pools[:12]] == [True] * 12
    assert KINDS.count("on_target") == len(KINDS) / 2
    assert crowd.contributions(1) == open_crowd(shop, goal, "gratitude", 3).contributions(1)
    assert crowd.contributions(1) != crowd.contributions(2)


LONG = [pytest.param(arm, marks=pytest.mark.crash) for arm in ("single", "oracle", "rank")]


@pytest.mark.parametrize("arm", ["nested", *LONG])
def test_every_arm_trains_on_its_contributors(data: str, models: str, arm: str) -> None:
    call = {
        "emotion": "gratitude",
        "arm": arm,
        "rounds": 3,
        "budget": 18,
        "samples": 8,
        "report_samples": 16,
        "learning_rate": 0.02,
        "seed": 1,
    }
    first = crowd_cell(data=data, models=models, **call)  # type: ignore[arg-type]
    if arm == "rank":
        assert crowd_cell(data=data, models=models, **call) == first, "the same comes out again"  # type: ignore[arg-type]
    if arm in ("single", "oracle"):
        assert first["distance"] != first["base_distance"]
    assert len(first["course"]) == (3 if arm in ("rank", "nested") else 0)
    if arm == "nested":
        assert [len(step["sizes"]) for step in first["course"]] == [2, 2, 1]
        assert first["course"][0]["on_target"] > 0.5


@pytest.mark.crash
def test_the_papers_protocol_reports_both_samples(data: str, models: str) -> None:
    found = paper_cell(
        data=data, models=models, emotion="joy", samples=8, report_samples=16, steps=2, learning_rate=0.01, seed=0
    )
    assert found["multi_on_selection"] <= max(found["multi"], found["base"]) + 1
    assert found["single"] != found["single_same_compute"]
    assert all(np.isfinite(value) for value in found.values())
