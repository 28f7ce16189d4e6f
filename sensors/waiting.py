"""The waiting sensor: what waits and why, as a check of ``raw_feedback`` in the UI, whether a run says so or not.

Belongs here: looking and reporting. Does not belong here: what waits (see ``resources.home.waiting``).
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from upath import UPath

from resources.feedback.inbox import InboxResource
from resources.feedback.strangers import never_read
from resources.home.names import NOTHING_STUCK
from resources.home.waiting import Waiting, what_waits
from resources.rounds.attempts import INGESTION, known_attempts
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource


def waiting_now(settings: CrowdSettings, warehouse: WarehouseResource, inbox: InboxResource) -> list[Waiting]:
    """What waits in a home at this moment."""
    files, strangers = len(inbox.arrived()), never_read(UPath(inbox.root))
    with warehouse.connect() as connection:
        return what_waits(settings, connection, datetime.now(UTC), files, strangers)


def said(waiting: Sequence[Waiting]) -> str:
    """What waits, in words."""
    return "; ".join(f"{each.count} {each.what}: {each.why}" for each in waiting) or "nothing waits"


def waiting_sensor() -> SensorDefinition:
    """Reports what waits as a check of ``raw_feedback``, whenever it is something else than before, or an ingestion has said something
    else meanwhile: while it runs, files wait for its own end."""

    @sensor(
        name="waiting_sensor",
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description="Says in the check nothing_is_stuck of raw_feedback what waits and why; the check warns where somebody has to act.",
    )
    def evaluate(
        context: SensorEvaluationContext,
        settings: CrowdSettings,
        warehouse: WarehouseResource,
        inbox: InboxResource,
    ) -> SensorResult | SkipReason:
        waiting = waiting_now(settings, warehouse, inbox)
        words = said(waiting)
        with warehouse.connect() as connection:
            last = [(each.run_id, each.ended_at) for each in known_attempts(connection, INGESTION)[-1:]]
        state = hashlib.blake2b(f"{words} {last}".encode("utf-8", "replace"), digest_size=16).hexdigest()
        if state == context.cursor:
            return SkipReason(words)
        evaluation = AssetCheckEvaluation(
            check_name=NOTHING_STUCK,
            asset_key=AssetKey("raw_feedback"),
            passed=not any(each.stuck for each in waiting),
            severity=AssetCheckSeverity.WARN,
            description=words,
            metadata={each.what: each.count for each in waiting},
        )
        return SensorResult(asset_events=[evaluation], cursor=state, skip_reason=words)

    return evaluate
