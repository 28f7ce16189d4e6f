"""What the platform writes for other tools: read by the real ones (see ``tests/exports``), and back by the importers."""

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest
from typer.testing import CliRunner

from crowd_assets.exporters import trl
from crowd_assets.exporters.cli import app
from crowd_assets.exporters.label_studio import CONFIGURATION
from crowd_assets.importers import argilla, label_studio, table, trl_preference, trl_prompt_completion
from crowd_assets.importers.argilla import Questions
from crowd_assets.importers.cli import app as importers
from crowd_assets.importers.records import DEFAULT_START, Skipped, start_of
from resources.feedback.events import ERASED, EVENT_SCHEMA
from tests import EXPORTS

TASKS = EXPORTS / "comparison_tasks.jsonl"
COMPARISONS = [json.loads(line) for line in TASKS.read_text(encoding="utf-8").splitlines()]
START = start_of(DEFAULT_START)


def export(tool: str, out: Path, source: Path = TASKS) -> None:
    result = CliRunner().invoke(app, [tool, str(source), "--out", str(out)])
    assert result.exit_code == 0, result.output


def texts(event: dict[str, Any]) -> dict[str, str]:
    return {name: event[name] for name in ("comparison_id", "prompt", "response_a", "response_b")}


def test_label_studio_gets_each_comparison_and_a_configuration_that_shows_all_of_it(tmp_path: Path) -> None:
    export("label-studio", tmp_path)
    tasks = json.loads((tmp_path / "label_studio_tasks.json").read_text(encoding="utf-8"))
    assert [task["data"] for task in tasks] == COMPARISONS
    assert (tmp_path / "label_studio_config.xml").read_text() == CONFIGURATION
    tags = ElementTree.fromstring(CONFIGURATION).iter()
    shown = {tag.get("name"): tag.get("value") for tag in tags if tag.tag == "Text"}
    assert shown == {name: f"${name}" for name in ("prompt", "response_a", "response_b")}


def test_a_folder_of_tasks_is_exported_whole_and_a_broken_one_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "comparison_tasks"
    folder.mkdir()
    lines = TASKS.read_text(encoding="utf-8").splitlines()
    (folder / "r000001.jsonl").write_text(lines[0] + "\n")
    (folder / "r000002.jsonl").write_text("\n".join(lines[1:]))
    export("label-studio", tmp_path / "out", folder)
    assert len(json.loads((tmp_path / "out" / "label_studio_tasks.json").read_text())) == 3
    (folder / "r000003.jsonl").write_text('{"comparison_id": "c"}\n')
    result = CliRunner().invoke(app, ["argilla", str(folder), "--out", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "r000003.jsonl, line 1: expected comparison_id, prompt" in result.output
    assert not (tmp_path / "none").exists()


def test_argillas_real_sdk_read_the_export_and_what_it_wrote_comes_back() -> None:
    labels, found = argilla.read_settings(EXPORTS / "argilla_pairwise_settings.json")
    assert (labels, found) == (["preferred"], [])
    questions = Questions(labels=labels, texts=found)
    records = list(argilla.read(EXPORTS / "argilla_pairwise_records.json", start=START, questions=questions))
    assert [texts(event) for event in records if isinstance(event, dict)] == [
        COMPARISONS[0],
        COMPARISONS[0],
        COMPARISONS[1],
        COMPARISONS[2],
    ]
    assert [event["probability_a"] for event in records if isinstance(event, dict)] == [0.0, 1.0, 1.0, 0.5]
    assert len({event["contributor_id"] for event in records if isinstance(event, dict)}) == 2


def test_argillas_settings_say_which_texts_are_demonstrations(tmp_path: Path) -> None:
    source = EXPORTS / "argilla_text_records.json"
    without = CliRunner().invoke(importers, ["argilla", str(source), "--out", str(tmp_path / "a")])
    assert "0 contributors" in without.output
    settings = str(EXPORTS / "argilla_text_settings.json")
    result = CliRunner().invoke(
        importers, ["argilla", str(source), "--settings", settings, "--out", str(tmp_path / "b")]
    )
    assert "wrote 1 demonstrations" in result.output
    wrong = CliRunner().invoke(importers, ["argilla", str(source), "--settings", str(source), "--out", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "Settings.to_json" in wrong.output


def test_a_table_is_filled_in_and_comes_back(tmp_path: Path) -> None:
    export("csv", tmp_path)
    path = tmp_path / "comparison_tasks.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not any(cell.startswith("=") for row in rows for cell in row.values())
    for row, answer in zip(rows, ("A", "B", "equal"), strict=True):
        row |= {"contributor_id": "ann", "preferred": answer, "submitted_at": "2026-02-01T00:00:00Z"}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    mapping = table.read_mapping(tmp_path / "comparison_tasks.toml")
    events = list(table.read(path, mapping=mapping, start=START))
    assert [texts(event) for event in events if isinstance(event, dict)] == COMPARISONS
    assert [event["probability_a"] for event in events if isinstance(event, dict)] == [1.0, 0.0, 0.5]


SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
]
SPOKEN_OF = [
    {**each, "messages": [*SAID, {"role": "user", "content": each["prompt"]}]} if number == 1 else each
    for number, each in enumerate(COMPARISONS)
]


def conversations(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each event's comparison, texts and conversation."""
    return [texts(each) | ({"messages": each["messages"]} if "messages" in each else {}) for each in events]


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    path = tmp_path / "r000001.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in SPOKEN_OF))
    return path


def test_conversations_go_to_label_studio_and_come_back(tmp_path: Path, spoken: Path) -> None:
    export("label-studio", tmp_path, spoken)
    tasks = json.loads((tmp_path / "label_studio_tasks.json").read_text(encoding="utf-8"))
    assert "$messages" in (tmp_path / "label_studio_config.xml").read_text()
    for number, task in enumerate(tasks, start=1):
        picked = {"type": "pairwise", "from_name": "preferred", "to_name": "response_a", "value": {"selected": "right"}}
        task |= {"id": number, "project": 1, "annotations": [{"id": number, "completed_by": 1, "result": [picked]}]}
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    assert (
        conversations([each for each in label_studio.read(tmp_path / "export.json") if isinstance(each, dict)])
        == SPOKEN_OF
    )


def test_conversations_go_to_argilla_and_come_back(tmp_path: Path, spoken: Path) -> None:
    export("argilla", tmp_path, spoken)
    settings = json.loads((tmp_path / "argilla_settings.json").read_text())
    assert [each["name"] for each in settings["fields"]] == ["messages", "prompt", "response_a", "response_b"]
    records = json.loads((tmp_path / "argilla_records.json").read_text())
    for record in records:
        record["responses"] = {"preferred": [{"value": "response_a", "user_id": "u1"}]}
    (tmp_path / "records.json").write_text(json.dumps(records))
    found = [each for each in argilla.read(tmp_path / "records.json", start=START) if isinstance(each, dict)]
    assert conversations(found) == SPOKEN_OF


def test_conversations_go_to_a_table_and_come_back(tmp_path: Path, spoken: Path) -> None:
    export("csv", tmp_path, spoken)
    path = tmp_path / "comparison_tasks.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row | {"contributor_id": "ann", "preferred": "A"} for row in csv.DictReader(file)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    mapping = table.read_mapping(tmp_path / "comparison_tasks.toml")
    found = [each for each in table.read(path, mapping=mapping, start=START) if isinstance(each, dict)]
    assert conversations(found) == SPOKEN_OF


@pytest.mark.parametrize("conversational", [False, True])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_conversations_and_positions_go_to_trl_and_come_back(tmp_path: Path, conversational: bool, suffix: str) -> None:
    rows = [
        each
        | {
            "probability_a": 0.1 + 0.3 * number,
            "messages": json.dumps(each["messages"]) if "messages" in each else None,
        }
        for number, each in enumerate(SPOKEN_OF)
    ]
    exported = trl.preferences(pl.DataFrame(rows), conversational=conversational)
    path = tmp_path / f"rows.{suffix}"
    (exported.write_ndjson if suffix == "jsonl" else exported.write_parquet)(path)
    found = [each for each in trl_preference.read(path, start=START) if isinstance(each, dict)]
    assert conversations(found) == SPOKEN_OF
    assert [each["probability_a"] for each in found] == pytest.approx([0.1, 0.4, 0.7])
    shown = pl.DataFrame(
        [
            dict.fromkeys(EVENT_SCHEMA)
            | {
                "kind": "demonstration",
                "contributor_id": "a",
                "response": "So.",
                "prompt": each["prompt"],
                "messages": each["messages"],
            }
            for each in rows
        ],
        schema=EVENT_SCHEMA,
    )
    trl.demonstrations(shown, conversational=conversational).write_parquet(tmp_path / "shown.parquet")
    back = list(
        trl_prompt_completion.read(tmp_path / "shown.parquet", start=START, contributor_column="contributor_id")
    )
    assert [each.get("messages") for each in back if isinstance(each, dict)] == [
        each.get("messages") for each in SPOKEN_OF
    ]


def aggregated() -> pl.DataFrame:
    rows = [
        comparison | {"probability_a": share} for comparison, share in zip(COMPARISONS, (0.9, 0.2, 0.5), strict=True)
    ]
    return pl.DataFrame([*rows, rows[0] | {"comparison_id": "gone", "response_b": ERASED}])


@pytest.mark.parametrize("conversational", [False, True])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_datasets_and_the_importer_read_exported_preferences(tmp_path: Path, conversational: bool, suffix: str) -> None:
    from datasets import load_dataset
    from trl.data_utils import is_conversational

    rows = trl.preferences(aggregated(), conversational=conversational)
    path = tmp_path / f"rows.{suffix}"
    (rows.write_ndjson if suffix == "jsonl" else rows.write_parquet)(path)
    kind = "json" if suffix == "jsonl" else "parquet"
    loaded = load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == 2
    assert is_conversational(loaded[0]) is conversational
    events = [event for event in trl_preference.read(path, start=START) if isinstance(event, dict)]
    judged = {
        event["comparison_id"]: event["response_a" if event["probability_a"] > 0.5 else "response_b"]
        for event in events
    }
    assert judged == {
        COMPARISONS[0]["comparison_id"]: COMPARISONS[0]["response_a"],
        COMPARISONS[1]["comparison_id"]: COMPARISONS[1]["response_b"],
    }
    assert rows["probability_chosen"].to_list() == [0.9, 0.8]
    assert sorted(max(event["probability_a"], 1 - event["probability_a"]) for event in events) == pytest.approx(
        [0.8, 0.9]
    )


@pytest.mark.parametrize("conversational", [False, True])
def test_exported_demonstrations_come_back(tmp_path: Path, conversational: bool) -> None:
    rows = [
        dict.fromkeys(EVENT_SCHEMA) | {"kind": kind, "contributor_id": who, "prompt": "Why?", "response": text}
        for kind, who, text in (("demonstration", "ann", "So."), ("bid", "bo", "No."), ("demonstration", "cy", ERASED))
    ]
    demonstrations = trl.demonstrations(pl.DataFrame(rows, schema=EVENT_SCHEMA), conversational=conversational)
    demonstrations.write_parquet(tmp_path / "rows.parquet")
    (event,) = trl_prompt_completion.read(tmp_path / "rows.parquet", start=START, contributor_column="contributor_id")
    assert isinstance(event, dict)
    assert (event["contributor_id"], event["prompt"], event["response"]) == ("ann", "Why?", "So.")


STANDARD = {"prompt": "Why?", "completion": "So."}
SPOKEN = {"prompt": [{"role": "user", "content": "Why?"}], "completion": [{"role": "assistant", "content": "So."}]}
VARIANTS = {
    "standard": STANDARD,
    "conversational": SPOKEN,
    "messages": {"messages": [*SPOKEN["prompt"], *SPOKEN["completion"]]},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_prompts_and_completions_written_by_datasets(tmp_path: Path, variant: str, suffix: str) -> None:
    from datasets import Dataset

    rows = Dataset.from_list([VARIANTS[variant], VARIANTS[variant]])
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        rows.to_parquet(path)
    else:
        rows.to_json(path, lines=suffix == "jsonl")
    events = list(trl_prompt_completion.read(path, start=START))
    assert [(event["prompt"], event["response"]) for event in events if isinstance(event, dict)] == [
        ("Why?", "So.")
    ] * 2


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("spoken", [False, True])
def test_preferences_written_by_datasets(tmp_path: Path, suffix: str, spoken: bool) -> None:
    from datasets import Dataset

    said = {"prompt": "Why?", "chosen": "So.", "rejected": "Hm."}
    messages = {
        name: [{"role": "user" if name == "prompt" else "assistant", "content": text}] for name, text in said.items()
    }
    rows = Dataset.from_list([messages if spoken else said])
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        rows.to_parquet(path)
    else:
        rows.to_json(path, lines=suffix == "jsonl")
    (event,) = trl_preference.read(path, start=START)
    assert isinstance(event, dict)
    assert {event["response_a"], event["response_b"]} == {"So.", "Hm."}
    assert event["response_a" if event["probability_a"] == 1 else "response_b"] == "So."


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "p"}, "no completion"),
        ({"completion": "c"}, "no prompt"),
        ({"prompt": "p", "completion": 3}, "completion is not text"),
        ({"messages": [{"role": "user", "content": "Why?"}]}, "messages do not end with one of the assistant"),
        ({"messages": [{"role": "user", "content": "a"}] * 2}, "messages do not end with one of the assistant"),
    ],
)
def test_a_row_without_a_completion_is_skipped(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(STANDARD))
    records = list(trl_prompt_completion.read(path, start=START))
    assert [record.reason for record in records if isinstance(record, Skipped)] == [reason]
    assert len(records) == 2
