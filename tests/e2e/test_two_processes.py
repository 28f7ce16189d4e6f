"""One round, several processes: at the same time, again, and again after a kill; everything is there once."""

import polars as pl
import pytest

from resources.home.names import ROUND_JOB
from tests.e2e.conftest import FIRST_ROUND, Project, RunningDagster, SharedRound

pytestmark = pytest.mark.crash


def _assert_first_round_is_there_once(project: Project) -> None:
    assert project.book.all()[0].status == "completed"
    tables = project.first_round()
    for table, rows in tables.items():
        assert rows, table
        assert len(set(rows)) == len(rows), table
    ledger = project.warehouse.read_round("ledger", 1)
    assert ledger.select("account", "unit", "reason", "reference").is_unique().all()
    assert [float(total) for total in ledger.group_by("unit").agg(pl.col("amount").sum())["amount"]] == [0.0, 0.0]
    models = {*project.warehouse.read_round("selections", 1)["model"]}
    models |= {*project.warehouse.read_round("alignments", 1)["model"]}
    assert models - {None} <= project.models()


def test_two_processes_with_the_same_round_post_it_once(shared_round: SharedRound) -> None:
    _assert_first_round_is_there_once(shared_round.project)
    assert len(shared_round.project.book.all()) == 1
    candidates_and_aligned = 3 + 1
    assert len(shared_round.project.models()) == candidates_and_aligned


def test_a_settled_round_run_again_changes_nothing(shared_round: SharedRound) -> None:
    project = shared_round.project
    tables, files, models = project.first_round(), project.files(), project.models()
    project.start_job("again", ROUND_JOB, shared_round.tags).finish(seconds=90)
    assert project.first_round() == tables
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
    assert project.first_round()["ledger"] == []

    finishing = project.start_rounds("finishing")
    finishing.wait_for_line(f"{FIRST_ROUND} is claimed: finishing that round first", seconds=60)
    finishing.finish(seconds=120)
    assert "(trained before)" in finishing.printed()
    assert project.book.get(FIRST_ROUND).attempt == 2
    _assert_first_round_is_there_once(project)
    undisturbed = dagster_dev.project
    tables, expected = project.first_round(), undisturbed.first_round()
    for table in expected:
        assert tables[table] == expected[table], table
    assert undisturbed.models() == project.models()
    assert len(project.book.all()) == 1
