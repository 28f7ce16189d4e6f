"""The inbox sensor: complete files are ingested as they arrive, a bounded batch a run.

Belongs here: noticing files, and saying how many wait. Does not belong here: reading them.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)
from upath import UPath

from resources.feedback.arrivals import backlog, publish_backlog
from resources.feedback.inbox import InboxResource, OutboxResource
from resources.settings.settings import CrowdSettings
from sensors import BATCH_TAG, INGESTION_JOB
from sensors.rounds import ACTIVE

LONGEST_BATCH = timedelta(minutes=10)
"""After this an ingestion that has not ended holds up no other: its process may be gone without a word."""


def inbox_run_key(files: Sequence[tuple[str, int, float]]) -> str:
    """A key that changes when a file arrives or changes: from paths, sizes in bytes and times of modification."""
    return hashlib.blake2b(repr(sorted(files)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def inbox_sensor() -> SensorDefinition:
    """Requests an ingestion of one batch for each new state of the inbox, one after the other."""

    @sensor(
        name="inbox_sensor",
        job_name=INGESTION_JOB,
        minimum_interval_seconds=10,
        default_status=DefaultSensorStatus.RUNNING,
        description="Ingests feedback files that have their final name, CROWD_INGEST_FILES and CROWD_INGEST_MIB a run, and says "
        "in backlog.json of the outbox how much waits.",
    )
    def evaluate(
        context: SensorEvaluationContext, settings: CrowdSettings, inbox: InboxResource, outbox: OutboxResource
    ) -> RunRequest | SkipReason:
        files = inbox.arrived()
        now = datetime.now(UTC)
        publish_backlog(UPath(outbox.root), backlog(files, settings.backlog_mib, now), now)
        if not files:
            return SkipReason("the inbox is empty")
        at_it = RunsFilter(job_name=INGESTION_JOB, statuses=ACTIVE, updated_after=now - LONGEST_BATCH)
        if context.instance.get_runs(at_it, limit=1):
            return SkipReason(f"{len(files)} files wait, and an ingestion is running")
        key = inbox_run_key([(each.name, each.size, each.modified.timestamp()) for each in files])
        return RunRequest(run_key=key, tags={BATCH_TAG: "1"})

    return evaluate
