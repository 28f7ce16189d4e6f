"""A Label Studio server: projects filled with comparison tasks, and the annotations that they have since a time.

Belongs here: its HTTP API (tried with 1.23.2), the token, what a failed request says. Does not belong here: what a task
or an annotation means (see ``crowd_assets.exporters`` and ``crowd_assets.importers``).
"""

import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource
from pydantic import Field

from resources.common.errors import OperatorError
from resources.common.locks import held

TOKEN_VARIABLE = "CROWD_LABEL_STUDIO_TOKEN"
PAGE = 500  # tasks a request
NAMED = 100  # tasks that a request names in its address, which proxies cut off at 8 kB
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"  # the only way in which its filters read one
LATE = timedelta(minutes=2)
"""How long after its time stamp a change may become visible: a transaction that began earlier may end later."""


class LabelStudioError(OperatorError, RuntimeError):
    """The server cannot be asked, or refused; the message says what to set. It never holds the token."""


@dataclass(frozen=True)
class Filled:
    """What became of comparisons in a project: how many were sent now, were there before, were taken away."""

    project: int
    sent: int
    present: int
    withdrawn: int


@dataclass(frozen=True)
class Annotated:
    """Tasks with their annotations, as the export named JSON has them, and the time up to which they were changed."""

    tasks: list[dict[str, Any]]
    until: str | None


@dataclass(frozen=True)
class User:
    """Somebody who can sign in to the server: ``number`` there, and the ``address`` that the person is shown by."""

    number: int
    address: str


class LabelStudioResource(ConfigurableResource):
    """A project of a server that everybody answers, and one for each person who is asked things of their own. The token comes from the environment when a request is made, and is kept nowhere."""

    url: str = Field(default="", description="Where the server answers, http or https. Empty: there is none.")
    project: str = Field(default="Comparison tasks", description="Title of the project; made where there is none.")
    judgements: int = Field(default=3, description="Annotations that a task of a new project asks for.")
    description: str = Field(default="", description="What a new project says of itself.")
    shared: bool = Field(
        default=True, description="Whether the project that everybody answers is filled beside those of persons."
    )
    lock: str = Field(description="Local file that is locked while tasks are sent, so that none is sent twice.")
    timeout_s: float = Field(default=60.0, description="Longest wait for an answer, in seconds.")

    def users(self) -> list[User]:
        """Everybody who can sign in, by number, but for the one whose the token is.

        Raises:
            LabelStudioError: the server cannot be reached, or refuses.
        """
        server = _Server(self.url, self.timeout_s)
        own = server.ask("GET", "/api/current-user/whoami")["id"]
        found = (User(int(each["id"]), str(each.get("email") or "")) for each in server.ask("GET", "/api/users/"))
        return sorted((user for user in found if user.number != own), key=lambda user: user.number)

    def of_person(self, user: User) -> "LabelStudioResource":
        """The project of one person, whose tasks one answer completes."""
        alone = f"For {user.address or user.number} alone: answers of others here are not counted."
        return self.model_copy(
            update={"project": f"{self.project}, user {user.number}", "judgements": 1, "description": alone}
        )

    def fill(
        self,
        tasks: Sequence[dict[str, Any]],
        config: str,
        key: str,
        withdrawn: Collection[str] = (),
        *,
        only: bool = False,
    ) -> Filled:
        """Send those of ``tasks`` that the project does not have yet, and delete those that are withdrawn.

        Args:
            tasks: each ``{"data": {…}}``.
            config: labelling configuration of a project that has to be made; one that is there keeps its own.
            key: field of ``data`` that tells tasks apart.
            withdrawn: values of ``key`` whose tasks are to go, with their annotations.
            only: whether tasks that are not among these go as well, where nobody has answered them. No project is made for no task.

        Raises:
            LabelStudioError: the server cannot be reached, or refuses.
        """
        server = _Server(self.url, self.timeout_s)
        with self._locked():
            project = self._projects(server).get(self.project)
            if project is None and only and not tasks:
                return Filled(0, 0, 0, 0)
            if project is None:
                about = {"title": self.project, "label_config": config, "maximum_annotations": self.judgements}
                about |= {"description": self.description} if self.description else {}
                project = server.ask("POST", "/api/projects/", body=about)["id"]
            found = [
                task
                for task in _pages(server, project, {"include": "id,data,total_annotations"})
                if isinstance(task.get("data"), dict)
            ]
            there = {str(task["data"].get(key)): task["id"] for task in found}
            missing = {str(task["data"][key]): task for task in tasks if str(task["data"][key]) not in there}
            fresh = [task for name, task in missing.items() if name not in withdrawn]
            for start in range(0, len(fresh), PAGE):
                server.ask("POST", f"/api/projects/{project}/import", body=fresh[start : start + PAGE])
            gone = {there[name] for name in withdrawn if name in there}
            if only:
                asked = {str(task["data"][key]) for task in tasks}
                open_ = (task for task in found if not task.get("total_annotations"))
                gone |= {task["id"] for task in open_ if str(task["data"].get(key)) not in asked}
            for task_id in sorted(gone):
                server.ask("DELETE", f"/api/tasks/{task_id}/")
        return Filled(project, len(fresh), len(tasks) - len(missing), len(gone))

    def annotated(self, since: str | None) -> Annotated:
        """Tasks of the project and of persons' projects that were changed since a time which an earlier call returned, all where None,
        with every annotation.

        A task may come again that came before: what is to count once needs an id of its own.

        Raises:
            LabelStudioError: the server cannot be reached, or refuses.
        """
        server = _Server(self.url, self.timeout_s)
        query: dict[str, str] = {"include": "id,updated_at,total_annotations"}
        if since is not None:
            rule = {
                "filter": "filter:tasks:updated_at",
                "operator": "greater_or_equal",
                "type": "Datetime",
                "value": (datetime.fromisoformat(since) - LATE).astimezone(UTC).strftime(TIME),
            }
            query["query"] = json.dumps({"filters": {"conjunction": "and", "items": [rule]}})
        tasks: list[dict[str, Any]] = []
        times = [] if since is None else [since]
        for project in sorted(self._projects(server).values()):
            changed = list(_pages(server, project, query))
            times += [task["updated_at"] for task in changed]
            wanted = [task["id"] for task in changed if task.get("total_annotations")]
            for start in range(0, len(wanted), NAMED):
                ids = [("ids[]", str(task_id)) for task_id in wanted[start : start + NAMED]]
                tasks += server.ask("GET", f"/api/projects/{project}/export", [("exportType", "JSON"), *ids])
        return Annotated(tasks, max(times, default=None))

    def _projects(self, server: "_Server") -> dict[str, int]:
        """The numbers of the project of that title and of those of persons, by title; the oldest where a title has several."""
        named = re.compile(rf"{re.escape(self.project)}(, user \d+)?")
        projects: dict[str, int] = {}
        page = 1
        while True:
            query = [("title", self.project), ("page", str(page)), ("page_size", "100"), ("include", "id,title")]
            answer = server.ask("GET", "/api/projects/", query)
            for each in answer["results"]:
                if named.fullmatch(each["title"]):
                    projects[each["title"]] = min(each["id"], projects.get(each["title"], each["id"]))
            if not answer.get("next"):
                return projects
            page += 1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        def busy(holder: str) -> LabelStudioError:
            return LabelStudioError(f"{self.lock} is held by {holder}, which sends tasks; try again.")

        with held(Path(self.lock), self.timeout_s, busy):
            yield


def _pages(server: "_Server", project: int, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    page, seen = 1, 0
    while True:
        place = {"project": str(project), "page": str(page), "page_size": str(PAGE)}
        answer = server.ask("GET", "/api/tasks/", list((query | place).items()))
        yield from answer["tasks"]
        seen += len(answer["tasks"])
        if not answer["tasks"] or seen >= answer["total"]:
            return
        page += 1


class _Server:
    """Requests to one server and no other: a redirect is an error, as it would take the token elsewhere."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise LabelStudioError(
                "CROWD_LABEL_STUDIO_URL must be like http://127.0.0.1:8080, without user, password or query."
            )
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            raise LabelStudioError(
                f"{TOKEN_VARIABLE} is not set: make a personal access token in Label Studio (Account & Settings)."
            )
        self._url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect())
        self._authorization: str | None = None

    def ask(self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: Any = None) -> Any:
        """The answer of the server, decoded; None where it is empty.

        Raises:
            LabelStudioError: it cannot be reached, or refuses.
        """
        if self._authorization is None:
            self._authorization = self._sign_in()
        try:
            return self._send(method, path, query, body, {"Authorization": self._authorization})
        except urllib.error.HTTPError as error:
            if error.code != 401 or self._token.count(".") != 2:
                raise self._problem(method, path, error) from None
        self._authorization = self._sign_in()  # access by a personal token ends after minutes
        try:
            return self._send(method, path, query, body, {"Authorization": self._authorization})
        except urllib.error.HTTPError as error:
            raise self._problem(method, path, error) from None

    def _sign_in(self) -> str:
        """A personal access token is exchanged for one that opens doors; a legacy token opens them itself."""
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        try:
            answer = self._send("POST", "/api/token/refresh/", (), {"refresh": self._token}, {})
        except urllib.error.HTTPError as error:
            raise self._problem("POST", "/api/token/refresh/", error) from None
        return f"Bearer {answer['access']}"

    def _send(
        self, method: str, path: str, query: Sequence[tuple[str, str]], body: Any, headers: dict[str, str]
    ) -> Any:
        address = f"{self._url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data, {"Content-Type": "application/json", **headers}, method=method)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                content = response.read()
        except urllib.error.HTTPError:
            raise
        except (OSError, ValueError) as error:
            raise LabelStudioError(
                f"{self._url} does not answer ({error}): is Label Studio running, and CROWD_LABEL_STUDIO_URL right?"
            ) from None
        try:
            return json.loads(content) if content else None
        except ValueError:
            raise LabelStudioError(
                f"{self._url}{path} answered with something else than JSON: is a Label Studio there?"
            ) from None

    def _problem(self, method: str, path: str, error: urllib.error.HTTPError) -> LabelStudioError:
        said = error.read(500).decode("utf-8", errors="replace").replace(self._token, "…")
        if self._authorization:
            said = said.replace(self._authorization.split()[-1], "…")
        way_out = f"; check {TOKEN_VARIABLE}" if error.code in (401, 403) else ""
        return LabelStudioError(f"{method} {self._url}{path}: {error.code} {said}{way_out}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
