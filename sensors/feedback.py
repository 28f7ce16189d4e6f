"""The inbox sensor: complete files are ingested as they arrive.

Belongs here: noticing files. Does not belong here: reading them.
"""

import hashlib

from dagster import DefaultSensorStatus, RunRequest, SensorDefinition, SensorEvaluationContext, SkipReason, sensor

from resources.inbox import InboxResource
from sensors import INGESTION_JOB


def inbox_run_key(files: list[tuple[str, int, float]]) -> str:
    """A key that changes when a file arrives or changes: from names, sizes in bytes and times of modification."""
    return hashlib.blake2b(repr(sorted(files)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def inbox_sensor() -> SensorDefinition:
    """Requests one ingestion for each new state of the inbox."""

    @sensor(
        name="inbox_sensor",
        job_name=INGESTION_JOB,
        minimum_interval_seconds=10,
        default_status=DefaultSensorStatus.RUNNING,
        description="Ingests feedback files that have their final name.",
    )
    def evaluate(context: SensorEvaluationContext, inbox: InboxResource) -> RunRequest | SkipReason:
        files = []
        for path in inbox.complete_files():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # ingested between listing and asking
            files.append((path.name, int(status.st_size), float(status.st_mtime)))
        if not files:
            return SkipReason("the inbox is empty")
        return RunRequest(run_key=inbox_run_key(files))

    return evaluate
