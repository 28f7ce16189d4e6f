"""What a home does not need goes, what it needs stays, and a killed call is repeated."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, job, op

from crowd_assets.operations.retention import Compacted, compact, removed_models
from resources.build import build_resources
from resources.home.names import INGESTION_JOB, ROUNDS_PARTITION
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import as_stored

KEEP_ONE = {"keep_runs": 1, "keep_data_docs": 1, "keep_losing_models": 1, "keep_archive": 1}
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
HEX = "0123456789abcdef" * 2


class Killed(BaseException):
    """The process is gone."""


class Home:
    """Three settled rounds with one event each, without what made them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = CrowdSettings(home=str(folder / "home"))
        self.resources = build_resources(self.settings)
        self.warehouse, self.store = self.resources.warehouse, self.resources.model_store
        (folder / "dagster").mkdir(parents=True, exist_ok=True)
        self.instance = DagsterInstance.local_temp(str(folder / "dagster"), overrides={"telemetry": {"enabled": False}})

    def compact(self, **settings: Any) -> Compacted:
        changed = self.settings.changed(**settings)
        return compact(changed, build_resources(changed), self.instance)

    def run(self, name: str) -> str:
        @op
        def nothing() -> None:
            pass

        @job(name=name)
        def does_nothing() -> None:
            nothing()

        run_id = does_nothing.execute_in_process(instance=self.instance, run_config=QUIET).run_id
        self.write(f"steps/{run_id}/train/result", "{}")
        return run_id

    def write(self, name: str, content: str = "", hours_old: float = 0.0) -> Path:
        path = Path(self.settings.home, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (time.time() - 3600 * hours_old,) * 2)
        return path

    def model(self, content: str) -> str:
        folder = self.folder / "made"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_text(content)
        return str(self.store.put(folder, {"parent": None}))

    def ingest(self, name: str) -> None:
        event = {
            "kind": "demonstration",
            "contributor_id": "c",
            "prompt": "p",
            "response": name,
            "submitted_at": "2026-01-01T00:00:00Z",
        }
        self.write(f"inbox/{name}.jsonl", json.dumps(event))
        self.resources.inbox.ingest()

    def settle(self, number: int) -> None:
        """A round of the event with its number, with a page in the Data Docs."""
        with self.warehouse.transaction() as connection:
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, claimed_at) "
                "VALUES ($n, $id, $n, $n, 'completed', 1, 0, $now)",
                {"n": number, "id": f"r{number:06d}", "now": as_stored(datetime.now(UTC))},
            )
        self.instance.add_dynamic_partitions(ROUNDS_PARTITION, [f"r{number:06d}"])
        for place in ("validations", "data_docs/local_site/validations"):
            self.write(f"quality/gx/uncommitted/{place}/bid/r{number:06d}/a.{'html' if '/' in place else 'json'}")

    def execute(self, statement: str, **values: object) -> None:
        with self.warehouse.transaction() as connection:
            connection.execute(statement, values)

    def names(self) -> set[str]:
        """Every file, without locks and what a file's time or size would say."""
        files = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        return {name for name in files if not name.endswith((".lock", ".holder", "-shm", "-wal"))}


def filled(folder: Path) -> Home:
    """A home with something of all that may go, and of all that looks like it and stays."""
    home = Home(folder)
    for number, name in enumerate("abc", start=1):
        home.ingest(name)
        if name != "a":
            home.run(INGESTION_JOB)
        home.settle(number)
    home.run(INGESTION_JOB)
    home.run("reproduce")
    lost, won, unkept, late, twice, later_won = map(home.model, ("lost", "won", "unkept", "late", "twice", "later won"))
    home.model("of nobody's table")
    for round_no, group, model in (
        *((1, group, model) for group, model in enumerate((lost, won, twice, later_won))),
        *((3, group, model) for group, model in enumerate((late, twice))),
    ):
        home.execute(
            "INSERT INTO candidates VALUES ($round_no, $group, $model, 1, 1)",
            round_no=round_no,
            group=group,
            model=model,
        )
    home.execute("INSERT INTO alignments (round_no, model, kept) VALUES (1, $model, false)", model=unkept)
    home.execute(
        "INSERT INTO selections (round_no, model, role, group_index, selected) VALUES (1, $model, 'candidate', 1, true)",
        model=won,
    )
    home.execute("UPDATE rounds SET next_model = $model WHERE round_no = 3", model=later_won)
    for name in (f"frames/stage/r000001.parquet.{HEX}.tmp", f"inbox/sent.jsonl.{HEX}.tmp", "warehouse.duckdb.77.tmp"):
        home.write(name, hours_old=30)
    home.write("models/.putting-x/adapter_model.safetensors")
    os.utime(Path(home.settings.home, "models", ".putting-x"), (time.time() - 30 * 3600,) * 2)
    home.write(f"frames/stage/r000002.parquet.{HEX}.tmp", hours_old=1)
    home.write("inbox/of-a-stranger.jsonl.tmp", hours_old=1000)
    return home


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that nobody touches: filling one takes a second."""
    folder = tmp_path_factory.mktemp("template")
    filled(folder).instance.dispose()
    return folder


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Iterator[Home]:
    home = Home(Path(shutil.copytree(template, tmp_path / "copy")))
    yield home
    home.instance.dispose()


def test_what_settings_do_not_keep_goes_and_the_rest_stays(home: Home) -> None:
    before = home.names()
    named = dict(home.warehouse.query("SELECT model, round_no FROM candidates").iter_rows())
    runs = {run.run_id: run.job_name for run in home.instance.get_runs()}
    done = home.compact(**KEEP_ONE)
    assert (done.runs, done.pages, done.models, done.archive, done.unfinished) == (2, 2, 2, 2, 4)
    gone = before - home.names()
    kept_runs = {run.run_id for run in home.instance.get_runs()}
    assert sorted(runs[run] for run in kept_runs) == [INGESTION_JOB, "reproduce"]
    for run in runs.keys() - kept_runs:
        assert {f"home/steps/{run}/train/result", f"dagster/history/runs/{run}.db"} <= gone
        assert not [name for name in home.names() if run in name]
    assert home.instance.get_dynamic_partitions(ROUNDS_PARTITION) == ["r000003"]
    removed = removed_models(home.warehouse)
    assert removed == {path.split("/")[2] for path in gone if path.endswith("model.safetensors")} - {".putting-x"}
    assert len(removed) == 2
    assert len(removed & named.keys()) == 1, "the other was aligned, and not kept"
    assert {"a", "b"} == {path.split("-", 1)[-1][0] for path in gone if "/archive/" in path}
    assert {f"r00000{number}" for number in (1, 2)} == {path.split("/")[-2] for path in gone if "/quality/" in path}
    assert {path for path in home.names() if path.endswith(".tmp")} == {
        f"home/frames/stage/r000002.parquet.{HEX}.tmp",
        "home/inbox/of-a-stranger.jsonl.tmp",
    }
    assert not [path for path in gone if "/frames/" in path and not path.endswith(".tmp")]
    assert home.compact(**KEEP_ONE) == Compacted(0, 0, 0, 0, 0, warehouse=False)


def test_nothing_is_old_where_all_is_kept_or_rounds_are_few(home: Home) -> None:
    before = home.names()
    for keep in (0, 3, 100):
        done = home.compact(**dict.fromkeys(KEEP_ONE, keep), keep_unfinished_hours=2000)
        assert (done.runs, done.pages, done.models, done.archive, done.unfinished) == (0, 0, 0, 0, 0)
    assert home.names() == before


def test_a_killed_call_is_repeated(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies at each removal of a folder, with half of the folder gone."""
    ends, remove = [], shutil.rmtree
    for dies_at in (None, 1, 3, 6):
        home = Home(Path(shutil.copytree(template, tmp_path / f"dies at {dies_at}")))
        calls = 0

        def dying(path: Any, *arguments: Any, dies_at: int | None = dies_at, **options: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == dies_at:
                next(file for file in Path(path).rglob("*") if file.is_file()).unlink()
                raise Killed
            remove(path, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "rmtree", dying)
            if dies_at is None:
                home.compact(**KEEP_ONE)
            else:
                with pytest.raises(Killed):
                    home.compact(**KEEP_ONE)
        home.compact(**KEEP_ONE, keep_unfinished_hours=1e-9)
        names = {name for name in home.names() if "/runs/" not in name and "/steps/" not in name}
        ends.append((names, len(home.instance.get_runs()), removed_models(home.warehouse)))
        assert calls >= (dies_at or 8)
        home.instance.dispose()
    assert all(end == ends[0] for end in ends)


def test_a_hollow_warehouse_is_written_anew_with_all_that_is_in_it(home: Home) -> None:
    home.execute("CREATE TABLE filler AS SELECT range AS number, hash(range) AS noise FROM range(400000)")
    full = Path(home.warehouse.path).stat().st_size
    home.execute("DROP TABLE filler")
    before = home.warehouse.query("FROM rounds ORDER BY ALL")
    assert home.compact().warehouse
    assert Path(home.warehouse.path).stat().st_size < 0.7 * full
    assert home.warehouse.query("FROM rounds ORDER BY ALL").equals(before)
    assert not home.compact().warehouse
