"""One round, several processes: at the same time, again, and again after a kill; everything is there once."""

import pytest

from sensors import ROUND_JOB
from tests.e2e.conftest import FIRST_ROUND, Project, RunningDagster, SharedRound

pytestmark = pytest.mark.e2e


def _assert_everything_is_there_once(project: Project) -> None:
    (round_,) = project.book.all()
    assert (round_.round_id, round_.status) == (FIRST_ROUND, "completed")
    tables = project.tables()
    for table, rows in tables.items():
        assert rows, table
        assert len(set(rows)) == len(rows), table
    entries = [(account, unit, reason, reference) for _, _, _, account, unit, _, reason, reference in tables["ledger"]]
    assert len(set(entries)) == len(entries)
    sums = project.warehouse.query("SELECT unit, sum(amount) AS total FROM ledger GROUP BY unit")["total"]
    assert [float(total) for total in sums] == [0.0] * sums.len()
    selections = project.warehouse.read_round("selections", 1)
    named = {*selections["model"], *project.warehouse.read_round("alignments", 1)["model"]} - {None}
    assert project.models() == named


def test_two_processes_with_the_same_round_post_it_once(shared_round: SharedRound) -> None:
    _assert_everything_is_there_once(shared_round.project)


def test_a_settled_round_run_again_changes_nothing(shared_round: SharedRound) -> None:
    project = shared_round.project
    tables, files, models = project.tables(), project.files(), project.models()
    project.start_job("again", ROUND_JOB, shared_round.tags).finish(seconds=90)
    assert project.tables() == tables
    assert project.files() == files
    assert project.models() == models


def test_a_killed_round_is_finished_by_the_next_start_as_if_nothing_had_happened(
    project: Project, dagster_dev: RunningDagster, round_by_daemon: str
) -> None:
    killed = project.start_rounds("killed")
    killed.wait_for_line("candidate of group 0:", seconds=60)
    killed.kill()
    claimed = project.book.get(FIRST_ROUND)
    assert (claimed.status, claimed.attempt) == ("claimed", 1)
    assert project.tables()["ledger"] == []

    output = project.start_rounds("finishing").finish(seconds=120)
    assert f"{FIRST_ROUND} is claimed: finishing it first" in output
    assert "(trained before)" in output
    assert project.book.get(FIRST_ROUND).attempt == 2
    _assert_everything_is_there_once(project)
    undisturbed = dagster_dev.project
    tables, expected = project.tables(), undisturbed.tables()
    for table in expected:
        assert tables[table] == expected[table], table
    assert project.models() == undisturbed.models()
