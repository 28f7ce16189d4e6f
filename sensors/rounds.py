"""The round sensor and the nightly schedule: a claimed round, and a run for it, exactly once.

The claim is a transaction of the warehouse; launching is at-least-once and harmless, as every effect of a round is
idempotent. Belongs here: fetching, claiming, requesting. Does not belong here: quorums (see ``resources.rounds.book``) and
retries (see ``decisions``).
"""

from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    schedule,
    sensor,
)
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES
from dagster._core.storage.tags import PARTITION_NAME_TAG

from resources.rounds.book import Quorum, Round, RoundBook
from resources.rounds.claims import round_quorum
from resources.settings.settings import CrowdSettings
from resources.warehouse.base import WarehouseResource
from sensors import PROCESS_TAG, ROUND_JOB, ROUND_TAG, ROUNDS_PARTITION
from sensors.decisions import decide
from sensors.processes import is_gone

ACTIVE = [*IN_PROGRESS_RUN_STATUSES, DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED]
NIGHTLY = "0 2 * * *"


def nightly_quorum(settings: CrowdSettings) -> Quorum:
    """What starts a round at night: whatever there is, from enough contributors."""
    return Quorum(1, settings.quorum_contributors, timedelta(0))


def run_request(round_: Round) -> RunRequest:
    """The run of the present attempt of a round."""
    return RunRequest(
        run_key=f"{round_.round_id}:{round_.attempt}",
        partition_key=round_.round_id,
        tags={ROUND_TAG: round_.round_id, "crowd/attempt": str(round_.attempt)},
    )


def next_run(
    instance: DagsterInstance, warehouse: WarehouseResource, settings: CrowdSettings, quorum: Quorum
) -> tuple[RunRequest | None, str]:
    """The run that is due, if one is, and why or why not; claims a round if none is open.

    The partition of the round is added to ``instance`` before the run is requested.
    """
    book = RoundBook(warehouse)
    report_dead_runs(instance)
    open_round = book.open_round()
    if open_round is None:
        claimed, reason = book.claim(quorum, settings, datetime.now(UTC))
        if claimed is None:
            return None, reason
        add_partition(instance, book, claimed)
        return run_request(claimed), f"claimed {claimed.round_id}"
    runs = instance.get_runs(RunsFilter(job_name=ROUND_JOB, tags={PARTITION_NAME_TAG: open_round.round_id}))
    active = sum(run.status in ACTIVE for run in runs)
    decision = decide(open_round, active, len(runs) - active, settings.max_attempts)
    if decision.action == "wait":
        return None, decision.reason
    if decision.action == "give_up":
        book.skip(open_round.round_no, decision.reason)
        return None, decision.reason
    if decision.action == "retry":
        book.next_attempt(open_round.round_no)
        open_round = book.get(open_round.round_id)
    instance.add_dynamic_partitions(ROUNDS_PARTITION, [open_round.round_id])
    return run_request(open_round), decision.reason


def add_partition(instance: DagsterInstance, book: RoundBook, claimed: Round) -> None:
    """Add the partition of a claimed round, and those of the rounds before where ``instance`` knows none."""
    # An instance that begins with a restored home knows none; one that forgot old rounds need not hear of them again.
    known = instance.get_dynamic_partitions(ROUNDS_PARTITION)
    instance.add_dynamic_partitions(ROUNDS_PARTITION, [each.round_id for each in ([claimed] if known else book.all())])


def report_dead_runs(instance: DagsterInstance) -> None:
    """Mark runs as failed whose process is gone: one that was killed cannot say so, and would keep its place in the queue."""
    for run in instance.get_runs(RunsFilter(statuses=ACTIVE)):
        if not is_gone(run.tags.get(PROCESS_TAG, "")):
            continue
        now = instance.get_run_by_id(run.run_id)
        if now is not None and now.status in ACTIVE:  # else it has just ended as it should
            instance.report_run_failed(run, "its process ended without finishing the run")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)  # else its pool stays taken for good


def round_sensor() -> SensorDefinition:
    """Starts a round when enough feedback has arrived, and starts it again if its run was lost."""

    @sensor(
        name="round_sensor",
        job_name=ROUND_JOB,
        minimum_interval_seconds=10,
        default_status=DefaultSensorStatus.RUNNING,
        description="Starts a round when enough feedback has arrived: CROWD_QUORUM_EVENTS, CROWD_QUORUM_CONTRIBUTORS, "
        "CROWD_LONGEST_WAIT_MINUTES.",
    )
    def evaluate(
        context: SensorEvaluationContext, warehouse: WarehouseResource, settings: CrowdSettings
    ) -> SensorResult | SkipReason:
        request, reason = next_run(context.instance, warehouse, settings, round_quorum(settings))
        return SensorResult(run_requests=[request]) if request else SkipReason(reason)

    return evaluate


def nightly_schedule() -> ScheduleDefinition:
    """Starts a round at night with what there is, if enough contributors took part."""

    @schedule(
        name="nightly_schedule",
        job_name=ROUND_JOB,
        cron_schedule=NIGHTLY,
        execution_timezone="UTC",
        default_status=DefaultScheduleStatus.RUNNING,
        description="At 02:00 UTC, starts a round with whatever has arrived from CROWD_QUORUM_CONTRIBUTORS or more.",
    )
    def evaluate(
        context: ScheduleEvaluationContext, warehouse: WarehouseResource, settings: CrowdSettings
    ) -> RunRequest | SkipReason:
        request, reason = next_run(context.instance, warehouse, settings, nightly_quorum(settings))
        return request or SkipReason(reason)

    return evaluate
