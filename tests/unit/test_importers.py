"""The importers' common parts: files of rows in, feedback files out, and what no source may do to them."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from upath import UPath

from crowd_assets.importers import argilla, label_studio, records, rows, trl_preference, ultrafeedback
from crowd_assets.importers.cli import app
from crowd_assets.importers.records import Note, Skipped, SourceError, demonstration, start_of
from crowd_assets.importers.writer import write_feedback
from resources.feedback.events import IDENTIFIER, SUFFIXES, Limits, read_file
from tests import PROJECT

START = start_of(records.DEFAULT_START)
FORMATS = [
    "goemotions",
    "convincing-arguments",
    "trl-preference",
    "trl-prompt-completion",
    "table",
    "csv",
    "auto",
    "ultrafeedback",
    "label-studio",
    "argilla",
]


def event(number: int, **payload: object) -> dict[str, object]:
    return demonstration(f"c{number % 3}", "p", f"response {number}", START, event_id=f"e{number}", **payload)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# Writing


def test_events_skips_and_notes_are_written_and_counted(tmp_path: Path) -> None:
    found = [event(0), Skipped(2, "empty"), Note("a remark"), event(1), Skipped(4, "empty"), Skipped(5, "broken", "x")]
    report = write_feedback(found, tmp_path, "mine")
    assert report.files == [tmp_path / "mine.jsonl"]
    assert lines_of(report.files[0]) == [event(0), event(1)]
    assert report.skipped == {"empty": 2, "broken": 1}
    assert report.skipped_file == tmp_path / "mine.skipped.txt"
    assert lines_of(report.skipped_file)[2] == {"row": 5, "reason": "broken", "detail": "x"}
    text = report.lines()
    assert text[0] == "a remark"
    assert "skipped 2 × empty" in text
    assert text[-1].startswith("wrote 2 demonstrations of 2 contributors to 1 file (")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.jsonl", "mine.skipped.txt"]


def test_kind_comes_first_on_every_line(tmp_path: Path) -> None:
    write_feedback([event(0)], tmp_path, "mine")
    assert (tmp_path / "mine.jsonl").read_text(encoding="utf-8").startswith('{"kind": "demonstration", ')


@pytest.mark.parametrize(("events", "files"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_a_large_output_is_split_in_order(tmp_path: Path, events: int, files: int) -> None:
    report = write_feedback((event(number) for number in range(events)), tmp_path, "mine", lines_per_file=3)
    assert len(report.files) == files
    assert sorted(report.files) == report.files
    assert [line for file in report.files for line in lines_of(file)] == [event(number) for number in range(events)]
    assert all(len(lines_of(file)) <= 3 for file in report.files)


def test_nothing_has_a_final_name_before_everything_is_written(tmp_path: Path) -> None:
    def watching():
        for number in range(5):
            yield event(number)
            assert not list(tmp_path.glob("*.jsonl"))

    write_feedback(watching(), tmp_path, "mine", lines_per_file=2)
    assert len(list(tmp_path.glob("*.jsonl"))) == 3


def test_an_import_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing():
        yield event(0)
        yield Skipped(2, "broken")
        raise SourceError("the rest is missing")

    with pytest.raises(SourceError, match="the rest"):
        write_feedback(failing(), tmp_path, "mine", lines_per_file=1)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_import_leaves_nothing_that_the_inbox_takes(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from crowd_assets.importers.records import Skipped
from crowd_assets.importers.writer import write_feedback

def killed():
    for number in range(5):
        yield {"kind": "outcome", "comparison_id": str(number)}
    yield Skipped(6, "broken")
    os.kill(os.getpid(), 9)

write_feedback(killed(), Path(sys.argv[1]), "mine", lines_per_file=2)
"""
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=PROJECT, check=False)
    assert killed.returncode == -9
    assert list(tmp_path.iterdir())
    assert not [path for path in tmp_path.iterdir() if path.suffix in SUFFIXES]
    assert len(write_feedback([event(0)], tmp_path, "mine").files) == 1


@pytest.mark.parametrize("there", ["mine.jsonl", "mine-0001.jsonl"])
def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("kept")
    with pytest.raises(SourceError, match="choose another --name"):
        write_feedback([event(0)], tmp_path, "mine")
    assert (tmp_path / there).read_text() == "kept"


def test_another_name_with_the_same_beginning_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "mine-two.jsonl").write_text("kept")
    assert write_feedback([event(0)], tmp_path, "mine").files == [tmp_path / "mine.jsonl"]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a\nb"])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="--name"):
        write_feedback([event(0)], tmp_path / "out", name)


@given(st.text(alphabet=st.characters(codec=None, exclude_categories=()), min_size=1).filter(str.strip))
@settings(max_examples=200, deadline=None)
def test_every_text_becomes_valid_utf8_on_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    out = tmp_path_factory.mktemp("out")
    report = write_feedback([demonstration("c", text, text, START, extra={text: [text]})], out, "mine")
    data = report.files[0].read_bytes()
    assert data.count(b"\n") == 1
    line = json.loads(data.decode("utf-8"))
    assert line["response"] == "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)


# Reading


def test_broken_lines_are_skipped_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n\xff\n[1]\nnull\n{"a": ' + b"[" * 5_000 + b"]" * 5_000 + b'}\n{"a": 2}'
    )
    found = list(rows.read_rows(path))
    assert [(row.row, row.reason) for row in found if isinstance(row, Skipped)] == [
        (3, "line is not JSON"),
        (4, "line is not UTF-8"),
        (5, "row is not an object"),
        (6, "row is not an object"),
        (7, "line is not JSON"),
    ]
    assert [row for row in found if not isinstance(row, Skipped)] == [(1, {"a": 1}), (8, {"a": 2})]


def test_a_row_too_deep_for_its_readers_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": ' + "[" * 200 + "]" * 200 + "}")
    assert list(rows.read_rows(path)) == [Skipped(1, "row is nested more than 64 levels deep")]


def test_a_line_too_long_is_skipped_and_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LONGEST_LINE", 32)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": "' + "x" * 100 + '"}\n{"a": 3}\n' + '{"a": "' + "x" * 22 + '"}\n{"a": 5}\n')
    found = list(rows.read_rows(path))
    assert [row.row if isinstance(row, Skipped) else row for row in found] == [
        (1, {"a": 1}),
        2,
        (3, {"a": 3}),
        (4, {"a": "x" * 22}),
        (5, {"a": 5}),
    ]


@pytest.mark.parametrize(
    "content",
    ['[{"a": 1}, 2, {"a": 3}]', '{"items": [{"a": 1}, 2, {"a": 3}], "total": 3}', '{"a": 1}\n2\n{"a": 3}\n'],
)
def test_a_json_file_may_hold_a_list_a_page_or_lines(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content)
    found = list(rows.read_rows(path))
    assert found == [(1, {"a": 1}), Skipped(2, "row is not an object", "2"), (3, {"a": 3})]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.json", b"[{]"),
        ("rows.json", b"\xff\xfe"),
        ("rows.json", b"7"),
        ("rows.parquet", b"PAR1 no"),
        ("rows.csv", b"a"),
        ("rows.pkl", b"cos\nsystem\n(S'touch hacked'\ntR."),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match="rows"):
        list(rows.read_rows(path))


def test_a_parquet_cell_that_is_no_text_costs_its_row_only(tmp_path: Path) -> None:
    text = pa.array([b"fine", b"\xff", b"fine too"], pa.binary()).view(pa.string())
    pa.parquet.write_table(pa.table({"a": text}), tmp_path / "rows.parquet")
    found = list(rows.read_rows(tmp_path / "rows.parquet"))
    assert found[0] == (1, {"a": "fine"})
    assert isinstance(found[1], Skipped)
    assert found[1].row == 2
    assert found[2] == (3, {"a": "fine too"})


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


# Hostile rows

MESSAGES = [{"role": "user", "content": "p"}, {"role": "assistant", "content": [{"type": "text", "text": "r"}]}]
ONE = {"model": "m", "response": "r", "overall_score": 7, "annotations": {"honesty": {"Rating": "2"}}}
OTHER = {"model": "n", "response": "s", "overall_score": 5.0, "fine-grained_score": 2.5}
LAST = {"response": "t", "annotations": {"honesty": {"Rating": "5"}, "helpfulness": {"Rating": "N/A"}}}
SOUND_ROWS = {
    "trl-preference": [
        {"id": 1, "prompt": "p", "chosen": "c", "rejected": "r"},
        {"id": 2, "chosen": MESSAGES, "rejected": [MESSAGES[0], {"role": "assistant", "content": "s"}]},
    ],
    "ultrafeedback": [{"instruction": "p", "completions": [ONE, OTHER, LAST]}],
    "label-studio": [
        {
            "id": 1,
            "project": 2,
            "data": {"prompt": "p", "text1": "a", "text2": "b"},
            "annotations": [
                {
                    "id": 3,
                    "completed_by": {"id": 4, "email": "e"},
                    "updated_at": "2026-01-01T00:00:00.5Z",
                    "ground_truth": truth,
                    "was_cancelled": False,
                    "result": [{"type": type_, "from_name": "winner", "value": value}],
                }
                for type_, value, truth in [
                    ("pairwise", {"selected": "left"}, False),
                    ("choices", {"choices": ["equal"]}, True),
                    ("textarea", {"text": ["t"]}, False),
                ]
            ],
        }
    ],
    "argilla": [
        {
            "id": "i",
            "fields": {"prompt": "p", "response1": "a", "response2": "b"},
            "responses": {
                "ranking": [{"value": ["response2", "response1"], "user_id": "u"}],
                "label": [{"value": "left", "user_id": "u"}],
                "text": [{"value": "t", "user_id": "u"}],
            },
        },
        {
            "id": "j",
            "fields": {"prompt": MESSAGES, "1": "a", "2": "b"},
            "responses": [
                {
                    "user_id": "u",
                    "status": "submitted",
                    "updated_at": "2026-01-01T00:00:00",
                    "values": {"r": {"value": [{"value": "1", "rank": 1}, {"value": "2", "rank": 1}]}},
                }
            ],
        },
    ],
}
READ = {
    "trl-preference": lambda path: trl_preference.read(path, start=START, contributor_column="id"),
    "ultrafeedback": lambda path: ultrafeedback.read(path, start=START),
    "label-studio": lambda path: label_studio.read(path),
    "argilla": lambda path: argilla.read(path, start=START),
}
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["", " ", "1", "a", "left", "draft", "nan", "1e999", "\ud800", "\x00", "x" * 200])
    | st.sampled_from(
        ["2026-01-01T00:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z"]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)

INVISIBLE = ["\u200b", "\u2060\ufeff", "\u202e "]


def places_in(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The path of every value inside a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places_in(item, (*path, key)))]


def spoiled(value: object, path: tuple[object, ...], by: object) -> object:
    """The value with another one at the path."""
    if not path:
        return by
    if isinstance(value, dict):
        return {key: spoiled(item, path[1:], by) if key == path[0] else item for key, item in value.items()}
    assert isinstance(value, list)
    return [spoiled(item, path[1:], by) if index == path[0] else item for index, item in enumerate(value)]


@pytest.mark.parametrize("name", READ)
def test_sound_rows_become_events(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(SOUND_ROWS[name]))
    assert write_feedback(READ[name](tmp_path / "rows.json"), tmp_path, "mine").events.total() >= 2


@pytest.mark.parametrize("name", READ)
def test_no_row_breaks_an_importer_and_no_event_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    out = tmp_path_factory.mktemp("hostile")
    places = places_in(SOUND_ROWS[name])[1:]

    @given(st.lists(st.tuples(st.sampled_from(places), VALUES | st.sampled_from(INVISIBLE)), min_size=1, max_size=2))
    @settings(max_examples=300, deadline=None)
    def check(changes: list[tuple[tuple[object, ...], object]]) -> None:
        hostile: object = SOUND_ROWS[name]
        for path, by in changes:
            if path in places_in(hostile):
                hostile = spoiled(hostile, path, by)
        source = out / "rows.json"
        source.write_text(json.dumps(hostile))
        for file in out.glob("mine*"):
            file.unlink()
        for file in write_feedback(READ[name](source), out, "mine").files:
            assert read_file(UPath(file), Limits(line_bytes=10**6, text_characters=20_000)).rejections == []

    check()


# The command line


def test_every_format_has_a_command() -> None:
    assert list(typer.main.get_command(app).commands) == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_every_option_of_every_format_has_help(name: str) -> None:
    command = typer.main.get_command(app).commands[name]
    assert command.help
    assert [parameter.name for parameter in command.params if not parameter.help] == []


def test_a_source_that_gives_nothing_exits_with_one_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    out = str(tmp_path / "out")
    result = CliRunner().invoke(app, ["trl-preference", str(tmp_path / "rows.jsonl"), "--out", out])
    assert result.exit_code == 1
    assert "skipped 1 × no chosen" in result.output
    assert "wrote no events" in result.output


def test_a_broken_source_exits_with_two_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[")
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["argilla", str(tmp_path / "rows.json"), "--out", str(out)])
    assert result.exit_code == 2
    assert "error:" in result.output
    assert list(out.iterdir()) == []


def test_a_start_without_zone_is_refused_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    arguments = ["ultrafeedback", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path), "--start", "2026-01-01"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "no time zone" in " ".join(result.output.split())


def test_one_of_two_answer_fields_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[]")
    arguments = ["label-studio", str(tmp_path / "rows.json"), "--out", str(tmp_path), "--field-a", "x"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
