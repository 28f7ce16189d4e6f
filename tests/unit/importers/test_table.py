"""Tables of any columns: what the mapping says, other encodings and delimiters, and bad rows by their line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from crowd_assets.importers import table
from crowd_assets.importers.cli import app
from crowd_assets.importers.records import DEFAULT_START, Record, Skipped, SourceError, start_of
from crowd_assets.importers.table import Mapping
from resources.feedback.events import Limits, parse_event

PREFERENCE: dict[str, Any] = {
    "kind": "preference",
    "columns": {
        "contributor_id": "Who",
        "comparison_id": "id",
        "prompt": "Question",
        "response_a": "Left",
        "response_b": "Right",
        "probability_a": "Choice",
        "submitted_at": "When",
    },
    "values": {"probability_a": {"A": 1, "B": 0, "tie": 0.5}},
}
HEADER = "id,Who,Question,Left,Right,Choice,When\n"
ROW = "c1,ann,Why?,So.,No.,A,2026-01-01T00:00:00Z\n"
DEMONSTRATION = Mapping("demonstration", {"prompt": "p", "response": "r"}, defaults={"contributor_id": "survey"})


def mapping(folder: Path, content: object, name: str = "mapping.json") -> Mapping:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return table.read_mapping(path)


def read(folder: Path, text: str | bytes, found: Mapping) -> list[Record]:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(table.read(path, mapping=found, start=start_of(DEFAULT_START)))


def events(records: list[Record]) -> list[dict[str, Any]]:
    return [record for record in records if isinstance(record, dict)]


def skipped(records: list[Record]) -> list[tuple[int, str]]:
    return [(record.row, record.reason) for record in records if isinstance(record, Skipped)]


def test_the_mapping_of_the_documentation_is_read(tmp_path: Path) -> None:
    text = (table.__doc__ or "").split("::", 1)[1].split("Columns that", 1)[0]
    found = mapping(tmp_path, "\n".join(line[4:] for line in text.splitlines()), "mapping.toml")
    assert (found.kind, found.delimiter, found.apostrophe) == ("preference", ";", True)
    assert found.values == {"probability_a": {"A": 1, "B": 0, "tie": 0.5}}


def test_a_table_of_judgements(tmp_path: Path) -> None:
    (event,) = read(tmp_path, HEADER + ROW, mapping(tmp_path, PREFERENCE))
    assert event == {
        "kind": "preference",
        "contributor_id": "ann",
        "comparison_id": "c1",
        "prompt": "Why?",
        "response_a": "So.",
        "response_b": "No.",
        "probability_a": 1.0,
        "submitted_at": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_marks_are_recognised(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = f'p{delimiter}r\r\n"Über{delimiter} was?"{delimiter}"Zwei ""Zeilen"",\r\nja."\r\n'
    (event,) = events(read(tmp_path, text.encode(encoding), replace(DEMONSTRATION, quote='"')))
    assert event["prompt"] == f"Über{delimiter} was?"
    assert event["response"] == 'Zwei "Zeilen",\r\nja.'


def test_another_encoding_is_named_in_the_mapping(tmp_path: Path) -> None:
    data = "p,r\nWarum?,Schön.\n".encode("cp1252")
    with pytest.raises(SourceError, match=r"line 2: not utf-8; say encoding"):
        read(tmp_path, data, DEMONSTRATION)
    found = mapping(
        tmp_path,
        {
            "kind": "demonstration",
            "columns": {"prompt": "p", "response": "r"},
            "defaults": {"contributor_id": "survey"},
            "encoding": "cp1252",
        },
    )
    assert events(read(tmp_path, data, found))[0]["response"] == "Schön."


def test_bad_rows_are_listed_with_their_line_and_cost_no_other(tmp_path: Path) -> None:
    rows = [
        ROW,
        "c2,ann,Why?,So.,No.,maybe,2026-01-01T00:00:00Z\n",
        "c3,ann,Why?\n",
        '"c4",ann,"two\nlines?",So.,,A,2026-01-01T00:00:00Z\n',
        "\n",
        "c5,,Why?,So.,No.,A,2026-01-01T00:00:00Z\n",
        "c6,ann,Why?,So.,No.,A,yesterday\n",
        'c7,ann,"Why"?,So.,No.,A,2026-01-01T00:00:00Z\n',
        "c8,bo,Why?,So.,No.,tie,2026-01-01T00:00:00Z\n",
    ]
    records = read(tmp_path, HEADER + "".join(rows), mapping(tmp_path, PREFERENCE))
    assert [event["comparison_id"] for event in events(records)] == ["c1", "c8"]
    assert skipped(records) == [
        (
            3,
            "label 'maybe' is not understood: the mapping's values have A, B, tie; say what it means there, or with --label",
        ),
        (4, "row has 3 cells; the header 7"),
        (5, "no response_b"),
        (8, "no contributor_id"),
        (9, "submitted_at is not an ISO 8601 time: say its time_format in the mapping"),
        (10, "row is not CSV: ',' expected after '\"'"),
    ]


def test_times_defaults_payload_and_ids(tmp_path: Path) -> None:
    content = {
        "kind": "bid",
        "columns": {"prompt": "p", "response": "r", "lot_id": "lot", "event_id": "no"},
        "defaults": {"contributor_id": "shop", "asked_price": "0.25", "claimed_quality": 1},
        "payload": ["note"],
    }
    text = "p,r,lot,no,note\nWhy?,So.,lot 7,1,short\nWhy?,No.,lot 7,2,\n"
    first, second = events(read(tmp_path, text, mapping(tmp_path, content)))
    assert (first["asked_price"], first["claimed_quality"], first["note"]) == ("0.25", 1.0, "short")
    assert first["lot_id"] == second["lot_id"] != "lot 7"
    assert first["submitted_at"] < second["submitted_at"]
    assert "note" not in second
    assert parse_event(first, Limits(1_000, 1_000))["event_id"] == "1"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "opinion"}, "kind must be one of"),
        ({"colums": {}}, "unknown colums"),
        ({"columns": {"prompt": "p"}}, "say the column, or a default, of contributor_id"),
        ({"columns": {"promt": "p"}}, "columns has promt"),
        ({"columns": {"prompt": 1}}, "columns must be names"),
        ({"values": {"probability_a": "A"}}, "values must be a table"),
        ({"encoding": "klingon"}, "unknown encoding 'klingon'"),
        ({"delimiter": "::"}, "delimiter must be one character"),
        ({"payload": "note"}, "payload must be a list"),
    ],
)
def test_a_wrong_mapping_says_what_is_wrong(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(SourceError, match=problem):
        mapping(tmp_path, PREFERENCE | changes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty; the first line must name the columns"),
        ("p,x\n1,2\n", "no column 'r'; there are 'p', 'x'"),
        ("p,r,r\n1,2,3\n", "several columns 'r'"),
    ],
)
def test_a_table_without_its_columns_says_so(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SourceError, match=problem):
        read(tmp_path, text, DEMONSTRATION)


def test_the_command_writes_feedback_by_pseudonym(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text(HEADER + ROW)
    (tmp_path / "m.json").write_text(json.dumps(PREFERENCE))
    arguments = ["csv", str(tmp_path / "t.csv"), "--mapping", str(tmp_path / "m.json"), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, [*arguments, "--pseudonyms"])
    assert refused.exit_code == 2
    assert "CROWD_PSEUDONYM_KEY is not set" in refused.output
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key that is long enough")
    assert CliRunner().invoke(app, [*arguments, "--pseudonyms"]).exit_code == 0
    written = (tmp_path / "out" / "table-t.jsonl").read_text()
    assert '"contributor_id": "p-' in written
    assert "ann" not in written


def test_a_list_that_python_printed_is_a_list_where_a_path_goes_into_it(tmp_path: Path) -> None:
    found = Mapping("demonstration", {"prompt": "q[1]", "response": "a[0].x"}, defaults={"contributor_id": "c"})
    (event,) = events(read(tmp_path, "q,a\n\"['No?', 'Why?']\",\"[{'x': 'So.'}]\"\n", found))
    assert (event["prompt"], event["response"]) == ("Why?", "So.")
