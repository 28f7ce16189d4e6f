"""Storage by URI: what holds for a folder holds for object storage, and a failed write leaves what was there."""

from pathlib import Path

import pytest
from upath import UPath

from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from resources.files.storage import write_bytes_atomically
from resources.settings.resource import CrowdSettings


def test_feedback_is_ingested_from_object_storage(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path), inbox="memory://inbox", frames="memory://frames")
    SimulatedCrowd("gratitude", 0).write_feedback(1, settings.inbox_path, [])
    inbox = build_resources(settings).inbox
    done = inbox.ingest()
    assert sum(file.accepted for file in done) == inbox.events(1, 10_000).height > 500
    assert inbox.complete_files() == []
    assert len(list(UPath(inbox.archive).iterdir())) == 3
    assert inbox.ingest() == []


def test_a_failed_write_leaves_the_old_content_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = UPath(tmp_path, "file")
    write_bytes_atomically(path, b"old")

    def no_space(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            write_bytes_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
