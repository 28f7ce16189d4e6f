"""A real Label Studio on loopback, in a folder of its own, with users who sign up and annotate as people do.

Belongs here: starting and stopping the server, its users and their requests. Does not belong here: what is tested with it.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

ADMINISTRATOR = "admin@example.org"
PASSWORD = "password-of-a-test"
SECONDS_TO_START = 180


class User:
    """A signed-in user: a session with cookies, as a browser has one."""

    def __init__(self, url: str, email: str, page: str) -> None:
        self.url = url
        self.session = requests.Session()
        address = f"{url}/user/{page}/"
        self.session.get(address, timeout=60)
        form = {"csrfmiddlewaretoken": self.session.cookies["csrftoken"], "email": email, "password": PASSWORD}
        answer = self.session.post(address, form, headers={"Referer": address}, timeout=60, allow_redirects=False)
        assert answer.status_code == 302, answer.text
        self.number = int(self.get("/api/current-user/whoami")["id"])

    def get(self, path: str, **query: object) -> Any:
        answer = self.session.get(f"{self.url}{path}", params=query, timeout=60)  # type: ignore[arg-type]
        assert answer.ok, answer.text
        return answer.json()

    def post(self, path: str, body: object = None) -> Any:
        headers = {"X-CSRFToken": self.session.cookies["csrftoken"], "Referer": self.url}
        answer = self.session.post(f"{self.url}{path}", json=body, headers=headers, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def annotate(self, task: int, *results: dict[str, object]) -> Any:
        """Submit what the interface submits; see ``tests/exports`` for what that is."""
        return self.post(f"/api/tasks/{task}/annotations/", {"result": list(results), "lead_time": 4.2})


class LabelStudio:
    """The server, for as long as the ``with`` lasts."""

    def __init__(self, command: Path, folder: Path) -> None:
        self._command = command
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CROWD_", "DJANGO_"))}
        place = ["--internal-host", "127.0.0.1", "--port", self.url.rpartition(":")[2]]
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._command, "start", "--no-browser", *place, "--username", ADMINISTRATOR, "--password", PASSWORD],
                cwd=self._folder,
                env=inherited
                | {
                    "LABEL_STUDIO_BASE_DATA_DIR": str(self._folder),
                    "SENTRY_DSN": "",
                    "FRONTEND_SENTRY_DSN": "",
                    "COLLECT_ANALYTICS": "false",
                    "LATEST_VERSION_CHECK": "false",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise AssertionError(
                    f"Label Studio did not start:\n{(self._folder / 'server.log').read_text()[-4000:]}"
                )
            time.sleep(0.5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False

    def administrator(self) -> User:
        return User(self.url, ADMINISTRATOR, "login")

    def sign_up(self, email: str) -> User:
        return User(self.url, email, "signup")


def personal_access_token(user: User) -> str:
    return str(user.post("/api/token/")["token"])
