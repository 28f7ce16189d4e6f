"""Attempts of runs: who is at a round or an ingestion now, by a lease that ends by itself, and how earlier attempts ended.

An attempt holds a lease: its process renews it while it lives, and once it has expired nobody takes the attempt to be going on,
wherever its machine is. On the machine itself a process that is gone is known at once, by the boot it belongs to and its
namespace of process ids, whatever the machine's name is.

Belongs here: leases, outcomes, which causes pass by themselves. Does not belong here: what to do about them (see
``sensors.decisions``).
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from resources.warehouse.base import WarehouseResource
    from resources.warehouse.connection import Connection

INGESTION = "ingestion"
"""What an attempt of an ingestion is of; one of a round is of its id, any other of its job."""
RENEWED = 3  # times in a lease
KEPT = 50  # attempts of one thing that is tried for ever
LONGEST_REASON = 300

Outcome = Literal["succeeded", "failed", "interrupted", "lost"]

TRANSIENT_ERRORS = frozenset(
    {
        "WarehouseBusyError",
        "QualityBusyError",
        "SeedBusyError",
        "WarehouseLostError",
        "WarehouseUnreachableError",
        "ConflictingTransactionsError",
        "StoreUnavailableError",
        "NoClusterError",
        "LostTaskError",
        "UnmeetableError",
        "UnwritableError",
        "NoSpaceError",
        "DagsterExecutionInterruptedError",
        "KeyboardInterrupt",
    }
)
"""Errors whose cause passes without a change of settings, inputs or code: locks, servers, space, a stop from outside."""
TRANSIENT_WORDS = ("No space left on device", "database or disk is full", "Disk quota exceeded", "database is locked")


@dataclass(frozen=True)
class Attempt:
    """One row of the table ``attempts``; instants have a zone.

    Attributes:
        subject: Round id, ``INGESTION`` or the name of a job.
        attempt: Its number, as the round's row counts them.
        holder: Process that has the lease.
        state: Of the inbox, where it is an ingestion.
        outcome: None while it goes on, or where it was lost and nobody has noticed.
        transient: Whether the cause of its failure passes by itself.
    """

    run_id: str
    subject: str
    attempt: int
    holder: str
    state: str
    begun_at: datetime
    renewed_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    outcome: str | None
    transient: bool | None
    reason: str | None

    def lives(self, now: datetime) -> bool:
        """Whether its process is at it, as far as anybody can tell: on this machine whether the process runs, elsewhere whether
        the lease holds.

        A lease that was renewed later than now is of a clock that was set back since: it counts for as long as a lease is.
        """
        if self.ended_at is not None:
            return False
        if (runs := process_runs(self.holder)) is not None:
            return runs
        return now < self.expires_at and self.renewed_at - now < self.expires_at - self.renewed_at

    @property
    def counts(self) -> bool:
        """Whether it is one of those that a round may take at most: a lock, a full disk or a stop from outside is nobody's
        fault."""
        return self.outcome == "lost" or (self.outcome == "failed" and not self.transient)


COLUMNS = (
    "run_id, subject, attempt, holder, state, begun_at, renewed_at, expires_at, ended_at, outcome, transient, reason"
)


def attempts_of(connection: "Connection", subject: str) -> list[Attempt]:
    """All attempts of ``subject``, oldest first."""
    return _read(connection, "WHERE subject = $subject", {"subject": subject})


def unfinished_attempts(connection: "Connection") -> list[Attempt]:
    """Attempts that have not ended, whether they live or not, oldest first."""
    return _read(connection, "WHERE ended_at IS NULL", {})


def known_attempts(connection: "Connection", subject: str) -> list[Attempt]:
    """:func:`attempts_of` for one who only looks: nothing in a home that an earlier version made and nobody has opened since."""
    return attempts_of(connection, subject) if _has_table(connection) else []


def known_unfinished(connection: "Connection") -> list[Attempt]:
    """:func:`unfinished_attempts` for one who only looks."""
    return unfinished_attempts(connection) if _has_table(connection) else []


def _has_table(connection: "Connection") -> bool:
    tables = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'attempts'"
    ).fetchall()
    return bool(tables[0][0])


def _read(connection: "Connection", where: str, parameters: dict[str, Any]) -> list[Attempt]:
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM attempts {where} ORDER BY begun_at, attempt, run_id", parameters
    ).fetchall()
    return [Attempt(*row[:5], *(each and each.replace(tzinfo=UTC) for each in row[5:9]), *row[9:]) for row in rows]


class AttemptBook:
    """Attempts in a warehouse.

    Args:
        lease_s: Seconds without a sign of life after which an attempt counts as lost.
    """

    def __init__(self, warehouse: "WarehouseResource", lease_s: float) -> None:
        self._warehouse = warehouse
        self._lease = timedelta(seconds=lease_s)

    def of(self, subject: str) -> list[Attempt]:
        """All attempts of ``subject``, oldest first."""
        with self._warehouse.connect() as connection:
            return attempts_of(connection, subject)

    def get(self, run_id: str) -> Attempt | None:
        """The attempt of a run; None where it took no lease."""
        with self._warehouse.connect() as connection:
            attempts = _read(connection, "WHERE run_id = $run", {"run": run_id})
        return attempts[0] if attempts else None

    def unfinished(self) -> list[Attempt]:
        """Attempts that have not ended, whether they live or not, oldest first."""
        with self._warehouse.connect() as connection:
            return unfinished_attempts(connection)

    def begin(self, run_id: str, subject: str, attempt: int, *, state: str = "") -> None:
        """Take the lease of an attempt for this process; the same run may begin once more, when its process was replaced."""
        now = _stored(datetime.now(UTC))

        def begin(connection: "Connection") -> None:
            before = [_stored(each.begun_at) for each in attempts_of(connection, subject)][-1:]
            begun = max(
                [now, *(each + timedelta(microseconds=1) for each in before)]
            )  # in order, whatever the clock does
            connection.execute(
                f"INSERT INTO attempts ({COLUMNS}) VALUES ($run, $subject, $attempt, $holder, $state, $begun, $now, $expires, NULL, "
                "NULL, NULL, NULL) ON CONFLICT (run_id) DO UPDATE SET holder = excluded.holder, renewed_at = excluded.renewed_at, "
                "expires_at = excluded.expires_at, ended_at = NULL, outcome = NULL, transient = NULL, reason = NULL",
                {
                    "run": run_id,
                    "subject": subject,
                    "attempt": attempt,
                    "holder": this_process(),
                    "state": state,
                    "begun": begun,
                    "now": now,
                    "expires": now + self._lease,
                },
            )
            old = [each.run_id for each in attempts_of(connection, subject)][:-KEPT]
            if old:
                connection.execute("DELETE FROM attempts WHERE run_id = ANY($old)", {"old": old})

        self._warehouse.atomically(begin)

    def renew(self, run_id: str) -> None:
        """Say that the attempt's process lives."""
        now = _stored(datetime.now(UTC))
        self._warehouse.atomically(
            lambda connection: connection.execute(
                "UPDATE attempts SET renewed_at = $now, expires_at = $expires WHERE run_id = $run AND ended_at IS NULL",
                {"now": now, "expires": now + self._lease, "run": run_id},
            )
        )

    def end(self, run_id: str, outcome: Outcome, *, transient: bool = False, reason: str = "") -> None:
        """Note how an attempt ended, if nobody has before."""
        self._warehouse.atomically(
            lambda connection: connection.execute(
                "UPDATE attempts SET ended_at = $now, outcome = $outcome, transient = $transient, reason = $reason "
                "WHERE run_id = $run AND ended_at IS NULL",
                {
                    "now": _stored(datetime.now(UTC)),
                    "outcome": outcome,
                    "transient": transient,
                    "reason": reason[:LONGEST_REASON],
                    "run": run_id,
                },
            )
        )

    def note_ended(self, run_id: str, subject: str, attempt: int, reason: str) -> None:
        """Note an attempt whose run ended before it came to take its lease."""
        self.begin(run_id, subject, attempt)
        self.end(run_id, "failed", reason=reason)

    def note_lost(self, now: datetime) -> list[Attempt]:
        """Note every attempt as lost that has not ended and does not live; which those were."""
        lost = [each for each in self.unfinished() if not each.lives(now)]
        for each in lost:
            self.end(each.run_id, "lost", reason="its process ended without finishing the run")
        return lost

    @contextmanager
    def lease(self, run_id: str, subject: str, attempt: int, *, state: str = "") -> Iterator["Ending"]:
        """Hold the lease of an attempt while inside, renewed by a thread, and note how the attempt ended.

        An exception that leaves is a failure; else what was noted by :meth:`Ending.failed`, else a success.
        """
        self.begin(run_id, subject, attempt, state=state)
        ending = Ending()
        stop = threading.Event()
        thread = threading.Thread(target=self._keep, args=(run_id, stop), name=f"lease of {subject}", daemon=True)
        thread.start()
        try:
            yield ending
        except GeneratorExit:
            ending.interrupted()
            raise
        except BaseException as problem:
            ending.failed(type(problem).__name__, str(problem))
            raise
        finally:
            stop.set()
            self.end(run_id, ending.outcome, transient=ending.transient, reason=ending.reason)

    def _keep(self, run_id: str, stop: threading.Event) -> None:
        from resources.common.errors import OperatorError

        while not stop.wait(self._lease.total_seconds() / RENEWED):
            try:
                self.renew(run_id)
            except (OperatorError, OSError):  # the next time, or it expires: then another may begin, which is harmless
                continue


class Ending:
    """How an attempt ends: a success, unless something else is said; what is said first counts."""

    def __init__(self) -> None:
        self.outcome: Outcome = "succeeded"
        self.transient = False
        self.reason = ""

    def failed(self, error: str, message: str) -> None:
        """It failed by an error of this class, with this message."""
        if self.outcome != "succeeded":
            return
        self.transient = is_transient(error, message)
        stopped = error in ("DagsterExecutionInterruptedError", "KeyboardInterrupt")
        self.outcome = "interrupted" if stopped else "failed"
        self.reason = " ".join(f"{error}: {message}".split())

    def interrupted(self) -> None:
        """Somebody stopped it."""
        if self.outcome == "succeeded":
            self.outcome, self.transient, self.reason = "interrupted", True, "stopped from outside"


def is_transient(error: str, message: str) -> bool:
    """Whether the cause of an error passes by itself: trying again later helps then, and says nothing about the round."""
    return error in TRANSIENT_ERRORS or any(words in message for words in TRANSIENT_WORDS)


FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=10)


def not_before(attempts: Sequence[Attempt]) -> datetime | None:
    """When the next attempt may begin: after failures later and later; None where the last one succeeded or was lost."""
    failures = 0
    for each in reversed(attempts):
        if each.outcome not in ("failed", "interrupted"):
            break
        failures += 1
    last = attempts[-1] if attempts else None
    if not failures or last is None or last.ended_at is None or last.outcome == "interrupted":
        return None
    return last.ended_at + min(FIRST_PAUSE * 2 ** min(failures - 1, 16), LONGEST_PAUSE)


def this_process() -> str:
    """Boot, namespace of process ids, process id and when the process started: what a process is, whatever its machine is
    called."""
    return f"{_machine()}:{os.getpid()}:{_started(os.getpid())}"


def process_runs(holder: str) -> bool | None:
    """Whether ``holder``, a process of this boot and namespace, runs still; None where it is of another."""
    import psutil

    machine, pid, started = holder.rsplit(":", 2) if holder.count(":") >= 2 else ("", "", "")
    if machine != _machine():
        return None
    try:
        process = psutil.Process(int(pid))
        ended = process.status() == psutil.STATUS_ZOMBIE  # in a container whose first process collects none of them
        return not ended and _started(process.pid) == started
    except psutil.NoSuchProcess:
        return False


@lru_cache(maxsize=1)
def _machine() -> str:
    """This boot and its namespace of process ids; where the system says neither, the machine's address and name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        import socket
        import uuid

        return f"{uuid.getnode():012x}/{socket.gethostname()}"


def _started(pid: int) -> str:
    """When a process started, in clock ticks since the machine did: a time of day would change as the clock is set."""
    import psutil

    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # it is gone, or this is no Linux
        return f"{psutil.Process(pid).create_time():.2f}"
    return status.rpartition(")")[2].split()[19]


def _stored(instant: datetime) -> datetime:
    """As the warehouse keeps an instant: UTC without a zone."""
    return instant.astimezone(UTC).replace(tzinfo=None)
