"""Files of rows: broken, deep and long ones cost themselves alone, and a file that cannot be read is named."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from crowd_assets.importers import rows
from crowd_assets.importers.records import Skipped, SourceError

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
