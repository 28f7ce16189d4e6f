"""Files move as a whole, to an empty place, and go on where they were interrupted; what cannot be proved is not moved."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from upath import UPath

from crowd_assets.operations import migrate_files as files
from crowd_assets.operations.migrate_files import JOURNAL, FileMigrationError, migrate_files
from resources.build import build_resources
from resources.files.storage import files_below, write_bytes_atomically
from resources.rounds.book import Quorum, RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource


@pytest.fixture
def settings(tmp_path: Path) -> CrowdSettings:
    """A home with two files taken in and one that waits."""
    settings = CrowdSettings(home=str(tmp_path / "home"))
    inbox = build_resources(settings).inbox
    for name in ("2026/11/21/13/a", "b"):
        write_bytes_atomically(settings.inbox_path / f"{name}.jsonl", line(name))
    inbox.ingest()
    write_bytes_atomically(settings.inbox_path / "waits.jsonl", line("waits"))
    write_bytes_atomically(settings.models_path / "pinned" / "key", b"value")
    write_bytes_atomically(settings.models_path / "half.json.tmp", b"never whole")
    return settings


def line(text: str) -> bytes:
    event = {"kind": "demonstration", "contributor_id": "c1", "prompt": "p", "response": text}
    return json.dumps(event | {"submitted_at": "2026-01-01T00:00:00Z"}).encode()


def warehouse_of(settings: CrowdSettings) -> WarehouseResource:
    warehouse: WarehouseResource = build_resources(settings).warehouse
    return warehouse


def contents(settings: CrowdSettings) -> dict[str, bytes]:
    return {
        f"{folder}/{each.name}": each.path.read_bytes()
        for folder, place in settings.file_places.items()
        for each in files_below(place)
        if not each.name.endswith(".tmp")
    }


def test_what_moved_is_there_and_is_called_so(settings: CrowdSettings, tmp_path: Path) -> None:
    to = f"memory://{tmp_path.name}/there"
    moved = settings.changed(files=to)
    before = contents(settings)
    assert len(before) == 2 + 2 + 1 + 1
    done = migrate_files(settings, warehouse_of(settings), to)
    assert (done.files, done.copied, done.names) == (len(before), len(before), 2)
    assert contents(moved) == before
    assert done.bytes == sum(map(len, before.values()))
    uris = warehouse_of(settings).query("SELECT uri FROM ingested_files ORDER BY uri")["uri"].to_list()
    assert uris == [str(moved.inbox_path / name) for name in ("2026/11/21/13/a.jsonl", "b.jsonl")]
    assert done.aside is not None
    assert {path.name for path in done.aside.iterdir()} == {"archive", "frames", "inbox", "models"}
    assert contents(settings) == {}
    assert not Path(settings.home, JOURNAL).exists()
    inbox = build_resources(moved).inbox
    assert [file.name for file in inbox.ingest()] == ["waits.jsonl"]
    assert inbox.events(1, 9)["response"].to_list() == ["2026/11/21/13/a", "b", "waits"]


def test_an_interrupted_move_goes_on_and_copies_nothing_twice(
    settings: CrowdSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = f"memory://{tmp_path.name}/there"
    copied = files._copied
    done = []

    def killed(source: UPath, target: UPath) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        copied(source, target)
        done.append(target)

    monkeypatch.setattr(files, "TOGETHER", 1)
    with monkeypatch.context() as patch:
        patch.setattr(files, "_copied", killed)
        with pytest.raises(KeyboardInterrupt):
            migrate_files(settings, warehouse_of(settings), to)
    with Path(settings.home, JOURNAL).open("a") as journal:
        journal.write('{"to": "half a li')
    changed = UPath(done[0])
    write_bytes_atomically(changed, changed.read_bytes() + b" and more")  # no more what was noted: it is copied again
    found = migrate_files(settings, warehouse_of(settings), to)
    assert found.copied == found.files - 3 + 1
    assert changed.read_bytes().endswith(b"}")


def test_a_copy_that_comes_back_otherwise_is_no_copy(
    settings: CrowdSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = f"memory://{tmp_path.name}/there"
    pipe = files.written_atomically

    def damaged(path: UPath):  # type: ignore[no-untyped-def]
        return pipe(path.with_name("another") if path.name == "key" else path)

    monkeypatch.setattr(files, "written_atomically", damaged)
    write_bytes_atomically(settings.changed(files=to).models_path / "pinned" / "key", b"Value")
    with pytest.raises(FileMigrationError, match="holds 1 files that this migration did not put there"):
        migrate_files(settings, warehouse_of(settings), to)
    Path(settings.home, JOURNAL).write_text(json.dumps({"to": to, "folder": "", "name": "", "state": []}) + "\n")
    with pytest.raises(FileMigrationError, match="pinned/key is not what was read"):
        migrate_files(settings, warehouse_of(settings), to)
    assert contents(settings)["models/pinned/key"] == b"value"


def test_nothing_moves_into_the_home_or_from_under_a_round(settings: CrowdSettings, tmp_path: Path) -> None:
    warehouse = warehouse_of(settings)
    for to in (settings.home, f"{settings.home}/files"):
        with pytest.raises(FileMigrationError, match="name a place outside"):
            migrate_files(settings, warehouse, to)
    RoundBook(warehouse).claim(Quorum(1, 1, timedelta(0)), settings, datetime.now(UTC))
    with pytest.raises(FileMigrationError, match="r000001 is open"):
        migrate_files(settings, warehouse, str(tmp_path / "elsewhere"))
    nobody = settings.changed(home=str(tmp_path / "nobody"))
    with pytest.raises(FileMigrationError, match=r"no warehouse\.duckdb"):
        migrate_files(nobody, warehouse_of(nobody), str(tmp_path / "elsewhere"))
    assert not (tmp_path / "nobody").exists()
    assert len(contents(settings)) == 6
