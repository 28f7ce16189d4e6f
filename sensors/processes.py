"""Which process runs a round, as a tag of its run: a run whose process is gone cannot say so itself.

Belongs here: writing and reading that tag. Does not belong here: what follows from it (see ``rounds``).
"""

import socket
from pathlib import Path

import psutil

from sensors import PROCESS_TAG


def process_tags(pid: int) -> dict[str, str]:
    """The tag of a run that the process ``pid`` of this machine executes: host, pid and when the process started."""
    return {PROCESS_TAG: f"{socket.gethostname()}:{pid}:{_started(psutil.Process(pid))}"}


def is_gone(tag: str) -> bool:
    """True where the tag names a process of this machine that has ended, or whose number another one has now."""
    host, _, rest = tag.partition(":")
    if host != socket.gethostname():
        return False
    pid, _, started = rest.partition(":")
    try:
        process = psutil.Process(int(pid))
        ended = process.status() == psutil.STATUS_ZOMBIE  # in a container whose first process collects none of them
        return ended or _started(process) != started
    except psutil.NoSuchProcess:
        return True


def _started(process: psutil.Process) -> str:
    """When a process started, in clock ticks since the machine did: a time of day would change as the clock is set."""
    try:
        status = Path(f"/proc/{process.pid}/stat").read_text()
    except FileNotFoundError:  # it is gone, or this is no Linux
        return f"{process.create_time():.2f}"
    return status.rpartition(")")[2].split()[19]
