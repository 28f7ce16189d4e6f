"""Room on the disks of a home: looked for where files lie or will lie, and its lack named with the way out."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from resources.home import space
from resources.settings.settings import Settings

Usage = namedtuple("Usage", ["total", "used", "free"])


def test_only_local_folders_are_looked_at_and_one_to_come_is_its_parents(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path), files="s3://bucket/prefix", inbox=str(tmp_path / "not" / "there"))
    free = space.free_mib(settings)
    assert free.keys() == {str(tmp_path), str(tmp_path / "not" / "there")}
    assert len(set(free.values())) == 1


def test_the_folder_that_lacks_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = tmp_path / "full"
    full.mkdir()
    settings = Settings(home=str(tmp_path), models=str(full), least_free_mib=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, (99 if place == full else 100) << 20))
    assert str(space.lacking_space(settings)).startswith(f"{full} has 99 MiB free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, 100 << 20))
    assert space.lacking_space(settings) is None
