"""The daemon and everything it started die in the middle of a round. What comes next is more than there should be: two daemons,
which see the platform under two names each. The round is settled once, and no run of it fails."""

import pytest
import yaml
from dagster import DagsterRunStatus

from resources.home.names import ROUND_JOB
from tests.e2e.conftest import FIRST_ROUND, Project, Worker, wait_for

pytestmark = pytest.mark.crash

LOCATIONS = ("crowd", "crowd_again")
DAEMONS = 2


def _start_daemon(project: Project, name: str) -> Worker:
    return project.start(name, "dagster._daemon", "run", "-w", "workspace.yaml")


def _name(project: Project, locations: tuple[str, ...]) -> None:
    definitions = {"module_name": "crowd_assets.definitions", "attribute": "definitions"}
    load_from = [{"python_module": definitions | {"location_name": name}} for name in locations]
    (project.folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": load_from}))


def test_daemons_finish_the_round_of_a_killed_one_once(project: Project) -> None:
    _name(project, LOCATIONS[:1])
    killed = _start_daemon(project, "killed")
    project.crowd_sends(1)
    wait_for("the first candidate", lambda: project.models() or None, seconds=120, explain=killed.tail)
    killed.kill()
    assert project.book.get(FIRST_ROUND).status == "claimed"

    _name(project, LOCATIONS)
    finishing = [_start_daemon(project, f"finishing-{number}") for number in range(DAEMONS)]

    def ended() -> list[DagsterRunStatus] | None:
        """How the runs of the round ended, once the round is completed and none is under way."""
        with project.instance() as instance:
            runs = [run for run in instance.get_runs() if run.job_name == ROUND_JOB]
        over = project.book.get(FIRST_ROUND).status == "completed" and all(run.is_finished for run in runs)
        return [run.status for run in runs] if over else None

    statuses = wait_for(
        "the end of the round", ended, seconds=200, explain=lambda: "".join(map(Worker.tail, finishing))
    )
    assert statuses.count(DagsterRunStatus.FAILURE) == 1  # the killed one
    assert set(statuses) == {DagsterRunStatus.FAILURE, DagsterRunStatus.SUCCESS}
    assert project.book.get(FIRST_ROUND).attempt >= 2
    assert len(project.book.all()) == 1
    ledger = project.warehouse.read_round("ledger", 1)
    assert ledger.select("account", "unit", "reason", "reference").is_unique().all()
