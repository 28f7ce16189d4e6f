"""How a home is doing: what waits, what runs, what the last round came to, and whether all is well.

Belongs here: gathering the status from the warehouse, Dagster's storage and the disk without waiting for a lock, and printing the
status. Does not belong here: acting on a status (see ``sensors``).
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crowd_assets.terminal.printing import console, harmless
from resources.feedback.strangers import Stranger, never_read, waiting
from resources.home.identity import uuid_of
from resources.home.instance import dagster_home as instance_of
from resources.home.names import HOME_TAG, ROUND_TAG
from resources.home.space import free_mib
from resources.home.waiting import Waiting, what_waits
from resources.rounds.attempts import INGESTION, Attempt, known_attempts, known_unfinished, not_before
from resources.rounds.claims import PendingFeedback, Round, open_round, pending_feedback, round_quorum, settled_rounds
from resources.settings.settings import Settings
from resources.tools.run_history import ActiveRun, RunHistory, read_history
from resources.warehouse.facts import PEOPLES_LEDGER
from resources.warehouse.look import Look, look

SILENT = timedelta(
    minutes=30
)  # a run that logs nothing for so long is stuck: training says every few seconds how far it is
DAEMON_SILENT = timedelta(minutes=3)  # daemons say twice a minute that they live
LONGEST_LINE = 160
NAMED = 5  # files of the inbox that are never read


@dataclass(frozen=True)
class Running:
    """A run in progress: its steps, the seconds since its last log line, and that line."""

    run_id: str
    job: str
    round_id: str | None
    status: str
    steps: tuple[str, ...]
    said: str
    silent_s: float | None
    process_is_gone: bool


@dataclass(frozen=True)
class LastRound:
    """Result of the last settled round: target distances on the fresh sample, and the credits and points that the round posted."""

    round_id: str
    status: str
    settled_at: str
    minutes: float
    distance_base: float
    distance_next_base: float
    reduction: float
    winner: str
    alignment_kept: bool
    spent: float
    budget: float
    answers_bought: int
    points_posted: float
    points_provisional: float


@dataclass(frozen=True)
class Finding:
    """One finding about the health of a home: True is well, False is not, None is unknown or does not matter."""

    name: str
    well: bool | None
    words: str


@dataclass(frozen=True)
class Status:
    """Everything that ``status`` says; ``next_round_lacks`` is None where a round is due, ``open_round`` None where no round is open."""

    home: str
    as_of: str
    from_snapshot: bool
    waiting: dict[str, int]
    waiting_contributors: int
    waiting_since: str | None
    inbox_files: int | None
    never_read: dict[str, str]
    waits: list[Waiting]
    next_round_lacks: str | None
    open_round: str | None
    running: list[Running]
    last_round: LastRound | None
    health: list[Finding]

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, default=str)


def status(settings: Settings, dagster_home: Path | None = None) -> Status:
    """How the home of ``settings`` is doing.

    Args:
        dagster_home: Folder of ``dagster.yaml``; None: that of DAGSTER_HOME, or the home's own.

    Raises:
        NothingToReadError: there is no warehouse.
    """
    history = read_history(dagster_home or instance_of(settings))
    home = uuid_of(settings)
    files, strangers = _files(settings), _strangers(settings)
    with look(settings) as found:
        now = datetime.now(UTC)
        begun = open_round(found.connection)
        pending = pending_feedback(found.connection)
        last = settled_rounds(found.connection)
        living = [each for each in known_unfinished(found.connection) if each.lives(now)]
        running = [_running(run, living, now) for run in history.active if run.tags.get(HOME_TAG, home) == home]
        ingestions = known_attempts(found.connection, INGESTION)
        of_round = known_attempts(found.connection, begun.round_id) if begun else []
        return Status(
            home=settings.home,
            as_of=_shown(found.as_of),
            from_snapshot=found.snapshot,
            waiting=_by_kind(found, pending),
            waiting_contributors=pending.contributors,
            waiting_since=_shown(pending.oldest) if pending.oldest else None,
            inbox_files=files,
            never_read={each.name: each.reason for each in strangers},
            waits=what_waits(settings, found.connection, now, files, strangers),
            next_round_lacks=round_quorum(settings).missing(pending, now),
            open_round=begun.round_id if begun else None,
            running=running,
            last_round=_last_round(found, last[-1]) if last else None,
            health=[
                _ledger(found),
                _runs(history, running, begun, of_round, now),
                _ingestion(ingestions, now),
                _rejected(found, settings),
                _disk(settings),
                _daemon(history, now),
            ],
        )


def print_status(found: Status) -> None:
    """Print a status for a person."""
    source = (
        "the snapshot of the last settlement, as another process uses the warehouse"
        if found.from_snapshot
        else "the warehouse"
    )
    console.print(f"[bold]{harmless(found.home)}[/]  {found.as_of} UTC, from {source}\n")
    kinds = ", ".join(f"{number} {kind}s" for kind, number in found.waiting.items()) or "nothing"
    since = f", {found.waiting_contributors} contributors, since {found.waiting_since}" if found.waiting_since else ""
    inbox = f"; {found.inbox_files} files in the inbox" if found.inbox_files else ""
    _line("waiting", f"{kinds}{since}{inbox}")
    for name, reason in list(found.never_read.items())[:NAMED]:
        _line("never read", harmless(f"{name}: {reason}"))
    if len(found.never_read) > NAMED:
        _line("never read", f"{len(found.never_read) - NAMED} more files of the inbox")
    for each in found.waits:
        if each.what != "strangers":
            words = harmless(f"{each.count} {each.what}: {each.why}")
            _line("waits", f"[bold red]{words}[/]" if each.stuck else words)
    lacks = found.next_round_lacks
    after = f" once {found.open_round} is completed" if found.open_round else ""
    _line("next round", f"due{after}" if lacks is None else f"not due: {lacks}")
    for run in found.running:
        _line("running", _said(run))
    if not found.running:
        _line("running", "nothing")
    if found.last_round is None:
        _line("last round", "none yet")
    else:
        _print_round(found.last_round)
    for finding in found.health:
        mark, style = {True: ("ok", "green"), False: ("NOT WELL", "bold red"), None: ("–", "dim")}[finding.well]
        _line(finding.name, f"[{style}]{mark}[/]  {harmless(finding.words)}")


def _line(name: str, words: str) -> None:
    console.print(f"{name:<12}{words}")


def _said(run: Running) -> str:
    where = f", step {', '.join(run.steps)}" if run.steps else ""
    said = f": {run.said}" if run.said else ""
    gone = " (the process of this run is gone)" if run.process_is_gone else ""
    words = f"{run.round_id or run.job} {run.status.lower()}{where}{said}{gone}"
    return harmless(words if len(words) <= LONGEST_LINE else words[: LONGEST_LINE - 1] + "…")


def _print_round(last: LastRound) -> None:
    alignment = "kept" if last.alignment_kept else "left out"
    _line("last round", f"{last.round_id} {last.status}, settled {last.settled_at} after {last.minutes:.0f} min")
    _line(
        "",
        f"target distance {last.distance_base:.3f} → {last.distance_next_base:.3f} ({-last.reduction:+.1%}), "
        f"winner {last.winner}, alignment {alignment}",
    )
    _line(
        "",
        f"{last.spent:.2f} of {last.budget:.2f} credits spent on {last.answers_bought} answers, "
        f"{last.points_posted:.1f} points posted, {last.points_provisional:.1f} provisional",
    )


def _shown(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}"


def _by_kind(found: Look, pending: PendingFeedback) -> dict[str, int]:
    if not pending.events:
        return {}
    rows = found.connection.execute(
        "SELECT kind, count(*) FROM event_index WHERE seq >= $first GROUP BY kind ORDER BY kind",
        {"first": pending.first_seq},
    )
    return dict(rows.fetchall())


def _strangers(settings: Settings) -> list[Stranger]:
    """Files of a local inbox that no ingestion will take."""
    folder = settings.inbox or os.path.join(settings.files or settings.home, "inbox")
    return [] if "://" in folder else list(never_read(folder))


def _files(settings: Settings) -> int | None:
    """Number of files that wait in the inbox; None where the store does not answer at once."""
    folder = settings.inbox or os.path.join(settings.files or settings.home, "inbox")
    if "://" not in folder:  # looked through without what takes long to import
        return sum(1 for _ in waiting(folder))
    from resources.feedback.arrivals import arrived
    from resources.files.storage import StoreUnavailableError, use_object_stores

    use_object_stores(retry_s=0)
    try:
        return len(arrived(settings.inbox_path))
    except (StoreUnavailableError, ImportError):
        return None


def _running(run: ActiveRun, living: list[Attempt], now: datetime) -> Running:
    silent = None if run.last_event is None else round((now - run.last_event).total_seconds(), 1)
    gone = run.status == "STARTED" and not any(each.run_id == run.run_id for each in living)
    return Running(run.run_id, run.job, run.tags.get(ROUND_TAG), run.status, run.steps, run.said, silent, gone)


def _last_round(found: Look, round_: Round) -> LastRound:
    (row,) = found.connection.execute(
        "SELECT r.settings, r.settled_at, base.fresh_distance, winner.fresh_distance, winner.role, winner.group_index, "
        "a.kept, a.fresh_distance, "
        "(SELECT coalesce(sum(payment), 0)::float8 FROM awards WHERE round_no = $n AND awarded), "
        "(SELECT count(*) FROM awards WHERE round_no = $n AND awarded), "
        f"(SELECT coalesce(sum(amount), 0)::float8 FROM {PEOPLES_LEDGER} posted WHERE round_no = $n AND unit = 'point'), "
        "(SELECT coalesce(sum(provisional_points), 0) FROM contributor_estimates JOIN epochs USING (round_no) "
        "WHERE round_no = $n AND NOT closes) "
        "FROM rounds r JOIN alignments a USING (round_no) "
        "JOIN selections base ON base.round_no = $n AND base.role = 'base' "
        "JOIN selections winner ON winner.round_no = $n AND winner.selected WHERE r.round_no = $n",
        {"n": round_.round_no},
    ).fetchall()
    stored, settled_at, base, selected, role, group, kept, aligned, spent, answers, posted, provisional = row
    after = aligned if kept else selected
    return LastRound(
        round_id=round_.round_id,
        status=round_.status,
        settled_at=_shown(settled_at),
        minutes=(settled_at.replace(tzinfo=UTC) - round_.claimed_at).total_seconds() / 60,
        distance_base=base,
        distance_next_base=after,
        reduction=1 - after / base,
        winner="base" if role == "base" else f"group {group}",
        alignment_kept=kept,
        spent=spent,
        budget=float(json.loads(stored)["budget"]),
        answers_bought=answers,
        points_posted=posted,
        points_provisional=provisional,
    )


def _ledger(found: Look) -> Finding:
    uneven = found.connection.execute(
        "SELECT unit, sum(amount) FROM ledger GROUP BY unit HAVING sum(amount) <> 0 ORDER BY unit"
    ).fetchall()
    ((entries,),) = found.connection.execute("SELECT count(*) FROM ledger").fetchall()
    words = ", ".join(f"{unit}s sum to {amount}: run crowd-rounds audit" for unit, amount in uneven)
    return Finding("ledger", not uneven, words or f"{entries} entries sum to zero in each unit")


def _runs(
    history: RunHistory, running: list[Running], begun: Round | None, attempts: list[Attempt], now: datetime
) -> Finding:
    if history.unread:
        return Finding("runs", False, history.unread)
    dead = [run.run_id[:8] for run in running if run.process_is_gone]
    silent = [
        run.run_id[:8] for run in running if (run.silent_s or 0) > SILENT.total_seconds() and run.status == "STARTED"
    ]
    if dead:
        return Finding(
            "runs", False, f"the process of {', '.join(dead)} is gone: make round or the daemon repeats the round"
        )
    if silent:
        return Finding("runs", False, f"{', '.join(silent)} has said nothing for {SILENT.total_seconds() / 60:.0f} min")
    if begun and not begun.attempt and not running:
        return Finding(
            "runs",
            True,
            f"{begun.round_id} was claimed by hand: launch the partition of the round in the UI, or call make round",
        )
    if begun and not any(run.round_id == begun.round_id for run in running):
        last = attempts[-1] if attempts else None
        why = f" ({last.reason})" if last and last.reason else ""
        due = not_before(attempts)
        when = f" after {due:%H:%M:%S} UTC" if due and due > now else ""
        return Finding(
            "runs",
            False,
            f"{begun.round_id} is {begun.status} and has no run{why}: make round or the daemon repeats the round{when}",
        )
    return Finding("runs", True, "no run is dead or stuck")


def _ingestion(attempts: list[Attempt], now: datetime) -> Finding:
    """Whether arrived files were taken in, why not, and when the next try is."""
    ended = [each for each in attempts if each.ended_at is not None]
    if not ended:
        return Finding("ingestion", None, "no ingestion yet")
    last = ended[-1]
    if last.outcome == "succeeded" and not last.reason:
        return Finding("ingestion", True, f"all that waited at {_shown(last.ended_at or now)} was taken in")
    due = not_before(attempts)
    when = (
        f"; the next try is after {due:%H:%M:%S} UTC"
        if due and due > now
        else "; the next try is made by the daemon, or by crowd-rounds ingest"
    )
    return Finding("ingestion", False, f"{last.outcome}: {last.reason or 'no reason was given'}{when}")


def _rejected(found: Look, settings: Settings) -> Finding:
    rows = found.connection.execute(
        "SELECT round_id, accepted, v.rejected, v.reason FROM quality_verdicts v JOIN rounds USING (round_no) "
        "ORDER BY round_no DESC LIMIT 1"
    ).fetchall()
    if not rows:
        return Finding("quarantine", None, "no round yet")
    round_id, accepted, rejected, reason = rows[0]
    share = rejected / max(accepted + rejected, 1)
    allowed = f"at most {settings.max_rejected_share:.0%} may be"
    return Finding(
        "quarantine",
        reason is None,
        f"{share:.1%} of the events of {round_id} rejected, {allowed}{f': {reason}' if reason else ''}",
    )


def _disk(settings: Settings) -> Finding:
    place, free = min(free_mib(settings).items(), key=lambda each: each[1])
    enough = free >= settings.least_free_mib
    words = f"{free / 1024:.1f} GiB free" + (
        "" if enough else f" on {place}, and CROWD_LEAST_FREE_MIB={settings.least_free_mib}: no run starts"
    )
    return Finding("disk", enough, words)


def _daemon(history: RunHistory, now: datetime) -> Finding:
    if history.unread:
        return Finding("daemon", None, "nobody knows, as Dagster's history cannot be read")
    if not history.heartbeats:
        return Finding("daemon", None, "never started here: make ui starts the daemon, make round needs none")
    silent = [name for name, beat in sorted(history.heartbeats.items()) if now - beat > DAEMON_SILENT]
    last = max(history.heartbeats.values())
    if len(silent) == len(history.heartbeats):
        return Finding(
            "daemon", None, f"not running since {_shown(last)}: make ui starts the daemon, make round needs none"
        )
    if silent:
        return Finding(
            "daemon", False, f"{', '.join(silent)} silent for more than {DAEMON_SILENT.total_seconds() / 60:.0f} min"
        )
    return Finding("daemon", True, f"said {(now - last).total_seconds():.0f} s ago that the daemon lives")
