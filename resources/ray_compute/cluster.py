"""The Ray cluster: connecting to it, and running calls there as tasks that outlive their nodes.

Belongs here: addresses, resources of tasks, waiting, progress. Does not belong here: what a task does (see ``tasks``).
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from dagster_ray import RayResource
from pydantic import Field

from resources.common.errors import OperatorError

Progress = Callable[[Any, Any, Any], None]
SECONDS_BETWEEN_LOOKS = 1.0
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0: a node listens on 127.0.0.1, on Linux as on macOS


class NoClusterError(OperatorError, ConnectionError):
    """No Ray cluster answers at CROWD_RAY_ADDRESS."""


class UnmeetableError(OperatorError, RuntimeError):
    """No node of the cluster has what one task asks for."""


class LostTaskError(OperatorError, RuntimeError):
    """A task ended with its process or node, more often than it may be tried again."""


class RayCluster(RayResource):
    """Where tasks run. With ``Lifecycle(connect=False)`` a process connects when it first has one; it disconnects when its run or
    step ends."""

    address: str = Field(
        default="", description="auto, host:port or ray://host:port; empty: a cluster of this process."
    )
    cpus: float = Field(default=1, description="CPUs of a task.")
    gpus: float = Field(default=0, description="GPUs of a task.")
    memory_gib: float = Field(default=0, description="Memory of a task, in GiB; 0: not asked for.")
    tasks: int = Field(default=0, description="Tasks that work is split into; 0: as many as there is room for.")
    retries: int = Field(default=3, description="How often a task is run again whose process or node ended.")
    wait_s: float = Field(default=120, description="Longest wait for a cluster, and for a node that a task fits on.")

    @property
    def name(self) -> str:
        return f"Ray at {self.address}" if self.address else "Ray of this process"

    @property
    def host(self) -> str:
        return urlsplit(self.address if "//" in self.address else f"//{self.address}").hostname or "127.0.0.1"

    @property
    def created(self) -> bool:
        return True

    @property
    def ready(self) -> bool:
        return True

    def connect(self, context: Any = None) -> Any:  # type: ignore[override, unused-ignore]  # its context is only for its own log
        """Connect this process, where it is not yet; a cluster of its own is started where no address is set.

        Raises:
            NoClusterError: nothing answers there in time, or not a Ray of this version.
        """
        if not self.address:
            os.environ.setdefault(LOOPBACK_ONLY, "0")  # read when Ray is imported
        import ray

        if ray.is_initialized():
            return self._context  # type: ignore[has-type, unused-ignore]  # without dagster-ray
        logging.getLogger("ray").setLevel(logging.ERROR)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        with _signals_kept():
            if not self.address:
                self._context = ray.init(address="local", include_dashboard=False, **quiet)
                return self._context  # type: ignore[has-type, unused-ignore]  # without dagster-ray
            try:
                self._check_that_something_listens()
                self._context = ray.init(address=self.address, **quiet)
            except (OSError, RuntimeError, ValueError, AssertionError) as problem:
                raise NoClusterError(
                    f"CROWD_RAY_ADDRESS={self.address!r} gives no Ray cluster: {_reason(problem)}. Start one (ray start --head), "
                    "or correct the address; host:port and auto work on its nodes, ray://host:10001 from elsewhere, both with "
                    "the cluster's versions of Python and Ray."
                ) from problem
        return self._context

    def _check_that_something_listens(self) -> None:
        """Ray itself would try for minutes."""
        from ray._private.services import canonicalize_bootstrap_address

        address = self.address.removeprefix("ray://")
        if address == self.address:
            address = canonicalize_bootstrap_address(self.address) or ""
        parts = urlsplit(f"//{address}")
        socket.create_connection((parts.hostname or "", parts.port or 10001), timeout=self.wait_s).close()

    def room(self) -> int:
        """How many tasks fit on the nodes that are alive, were they idle."""
        import ray

        self.connect()
        asked = self.asked()
        return sum(
            int(min(node["Resources"].get(name, 0.0) / amount for name, amount in asked.items()))
            for node in ray.nodes()
            if node["Alive"]
        )

    def asked(self) -> dict[str, float]:
        """What a task asks for, by Ray's names."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_gib * 2**30}
        return {name: amount for name, amount in asked.items() if amount}

    @property
    def at_once(self) -> int:
        """Tasks that work is split into, where that does not ask for more."""
        return self.tasks or self.room()

    def run(
        self,
        what: str,
        function: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        progress: Progress = lambda done, total, note: None,
        processes: int = 1,
    ) -> list[Any]:
        """What ``function(*call, progress=…)`` returns for each call, in their order, each in a task of its own.

        A task whose process or node ends is run again, elsewhere if need be; one that raises is not.

        Args:
            what: Name of the tasks, where Ray shows them.
            function: Of a module, which every node has as this one does.
            progress: Called with done, total and a note about all tasks together, about once a second.
            processes: That a task starts: then it asks for nothing itself, and each of them for what a task does.

        Raises:
            NoClusterError: there is no cluster.
            UnmeetableError: for ``wait_s`` no node of the cluster was one that a task fits on.
            LostTaskError: a task was lost ``retries`` + 1 times.
            Exception: what a task raised.
        """
        if not calls:
            return []
        self.connect()
        import ray
        from ray.exceptions import RayError, RayTaskError

        board: Any = ray.remote(Board).options(num_cpus=0, max_restarts=-1).remote()
        task = ray.remote(in_task).options(
            name=what,
            num_cpus=self.cpus if processes == 1 else 0,
            num_gpus=self.gpus if processes == 1 else 0,
            memory=(self.memory_gib * 2**30 or None) if processes == 1 else None,
            max_retries=self.retries,
            retry_exceptions=False,
        )
        pending = {task.remote(function, call, board, number): number for number, call in enumerate(calls)}
        results: dict[int, Any] = {}
        fitted, shown = time.monotonic(), False
        try:
            while pending:
                finished, _ = ray.wait(list(pending), timeout=SECONDS_BETWEEN_LOOKS)
                for reference in finished:
                    results[pending[reference]] = ray.get(reference)
                    del pending[reference]
                if pending or shown:  # what ends at once is not waited for until its board is there
                    shown = True
                    _show(board, len(calls), results, progress)
                if self.room() >= processes:
                    fitted = time.monotonic()
                elif time.monotonic() - fitted > self.wait_s:
                    raise UnmeetableError(self._unmeetable(processes))
        except RayTaskError as problem:
            if isinstance(problem.cause, OperatorError):
                raise problem.cause from None
            raise
        except RayError as problem:
            raise LostTaskError(
                f"{what}: a task was lost with its process or node {self.retries + 1} times, the last time as "
                f"{_reason(problem)}. Where memory ran out, ask for more by CROWD_RAY_MEMORY_PER_TASK_GIB or lower "
                "CROWD_FUSED_CANDIDATES; where nodes come and go, raise CROWD_RAY_RETRIES."
            ) from problem
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)
            ray.kill(board)
        return [results[number] for number in range(len(calls))]

    def _unmeetable(self, processes: int) -> str:
        import ray

        asked = ", ".join(_amount(name, amount) for name, amount in self.asked().items())
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        there = "; ".join(", ".join(_amount(name, node.get(name, 0.0)) for name in self.asked()) for node in alive)
        return (
            f"a task asks for {f'{processes} times ' if processes > 1 else ''}{asked}, and for {self.wait_s:g} s the Ray cluster has had no room for the task (nodes: {there}). Add nodes, or change CROWD_RAY_CPUS_PER_TASK, "
            "CROWD_RAY_GPUS_PER_TASK or CROWD_RAY_MEMORY_PER_TASK_GIB; CROWD_RAY_WAIT_S is how long to wait for nodes that are "
            "being started."
        )


class Board:
    """An actor that tasks write their progress on."""

    def __init__(self) -> None:
        self.of_tasks: dict[int, tuple[float, float, Any]] = {}

    def write(self, task: int, done: float, total: float, note: Any) -> None:
        self.of_tasks[task] = (done, total, note)

    def read(self) -> dict[int, tuple[float, float, Any]]:
        return self.of_tasks


def evenly(items: int, parts: int) -> list[int]:
    """Sizes of ``parts`` parts, of fewer where there are fewer items, that differ by at most 1."""
    parts = max(1, min(items, parts))
    return [items // parts + (number < items % parts) for number in range(parts)] if items else []


def in_task(function: Callable[..., Any], call: tuple[Any, ...], board: Any, number: int) -> Any:
    """The body of a task: ``function(*call)``, with progress that is written on the board about once a second."""
    last = 0.0

    def progress(done: float, total: float, note: Any = "") -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LOOKS or done >= total:
            last = time.monotonic()
            board.write.remote(number, done, total, note)

    return function(*call, progress=progress)


def _show(board: Any, tasks: int, finished: Container[int], progress: Progress) -> None:
    """Progress of all tasks together; those that have not begun are taken to be as long as the others."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError

    try:
        of_tasks = ray.get(board.read.remote(), timeout=SECONDS_BETWEEN_LOOKS)
    except (GetTimeoutError, RayActorError):  # its node is gone or slow: the work goes on
        return
    if of_tasks:
        done = sum(total if number in finished else done for number, (done, total, _) in of_tasks.items())
        _, totals, notes = zip(*of_tasks.values(), strict=True)
        note = (
            notes[0] if tasks == 1 else f"{len(of_tasks)} of {tasks} tasks begun{f'; {notes[0]}' if notes[0] else ''}"
        )
        progress(done, round(sum(totals) / len(of_tasks) * tasks), note)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; Dagster has it already."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _amount(name: str, amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if name == "memory" else f"{amount:g} {name}"


def _reason(problem: BaseException) -> str:
    return (" ".join(str(problem).split())[:300] or type(problem).__name__).rstrip(".")
