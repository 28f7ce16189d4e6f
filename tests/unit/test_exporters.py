"""What the platform writes for other tools: read by the real ones (see ``tests/exports``), and back by the importers."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from crowd_assets.exporters import trl
from crowd_assets.exporters.cli import app
from crowd_assets.exporters.label_studio import CONFIGURATION
from crowd_assets.importers import argilla, label_studio, table, trl_preference, trl_prompt_completion
from crowd_assets.importers.argilla import Questions
from crowd_assets.importers.cli import app as importers
from crowd_assets.importers.mapping import mapping_of
from crowd_assets.importers.records import DEFAULT_START, Record, Skipped, start_of
from resources.feedback.events import ERASED, EVENT_SCHEMA, FIELDS
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
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(lambda text: f"So {text}.")
ASKED = st.one_of(
    st.fixed_dictionaries({"prompt": TEXT}),
    TEXT.map(lambda text: {"prompt": text, "messages": [*SAID, {"role": "user", "content": text}]}),
)


def _imported(folder: Path, mapping: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    (folder / "rows.json").write_text(json.dumps(rows))
    found = table.read(folder / "rows.json", mapping=mapping_of(mapping, "m"), start=START)
    return [each for each in found if isinstance(each, dict)]


@st.composite
def reports(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A mapping and rows: rankings of three answers, ratings of three, or pairs, asked in a prompt or a conversation."""
    kind = draw(st.sampled_from(["ranks", "ratings", "pairs"]))
    columns = {"contributor_id": "who", "prompt": "prompt", "messages": "messages"}
    rows = []
    for number in range(draw(st.integers(1, 3))):
        answers = [f"{text} {number} {place}" for place, text in enumerate(draw(st.tuples(TEXT, TEXT, TEXT)))]
        said = (
            draw(st.permutations([1, 2, 3]))
            if kind == "ranks"
            else draw(st.lists(st.integers(1, 5), min_size=3, max_size=3))
        )
        rows.append(
            {
                "who": "ann",
                **draw(ASKED),
                "answers": answers,
                "said": said,
                "p": draw(st.sampled_from([0, 0.25, 0.5, 1])),
            }
        )
    if kind == "pairs":
        columns |= {"response_a": "answers[0]", "response_b": "answers[1]", "probability_a": "p"}
        return {"kind": "preference", "columns": columns}, rows
    return {"kind": "preference", "columns": columns, "responses": "answers", kind: "said"}, rows


def kept(events: list[dict[str, Any]], *more: str) -> list[dict[str, Any]]:
    """What the way out and back must not change, by comparison."""
    names = ("comparison_id", "prompt", "messages", "response_a", "response_b", "judgement_share", *more)
    return sorted(
        ({name: event.get(name) for name in names} for event in events), key=lambda each: str(each["comparison_id"])
    )


def _judged_in_label_studio(folder: Path, tasks: Path, events: list[dict[str, Any]]) -> list[Record]:
    export("label-studio", folder, tasks)
    found = json.loads((folder / "label_studio_tasks.json").read_text(encoding="utf-8"))
    assert any(each.get("messages") for each in events) == (
        "$messages" in (folder / "label_studio_config.xml").read_text()
    )
    for number, (task, event) in enumerate(zip(found, events, strict=True), start=1):
        share = event["probability_a"]
        side = {"type": "pairwise", "from_name": "preferred", "value": {"selected": "left" if share > 0.5 else "right"}}
        equal = {"type": "choices", "from_name": "tie", "value": {"choices": ["equal"]}}
        sure = {"type": "number", "from_name": "certainty", "value": {"number": 100 * max(share, 1 - share)}}
        result = [equal] if share == 0.5 else [side, sure]
        task |= {"id": number, "project": 1, "annotations": [{"id": number, "completed_by": 1, "result": result}]}
    (folder / "export.json").write_text(json.dumps(found))
    return list(label_studio.read(folder / "export.json"))


def _judged_in_argilla(folder: Path, tasks: Path, events: list[dict[str, Any]]) -> list[Record]:
    export("argilla", folder, tasks)
    records = json.loads((folder / "argilla_records.json").read_text())
    settings = json.loads((folder / "argilla_settings.json").read_text())
    assert {name for record in records for name in record["metadata"]} == {
        each["name"] for each in settings["metadata"]
    }
    for record, event in zip(records, events, strict=True):
        label = (
            "equal" if event["probability_a"] == 0.5 else "response_a" if event["probability_a"] > 0.5 else "response_b"
        )
        record["responses"] = {"preferred": [{"value": label, "user_id": "u1"}]}
    (folder / "records.json").write_text(json.dumps(records))
    return list(argilla.read(folder / "records.json", start=START))


def _judged_in_a_table(folder: Path, tasks: Path, events: list[dict[str, Any]]) -> list[Record]:
    export("csv", folder, tasks)
    path = folder / "comparison_tasks.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, event in zip(rows, events, strict=True):
        row |= {"contributor_id": "ann", "preferred": f"{100 * event['probability_a']}%"}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    return list(table.read(path, mapping=table.read_mapping(folder / "comparison_tasks.toml"), start=START))


def _aggregated_for_trl(folder: Path, tasks: Path, events: list[dict[str, Any]]) -> list[Record]:
    texts = [each.get("messages") and json.dumps(each["messages"]) for each in events]
    rows = pl.DataFrame(
        [
            dict.fromkeys(EVENT_SCHEMA) | {name: event.get(name) for name in (*FIELDS["preference"], "kind", "judgement_share")} | {"messages": said}
            for event, said in zip(events, texts, strict=True)
        ],
        schema=EVENT_SCHEMA,
    )  # fmt: skip
    found: list[Record] = []
    for conversational, suffix in ((False, "jsonl"), (True, "parquet")):
        exported = trl.preferences(trl.shares(rows, rows), conversational=conversational)
        path = folder / f"rows.{suffix}"
        (exported.write_ndjson if suffix == "jsonl" else exported.write_parquet)(path)
        back = list(trl_preference.read(path, start=START)) if exported.height else []
        assert not found or back == found
        found = back
    return found


@pytest.mark.parametrize("tool", [_judged_in_label_studio, _judged_in_argilla, _judged_in_a_table, _aggregated_for_trl])
def test_rankings_ratings_and_conversations_go_out_and_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, tool: Callable[[Path, Path, list[dict[str, Any]]], list[Record]]
) -> None:
    @given(reports())
    @settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def check(made: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
        folder = tmp_path_factory.mktemp("back")
        events = list({each["comparison_id"]: each for each in _imported(folder, *made)}.values())
        if tool is _aggregated_for_trl:
            events = [each for each in events if each["probability_a"] != 0.5]  # it trains nothing
        tasks = folder / "r000001.jsonl"
        tasks.write_text("".join(json.dumps(each) + "\n" for each in events))
        back = tool(folder, tasks, events) if events else []
        assert [each for each in back if not isinstance(each, dict)] == []
        assert kept(back) == kept(events)  # type: ignore[arg-type]
        if tool is not _judged_in_argilla:  # its labels do not say how sure
            said = {each["comparison_id"]: each["probability_a"] for each in back if isinstance(each, dict)}
            assert said == pytest.approx({each["comparison_id"]: each["probability_a"] for each in events}, abs=1e-6)

    check()


@pytest.mark.parametrize("conversational", [False, True])
def test_conversations_of_demonstrations_go_to_trl_and_come_back(tmp_path: Path, conversational: bool) -> None:
    spoken = [
        {"prompt": "Why?"},
        {"prompt": "Why?", "messages": json.dumps([*SAID, {"role": "user", "content": "Why?"}])},
    ]
    shown = [
        dict.fromkeys(EVENT_SCHEMA) | {"kind": "demonstration", "contributor_id": "a", "response": "So.", **each}
        for each in spoken
    ]
    rows = trl.demonstrations(pl.DataFrame(shown, schema=EVENT_SCHEMA), conversational=conversational)
    rows.write_parquet(tmp_path / "shown.parquet")
    back = [
        each for each in trl_prompt_completion.read(tmp_path / "shown.parquet", start=START) if isinstance(each, dict)
    ]
    assert [each.get("messages") for each in back] == [None, [*SAID, {"role": "user", "content": "Why?"}]]
    assert {each["contributor_id"] for each in back} == {"a"}


def test_a_comparison_of_two_bad_answers_is_no_pair_for_trl() -> None:
    assert trl.preferences(aggregated().with_columns(both_bad=0.5), conversational=False).is_empty()


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
