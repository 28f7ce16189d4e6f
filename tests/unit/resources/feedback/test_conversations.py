"""Conversations beside a prompt: what is one, what it makes of an event, and how frames of earlier versions are read."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crowd_assets.quality import conditions
from crowd_assets.quality.detectors.personal import masked
from resources.feedback.conversations import messages_of
from resources.feedback.events import (
    ERASED,
    EVENT_SCHEMA,
    InvalidEventError,
    Limits,
    completed,
    is_erased,
    parse_event,
)
from resources.files.frames import FramesResource, SettledFrameError, write_parquet

LIMITS = Limits(line_bytes=10**6, text_characters=200)
SYSTEM = {"role": "system", "content": "Be kind."}
HELLO = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
ASKED = {"role": "user", "content": "How was the fair?"}
DEMONSTRATION = {
    "kind": "demonstration",
    "contributor_id": "ann",
    "response": "Lovely.",
    "submitted_at": "2026-01-02T10:00:00+00:00",
}


def event(**more: Any) -> dict[str, Any]:
    return parse_event(DEMONSTRATION | more, LIMITS)


def test_a_conversation_says_the_prompt_and_is_part_of_what_the_event_is() -> None:
    plain = event(prompt="How was the fair?")
    spoken = event(messages=[SYSTEM, *HELLO, ASKED])
    assert spoken["prompt"] == "How was the fair?"
    assert messages_of(spoken["prompt"], spoken["messages"]) == [SYSTEM, *HELLO, ASKED]
    assert spoken["event_id"] != plain["event_id"]
    assert spoken["event_id"] != event(messages=[*HELLO, ASKED])["event_id"]
    assert event(messages=[SYSTEM, *HELLO, ASKED], prompt="How was the fair?") == spoken


def test_a_conversation_of_the_prompt_alone_is_the_prompt() -> None:
    assert event(messages=[ASKED]) == event(prompt="How was the fair?")
    assert messages_of("How was the fair?", None) == [ASKED]


def test_an_event_without_them_has_the_id_that_it_had_before_there_were_any() -> None:
    assert event(prompt="How was the fair?")["event_id"] == "9f39219cf957e3f612b4ab7f4843daca"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "messages must be a list"),
        ("Hi", "messages must be a list"),
        ([*HELLO], "must end with one of the user"),
        ([*HELLO, SYSTEM, ASKED], "message 3 is of the system"),
        ([{"role": "tool", "content": "3"}, ASKED], "message 1 has another role"),
        ([ASKED | {"name": "x"}], "a role and a content, and nothing else"),
        ([{"role": "user", "content": ["x"]}], "a content that is no text"),
        ([SYSTEM, {"role": "user", "content": " "}], "a message is empty"),
        ([{"role": "user", "content": "x" * 201}], "at most 200"),
        ([{"role": "system", "content": "x" * 199}, ASKED], "messages has"),
        ([SYSTEM, {"role": "user", "content": "Another?"}], "prompt is not what messages ends with"),
    ],
)
def test_what_is_no_conversation_is_refused_in_words(messages: Any, reason: str) -> None:
    with pytest.raises(InvalidEventError, match=reason):
        event(messages=messages, prompt="How was the fair?")


@pytest.mark.parametrize(
    ("field", "value"),
    [("both_bad", 1), ("both_bad", "yes"), ("judgement_share", 0), ("judgement_share", 1.5), ("judgement_share", True)],
)
def test_what_a_judgement_says_besides_is_checked(field: str, value: Any) -> None:
    judged = DEMONSTRATION | {
        "kind": "preference",
        "comparison_id": "c",
        "prompt": "p",
        "response_a": "a",
        "response_b": "b",
        "probability_a": 0.5,
    }
    assert parse_event(judged | {"both_bad": True, "judgement_share": 1 / 3}, LIMITS)["both_bad"] is True
    with pytest.raises(InvalidEventError, match=field):
        parse_event(judged | {field: value}, LIMITS)


def test_an_outcome_has_no_conversation() -> None:
    outcome = {"kind": "outcome", "comparison_id": "c", "preferred_a": 1, "submitted_at": "2026-01-02T10:00:00Z"}
    with pytest.raises(InvalidEventError, match="no field of outcome"):
        parse_event(outcome | {"messages": [ASKED]}, LIMITS)


def test_frames_of_earlier_versions_are_read_beside_those_of_now(tmp_path: Path) -> None:
    schema = {"seq": pl.Int64(), **EVENT_SCHEMA}
    now = pl.DataFrame([event(messages=[SYSTEM, ASKED]) | {"seq": 2}], schema=schema)
    before = pl.DataFrame([event(prompt="How was the fair?") | {"seq": 1}], schema=schema)
    old = before.drop("messages", "both_bad", "judgement_share")
    assert completed(old).select(before.columns).equals(before)
    frames = FramesResource(root=str(tmp_path))
    frames.write("feedback", "r000001", old)
    frames.write("feedback", "r000002", now)
    both = frames.scan("feedback", ["r000001", "r000002"], schema).collect()
    assert both.drop("round_id").equals(pl.concat([before, now]))
    frames.write("feedback", "r000001", before, settled=True)
    with pytest.raises(SettledFrameError):
        frames.write("feedback", "r000001", before.with_columns(messages=pl.lit("[]")), settled=True)


def test_the_same_last_turn_of_two_conversations_is_two_questions() -> None:
    rows = [event(prompt="How was the fair?"), event(messages=[SYSTEM, ASKED]), event(messages=[*HELLO, ASKED])]
    frame = pl.DataFrame(rows, schema=EVENT_SCHEMA).with_row_index("seq").with_columns(pl.col("seq").cast(pl.Int64))
    keys = conditions.keys("demonstration", frame.lazy()).collect()
    assert keys["question"].n_unique() == keys["answer"].n_unique() == 3


def test_personal_data_in_a_conversation_is_masked_and_it_stays_one() -> None:
    row = event(messages=[{"role": "user", "content": 'Mail me,\nann@example.org "now"'}, *HELLO[1:], ASKED])
    (text,) = masked(pl.DataFrame([row], schema=EVENT_SCHEMA), "GB")["messages"]
    assert messages_of("", text)[0]["content"] == 'Mail me,\n[e-mail] "now"'


def test_an_event_is_erased_where_a_message_of_its_conversation_is() -> None:
    rows = [event(messages=[HELLO[0] | {"content": ERASED}, ASKED]), event(messages=[SYSTEM, ASKED])]
    assert pl.DataFrame(rows, schema=EVENT_SCHEMA).select(is_erased()).to_series().to_list() == [True, False]


def test_conversations_survive_storage(tmp_path: Path) -> None:
    from upath import UPath

    frame = pl.DataFrame([event(messages=[SYSTEM, ASKED])], schema=EVENT_SCHEMA)
    write_parquet(UPath(tmp_path / "f.parquet"), frame)
    (text,) = pl.read_parquet(tmp_path / "f.parquet")["messages"]
    assert json.loads(text) == [SYSTEM, ASKED]
