"""A backup is whole or refused, and a restore replaces nothing unasked."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from crowd_assets.operations.backup import MANIFEST, BackupError, backup, restore
from resources.build import build_resources
from resources.files.storage import write_bytes_atomically
from resources.home.identity import known_home, open_home
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseBusyError, WarehouseResource


class Home:
    """A home with a little of everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = CrowdSettings(home=str(folder), lock_timeout_s=0.1)
        self.warehouse: WarehouseResource = build_resources(self.settings).warehouse

    def filled(self) -> "Home":
        with self.warehouse.transaction() as connection:
            connection.execute("INSERT INTO pseudonym_key VALUES ('of the first', NULL)")
        for name in ("frames/target/key.parquet", "models/abc/card.json", "inbox/new.jsonl", "reports/r000001.html"):
            path = self.folder / name
            path.parent.mkdir(parents=True)
            path.write_text(name)
        for name in ("inbox/unfinished.jsonl.tmp", "dagster.txt.lock"):
            (self.folder / name).write_text("not kept")
        (self.folder / "dagster").mkdir()
        (self.folder / "dagster" / "runs.db").write_text("not kept")
        (self.folder / "inbox" / "link.jsonl").symlink_to("/etc/hostname")
        return self

    def names(self) -> set[str]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix() for path in files if path.suffix not in (".lock", ".holder")}

    def key(self) -> str:
        return self.warehouse.query("SELECT fingerprint FROM pseudonym_key").item()


KEPT = {
    "frames/target/key.parquet",
    "models/abc/card.json",
    "inbox/new.jsonl",
    "reports/r000001.html",
    "warehouse.duckdb",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").filled()


@pytest.fixture
def kept(home: Home, tmp_path: Path) -> Path:
    return backup(home.settings, home.warehouse, tmp_path / "kept").folder


def test_a_backup_comes_back_as_it_was(home: Home, kept: Path, tmp_path: Path) -> None:
    assert set(json.loads((kept / MANIFEST).read_text())["files"]) == KEPT
    other = Home(tmp_path / "other")
    done = restore(other.settings, other.warehouse, kept)
    assert (done.files, done.aside) == (len(KEPT), None)
    assert other.names() == KEPT
    assert other.key() == "of the first"
    for name in KEPT - {"warehouse.duckdb"}:
        assert (other.folder / name).read_text() == name


def test_a_restored_home_has_an_identity_of_its_own_that_file_and_tables_agree_on(home: Home, tmp_path: Path) -> None:
    begun = open_home(home.settings, home.warehouse)
    other = Home(tmp_path / "other")
    restore(other.settings, other.warehouse, backup(home.settings, home.warehouse, tmp_path / "kept").folder)
    written = known_home(other.settings)
    assert written is not None
    assert written.uuid != begun.uuid
    assert written == open_home(other.settings, other.warehouse)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda kept: (kept / "models/abc/card.json").unlink(), "models/abc/card.json is missing"),
        (lambda kept: (kept / "models/abc/card.json").write_text("models/abc/card.jsoN"), "is not as backed up"),
        (lambda kept: (kept / "warehouse.duckdb").open("r+b").truncate(4096), "warehouse.duckdb is not as backed up"),
        (lambda kept: (kept / MANIFEST).unlink(), "no whole backup"),
        (lambda kept: (kept / MANIFEST).write_text((kept / MANIFEST).read_text()[:-40]), "no whole backup"),
        (lambda kept: (kept / MANIFEST).write_text('{"format": 1, "files": {}}'), "another format"),
        (
            lambda kept: (kept / MANIFEST).write_text((kept / MANIFEST).read_text().replace("models/abc", "../models")),
            "which is no file of the backup",
        ),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_written(
    kept: Path, tmp_path: Path, damage: object, message: str
) -> None:
    damage(kept)  # type: ignore[operator]
    other = Home(tmp_path / "other")
    with pytest.raises(BackupError, match=message):
        restore(other.settings, other.warehouse, kept)
    assert other.names() == set()


def test_a_home_that_is_not_empty_is_replaced_only_when_asked_and_put_aside(kept: Path, tmp_path: Path) -> None:
    other = Home(tmp_path / "other").filled()
    with other.warehouse.transaction() as connection:
        connection.execute("UPDATE pseudonym_key SET fingerprint = 'of the other'")
    with pytest.raises(BackupError, match="is not empty"):
        restore(other.settings, other.warehouse, kept)
    assert other.key() == "of the other"
    with other.warehouse.locked(), pytest.raises(WarehouseBusyError):
        restore(other.settings, Home(tmp_path / "other").warehouse, kept, force=True)
    assert other.key() == "of the other"
    aside = restore(other.settings, other.warehouse, kept, force=True).aside
    assert other.key() == "of the first"
    assert aside is not None
    assert (aside / "warehouse.duckdb").exists()
    assert (other.folder / "dagster" / "runs.db").exists(), "Dagster's own storage stays"
    again = backup(other.settings, other.warehouse, tmp_path / "again")
    assert again.files == len(KEPT), "what was put aside is no part of the home"


def test_a_home_that_a_daemon_began_is_empty(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "dagster").mkdir(parents=True)
    other = Home(tmp_path / "other")
    restore(other.settings, other.warehouse, kept)
    assert other.key() == "of the first"


def test_a_backup_replaces_nothing_and_lies_outside_the_home(home: Home, kept: Path, tmp_path: Path) -> None:
    before = (kept / MANIFEST).read_text()
    for to, message in ((kept, "replaces nothing"), (home.folder / "backup", "lies in the home")):
        with pytest.raises(BackupError, match=message):
            backup(home.settings, home.warehouse, to)
    nowhere = Home(tmp_path / "nowhere")
    with pytest.raises(BackupError, match="nothing to back up"):
        backup(nowhere.settings, nowhere.warehouse, tmp_path / "new")
    assert (kept / MANIFEST).read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "kept"]


def test_what_lies_outside_the_home_is_named(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_HOME", str(home.folder))
    monkeypatch.setenv("CROWD_MODELS", str(tmp_path / "elsewhere"))
    done = CliRunner().invoke(app, ["backup", str(tmp_path / "kept")])
    assert done.exit_code == 0, done.output
    assert f"models={tmp_path / 'elsewhere'}" in done.output
    monkeypatch.setenv("CROWD_HOME", str(tmp_path / "other"))
    done = CliRunner().invoke(app, ["restore", str(tmp_path / "kept")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "other" / "warehouse.duckdb").exists()


def test_files_of_a_store_are_kept_and_restored_into_a_home(home: Home, tmp_path: Path) -> None:
    stored = home.settings.changed(files=f"memory://{tmp_path.name}")
    for name in sorted(KEPT - {"warehouse.duckdb"}):
        folder, _, rest = name.partition("/")
        write_bytes_atomically(stored.file_places[folder] / rest, f"{name} of the store".encode())
        (home.folder / name).unlink()
    done = backup(stored, home.warehouse, tmp_path / "kept")
    assert (done.files, done.elsewhere) == (len(KEPT), ())
    other = Home(tmp_path / "other")
    with pytest.raises(BackupError, match="Unset CROWD_FILES"):
        restore(other.settings.changed(files=stored.files), other.warehouse, tmp_path / "kept")
    restore(other.settings, other.warehouse, tmp_path / "kept")
    assert other.names() == KEPT
    assert (other.folder / "models/abc/card.json").read_text() == "models/abc/card.json of the store"


def test_a_backup_is_not_restored_beside_tables_in_postgresql(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").filled()
    backup(home.settings, home.warehouse, tmp_path / "kept")
    other = Home(tmp_path / "other")
    there = other.settings.model_copy(update={"warehouse": "postgresql://db/crowd"})
    with pytest.raises(BackupError, match="CROWD_WAREHOUSE is set"):
        restore(there, other.warehouse, tmp_path / "kept")
    restore(other.settings, other.warehouse, tmp_path / "kept")
    assert other.key() == "of the first"
