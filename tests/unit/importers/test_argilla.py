"""Argilla 2: rankings, labels and texts, from the SDK's export and from the server's answers."""

import json
from pathlib import Path

import pytest

from crowd_assets.importers import argilla
from crowd_assets.importers.argilla import BareRankings, Questions
from crowd_assets.importers.records import DEFAULT_START, Record, Skipped, start_of

START = start_of(DEFAULT_START)
ANN, BOB = "7b0f2a4e-0000-4000-8000-000000000001", "7b0f2a4e-0000-4000-8000-000000000002"
FIELDS = {"prompt": "Why?", "response1": "Because.", "response2": "Why not?"}


def answer(value: object, user_id: object = ANN, **other: object) -> dict[str, object]:
    return {"value": value, "user_id": user_id, **other}


def record(responses: object, fields: object = FIELDS, name: str = "rec-1") -> dict[str, object]:
    """As ``Record.to_dict()`` of the SDK gives it."""
    return {
        "id": name,
        "fields": fields,
        "metadata": {},
        "suggestions": {},
        "responses": responses,
        "vectors": {},
        "status": "completed",
        "_server_id": "f0f0",
    }


def server_record(values: dict[str, object], **other: object) -> dict[str, object]:
    """As the server answers."""
    response = {
        "id": "r",
        "user_id": BOB,
        "status": "submitted",
        "values": {question: {"value": value} for question, value in values.items()},
        "inserted_at": "2026-02-01T08:00:00.000001",
        "updated_at": "2026-02-01T09:00:00.000001",
        **other,
    }
    return {
        "id": "f0f0",
        "external_id": "rec-1",
        "status": "completed",
        "fields": FIELDS,
        "responses": [response],
    }


def ranks(*pairs: tuple[str, int]) -> list[dict[str, object]]:
    return [{"value": value, "rank": rank} for value, rank in pairs]


def read(folder: Path, records: object, **options) -> list[Record]:
    path = folder / "records.json"
    path.write_text(json.dumps(records))
    return list(argilla.read(path, start=START, questions=Questions(**options)))


@pytest.mark.parametrize(
    ("ranking", "probability_a"),
    [
        (ranks(("response1", 1), ("response2", 2)), 1.0),
        (ranks(("response1", 2), ("response2", 1)), 0.0),
        (ranks(("response2", 1), ("response1", 1)), 0.5),
    ],
)
def test_a_ranking_becomes_a_preference(tmp_path: Path, ranking: object, probability_a: float) -> None:
    assert read(tmp_path, [record({"preference": [answer(ranking)]})]) == [
        {
            "kind": "preference",
            "contributor_id": f"argilla-{ANN}",
            "comparison_id": "argilla-rec-1-response1-response2",
            "prompt": "Why?",
            "response_a": "Because.",
            "response_b": "Why not?",
            "probability_a": probability_a,
            "submitted_at": DEFAULT_START,
            "question": "preference",
        }
    ]


def test_a_ranking_of_three_becomes_three_preferences(tmp_path: Path) -> None:
    fields = {"prompt": "Why?", "Response 1": "x", "Response 2": "y", "Response 3": "z"}
    ranking = ranks(("1", 2), ("2", 1), ("3", 2))
    events = read(tmp_path, [record({"x": [answer(ranking)]}, fields)])
    assert [(event["response_a"], event["response_b"], event["probability_a"]) for event in events] == [
        ("x", "y", 0.0),
        ("x", "z", 0.5),
        ("y", "z", 1.0),
    ]
    assert len({event["comparison_id"] for event in events}) == 3


@pytest.mark.parametrize(
    ("label", "probability_a"), [("response1", 1.0), ("Response 2", 0.0), ("left", 1.0), ("tie", 0.5)]
)
def test_a_label_that_names_an_answer_becomes_a_preference(tmp_path: Path, label: str, probability_a: float) -> None:
    (event,) = read(tmp_path, [record({"better": [answer(label)]})])
    assert event["probability_a"] == probability_a


def test_other_labels_are_understood_where_the_question_is_named(tmp_path: Path) -> None:
    exported = [record({"topic": [answer("none")], "which": [answer("B")]})]
    assert all(isinstance(found, Skipped) for found in read(tmp_path, exported))
    found = read(tmp_path, exported, labels=["which"])
    assert [event["probability_a"] for event in found if isinstance(event, dict)] == [0.0]


def test_a_text_becomes_a_demonstration(tmp_path: Path) -> None:
    exported = [record({"response": [answer("Do this."), answer("Do that.", BOB)], "reason": [answer("so")]})]
    records = read(tmp_path, exported, answer_a="x", answer_b="y")
    events = [found for found in records if isinstance(found, dict)]
    assert [(event["kind"], event["prompt"], event["response"]) for event in events] == [
        ("demonstration", "Why?", "Do this."),
        ("demonstration", "Why?", "Do that."),
    ]
    assert [found.reason for found in records if isinstance(found, Skipped)] == ["no field 'x'"]
    named = read(tmp_path, exported, texts=["reason"])
    assert [event["response"] for event in named if isinstance(event, dict)] == ["so"]


def test_a_question_that_nobody_named_is_not_guessed(tmp_path: Path) -> None:
    (skipped,) = read(tmp_path, [record({"mood": [answer("happy")]}, {"prompt": "Why?"})])
    assert skipped.reason == "neither two answers to compare nor a known text question: name the fields or the question"


def test_rankings_whose_ranks_the_sdk_dropped_are_not_believed(tmp_path: Path) -> None:
    exported = [
        record({"preference": [answer(["response1", "response2"]), answer(["response1", "response2"], BOB)]}),
        record({"preference": [answer(["response1", "response2"])]}, name="rec-2"),
    ]
    records = read(tmp_path, exported)
    assert len(records) == 3
    assert {found.reason.split(":")[0] for found in records} == {"ranking without ranks"}
    believed = read(tmp_path, exported, bare_rankings=BareRankings.BEST_FIRST)
    assert [event["probability_a"] for event in believed] == [1.0, 1.0, 1.0]


def test_bare_rankings_in_several_orders_are_best_first(tmp_path: Path) -> None:
    exported = [record({"preference": [answer(["response1", "response2"]), answer(["response2", "response1"], BOB)]})]
    assert [event["probability_a"] for event in read(tmp_path, exported)] == [1.0, 0.0]
    assert all(isinstance(found, Skipped) for found in read(tmp_path, exported, bare_rankings=BareRankings.SKIP))


def test_the_answer_of_the_server_has_ranks_and_times(tmp_path: Path) -> None:
    page = {"items": [server_record({"preference": ranks(("response1", 2), ("response2", 1))})], "total": 1}
    (event,) = read(tmp_path, page)
    assert event["probability_a"] == 0.0
    assert event["contributor_id"] == f"argilla-{BOB}"
    assert event["comparison_id"] == "argilla-rec-1-response1-response2"
    assert event["submitted_at"] == "2026-02-01T09:00:00.000001+00:00"


def test_a_null_rank_is_no_rank(tmp_path: Path) -> None:
    # The server keeps what the SDK logs, a list with the best first, as values whose rank is null.
    logged = [{"value": "response2", "rank": None}, {"value": "response1", "rank": None}]
    (skipped,) = read(tmp_path, [server_record({"preference": logged})])
    assert skipped.reason.startswith("ranking without ranks")
    (event,) = read(tmp_path, [server_record({"preference": logged})], bare_rankings=BareRankings.BEST_FIRST)
    assert event["probability_a"] == 0.0


@pytest.mark.parametrize("status", ["draft", "discarded"])
def test_what_was_not_submitted_is_skipped(tmp_path: Path, status: str) -> None:
    exported = [server_record({"preference": ranks(("response1", 2), ("response2", 1))}, status=status)]
    (skipped,) = read(tmp_path, exported)
    assert skipped.reason == f"response is {status}"


def test_json_lines_and_chat_fields_are_read(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Why?"}]
    exported = record({"preference": [answer(ranks(("response1", 1), ("response2", 2)))]}, {**FIELDS, "prompt": chat})
    (tmp_path / "records.jsonl").write_text(json.dumps(exported) + "\n")
    (event,) = argilla.read(tmp_path / "records.jsonl", start=START)
    assert isinstance(event, dict)
    assert event["prompt"] == "Why?"


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        (record(None), "record has no responses"),
        (record({}), "record has no responses"),
        (record("none"), "responses are neither an object nor a list"),
        (record({"p": ["x"]}), "response is not an object"),
        (record([{"user_id": ANN}]), "response has no values"),
        (record({"p": [answer(3)]}), "response is neither a ranking, a label nor a text"),
        (record({"p": [answer(ranks(("response1", 1)))]}), "ranking of fewer than two answers"),
        (record({"p": [answer(ranks(("response1", 1), ("response9", 2)))]}), "ranking names no field of the record"),
        (record({"p": [answer(ranks(("response1", 1), ("response1", 2)))]}), "ranking names an answer twice"),
        (
            record({"p": [answer([{"value": "response1", "rank": "1"}])]}),
            "ranking is neither names nor names with ranks",
        ),
        (record({"p": [answer("left", None)]}), "no user_id"),
        (record({"p": [answer("left", status="odd")]}), "status is unknown"),
        (record({"p": [answer("left")]}, None), "record has no fields"),
        (record({"p": [answer("left")]}, {**FIELDS, "response1": None}), "no response1"),
        (record({"p": [answer("left", updated_at="soon")]}), "updated_at is not an ISO 8601 time"),
    ],
)
def test_what_cannot_be_used_is_skipped_and_the_next_record_is_read(
    tmp_path: Path, spoiled: object, reason: str
) -> None:
    records = read(tmp_path, [spoiled, record({"better": [answer("left")]}, name="rec-2")])
    assert [(found.row, found.reason) for found in records if isinstance(found, Skipped)] == [(1, reason)]
    assert sum(isinstance(found, dict) for found in records) == 1
