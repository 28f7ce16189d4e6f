"""Inbox, outbox and frames are addressed by URI: what holds for a folder holds for object storage."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from upath import UPath

from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from resources.files.frames import FramesResource, SettledFrameError
from resources.files.storage import write_bytes_atomically
from resources.settings.resource import CrowdSettings


@pytest.fixture(params=["folder", "memory"])
def frames(request: pytest.FixtureRequest, tmp_path: Path) -> FramesResource:
    return FramesResource(root=str(tmp_path) if request.param == "folder" else f"memory://{tmp_path.name}")


def test_a_frame_is_read_as_it_was_written(frames: FramesResource) -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    frames.write("stage", "r000001", frame)
    assert frames.read("stage", "r000001").equals(frame)
    both = frames.read_through("stage", ["r000001", "r000002"])
    assert frames.scan("stage", ["r000001", "r000002", "r000003"]).collect().equals(both)
    assert both["round_id"].to_list() == ["r000001", "r000001"]


def test_a_frame_that_is_not_there_says_what_to_do(frames: FramesResource) -> None:
    with pytest.raises(FileNotFoundError, match="materialise stage of r000009"):
        frames.read("stage", "r000009")


def test_a_frame_of_a_settled_round_is_not_replaced_by_another(frames: FramesResource) -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    frames.write("stage", "r000001", frame)
    frames.write("stage", "r000001", frame, settled=True)
    with pytest.raises(SettledFrameError, match="r000001 is settled"):
        frames.write("stage", "r000001", frame.reverse(), settled=True)
    assert frames.read("stage", "r000001").equals(frame)


def test_a_frame_is_written_in_chunks_whole_or_not_at_all(frames: FramesResource) -> None:
    schema = {"a": pl.Int64(), "at": pl.Datetime("us", "UTC"), "b": pl.String()}
    frame = pl.DataFrame({"a": [1, 2, 3], "at": [0, 1, None], "b": ["x", None, "ü"]}, schema=schema)
    frames.write_chunks("stage", "r000001", frame.iter_slices(2), schema)
    assert frames.read("stage", "r000001").equals(frame)
    frames.write_chunks("stage", "r000001", frame.iter_slices(1), schema, settled=True)
    with pytest.raises(SettledFrameError, match="r000001 is settled"):
        frames.write_chunks("stage", "r000001", [frame.head(2)], schema, settled=True)

    def fails_half_way() -> Iterator[pl.DataFrame]:
        yield frame
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        frames.write_chunks("stage", "r000001", fails_half_way(), schema)
    assert frames.read("stage", "r000001").equals(frame)
    assert len(list(frames.path("stage", "r000001").parent.iterdir())) == 1
    frames.write_chunks("stage", "r000002", [], schema)
    assert frames.read("stage", "r000002").schema == schema


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
