"""The failure sensor: what broke, and where, in a log that the operator reads.

Belongs here: writing that log. Does not belong here: retries (see ``rounds``).
"""

import json
from datetime import UTC, datetime
from pathlib import Path

from dagster import DagsterEventType, DefaultSensorStatus, RunFailureSensorContext, SensorDefinition, run_failure_sensor

from resources.home.names import ROUND_TAG
from resources.settings.resource import CrowdSettings

FAILURES = "failures.jsonl"


def failure_sensor() -> SensorDefinition:
    """Appends one JSON line for each failed run to ``<home>/failures.jsonl``."""

    @run_failure_sensor(
        name="failure_sensor",
        default_status=DefaultSensorStatus.RUNNING,
        description="Writes what broke, and where, to failures.jsonl in the home folder.",
    )
    def evaluate(context: RunFailureSensorContext, settings: CrowdSettings) -> None:
        failures = [
            {
                "step": event.step_key,
                "error": event.step_failure_data.error.to_string() if event.step_failure_data.error else "",
            }
            for event in context.get_step_failure_events()
            if event.event_type == DagsterEventType.STEP_FAILURE
        ]
        line = {
            "at": datetime.now(UTC).isoformat(),
            "run_id": context.dagster_run.run_id,
            "job": context.dagster_run.job_name,
            "round_id": context.dagster_run.tags.get(ROUND_TAG),
            "error": context.failure_event.message,
            "steps": failures,
        }
        # First where the UI shows it: Dagster hands a failure over once, also where the file cannot be written.
        context.log.error(f"{line['job']} {line['round_id'] or ''}: {line['error']}")
        path = Path(settings.home, FAILURES)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    return evaluate
