"""What waits in an inbox: which files count, in which order, who takes them, and what collectors and operators are told."""

import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from upath import UPath

from resources.build import build_resources
from resources.feedback import arrivals
from resources.feedback.arrivals import COLLECTOR, CollectorError, append, arrived, backlog, claim, publish_backlog
from resources.files.storage import StoredFile, move, remove_if, state_of, write_bytes_atomically
from resources.settings.resource import CrowdSettings

NOW = datetime(2026, 11, 21, 13, 5, 7, 250, tzinfo=UTC)


@pytest.fixture(params=["folder", "memory"])
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    return UPath(str(tmp_path / "inbox") if request.param == "folder" else f"memory://{tmp_path.name}/inbox")


def test_files_of_hours_come_in_their_order_and_other_folders_are_not_looked_into(inbox: UPath) -> None:
    for name in (
        "2026/11/21/14/a.jsonl",
        "2026/11/21/09/b.jsonl",
        "late.jsonl",
        "2026/11/21/09/.hidden.jsonl",
        "2026/11/21/09/part.jsonl.tmp",
        "notes/c.jsonl",
        "2026/11/21/09/30/15/too-deep.jsonl",
    ):
        write_bytes_atomically(inbox / name, b"{}")
    assert [each.name for each in arrived(inbox)] == ["2026/11/21/09/b.jsonl", "2026/11/21/14/a.jsonl", "late.jsonl"]
    assert arrived(inbox / "nowhere") == []


def test_a_batch_ends_after_so_many_files_or_so_much_and_takes_one_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.feedback.inbox.MIB", 10)
    inbox = build_resources(CrowdSettings(home=str(tmp_path))).inbox
    for name in "abcdef":
        write_bytes_atomically(UPath(inbox.root) / f"{name}.jsonl", f"{name} 15 bytes long".encode())

    def taken(**bounds: int) -> list[str]:
        return [file.name.removesuffix(".jsonl") for file in inbox.ingest(**bounds)]

    assert taken(most_files=2) == ["a", "b"]
    assert taken(most_mib=1) == ["c"]
    assert taken(most_mib=4, most_files=9) == ["d", "e"]
    assert taken() == ["f"]


def test_what_is_appended_lies_in_its_hour_under_a_name_of_its_own(inbox: UPath) -> None:
    first = append(inbox, "kiosk-7", b"{}\n", ".jsonl", NOW + timedelta(hours=1))
    again = append(inbox, "kiosk-7", b"{}\n", ".jsonl", NOW.astimezone())
    found = [each.name for each in arrived(inbox)]
    assert [name.rpartition("/")[0] for name in found] == ["2026/11/21/13", "2026/11/21/14"]
    assert {first.name, again.name} == {name.rpartition("/")[2] for name in found}
    for collector, suffix in (("../x", ".jsonl"), ("", ".jsonl"), ("kiosk", ".csv"), ("a" * 65, ".jsonl")):
        with pytest.raises(CollectorError):
            append(inbox, collector, b"", suffix, NOW)
    assert COLLECTOR.fullmatch("a" * 64)


def test_the_backlog_says_how_much_waits_and_since_when(inbox: UPath) -> None:
    def waiting(size: int, minutes: int) -> StoredFile:
        return StoredFile(inbox / "a.jsonl", "a.jsonl", size, NOW - timedelta(minutes=minutes))

    assert backlog([], 1, NOW) == arrivals.Backlog(0, 0, 0.0, False)
    files = [waiting(1 << 20, 3), waiting(1, 7)]
    found = backlog(files, 1, NOW)
    assert (found.files, found.bytes, found.oldest_s, found.full) == (2, (1 << 20) + 1, 420.0, True)
    assert not backlog(files, 2, NOW).full
    assert not backlog(files, 0, NOW).full
    publish_backlog(inbox, found, NOW)
    told = json.loads((inbox / arrivals.NOTICE).read_text())
    assert told == {
        "files": 2,
        "bytes": 1048577,
        "oldest_s": 420.0,
        "full": True,
        "at": "2026-11-21T13:05:07+00:00",
        "never_read": [],
    }


def test_a_file_that_another_process_is_at_comes_last_and_is_left_to_it_at_last(tmp_path: Path) -> None:
    files = [StoredFile(UPath(f"/inbox/{name}"), name, 1, NOW) for name in ("a", "b", "c")]
    claimed = build_resources(CrowdSettings(home=str(tmp_path))).warehouse.claimed
    assert [each.name for each in claim(files, claimed, 0)] == ["a", "b", "c"]
    with ExitStack() as other:
        assert other.enter_context(claimed(str(files[0].path), 0))
        assert [each.name for each in claim(files, claimed, 0)] == ["b", "c"]
        assert [each.name for each in claim(files, claimed, 0.1)] == ["b", "c"]
        order = []
        for each in claim(files, claimed, 5):
            order.append(each.name)
            if each.name == "c":
                other.close()
        assert order == ["b", "c", "a"]


@pytest.mark.parametrize("to", ["folder", "memory"])
def test_a_file_that_changed_is_neither_moved_nor_removed(inbox: UPath, to: str, tmp_path: Path) -> None:
    target = UPath(str(tmp_path / "archive" / "a") if to == "folder" else f"memory://{tmp_path.name}/archive/a")
    path = inbox / "a.jsonl"
    write_bytes_atomically(path, b"old")
    state = state_of(path)
    write_bytes_atomically(path, b"new")
    assert not move(path, target, state)
    assert not remove_if(path, state)
    assert path.read_bytes() == b"new"
    assert not target.exists()
    assert move(path, target, state_of(path))
    assert target.read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        remove_if(path, state)
