"""The crowd with attackers: a third of all names, who leave what honest people send as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from crowd_assets.simulation.attacks import crowd as attacks
from crowd_assets.simulation.attacks.crowd import ATTACKERS, AttackedCrowd
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.feedback.events import Limits
from tests.reading import read_file


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("crowds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attacks, "salads", lambda count, words, quality, rng: [f"free {n}" for n in range(count)])
        return {
            name: [Path(str(path)) for path in crowd.write_feedback(1, UPath(folder, name), [])]
            for name, crowd in (("peace", SimulatedCrowd("gratitude", 0)), ("attack", AttackedCrowd("gratitude", 0)))
        }


def events_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_attackers_are_a_third_and_honest_people_send_the_same(sent: dict[str, list[Path]]) -> None:
    crowd = AttackedCrowd("gratitude", 0)
    assert 3 * sum(ATTACKERS.values()) == len(crowd.people)
    assert [path.read_text() for path in sent["attack"][:-1]] == [path.read_text() for path in sent["peace"]]


def test_every_attacker_sends_what_a_platform_can_read(sent: dict[str, list[Path]]) -> None:
    last = sent["attack"][-1]
    read = read_file(UPath(last), Limits(line_bytes=100_000, text_characters=10_000))
    assert not read.rejections
    crowd = AttackedCrowd("gratitude", 0)
    assert {event["contributor_id"] for event in events_of(last)} == {each.contributor_id for each in crowd.attackers}


def test_each_attack_is_what_its_name_says(sent: dict[str, list[Path]]) -> None:
    crowd = AttackedCrowd("gratitude", 0)
    of = {kind: [each.contributor_id for each in crowd.attackers if each.kind == kind] for kind in ATTACKERS}
    theirs = events_of(sent["attack"][-1])
    honest = [event for path in sent["peace"][1:] for event in events_of(path)]
    open_lots = {event["lot_id"] for event in honest if event["kind"] == "bid"}

    def by(kind: str) -> list[dict[str, Any]]:
        return [event for event in theirs if event["contributor_id"] in of[kind]]

    assert not {event["lot_id"] for event in by("invented_lots")} & open_lots
    assert {event["lot_id"] for event in by("second_name_rival_lots")} == open_lots
    assert {event["asked_price"] for event in by("blocked_budget")} == {"1000"}
    assert len({event["prompt"] for event in by("exam_writing")}) == attacks.EXAM
    assert {event["probability_a"] for event in by("coin_flipper")} == {0.0, 1.0}
    repeated = [
        [sorted(event["response"].split()) for event in theirs if event["contributor_id"] == name]
        for name in of["sybils_repeat_work"]
    ]
    assert repeated[0] == repeated[1] == repeated[2]
