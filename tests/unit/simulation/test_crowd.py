"""The simulated crowd: who is in it, and that what it writes is what a platform can read."""

import json
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from crowd_assets.simulation.crowd import BROKEN_LINES, SimulatedCrowd
from resources.feedback.events import KINDS, Limits
from tests.reading import read_file

LIMITS = Limits(line_bytes=100_000, text_characters=10_000)


def test_the_crowd_has_every_kind_of_person() -> None:
    truth = SimulatedCrowd("gratitude", 0).truth()
    assert len(truth) >= 24
    assert {person["kind"] for person in truth.values()} == {
        *("careful", "sloppy", "off_topic", "spammer", "adversary"),
        *("accurate", "biased", "strategic", "absent"),
        *("honest", "overclaiming"),
    }
    assert all(person["kind"] not in name for name, person in truth.items())


def test_its_files_are_feedback_of_every_kind(tmp_path: Path) -> None:
    files = SimulatedCrowd("gratitude", 0).write_feedback(1, UPath(tmp_path), [])
    parsed = [read_file(UPath(path), LIMITS) for path in files]
    assert {event["kind"] for file in parsed for event in file.events} == set(KINDS)
    assert sum(len(file.rejections) for file in parsed) == len(BROKEN_LINES)


def test_a_round_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    def written(folder: str, seed: int, number: int) -> list[str]:
        crowd = SimulatedCrowd("gratitude", seed)
        return [path.read_text() for path in crowd.write_feedback(number, UPath(tmp_path, folder), [])]

    first = written("a", 0, 2)
    assert written("b", 0, 2) == first
    assert written("c", 0, 3) != first
    assert written("d", 1, 2) != first


def test_bought_answers_are_judged_by_what_they_are(tmp_path: Path) -> None:
    crowd = SimulatedCrowd("gratitude", 0)
    bids = [bid for bid, mood in crowd._bids(1) if mood == "gratitude"]
    others = [bid for bid, mood in crowd._bids(1) if mood != "gratitude"]
    task = {"prompt": "p", "response_a": others[0]["response"], "response_b": bids[0]["response"]}
    files = crowd.write_feedback(2, UPath(tmp_path), [{"comparison_id": "task", **task}])
    events = [json.loads(line) for line in files[1].read_text().splitlines()]
    truth = crowd.truth()
    reports = [
        event["probability_a"]
        for event in events
        if event["comparison_id"] == "task"
        and event["kind"] == "preference"
        and truth[event["contributor_id"]]["kind"] == "accurate"
    ]
    assert reports
    assert max(reports) < 0.3


def test_sellers_bid_in_the_lots_that_are_open(tmp_path: Path) -> None:
    def bids(folder: str, **options: Any) -> list[dict[str, Any]]:
        files = SimulatedCrowd("gratitude", 0).write_feedback(2, UPath(tmp_path / folder), [], **options)
        text = "".join(each.read_text() for each in files if "bids" in each.name)
        return [json.loads(line) for line in text.splitlines()]

    own, open_ones = bids("own"), bids("open", lots=[("lot-2-7", "What is dull?"), ("lot-2-9", "")])
    asked = {(bid["lot_id"], bid["prompt"]) for bid in open_ones}
    second = next(bid["prompt"] for bid in own if bid["lot_id"] == "lot-2-1")
    assert asked == {("lot-2-7", "What is dull?"), ("lot-2-9", second)}
    answers = [bid["response"] for bid in own]
    assert [bid["response"] for bid in open_ones] == answers[: len(open_ones)], "answers are known whatever the lots"
    assert bids("none", lots=[]) == []


def test_an_unknown_mood_is_refused() -> None:
    with pytest.raises(ValueError, match="gratitude"):
        SimulatedCrowd("hunger", 0)


def test_people_judge_what_they_were_assigned_and_a_check_as_anything_else(tmp_path: Path) -> None:
    crowd = SimulatedCrowd("gratitude", 0)
    gold = next(iter(crowd._past_gold(1)))
    accurate = next(person.contributor_id for person in crowd.people if person.kind == "accurate")
    texts = {name: gold[name] for name in ("prompt", "response_a", "response_b")}
    line = {"comparison_id": "r000001-1", "contributor_id": accurate, **texts}
    files = crowd.write_feedback(2, UPath(tmp_path), [], [line, {**line, "contributor_id": None}])
    events = [json.loads(text) for text in files[1].read_text().splitlines()]
    (report,) = [event for event in events if event["comparison_id"] == "r000001-1"]
    assert report["contributor_id"] == accurate
    assert abs(report["probability_a"] - gold["truth"]) < 0.3
