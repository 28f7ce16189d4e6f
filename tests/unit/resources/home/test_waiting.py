"""What waits and why, said alike by status, metrics and the check in the UI."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance, SensorResult, SkipReason, build_sensor_context

from crowd_assets.monitoring.metrics import measure
from crowd_assets.monitoring.status import status
from resources.build import build_resources
from resources.home.identity import open_home
from resources.home.waiting import Waiting
from resources.rounds.attempts import INGESTION, AttemptBook
from resources.settings.resource import CrowdSettings
from sensors.waiting import waiting_now, waiting_sensor

NOW = datetime.now(UTC)
EVENT = {"kind": "demonstration", "contributor_id": "c1", "prompt": "p", "submitted_at": "2026-01-01T00:00:00Z"}


@pytest.fixture
def settings(tmp_path: Path) -> CrowdSettings:
    settings = CrowdSettings(home=str(tmp_path))
    resources = build_resources(settings)
    open_home(settings, resources.warehouse)
    Path(resources.inbox.root).mkdir()
    return settings


def now(settings: CrowdSettings) -> dict[str, Waiting]:
    resources = build_resources(settings)
    return {each.what: each for each in waiting_now(settings, resources.warehouse, resources.inbox)}


def drop(settings: CrowdSettings, name: str = "a.jsonl") -> None:
    Path(settings.home, "inbox", name).write_text(json.dumps(EVENT | {"response": name}))


def attempts(settings: CrowdSettings) -> AttemptBook:
    return AttemptBook(build_resources(settings).warehouse, 60)


def test_files_wait_for_a_look_a_run_a_pause_or_room(settings: CrowdSettings) -> None:
    assert now(settings) == {}
    drop(settings)
    assert now(settings)["files"].cause == "look"
    book = attempts(settings)
    book.begin("run", "ingestion", 0)
    assert now(settings)["files"].cause == "running"
    book.end("run", "failed", reason="the disk of the inbox")
    paused = now(settings)["files"]
    assert (paused.cause, paused.stuck) == ("pause", False)
    assert "the disk of the inbox" in paused.why
    assert paused.due is not None
    assert paused.due - datetime.now(UTC) < timedelta(minutes=1)
    full = now(settings.changed(least_free_mib=1 << 40))["files"]
    assert (full.cause, full.stuck) == ("space", True)
    with build_resources(settings).warehouse.transaction() as connection:
        connection.execute("UPDATE attempts SET ended_at = ended_at - INTERVAL 1 HOUR")
    assert (now(settings)["files"].cause, now(settings)["files"].stuck) == ("failed", True)


def test_events_wait_for_a_quorum_a_round_or_an_erasure_and_strangers_for_somebody(settings: CrowdSettings) -> None:
    drop(settings)
    resources = build_resources(settings)
    resources.inbox.ingest()
    assert now(settings)["events"].cause == "quorum"
    assert "contributors" in now(settings)["events"].why
    Path(settings.home, "inbox", "notes.txt").write_text("hello")
    assert (now(settings)["strangers"].cause, now(settings)["strangers"].stuck) == ("never_read", True)
    with resources.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, claimed_at) "
            "VALUES (1, 'r000001', 0, 0, 'claimed', 0, '2026-01-01')"
        )
    assert now(settings)["round"].cause == "by_hand"
    assert now(settings)["events"].cause == "open_round"
    with resources.warehouse.transaction() as connection:
        connection.execute("UPDATE rounds SET attempt = 1")
        connection.execute("INSERT INTO erasures (erasure_id, contributor_id, status) VALUES ('e000001', 'c', 'begun')")
    assert now(settings)["round"].cause == "look"
    assert (now(settings)["events"].cause, now(settings)["events"].stuck) == ("erasure", True)
    assert "c1" not in "".join(each.why for each in now(settings).values())


def test_status_metrics_and_the_check_say_the_same(settings: CrowdSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.home.space.free_mib", lambda settings: {settings.home: 7})
    drop(settings)
    full = settings.changed(least_free_mib=1 << 40)
    expected = now(full)
    assert {each.what: each for each in status(full).waits} == expected
    assert json.loads(status(full).as_json())["waits"][0]["cause"] == "space"
    measured = {each.name: each.values for each in measure(full, datetime.now(UTC))}
    assert measured["waiting"] == {"files: space": 1.0}
    assert measured["stuck"] == {"": 1.0}
    resources = build_resources(full)
    given = {name: getattr(resources, name) for name in ("settings", "warehouse", "inbox")}
    with DagsterInstance.ephemeral() as instance:
        with build_sensor_context(instance=instance, resources=given) as context:
            first = waiting_sensor()(context)
        assert isinstance(first, SensorResult)
        (check,) = first.asset_events
        assert not check.passed  # type: ignore[union-attr]
        assert expected["files"].why in (check.description or "")
        with build_sensor_context(instance=instance, cursor=first.cursor, resources=given) as context:
            assert isinstance(waiting_sensor()(context), SkipReason)
        attempts(settings).begin("an ingestion", INGESTION, 0)  # which says in its check that a run is at the files
        attempts(settings).end("an ingestion", "interrupted")
        assert now(settings)["files"].cause == expected["files"].cause
        with build_sensor_context(instance=instance, cursor=first.cursor, resources=given) as context:
            assert isinstance(waiting_sensor()(context), SensorResult)
