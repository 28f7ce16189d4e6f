"""The desk in a real browser, by keyboard alone: from an invitation to what was earned, beside a daemon that takes in what is sent."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from crowd_assets.report.statement import statement_of
from tests.e2e.conftest import RunningDagster, Worker, wait_for

pytestmark = pytest.mark.e2e

NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@dataclass(frozen=True)
class RunningDesk:
    """A desk on the home that a daemon works with."""

    dagster: RunningDagster
    worker: Worker
    url: str

    def invited(self, *names: str, role: str = "crowd") -> dict[str, str]:
        """The links of people, as ``crowd-rounds invite`` prints them."""
        more = ["--operator"] if role == "operator" else []
        printed = self.dagster.project.start(
            f"invite-{'-'.join(names)}", "crowd_assets", "invite", *names, *more, desk_url=self.url
        ).finish(seconds=60)
        return dict(re.findall(r"^(\S+)  \w+  (http\S+)$", printed, re.MULTILINE))


@pytest.fixture(scope="module")
def desk(dagster_dev: RunningDagster, round_by_daemon: str) -> Iterator[RunningDesk]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker = dagster_dev.project.start("desk", "crowd_assets", "serve", "--port", str(port), desk_batch_s=0.5)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    wait_for("the desk", answers, seconds=60, explain=worker.tail)
    yield RunningDesk(dagster_dev, worker, url)
    assert not worker.stop()


def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until what is looked for has the focus."""
    for _ in range(80):
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{selector} cannot be reached by the keyboard on {page.url}")


def _press(page: Page, selector: str, key: str = "Enter") -> None:
    """Reach a link, a button or a box by the keyboard and press a key there: Enter leads to another page."""
    _tab_to(page, selector)
    if key != "Enter":
        page.keyboard.press(key)
        return
    with page.expect_navigation():
        page.keyboard.press(key)


def _type(page: Page, selector: str, text: str) -> None:
    _tab_to(page, selector)
    page.keyboard.type(text)


def _look(page: Page, screenshots: Path, name: str) -> None:
    """The page at both widths, light and dark: nothing beyond its edge, and nothing that keeps somebody out."""
    for size, scheme in ((WIDE, "light"), (NARROW, "dark")):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, size)
        page.screenshot(path=screenshots / f"desk-{name}-{size['width']}.png", full_page=True)
        found = Axe().run(page)
        serious = [each for each in found.response["violations"] if each["impact"] in ("serious", "critical")]
        assert not serious, json.dumps([(each["id"], each["nodes"][0]["html"]) for each in serious], indent=1)


def test_from_an_invitation_to_three_kinds_of_feedback_by_keyboard_alone(
    page: Page, desk: RunningDesk, screenshots: Path
) -> None:
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    page.goto(desk.invited("ada")["ada"])
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    _press(page, "button.first")
    _press(page, "input[name=agreed]", "Space")
    _look(page, screenshots, "consent")
    _press(page, "button.first")
    expect(page.get_by_role("heading", name="What there is to do")).to_be_visible()
    _look(page, screenshots, "start")

    _press(page, "a[href='/compare']")
    _tab_to(page, "input[name=strength]")
    assert page.locator("input[name=strength]:checked").count() == 0
    page.keyboard.press("ArrowRight")
    assert page.locator("input[name=strength]:checked").count() == 1
    _look(page, screenshots, "compare")
    _press(page, ".acts button.first")
    expect(page.get_by_text("Your judgement is received.")).to_be_visible()

    _press(page, "a[href='/write']")
    _type(page, "#response", "Thank you all for a wonderful afternoon at the lake.")
    _look(page, screenshots, "write")
    _press(page, ".acts button.first")
    expect(page.get_by_text("Your text is received.")).to_be_visible()

    _press(page, "a[href='/offer']")
    _type(page, "#response", "I am so grateful for the music and for everybody who came.")
    _press(page, ".acts button.first")
    expect(page.get_by_text("Say what you ask for the answer")).to_be_visible()
    _look(page, screenshots, "offer-refused")
    _type(page, "#asked_price", "0.2")
    _tab_to(page, "#claimed_quality")
    page.keyboard.type("well")
    _press(page, ".acts button.first")
    expect(page.get_by_text("Your offer is received.")).to_be_visible()
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {desk.url.split("/")[2]}

    warehouse = desk.dagster.project.warehouse

    def taken_in() -> bool:
        return set(
            warehouse.query("SELECT kind FROM event_index WHERE contributor_id = 'ada'").to_series().to_list()
        ) == {"preference", "demonstration", "bid"}

    wait_for("what was sent to be taken in", taken_in, seconds=60, explain=desk.worker.tail)


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
    _look(page, screenshots, "mine")
    page.get_by_label("What is wrong?").fill("My text was no copy.")
    page.get_by_role("button", name="Send the appeal").click()
    expect(page.get_by_text("Your appeal lies with the operator.")).to_be_visible()

    page.goto(desk.invited("boss", role="operator")["boss"])
    page.get_by_role("button", name="Begin").click()
    page.goto(f"{desk.url}/manage")
    expect(page.get_by_text("My text was no copy.")).to_be_visible()
    _look(page, screenshots, "manage")
    page.goto(f"{desk.url}/manage/payouts")
    expect(page.get_by_role("table").or_(page.get_by_text("Nothing is owed."))).to_be_visible()
    _look(page, screenshots, "payouts")
