"""Homes beside one another and homes that move: each ends its rounds as if it were alone and had stayed where it was."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from crowd_assets.operations.audit import audit
from resources.build import build_resources
from resources.home.identity import known_home, uuid_of
from resources.home.names import HOME_TAG, INGESTION_JOB, ROUND_JOB
from resources.rounds.attempts import AttemptBook
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.facts import COMPLETED, RECORD_HASHES
from tests import PROJECT
from tests.e2e.conftest import FIRST_ROUND, Worker, wait_for
from tests.e2e.crash import invariants
from tests.e2e.crash.crowd import make_crowd_smaller
from tests.e2e.crash.harness import SECRET, Home
from tests.e2e.crash.stubbed import NAMED, send

pytestmark = pytest.mark.crash

ROUNDS = 3
LEASE_S = 20
PATIENT_S = 300.0  # for a lock that a process holds which a busy machine lets wait
SECONDS_BETWEEN_LOOKS = 2  # into both warehouses
OF_A_DAEMON = "outbox/backlog.json"
"""What its sensor says of the inbox."""


@pytest.fixture(autouse=True)
def _as_in_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_SECRET", SECRET)
    make_crowd_smaller(monkeypatch.setattr)


def home_at(folder: Path, seed_folder: Path, **settings: object) -> Home:
    home = Home(folder, seed_folder)
    home.settings = home.settings.changed(**{"lock_timeout_s": PATIENT_S} | settings)
    return home


def start(home: Home, name: str, *command: object, **more: str) -> Worker:
    """A process of a home, with its settings and nothing of any other home."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("CROWD_", "DAGSTER_"))}
    environment = inherited | home.life(0)["environment"] | {"PYTHONPATH": str(PROJECT), "HF_HUB_OFFLINE": "1"} | more
    arguments = [sys.executable, "-m", "tests.e2e.crash.stubbed", *map(str, command)]
    return Worker(arguments, home.folder, environment, home.folder / f"{name}.log")


def completed(settings: CrowdSettings) -> int:
    book = RoundBook(build_resources(settings).warehouse)
    return sum(each.status == COMPLETED for each in book.all())


@contextmanager
def instance_of(settings: CrowdSettings) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(Path(settings.home, "dagster"))) as instance:
        yield instance


def assert_nothing_is_left(settings: CrowdSettings) -> None:
    """No invariant is broken, no run goes on, and the file of the home knows the last record."""
    with instance_of(settings) as instance:
        assert invariants.left_running(instance, settings) == []
    assert invariants.broken(settings, invariants.event_ids(settings)) == []
    known = known_home(settings)
    assert known is not None
    assert known.last_record == build_resources(settings).warehouse.query(RECORD_HASHES)["hash"][-1]


def test_two_homes_under_two_daemons_side_by_side_end_as_alone(tmp_path: Path, seed_folder: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    homes = [home_at(folder, seed_folder, seed=number) for number, folder in enumerate(folders)]
    alone = [start(home, "alone", "alone", ROUNDS) for home in homes]
    for worker in alone:
        worker.finish(seconds=300)
    expected = [invariants.contents(home.settings) for home in homes]
    assert expected[0] != expected[1]
    for folder in folders:
        shutil.rmtree(folder)  # the path of a home is part of its settings

    homes = [home_at(folder, seed_folder, seed=number) for number, folder in enumerate(folders)]
    daemons = [start(home, "daemon", "daemon") for home in homes]
    try:
        side_by_side(homes, daemons)
    finally:
        for daemon in daemons:
            daemon.stop()

    identities = {uuid_of(home.settings) for home in homes}
    assert len(identities) == len(homes)
    for home, should in zip(homes, expected, strict=True):
        assert_nothing_is_left(home.settings)
        different = invariants.differences(should, invariants.contents(home.settings))
        assert [each for each in different if not each.startswith(OF_A_DAEMON)] == []
        rounds = RoundBook(build_resources(home.settings).warehouse).all()
        assert [(each.status, each.attempt) for each in rounds] == [(COMPLETED, 1)] * ROUNDS
        with instance_of(home.settings) as instance:
            runs = instance.get_runs(RunsFilter(statuses=list(DagsterRunStatus)))
        assert [run.status for run in runs if run.status != DagsterRunStatus.SUCCESS] == []
        assert {run.tags.get(HOME_TAG) for run in runs} == {uuid_of(home.settings)}
        assert [sum(run.job_name == job for run in runs) for job in (ROUND_JOB, INGESTION_JOB)] == [ROUNDS, ROUNDS]


def side_by_side(homes: Sequence[Home], daemons: Sequence[Worker]) -> None:
    """Feed each home's next round when its last one is over, until all are."""
    sent = [0] * len(homes)

    def all_over() -> bool:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        for number, home in enumerate(homes):
            if daemons[number].process.poll() is not None:
                pytest.fail(f"a daemon ended\n{daemons[number].tail()}")
            if sent[number] < ROUNDS and completed(home.settings) == sent[number]:
                sent[number] += 1
                send(home.settings, sent[number], home.settings.inbox_path)
        return all(completed(home.settings) == ROUNDS for home in homes)

    wait_for("the rounds of both", all_over, seconds=400, explain=lambda: "".join(map(Worker.tail, daemons)))


def test_a_home_moved_to_another_path_and_machine_in_the_middle_of_a_round_ends_the_round(
    tmp_path: Path, seed_folder: Path
) -> None:
    here = home_at(tmp_path / "here", seed_folder, embedder="", lease_s=LEASE_S)
    models = Path(here.settings.home, "models")
    begun = start(here, "begun", "round", 1)
    wait_for("the first candidate", lambda: any(models.glob("*/card.json")), seconds=120, explain=begun.tail)
    begun.kill()
    book = AttemptBook(build_resources(here.settings).warehouse, LEASE_S)
    (lost,) = [each for each in book.of(FIRST_ROUND) if each.ended_at is None]
    of_another = f"another-boot/{lost.holder.split('/', 1)[1]}"
    now = datetime.now(UTC).replace(tzinfo=None)
    with build_resources(here.settings).warehouse.transaction() as connection:
        connection.execute(  # nobody can ask the machine it was on, and its lease holds a while yet
            "UPDATE attempts SET holder = $holder, renewed_at = $now, expires_at = $ends WHERE ended_at IS NULL",
            {"holder": of_another, "now": now, "ends": now + timedelta(seconds=LEASE_S)},
        )
    uuid = uuid_of(here.settings)

    shutil.move(here.folder, tmp_path / "there")
    there = Home.__new__(Home)
    there.folder = tmp_path / "there"
    there.settings = here.settings.changed(
        home=str(there.folder / "home"), reference_texts=str(there.folder / "ordinary.txt")
    )
    ending = start(there, "ending", "round", 1, **{NAMED: "another-machine"})
    ending.finish(seconds=300)

    assert uuid_of(there.settings) == uuid
    warehouse = build_resources(there.settings).warehouse
    (round_,) = RoundBook(warehouse).all()
    assert (round_.status, round_.attempt) == (COMPLETED, 2)
    first, second = AttemptBook(warehouse, LEASE_S).of(FIRST_ROUND)
    assert (first.holder, first.outcome, second.outcome) == (of_another, "lost", "succeeded")
    assert second.begun_at >= first.expires_at  # not before the lease of the machine that is gone has ended
    assert_nothing_is_left(there.settings)
    assert audit(there.settings, recompute=False).clean
    assert not here.folder.exists()
