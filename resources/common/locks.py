"""Locks between processes, with the name of the process that holds one for those who wait in vain.

Belongs here: waiting for a bounded time, and who holds a lock since when. Does not belong here: what is locked, and what to
do about it.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

PATIENCE_S = 5.0
"""A wait that is longer than this is spoken of."""


@contextmanager
def held(
    lock: Path, timeout_s: float, busy: Callable[[str], Exception], waiting: Callable[[str], None] = lambda holder: None
) -> Iterator[None]:
    """Hold ``lock`` while inside; a process that dies lets go of it.

    Args:
        timeout_s: Longest wait, in seconds.
        busy: The error to raise then, from who holds the lock: host, process and since when.
        waiting: Is told who, once the wait has taken ``PATIENCE_S``.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(f"{lock}.holder")
    try:
        taken = FileLock(lock).acquire(timeout=min(PATIENCE_S, timeout_s))
    except Timeout:
        waiting(_who(holder))
        try:
            taken = FileLock(lock).acquire(timeout=max(timeout_s - PATIENCE_S, 0.0))
        except Timeout:
            raise busy(_who(holder)) from None
    with taken:
        holder.write_text(
            f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        )
        yield


def _who(holder: Path) -> str:
    try:
        return holder.read_text() or "a process that just took the lock"
    except FileNotFoundError:
        return "an unknown process"
