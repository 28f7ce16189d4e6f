"""The whole way with a real Label Studio: outbox, project, people who judge, sensor, inbox, and a round that follows.

Run by ``make test-integration``, which installs the server; other tests talk to one that only answers like it
(``tests/unit/resources/tools/test_label_studio.py``).
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, SkipReason, build_sensor_context
from upath import UPath

from crowd_assets.definitions import build_definitions
from crowd_assets.exporters.exchange import exchange
from crowd_assets.exporters.label_studio import CONFIGURATION
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from resources.feedback.aliases import persons
from resources.home.names import INGESTION_JOB, ROUND_JOB
from resources.settings.resource import CrowdSettings
from sensors.label_studio import label_studio_sensor
from sensors.rounds import next_run, nightly_quorum
from tests.conftest import QUICK
from tests.e2e.label_studio import LabelStudio, User, personal_access_token

pytestmark = pytest.mark.integration

KEY = "a key that only this test knows"
PICKED = {"type": "pairwise", "from_name": "preferred", "to_name": "preferred", "origin": "manual"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    command = Path(os.environ.get("LABEL_STUDIO", "")).absolute()
    if not command.is_file():
        pytest.fail(f"LABEL_STUDIO={command} is no program: run make test-integration")
    with LabelStudio(command, tmp_path_factory.mktemp("label-studio")) as running:
        yield running


class Platform:
    """One home and its jobs, with a Label Studio beside it."""

    def __init__(self, settings: CrowdSettings) -> None:
        self.settings = settings
        self.instance = DagsterInstance.ephemeral()
        self.definitions = build_definitions(settings)
        self.resources = build_resources(settings)
        self.cursor: str | None = None

    def tick(self) -> str:
        """One look of the sensor."""
        needed = {name: getattr(self.resources, name) for name in ("label_studio", "outbox", "inbox", "warehouse")}
        with build_sensor_context(instance=self.instance, cursor=self.cursor, resources=needed) as context:
            result = label_studio_sensor(exchange, running=True)(context)
            assert isinstance(result, SkipReason)
            self.cursor = context.cursor
        return str(result.skip_message)

    def round(self) -> str:
        """Ingest what lies in the inbox and run the round that follows."""
        self._run(INGESTION_JOB)
        request, reason = next_run(
            self.instance, self.resources.warehouse, self.settings, nightly_quorum(self.settings)
        )
        assert request is not None, reason
        self._run(ROUND_JOB, request.partition_key)
        assert request.partition_key is not None
        return request.partition_key

    def crowd_sends(self, round_no: int) -> None:
        SimulatedCrowd("gratitude", self.settings.seed).write_feedback(round_no, UPath(self.settings.inbox_path), [])

    def _run(self, job: str, round_id: str | None = None) -> None:
        config = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
        result = self.definitions.resolve_job_def(job).execute_in_process(
            run_config=config, instance=self.instance, partition_key=round_id
        )
        assert result.success


def _picks(side: str, certainty: int | None = None) -> list[dict[str, object]]:
    results: list[dict[str, object]] = [{**PICKED, "id": "a", "value": {"selected": side}}]
    if certainty is not None:
        about = {"type": "number", "from_name": "certainty", "to_name": "prompt", "origin": "manual", "id": "b"}
        results.append(about | {"value": {"number": certainty}})
    return results


def test_tasks_go_out_judgements_come_back_and_a_round_follows(
    server: LabelStudio, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = server.administrator()
    monkeypatch.setenv("CROWD_LABEL_STUDIO_TOKEN", personal_access_token(owner))
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", KEY)
    quick = {**QUICK, "label_studio_url": server.url, "label_studio_judgements": 2, "quorum_contributors": 2}
    platform = Platform(CrowdSettings(home=str(home), **quick))  # type: ignore[arg-type]
    platform.crowd_sends(1)
    assert platform.round() == "r000001"
    published = {task["comparison_id"]: task for task in platform.resources.outbox.published("comparison_tasks")}
    assert len(published) >= 2

    # The outbox becomes tasks, once.
    nobody = "0 assignments sent to 0 people"  # but the owner of the token nobody has signed up
    assert platform.tick() == f"{len(published)} tasks sent, 0 were there; {nobody}; 0 judgements pulled"
    platform.cursor = None  # as if the daemon's storage was lost
    assert platform.tick() == f"0 tasks sent, {len(published)} were there; {nobody}; 0 judgements pulled"
    (project,) = owner.get("/api/projects/", title="Comparison tasks")["results"]
    assert project["label_config"] == CONFIGURATION
    assert project["maximum_annotations"] == 2
    shown = owner.get("/api/tasks/", project=project["id"])["tasks"]
    assert {task["data"]["comparison_id"]: task["data"] for task in shown} == published

    # People judge.
    first, second = (server.sign_up(f"{name}@example.org") for name in ("bo", "cy"))
    numbers = {task["data"]["comparison_id"]: task["id"] for task in shown}
    expected: dict[tuple[str, str], float] = {}

    def judge(user: User, comparison_id: str, side: str, certainty: int | None, probability_a: float) -> None:
        user.annotate(numbers[comparison_id], *_picks(side, certainty))
        expected[(comparison_id, f"label-studio-{user.number}")] = probability_a

    one, other = list(published)[:2]
    judge(first, one, "left", 90, 0.9)
    assert platform.tick().endswith("to 2 people; 1 judgements pulled"), "newcomers got seats"
    judge(second, one, "right", None, 0.0)
    judge(first, other, "right", 80, 0.2)
    second.post(f"/api/tasks/{numbers[other]}/annotations/", {"result": [], "was_cancelled": True})
    said = platform.tick()
    assert "annotation was skipped by its annotator" in said
    inbox = platform.resources.inbox
    texts = "".join(path.read_text() for path in inbox.complete_files())
    assert "label-studio-1@" not in texts
    assert f'"label-studio-{first.number}"' not in texts

    # A round follows from them.
    platform.crowd_sends(2)
    round_id = platform.round()
    assert round_id == "r000002"
    valid = platform.resources.frames.read("validated_feedback", round_id)
    judgements = valid.filter(valid["comparison_id"].is_in([one, other]))
    got = {
        (row["comparison_id"], row["contributor_id"]): row["probability_a"] for row in judgements.iter_rows(named=True)
    }
    person = persons(platform.resources.warehouse)
    assert got == {(name, person(who)): probability for (name, who), probability in expected.items()}
    assert set(judgements["source"].str.slice(0, 12)) == {"label-studio"}
    aggregated = platform.resources.frames.read("aggregated_preferences", round_id)
    mine = {row["comparison_id"]: row for row in aggregated.iter_rows(named=True) if row["comparison_id"] in numbers}
    assert {name: row["reports"] for name, row in mine.items()} == {one: 2, other: 1}
    assert mine[one]["mean_report"] == pytest.approx(0.45)
    for name, row in mine.items():
        assert {field: row[field] for field in ("prompt", "response_a", "response_b")} == {
            field: published[name][field] for field in ("prompt", "response_a", "response_b")
        }
    weights = platform.resources.warehouse.read_round("labeler_weights", 2)
    assert {person(who) for _, who in expected} <= set(weights["labeler_id"])

    # Round 2 published more tasks; what was pulled and ingested does not come again.
    said = platform.tick()
    assert "tasks sent" in said
    assert "0 judgements pulled" in said
    assert not inbox.complete_files()


def offered(user: User, project: int) -> str | None:
    """The comparison that the project's stream offers a user next."""
    answer = user.session.get(f"{user.url}/api/projects/{project}/next/", timeout=60)
    if answer.status_code == 404:
        return None
    return str(answer.json()["data"]["comparison_id"])


def test_streams_offer_what_is_assigned_and_stop_at_the_most_annotations(
    server: LabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = server.administrator()
    monkeypatch.setenv("CROWD_LABEL_STUDIO_TOKEN", personal_access_token(owner))
    quick = {"label_studio_url": server.url, "label_studio_project": "Streams", "label_studio_judgements": 2}
    resources = build_resources(CrowdSettings(home=str(tmp_path), **quick))  # type: ignore[arg-type]
    look = (resources.label_studio, resources.outbox, resources.inbox)
    people = [server.sign_up(f"{name}@example.org") for name in ("di", "ed", "fay")]
    shown = {"prompt": "p", "response_a": "a", "response_b": "b"}
    resources.outbox.publish("comparison_tasks", "r000001", [{"comparison_id": "r000001-0", **shown}])
    resources.outbox.publish(
        "assignments",
        "r000001",
        [
            {"comparison_id": f"r000001-{at}", "contributor_id": who, "seat": None, "place": at, **shown}
            for at, who in enumerate([f"label-studio-{people[0].number}", f"label-studio-{people[1].number}"], 1)
        ],
    )
    cursor, said = exchange(*look, None)
    assert "2 assignments sent to 2 people" in said
    projects = {each["title"]: each["id"] for each in owner.get("/api/projects/", title="Streams")["results"]}
    own = [projects[f"Streams, user {person.number}"] for person in people[:2]]
    assert f"Streams, user {people[2].number}" not in projects, "nothing is assigned to the third, and there is no seat"

    # The shared task is offered until two have answered it, and to nobody then.
    (task,) = owner.get("/api/tasks/", project=projects["Streams"])["tasks"]
    for person in people[:2]:
        assert offered(person, projects["Streams"]) == "r000001-0"
        person.annotate(task["id"], *_picks("left"))
    assert offered(people[2], projects["Streams"]) is None

    # An assignment is offered in its person's project, and with its answer to nobody any more.
    assert [offered(person, each) for person, each in zip(people, own, strict=False)] == ["r000001-1", "r000001-2"]
    (assigned,) = owner.get("/api/tasks/", project=own[0])["tasks"]
    people[0].annotate(assigned["id"], *_picks("right"))
    assert [offered(person, own[0]) for person in people] == [None, None, None]
    exchange(*look, cursor)
    pulled = [json.loads(line) for path in resources.inbox.complete_files() for line in path.read_text().splitlines()]
    found = {(event["comparison_id"], event["contributor_id"]): event["lead_time"] for event in pulled}
    first, second = (f"label-studio-{person.number}" for person in people[:2])
    assert found == {("r000001-0", first): 4.2, ("r000001-0", second): 4.2, ("r000001-1", first): 4.2}
