"""The operator's own benchmark: a command that may block a model from becoming the next base.

Belongs here: running the command and what it answers. Does not belong here: which model is asked about (see ``assets.selection``).
"""

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable

from resources.settings.fields import SettingError
from resources.settings.settings import Settings

BLOCKED = "blocked by CROWD_GATE_COMMAND: "
"""What a reason begins with that the command gave."""

MOST_SAID = 200  # characters of what the command says that are kept

Place = Callable[[str], object]


def blocked_by_command(settings: Settings, place: Place, *, base: str | None, candidate: str, root: str) -> str:
    """Why the operator's command blocks a promotion, with its last line; empty where it does not, or where there is no command.

    The command is split into words as a shell would, and no shell runs. ``{candidate}`` and ``{base}`` in a word become the directory
    of that adapter (of a base that is the root: nothing), ``{root}`` the root model. Anything but exit status 0 within
    CROWD_GATE_SECONDS blocks, and what the command started is ended with it.

    Args:
        place: From a stored model to its directory.

    Raises:
        SettingError: the command cannot be split or started.
    """
    if not settings.gate_command:
        return ""
    known = {"{candidate}": str(place(candidate)), "{base}": str(place(base)) if base else "", "{root}": root}
    words = _words(settings.gate_command)
    for name, value in known.items():
        words = [word.replace(name, value) for word in words]
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as problem:
        raise SettingError(
            f"CROWD_GATE_COMMAND cannot be started ({problem}): name a program that is there, or unset CROWD_GATE_COMMAND."
        ) from None
    try:
        said, _ = process.communicate(timeout=settings.gate_seconds)
    except subprocess.TimeoutExpired:
        return f"{BLOCKED}no answer within CROWD_GATE_SECONDS={settings.gate_seconds:g}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode == 0:
        return ""
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
    shown = "".join(char for char in last if char.isprintable())[:MOST_SAID]
    return f"{BLOCKED}exit status {process.returncode}, {shown}"


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as problem:
        raise SettingError(f"CROWD_GATE_COMMAND={command!r} cannot be split ({problem}): close its quotes.") from None
