"""Two homes that share one Dagster instance: neither sees, counts or removes what is the other's."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter, SkipReason

from crowd_assets.monitoring.status import status
from crowd_assets.operations.retention import _forget_runs
from resources.build import build_resources
from resources.home.identity import open_home
from resources.home.names import HOME_TAG, partition_set
from resources.rounds.attempts import AttemptBook
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from sensors.feedback import inbox_sensor
from tests.sensors.test_sensors import drop, launch, look_at, request_of, send, tick


@pytest.fixture
def homes(tmp_path: Path) -> tuple[CrowdSettings, CrowdSettings]:
    """Two homes, each with enough feedback for a round, the same in both."""
    one, other = (
        CrowdSettings(home=str(tmp_path / name), quorum_events=4, quorum_contributors=2) for name in ("one", "other")
    )
    for settings in (one, other):
        open_home(settings, build_resources(settings).warehouse)
        send(settings, "a.jsonl", 6)
    return one, other


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


def test_each_claims_and_launches_its_own_round(
    homes: tuple[CrowdSettings, CrowdSettings], instance: DagsterInstance
) -> None:
    requests = [request_of(tick(settings, instance)) for settings in homes]
    assert len({request.run_key for request in requests}) == 2
    assert len({request.tags[HOME_TAG] for request in requests}) == 2
    for request in requests:
        assert request.partition_key == "r000001"
        assert instance.get_dynamic_partitions(partition_set(request.tags[HOME_TAG])) == ["r000001"]


def test_a_run_of_one_is_neither_waited_for_nor_counted_nor_shown_by_the_other(
    homes: tuple[CrowdSettings, CrowdSettings], instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = homes
    launch(one, instance, request_of(tick(one, instance)), DagsterRunStatus.STARTED)
    assert isinstance(tick(one, instance), SkipReason)
    first = request_of(tick(other, instance))
    for _ in range(3):
        launch(one, instance, first, DagsterRunStatus.FAILURE, **{HOME_TAG: "0" * 32})  # ended runs of a third
    assert request_of(tick(other, instance)).run_key == first.run_key
    assert RoundBook(build_resources(other).warehouse).get("r000001").attempt == 1
    assert AttemptBook(build_resources(other).warehouse, 90).of("r000001") == []
    monkeypatch.setattr("crowd_assets.monitoring.status.read_history", lambda folder: _history(instance))
    assert [run.round_id for run in status(one).running] == ["r000001"]
    assert status(other).running == []


def test_a_dead_run_of_one_is_left_to_it(homes: tuple[CrowdSettings, CrowdSettings], instance: DagsterInstance) -> None:
    one, other = homes
    run = launch(one, instance, request_of(tick(one, instance)), DagsterRunStatus.STARTED)
    attempts = AttemptBook(build_resources(one).warehouse, one.lease_s)
    attempts.begin(run.run_id, "r000001", 1)
    attempts.end(run.run_id, "lost")
    tick(other, instance)
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.STARTED
    tick(one, instance)
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.FAILURE


def test_the_same_inbox_has_another_key_in_each(
    homes: tuple[CrowdSettings, CrowdSettings], instance: DagsterInstance
) -> None:
    keys = set()
    for settings in homes:
        drop(settings, "b.jsonl", 2)
        asked = look_at(settings, instance, inbox_sensor)
        assert not isinstance(asked, SkipReason)
        keys.add(asked.run_key)
    assert len(keys) == 2


def test_compaction_of_one_removes_no_run_of_the_other(
    homes: tuple[CrowdSettings, CrowdSettings], instance: DagsterInstance
) -> None:
    one, other = homes
    for settings in homes:
        launch(settings, instance, request_of(tick(settings, instance)), DagsterRunStatus.SUCCESS)
    first = RoundBook(build_resources(one).warehouse).get("r000001")
    later = type(first)(**{**vars(first), "round_no": 9, "claimed_at": datetime.now(UTC) + timedelta(hours=1)})
    assert _forget_runs(later, one, instance) == 1
    (left,) = instance.get_runs(RunsFilter())
    assert left.tags[HOME_TAG] == open_home(other, build_resources(other).warehouse).uuid
    assert instance.get_dynamic_partitions(partition_set(left.tags[HOME_TAG])) == ["r000001"]


def _history(instance: DagsterInstance) -> object:
    from resources.tools.run_history import _of_instance

    return _of_instance(instance)
