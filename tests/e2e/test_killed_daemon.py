"""The daemon and everything it started die in the middle of a round: the next daemon finishes that round."""

import pytest

from crowd_assets.campaign import PROJECT
from tests.e2e.conftest import FIRST_ROUND, Project, Worker, wait_for

pytestmark = pytest.mark.e2e


def _start_daemon(project: Project, name: str) -> Worker:
    return project.start(name, "dagster._daemon", "run", "-w", str(PROJECT / "workspace.yaml"))


def test_the_next_daemon_finishes_the_round_of_a_killed_one(project: Project) -> None:
    killed = _start_daemon(project, "killed")
    project.crowd_sends(1)
    wait_for("the first candidate", lambda: project.models() or None, seconds=120, explain=killed.tail)
    killed.kill()
    assert project.book.get(FIRST_ROUND).status == "claimed"

    finishing = _start_daemon(project, "finishing")

    def completed() -> bool:
        return project.book.get(FIRST_ROUND).status == "completed"

    wait_for("the end of the round", completed, seconds=150, explain=finishing.tail)
    assert project.book.get(FIRST_ROUND).attempt == 2
    assert len(project.book.all()) == 1
    ledger = project.warehouse.read_round("ledger", 1)
    assert ledger.select("account", "unit", "reason", "reference").is_unique().all()
