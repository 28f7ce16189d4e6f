"""The trace sensors: a run that has ended is sent to whoever collects traces.

Belongs here: noticing runs. Does not belong here: spans: they come from the graph, as a function.
"""

from collections.abc import Callable

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunStatusSensorContext,
    SensorDefinition,
    run_status_sensor,
)

Export = Callable[[DagsterInstance, str], int]


def trace_sensors(export: Export) -> list[SensorDefinition]:
    """One for runs that succeeded, one for runs that failed.

    Args:
        export: takes the instance and the id of a run, returns how many spans it sent.
    """
    return [_sensor(export, status) for status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE)]


def _sensor(export: Export, status: DagsterRunStatus) -> SensorDefinition:
    @run_status_sensor(
        run_status=status,
        name=f"traces_of_{status.value.lower()}",
        default_status=DefaultSensorStatus.RUNNING,
        description="Sends an OpenTelemetry span for each step of a run that has ended: CROWD_TRACES.",
    )
    def evaluate(context: RunStatusSensorContext) -> None:
        sent = export(context.instance, context.dagster_run.run_id)
        context.log.info(f"{sent} spans of {context.dagster_run.run_id}")

    return evaluate
