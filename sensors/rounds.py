"""The round sensor and the nightly schedule: a claimed round, and a run for it, exactly once.

The claim is a transaction of the warehouse; launching is at-least-once and harmless, as every effect of a round is
idempotent. Belongs here: fetching, claiming, requesting. Does not belong here: quorums (see ``resources.rounds.book``) and
retries (see ``decisions``).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster import (
    DagsterInstance,
    DagsterRun,
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

from resources.home.identity import uuid_of
from resources.home.instance import FOLDER
from resources.home.names import (
    ATTEMPT_TAG,
    HOME_TAG,
    LEASED_JOBS,
    ROUND_JOB,
    ROUND_TAG,
    home_tags,
    partition_set,
    run_key,
)
from resources.home.space import lacking_space
from resources.rounds.attempts import Attempt, AttemptBook
from resources.rounds.book import Quorum, Round, RoundBook
from resources.rounds.claims import round_quorum
from resources.settings.resource import CrowdSettings
from resources.tools.dagster_private import PARTITION_TAG
from resources.warehouse.base import WarehouseResource
from sensors.decisions import decide

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
ACTIVE = [status for status in DagsterRunStatus if status not in ENDED]
NIGHTLY = "0 2 * * *"


def nightly_quorum(settings: CrowdSettings) -> Quorum:
    """What starts a round at night: whatever there is, from enough contributors."""
    return Quorum(1, settings.quorum_contributors, timedelta(0))


def run_request(round_: Round, home: str) -> RunRequest:
    """The run of the present attempt of a round of a home."""
    return RunRequest(
        run_key=run_key(home, round_.round_id, round_.attempt),
        partition_key=round_.round_id,
        tags={ROUND_TAG: round_.round_id, ATTEMPT_TAG: str(round_.attempt), **home_tags(home)},
    )


def next_run(
    instance: DagsterInstance,
    warehouse: WarehouseResource,
    settings: CrowdSettings,
    quorum: Quorum,
    *,
    patient: bool = True,
) -> tuple[RunRequest | None, str]:
    """The run that is due, if one is, and why or why not; claims a round if none is open.

    The partition of the round is added to ``instance`` before the run is requested.

    Args:
        patient: Whether a pause after a failed attempt is kept; a person who asks for a round does not wait.
    """
    if lacking := lacking_space(settings):
        return None, lacking
    home, now = uuid_of(settings), datetime.now(UTC)
    book, attempts = RoundBook(warehouse), AttemptBook(warehouse, settings.lease_s)
    report_dead_runs(instance, attempts, settings)
    open_round = book.open_round()
    if open_round is None:
        claimed, reason = book.claim(quorum, settings, now)
        if claimed is None:
            return None, reason
        add_partition(instance, book, claimed, home)
        return run_request(claimed, home), f"claimed {claimed.round_id}"
    of_round = {PARTITION_TAG: open_round.round_id, **home_tags(home)}
    runs = instance.get_runs(RunsFilter(job_name=ROUND_JOB, tags=of_round))
    _note_runs_that_never_began(runs, open_round, attempts)
    active = sum(run.status in ACTIVE for run in runs)
    decision = decide(open_round, attempts.of(open_round.round_id), active, settings.max_attempts, now, patient=patient)
    if decision.action == "wait":
        return None, decision.reason
    if decision.action == "give_up":
        book.skip(open_round.round_no, decision.reason)
        return None, decision.reason
    if decision.action == "retry":
        book.next_attempt(open_round.round_no)
        open_round = book.get(open_round.round_id)
    instance.add_dynamic_partitions(partition_set(home), [open_round.round_id])
    return run_request(open_round, home), decision.reason


def add_partition(instance: DagsterInstance, book: RoundBook, claimed: Round, home: str) -> None:
    """Add the partition of a claimed round, and those of the rounds before where ``instance`` knows none."""
    # An instance that begins with a restored home knows none; one that forgot old rounds need not hear of them again.
    known = instance.get_dynamic_partitions(partition_set(home))
    instance.add_dynamic_partitions(
        partition_set(home), [each.round_id for each in ([claimed] if known else book.all())]
    )


def report_dead_runs(instance: DagsterInstance, attempts: AttemptBook, settings: CrowdSettings) -> None:
    """Mark runs of the home as failed whose attempt was lost: a process that was killed cannot say so, and its run would keep
    its place in the queue."""
    now = datetime.now(UTC)
    attempts.note_lost(now)
    for run in _own_active_runs(instance, settings):
        if not _is_dead(instance, run, attempts.get(run.run_id), settings, now):
            continue
        again = instance.get_run_by_id(run.run_id)
        if again is not None and again.status in ACTIVE:  # else it has just ended as it should
            instance.report_run_failed(run, "its process ended without finishing the run")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)  # else its pool stays taken for good


def _own_active_runs(instance: DagsterInstance, settings: CrowdSettings) -> list[DagsterRun]:
    """Runs in progress of the home. In an instance that is the home's own, those that an earlier version began are, too."""
    home = uuid_of(settings)
    runs = instance.get_runs(RunsFilter(statuses=ACTIVE))
    own = Path(instance.root_directory).resolve() == Path(settings.home).resolve() / FOLDER
    return [run for run in runs if run.tags.get(HOME_TAG, home if own or not home else None) == home]


def _is_dead(
    instance: DagsterInstance, run: DagsterRun, attempt: Attempt | None, settings: CrowdSettings, now: datetime
) -> bool:
    """Whether no process is at a run any more: its attempt was lost, or it ended, or should have begun, longer ago than a lease
    lasts, and Dagster has not heard of it."""
    if attempt is not None:
        if attempt.ended_at is None or attempt.outcome == "lost":
            return attempt.outcome == "lost"
        return (now - attempt.ended_at).total_seconds() > settings.lease_s
    record = instance.get_run_record_by_id(run.run_id)
    if run.status != DagsterRunStatus.STARTED or run.job_name not in LEASED_JOBS or record is None:
        return False
    began = record.start_time or record.create_timestamp.timestamp()
    return now.timestamp() - began > settings.lease_s


def _note_runs_that_never_began(runs: Sequence[DagsterRun], open_round: Round, attempts: AttemptBook) -> None:
    """Count runs of the present attempt that ended before they took their lease: their key is used up."""
    known = {each.run_id for each in attempts.of(open_round.round_id)}
    for run in runs:
        ended = run.status not in ACTIVE and run.run_id not in known
        if ended and int(run.tags.get(ATTEMPT_TAG, 0)) == open_round.attempt:
            attempts.note_ended(
                run.run_id, open_round.round_id, open_round.attempt, f"run {run.run_id} ended before any work began"
            )


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
