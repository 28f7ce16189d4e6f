"""Files of an inbox that nobody will ever read are named, with the way out, by everything that speaks of the inbox."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from upath import UPath

from resources.feedback import strangers
from resources.feedback.arrivals import arrived, backlog, publish_backlog
from resources.feedback.events import SUFFIXES, InvalidEventError, Limits, parse_event
from resources.feedback.strangers import never_read, waiting

LIMITS = Limits(line_bytes=10**6, text_characters=1_000)


def filled(inbox: Path) -> Path:
    (inbox / "2026" / "11").mkdir(parents=True)
    (inbox / "mine").mkdir()
    for name in (
        "a.jsonl",
        "b.csv",
        "c.JSONL",
        "d.jsonl.gz",
        "e.jsonl.tmp",
        ".hidden",
        "f.skipped.txt",
        "2026/11/g.json",
        "h.bin",
    ):
        (inbox / name).write_text("{}\n")
    os.symlink(inbox / "a.jsonl", inbox / "link.jsonl")
    os.mkfifo(inbox / "pipe.jsonl")
    return inbox


def test_what_is_never_read_is_named_with_the_reason(tmp_path: Path) -> None:
    inbox = UPath(filled(tmp_path))
    found = {each.name: each.reason for each in never_read(inbox)}
    assert sorted(found) == [
        "2026/11/g.json",
        "b.csv",
        "c.JSONL",
        "d.jsonl.gz",
        "h.bin",
        "link.jsonl",
        "mine/",
        "pipe.jsonl",
    ]
    assert all("import auto" in found[name] for name in ("b.csv", "d.jsonl.gz", "2026/11/g.json"))
    assert "rename" in found["c.JSONL"]
    assert "link" in found["link.jsonl"]
    assert "pipe" in found["pipe.jsonl"]
    assert not {each.name for each in arrived(inbox)} & set(found)


def test_the_notice_for_collectors_names_them(tmp_path: Path) -> None:
    inbox, outbox = UPath(filled(tmp_path / "in")), UPath(tmp_path / "out")
    now = datetime.now(UTC)
    publish_backlog(outbox, backlog(arrived(inbox), 0, now), now, never_read(inbox))
    said = json.loads((outbox / "backlog.json").read_text())
    assert said["files"] == 1
    assert {"name": "b.csv", "reason": said["never_read"][1]["reason"]} in said["never_read"]


@pytest.mark.parametrize(
    ("line", "looks_like"),
    [
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, "chosen and rejected"),
        ({"messages": []}, "messages"),
        ({"instruction": "i", "output": "o"}, "instruction"),
        ({"id": 1, "data": {}, "annotations": []}, "Label Studio"),
    ],
)
def test_a_line_of_another_tool_is_told_what_it_looks_like(line: dict[str, object], looks_like: str) -> None:
    with pytest.raises(InvalidEventError, match=looks_like) as refused:
        parse_event(line, LIMITS)
    assert "import auto" in str(refused.value)


def test_both_lists_of_endings_are_one() -> None:
    assert strangers.READ == SUFFIXES


def test_status_and_ingestion_name_them(tmp_path: Path) -> None:
    from crowd_assets.monitoring import status as module
    from resources.settings.settings import Settings

    filled(tmp_path / "inbox")
    found = {each.name: each.reason for each in module._strangers(Settings(home=str(tmp_path)))}
    assert "import auto" in found["b.csv"]


def test_what_waits_is_the_same_for_ingestion_status_and_backlog(tmp_path: Path) -> None:
    for name in (
        "a.jsonl",
        "2026/11/21/13/b.parquet",
        "2026/1/c.jsonl",
        "1/2/3/4/5/d.jsonl",
        ".e.jsonl",
        "f.JSONL",
        "g/h.jsonl",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "a.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    listed = [each.name for each in arrived(UPath(tmp_path))]
    assert sorted(waiting(str(tmp_path))) == sorted(listed) == ["2026/11/21/13/b.parquet", "a.jsonl"]
    named = {each.name for each in never_read(tmp_path)}
    assert {"2026/1/", "1/", "f.JSONL", "g/", "link.jsonl", "pipe.jsonl"} <= named
