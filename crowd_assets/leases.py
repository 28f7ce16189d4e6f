"""Executors that hold the lease of their run's attempt: whoever looks knows whether a run lives, wherever its machine is.

Belongs here: the executor around another one, and what an attempt is of. Does not belong here: leases (see
``resources.rounds.attempts``), what follows from a lost one (see ``sensors.rounds``).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterRun, Executor, ExecutorDefinition, InitExecutorContext

from resources.home.names import ATTEMPT_TAG, INGESTION_JOB, STATE_TAG, TAKEN_IN
from resources.rounds.attempts import INGESTION, AttemptBook, Ending
from resources.settings.resource import CrowdSettings
from resources.tools.dagster_private import PARTITION_TAG, requirements_of
from resources.warehouse.base import WarehouseResource


def lease_of(
    run_id: str, job: str, tags: dict[str, str], warehouse: WarehouseResource, settings: CrowdSettings
) -> AbstractContextManager[Ending]:
    """The lease of a run's attempt: of its round, of ingestion, or of its job."""
    subject = INGESTION if job == INGESTION_JOB else tags.get(PARTITION_TAG, job)
    attempt = int(tags.get(ATTEMPT_TAG, 0))
    return AttemptBook(warehouse, settings.lease_s).lease(run_id, subject, attempt, state=tags.get(STATE_TAG, ""))


def note_failure(ending: Ending, event: DagsterEvent) -> None:
    """Note the error of a step that failed: what its cause is says whether trying again helps; and what an ingestion left."""
    if event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
        evaluation = event.asset_check_evaluation_data
        if evaluation.check_name == TAKEN_IN and not evaluation.passed:
            ending.reason = evaluation.description or ""
    if event.event_type != DagsterEventType.STEP_FAILURE:
        return
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:  # Dagster wraps what a step raised
        error = error.cause
    if error is None:
        ending.failed("Failure", event.message or "")
    else:
        ending.failed(error.cls_name or "Exception", error.message.partition(":")[2].strip() or error.message)


def leased(inner: ExecutorDefinition, warehouse: WarehouseResource, settings: CrowdSettings) -> ExecutorDefinition:
    """``inner``, holding the lease of the run's attempt while it executes."""

    def create(context: InitExecutorContext) -> Executor:
        return _Leased(inner.executor_creation_fn(context), warehouse, settings)  # type: ignore[misc]

    return ExecutorDefinition(
        name=inner.name,
        config_schema=inner.config_schema,  # type: ignore[arg-type]
        requirements=requirements_of(inner),
        executor_creation_fn=create,
        description=inner.description,
    )


class _Leased(Executor):
    def __init__(self, inner: Executor, warehouse: WarehouseResource, settings: CrowdSettings) -> None:
        self._inner, self._warehouse, self._settings = inner, warehouse, settings

    @property
    def retries(self) -> Any:
        return self._inner.retries

    @property
    def step_dependency_config(self) -> Any:
        return self._inner.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[DagsterEvent]:
        run: DagsterRun = plan_context.dagster_run
        with lease_of(run.run_id, run.job_name, dict(run.tags), self._warehouse, self._settings) as ending:
            for event in self._inner.execute(plan_context, execution_plan):
                note_failure(ending, event)
                yield event
