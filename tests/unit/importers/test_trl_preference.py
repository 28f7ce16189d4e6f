"""TRL's preference tables in the four variants of its documentation."""

import json
from pathlib import Path

import polars as pl
import pytest

from crowd_assets.importers import trl_preference
from crowd_assets.importers.records import DEFAULT_START, Event, Record, Skipped, start_of

START = start_of(DEFAULT_START)


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


SKY = "What color is the sky?"
VARIANTS = {
    "standard": {"prompt": SKY, "chosen": "It is blue.", "rejected": "It is green."},
    "standard with implicit prompt": {
        "chosen": f"{SKY}\n\nAssistant:It is blue.",
        "rejected": f"{SKY}\n\nAssistant:It is green.",
    },
    "conversational": {
        "prompt": [user(SKY)],
        "chosen": [assistant("It is blue.")],
        "rejected": [assistant("It is green.")],
    },
    "conversational with implicit prompt": {
        "chosen": [user(SKY), assistant("It is blue.")],
        "rejected": [user(SKY), assistant("It is green.")],
    },
    "text prompt repeated in the messages": {
        "prompt": SKY,
        "chosen": [user(SKY), assistant("It is blue.")],
        "rejected": [user(SKY), assistant("It is green.")],
    },
}


def read(folder: Path, rows: list[object], **options) -> list[Record]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(trl_preference.read(path, **{"start": START, **options}))


def events_of(folder: Path, rows: list[object], **options) -> list[Event]:
    return [record for record in read(folder, rows, **options) if isinstance(record, dict)]


def chosen_of(event: Event) -> str:
    return event["response_a"] if event["probability_a"] == 1.0 else event["response_b"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_the_same_preference(tmp_path: Path, variant: str) -> None:
    (event,) = events_of(tmp_path, [VARIANTS[variant]])
    assert event["kind"] == "preference"
    assert event["contributor_id"] == "trl"
    assert event["prompt"].removesuffix("\n\nAssistant:") == SKY
    assert {event["response_a"], event["response_b"]} == {"It is blue.", "It is green."}
    assert event["probability_a"] in (0.0, 1.0)
    assert chosen_of(event) == "It is blue."
    assert event["submitted_at"] == DEFAULT_START


def test_an_implicit_prompt_ends_with_a_whole_word(tmp_path: Path) -> None:
    (event,) = events_of(tmp_path, [{"chosen": "The sky is blue.", "rejected": "The sky is black."}])
    assert event["prompt"] == "The sky is "
    assert chosen_of(event) == "blue."


def test_a_dialogue_keeps_all_turns_but_the_answer_in_the_prompt(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be short."}, user("Hi"), assistant("Hello"), user(SKY)]
    row = {"chosen": [*turns, assistant("Blue.")], "rejected": [*turns, assistant("Green.")]}
    (event,) = events_of(tmp_path, [row])
    assert event["prompt"] == SKY
    assert event["messages"] == turns


def test_position_says_nothing_about_who_won(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": f"answer {n}", "rejected": f"other {n}"} for n in range(2_000)]
    events = events_of(tmp_path, rows)
    share = sum(event["probability_a"] for event in events) / len(events)
    assert abs(share - 0.5) < 0.05
    assert events == events_of(tmp_path, rows)
    assert events != events_of(tmp_path, rows, seed=1)


def test_two_labelers_who_disagree_speak_of_the_same_comparison(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "x", "rejected": "y", "by": "ann"},
        {"prompt": "p", "chosen": "y", "rejected": "x", "by": 7},
    ]
    ann, bob = events_of(tmp_path, rows, contributor_column="by")
    assert (ann["contributor_id"], bob["contributor_id"]) == ("ann", "7")
    assert ann["comparison_id"] == bob["comparison_id"]
    assert ann["response_a"] == bob["response_a"]
    assert ann["probability_a"] == 1.0 - bob["probability_a"]


def test_an_id_column_names_the_comparison_unless_it_names_two(tmp_path: Path) -> None:
    rows = [
        {"id": "first", "prompt": "p", "chosen": "x", "rejected": "y"},
        {"id": "first", "prompt": "p", "chosen": "y", "rejected": "x"},
        {"id": "first", "prompt": "p", "chosen": "x", "rejected": "z"},
    ]
    first, second, third = read(tmp_path, rows, id_column="id")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["comparison_id"] == second["comparison_id"] == "first"
    assert third == Skipped(3, "'id' names another comparison too: choose another --id-column", "first")
    names = [event["comparison_id"] for event in events_of(tmp_path, rows)]
    assert names[0] == names[1] != names[2], "an id that nobody vouched for may be the prompt's"
    assert all(name.startswith("first-") for name in names)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "x", "rejected": "y"}, "no prompt, and the answers do not begin alike"),
        ({"chosen": [assistant("x")], "rejected": [assistant("y")]}, "no prompt"),
        ({"prompt": "p", "chosen": "x"}, "no rejected"),
        ({"prompt": "p", "chosen": "x", "rejected": "x"}, "chosen and rejected are the same"),
        ({"prompt": "p", "chosen": " ", "rejected": "x"}, "chosen is empty"),
        ({"prompt": 3, "chosen": "y", "rejected": "x"}, "prompt is neither text nor chat messages"),
        ({"prompt": "p", "chosen": [], "rejected": [assistant("x")]}, "no chosen"),
        ({"prompt": "p", "chosen": ["y", "z"], "rejected": ["x"]}, "chosen is not a list of chat messages"),
        (
            {"prompt": "p", "chosen": [{"role": "assistant", "content": None}], "rejected": [assistant("x")]},
            "chosen has a chat message without text",
        ),
    ],
)
def test_a_row_that_is_no_preference_is_skipped_and_the_next_is_read(
    tmp_path: Path, row: dict[str, object], reason: str
) -> None:
    skipped, event = read(tmp_path, [row, VARIANTS["standard"]])
    assert isinstance(skipped, Skipped)
    assert (skipped.row, skipped.reason) == (1, reason)
    assert isinstance(event, dict)


def test_parquet_with_chat_messages_is_read(tmp_path: Path) -> None:
    pl.DataFrame([VARIANTS["conversational"]]).write_parquet(tmp_path / "rows.parquet")
    (event,) = trl_preference.read(tmp_path / "rows.parquet", start=START)
    assert isinstance(event, dict)
    assert chosen_of(event) == "It is blue."
