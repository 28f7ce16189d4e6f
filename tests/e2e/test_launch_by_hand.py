"""A round that an operator claims and launches in the UI, with settings of its own, while the sensor is switched off."""

import re
from itertools import chain
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from resources.home.names import INGESTION_JOB, ROUND_JOB
from tests.e2e.conftest import RunningDagster, wait_for

pytestmark = pytest.mark.crash

SENSORS = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  sensors { name sensorState { status ticks(limit: 1) { status } } } } } } }"""
ROUND = "r000002"
GROUPS = 2
CONFIG = "resources:\n  settings:\n    config:\n      groups: {}\n"


def _switch_round_sensor(page: Page, dagster_dev: RunningDagster, *, on: bool) -> None:
    page.goto(f"{dagster_dev.url}/locations/crowd_assets/sensors/round_sensor")
    switch = page.locator("input[type=checkbox]").first
    expect(switch).to_be_checked(checked=not on)

    def switched() -> bool:
        if switch.is_checked() != on:  # again, too: a tick that begins just then writes back the state that it read
            switch.locator("xpath=..").click()
            expect(switch).to_be_checked(checked=on)
        return on or _rests(dagster_dev)

    wait_for("the sensor's last tick", switched, seconds=30, explain=dagster_dev.explain)


def _rests(dagster_dev: RunningDagster) -> bool:
    """Whether the round sensor is off, and no tick that began before still looks."""
    sensors = chain(*(each["sensors"] for each in dagster_dev.ask(SENSORS)["repositoriesOrError"]["nodes"]))
    (state,) = (each["sensorState"] for each in sensors if each["name"] == "round_sensor")
    return bool(state["status"] == "STOPPED" and all(tick["status"] != "STARTED" for tick in state["ticks"]))


def _choose_partition(page: Page) -> bool:
    """Choose it from what the launchpad knows; it knows it a moment after it is opened."""
    page.get_by_placeholder("Partition").fill(ROUND)
    page.get_by_placeholder("Partition").press("Enter")
    return page.get_by_text(f"partition: {ROUND}").first.is_visible()


def _ended(dagster_dev: RunningDagster, job: str, count: int) -> str | None:
    runs = dagster_dev.runs(job)
    if len(runs) < count or runs[0]["status"] not in ("SUCCESS", "FAILURE", "CANCELED"):
        return None
    return str(runs[0]["status"])


def test_a_round_is_claimed_and_launched_with_other_settings(
    page: Page, dagster_dev: RunningDagster, round_by_daemon: str, screenshots: Path
) -> None:
    project = dagster_dev.project
    ingestions = len(dagster_dev.runs(INGESTION_JOB))
    _switch_round_sensor(page, dagster_dev, on=False)
    project.crowd_sends(2)
    wait_for(
        "the second round's files taken in",
        lambda: _ended(dagster_dev, INGESTION_JOB, ingestions + 1) if not any(project.inbox.glob("*.jsonl")) else None,
        seconds=60,
        explain=dagster_dev.explain,
    )

    page.goto(f"{dagster_dev.url}/locations/crowd_assets/jobs/claim_round/playground")
    page.get_by_role("button", name="Launch Run").click()
    wait_for("the claim", lambda: _ended(dagster_dev, "claim_round", 1), seconds=30, explain=dagster_dev.explain)
    assert project.book.get(ROUND).attempt == 0

    page.goto(f"{dagster_dev.url}/locations/crowd_assets/jobs/{ROUND_JOB}/playground")
    wait_for("the partition to be taken", lambda: _choose_partition(page), seconds=20)
    page.locator(".CodeMirror").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(CONFIG.format("two"))
    expect(page.get_by_text("Invalid scalar at path root:resources:settings:config:groups")).to_be_visible()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(CONFIG.format(GROUPS))
    expect(page.get_by_text("No errors")).to_be_visible()
    page.screenshot(path=screenshots / "launchpad.png", animations="disabled")
    page.get_by_role("button", name="Launch Run").click()
    expect(page).to_have_url(re.compile("/runs/"))
    _switch_round_sensor(page, dagster_dev, on=True)  # it waits for the run, whoever launched it
    ended = wait_for(
        "the round by hand", lambda: _ended(dagster_dev, ROUND_JOB, 2), seconds=180, explain=dagster_dev.explain
    )
    assert ended == "SUCCESS", dagster_dev.explain()
    assert len(dagster_dev.runs(ROUND_JOB)) == 2
    assert project.book.get(ROUND).status == "completed"
    groups = [project.warehouse.read_round("candidates", number).height for number in (1, 2)]
    assert groups == [project.settings.groups, GROUPS]
    page.goto(Path(project.settings.home, "reports", "quality.html").as_uri())
    expect(page.get_by_role("heading", name="Feedback quality")).to_be_visible()
    page.screenshot(path=screenshots / "quality-report.png", animations="disabled")
