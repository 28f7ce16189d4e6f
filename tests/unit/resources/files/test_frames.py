"""Frames: read as they were written, whole or not at all, in a folder as in object storage."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from resources.files.frames import FramesResource, SettledFrameError


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
