"""The same campaign with its files on S3: what comes out is what comes out of a local folder, also where the store goes away."""

import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import fsspec
import polars as pl
import pytest
from upath import UPath

from crowd_assets.monitoring.metrics import measure
from crowd_assets.operations.audit import audit
from crowd_assets.operations.backup import backup, restore
from crowd_assets.operations.erasure import erase
from crowd_assets.operations.migrate_files import FileMigrationError, migrate_files
from resources.build import build_resources
from resources.feedback.arrivals import append
from resources.feedback.events import Limits
from resources.files.frames import FramesResource, read_parquet
from resources.files.storage import StoreUnavailableError, files_below, use_object_stores, write_bytes_atomically
from resources.models.store import DamagedModelError
from resources.settings.resource import CrowdSettings
from tests.cluster.s3 import BUCKET, Lives, S3Server, s3_server
from tests.e2e.crash import invariants
from tests.e2e.crash.harness import Home
from tests.reading import read_file

pytestmark = pytest.mark.cluster

ROUNDS = 2
AWAY_S = 20
PLACES = {"table rounds"}  # settings name where files lie, and those of the two homes differ


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def place(server: S3Server, request: pytest.FixtureRequest) -> str:
    """An empty place on the server."""
    use_object_stores(60)
    return f"s3://{BUCKET}/{request.node.name[:40]}-{time.time_ns()}"


@pytest.fixture(scope="module")
def lives(server: S3Server) -> Iterator[Lives]:
    lives = Lives(server.environment)
    yield lives
    lives.stop()


class Campaigns:
    """Campaigns in one folder after the other of the same name, as paths are part of what is hashed."""

    def __init__(self, folder: Path, seed_models: Path, lives: Lives) -> None:
        self._folder, self._seed_models, self._lives = folder, seed_models, lives
        home = self.home("")
        self._lives.begin(home, ROUNDS)
        assert self._lives.end()["ended"] == "done", home.tail()
        self.expected = invariants.contents(home.settings)
        self.sent = invariants.event_ids(home.settings)
        shutil.copytree(home.folder / "home", folder / "local", symlinks=True)

    def home(self, files: str) -> Home:
        shutil.rmtree(self._folder / "campaign", ignore_errors=True)
        home = Home(self._folder / "campaign", self._seed_models)
        home.settings = home.settings.changed(files=files)
        return home

    def local(self) -> CrowdSettings:
        """A copy of the home whose files are local, where it was."""
        home = self.home("")
        shutil.rmtree(home.settings.home)
        shutil.copytree(self._folder / "local", home.settings.home, symlinks=True)
        return home.settings

    def differences(self, settings: CrowdSettings) -> list[str]:
        actual = invariants.contents(settings)
        return [each for each in invariants.differences(self.expected, actual) if each.partition(":")[0] not in PLACES]


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory: pytest.TempPathFactory, seed_folder: Path, lives: Lives) -> Campaigns:
    return Campaigns(tmp_path_factory.mktemp("s3"), seed_folder, lives)


def test_a_campaign_comes_out_as_in_a_local_folder(campaigns: Campaigns, lives: Lives, place: str) -> None:
    home = campaigns.home(place)
    lives.begin(home, ROUNDS)
    assert lives.end()["ended"] == "done", home.tail()
    assert campaigns.differences(home.settings) == []
    assert invariants.broken(home.settings, campaigns.sent) == []
    assert not {"frames", "models", "archive", "outbox", "inbox", "steps", "reports"} & set(
        os.listdir(home.settings.home)
    )
    assert audit(home.settings).clean
    _assert_measured(home.settings)
    said = home.tail() + "".join(path.read_text(errors="replace") for path in home.folder.rglob("*.jsonl"))
    assert "a-secret-of-the-store" not in said

    (generations,) = (
        each.path for each in files_below(home.settings.frames_path) if each.name == "generations/r000001.parquet"
    )
    kept = generations.read_bytes()
    write_bytes_atomically(generations, (home.settings.frames_path / "generations/r000002.parquet").read_bytes())
    assert not audit(home.settings).clean
    write_bytes_atomically(generations, kept)
    weights = next(each.path for each in files_below(home.settings.models_path) if each.name.endswith(".safetensors"))
    write_bytes_atomically(weights, weights.read_bytes()[:-1] + b"!")  # as it was fetched before, it is whole
    assert not audit(home.settings).clean
    store = build_resources(home.settings).model_store
    shutil.rmtree(store.cache)
    with pytest.raises(DamagedModelError):
        store.path(weights.parent.name)


def _assert_measured(settings: CrowdSettings) -> None:
    """Metrics of a campaign that has ended, against its tables."""
    found = {each.name: dict(each.values) for each in measure(settings, datetime.now(UTC))}
    use_object_stores(60)
    assert found["up"] == {"inbox": 1, "warehouse": 1}
    assert found["inbox_files"] == {"": 0}
    assert found["rounds"]["completed"] == found["last_round"][""] == ROUNDS
    assert found["last_round_seconds"][""] > 0
    assert all(0 < distance < 10 for distance in found["last_round_distance"].values())
    assert found["ledger_imbalance"] == dict.fromkeys(found["ledger_entries_total"], 0)
    assert set(found["ledger_imbalance"]) == {"credit", "point"}
    assert found["ledger_contributors"]["credit"] > 0


def test_a_store_that_goes_away_is_waited_for(campaigns: Campaigns, lives: Lives, server: S3Server, place: str) -> None:
    home = campaigns.home(place)
    lives.begin(home, ROUNDS)
    _wait_for_the_gate(home)
    server.pause()
    time.sleep(AWAY_S)
    server.resume()
    assert lives.end()["ended"] == "done", home.tail()
    assert campaigns.differences(home.settings) == []
    assert invariants.broken(home.settings, campaigns.sent) == []


def test_a_store_that_stays_away_fails_the_round_in_words_and_the_next_run_repairs_it(
    campaigns: Campaigns, lives: Lives, server: S3Server, place: str
) -> None:
    home = campaigns.home(place)
    home.settings = home.settings.changed(store_retry_s=2)
    lives.begin(home, ROUNDS)
    _wait_for_the_gate(home)
    server.pause()
    try:
        assert lives.end()["ended"] == "failed"
    finally:
        server.resume()
    assert "object store has not answered for 2 s" in home.tail()
    home.settings = home.settings.changed(store_retry_s=60)
    lives.begin(home, ROUNDS)
    assert lives.end()["ended"] == "done", home.tail()
    assert campaigns.differences(home.settings) == []


def _wait_for_the_gate(home: Home) -> None:
    """Until the first round of a life has passed the gate."""
    deadline = time.monotonic() + 300
    while not files_below(home.settings.frames_path / "validated_feedback"):
        assert time.monotonic() < deadline, home.tail()
        time.sleep(0.1)


def _collect(place: str, number: int) -> None:
    use_object_stores(60)
    for file in range(6):
        events = [_event(f"collector-{number}", f"{number} {file} {event}") for event in range(20)]
        append(UPath(place, "inbox"), f"collector-{number}", "".join(events).encode(), ".jsonl", datetime.now(UTC))


def _event(who: str, text: str) -> str:
    event = {"kind": "demonstration", "contributor_id": who, "prompt": "p", "response": text}
    return json.dumps(event | {"submitted_at": "2026-01-01T00:00:00Z"}) + "\n"


def _ingest(home: str, place: str, done: str) -> None:
    inbox = build_resources(CrowdSettings(home=home, files=place)).inbox
    counted = 0
    while not Path(done).exists() or inbox.complete_files():
        counted += len(inbox.ingest(most_files=5))
    Path(f"{done}.{os.getpid()}").write_text(str(counted))


def test_collectors_and_two_ingesting_processes_lose_and_double_nothing(place: str, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    done = tmp_path / "done"
    home = tmp_path / "home"
    ingesting = [spawn.Process(target=_ingest, args=(str(home), place, str(done))) for _ in range(2)]
    collecting = [threading.Thread(target=_collect, args=(place, number)) for number in range(8)]
    for each in (*collecting, *ingesting):
        each.start()
    for thread in collecting:
        thread.join()
    done.touch()
    for process in ingesting:
        process.join(timeout=180)
        assert process.exitcode == 0
    settings = CrowdSettings(home=str(home), files=place)
    inbox = build_resources(settings).inbox
    expected = {f"{number} {file} {event}" for number in range(8) for file in range(6) for event in range(20)}
    events = inbox.events(1, 10_000)
    assert events["seq"].to_list() == list(range(1, len(expected) + 1))
    assert set(events["response"]) == expected
    assert inbox.complete_files() == []
    assert len(files_below(settings.archive_path)) == 8 * 6
    shares = [int(path.read_text()) for path in tmp_path.glob("done.*")]
    assert sum(shares) >= 8 * 6
    assert min(shares) > 0


def test_what_replaces_a_file_while_it_is_read_is_not_lost(place: str, tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path), files=place)
    inbox = build_resources(settings).inbox
    path = UPath(inbox.root) / "a.jsonl"
    write_bytes_atomically(path, _event("c1", "old").encode())
    whole = files_below(UPath(place))
    known = read_file(path, Limits(1_000_000, 20_000))
    assert [each.name for each in whole] == ["inbox/a.jsonl"]
    store = type(inbox)._store

    def replaced_meanwhile(self, path, parts, pseudonyms):  # type: ignore[no-untyped-def]
        found = store(self, path, parts, pseudonyms)
        if parts.digest == known.digest:
            write_bytes_atomically(path, _event("c1", "new").encode())
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(inbox), "_store", replaced_meanwhile)
        inbox.ingest()
    assert [each.name for each in inbox.arrived()] == ["a.jsonl"]
    inbox.ingest()
    assert inbox.events(1, 9)["response"].to_list() == ["old", "new"]
    assert inbox.complete_files() == []


def test_a_home_moves_to_the_store_and_back_by_a_backup(campaigns: Campaigns, place: str, tmp_path: Path) -> None:
    settings = campaigns.local()
    warehouse = build_resources(settings).warehouse
    moved = settings.changed(files=place)
    (Path(settings.home) / "inbox").mkdir(exist_ok=True)
    (Path(settings.home) / "inbox" / "waits.jsonl").write_text(_event("c9", "waits"))

    with pytest.raises(FileMigrationError, match="in the home"):
        migrate_files(settings, warehouse, f"{settings.home}/elsewhere")
    stranger = UPath(place) / "models" / "stranger"
    write_bytes_atomically(stranger, b"?")
    with pytest.raises(FileMigrationError, match="did not put there, such as stranger"):
        migrate_files(settings, warehouse, place)
    stranger.unlink()

    class KilledError(Exception):
        pass

    def killed(line: str) -> None:
        if line.startswith("models"):
            raise KilledError

    with pytest.raises(KilledError):
        migrate_files(settings, warehouse, place, killed)
    frames = len(files_below(settings.frames_path))
    assert len(files_below(moved.frames_path)) == frames
    (torn,) = (each.path for each in files_below(moved.frames_path) if each.name == "generations/r000001.parquet")
    kept = torn.read_bytes()
    write_bytes_atomically(torn, kept[:-1] + b"!")  # as long as before: the audit tells
    with pytest.raises(FileMigrationError, match="frame generations"):
        migrate_files(settings, warehouse, place)
    write_bytes_atomically(torn, kept)
    found = migrate_files(settings, warehouse, place)
    assert found.copied == 0  # all that was interrupted is known by then
    assert found.rounds == ROUNDS
    assert found.aside is not None
    assert found.files == sum(len(files_below(each)) for each in moved.file_places.values()) > frames
    assert not files_below(settings.frames_path)
    uris = warehouse.query("SELECT uri FROM ingested_files")["uri"].to_list()
    assert uris
    assert all(uri.startswith(f"{place}/inbox/") for uri in uris)
    assert campaigns.differences(moved) == []
    assert [each.name for each in build_resources(moved).inbox.arrived()] == ["waits.jsonl"]

    copy = backup(moved, warehouse, tmp_path / "backup")
    assert copy.files > frames
    again = CrowdSettings(**moved.model_dump() | {"home": str(tmp_path / "again"), "files": ""})
    (tmp_path / "again").mkdir()
    restore(again, build_resources(again).warehouse, tmp_path / "backup")
    assert campaigns.differences(again) == []


def test_an_erasure_reaches_every_file_of_the_store(campaigns: Campaigns, place: str) -> None:
    settings = campaigns.local()
    migrate_files(settings, build_resources(settings).warehouse, place)
    moved = settings.changed(files=place)
    resources = build_resources(moved)
    events = resources.inbox.events(1, 10_000).filter(kind="demonstration")
    who, text = events.sort("seq").select("contributor_id", "response").row(0)
    holding = [each.name for each in files_below(UPath(place)) if text.encode() in _content(each.path)]
    assert len(holding) > 2
    assert erase(who, "asked", moved, resources).files >= len(holding)
    assert [each.name for each in files_below(UPath(place)) if text.encode() in _content(each.path)] == []
    assert audit(moved).clean


def _content(path: UPath) -> bytes:
    """What a file says, Parquet decompressed."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    return repr(read_parquet(path).rows()).encode()


def test_duckdb_and_polars_read_many_files_of_the_store(place: str) -> None:
    frames = FramesResource(root=f"{place}/frames")
    for number in range(1, 21):
        frames.write("values", f"r{number:06d}", pl.DataFrame({"round": [number] * 5, "value": range(5)}))
    ids = [f"r{number:06d}" for number in range(1, 31)]
    assert frames.scan("values", ids).filter(pl.col("value") == 4).select(pl.col("round").sum()).collect().item() == 210
    assert frames.read_through("values", ids).height == 100
    connection = duckdb.connect()
    connection.register_filesystem(fsspec.filesystem("s3"))
    assert connection.sql(f"SELECT sum(value) FROM '{place}/frames/values/*.parquet'").fetchall() == [(200,)]


def test_a_store_without_an_answer_says_so_in_words(server: S3Server) -> None:
    use_object_stores(0.5)
    path = UPath(f"s3://{BUCKET}/anything")
    server.pause()
    try:
        for ask in (
            path.exists,
            path.read_bytes,
            lambda: files_below(path),
            lambda: write_bytes_atomically(path, b"1"),
        ):
            with pytest.raises(StoreUnavailableError, match=f"s3://{BUCKET}.*CROWD_STORE_RETRY_S"):
                ask()
    finally:
        server.resume()
        use_object_stores(60)
    assert not path.exists()
