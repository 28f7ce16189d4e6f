"""Sensors and the schedule, evaluated on an ephemeral instance: one run for one round, whatever was lost before."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dagster import (
    AssetKey,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    RunRequest,
    RunsFilter,
    SensorResult,
    SkipReason,
    build_run_status_sensor_context,
    build_schedule_context,
    build_sensor_context,
)

from crowd_assets.definitions import build_definitions, build_resources
from resources.rounds.book import RoundBook
from resources.settings.settings import CrowdSettings
from sensors import BATCH_TAG, INGESTION_JOB, PROCESS_TAG, ROUND_JOB, ROUND_TAG, ROUNDS_PARTITION
from sensors.failures import failure_sensor
from sensors.feedback import inbox_sensor
from sensors.processes import is_gone, process_tags
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
    return RoundBook(build_resources(plain)["warehouse"])


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
    build_resources(settings)["inbox"].ingest()


def tick(settings: CrowdSettings, instance: DagsterInstance) -> SensorResult | SkipReason:
    resources = {name: build_resources(settings)[name] for name in ("warehouse", "settings")}
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
) -> None:
    definitions: Definitions = build_definitions(settings)
    instance.create_run_for_job(
        definitions.resolve_job_def(ROUND_JOB),
        status=status,
        tags={**request.tags, **tags, "dagster/partition": "r000001"},
    )


def test_the_inbox_sensor_asks_once_for_each_state_of_the_inbox(
    plain: CrowdSettings, instance: DagsterInstance
) -> None:
    def look() -> RunRequest | SkipReason:
        found = build_resources(plain)
        resources = {name: found[name] for name in ("settings", "inbox", "outbox")}
        with build_sensor_context(instance=instance, resources=resources) as context:
            result = inbox_sensor()(context)
        assert isinstance(result, RunRequest | SkipReason)
        return result

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
    found = build_resources(plain)
    resources = {name: found[name] for name in ("settings", "inbox", "outbox")}

    def look() -> RunRequest | SkipReason:
        with build_sensor_context(instance=instance, resources=resources) as context:
            result = inbox_sensor()(context)
        assert isinstance(result, RunRequest | SkipReason)
        return result

    drop(plain, "a.jsonl", 2)
    begun = instance.create_run_for_job(build_definitions(plain).resolve_job_def(INGESTION_JOB))
    instance.report_run_canceled(begun)
    asked = look()
    assert isinstance(asked, RunRequest)
    assert BATCH_TAG in asked.tags
    running = instance.create_run_for_job(build_definitions(plain).resolve_job_def(INGESTION_JOB))
    waiting = look()
    assert isinstance(waiting, SkipReason)
    assert waiting.skip_message == "1 files wait, and an ingestion is running"
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
    inbox = build_resources(few)["inbox"]
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
    plain: CrowdSettings, instance: DagsterInstance, book: RoundBook
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
    assert request_of(tick(plain, instance)).run_key == "r000001:1"
    assert book.get("r000001").attempt == 1


def test_a_running_round_is_waited_for(plain: CrowdSettings, instance: DagsterInstance) -> None:
    send(plain, "a.jsonl", 6)
    launch(plain, instance, request_of(tick(plain, instance)), DagsterRunStatus.STARTED)
    result = tick(plain, instance)
    assert isinstance(result, SkipReason)
    assert result.skip_message == "r000001 is running"


def test_a_failed_round_is_tried_again_and_then_skipped_with_its_events_pending(
    plain: CrowdSettings, instance: DagsterInstance, book: RoundBook
) -> None:
    send(plain, "a.jsonl", 6)
    for attempt in (1, 2, 3):
        request = request_of(tick(plain, instance))
        assert request.run_key == f"r000001:{attempt}"
        launch(plain, instance, request, DagsterRunStatus.FAILURE)
    result = tick(plain, instance)
    assert isinstance(result, SkipReason)
    assert "3 attempts" in str(result.skip_message)
    assert book.get("r000001").status == "skipped"
    assert book.pending().events == 6
    assert isinstance(tick(plain, instance), SkipReason)


def test_a_run_whose_process_was_killed_counts_as_failed(plain: CrowdSettings, instance: DagsterInstance) -> None:
    send(plain, "a.jsonl", 6)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    process = {PROCESS_TAG: f"{socket.gethostname()}:{gone.pid}:1.00"}
    launch(plain, instance, request_of(tick(plain, instance)), DagsterRunStatus.STARTED, **process)
    assert request_of(tick(plain, instance)).run_key == "r000001:2"
    alive = process_tags(os.getpid())
    launch(plain, instance, request_of(tick(plain, instance)), DagsterRunStatus.STARTED, **alive)
    assert isinstance(tick(plain, instance), SkipReason)


def test_an_ingestion_whose_process_was_killed_leaves_its_place_in_the_queue(
    plain: CrowdSettings, instance: DagsterInstance
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])  # not waited for: a zombie, as in a container without an init
    dead, alive = (
        instance.create_run_for_job(
            build_definitions(plain).resolve_job_def(INGESTION_JOB), status=DagsterRunStatus.STARTED, tags=tags
        )
        for tags in (process_tags(gone.pid), process_tags(os.getpid()))
    )
    while psutil.Process(gone.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    tick(plain, instance)
    statuses = [instance.get_run_by_id(run.run_id).status for run in (dead, alive)]
    gone.wait()
    assert statuses == [DagsterRunStatus.FAILURE, DagsterRunStatus.STARTED]


def test_a_run_that_ended_while_it_was_looked_at_keeps_its_success(
    plain: CrowdSettings, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instance.create_run_for_job(
        build_definitions(plain).resolve_job_def(INGESTION_JOB),
        status=DagsterRunStatus.STARTED,
        tags={PROCESS_TAG: "x"},
    )

    def ends_and_is_gone(tag: str) -> bool:
        instance.report_dagster_event(
            DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, INGESTION_JOB), run_id=run.run_id
        )
        return True

    monkeypatch.setattr("sensors.rounds.is_gone", ends_and_is_gone)
    tick(plain, instance)
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.SUCCESS


def test_at_night_a_round_starts_with_what_there_is(plain: CrowdSettings, stored_instance: DagsterInstance) -> None:
    resources = {name: build_resources(plain)[name] for name in ("warehouse", "settings")}

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


def test_a_process_is_known_by_more_than_its_number() -> None:
    (alive,) = process_tags(os.getpid()).values()
    host, pid, _ = alive.split(":")
    assert not is_gone(alive)
    assert is_gone(f"{host}:{pid}:1.00")
    assert not is_gone(f"another-machine:{pid}:1.00")
    assert not is_gone("")


def test_a_clock_that_is_set_makes_no_process_look_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    (alive,) = process_tags(os.getpid()).values()
    started = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: started(process) - 3600)
    assert not is_gone(alive)
