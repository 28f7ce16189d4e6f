"""Which process runs a round, as a tag of its run: a run whose process is gone cannot say so itself.

Belongs here: writing and reading that tag. Does not belong here: what follows from it (see ``rounds``).
"""

import socket

import psutil

from sensors import PROCESS_TAG


def process_tags(pid: int) -> dict[str, str]:
    """The tag of a run that the process ``pid`` of this machine executes: host, pid and when the process started."""
    return {PROCESS_TAG: f"{socket.gethostname()}:{pid}:{psutil.Process(pid).create_time():.2f}"}


def is_gone(tag: str) -> bool:
    """True where the tag names a process of this machine that has ended, or whose number another one has now."""
    host, _, process = tag.partition(":")
    if host != socket.gethostname():
        return False
    pid, _, started = process.partition(":")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True
