"""``dagster dev`` as an operator runs it: files in, a round out, bad files told apart, all seen through its own API."""

import json
from typing import Any

import polars as pl
import pytest

from resources.home.identity import known_home
from resources.home.names import INGESTION_JOB, ROUND_JOB, ROUND_TAG
from tests.conftest import OF_A_ROUND, UNPARTITIONED
from tests.e2e.conftest import FIRST_ROUND, LOCATIONS, RunningDagster, wait_for

pytestmark = pytest.mark.e2e

REPOSITORY = """{ repositoriesOrError { __typename ... on PythonError { message }
  ... on RepositoryConnection { nodes {
    location { name } jobs { name description }
    sensors { name description sensorState { status } } schedules { name description scheduleState { status } }
    assetNodes { assetKey { path } groupName description kinds
      owners { ... on UserAssetOwner { email } ... on TeamAssetOwner { team } } } } } } }"""

ASSETS = """query Assets($round: String!) { assetNodes {
  assetKey { path } partitionDefinition { name } assetMaterializations(partitions: [$round]) { runId partition }
  assetChecksOrError { ... on AssetChecks { checks {
    name blocking executionForLatestMaterialization { status runId } } } } } }"""


def _repository(dagster_dev: RunningDagster) -> dict[str, Any]:
    nodes = dagster_dev.ask(REPOSITORY)["repositoriesOrError"]["nodes"]
    (found,) = (each for each in nodes if each["location"]["name"] == "crowd_assets")
    return dict(found)


def test_the_code_locations_load(dagster_dev: RunningDagster) -> None:
    locations = dagster_dev.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
    assert {location["name"] for location in locations} == {"crowd_assets", "experiments"}
    for location in locations:
        assert location["loadStatus"] == "LOADED"
        assert location["locationOrLoadError"]["__typename"] == "RepositoryLocation", location


def test_sensors_and_schedule_run_from_the_start(dagster_dev: RunningDagster) -> None:
    repository = _repository(dagster_dev)
    sensors = {sensor["name"]: sensor["sensorState"]["status"] for sensor in repository["sensors"]}
    running = dict.fromkeys(("inbox_sensor", "round_sensor", "failure_sensor", "waiting_sensor"), "RUNNING")
    assert sensors == running | {"label_studio_sensor": "STOPPED"}  # there is no server
    schedules = {schedule["name"]: schedule["scheduleState"]["status"] for schedule in repository["schedules"]}
    assert schedules == {"nightly_schedule": "RUNNING"}
    named = [*repository["sensors"], *repository["schedules"], *repository["jobs"]]
    assert [each["name"] for each in named if not each["description"] and not each["name"].startswith("__")] == []


def test_every_asset_says_what_it_is_and_whose(dagster_dev: RunningDagster) -> None:
    assets = {asset["assetKey"]["path"][-1]: asset for asset in _repository(dagster_dev)["assetNodes"]}
    assert set(assets) >= UNPARTITIONED | OF_A_ROUND
    for name, asset in assets.items():
        assert asset["description"], name
        assert asset["groupName"] not in ("", "default"), name
        assert asset["owners"], name
        assert asset["kinds"], name


def test_feedback_in_the_inbox_becomes_a_round(dagster_dev: RunningDagster, round_by_daemon: str) -> None:
    assets = {each["assetKey"]["path"][-1]: each for each in dagster_dev.ask(ASSETS, round=FIRST_ROUND)["assetNodes"]}
    for name in OF_A_ROUND:
        made = [(each["runId"], each["partition"]) for each in assets[name]["assetMaterializations"]]
        assert made == [(round_by_daemon, FIRST_ROUND)], name
    checks = {
        check["name"]: check["executionForLatestMaterialization"]
        for check in assets["validated_feedback"]["assetChecksOrError"]["checks"]
    }
    assert checks["feedback_gate"] == {"status": "SUCCEEDED", "runId": round_by_daemon}


def test_a_round_is_claimed_once_and_has_one_run(dagster_dev: RunningDagster, round_by_daemon: str) -> None:
    (round_,) = dagster_dev.project.book.all()
    assert (round_.round_id, round_.status, round_.attempt) == (FIRST_ROUND, "completed", 1)
    (run,) = dagster_dev.runs(ROUND_JOB)
    assert (run["runId"], run["tags"][ROUND_TAG]) == (round_by_daemon, FIRST_ROUND)
    assert dagster_dev.project.book.pending().events == 0
    (record,) = dagster_dev.project.warehouse.query("SELECT hash FROM round_records")["hash"]
    known = known_home(dagster_dev.project.settings)
    assert known is not None
    assert known.last_record == record  # written by the settlement: nobody has opened the home since


def test_bad_files_are_refused_with_reasons_and_no_run_fails(dagster_dev: RunningDagster, round_by_daemon: str) -> None:
    project = dagster_dev.project
    unfinished = project.inbox / "unfinished.jsonl.tmp"
    unfinished.write_bytes(b'{"kind": "demonstr')
    broken = project.folder / "broken.jsonl"
    broken.write_bytes(b'{broken\n\xff\xfe\x00\n[]\n{"kind": "opinion"}\n' + b"x" * 2_000_000 + b"\n")
    broken.rename(project.inbox / "broken.jsonl")
    (project.inbox / "empty.jsonl").touch()

    def rejections() -> pl.DataFrame | None:
        found = project.warehouse.query(
            "SELECT source, line, reason, excerpt FROM rejected_feedback "
            "WHERE source IN ('broken.jsonl', 'empty.jsonl') ORDER BY ALL"
        )
        return found if found["source"].n_unique() == 2 else None

    rejected = wait_for("two files refused", rejections, seconds=90, explain=dagster_dev.explain)
    lines = list(rejected.select("source", "line").iter_rows())
    assert lines == [*(("broken.jsonl", number) for number in range(1, 6)), ("empty.jsonl", 0)]
    assert rejected["reason"].str.len_chars().min() > 0  # type: ignore[operator]
    assert "broken JSON" in rejected["reason"][0]
    assert "unknown kind" in rejected["reason"][3]
    assert "at most 1000000" in rejected["reason"][4]

    def all_ended() -> bool:
        return all(run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in dagster_dev.runs(INGESTION_JOB))

    wait_for("the end of the ingestion", all_ended, seconds=60, explain=dagster_dev.explain)
    statuses = {run["status"] for job in (INGESTION_JOB, ROUND_JOB) for run in dagster_dev.runs(job)}
    assert statuses == {"SUCCESS"}, dagster_dev.explain()
    assert sorted(path.name for path in project.inbox.iterdir()) == [unfinished.name]
    assert not (project.folder / "home" / "failures.jsonl").exists()


def test_the_crowd_is_told_what_to_compare_next(dagster_dev: RunningDagster, round_by_daemon: str) -> None:
    path = dagster_dev.project.settings.outbox_path / "comparison_tasks" / f"{FIRST_ROUND}.jsonl"
    tasks = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    published = dagster_dev.project.warehouse.query("SELECT comparison_id FROM comparison_tasks")["comparison_id"]
    assert {task["comparison_id"] for task in tasks} == set(published)
    assert tasks
