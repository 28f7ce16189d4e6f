"""A desk on a home whose outbox has prompts and comparisons, and people who use it as a browser without scripts does."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from crowd_assets.desk.app import desk_app
from crowd_assets.desk.desk import Desk, open_desk
from crowd_assets.desk.work import LOTS
from resources.build import build_resources
from resources.feedback.inbox import COMPARISON_TASKS
from resources.settings.resource import CrowdSettings

URL = "http://desk.test"
PROMPTS = ("How was the fair?", "What helps against frost?", "Where is the library?")
HIDDEN = re.compile(r'name="token" value="([^"]+)"')


def comparison(number: int) -> dict[str, Any]:
    return {
        "comparison_id": f"r000001-{number:016x}",
        "prompt": f"Question {number}?",
        "response_a": f"The first answer to question {number}.",
        "response_b": f"The second answer to question {number}.",
    }


@dataclass
class Browser:
    """Somebody's browser: follows links, fills forms, keeps the cookie."""

    client: TestClient
    text: str = ""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    def open(self, path: str) -> str:
        return self._got(self.client.get(path))

    def send(self, path: str, /, form: int = -1, **fields: str) -> str:
        """Send the form of the page that is open that stands ``form``th."""
        tokens = [unescape(each) for each in HIDDEN.findall(self.text)]
        return self._got(self.client.post(path, data={"token": tokens[form], **fields}))

    def _got(self, answer: Any) -> str:
        self.text, self.status, self.headers = unescape(answer.text), answer.status_code, dict(answer.headers)
        return self.text


@dataclass
class Served:
    """A desk, its application, and doors into it."""

    desk: Desk
    client: TestClient

    def browser(self) -> Browser:
        return Browser(TestClient(self.client.app, base_url=URL))

    def invited(self, name: str, *, role: str = "crowd", agree: bool = True) -> Browser:
        (person,) = self.desk.store.invite([name], role=role)
        browser = self.browser()
        browser.open(self.desk.invitation_url(person).removeprefix(URL))
        browser._got(browser.client.post(self.desk.invitation_url(person).removeprefix(URL)))
        if agree:
            browser.send("/consent", agreed="yes")
        return browser

    def delivered(self) -> list[dict[str, Any]]:
        """Everything that lies in the inbox, once the courier was there."""
        import json

        self.desk.courier.deliver()
        files = sorted(self.desk.settings.inbox_path.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def serve(settings: CrowdSettings, comparisons: list[dict[str, Any]] | None = None) -> Served:
    resources = build_resources(settings)
    resources.outbox.publish(LOTS, "r000001", [{"lot_id": f"lot-1-{n}", "prompt": p} for n, p in enumerate(PROMPTS)])
    tasks = [comparison(number) for number in range(6)] if comparisons is None else comparisons
    resources.outbox.publish(COMPARISON_TASKS, "r000001", tasks)
    desk = open_desk(settings, resources, URL)
    return Served(desk, TestClient(desk_app(desk), base_url=URL))


@pytest.fixture
def desk_settings(tmp_path: Any) -> CrowdSettings:
    return CrowdSettings(home=str(tmp_path / "home"), desk_batch_s=3600.0)


@pytest.fixture
def served(desk_settings: CrowdSettings) -> Iterator[Served]:
    found = serve(desk_settings)
    yield found
    found.desk.store.close()
