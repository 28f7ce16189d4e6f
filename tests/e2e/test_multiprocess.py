"""A round with every step in a process of its own, as CROWD_EXECUTOR=multiprocess runs it."""

import pytest
from dagster import DagsterEventType, DagsterRunStatus

from resources.home.names import ROUND_JOB
from tests.e2e.conftest import FIRST_ROUND, SharedRound

pytestmark = pytest.mark.crash


def test_every_step_of_a_round_has_a_process_of_its_own(shared_round: SharedRound) -> None:
    with shared_round.project.instance() as instance:
        runs = instance.get_runs()
        assert {(run.job_name, run.status) for run in runs} == {(ROUND_JOB, DagsterRunStatus.SUCCESS)}
        workers = {
            run.run_id: instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_WORKER_STARTED) for run in runs
        }
        (run_id,) = [run_id for run_id, started in workers.items() if started]
        steps = {step.step_key for step in instance.get_run_step_stats(run_id)}
    processes: dict[str, str] = {}
    for entry in workers[run_id]:
        event = entry.get_dagster_event()
        assert event.step_key is not None
        processes[event.step_key] = str(event.engine_event_data.metadata["pid"].value)
    assert processes.keys() == steps
    assert {"validated_feedback", "round_report"} < steps
    assert sum(step.startswith("candidate_models.train_candidates[") for step in steps) == 2
    assert len(set(processes.values())) == len(steps)
    assert str(shared_round.multiprocess.process.pid) not in processes.values()
    assert shared_round.project.book.get(FIRST_ROUND).status == "completed"
