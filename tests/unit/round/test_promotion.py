"""The operator's command may block a promotion, is run without a shell, and ends with what it started."""

import sys
import time
from pathlib import Path

import pytest

from crowd_assets.round.guard import verdict_rows, with_block
from crowd_assets.round.promotion import BLOCKED, blocked_by_command
from resources.settings.fields import SettingError
from resources.settings.settings import Settings


def asked(command: str, seconds: float = 20.0) -> str:
    settings = Settings(gate_command=command, gate_seconds=seconds)
    return blocked_by_command(
        settings, lambda model: Path("models", model), base=None, candidate="abc", root="the root"
    )


def python(code: str) -> str:
    return f'{sys.executable} -c "{code}" {{candidate}} {{base}} {{root}}'


def test_without_a_command_and_by_exit_status_0_nothing_is_blocked() -> None:
    assert asked("") == ""
    assert asked(python("import sys; sys.exit(sys.argv[1:] != ['models/abc', '', 'the root'])")) == ""


def test_any_other_status_blocks_with_the_last_line_as_its_reason() -> None:
    reason = asked(python("print('first'); print('worse at \\x1b sums'); exit(3)"))
    assert reason == f"{BLOCKED}exit status 3, worse at  sums"


def test_no_shell_runs(tmp_path: Path) -> None:
    assert asked(python("import sys; sys.exit(len(sys.argv) != 7)") + f" ; touch {tmp_path}/made") == ""
    assert not (tmp_path / "made").exists()


def test_a_command_that_does_not_answer_blocks_and_is_ended(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(3); pathlib.Path('{alive}').touch()"
    started = time.monotonic()
    assert "no answer within" in asked(python(child), seconds=0.3)
    assert time.monotonic() - started < 2.5
    time.sleep(0.1)
    assert not alive.exists()


def test_a_command_that_is_not_there_or_has_open_quotes_is_the_operators_to_mend() -> None:
    with pytest.raises(SettingError, match="CROWD_GATE_COMMAND cannot be started"):
        asked("/no/such/program")
    with pytest.raises(SettingError, match="close its quotes"):
        asked("bench 'open")


def test_a_blocked_candidate_has_one_verdict_with_the_figures_that_the_guard_saw() -> None:
    looked_at = {"group_index": 2, "outside": 0.1, "distinct_pairs": 0.5, "overlap": 0.2, "copied": 0.0, "texts": 9}
    rows = verdict_rows(with_block([{**looked_at, "refused": ""}], 2, "blocked"))
    assert rows.row(0, named=True) == {**looked_at, "refused": "blocked"}
    assert with_block([], 1, "blocked")[0]["outside"] is None
