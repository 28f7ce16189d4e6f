"""Complete files are ingested once each, whatever happens in between."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from resources.build import build_resources
from resources.feedback.inbox import InboxResource, OutboxResource
from resources.settings.resource import CrowdSettings


@pytest.fixture
def inbox(tmp_path: Path) -> InboxResource:
    inbox: InboxResource = build_resources(CrowdSettings(home=str(tmp_path))).inbox
    Path(inbox.root).mkdir()
    return inbox


def lines(*numbers: int) -> str:
    return "".join(
        json.dumps(
            {
                "kind": "demonstration",
                "contributor_id": "c1",
                "prompt": "p",
                "response": f"response {number}",
                "submitted_at": "2026-01-01T00:00:00Z",
            }
        )
        + "\n"
        for number in numbers
    )


def drop(inbox: InboxResource, name: str, content: str) -> Path:
    path = Path(inbox.root, name)
    path.write_text(content)
    return path


def test_only_files_with_their_final_name_are_complete(inbox: InboxResource, tmp_path: Path) -> None:
    drop(inbox, "half.jsonl.tmp", lines(1))
    drop(inbox, ".hidden.jsonl", lines(1))
    drop(inbox, "notes.txt", "")
    Path(inbox.root, "folder.jsonl").mkdir()
    outside = tmp_path / "outside.jsonl"
    outside.write_text(lines(1))
    Path(inbox.root, "link.jsonl").symlink_to(outside)
    drop(inbox, "whole.jsonl", lines(1))
    assert [path.name for path in inbox.complete_files()] == ["whole.jsonl"]


def test_an_event_counts_once_wherever_it_lies(inbox: InboxResource) -> None:
    drop(inbox, "a.jsonl", lines(1, 2, 2))
    drop(inbox, "b.jsonl", lines(2, 3))
    done = {file.name: (file.accepted, file.duplicates) for file in inbox.ingest()}
    assert done == {"a.jsonl": (2, 1), "b.jsonl": (1, 1)}
    events = inbox.events(1, 10)
    assert events["seq"].to_list() == [1, 2, 3]
    assert events["response"].to_list() == ["response 1", "response 2", "response 3"]
    assert inbox.events(2, 2)["response"].to_list() == ["response 2"]


def test_a_large_file_is_taken_in_by_parts_and_still_whole_or_not_at_all(
    inbox: InboxResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resources.feedback.inbox.CHUNK_ROWS", 3)
    monkeypatch.setattr("resources.feedback.inbox.SPOOLED_BYTES", 10)
    drop(inbox, "a.jsonl", lines(1, 2, 1, 3, 2, 4) + "broken\n" + lines(5, 1))
    with monkeypatch.context() as patch:
        store = InboxResource._store_events

        def killed_in_the_second_part(self: InboxResource, connection: Any, events: Any, first: int, *more: Any) -> int:
            if first > 1:
                raise KeyboardInterrupt
            return store(self, connection, events, first, *more)

        patch.setattr(InboxResource, "_store_events", killed_in_the_second_part)
        with pytest.raises(KeyboardInterrupt):
            inbox.ingest()
    assert inbox.events(1, 10).is_empty()
    said: list[str] = []
    assert [(file.accepted, file.duplicates, file.rejected) for file in inbox.ingest(said.append)] == [(5, 3, 1)]
    assert "a.jsonl: 5 events, 3 duplicates, 1 rejected; 1 of them: broken JSON" in said[0]
    events = inbox.events(1, 10)
    assert events["seq"].to_list() == [1, 2, 3, 4, 5]
    assert events["line"].to_list() == [1, 2, 4, 6, 8]
    assert [chunk.height for chunk in inbox.chunks(2, 5)] == [1, 2, 1]
    assert pl.concat(inbox.chunks(2, 5)).equals(events.slice(1))


def test_ingested_files_leave_for_the_archive(inbox: InboxResource) -> None:
    drop(inbox, "a.jsonl", lines(1))
    inbox.ingest()
    assert inbox.complete_files() == []
    assert [path.name.split("-", 1)[1] for path in Path(inbox.archive).iterdir()] == ["a.jsonl"]
    assert inbox.ingest() == []


def test_killed_before_the_archive_the_next_ingestion_takes_nothing_twice(
    inbox: InboxResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(inbox, "a.jsonl", lines(1, 2) + "broken\n")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(InboxResource, "_put_away", killed)
        with pytest.raises(KeyboardInterrupt):
            inbox.ingest()
    assert len(inbox.complete_files()) == 1
    inbox.ingest()
    assert inbox.complete_files() == []
    assert inbox.events(1, 10).height == 2
    assert inbox.warehouse.query("SELECT count(*) AS n FROM rejected_feedback").item() == 1


def test_killed_before_the_commit_nothing_is_ingested(inbox: InboxResource, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(inbox, "a.jsonl", lines(1, 2))
    append = type(inbox.warehouse).append

    def killed_at_the_end(self: object, connection: object, table: str, frame: object) -> int:
        if table == "ingested_files":
            raise KeyboardInterrupt
        return append(self, connection, table, frame)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(type(inbox.warehouse), "append", killed_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            inbox.ingest()
    assert inbox.events(1, 10).is_empty()
    inbox.ingest()
    assert inbox.events(1, 10)["seq"].to_list() == [1, 2]


def test_rejected_lines_say_where_and_why(inbox: InboxResource) -> None:
    drop(inbox, "a.jsonl", lines(1) + "broken\n" + lines(2))
    inbox.ingest()
    rejected = inbox.warehouse.query("SELECT source, line, reason, excerpt FROM rejected_feedback")
    assert rejected.row(0)[:2] == ("a.jsonl", 2)
    assert "broken JSON" in rejected.row(0)[2]
    assert rejected.row(0)[3].strip() == "broken"


def test_the_outbox_takes_no_path_for_a_name(tmp_path: Path) -> None:
    outbox = OutboxResource(root=str(tmp_path))
    assert outbox.publish("comparison_tasks", "r000001", [{"a": "ü"}]).read_text(encoding="utf-8") == '{"a": "ü"}\n'
    with pytest.raises(ValueError, match="topic"):
        outbox.publish("../inbox", "r000001", [])
