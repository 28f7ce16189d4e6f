"""The desk in a real browser, by keyboard alone: from an invitation to what was earned, beside a daemon that takes in what is sent."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from crowd_assets.desk.app import desk_app
from crowd_assets.desk.database import database_url
from crowd_assets.desk.desk import open_desk
from crowd_assets.desk.privacy import kept_about
from crowd_assets.desk.store import DeskStore
from crowd_assets.report.statement import statement_of
from resources.build import build_resources
from resources.feedback.inbox import COMPARISON_TASKS
from resources.settings.resource import CrowdSettings
from tests.e2e.at_the_desk import RunningDesk, come_in, look_at, press, serve_desk, tab_to, write_into
from tests.e2e.conftest import PATIENCE, RunningDagster, free_port, wait_for

pytestmark = pytest.mark.e2e

FIRST_JUDGEMENT_S = 30.0
"""From the consent to the first judgement in the warehouse: benchmarks/first_judgement.py measures it on a machine of its own."""


@pytest.fixture(scope="module")
def desk(dagster_dev: RunningDagster, round_by_daemon: str) -> Iterator[RunningDesk]:
    yield from serve_desk(dagster_dev)


def test_from_an_invitation_to_three_kinds_of_feedback_by_keyboard_alone(
    page: Page, desk: RunningDesk, screenshots: Path
) -> None:
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto(desk.invited("ada")["ada"])
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    press(page, "button.first")
    press(page, "input[name=agreed]", "Space")
    look_at(page, screenshots, "consent")
    press(page, "button.first")
    expect(page.get_by_role("heading", name="What there is to do")).to_be_visible()
    look_at(page, screenshots, "start")

    press(page, "a[href='/compare']")
    tab_to(page, "input[name=strength]")
    assert page.locator("input[name=strength]:checked").count() == 0
    page.keyboard.press("ArrowRight")
    assert page.locator("input[name=strength]:checked").count() == 1
    look_at(page, screenshots, "compare")
    press(page, ".acts button.first")
    expect(page.get_by_text("Your judgement is received.")).to_be_visible()

    press(page, "a[href='/write']")
    write_into(page, "#response", "Thank you all for a wonderful afternoon at the lake.")
    look_at(page, screenshots, "write")
    press(page, ".acts button.first")
    expect(page.get_by_text("Your text is received.")).to_be_visible()

    press(page, "a[href='/offer']")
    write_into(page, "#response", "I am so grateful for the music and for everybody who came.")
    press(page, ".acts button.first")
    expect(page.get_by_text("Say what you ask for the answer")).to_be_visible()
    look_at(page, screenshots, "offer-refused")
    write_into(page, "#asked_price", "0.2")
    tab_to(page, "#claimed_quality")
    page.keyboard.type("well")
    press(page, ".acts button.first")
    expect(page.get_by_text("Your offer is received.")).to_be_visible()
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {desk.url.split("/")[2]}

    warehouse = desk.dagster.project.warehouse

    def taken_in() -> bool:
        return set(
            warehouse.query("SELECT kind FROM event_index WHERE contributor_id = 'ada'").to_series().to_list()
        ) == {"preference", "demonstration", "bid"}

    wait_for("what was sent to be taken in", taken_in, seconds=60, explain=desk.worker.tail)
    counted = warehouse.query(
        "SELECT ingested_at FROM event_index WHERE contributor_id = 'ada' AND kind = 'preference'"
    ).item()
    store = DeskStore(database_url(desk.dagster.project.settings))
    (consent,) = kept_about(store, "ada")["consents"]
    store.close()
    agreed = datetime.fromisoformat(consent["agreed_at"])
    first = (counted.replace(tzinfo=None) - agreed).total_seconds()
    assert 0 < first < FIRST_JUDGEMENT_S * PATIENCE


def test_people_see_the_sum_of_what_they_earned_and_operators_everybody(
    page: Page, desk: RunningDesk, screenshots: Path
) -> None:
    project = desk.dagster.project
    name = project.warehouse.query(
        "SELECT contributor_id FROM contributor_points WHERE contributor_id LIKE 'demonstrator%' ORDER BY points DESC LIMIT 1"
    ).item()
    found = statement_of(name, project.settings, project.warehouse)
    page.goto(desk.invited(name)[name])
    page.get_by_role("button", name="Begin").click()
    page.get_by_label("I have read this and agree.").check()
    page.get_by_role("button", name="Go on").click()
    page.goto(f"{desk.url}/mine")
    expect(page.locator(".figures strong").first).to_have_text(f"{found.points:,.2f}".replace("-", "−"))
    expect(page.get_by_role("heading", name="The sum of your points")).to_be_visible()
    look_at(page, screenshots, "mine")
    page.get_by_label("What is wrong?").fill("My text was no copy.")
    page.get_by_role("button", name="Send the appeal").click()
    expect(page.get_by_text("Your appeal lies with the operator.")).to_be_visible()

    page.goto(desk.invited("boss", role="operator")["boss"])
    page.get_by_role("button", name="Begin").click()
    page.goto(f"{desk.url}/manage")
    expect(page.get_by_text("My text was no copy.")).to_be_visible()
    look_at(page, screenshots, "manage")
    page.goto(f"{desk.url}/manage/payouts")
    expect(page.get_by_role("table").or_(page.get_by_text("Nothing is owed."))).to_be_visible()
    look_at(page, screenshots, "payouts")


ANSWERS = ("It was lovely.", "It was fine.", "It was loud.", "It was long.")


def test_four_answers_are_ranked_by_keyboard_alone(page: Page, tmp_path: Path, screenshots: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path / "home"), desk_batch_s=0.2)
    resources, port = build_resources(settings), free_port()
    pairs = [
        {"comparison_id": f"r000001-{number:016x}", "prompt": "How was it?", "response_a": one, "response_b": other}
        for number, (one, other) in enumerate((ANSWERS[:2], ANSWERS[2:]))
    ]
    resources.outbox.publish(COMPARISON_TASKS, "r000001", pairs)
    desk = open_desk(settings, resources, f"http://127.0.0.1:{port}")
    server = uvicorn.Server(uvicorn.Config(desk_app(desk), port=port, log_level="warning"))
    serving = threading.Thread(target=server.run)
    serving.start()
    try:
        wait_for("the desk", lambda: server.started, seconds=10)
        (person,) = desk.store.invite(["rita"])
        come_in(page, desk.invitation_url(person))
        press(page, "a[href='/compare']")
        expect(page.get_by_role("heading", name="Which answer is the best")).to_be_visible()
        assert page.locator("input[type=radio]:checked").count() == 0
        shown = page.locator("fieldset.answer p.text").all_inner_texts()
        assert sorted(shown) == sorted(ANSWERS)
        for at, answer in enumerate(shown):
            tab_to(page, f"input[name=place-{at}]")
            page.keyboard.press("Space")
            for _ in range(ANSWERS.index(answer)):
                page.keyboard.press("ArrowRight")
        look_at(page, screenshots, "rank")
        press(page, ".acts button.first")
        expect(page.get_by_text("Your judgement is received.")).to_be_visible()
        found = wait_for("the ranking in the inbox", lambda: [*settings.inbox_path.glob("*.jsonl")] or None, seconds=10)
    finally:
        server.should_exit = True
        serving.join()
    events = [json.loads(line) for line in found[0].read_text(encoding="utf-8").splitlines()]
    assert len(events) == 6
    for event in events:
        first, other = ANSWERS.index(event["response_a"]), ANSWERS.index(event["response_b"])
        assert event["probability_a"] == float(first < other)
