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
from resources.feedback.strangers import never_read
from resources.home.identity import uuid_of
from resources.home.names import BATCH_TAG, INGESTION_JOB, STATE_TAG, home_tags, run_key
from resources.home.space import lacking_space
from resources.rounds.attempts import INGESTION, AttemptBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from sensors.decisions import ingestion_waits
from sensors.rounds import ACTIVE

LONGEST_START = timedelta(minutes=10)
"""After this an ingestion that was asked for and has not begun holds up no other."""


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
        context: SensorEvaluationContext,
        settings: CrowdSettings,
        warehouse: WarehouseResource,
        inbox: InboxResource,
        outbox: OutboxResource,
    ) -> RunRequest | SkipReason:
        files = inbox.arrived()
        now = datetime.now(UTC)
        publish_backlog(
            UPath(outbox.root), backlog(files, settings.backlog_mib, now), now, never_read(UPath(inbox.root))
        )
        if not files:
            return SkipReason("the inbox is empty")
        if lacking := lacking_space(settings):
            return SkipReason(f"{len(files)} files wait: {lacking}")
        home = uuid_of(settings)
        begun = RunsFilter(
            job_name=INGESTION_JOB, statuses=ACTIVE, tags=home_tags(home), updated_after=now - LONGEST_START
        )
        attempts = AttemptBook(warehouse, settings.lease_s)
        attempts.note_lost(now)
        state = inbox_run_key([(each.name, each.size, each.modified.timestamp()) for each in files])
        known = {each.run_id for each in attempts.of(INGESTION)}
        if any(run.run_id not in known for run in context.instance.get_runs(begun)):
            return SkipReason(f"{len(files)} files wait, and an ingestion is about to begin")
        of_state = RunsFilter(job_name=INGESTION_JOB, tags={STATE_TAG: state, **home_tags(home)})
        for run in context.instance.get_runs(of_state, limit=1):
            if run.run_id not in known:  # it ended before it took its lease, and its key is used up
                attempts.note_ended(run.run_id, INGESTION, 0, f"run {run.run_id} ended before any work began")
        before = attempts.of(INGESTION)
        if waits := ingestion_waits(before, state, now):
            return SkipReason(f"{len(files)} files wait, and {waits}")
        # The state alone would be used up by a run that failed, or that could not read one of the files.
        tried = before[-1].run_id if before else ""
        return RunRequest(
            run_key=run_key(home, state, tried), tags={BATCH_TAG: "1", STATE_TAG: state, **home_tags(home)}
        )

    return evaluate
