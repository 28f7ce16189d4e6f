"""What holds of every importer and mapping, whatever the rows: one row more is one judgement more, each row is accounted for, and
no event holds what two rows say."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from crowd_assets.importers import (
    argilla,
    convincing_arguments,
    label_studio,
    oasst,
    potato,
    records,
    table,
    trl_preference,
    trl_prompt_completion,
    ultrafeedback,
    wmt,
)
from crowd_assets.importers.cli import app
from crowd_assets.importers.layouts import layout_of
from crowd_assets.importers.mapping import Mapping, find_mapping, mapping_of, ready_mappings
from crowd_assets.importers.records import DEFAULT_START, Record, Skipped, SourceError, identified, start_of
from resources.feedback.events import IDENTIFIER
from resources.feedback.pseudonyms import Pseudonyms

LATER = start_of("2026-07-01T12:00:00+00:00")


START = start_of(DEFAULT_START)


Row = dict[str, Any]


Reader = Callable[[Path, datetime], Iterator[Record]]


MARK = re.compile(r"\[\[(\d+)\]\]")


TEXT = st.text(
    st.one_of(
        st.sampled_from("\"',;\t|\n\r\\[{:.<v>_-\u2028\u0085\xa0\ufeff"), st.characters(exclude_categories=["Cs", "Cc"])
    ),
    max_size=12,
)
"""What people write, and what makes a table's reader stumble."""


def judged(who: int, number: int, left: bool, said: str) -> Row:
    """What a person thinks of a question's two answers; every text says which question it belongs to."""
    ask, one, two = (f"{word} [[{number}]] {said}." for word in ("What", "One", "Two"))
    return {"who": f"w{who}", "ask": ask, "one": one, "two": two, "left": left, "number": number}


def said(row: Row, text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["ask"]}, {"role": "assistant", "content": text}]


def three(row: Row) -> tuple[list[str], list[int]]:
    """Three answers and their ranks."""
    return [row["one"], row["two"], f"Three {row['ask']}"], [1, 2, 3] if row["left"] else [2, 1, 3]


def winner(row: Row, one: Any, two: Any) -> Any:
    return one if row["left"] else two


def _task(row: Row, number: int, data: Row, result: list[Row]) -> Row:
    by = {"id": number, "completed_by": int(row["who"][1:]), "result": result, "updated_at": "2026-01-02T10:00:00Z"}
    return {"id": number, "project": 1, "data": {"prompt": row["ask"], **data}, "annotations": [by]}


def _pair(row: Row) -> Row:
    return {"response_a": row["one"], "response_b": row["two"]}


def _tag(kind: str, name: str, value: Row, to: str = "text") -> Row:
    return {"type": kind, "from_name": name, "to_name": to, "value": value}


def _record(row: Row, question: str, value: Any) -> Row:
    answer = {"value": value, "user_id": row["who"]}
    fields = dict(zip(("response-1", "response-2", "response-3"), three(row)[0], strict=True))
    return {"id": f"r{row['number']}", "fields": {"prompt": row["ask"], **fields}, "responses": {question: [answer]}}


@dataclass(frozen=True)
class Layout:
    """How a judgement is written in a layout, in a row or in several, who reads it, and how many events it is."""

    made: Callable[[Row, int], Row | list[Row]]
    read: Reader
    events: int = 1
    grows_at_its_end: bool = False


def mapped(name: str, made: Callable[[Row], Row | list[Row]], events: int = 1) -> Layout:
    return Layout(
        lambda row, number: made(row),
        lambda path, start: table.read(path, mapping=find_mapping(name), start=start),
        events,
    )


def _ultrafeedback(row: Row) -> Row:
    texts, ranks = three(row)
    return {
        "instruction": row["ask"],
        "completions": [
            {"model": "m", "response": text, "overall_score": 9 - rank} for text, rank in zip(texts, ranks, strict=True)
        ],
    }


def _helpsteer2(row: Row) -> list[Row]:
    axes = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    rated = ((row["one"], winner(row, 4, 1)), (row["two"], winner(row, 1, 4)))
    return [{"prompt": row["ask"], "response": text} | dict.fromkeys(axes, points) for text, points in rated]


def _wmt(row: Row) -> list[Row]:
    about = {
        "doc": "d",
        "globalSegId": row["number"],
        "rater": row["who"],
        "source": row["ask"],
        "category": "Accuracy",
    }
    marked = (("one", winner(row, "minor", "major")), ("two", winner(row, "major", "minor")))
    return [{"system": name, "target": row[name], "severity": severity, **about} for name, severity in marked]


def rows_of(layout: Layout, rows: list[Row]) -> str:
    """Judgements as a file of the layout."""
    made = [layout.made(row, number) for number, row in enumerate(rows, start=1)]
    return json.dumps([each for one in made for each in (one if isinstance(one, list) else [one])])


LAYOUTS: dict[str, Layout] = {
    "helpsteer2": mapped("helpsteer2", _helpsteer2),
    "wmt": Layout(lambda row, number: _wmt(row), lambda path, start: wmt.read(path, start=start)),
    "trl-preference": Layout(
        lambda row, number: {
            "prompt": row["ask"],
            "chosen": winner(row, row["one"], row["two"]),
            "rejected": winner(row, row["two"], row["one"]),
            "who": row["who"],
        },
        lambda path, start: trl_preference.read(path, start=start, contributor_column="who"),
    ),
    "trl-preference, messages": Layout(
        lambda row, number: {
            "chosen": said(row, winner(row, row["one"], row["two"])),
            "rejected": said(row, winner(row, row["two"], row["one"])),
            "who": row["who"],
        },
        lambda path, start: trl_preference.read(path, start=start, contributor_column="who"),
    ),
    "trl-prompt-completion": Layout(
        lambda row, number: {"messages": said(row, winner(row, row["one"], row["two"])), "who": row["who"]},
        lambda path, start: trl_prompt_completion.read(path, start=start, contributor_column="who"),
    ),
    "ultrafeedback": Layout(
        lambda row, number: _ultrafeedback(row), lambda path, start: ultrafeedback.read(path, start=start), 3
    ),
    "label-studio": Layout(
        lambda row, number: _task(
            row, number, _pair(row), [_tag("pairwise", "p", {"selected": winner(row, "left", "right")})]
        ),
        lambda path, start: label_studio.read(path),
        grows_at_its_end=True,
    ),
    "label-studio, ratings": Layout(
        lambda row, number: _task(
            row,
            number,
            _pair(row),
            [
                _tag("rating", "rating_a", {"rating": winner(row, 5, 2)}),
                _tag("rating", "rating_b", {"rating": winner(row, 2, 5)}),
            ],
        ),
        lambda path, start: label_studio.read(path),
        grows_at_its_end=True,
    ),
    "label-studio, ranker": Layout(
        lambda row, number: _task(
            row,
            number,
            {"items": [{"id": name, "body": text} for name, text in zip("abc", three(row)[0], strict=True)]},
            [_tag("ranker", "rank", {"ranker": {"rank": winner(row, ["a", "b", "c"], ["b", "a", "c"])}})],
        ),
        lambda path, start: label_studio.read(path),
        3,
        grows_at_its_end=True,
    ),
    "label-studio, text": Layout(
        lambda row, number: _task(row, number, {}, [_tag("textarea", "response", {"text": [row["one"]]})]),
        lambda path, start: label_studio.read(path),
        grows_at_its_end=True,
    ),
    "argilla": Layout(
        lambda row, number: {
            "id": f"r{row['number']}",
            "fields": {"prompt": row["ask"], **_pair(row)},
            "responses": {"preference": [{"value": winner(row, "response_a", "response_b"), "user_id": row["who"]}]},
        },
        lambda path, start: argilla.read(path, start=start),
    ),
    "argilla, ranking": Layout(
        lambda row, number: _record(
            row, "ranking", [{"value": f"response-{i}", "rank": rank} for i, rank in enumerate(three(row)[1], start=1)]
        ),
        lambda path, start: argilla.read(path, start=start),
        3,
    ),
    "argilla, text": Layout(
        lambda row, number: _record(row, "correction", row["one"]),
        lambda path, start: argilla.read(path, start=start),
    ),
    "arena": mapped(
        "arena",
        lambda row: {
            "judge": row["who"],
            "conversation_a": said(row, row["one"]),
            "conversation_b": said(row, row["two"]),
            "winner": winner(row, "model_a", "model_b"),
        },
    ),
    "mt_bench": mapped(
        "mt_bench",
        lambda row: {
            "question_id": row["number"],
            "judge": row["who"],
            "turn": 2,
            "winner": winner(row, "model_a", "model_b"),
            **{
                name: [
                    *said(row, row[one]),
                    {"role": "user", "content": "And?"},
                    {"role": "assistant", "content": "So."},
                ]
                for name, one in (("conversation_a", "one"), ("conversation_b", "two"))
            },
        },
    ),
    "shp": mapped(
        "shp",
        lambda row: {
            "history": row["ask"],
            "human_ref_A": row["one"],
            "human_ref_B": row["two"],
            "labels": int(row["left"]),
        },
    ),
    "alpaca_eval": mapped(
        "alpaca_eval",
        lambda row: {
            "annotator": row["who"],
            "instruction": row["ask"],
            "output_1": row["one"],
            "output_2": row["two"],
            "preference": 1.0 if row["left"] else 2.0,
        },
    ),
    "pandalm": mapped(
        "pandalm",
        lambda row: {
            "instruction": row["ask"],
            "input": "",
            "response1": row["one"],
            "response2": row["two"],
            **{f"annotator{number}": winner(row, 1, 2) for number in (1, 2, 3)},
        },
        3,
    ),
    "helpsteer3": mapped(
        "helpsteer3",
        lambda row: {
            "context": [{"role": "user", "content": row["ask"]}],
            "response1": row["one"],
            "response2": row["two"],
            "overall_preference": -3 if row["left"] else 3,
        },
    ),
    "mturk": mapped(
        "mturk",
        lambda row: {
            "HITId": f"h{row['number']}",
            "WorkerId": row["who"],
            "AssignmentStatus": "Approved",
            "SubmitTime": "Thu Nov 26 16:00:03 PST 2020",
            "WorkTimeInSeconds": 9,
            "Input.prompt": row["ask"],
            "Input.left": row["one"],
            "Input.right": row["two"],
            "Answer.choice": winner(row, "left", "right"),
        },
    ),
    "appen": mapped(
        "appen",
        lambda row: {
            "_unit_id": row["number"],
            "_worker_id": row["who"],
            "_created_at": "11/26/2020 16:00:03",
            "_trust": 0.9,
            "_golden": "false",
            "_tainted": "false",
            "_missed": "",
            "question": row["ask"],
            **_pair(row),
            "preferred": winner(row, "response_a", "response_b"),
        },
    ),
    "arena_55k": mapped(
        "arena_55k",
        lambda row: {
            "prompt": json.dumps([row["ask"]]),
            "response_a": json.dumps([row["one"]]),
            "response_b": json.dumps([row["two"]]),
            "winner_model_a": int(row["left"]),
            "winner_model_b": int(not row["left"]),
            "winner_tie": 0,
        },
    ),
    "nectar": mapped(
        "nectar",
        lambda row: {
            "prompt": row["ask"],
            "answers": [{"answer": text, "model": "m", "rank": rank} for text, rank in zip(*three(row), strict=True)],
            "turns": 1,
            "num_responses": 3,
        },
        3,
    ),
    "helpsteer2_preference": mapped(
        "helpsteer2_preference",
        lambda row: {
            "split": "train",
            "prompt": row["ask"],
            "response_1": row["one"],
            "response_2": row["two"],
            "preference_strength": winner(row, -2, 1),
        },
    ),
    "qualtrics": mapped(
        "qualtrics",
        lambda row: {
            "RecordedDate": "2026-01-02 10:00:00",
            "Status": "IP Address",
            "Finished": "True",
            "Duration (in seconds)": "40",
            "ResponseId": f"R_{row['number']}",
            "PROLIFIC_PID": row["who"],
            "prompt": row["ask"],
            **_pair(row),
            "preferred": winner(row, "Response A", "Response B"),
        },
    ),
    "oasst": Layout(
        lambda row, number: {
            "message_tree_id": f"t{row['number']}",
            "tree_state": "ready_for_export",
            "prompt": {
                "text": row["ask"],
                "role": "prompter",
                "replies": [
                    {"text": text, "role": "assistant", "rank": rank - 1, "replies": []}
                    for text, rank in zip(*three(row), strict=True)
                ],
            },
        },
        lambda path, start: oasst.read(path, start=start),
        3,
    ),
    "potato": Layout(
        lambda row, number: {
            "user": row["who"],
            "instance_id": row["number"],
            "question": row["ask"],
            "left": row["one"],
            "right": row["two"],
            "preference:::A": winner(row, "true", ""),
            "preference:::B": winner(row, "", "true"),
        },
        lambda path, start: potato.read(path, start=start),
    ),
    "toloka": mapped(
        "toloka",
        lambda row: {
            "INPUT:prompt": row["ask"],
            "INPUT:response_a": row["one"],
            "INPUT:response_b": row["two"],
            "OUTPUT:result": winner(row, "A", "B"),
            "ASSIGNMENT:worker_id": row["who"],
            "ASSIGNMENT:task_id": f"t{row['number']}",
            "ASSIGNMENT:status": "APPROVED",
            "ASSIGNMENT:submitted": "2020-11-26T16:00:03",
        },
    ),
}


ROWS = st.lists(
    st.builds(judged, st.integers(1, 4), st.integers(0, 30), st.booleans(), TEXT),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row["number"],
)


ONE_MORE = st.builds(judged, st.just(9), st.integers(31, 40), st.booleans(), TEXT)


QUICK = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def written(found: list[Record]) -> tuple[list[Row], list[Skipped]]:
    """The events that an import writes, and the rows that it lists as skipped."""
    events = [identified(record, Pseudonyms()) for record in found if isinstance(record, dict)]
    assert json.loads(json.dumps(events)) == events
    return list({event["event_id"]: event for event in events}.values()), [
        record for record in found if isinstance(record, Skipped)
    ]


def check_rows(
    events: list[Row], skipped: list[Skipped], rows: list[Row], per_row: int, later: list[Row], one_more: Row
) -> None:
    """What holds of the events of an import, and of those of the same rows with one more among them."""
    marks = [{int(mark) for mark in MARK.findall(json.dumps(event))} for event in events]
    assert all(len(each) == 1 for each in marks), "an event holds what two rows say"
    there = [mark for each in marks for mark in each]
    assert len(events) + per_row * len(skipped) == per_row * len(rows), (skipped, len(events))
    assert all(there.count(row["number"]) in (0, per_row) for row in rows)
    known = {event["event_id"] for event in events}
    assert len(known) == len(events)
    new = [event for event in later if event["event_id"] not in known]
    assert known <= {event["event_id"] for event in later}
    assert len(new) == per_row
    assert all(f"[[{one_more['number']}]]" in json.dumps(event) for event in new)


ELSEWHERE = {
    "convincing-arguments": "below, as it reads two tables",
    "qualtrics_questions": "in test_layouts, as its questions stand in the header",
    "goemotions": "in test_goemotions: contributors are made up, and draw other comments where there is one more",
}


def test_every_importer_and_every_mapping_that_comes_along_is_looked_at_here() -> None:
    commands = {str(command.name) for command in app.registered_commands} - {"auto", "table", "csv"}
    commands |= set(ready_mappings())
    looked_at = {name.split(",")[0] for name in LAYOUTS}
    assert commands - set(ELSEWHERE) == looked_at
    assert set(ELSEWHERE) <= commands


@pytest.mark.parametrize("layout", LAYOUTS)
def test_people_of_two_sources_are_not_the_same(tmp_path: Path, layout: str) -> None:
    (tmp_path / "rows.json").write_text(rows_of(LAYOUTS[layout], [judged(1, 1, True, ""), judged(2, 2, False, "")]))
    people = []
    for name in ("north", "south"):
        arguments = [
            "auto",
            str(tmp_path / "rows.json"),
            "--out",
            str(tmp_path / name),
            "--source",
            name,
            "--name",
            "x",
        ]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        events = [json.loads(line) for line in (tmp_path / name / "x.jsonl").read_text().splitlines()]
        people.append({event["contributor_id"] for event in events})
    assert all(people)
    assert not people[0] & people[1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_a_file_is_known_by_its_keys(tmp_path: Path, layout: str) -> None:
    (tmp_path / "rows.json").write_text(rows_of(LAYOUTS[layout], [judged(1, number, True, "") for number in (1, 2)]))
    found = layout_of(tmp_path / "rows.json")
    assert layout.split(",")[0] in (found.command, *found.options)


def test_rows_that_follow_each_other_are_answers_to_one_question(tmp_path: Path) -> None:
    axes = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    rows = [
        {"prompt": prompt, "response": response} | dict.fromkeys(axes, rating)
        for prompt, response, rating in (
            ("p", "good", 4),
            ("p", "bad", 1),
            ("q", "alone", 3),
            ("r", "x", 2),
            ("r", "y", 2),
        )
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert layout_of(tmp_path / "rows.jsonl").options[1] == "helpsteer2"
    one, skipped, equal = table.read(tmp_path / "rows.jsonl", mapping=find_mapping("helpsteer2"), start=START)
    assert isinstance(one, dict)
    assert isinstance(equal, dict)
    assert (one["response_a"], one["response_b"]) == ("good", "bad")
    assert one["probability_a"] == pytest.approx(1 / (1 + np.exp(-3)))
    assert skipped == Skipped(3, "fewer than two responses, or two that are the same")
    assert equal["probability_a"] == 0.5


def test_translations_are_compared_where_one_rater_saw_them_side_by_side(tmp_path: Path) -> None:
    header = "system\tdoc\tdocSegId\tglobalSegId\trater\tsource\ttarget\tcategory\tseverity\tmetadata\n"
    rows = [
        ("A_with_B", "r1", "Ein <v>Hunt</v>.", "Fluency/Spelling", "Minor"),
        ("A_with_B", "r1", "<v>Ein</v> Hunt.", "Accuracy/Mistranslation", "Major"),
        ("B_with_A", "r1", "Ein Hund.", "No-error", "No-error"),
        ("C_with_B", "r1", "Hund.", "No-error", "No-error"),
        ("A_with_B", "r2", "Ein Hunt.", "No-error", "weird"),
    ]
    lines = "".join(f"{who}\td\t1\t1\t{by}\tA dog.\t{text}\t{kind}\t{bad}\t{{}}\n" for who, by, text, kind, bad in rows)
    (tmp_path / "t.tsv").write_text(header + lines)
    assert layout_of(tmp_path / "t.tsv").command == "wmt"
    events, skipped = written(list(wmt.read(tmp_path / "t.tsv", start=START)))
    assert [(each["response_a"], each["response_b"]) for each in events] == [("Ein Hunt.", "Ein Hund.")]
    assert events[0]["probability_a"] == pytest.approx(1 / (1 + np.exp(6)))
    assert [each.reason for each in skipped] == ["severity is none of MQM"]


def test_open_assistant_s_messages_are_put_together_and_ranked_at_every_depth(tmp_path: Path) -> None:
    def message(name: str, parent: str | None, role: str, rank: int | None) -> Row:
        return {
            "message_id": name,
            "parent_id": parent,
            "message_tree_id": "a",
            "text": name,
            "role": role,
            "rank": rank,
        }

    rows = [
        message("a", None, "prompter", None),
        *(message(f"b{rank}", "a", "assistant", rank) for rank in (0, 1, 2)),
        message("c", "b1", "prompter", 0),
        *(message(f"d{rank}", "c", "assistant", rank) for rank in (1, 0)),
        message("e", "b2", "assistant", None),
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "messages.parquet")
    assert layout_of(tmp_path / "messages.parquet").command == "oasst"
    events, skipped = written(list(oasst.read(tmp_path / "messages.parquet", start=START)))
    assert (len(events), skipped) == (4, [])
    deep = events[-1]
    assert [each["content"] for each in deep["messages"]] == ["a", "b1", "c"]
    assert (deep["response_a"], deep["probability_a"]) == ("d0", 1.0)


@pytest.mark.parametrize(
    ("cells", "probability"),
    [
        ({"label_annotations": {"preference": {"selection": "B"}}}, 0.0),
        ({"label_annotations": {"preference": {"scale_value": "-2"}}}, 5 / 6),
        ({"label_annotations": {"preference": {"selection": "tie"}}}, 0.5),
        ({"preference:::A": "true", "preference:::B": ""}, 1.0),
    ],
)
def test_potato_s_pairs_stand_in_the_text_that_was_shown(tmp_path: Path, cells: Row, probability: float) -> None:
    (tmp_path / "ann").mkdir()
    row = {"id": "1", "displayed_text": "Which?<br>A. <b>One</b> &amp; all.<br>B. Two.", **cells}
    (tmp_path / "ann" / "annotated_instances.jsonl").write_text(json.dumps(row) + "\n")
    (event,) = potato.read(tmp_path / "ann" / "annotated_instances.jsonl", start=START)
    assert isinstance(event, dict)
    assert (event["contributor_id"], event["prompt"]) == ("ann", "Which?")
    assert (event["response_a"], event["response_b"], event["probability_a"]) == (
        "One & all.",
        "Two.",
        pytest.approx(probability),
    )


def test_the_rows_below_the_header_of_a_survey_are_no_answers(tmp_path: Path) -> None:
    made = LAYOUTS["qualtrics"].made
    row, preview = made(judged(1, 1, True, ""), 1), made(judged(2, 2, True, ""), 2) | {"Status": "Survey Preview"}
    names, ids = dict.fromkeys(row, "What is asked"), {name: json.dumps({"ImportId": name}) for name in row}
    _csv(tmp_path / "survey.csv", [names, ids, row, preview])
    assert layout_of(tmp_path / "survey.csv").options[1] == "qualtrics"
    event, skipped = table.read(tmp_path / "survey.csv", mapping=find_mapping("qualtrics"), start=START)
    assert isinstance(event, dict)
    assert isinstance(skipped, Skipped)
    assert (event["contributor_id"], event["submitted_at"]) == ("w1", "2026-01-02T10:00:00+00:00")
    assert skipped.reason == "left out by where: Status is 'Survey Preview'"


def made_of(found: Row, rows: list[Row], folder: Path) -> list[Any]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(table.read(folder / "rows.jsonl", mapping=mapping_of(found, "m"), start=START))


def test_a_row_of_a_survey_answers_several_questions(tmp_path: Path) -> None:
    about = {"prompt": "Which?", "response_a": "x", "response_b": "y"}
    found = {
        "kind": "preference",
        "columns": {"contributor_id": "who"},
        "questions": [{"column": "Q1", **about}, {"column": "Q2", **about, "prompt": "And here?"}],
    }
    one, other, skipped, nothing = made_of(
        found, [{"who": "a", "Q1": "A", "Q2": "tie"}, {"who": "b", "Q1": "so so", "Q2": ""}, {"who": "c"}], tmp_path
    )
    assert [(each["prompt"], each["probability_a"]) for each in (one, other)] == [("Which?", 1.0), ("And here?", 0.5)]
    assert skipped.reason.startswith("label 'so so' is not understood")
    assert skipped.detail.startswith("Q1")
    assert nothing.reason == "no answer to any of the questions"


def test_several_axes_are_one_judgement(tmp_path: Path) -> None:
    found = {
        "kind": "preference",
        "columns": {
            "contributor_id": "who",
            "prompt": "q",
            "response_a": "l",
            "response_b": "r",
            "probability_a": ["fluent", "right"],
        },
        "weights": {"probability_a": [1, 3]},
    }
    row = {"who": "a", "q": "Why?", "l": "x", "r": "y"}
    both, one = made_of(found, [{**row, "fluent": "A", "right": "B"}, {**row, "who": "b", "right": "A"}], tmp_path)
    assert (both["probability_a"], one["probability_a"]) == (0.25, 1.0)


@pytest.mark.parametrize(
    ("scale", "ratings", "probability"),
    [
        ([1, 5], (5, 2), 3.0),
        ([0, 100], ("75%", "50"), 1.0),
        ([-3, 3], (-3, 3), -4.0),
        ([5, 1], (1, 5), 4.0),
        ([1, 10], (11, 2), None),
    ],
)
def test_a_rating_s_scale_is_four_logits_wide(
    tmp_path: Path, scale: list[float], ratings: tuple[Any, Any], probability: float | None
) -> None:
    found = {
        "kind": "preference",
        "columns": {"contributor_id": "who", "prompt": "q"},
        "responses": ["l", "r"],
        "ratings": ["a", "b"],
        "scale": {"ratings": scale},
    }
    (made,) = made_of(
        found, [{"who": "a", "q": "Why?", "l": "x", "r": "y", "a": ratings[0], "b": ratings[1]}], tmp_path
    )
    if probability is None:
        assert made.reason == "rating is not on the scale from 1 to 10"
    else:
        assert made["probability_a"] == pytest.approx(1 / (1 + np.exp(-probability)))


def test_a_correction_is_a_demonstration_and_a_preference_for_it(tmp_path: Path) -> None:
    found = {
        "kind": "correction",
        "columns": {"contributor_id": "who", "prompt": "q", "response": "draft", "correction": "edited"},
    }
    row = {"who": "a", "q": "Why?", "draft": "Becaus.", "edited": "Because."}
    shown, preferred, same = made_of(found, [row, {**row, "edited": "Becaus."}], tmp_path)
    assert (shown["kind"], shown["response"]) == ("demonstration", "Because.")
    assert preferred["response_a" if preferred["probability_a"] else "response_b"] == "Because."
    assert same.reason == "nothing was corrected"


def test_an_exchange_that_was_judged_is_where_the_conversation_ends(tmp_path: Path) -> None:
    later = [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "So."}]
    made = LAYOUTS["arena"].made(judged(1, 1, True, ""), 1)
    row = made | {"turn": 1} | {name: made[name] + later for name in ("conversation_a", "conversation_b")}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"turn": 2}) + "\n")
    first, whole = table.read(tmp_path / "rows.jsonl", mapping=find_mapping("arena"), start=START)
    assert isinstance(first, dict)
    assert isinstance(whole, dict)
    one, other = (made[name][1]["content"] for name in ("conversation_a", "conversation_b"))
    assert first["prompt"] == whole["prompt"] == made["conversation_a"][0]["content"]
    assert (first["response_a"], first["response_b"]) == (one, other)
    assert whole["response_a"] == f"{one}\n\nHuman: And?\n\nAssistant: So."
    assert whole["comparison_id"] != first["comparison_id"]


def test_steps_are_one_completion_where_all_of_them_are_right(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Sum?", "completions": ["1 + 1", "= 2"], "labels": labels}
        for labels in ([True, True], [True, False], [True])
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert layout_of(tmp_path / "rows.jsonl").command == "trl-prompt-completion"
    event, unwanted, short = trl_prompt_completion.read(tmp_path / "rows.jsonl", start=START)
    assert isinstance(event, dict)
    assert isinstance(unwanted, Skipped)
    assert isinstance(short, Skipped)
    assert event["response"] == "1 + 1\n= 2"
    assert unwanted.reason.startswith("label is false")
    assert short.reason == "not one label for each step"


@pytest.mark.parametrize(
    "text",
    [
        '[{{"role": "user", "content": "{}"}}, {{"role": "assistant", "content": "Hi."}}]',
        "[{{'role': 'user', 'content': '{}'}}\n {{'role': 'assistant', 'content': 'Hi.'}}]",
    ],
)
def test_messages_in_a_cell_of_a_table_are_messages(tmp_path: Path, text: str) -> None:
    _csv(tmp_path / "t.csv", [{"id": number, "messages": text.format(f"Hello {number}?")} for number in (1, 2)])
    assert layout_of(tmp_path / "t.csv").command == "trl-prompt-completion"
    events, skipped = written(list(trl_prompt_completion.read(tmp_path / "t.csv", start=START)))
    assert ([(each["prompt"], each["response"]) for each in events], skipped) == (
        [("Hello 1?", "Hi."), ("Hello 2?", "Hi.")],
        [],
    )


def test_annotations_of_cloud_storage_and_numbers_of_both_answers_are_read(tmp_path: Path) -> None:
    row = judged(1, 1, True, "")
    numbers = [_tag("number", "score_a", {"number": 80}), _tag("number", "score_b", {"number": 30})]
    task = _task(row, 1, _pair(row), numbers)
    (annotation,) = task.pop("annotations")
    (tmp_path / "1").write_text(json.dumps(annotation | {"task": task, "project": 1}))
    assert layout_of(tmp_path / "1").command == "label-studio"
    (event,) = label_studio.read(tmp_path / "1")
    assert isinstance(event, dict)
    assert (event["contributor_id"].split("-")[-1], event["probability_a"]) == ("1", 1.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_row_more_is_one_judgement_more_and_every_row_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, layout: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    told = LAYOUTS[layout]
    source = folder / "rows.json"

    def imported(rows: list[Row], start: datetime) -> tuple[list[Row], list[Skipped]]:
        source.write_text(rows_of(told, rows))
        return written(list(told.read(source, start)))

    @given(ROWS, ONE_MORE, st.data())
    @QUICK
    def check(rows: list[Row], row: Row, data: st.DataObject) -> None:
        # A server numbers what comes later later; a table's rows may stand in any order.
        place = len(rows) if told.grows_at_its_end else data.draw(st.integers(0, len(rows)))
        later, _ = imported([*rows[:place], row, *rows[place:]], LATER)
        check_rows(*imported(rows, START), rows, told.events, later, row)

    check()


def test_lines_of_mixed_ends_are_rows_each(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(
        b"who,ask,one,two,left\r\na,q,x,y,true\nb,q,x,y,true\rc,q,x,y,true\r\r\nd,q\rq,x,y,true\n"
    )
    found = list(table.read(tmp_path / "t.csv", mapping=PAIR, start=START))
    assert [each["contributor_id"] for each in found if isinstance(each, dict)] == ["a", "b", "c"]
    assert [each.row for each in found if isinstance(each, Skipped)] == [4]


COLUMNS = ("who", "ask", "one", "two", "left")


ANY = {
    "kind": "preference",
    "columns": {"contributor_id": "who", "prompt": "ask", "response_a": "one", "response_b": "two"},
    "values": {"probability_a": {"true": 1, "false": 0}},
}


PAIR = mapping_of(ANY | {"columns": ANY["columns"] | {"probability_a": "left"}, "quote": '"'}, "pair")  # type: ignore[operator]


RANKED = mapping_of(
    {
        "kind": "preference",
        "columns": {"contributor_id": "who", "prompt": "ask"},
        "responses": ["one", "two", "three"],
        "ranks": ["k1", "k2", "k3"],
        "quote": '"',
    },
    "ranked",
)


def cells(row: Row) -> Row:
    texts, ranks = three(row)
    numbers = {f"k{place}": rank for place, rank in enumerate(ranks, start=1)}
    return {name: row[name] for name in COLUMNS} | {"left": str(row["left"]).lower(), "three": texts[2], **numbers}


def _csv(path: Path, rows: list[Row], delimiter: str = ",", end: str = "\r\n", encoding: str = "utf-8") -> None:
    out = io.StringIO(newline="")
    quoting = (
        csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL
    )  # Python leaves other ends of lines in a cell unquoted
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(out.getvalue().encode(encoding))


def _lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), newline="")


def _workbook(path: Path, rows: list[Row]) -> None:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for line in (list(rows[0]), *(list(row.values()) for row in rows)):
        sheet.append(line)
    book.save(path)


def _gzip(path: Path, rows: list[Row]) -> None:
    _lines(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes()))


CONTAINERS: dict[str, Callable[[Path, list[Row]], object]] = {
    "csv": _csv,
    "csv, semicolons, line feeds": lambda path, rows: _csv(path, rows, ";", "\n"),
    "csv, tabs, UTF-16": lambda path, rows: _csv(path, rows, "\t", "\r\n", "utf-16"),
    "csv with a mark": lambda path, rows: _csv(path, rows, encoding="utf-8-sig"),
    "csv, old line ends": lambda path, rows: _csv(path, rows, end="\r"),
    "json": lambda path, rows: path.write_text(json.dumps(rows)),
    "json lines": _lines,
    "json lines in gzip": _gzip,
    "parquet": lambda path, rows: pl.DataFrame(rows).write_parquet(path),
    "excel": _workbook,
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_holds_of_a_mapping_s_rows_in_any_container(
    tmp_path_factory: pytest.TempPathFactory, container: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    source = folder / "rows"  # a file's first bytes say what it is, and not its name

    def imported(found: Mapping, rows: list[Row], start: datetime) -> tuple[list[Row], list[Skipped]]:
        CONTAINERS[container](source, [cells(row) for row in rows])
        return written(list(table.read(source, mapping=found, start=start)))

    @given(ROWS, ONE_MORE, st.data())
    @settings(QUICK, max_examples=3 if container == "excel" else 6)
    def check(rows: list[Row], row: Row, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(rows)))
        found, per_row = data.draw(st.sampled_from([(PAIR, 1), (RANKED, 3)]))
        later, _ = imported(found, [*rows[:place], row, *rows[place:]], LATER)
        check_rows(*imported(found, rows, START), rows, per_row, later, row)

    check()


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab=")), min_size=1, max_size=8), st.sampled_from("ab="))
@QUICK
def test_a_worker_s_judgement_more_of_convincing_arguments_is_one_preference_more(
    tmp_path_factory: pytest.TempPathFactory, given_judgements: list[tuple[int, str]], last: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    judgements = [*dict(given_judgements).items(), (9, last)]

    def imported(rows: list[tuple[int, str]]) -> list[Row]:
        labels = [
            {
                "pair_id": f"p{pair}",
                "argument_a": f"a{pair}",
                "argument_b": f"b{pair}",
                "worker_id": "w1",
                "hit_id": "h",
                "accepted_at": datetime(2026, 1, 1, tzinfo=START.tzinfo),
                "submitted_at": datetime(2026, 1, 2, tzinfo=START.tzinfo),
                "choice": choice.replace("=", "equal"),
                "reason": "So.",
                "gold": None,
            }
            for pair, choice in rows
        ]
        texts = [
            {"argument_id": f"{side}{pair}", "topic": "t", "stance": "s", "text": f"{side} {pair}."}
            for pair, _ in rows
            for side in "ab"
        ]
        pl.DataFrame(labels, schema_overrides={"gold": pl.String}).write_parquet(folder / "labels.parquet")
        pl.DataFrame(texts).write_parquet(folder / "arguments.parquet")
        return written(list(convincing_arguments.read(folder / "labels.parquet")))[0]

    before = {event["event_id"] for event in imported(judgements[:-1])}
    after = {event["event_id"] for event in imported(judgements)}
    assert len(before) == len(judgements) - 1
    assert before < after
    assert len(after) == len(before) + 1


def test_a_ranking_is_one_judgement_however_many_answers_it_orders(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        'kind = "preference"\nresponses = ["r1", "r2", "r3"]\nranks = ["k1", "k2", "k3"]\n'
        '[columns]\ncontributor_id = "who"\nprompt = "q"\n'
    )
    (tmp_path / "t.csv").write_text("who,q,r1,r2,r3,k1,k2,k3\nann,Why?,a,b,c,2,1,2\n")
    events = list(table.read(tmp_path / "t.csv", mapping=find_mapping(str(tmp_path / "m.toml")), start=START))
    assert [(event["response_a"], event["response_b"], event["probability_a"]) for event in events] == [
        ("a", "b", 0.0),
        ("a", "c", 0.5),
        ("b", "c", 1.0),
    ]
    assert sum(event["judgement_share"] for event in events) == pytest.approx(1)


@pytest.mark.parametrize(
    ("more", "cells", "probabilities"),
    [
        ('best = "k1"', "a,b,c,2,,", [0.0, 1.0]),
        ('ratings = ["k1", "k2", "k3"]', "a,b,c,5,3,3", [0.8808, 0.8808, 0.5]),
    ],
)
def test_a_best_of_three_and_ratings_become_pairs(
    tmp_path: Path, more: str, cells: str, probabilities: list[float]
) -> None:
    (tmp_path / "m.toml").write_text(
        f'kind = "preference"\nresponses = ["r1", "r2", "r3"]\n{more}\n[columns]\ncontributor_id = "who"\nprompt = "q"\n'
    )
    (tmp_path / "t.csv").write_text(f"who,q,r1,r2,r3,k1,k2,k3\nann,Why?,{cells}\n")
    events = list(table.read(tmp_path / "t.csv", mapping=find_mapping(str(tmp_path / "m.toml")), start=START))
    assert [event["probability_a"] for event in events] == pytest.approx(probabilities, abs=1e-4)
    assert sum(event["judgement_share"] for event in events) == pytest.approx(1)


@pytest.mark.parametrize(
    ("more", "header", "row", "probability"),
    [
        (
            '[columns]\nprobability_a = ["wa", "wb", "wt"]\n[values]\nprobability_a = [1, 0, 0.5]',
            "wa,wb,wt",
            "0,1,0",
            0.0,
        ),
        ('[columns]\nprobability_a = "x"\n[scale]\nprobability_a = [7, 1]', "x", "2", 5 / 6),
        ('[columns]\nprobability_a = "x"', "x", "80%", 0.8),
        ('[columns]\nprobability_a = "x"', "x", "Response B", 0.0),
    ],
)
def test_what_cells_say_of_two_answers(tmp_path: Path, more: str, header: str, row: str, probability: float) -> None:
    given_columns = '\nprompt = "q"\nresponse_a = "l"\nresponse_b = "r"\ncontributor_id = "who"'
    (tmp_path / "m.toml").write_text('kind = "preference"\n' + more.replace("[columns]", "[columns]" + given_columns))
    (tmp_path / "t.csv").write_text(f"who,q,l,r,{header}\nann,Why?,a,b,{row}\n")
    (event,) = table.read(tmp_path / "t.csv", mapping=find_mapping(str(tmp_path / "m.toml")), start=START)
    assert event["probability_a"] == pytest.approx(probability)


def test_a_workbook_is_a_table(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    for line in (["who", "q", "a"], [1.0, "What?", "Fine."], ["ann", "What?", None]):
        book.active.append(line)
    book.save(tmp_path / "t.xlsx")
    (tmp_path / "m.toml").write_text(
        'kind = "demonstration"\n[columns]\ncontributor_id = "who"\nprompt = "q"\nresponse = "a"\n'
    )
    event, skipped = table.read(tmp_path / "t.xlsx", mapping=find_mapping(str(tmp_path / "m.toml")), start=START)
    assert event["contributor_id"] == "1"
    assert skipped == Skipped(3, "no response")


def test_scores_of_completions_keep_their_share() -> None:
    assert ultrafeedback.probability(7, 5) == pytest.approx(0.8808, abs=1e-4)


# Small conversions


@given(st.text(max_size=8), st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8), st.integers(0, 99))
def test_positions_do_not_depend_on_the_order_given(prompt: str, one: str, other: str, seed: int) -> None:
    assert records.positions(seed, prompt, one, other) == records.positions(seed, prompt, other, one)


def test_positions_are_a_fair_coin() -> None:
    first_at_a = sum(records.positions(0, "p", f"one {n}", f"two {n}")[0].startswith("one") for n in range(4_000))
    assert abs(first_at_a / 4_000 - 0.5) < 0.03


@given(st.lists(st.text(max_size=200), min_size=1, max_size=20, unique=True))
def test_names_become_identifiers_and_stay_different(names: list[str]) -> None:
    identifiers = [records.named(name) for name in names]
    assert all(IDENTIFIER.fullmatch(identifier) for identifier in identifiers)
    assert len(set(identifiers)) == len(names)


def test_a_good_name_is_kept() -> None:
    assert records.named("worker-0001") == "worker-0001"


@pytest.mark.parametrize("time", ["2026-01-01", "2026-01-01T00:00:00", "yesterday", ""])
def test_a_start_needs_a_zone(time: str) -> None:
    with pytest.raises(SourceError, match="--start"):
        start_of(time)
