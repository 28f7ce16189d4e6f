"""Which home it is: begun once, known wherever it lies, and never begun again over what it holds."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import yaml

from crowd_assets.definitions import build_definitions
from crowd_assets.operations.audit import AuditError, audit
from crowd_assets.operations.backup import BackupError, backup
from resources.build import build_resources
from resources.files.backups import note_backup
from resources.home import instance
from resources.home.identity import (
    FILE,
    SCHEMA_VERSION,
    HomeError,
    LostWarehouseError,
    NewerHomeError,
    OtherHomeError,
    check_tables,
    known_home,
    note_last_record,
    open_home,
    uuid_of,
    write_home,
)
from resources.home.names import HOME_TAG, INGESTION_JOB, ROUND_JOB, partition_set
from resources.settings.resource import CrowdSettings
from resources.warehouse.look import NothingToReadError, look


def settings_of(folder: Path) -> CrowdSettings:
    return CrowdSettings(home=str(folder))


def opened(settings: CrowdSettings) -> str:
    return open_home(settings, build_resources(settings).warehouse).uuid


def test_a_home_is_begun_once_and_keeps_its_identity_where_it_is_moved(tmp_path: Path) -> None:
    here = settings_of(tmp_path / "here")
    assert uuid_of(here) == ""
    begun = opened(here)
    assert opened(here) == begun == uuid_of(here)
    shutil.move(tmp_path / "here", tmp_path / "there")
    there = settings_of(tmp_path / "there")
    assert opened(there) == begun
    (tmp_path / "there" / FILE).unlink()
    assert opened(there) == begun  # the tables say so, too
    assert opened(settings_of(tmp_path / "another")) != begun


def test_a_home_of_a_version_before_is_adopted(tmp_path: Path) -> None:
    (tmp_path / "dagster" / "history").mkdir(parents=True)
    (tmp_path / "dagster" / "history" / "runs.db").write_bytes(b"earlier runs")
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:  # as it was then, as far as it matters
        connection.execute(
            "CREATE TABLE round_records (round_no INTEGER PRIMARY KEY, record VARCHAR, previous_hash VARCHAR, hash VARCHAR)"
        )
        connection.execute("INSERT INTO round_records VALUES (1, '{}', '', 'abc')")
    settings = settings_of(tmp_path)
    adopted = open_home(settings, build_resources(settings).warehouse)
    assert (adopted.schema, adopted.last_record) == (SCHEMA_VERSION, "abc")
    assert instance.prepare_instance(settings) == tmp_path / "dagster"
    assert (tmp_path / "dagster" / "history" / "runs.db").read_bytes() == b"earlier runs"


@pytest.mark.parametrize("remains", [FILE, "warehouse.snapshot.duckdb"])
def test_who_only_looks_at_a_home_that_lost_its_warehouse_is_told_and_makes_none(tmp_path: Path, remains: str) -> None:
    settings = settings_of(tmp_path / "home")
    opened(settings)
    Path(settings.home, "warehouse.duckdb").unlink()
    if remains != FILE:
        Path(settings.home, FILE).unlink()
        Path(settings.home, remains).write_bytes(b"of a settled round")
    warehouse = build_resources(settings).warehouse
    with pytest.raises(LostWarehouseError, match="crowd-rounds restore"):
        warehouse.query("SELECT * FROM ledger")
    with pytest.raises(NothingToReadError, match="crowd-rounds restore"), look(settings):
        pytest.fail("there is nothing to see")
    with pytest.raises(AuditError, match="crowd-rounds restore"):
        audit(settings)
    with pytest.raises(BackupError, match="crowd-rounds restore"):
        backup(settings, warehouse, tmp_path / "backup")
    assert not Path(settings.home, "warehouse.duckdb").exists()


@pytest.mark.parametrize("remains", [FILE, "frames/validated_feedback/r000001.parquet", "warehouse.snapshot.duckdb"])
def test_a_home_that_lost_its_warehouse_is_not_begun_again(tmp_path: Path, remains: str) -> None:
    settings = settings_of(tmp_path / "home")
    if remains == FILE:
        opened(settings)
        Path(settings.home, "warehouse.duckdb").unlink()
    else:
        path = Path(settings.home, remains)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"of a settled round")
    backup = tmp_path / "backup"
    backup.mkdir()
    (backup / "manifest.json").write_text(json.dumps({"files": {"a": {"bytes": 1}}}))
    (backup / "a").write_text("x")
    note_backup(settings.home, tmp_path / "a backup that is gone", datetime.now(UTC))
    note_backup(settings.home, backup, datetime.now(UTC))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "manifest.json").write_text(json.dumps({"files": {"a": {"bytes": 1}}}))
    note_backup(settings.home, tmp_path / "cut", datetime.now(UTC))  # a file of it is missing
    with pytest.raises(LostWarehouseError, match=f"restore {backup} --force"):
        opened(settings)
    assert not Path(settings.home, "warehouse.duckdb").exists()


def test_what_nobody_has_begun_may_hold_feedback_and_seeds(tmp_path: Path) -> None:
    for name in ("inbox/a.jsonl", "seed/classifier/config.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    assert opened(settings_of(tmp_path))


def test_a_home_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    opened(settings)
    file = tmp_path / FILE
    newer = json.loads(file.read_text()) | {"schema": SCHEMA_VERSION + 1, "program": "9.0"}
    file.write_text(json.dumps(newer))
    with pytest.raises(NewerHomeError, match=r"crowd-rounds 9\.0"):
        opened(settings)
    file.unlink()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("UPDATE home SET schema_version = 99")
    with pytest.raises(NewerHomeError, match="schema 99"):
        opened(settings)


def test_tables_of_another_home_or_of_an_earlier_time_are_refused(tmp_path: Path) -> None:
    one, other = settings_of(tmp_path / "one"), settings_of(tmp_path / "other")
    opened(one)
    opened(other)
    shutil.copy(Path(one.home, "warehouse.duckdb"), Path(other.home, "warehouse.duckdb"))
    with pytest.raises(OtherHomeError, match="two homes"):
        opened(other)
    known = known_home(one)
    assert known is not None
    write_home(Path(one.home), replace(known, last_record="f" * 64))
    with pytest.raises(OtherHomeError, match="older than the home"):
        opened(one)


def record_of(settings: CrowdSettings, *hashes: str) -> None:
    """The records of a home, as far as they matter here."""
    with build_resources(settings).warehouse.transaction() as connection:
        connection.execute("DELETE FROM round_records")
        for number, hashed in enumerate(hashes, start=1):
            connection.execute(
                "INSERT INTO round_records (round_no, record, previous_hash, hash) VALUES ($n, '{}', '', $hash)",
                {"n": number, "hash": hashed},
            )


def last_record(settings: CrowdSettings) -> str:
    known = known_home(settings)
    assert known is not None
    return known.last_record


def test_a_settlement_writes_its_record_into_home_json_and_one_behind_is_caught_up_with(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    warehouse = build_resources(settings).warehouse
    note_last_record(settings, warehouse)
    assert not (tmp_path / FILE).exists()  # nobody has begun it
    opened(settings)
    record_of(settings, "a" * 64)
    note_last_record(settings, warehouse)
    assert last_record(settings) == "a" * 64
    record_of(settings, "a" * 64, "b" * 64)  # settled by a process that was killed before it came to write the file
    check_tables(settings, warehouse)
    assert last_record(settings) == "a" * 64  # who only looks writes nothing
    opened(settings)
    assert last_record(settings) == "b" * 64


@pytest.mark.parametrize("hashes", [(), ("a" * 64,), ("a" * 64, "c" * 64)])
def test_tables_that_went_back_behind_home_json_are_named_and_nothing_is_written(
    tmp_path: Path, hashes: tuple[str, ...]
) -> None:
    settings = settings_of(tmp_path)
    opened(settings)
    warehouse = build_resources(settings).warehouse
    record_of(settings, "a" * 64, "b" * 64)
    note_last_record(settings, warehouse)
    before = (tmp_path / FILE).read_bytes()
    record_of(settings, *hashes)
    for each in (check_tables, note_last_record, open_home):
        with pytest.raises(OtherHomeError, match="older than the home"):
            each(settings, warehouse)
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"uuid": 1}', "\x00", '{"uuid": null, "schema": "x"}'])
def test_a_broken_home_json_is_named(tmp_path: Path, text: str) -> None:
    settings = settings_of(tmp_path)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(HomeError, match=f"{tmp_path / FILE}"):
        known_home(settings)


def test_names_that_a_home_gives_to_dagster_have_its_uuid(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    home = opened(settings)
    definitions = build_definitions(settings)
    for job in (INGESTION_JOB, ROUND_JOB):
        assert definitions.resolve_job_def(job).run_tags[HOME_TAG] == home
    partitions = definitions.resolve_job_def(ROUND_JOB).partitions_def
    assert getattr(partitions, "name", None) == partition_set(home) != partition_set("")


def test_the_instance_of_a_home_lies_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("one", "other"):  # the second is not that of the first, though DAGSTER_HOME names it by then
        folder = instance.prepare_instance(settings_of(Path(name)))
        assert folder == tmp_path / name / "dagster"
        written = yaml.safe_load((folder / "dagster.yaml").read_text())
        assert written["storage"]["sqlite"]["base_dir"] == str(folder)
        assert written["telemetry"] == {"enabled": False}
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "somebody's"))
    assert instance.prepare_instance(settings_of(Path("one"))) == tmp_path / "somebody's"
