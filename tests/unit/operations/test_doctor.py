"""A damaged home is told in one line with the way out; a restored one is another life."""

import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from crowd_assets.monitoring.status import status
from crowd_assets.operations.backup import backup, restore, verify
from crowd_assets.operations.doctor import examine
from resources.build import build_resources
from resources.common.errors import OperatorError
from resources.files.backups import known_backups
from resources.home.identity import known_home, open_home, uuid_of, write_home
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.damage import DamagedWarehouseError, NoSpaceError, told


@pytest.fixture
def settings(tmp_path: Path) -> CrowdSettings:
    """A home that was begun and backed up."""
    settings = CrowdSettings(home=str(tmp_path / "home"))
    warehouse = build_resources(settings).warehouse
    open_home(settings, warehouse)
    with warehouse.transaction() as connection:
        connection.execute("INSERT INTO event_index SELECT 'e' || i, i, 'bid', 'ada', NULL FROM range(20000) t(i)")
    backup(settings, warehouse, tmp_path / "backup")
    return settings


def not_well(settings: CrowdSettings) -> dict[str, str]:
    return {each.name: each.words for each in examine(settings) if not each.well}


def test_a_home_that_is_well_is_said_to_be(settings: CrowdSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not_well(settings) == {}
    monkeypatch.setenv("CROWD_HOME", settings.home)
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0


DAMAGES = {
    "cut short": lambda data: data[: len(data) // 2],
    "a header of zeros": lambda data: bytes(4096) + data[4096:],
    "another file": lambda data: b"no database at all" * 1000,
    "flipped blocks": lambda data: data[:12288] + bytes(byte ^ 255 for byte in data[12288:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_warehouse_is_told_in_one_line_with_the_newest_backup(
    settings: CrowdSettings, damage: str, tmp_path: Path
) -> None:
    path = Path(settings.home, "warehouse.duckdb")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))

    def looks() -> None:
        build_resources(settings).warehouse.query("SELECT * FROM event_index")

    for look in (looks, lambda: status(settings), lambda: RoundBook(build_resources(settings).warehouse).pending()):
        with pytest.raises(DamagedWarehouseError) as problem:
            look()
        said = str(problem.value)
        assert "\n" not in said
        assert f"{path} is damaged" in said
        assert f"restore {tmp_path / 'backup'} --force" in said
    assert "warehouse" in not_well(settings)


def test_a_missing_column_is_damage_too(settings: CrowdSettings) -> None:
    with duckdb.connect(str(Path(settings.home, "warehouse.duckdb"))) as connection:
        connection.execute("ALTER TABLE rounds DROP COLUMN seed")
    with pytest.raises(DamagedWarehouseError, match="seed"):
        RoundBook(build_resources(settings).warehouse).all()


def test_a_record_that_is_none_is_found_and_the_rest_is_looked_at(settings: CrowdSettings) -> None:
    with duckdb.connect(str(Path(settings.home, "warehouse.duckdb"))) as connection:
        columns = [name for name, *_ in connection.execute("DESCRIBE round_records").fetchall()]
        values = ", ".join({"round_no": "1", "record": "'{'"}.get(name, "''") for name in columns)
        connection.execute(f"INSERT INTO round_records VALUES ({values})")
    found = not_well(settings)
    assert {"records", "files"} <= found.keys()
    assert "crowd-rounds audit" in found["files"]
    assert "inbox" not in found


def test_tables_that_went_back_behind_home_json_are_found(settings: CrowdSettings) -> None:
    known = known_home(settings)
    assert known is not None
    write_home(Path(settings.home), replace(known, last_record="f" * 64))
    assert "older than the home" in not_well(settings)["records"]
    write_home(Path(settings.home), replace(known, uuid="0" * 32))
    assert "belong to two homes" in not_well(settings)["records"]


def test_a_full_disk_is_told_as_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match="make room"), told(tmp_path):
        raise duckdb.IOException("Could not write all bytes to file: No space left on device")
    with pytest.raises(duckdb.ConstraintException), told(tmp_path):
        raise duckdb.ConstraintException("a fault of ours stays one")


def test_a_lost_warehouse_and_a_backup_that_was_changed_are_found(settings: CrowdSettings, tmp_path: Path) -> None:
    Path(settings.home, "warehouse.duckdb").unlink()
    (tmp_path / "backup" / "warehouse.duckdb").write_bytes(
        b"x" * (tmp_path / "backup" / "warehouse.duckdb").stat().st_size
    )
    found = not_well(settings)
    assert set(found) == {"warehouse", "backups"}
    assert "home.json says that rounds were run here" in found["warehouse"]
    nowhere = not_well(settings.changed(home=str(tmp_path / "nowhere")))
    assert "no home was begun" in nowhere["warehouse"]
    with pytest.raises(OperatorError, match="not as backed up"):
        verify(tmp_path / "backup")


def test_the_drill_of_backup_restore_and_audit(settings: CrowdSettings, tmp_path: Path) -> None:
    (folder,) = known_backups(settings.home)
    drill = CrowdSettings(home=str(tmp_path / "drill"))
    restore(drill, build_resources(drill).warehouse, folder)
    done = CliRunner(env={"CROWD_HOME": drill.home}).invoke(app, ["audit"])
    assert done.exit_code in (0, 1)  # the events of this test have no segments
    assert "ledger entries recomputed" in done.output


def test_a_restored_home_is_another_life(settings: CrowdSettings, tmp_path: Path) -> None:
    before = uuid_of(settings)
    (Path(settings.home) / "dagster").mkdir(exist_ok=True)
    restore(settings, build_resources(settings).warehouse, tmp_path / "backup", force=True)
    after = open_home(settings, build_resources(settings).warehouse).uuid
    assert after != before
    assert build_resources(settings).warehouse.query("SELECT count(*) FROM event_index").item() == 20000
    shutil.rmtree(tmp_path / "home")
