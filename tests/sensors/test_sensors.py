"""Sensors and the schedule, evaluated on an ephemeral instance: one run for one round, whatever was lost before."""

import errno
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from dagster import (
    AssetKey,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Definitions,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorResult,
    SkipReason,
    build_run_status_sensor_context,
    build_schedule_context,
    build_sensor_context,
)

from crowd_assets.definitions import build_definitions
from crowd_assets.leases import lease_of, note_failure
from resources.build import build_resources
from resources.home.names import BATCH_TAG, INGESTION_JOB, ROUND_JOB, ROUND_TAG, ROUNDS_PARTITION, STATE_TAG
from resources.rounds.attempts import INGESTION, AttemptBook, Outcome, _machine, _started, process_runs, this_process
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseBusyError
from sensors.failures import failure_sensor
from sensors.feedback import inbox_sensor
from sensors.rounds import nightly_schedule, round_sensor


@pytest.fixture
def plain(tmp_path: Path) -> CrowdSettings:
    return CrowdSettings(home=str(tmp_path), quorum_events=4, quorum_contributors=2)


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def stored_instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """An instance with a folder: a schedule opens it again by reference."""
    (tmp_path / "dagster").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


@pytest.fixture
def book(plain: CrowdSettings) -> RoundBook:
    return RoundBook(build_resources(plain).warehouse)


def drop(settings: CrowdSettings, name: str, events: int) -> Path:
    path = Path(settings.home, "inbox", name)
    path.parent.mkdir(exist_ok=True)
    lines = [
        {
            "kind": "demonstration",
            "contributor_id": f"c{number % 3}",
            "prompt": name,
            "response": f"response {number}",
            "submitted_at": "2026-01-01T00:00:00Z",
        }
        for number in range(events)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def send(settings: CrowdSettings, name: str, events: int) -> None:
    drop(settings, name, events)
    build_resources(settings).inbox.ingest()


def tick(settings: CrowdSettings, instance: DagsterInstance) -> SensorResult | SkipReason:
    resources = {name: getattr(build_resources(settings), name) for name in ("warehouse", "settings")}
    result = round_sensor()(build_sensor_context(instance=instance, resources=resources))
    assert isinstance(result, SensorResult | SkipReason)
    return result


def request_of(result: SensorResult | SkipReason) -> RunRequest:
    assert isinstance(result, SensorResult), result
    assert result.run_requests is not None
    (request,) = result.run_requests
    return request


def launch(
    settings: CrowdSettings, instance: DagsterInstance, request: RunRequest, status: DagsterRunStatus, **tags: str
) -> DagsterRun:
    definitions: Definitions = build_definitions(settings)
    return instance.create_run_for_job(
        definitions.resolve_job_def(ROUND_JOB),
        status=status,
        tags={**request.tags, **tags, "dagster/partition": "r000001"},
    )


def test_the_inbox_sensor_asks_once_for_each_state_of_the_inbox(
    plain: CrowdSettings, instance: DagsterInstance
) -> None:
    def look() -> RunRequest | SkipReason:
        return look_at(plain, instance, inbox_sensor)

    assert isinstance(look(), SkipReason)
    drop(plain, "half.jsonl.tmp", 2)
    assert isinstance(look(), SkipReason)
    path = drop(plain, "a.jsonl", 2)
    first, again = look(), look()
    assert isinstance(first, RunRequest)
    assert isinstance(again, RunRequest)
    assert first.run_key == again.run_key
    os.utime(path, (1, 1))
    changed = look()
    assert isinstance(changed, RunRequest)
    assert changed.run_key != first.run_key
    notice = json.loads(Path(plain.home, "outbox", "backlog.json").read_text())
    assert (notice["files"], notice["bytes"], notice["full"]) == (1, path.stat().st_size, False)
    assert notice["oldest_s"] > 1e9


def test_one_ingestion_follows_the_other(plain: CrowdSettings, instance: DagsterInstance) -> None:
    def look() -> RunRequest | SkipReason:
        return look_at(plain, instance, inbox_sensor)

    drop(plain, "a.jsonl", 2)
    begun = instance.create_run_for_job(build_definitions(plain).resolve_job_def(INGESTION_JOB))
    instance.report_run_canceled(begun)
    asked = look()
    assert isinstance(asked, RunRequest)
    assert BATCH_TAG in asked.tags
    running = instance.create_run_for_job(build_definitions(plain).resolve_job_def(INGESTION_JOB))
    waiting = look()
    assert isinstance(waiting, SkipReason)
    assert waiting.skip_message == "1 files wait, and an ingestion is about to begin"
    instance.report_run_canceled(running)
    assert isinstance(look(), RunRequest)


def test_a_run_of_the_sensor_takes_in_one_batch_and_any_other_everything(
    plain: CrowdSettings, instance: DagsterInstance
) -> None:
    few = plain.changed(ingest_files=2)
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        drop(few, name, 1)
    job = build_definitions(few).resolve_job_def(INGESTION_JOB)
    assert job.execute_in_process(instance=instance, tags={BATCH_TAG: "1"}).success
    inbox = build_resources(few).inbox
    assert [path.name for path in inbox.complete_files()] == ["c.jsonl"]
    drop(few, "d.jsonl", 1)
    drop(few, "e.jsonl", 1)
    assert job.execute_in_process(instance=instance).success
    assert inbox.complete_files() == []


def test_a_round_starts_at_the_quorum(plain: CrowdSettings, instance: DagsterInstance, book: RoundBook) -> None:
    send(plain, "a.jsonl", 3)
    result = tick(plain, instance)
    assert isinstance(result, SkipReason)
    assert result.skip_message == "3 of 4 events"
    send(plain, "b.jsonl", 3)
    request = request_of(tick(plain, instance))
    assert (request.partition_key, request.run_key, request.tags[ROUND_TAG]) == ("r000001", "r000001:1", "r000001")
    assert instance.get_dynamic_partitions(ROUNDS_PARTITION) == ["r000001"]
    assert book.get("r000001").to_seq == 6


def test_a_lost_launch_is_launched_again_under_the_same_key(plain: CrowdSettings, instance: DagsterInstance) -> None:
    send(plain, "a.jsonl", 6)
    first = request_of(tick(plain, instance))
    assert request_of(tick(plain, instance)).run_key == first.run_key


def test_a_round_claimed_by_hand_is_launched_by_hand_and_then_taken_up(
    plain: CrowdSettings, instance: DagsterInstance, book: RoundBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = build_definitions(plain).resolve_job_def("claim_round")
    assert not job.execute_in_process(instance=instance, raise_on_error=False).success  # nothing waits
    send(plain, "a.jsonl", 2)  # fewer than the sensor asks for
    assert job.execute_in_process(instance=instance).success
    assert instance.get_dynamic_partitions(ROUNDS_PARTITION) == ["r000001"]
    assert not job.execute_in_process(instance=instance, raise_on_error=False).success  # one is open
    result = tick(plain, instance)
    assert isinstance(result, SkipReason)
    assert "claimed by hand" in str(result.skip_message)
    by_hand = RunRequest(partition_key="r000001")
    launch(plain, instance, by_hand, DagsterRunStatus.STARTED)
    assert isinstance(tick(plain, instance), SkipReason)
    (run,) = instance.get_runs(RunsFilter(job_name=ROUND_JOB))
    instance.report_run_failed(run)
    assert isinstance(tick(plain, instance), SkipReason)
    monkeypatch.setattr("sensors.rounds.datetime", clock_at(datetime.now(UTC) + timedelta(hours=1)))
    assert request_of(tick(plain, instance)).run_key == "r000001:1"
    assert book.get("r000001").attempt == 1


def test_a_running_round_is_waited_for(plain: CrowdSettings, instance: DagsterInstance) -> None:
    send(plain, "a.jsonl", 6)
    launch(plain, instance, request_of(tick(plain, instance)), DagsterRunStatus.STARTED)
    result = tick(plain, instance)
    assert isinstance(result, SkipReason)
    assert result.skip_message == "r000001 is running"


def test_a_failed_round_is_tried_again_and_then_skipped_with_its_events_pending(
    plain: CrowdSettings, instance: DagsterInstance, book: RoundBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(plain, "a.jsonl", 6)
    for attempt in (1, 2, 3):
        request = request_of(tick(plain, instance))
        assert request.run_key == f"r000001:{attempt}"
        launch(plain, instance, request, DagsterRunStatus.FAILURE)
        if attempt == 1:  # by the true clock: a pause is kept
            waiting = tick(plain, instance)
            assert isinstance(waiting, SkipReason)
            assert "ended before any work began" in str(waiting.skip_message)
        monkeypatch.setattr("sensors.rounds.datetime", clock_at(datetime.now(UTC) + timedelta(hours=attempt)))
    result = tick(plain, instance)
    assert isinstance(result, SkipReason)
    assert "3 attempts" in str(result.skip_message)
    assert book.get("r000001").status == "skipped"
    assert book.pending().events == 6
    assert isinstance(tick(plain, instance), SkipReason)


def test_a_run_whose_process_was_killed_counts_as_failed(
    plain: CrowdSettings, instance: DagsterInstance, book: RoundBook
) -> None:
    send(plain, "a.jsonl", 6)
    run = launch(plain, instance, request_of(tick(plain, instance)), DagsterRunStatus.STARTED)
    attempts = AttemptBook(build_resources(plain).warehouse, plain.lease_s)
    attempts.begin(run.run_id, "r000001", 1)
    assert isinstance(tick(plain, instance), SkipReason)  # it is this process
    hold_by(attempts, run.run_id, ended_process())
    assert request_of(tick(plain, instance)).run_key == "r000001:2"
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.FAILURE
    assert [(each.outcome, each.counts) for each in attempts.of("r000001")] == [("lost", True)]


def test_a_host_that_was_lost_holds_a_round_no_longer_than_a_lease(
    plain: CrowdSettings, instance: DagsterInstance
) -> None:
    send(plain, "a.jsonl", 6)
    run = launch(plain, instance, request_of(tick(plain, instance)), DagsterRunStatus.STARTED)
    attempts = AttemptBook(build_resources(plain).warehouse, plain.lease_s)
    attempts.begin(run.run_id, "r000001", 1)
    hold_by(attempts, run.run_id, "a-boot-of-another-machine/1:77:1")
    assert isinstance(tick(plain, instance), SkipReason)
    hold_by(attempts, run.run_id, "a-boot-of-another-machine/1:77:1", renewed_s_ago=plain.lease_s + 1)
    assert request_of(tick(plain, instance)).run_key == "r000001:2"


def test_a_clock_that_was_set_back_keeps_no_lease_for_ever(plain: CrowdSettings, instance: DagsterInstance) -> None:
    send(plain, "a.jsonl", 6)
    run = launch(plain, instance, request_of(tick(plain, instance)), DagsterRunStatus.STARTED)
    attempts = AttemptBook(build_resources(plain).warehouse, plain.lease_s)
    attempts.begin(run.run_id, "r000001", 1)
    hold_by(attempts, run.run_id, "a-boot-of-another-machine/1:77:1", renewed_s_ago=-3600)
    assert request_of(tick(plain, instance)).run_key == "r000001:2"


def test_an_ingestion_whose_process_was_killed_leaves_its_place_in_the_queue(
    plain: CrowdSettings, instance: DagsterInstance
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])  # not waited for: a zombie, as in a container without an init
    attempts = AttemptBook(build_resources(plain).warehouse, plain.lease_s)
    dead, alive, just_started = (
        instance.create_run_for_job(
            build_definitions(plain).resolve_job_def(INGESTION_JOB), status=DagsterRunStatus.STARTED
        )
        for _ in range(3)
    )
    for run in (dead, alive):
        attempts.begin(run.run_id, INGESTION, 0)
    hold_by(attempts, dead.run_id, f"{_machine()}:{gone.pid}:{_started(gone.pid)}")
    while psutil.Process(gone.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    tick(plain, instance)
    statuses = [instance.get_run_by_id(run.run_id).status for run in (dead, alive, just_started)]
    gone.wait()
    assert statuses == [DagsterRunStatus.FAILURE, DagsterRunStatus.STARTED, DagsterRunStatus.STARTED]


def test_a_run_that_ended_while_it_was_looked_at_keeps_its_success(
    plain: CrowdSettings, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instance.create_run_for_job(
        build_definitions(plain).resolve_job_def(INGESTION_JOB), status=DagsterRunStatus.STARTED
    )

    def ends_and_was_to_have_begun(*_: object) -> bool:
        instance.report_dagster_event(
            DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, INGESTION_JOB), run_id=run.run_id
        )
        return True

    monkeypatch.setattr("sensors.rounds._is_dead", ends_and_was_to_have_begun)
    tick(plain, instance)
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.SUCCESS


def ended_process() -> str:
    """A process of this machine that has ended, as a holder of a lease."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    holder = f"{_machine()}:{process.pid}:{_started(process.pid)}"
    process.wait()
    return holder


def hold_by(attempts: AttemptBook, run_id: str, holder: str, renewed_s_ago: float = 0) -> None:
    """Make an attempt's lease one of ``holder``, renewed then."""
    renewed = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=renewed_s_ago)
    with attempts._warehouse.transaction() as connection:
        connection.execute(
            "UPDATE attempts SET holder = $holder, renewed_at = $now, expires_at = $expires WHERE run_id = $run",
            {"holder": holder, "now": renewed, "expires": renewed + attempts._lease, "run": run_id},
        )


def look_at(
    settings: CrowdSettings, instance: DagsterInstance, of: Callable[[], SensorDefinition]
) -> RunRequest | SkipReason:
    found = build_resources(settings)
    resources = {name: getattr(found, name) for name in ("settings", "warehouse", "inbox", "outbox")}
    with build_sensor_context(instance=instance, resources=resources) as context:
        result = of()(context)
    assert isinstance(result, RunRequest | SkipReason)
    return result


def ended_ingestion(settings: CrowdSettings, asked: RunRequest, outcome: Outcome, *, transient: bool = False) -> None:
    """An ingestion that was asked for, and how it ended."""
    attempts = AttemptBook(build_resources(settings).warehouse, settings.lease_s)
    run_id = uuid.uuid4().hex
    attempts.begin(run_id, INGESTION, 0, state=asked.tags[STATE_TAG])
    attempts.end(run_id, outcome, transient=transient, reason="no room")


def test_a_failed_ingestion_is_tried_again_later_and_later_under_keys_of_its_own(
    plain: CrowdSettings, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(plain, "a.jsonl", 2)
    keys, later = set(), timedelta(0)
    for _ in range(4):
        with monkeypatch.context() as then:
            then.setattr("sensors.feedback.datetime", clock_at(datetime.now(UTC) + later))
            asked = look_at(plain, instance, inbox_sensor)
        assert isinstance(asked, RunRequest)
        keys.add(asked.run_key)
        ended_ingestion(plain, asked, "failed", transient=True)
        waiting = look_at(plain, instance, inbox_sensor)
        assert isinstance(waiting, SkipReason)
        assert "no room" in str(waiting.skip_message)
        later = timedelta(minutes=3)
    assert len(keys) == 4


def test_an_ingestion_that_ended_before_its_first_step_does_not_use_the_inbox_up(
    plain: CrowdSettings, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(plain, "a.jsonl", 2)
    asked = look_at(plain, instance, inbox_sensor)
    assert isinstance(asked, RunRequest)
    job = build_definitions(plain).resolve_job_def(INGESTION_JOB)
    instance.create_run_for_job(job, status=DagsterRunStatus.FAILURE, tags=asked.tags)
    assert isinstance(look_at(plain, instance, inbox_sensor), SkipReason)
    monkeypatch.setattr("sensors.feedback.datetime", clock_at(datetime.now(UTC) + timedelta(minutes=1)))
    again = look_at(plain, instance, inbox_sensor)
    assert isinstance(again, RunRequest)
    assert again.run_key != asked.run_key


def test_a_lock_a_full_disk_or_a_stop_costs_no_attempt(
    plain: CrowdSettings, instance: DagsterInstance, book: RoundBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(plain, "a.jsonl", 6)
    attempts = AttemptBook(build_resources(plain).warehouse, plain.lease_s)
    problems = [
        WarehouseBusyError("locked"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt(),
        duckdb.IOException("could not write: No space left on device"),
        WarehouseBusyError("locked"),
    ]
    for number, problem in enumerate(problems, 1):
        request = request_of(tick(plain, instance))
        assert request.run_key == f"r000001:{number}"
        with suppress(type(problem)), attempts.lease(f"run-{number}", "r000001", number):
            raise problem
        monkeypatch.setattr("sensors.rounds.datetime", clock_at(datetime.now(UTC) + timedelta(hours=number)))
    assert [each.counts for each in attempts.of("r000001")] == [False] * 5
    for number in (6, 7, 8):
        request_of(tick(plain, instance))
        with suppress(ValueError), attempts.lease(f"run-{number}", "r000001", number):
            raise ValueError("a fault of the round")
        monkeypatch.setattr("sensors.rounds.datetime", clock_at(datetime.now(UTC) + timedelta(hours=number)))
    assert isinstance(tick(plain, instance), SkipReason)
    assert book.get("r000001").status == "skipped"
    assert "a fault of the round" in str(book.get("r000001").reason)


def test_nothing_starts_on_a_full_disk_and_the_operator_reads_why(
    plain: CrowdSettings, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(plain, "a.jsonl", 6)
    drop(plain, "b.jsonl", 2)
    monkeypatch.setattr("resources.home.space.free_mib", lambda settings: {"/srv/crowd": 3})
    for waiting in (tick(plain, instance), look_at(plain, instance, inbox_sensor)):
        assert isinstance(waiting, SkipReason)
        assert "/srv/crowd has 3 MiB free, and CROWD_LEAST_FREE_MIB=1024" in str(waiting.skip_message)
    assert RoundBook(build_resources(plain).warehouse).open_round() is None


def clock_at(now: datetime) -> type:
    """``datetime`` whose now is that."""

    class Fake(datetime):
        @classmethod
        def now(cls, zone: Any = None) -> datetime:
            return now.astimezone(zone)

    return Fake


def test_at_night_a_round_starts_with_what_there_is(plain: CrowdSettings, stored_instance: DagsterInstance) -> None:
    resources = {name: getattr(build_resources(plain), name) for name in ("warehouse", "settings")}

    def night() -> RunRequest | SkipReason:
        with build_schedule_context(instance=stored_instance, resources=resources) as context:
            result = nightly_schedule()(context)
        assert isinstance(result, RunRequest | SkipReason)
        return result

    assert isinstance(night(), SkipReason)
    send(plain, "a.jsonl", 1)
    skipped = night()
    assert isinstance(skipped, SkipReason)
    assert skipped.skip_message == "1 of 2 contributors"
    send(plain, "b.jsonl", 2)
    request = night()
    assert isinstance(request, RunRequest)
    assert request.partition_key == "r000001"


def test_a_failure_is_written_where_the_operator_reads(plain: CrowdSettings, instance: DagsterInstance) -> None:
    broken = plain.changed(min_demonstrations=1)
    instance.add_dynamic_partitions(ROUNDS_PARTITION, ["r000042"])
    result = (
        build_definitions(broken)
        .resolve_job_def(ROUND_JOB)
        .execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            instance=instance,
            partition_key="r000042",
            tags={ROUND_TAG: "r000042"},
            raise_on_error=False,
            asset_selection=[AssetKey("validated_feedback")],
        )
    )
    assert not result.success
    context = build_run_status_sensor_context(
        sensor_name="failure_sensor",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        resources={"settings": plain},
    ).for_run_failure()
    failure_sensor()(context)
    (line,) = Path(plain.home, "failures.jsonl").read_text().splitlines()
    written = json.loads(line)
    assert (written["job"], written["round_id"]) == (ROUND_JOB, "r000042")
    assert written["steps"][0]["step"] == "validated_feedback"
    assert "never claimed" in written["steps"][0]["error"]


def test_a_process_is_known_by_more_than_its_number_and_by_no_name() -> None:
    machine, pid, started = this_process().rsplit(":", 2)
    assert process_runs(this_process()) is True
    assert process_runs(f"{machine}:{pid}:1") is False
    assert process_runs(f"another-machine:{pid}:{started}") is None
    assert process_runs("") is None
    assert socket.gethostname() not in this_process()


def test_a_clock_that_is_set_makes_no_process_look_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = this_process()
    started = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: started(process) - 3600)
    assert process_runs(alive)


def test_an_unreadable_file_is_named_where_the_operator_reads_and_the_rest_goes_on(
    plain: CrowdSettings, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(plain, "a.jsonl", 2)
    drop(plain, "b.jsonl", 2)
    opened = os.open

    def refused(path: Any, *rest: Any, **options: Any) -> int:
        if str(path).endswith("a.jsonl"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr("os.open", refused)  # root may read everything
        definitions = build_definitions(plain)
        warehouse = build_resources(plain).warehouse
        with lease_of("a-run", INGESTION_JOB, {}, warehouse, plain) as ending:
            result = definitions.resolve_job_def(INGESTION_JOB).execute_in_process(instance=instance)
            for event in result.all_events:
                note_failure(ending, event)
    assert result.success
    (attempt,) = AttemptBook(warehouse, plain.lease_s).of(INGESTION)
    assert attempt.outcome == "succeeded"
    assert "a.jsonl (Permission denied)" in str(attempt.reason)
    assert RoundBook(warehouse).pending().events == 2
