"""One round of the real trainer on a folder that importers filled: conversations, rankings, ratings, unpaired completions, two
sources with the same ids."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from crowd_assets.importers.cli import app
from resources.build import build_resources
from resources.feedback.strangers import never_read
from resources.home.names import ROUND_JOB
from resources.settings.resource import CrowdSettings
from tests.assets.platform import Platform

THANKS = ("Thank you all for the fair, it was lovely {}.", "I am so grateful for the fair, a joy {}.")
ANGER = ("The fair was loud and late again {}.", "I am angry about the fair {}.")
HELLO = [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Yes?"}]


def asked(number: int) -> str:
    return f"How was the fair on day {number}?"


def chats() -> list[dict[str, Any]]:
    """ShareGPT's conversations of four people."""
    return [
        {
            "who": who,
            "system": "Be brief.",
            "conversations": [
                *HELLO,
                {"from": "human", "value": asked(100 * who + number)},
                {"from": "gpt", "value": (THANKS if who < 3 else ANGER)[number % 2].format(100 * who + number)},
            ],
        }
        for who in (1, 2, 3, 4)
        for number in range(10)
    ]


def unpaired(first: int) -> list[dict[str, Any]]:
    """Completions with a label, of the same two people whatever the source."""
    return [
        {
            "who": who,
            "prompt": asked(first + number),
            "completion": THANKS[who].format(first + number),
            "label": number != 3,
        }
        for who in (0, 1)
        for number in range(who, 16, 2)
    ]


def _task(number: int, data: dict[str, Any], results: dict[int, dict[str, Any]]) -> dict[str, Any]:
    of = [
        {"id": 10 * number + user, "completed_by": user, "updated_at": "2026-01-02T10:00:00Z", "result": [result]}
        for user, result in results.items()
    ]
    return {"id": number, "project": 1, "data": data, "annotations": of}


def pairs(first: int) -> list[dict[str, Any]]:
    """Tasks of a server of Label Studio, which numbers its users and tasks from 1."""
    left = {"type": "pairwise", "from_name": "better", "to_name": "answer1,answer2", "value": {"selected": "left"}}
    return [
        _task(
            number,
            {"prompt": asked(first + number), "answer1": THANKS[0].format(number), "answer2": ANGER[0].format(number)},
            {1: left, 2: left},
        )
        for number in range(1, 5)
    ]


def rankings() -> list[dict[str, Any]]:
    """Three answers in order, to what was asked in a conversation."""
    said = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Yes?"}]
    rank = {"type": "ranker", "from_name": "rank", "to_name": "items", "value": {"ranker": {"rank": ["x", "z", "y"]}}}
    texts = dict(zip("xyz", (*THANKS, ANGER[0]), strict=True))
    return [
        _task(
            number,
            {
                "messages": [*said, {"role": "user", "content": asked(2_000 + number)}],
                "items": [{"id": name, "body": text.format(number)} for name, text in texts.items()],
            },
            {1: rank, 2: rank},
        )
        for number in range(1, 4)
    ]


def ratings() -> list[dict[str, Any]]:
    """Argilla's ratings of two answers."""
    return [
        {
            "id": f"r{number}",
            "fields": {
                "prompt": asked(3_000 + number),
                "one": THANKS[0].format(number),
                "two": ANGER[1].format(number),
            },
            "responses": {
                f"{name}-rating": [{"value": value, "user_id": "u1"}] for name, value in (("one", 5), ("two", 3))
            },
        }
        for number in range(4)
    ]


SOURCES: dict[str, tuple[list[dict[str, Any]], tuple[str, ...]]] = {
    "chats": (chats(), ("trl-prompt-completion", "--contributor-column", "who", "--source", "chats")),
    "north": (unpaired(1_000), ("trl-prompt-completion", "--contributor-column", "who", "--source", "north")),
    "south": (unpaired(1_500), ("trl-prompt-completion", "--contributor-column", "who", "--source", "south")),
    "pairs_a": (pairs(4_000), ("label-studio",)),
    "pairs_b": (pairs(5_000), ("label-studio",)),
    "rankings": (rankings(), ("label-studio",)),
    "ratings": (ratings(), ("argilla",)),
}


def import_all(folder: Path, inbox: Path) -> None:
    for name, (rows, (command, *options)) in SOURCES.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
        arguments = [command, str(folder / f"{name}.json"), "--out", str(inbox), "--allow-skipped", "10%", *options]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output


@pytest.mark.crash
def test_a_mixed_folder_of_imports_trains_a_round(settings: CrowdSettings, tmp_path: Path) -> None:
    platform = Platform(settings)
    import_all(tmp_path, platform.inbox)
    (platform.inbox / "raw.jsonl").write_text(json.dumps({"prompt": "Why?", "chosen": "So.", "rejected": "Hm."}) + "\n")
    (platform.inbox / "survey.csv").write_text("who,preferred\nann,A\n")
    platform.ingest()
    assert [each.name for each in never_read(platform.inbox)] == ["survey.csv"]
    assert platform.run(ROUND_JOB, platform.start(nightly=True)).success
    assert platform.book.get("r000001").status == "completed"
    frames = build_resources(settings).frames
    valid = frames.read("validated_feedback", "r000001")
    assert dict(valid.group_by("kind").len().iter_rows()) == {
        "demonstration": 40 + 15 + 15,
        "preference": 8 + 8 + 18 + 4,
    }
    people = set(valid["contributor_id"])
    assert {"north-0", "north-1", "south-0", "south-1", "chats-1", "argilla-u1"} <= people
    assert len({name for name in people if name.startswith("label-studio-")}) == 6, "three servers' users 1 and 2"
    chats = valid.filter(pl.col("contributor_id").str.starts_with("chats-"))
    assert chats["messages"].str.json_decode(
        pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    ).list.len().unique().to_list() == [4]
    assert valid["judgement_share"].drop_nulls().sum() == pytest.approx(6), "two people's rankings of three tasks"
    judged = frames.read("aggregated_preferences", "r000001")
    assert judged["comparison_id"].n_unique() == judged.height == 4 + 4 + 9 + 4
    ((source, reason),) = platform.warehouse.query("SELECT source, reason FROM rejected_feedback").rows()
    assert source == "raw.jsonl"
    assert "import auto" in reason
