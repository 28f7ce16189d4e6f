"""Feedback files that an import writes: whole or not at all, beside what is there, and valid whatever a text holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowd_assets.importers.records import Note, Skipped, SourceError, demonstration
from crowd_assets.importers.writer import write_feedback
from resources.feedback.events import SUFFIXES
from tests import PROJECT
from tests.unit.importers.samples import START, event, lines_of

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
    assert "skipped 2 × empty (the first in row 2)" in text
    assert "skipped 1 × broken (the first in row 5: x)" in text
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
