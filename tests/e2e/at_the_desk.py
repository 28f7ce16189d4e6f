"""Somebody at the desk: the desk as a process of its own, and a browser that is led by its keyboard alone.

Belongs here: that. Does not belong here: what a page should say.
"""

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.e2e.conftest import RunningDagster, Worker, free_port, wait_for

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


def serve_desk(dagster: RunningDagster) -> Iterator[RunningDesk]:
    """``crowd-rounds serve`` on the home that a daemon works with, until the test is over."""
    port = free_port()
    worker = dagster.project.start("desk", "crowd_assets", "serve", "--port", str(port), desk_batch_s=0.5)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    wait_for("the desk", answers, seconds=60, explain=worker.tail)
    yield RunningDesk(dagster, worker, url)
    assert not worker.stop()


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until what is looked for has the focus."""
    for _ in range(80):
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{selector} cannot be reached by the keyboard on {page.url}")


def press(page: Page, selector: str, key: str = "Enter") -> None:
    """Reach a link, a button or a box by the keyboard and press a key there: Enter leads to another page."""
    tab_to(page, selector)
    if key != "Enter":
        page.keyboard.press(key)
        return
    with page.expect_navigation():
        page.keyboard.press(key)


def write_into(page: Page, selector: str, text: str) -> None:
    tab_to(page, selector)
    page.keyboard.type(text)


def look_at(page: Page, screenshots: Path, name: str) -> None:
    """The page at both widths, light and dark: nothing beyond its edge, and nothing that keeps somebody out."""
    for size, scheme in ((WIDE, "light"), (NARROW, "dark")):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (name, size)
        page.screenshot(path=screenshots / f"desk-{name}-{size['width']}.png", full_page=True)
        found = Axe().run(page)
        serious = [each for each in found.response["violations"] if each["impact"] in ("serious", "critical")]
        assert not serious, json.dumps([(each["id"], each["nodes"][0]["html"]) for each in serious], indent=1)


def come_in(page: Page, link: str) -> None:
    """Open an invitation and agree, by the keyboard."""
    page.goto(link)
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    press(page, "button.first")
    press(page, "input[name=agreed]", "Space")
    press(page, "button.first")
    expect(page.get_by_role("heading", name="What there is to do")).to_be_visible()
