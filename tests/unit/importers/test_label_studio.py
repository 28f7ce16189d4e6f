"""Label Studio: comparisons, ground truth and texts of its JSON export."""

import json
from pathlib import Path

import pytest

from crowd_assets.importers import label_studio
from crowd_assets.importers.label_studio_results import Fields
from crowd_assets.importers.records import Note, Record, Skipped
from tests import EXPORTS

DATA = {"prompt": "Why?", "answer1": "Because.", "answer2": "Why not?"}


def pairwise(selected: object) -> dict[str, object]:
    # Label Studio writes the control's own name into to_name.
    return {"id": "x", "from_name": "pw", "to_name": "pw", "type": "pairwise", "value": {"selected": selected}}


def choices(*labels: object, name: str = "tie") -> dict[str, object]:
    value = {"choices": list(labels)}
    return {"id": "y", "from_name": name, "to_name": "answer1", "type": "choices", "value": value}


def number(value: object, name: str = "certainty") -> dict[str, object]:
    return {"id": "n", "from_name": name, "to_name": "prompt", "type": "number", "value": {"number": value}}


def textarea(*texts: object) -> dict[str, object]:
    value = {"text": list(texts)}
    return {"id": "z", "from_name": "comment", "to_name": "prompt", "type": "textarea", "value": value}


def annotation(*results: object, **other: object) -> dict[str, object]:
    return {
        "id": 1001,
        "completed_by": 10,
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-03-09T22:16:08.728353Z",
        "updated_at": "2026-03-09T22:16:08.728378Z",
        "lead_time": 4.288,
        "task": 1,
        **other,
    }


def task(*annotations: object, data: object = DATA, **other: object) -> dict[str, object]:
    return {"id": 1, "project": 83, "data": data, "annotations": list(annotations), "predictions": [], **other}


def read(folder: Path, tasks: object, **options) -> list[Record]:
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    options.setdefault("fields", label_studio.Fields(source=""))
    return list(label_studio.read(path, **options))


@pytest.mark.parametrize(
    ("results", "probability_a"),
    [
        ([pairwise("left")], 1.0),
        ([pairwise("right")], 0.0),
        ([choices("equal")], 0.5),
        ([choices("Tie")], 0.5),
        ([pairwise("left"), number(85)], 0.85),
        ([number(85), pairwise("right")], 0.15),
        ([choices("equal"), number(85)], 0.5),
        ([pairwise("left"), number(1, name="rating")], 1.0),
        ([choices("Left")], 1.0),
        ([pairwise("left"), choices("helpful")], 1.0),
    ],
)
def test_a_comparison_becomes_a_preference(tmp_path: Path, results: list[object], probability_a: float) -> None:
    assert read(tmp_path, [task(annotation(*results))]) == [
        {
            "kind": "preference",
            "contributor_id": "label-studio-10",
            "comparison_id": "label-studio-83-1",
            "prompt": "Why?",
            "response_a": "Because.",
            "response_b": "Why not?",
            "probability_a": probability_a,
            "submitted_at": "2026-03-09T22:16:08.728378+00:00",
            "event_id": "label-studio-83-1-1001",
            "lead_time": 4.288,
        }
    ]


def test_two_annotators_judge_the_same_comparison(tmp_path: Path) -> None:
    second = annotation(
        pairwise("right"), completed_by={"id": 11, "email": "b@example.org"}, updated_at="2026-03-09T10:00:00+02:00"
    )
    first, last = read(tmp_path, [task(annotation(pairwise("left"), textarea("shorter")), second)])
    assert (first["contributor_id"], last["contributor_id"]) == ("label-studio-11", "label-studio-10")
    assert first["comparison_id"] == last["comparison_id"]
    assert first["submitted_at"] == "2026-03-09T08:00:00+00:00"
    assert last["comment"] == "shorter"


def test_ground_truth_becomes_an_outcome_after_all_judgements(tmp_path: Path) -> None:
    truth = annotation(pairwise("right"), completed_by=1, ground_truth=True, updated_at="2026-03-01T00:00:00Z")
    records = read(tmp_path, [task(truth, annotation(pairwise("left")))])
    assert [record["kind"] for record in records] == ["preference", "outcome"]
    assert records[1] == {
        "kind": "outcome",
        "comparison_id": "label-studio-83-1",
        "preferred_a": 0.0,
        "submitted_at": "2026-03-09T22:16:09.728378+00:00",
        "event_id": "label-studio-83-1-1001-outcome",
    }


def test_texts_without_a_comparison_become_demonstrations(tmp_path: Path) -> None:
    records = read(tmp_path, [task(annotation(textarea("One answer.", " ", "Another.")), data={"text": "Say it."})])
    assert [(record["kind"], record["prompt"], record["response"]) for record in records] == [
        ("demonstration", "Say it.", "One answer."),
        ("demonstration", "Say it.", "Another."),
    ]


def test_an_export_of_the_real_tool_with_the_exported_configuration() -> None:
    records = list(label_studio.read(EXPORTS / "label_studio_pairwise.json", fields=label_studio.Fields(source="")))
    events = [record for record in records if isinstance(record, dict)]
    judged = {(event["contributor_id"], event["comparison_id"][-1]): event["probability_a"] for event in events}
    assert judged == {
        ("label-studio-1", "1"): 0.85,
        ("label-studio-2", "1"): 0.0,
        ("label-studio-1", "2"): 0.0,
        ("label-studio-1", "3"): 0.5,
    }
    assert {event["comparison_id"][:-1] for event in events} == {"r000001-000000000000000"}
    assert {event["response_b"] for event in events} == {"It <b>rained</b> & rained."}
    assert [event["comment"] for event in events if "comment" in event] == ["It says what the weather was."]
    assert len({event["event_id"] for event in events}) == 4
    reasons = [record.reason for record in records if isinstance(record, Skipped)]
    assert sorted(reasons) == ["annotation was skipped by its annotator", "task is not annotated"]


def test_a_text_export_of_the_real_tool() -> None:
    events = [
        event
        for event in label_studio.read(EXPORTS / "label_studio_text.json", fields=label_studio.Fields(source=""))
        if isinstance(event, dict)
    ]
    said = {(event["kind"], event["contributor_id"], event["response"]) for event in events}
    assert said == {
        ("demonstration", "label-studio-1", "It was lovely."),
        ("demonstration", "label-studio-1", "Thank you for asking!"),
        ("demonstration", "label-studio-2", "It was lovely."),
    }
    assert len({event["event_id"] for event in events}) == 3


def test_an_annotation_keeps_its_id_when_it_is_changed(tmp_path: Path) -> None:
    unique = {"unique_id": "7a1d"}
    (before,) = read(tmp_path, [task(annotation(pairwise("left"), **unique))])
    (after,) = read(tmp_path, [task(annotation(pairwise("right"), **unique, updated_at="2026-03-10T00:00:00Z"))])
    assert before["event_id"] == after["event_id"] == "label-studio-7a1d"
    (other,) = read(tmp_path, [task(annotation(pairwise("left"), unique_id="7a1e"))])
    assert other["event_id"] != before["event_id"]


def test_a_time_that_is_none_is_left_out(tmp_path: Path) -> None:
    for lead_time in (None, "soon", 10**400, [4]):
        (event,) = read(tmp_path, [task(annotation(pairwise("left"), lead_time=lead_time))])
        assert "lead_time" not in event


def test_a_task_of_the_platform_keeps_its_comparison(tmp_path: Path) -> None:
    (event,) = read(tmp_path, [task(annotation(pairwise("left")), data=DATA | {"comparison_id": "r000003-1f"})])
    assert event["comparison_id"] == "r000003-1f"


def test_fields_can_be_named(tmp_path: Path) -> None:
    data = {"frage": "Warum?", "eins": "Darum.", "zwei": "Nur so.", "text1": "not this", "text2": "nor this"}
    fields = Fields(prompt="frage", answer_a="zwei", answer_b="eins", source="")
    (event,) = read(tmp_path, [task(annotation(pairwise("left")), data=data)], fields=fields)
    assert (event["prompt"], event["response_a"], event["response_b"]) == ("Warum?", "Nur so.", "Darum.")


def test_a_choice_of_another_question_is_not_a_tie(tmp_path: Path) -> None:
    (skipped,) = read(tmp_path, [task(annotation(choices("none", name="topic"), choices("1", name="rating")))])
    assert skipped.reason.startswith("annotation holds neither a comparison nor a text; name the tag")
    named = Fields(choices="better", source="")
    (event,) = read(
        tmp_path, [task(annotation(choices("B", name="better"), choices("equal", name="topic")))], fields=named
    )
    assert event["probability_a"] == 0.0


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        (task(), "task is not annotated"),
        ({"id": 1, "prompt": "p"}, "task has no list of annotations"),
        (task(annotation(pairwise("left"), was_cancelled=True)), "annotation was skipped by its annotator"),
        (task(annotation()), "annotation holds neither a comparison nor a text"),
        (
            task(annotation(pairwise("none"))),
            "annotation holds neither a comparison nor a text; name the tag that compares with --choices: pw (pairwise)",
        ),
        (
            task(annotation(pairwise("left"), choices("equal"))),
            "annotation contradicts itself on which answer is better",
        ),
        (task(annotation(pairwise("left"), number(40))), "certainty is not from 50 to 100"),
        (task(annotation(pairwise("left"), number("NaN"))), "certainty is not finite"),
        (
            task(annotation(pairwise("left"), completed_by=None)),
            "no completed_by: say who annotated with --contributor",
        ),
        (task(annotation(pairwise("left"), updated_at="soon")), "updated_at is not an ISO 8601 time"),
        (task(annotation(pairwise("left"), updated_at="2026-03-09T22:16:08")), "updated_at has no time zone"),
        (task({"id": 1}), "annotation has no list of results"),
        (task(annotation(pairwise("left")), data=None), "task has no data"),
        (
            task(annotation(pairwise("left")), data={"prompt": "p", "x": "1", "y": "2"}),
            "no two fields known as the answers: name them with --field-a and --field-b",
        ),
        (
            task(annotation(pairwise("left")), data={"x": "p", "text1": "1", "text2": "2"}),
            "no field known as the prompt: name it with an option",
        ),
        (task(annotation(pairwise("left")), data={**DATA, "answer1": ""}), "answer A is empty"),
    ],
)
def test_what_cannot_be_used_is_skipped_and_the_next_task_is_read(tmp_path: Path, spoiled: object, reason: str) -> None:
    records = read(tmp_path, [spoiled, task(annotation(pairwise("left")), id=2)])
    assert [(record.row, record.reason) for record in records if isinstance(record, Skipped)] == [(1, reason)]
    assert [record["comparison_id"] for record in records if isinstance(record, dict)] == ["label-studio-83-2"]


def test_the_minimal_export_is_recognised(tmp_path: Path) -> None:
    records = read(tmp_path, [{"id": 1, "text1": "a", "pw": "left", "annotator": 1, "annotation_id": 1}])
    assert any(isinstance(record, Note) and "JSON-MIN" in record.text for record in records)
