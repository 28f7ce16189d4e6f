"""Progress is a bar in a terminal and a line now and then elsewhere, and says how much time is left."""

import io

import pytest
from rich.console import Console

from resources.common import progress
from resources.common.progress import bars, is_shown_as_a_bar, throttled


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass when a test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_few_seconds_with_the_time_left(clock: list[float]) -> None:
    lines: list[str] = []
    said = throttled("training", lines.append)
    clock[0] += 20  # what the first step takes, and tells nothing of the others
    for step in range(1, 1201):
        clock[0] += 1
        said(step, 1200, 0.5)
    assert lines[:4] == [
        "training: 1 of 1,200 (0.500)",
        "training: 9 of 1,200, about 20 min left (0.500)",
        "training: 21 of 1,200, about 20 min left (0.500)",
        "training: 38 of 1,200, about 19 min left (0.500)",
    ]
    assert lines[-1] == "training: 1,200 of 1,200, done in about 20 min (0.500)"
    assert len(lines) < 30


def test_units_and_notes_are_said(clock: list[float]) -> None:
    lines: list[str] = []
    said = throttled("ingestion", lines.append, "MiB")
    clock[0] += 6
    said(1.5, 3.0, "7 events")
    assert lines == ["ingestion: 1.5 of 3.0 MiB (7 events)"]


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    written = io.StringIO()
    with bars(Console(file=written)):
        throttled("training", lambda line: None)(1, 2)
    assert written.getvalue() == ""


def test_a_terminal_shows_a_bar_and_is_told_which_lines_it_need_not_print(clock: list[float]) -> None:
    written, lines = io.StringIO(), []
    console = Console(file=written, force_terminal=True, width=100)
    with bars(console):
        said = throttled("training", lambda line: lines.append((line, is_shown_as_a_bar())))
        said(1, 4, "loss 2.0")
        clock[0] += 6
        said(2, 4, "loss 1.5")
        throttled("generation", lambda line: None)(1, 4)  # which training ended early for
        assert not is_shown_as_a_bar()
    assert lines == [("training: 2 of 4 (loss 1.5)", True)]
    assert progress._terminal.bars is None
    assert "generation" in written.getvalue()
