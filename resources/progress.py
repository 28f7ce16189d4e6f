"""Progress of long work, as lines: one every few seconds, with the time left.

Belongs here: throttling. Does not belong here: what is being done.
"""

import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 5.0


def throttled(what: str, say: Callable[[str], None]) -> Callable[..., None]:
    """A callback ``(done, total, note="")`` that says how far ``what`` is, at most every five seconds."""
    started = time.monotonic()
    last = started

    def progress(done: int, total: int, note: object = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES or not done:
            return
        last = now
        left = (now - started) / done * (total - done)
        shown = f"{note:.3f}" if isinstance(note, float) else str(note)
        say(f"{what}: {done} of {total}, about {left:.0f} s left{f' ({shown})' if shown else ''}")

    return progress
