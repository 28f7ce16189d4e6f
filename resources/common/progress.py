"""Progress of long work: a bar in a terminal, and everywhere a line every few seconds, with the time left.

Belongs here: bars and throttled lines. Does not belong here: what is being done.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES, MOST_SECONDS_BETWEEN_LINES, RARER = 5.0, 60.0, 1.5
FIRST_STEPS = 2  # which take longer than those that follow, and tell nothing of how long these take


class _Terminal:
    """The bar at the bottom of the terminal, where there is one, and whether a line is being said beside it."""

    bars: "Progress | None" = None
    task: "TaskID | None" = None
    what = ""
    beside_a_bar = False

    def show(self, what: str, done: float, total: float, note: str) -> None:
        """One bar at a time: work that ended early, or failed, leaves none behind."""
        if self.bars is None:
            return
        if self.task is None or self.what != what:
            self.clear()
            self.what, self.task = what, self.bars.add_task(what, total=total, note=note)
        self.bars.update(self.task, completed=done, total=total, note=note)
        if done >= total:
            self.clear()

    def clear(self) -> None:
        if self.bars is not None and self.task is not None:
            self.bars.remove_task(self.task)
        self.task, self.what = None, ""


_terminal = _Terminal()


@contextmanager
def bars(console: "Console") -> Iterator[None]:
    """While inside, :func:`throttled` draws bars at the bottom of a terminal; where ``console`` is none, nothing is drawn."""
    if not console.is_terminal:
        yield
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with _past_capture(console) as terminal, Progress(*columns, console=terminal, transient=True) as shown:
        _terminal.bars = shown
        try:
            yield
        finally:
            _terminal.clear()
            _terminal.bars = None


@contextmanager
def _past_capture(console: "Console") -> Iterator["Console"]:
    """A console on the same terminal that Dagster's capture of a step's output does not reach: it would keep every frame of a
    bar, and show it late."""
    from rich.console import Console

    try:
        number = console.file.fileno()
    except OSError:  # it is no file of the system
        yield console
        return
    with os.fdopen(os.dup(number), "w", encoding="utf-8") as file:
        yield Console(file=file, force_terminal=True, highlight=False, soft_wrap=True)


def is_shown_as_a_bar() -> bool:
    """True while a line is said whose bar the terminal shows: a terminal need not print the line as well."""
    return _terminal.beside_a_bar


def throttled(what: str, say: Callable[[str], None], unit: str = "") -> Callable[..., None]:
    """A callback ``(done, total, note="")`` that shows how far ``what`` is: as a bar inside of :func:`bars`, and by ``say``
    in a line after five seconds, then rarer and rarer up to once a minute, with the time left from the third step on. What took
    so long that lines were said ends with one that says how long."""
    started = last = time.monotonic()
    pause, steps = SECONDS_BETWEEN_LINES, 0
    since, done_then = started, 0.0

    def progress(done: float, total: float, note: object = "") -> None:
        nonlocal last, pause, steps, since, done_then
        shown = f"{note:.3f}" if isinstance(note, float) else str(note)
        _terminal.show(what, done, total, shown)
        now = time.monotonic()
        steps += 1
        if steps == FIRST_STEPS:
            since, done_then = now, done
        ended = done >= total and pause > SECONDS_BETWEEN_LINES
        if (now - last < pause and not ended) or not done:
            return
        last, pause = now, min(pause * RARER, MOST_SECONDS_BETWEEN_LINES)
        left = ""
        if ended:
            left = f", done in {_duration(now - started)}"
        elif steps > FIRST_STEPS and done > done_then:
            left = f", {_duration((now - since) / (done - done_then) * (total - done))} left"
        _terminal.beside_a_bar = _terminal.bars is not None
        try:
            say(f"{what}: {done:,} of {total:,}{f' {unit}' if unit else ''}{left}{f' ({shown})' if shown else ''}")
        finally:
            _terminal.beside_a_bar = False

    return progress


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"
