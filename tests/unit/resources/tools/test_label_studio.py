"""The Label Studio resource against a server that answers as 1.23.2 did, strictly; the real one is in tests/e2e."""

import json
import re
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from dagster import DagsterInstance, SkipReason, build_sensor_context

from crowd_assets.definitions import build_definitions
from crowd_assets.exporters.exchange import exchange, pull_judgements, send_assignments, send_tasks
from resources.build import Resources, build_resources
from resources.settings.resource import CrowdSettings
from resources.tools import label_studio as module
from resources.tools.label_studio import LabelStudioError
from sensors.label_studio import label_studio_sensor

PERSONAL_TOKEN = "header.personal.signature"
FIRST = "2026-11-21T12:00:00.000001Z"


class FakeServer:
    """What the resource asks for; every other request is a 404."""

    def __init__(self) -> None:
        self.projects: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.users: list[int] = [1]  # the first is the one whose the token is
        self.access = 0
        self.access_lasts = 1_000
        self.imported = 0
        self.redirect_to: str | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                code, answer = server.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
                self.send_response(code)
                if server.redirect_to:
                    self.send_header("Location", server.redirect_to)
                self.end_headers()
                if answer is not None:
                    self.wfile.write(json.dumps(answer).encode())

            do_GET = do_POST = do_DELETE = do  # noqa: N815

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, method: str, target: str, body: Any, authorization: str) -> tuple[int, Any]:
        parts = urlsplit(target)
        path, query = parts.path, parse_qs(parts.query)
        self.requests.append(f"{method} {path}")
        if self.redirect_to:
            return 302, None
        if path == "/api/token/refresh/":
            self.access, self.uses = self.access + 1, 0
            return (200, {"access": f"access{self.access}"}) if body == {"refresh": PERSONAL_TOKEN} else (401, None)
        if authorization == f"Bearer access{self.access}":
            self.uses += 1
        if authorization != f"Bearer access{self.access}" or self.uses > self.access_lasts:
            return 401, {"detail": "Authentication credentials were not provided."}
        if (method, path) == ("GET", "/api/projects/"):
            return 200, {"next": None, "results": self.projects}
        if (method, path) == ("GET", "/api/current-user/whoami"):
            return 200, {"id": self.users[0]}
        if (method, path) == ("GET", "/api/users/"):
            return 200, [{"id": number, "email": f"{number}@example.org"} for number in self.users]
        if (method, path) == ("POST", "/api/projects/"):
            self.projects.append({"id": 7 + len(self.projects), **body})
            return 201, self.projects[-1]
        if method == "POST" and (found := re.fullmatch(r"/api/projects/(\d+)/import", path)):
            for task in body:
                here = {"id": self.imported + 1, "project": int(found[1]), "updated_at": FIRST, "annotations": []}
                self.tasks.append({**here, **task})
                self.imported += 1
            return 201, {"task_count": len(body)}
        if (method, path) == ("GET", "/api/tasks/"):
            since = json.loads(query["query"][0])["filters"]["items"][0]["value"] if "query" in query else ""
            if since:
                datetime.strptime(since, "%Y-%m-%dT%H:%M:%S.%fZ")  # 500 in the real one, too
            project = int(query["project"][0])
            of_project = [task for task in self.tasks if task["project"] == project and task["updated_at"] >= since]
            size, page = int(query["page_size"][0]), int(query["page"][0])
            chosen = of_project[(page - 1) * size : page * size]
            shown = [task | {"total_annotations": len(task["annotations"])} for task in chosen]
            return 200, {"total": len(of_project), "tasks": shown}
        if method == "GET" and re.fullmatch(r"/api/projects/\d+/export", path):
            return 200, [task for task in self.tasks if str(task["id"]) in query["ids[]"]]
        if method == "DELETE" and (found := re.fullmatch(r"/api/tasks/(\d+)/", path)):
            self.tasks = [task for task in self.tasks if task["id"] != int(found[1])]
            return 204, None
        return 404, None

    def annotate(self, task: int, unique_id: str, updated_at: str, user: int = 5) -> None:
        result = [{"type": "pairwise", "from_name": "preferred", "value": {"selected": "left"}}]
        annotation = {"unique_id": unique_id, "completed_by": user, "updated_at": updated_at, "result": result}
        (found,) = [each for each in self.tasks if each["id"] == task]
        found["annotations"].append(annotation | {"lead_time": 4.2})
        found["updated_at"] = updated_at

    def asked(self) -> dict[str, list[str]]:
        """Comparisons by the title of the project."""
        titles = {project["id"]: project["title"] for project in self.projects}
        found: dict[str, list[str]] = {}
        for task in self.tasks:
            found.setdefault(titles[task["project"]], []).append(task["data"]["comparison_id"])
        return found


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setenv("CROWD_LABEL_STUDIO_TOKEN", PERSONAL_TOKEN)
    fake = FakeServer()
    thread = threading.Thread(target=fake.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield fake
    fake.http.shutdown()
    fake.http.server_close()
    thread.join()


@pytest.fixture
def resources(tmp_path: Path, server: FakeServer) -> Resources:
    return build_resources(CrowdSettings(home=str(tmp_path), label_studio_url=server.url))


def publish(resources: Resources, round_id: str, *numbers: int) -> None:
    rows = [
        {"comparison_id": f"{round_id}-{number}", "prompt": "p", "response_a": f"a{number}", "response_b": "b"}
        for number in numbers
    ]
    resources.outbox.publish("comparison_tasks", round_id, rows)


def assign(resources: Resources, round_id: str, *whose: str | int) -> None:
    """Publish an assignment for each name, or newcomer's seat."""
    rows = [
        {
            "comparison_id": f"{round_id}-{place}",
            "contributor_id": who if isinstance(who, str) else None,
            "seat": who if isinstance(who, int) else None,
            "place": place,
            "prompt": "p",
            "response_a": f"a{place}",
            "response_b": "b",
        }
        for place, who in enumerate(whose, start=1)
    ]
    resources.outbox.publish("assignments", round_id, rows)


def inbox_events(resources: Resources) -> list[dict[str, Any]]:
    return [json.loads(line) for path in resources.inbox.complete_files() for line in path.read_text().splitlines()]


def test_no_comparison_is_sent_twice(resources: Resources, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    publish(resources, "r000001", 1, 2, 3)
    first = send_tasks(resources.label_studio, resources.outbox, resources.inbox)
    assert (first.sent, first.present) == (3, 0)
    publish(resources, "r000002", 1)
    second = send_tasks(resources.label_studio, resources.outbox, resources.inbox)
    assert (second.sent, second.present) == (1, 3)
    names = [task["data"]["comparison_id"] for task in server.tasks]
    assert names == ["r000001-1", "r000001-2", "r000001-3", "r000002-1"]
    assert [(project["title"], project["maximum_annotations"]) for project in server.projects] == [
        ("Comparison tasks", 3)
    ]


def test_a_withdrawn_task_is_deleted_and_not_sent_again(resources: Resources, server: FakeServer) -> None:
    task = {"data": {"comparison_id": "c1"}}
    resources.label_studio.fill([task, {"data": {"comparison_id": "c2"}}], "<View/>", "comparison_id")
    filled = resources.label_studio.fill([task], "<View/>", "comparison_id", withdrawn=["c1", "c9"])
    assert (filled.sent, filled.withdrawn) == (0, 1)
    filled = resources.label_studio.fill([task], "<View/>", "comparison_id", withdrawn=["c1"])
    assert [each["data"]["comparison_id"] for each in server.tasks] == ["c2"]
    assert filled.sent == 0


def test_an_assignment_reaches_its_person_alone_and_a_newcomer_gets_a_seat(
    resources: Resources, server: FakeServer
) -> None:
    server.users = [1, 5, 6, 9]
    assign(resources, "r000002", "label-studio-6", 1, "bo", "label-studio-6", 2, 1)
    sent = send_assignments(resources.label_studio, resources.outbox, resources.inbox)
    assert (sent.people, sent.sent) == (3, 5)
    assert server.asked() == {
        "Comparison tasks, user 5": ["r000002-2", "r000002-6"],
        "Comparison tasks, user 6": ["r000002-1", "r000002-4"],
        "Comparison tasks, user 9": ["r000002-5"],
    }
    of_five = server.projects[0]
    assert (of_five["maximum_annotations"], of_five["description"]) == (
        1,
        "For 5@example.org alone: answers of others here are not counted.",
    )
    assert send_assignments(resources.label_studio, resources.outbox, resources.inbox).sent == 0
    server.annotate(1, "u1", "2026-11-21T12:10:00Z", user=5)
    assert pull_judgements(resources.label_studio, resources.inbox, None).events == 1
    (event,) = inbox_events(resources)
    assert (event["comparison_id"], event["contributor_id"], event["lead_time"]) == ("r000002-2", "label-studio-5", 4.2)
    assign(resources, "r000003", "label-studio-6")  # the last round's hold, and what was answered stays
    again = send_assignments(resources.label_studio, resources.outbox, resources.inbox)
    assert (again.people, again.sent, again.withdrawn) == (1, 1, 4)
    assert server.asked() == {"Comparison tasks, user 5": ["r000002-2"], "Comparison tasks, user 6": ["r000003-1"]}


def test_who_signs_up_later_is_asked_with_the_next_look(resources: Resources, server: FakeServer) -> None:
    assign(resources, "r000001", 1, 1)
    look = (resources.label_studio, resources.outbox, resources.inbox)
    cursor, said = exchange(*look, None)
    assert said == "0 assignments sent to 0 people; 0 judgements pulled"
    assert exchange(*look, cursor)[1] == "0 judgements pulled"
    server.users.append(4)
    assert exchange(*look, cursor)[1] == "2 assignments sent to 1 people; 0 judgements pulled"


def test_where_only_assignments_count_nobody_is_asked_anything_else(resources: Resources, server: FakeServer) -> None:
    publish(resources, "r000001", 1, 2)
    only = resources.label_studio.model_copy(update={"shared": False})
    assert send_tasks(only, resources.outbox, resources.inbox).sent == 2, "nothing is assigned yet"
    server.annotate(2, "u1", FIRST)
    assign(resources, "r000001", 1)
    filled = send_tasks(only, resources.outbox, resources.inbox)
    assert (filled.sent, filled.withdrawn) == (0, 1)
    assert server.asked() == {"Comparison tasks": ["r000001-2"]}
    settings = CrowdSettings(home=str(resources.inbox.root), label_studio_url=server.url)
    required = settings.model_copy(update={"assignments": "required"})
    assert [build_resources(each).label_studio.shared for each in (settings, required)] == [True, False]


def test_an_annotation_is_pulled_once(resources: Resources, server: FakeServer) -> None:
    publish(resources, "r000001", 1, 2)
    send_tasks(resources.label_studio, resources.outbox, resources.inbox)
    assert pull_judgements(resources.label_studio, resources.inbox, None).events == 0
    server.annotate(1, "u1", "2026-11-21T12:10:00Z")
    pulled = pull_judgements(resources.label_studio, resources.inbox, None)
    again = pull_judgements(resources.label_studio, resources.inbox, pulled.until)
    assert (pulled.events, again.events) == (1, 1)  # not ingested yet: the same file again
    assert [event["event_id"] for event in inbox_events(resources)] == ["label-studio-u1"]
    resources.inbox.ingest()
    server.annotate(1, "u2", "2026-11-21T12:20:00Z", user=6)
    pulled = pull_judgements(resources.label_studio, resources.inbox, pulled.until)
    assert [(event["contributor_id"], event["comparison_id"]) for event in inbox_events(resources)] == [
        ("label-studio-6", "r000001-1")
    ]
    resources.inbox.ingest()
    assert pull_judgements(resources.label_studio, resources.inbox, pulled.until).events == 0
    assert pull_judgements(resources.label_studio, resources.inbox, None).events == 0


def test_what_becomes_visible_late_is_not_missed(resources: Resources, server: FakeServer) -> None:
    publish(resources, "r000001", 1, 2)
    send_tasks(resources.label_studio, resources.outbox, resources.inbox)
    server.annotate(1, "u1", "2026-11-21T12:10:00Z")
    until = pull_judgements(resources.label_studio, resources.inbox, None).until
    resources.inbox.ingest()
    server.annotate(2, "late", "2026-11-21T12:09:00Z")
    assert pull_judgements(resources.label_studio, resources.inbox, until).events == 1
    server.annotate(2, "too late", "2026-11-21T11:00:00Z")
    resources.inbox.ingest()
    assert pull_judgements(resources.label_studio, resources.inbox, until).events == 0


def test_the_file_in_the_inbox_names_nobody_where_there_is_a_key(
    resources: Resources, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key of a test that is long")
    publish(resources, "r000001", 1)
    send_tasks(resources.label_studio, resources.outbox, resources.inbox)
    server.annotate(1, "u1", FIRST)
    pull_judgements(resources.label_studio, resources.inbox, None)
    (event,) = inbox_events(resources)
    resources.inbox.ingest()
    (stored,) = resources.warehouse.query("SELECT contributor_id FROM event_index")["contributor_id"]
    assert event["contributor_id"].startswith("p-"), "a keyed hash, which the home draws a pseudonym for"
    assert stored.startswith("p-")


def test_the_sensor_goes_on_where_it_was(resources: Resources, server: FakeServer) -> None:
    publish(resources, "r000001", 1)
    sensor = label_studio_sensor(exchange, running=True)
    cursor = None
    said = []
    for _ in range(2):
        with build_sensor_context(
            instance=DagsterInstance.ephemeral(),
            cursor=cursor,
            resources={name: getattr(resources, name) for name in ("label_studio", "outbox", "inbox")},
        ) as context:
            result = sensor(context)
            assert isinstance(result, SkipReason)
            said.append(result.skip_message)
            cursor = context.cursor
    assert said == ["1 tasks sent, 0 were there; 0 judgements pulled", "0 judgements pulled"]
    assert PERSONAL_TOKEN not in (cursor or "")
    other = exchange(
        resources.label_studio.model_copy(update={"project": "Other"}),
        resources.outbox,
        resources.inbox,
        cursor,
    )
    assert "tasks sent" in other[1]


def test_the_sensor_runs_by_itself_only_where_there_is_a_server(tmp_path: Path) -> None:
    with_server = CrowdSettings(home=str(tmp_path), label_studio_url="http://127.0.0.1:1")
    for settings, running in ((with_server, "RUNNING"), (CrowdSettings(home=str(tmp_path)), "STOPPED")):
        (found,) = [each for each in build_definitions(settings).sensors or () if each.name == "label_studio_sensor"]
        assert found.default_status.value == running  # type: ignore[union-attr]


def test_access_that_ends_is_asked_for_again(resources: Resources, server: FakeServer) -> None:
    server.access_lasts = 2
    publish(resources, "r000001", 1)
    assert send_tasks(resources.label_studio, resources.outbox, resources.inbox).sent == 1
    assert server.access > 1


def test_a_wrong_token_is_named_and_not_shown(
    resources: Resources, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for token in ("header.wrong.signature", "0123456789abcdef0123456789abcdef01234567"):
        monkeypatch.setenv("CROWD_LABEL_STUDIO_TOKEN", token)
        with pytest.raises(LabelStudioError, match="CROWD_LABEL_STUDIO_TOKEN") as refused:
            resources.label_studio.annotated(None)
        assert token not in str(refused.value)
    monkeypatch.delenv("CROWD_LABEL_STUDIO_TOKEN")
    with pytest.raises(LabelStudioError, match="is not set"):
        resources.label_studio.annotated(None)


def test_the_token_goes_to_no_other_place(resources: Resources, server: FakeServer) -> None:
    other = FakeServer()
    threading.Thread(target=other.http.handle_request, daemon=True).start()
    server.redirect_to = f"{other.url}/api/token/refresh/"
    with pytest.raises(LabelStudioError, match="302"):
        resources.label_studio.annotated(None)
    assert other.requests == []
    other.http.server_close()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1", "http://", "http://user:word@127.0.0.1", "ls"]
)
def test_only_addresses_of_servers_are_asked(resources: Resources, url: str) -> None:
    with pytest.raises(LabelStudioError, match="CROWD_LABEL_STUDIO_URL"):
        resources.label_studio.model_copy(update={"url": url}).annotated(None)


def test_a_server_that_is_not_there_is_an_error_in_words(resources: Resources) -> None:
    with pytest.raises(LabelStudioError, match="is Label Studio running"):
        resources.label_studio.model_copy(update={"url": "http://127.0.0.1:9"}).annotated(None)
