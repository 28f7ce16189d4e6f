"""The command line: ``python -m crowd_assets COMMAND``, or ``crowd-rounds COMMAND``.

Belongs here: all commands under one root. Does not belong here: a command (see ``crowd_assets.commands``, a family a module).
"""

import sys

from crowd_assets.commands import home, look, people, rounds, tools
from crowd_assets.commands.app import app
from crowd_assets.terminal.ending import run

__all__ = ["app", "main"]

FAMILIES = (rounds, look, home, people, tools)
"""Families of commands in the order in which --help lists them."""

app.registered_commands.sort(key=lambda command: FAMILIES.index(sys.modules[command.callback.__module__]))


def main() -> None:
    """The console script ``crowd-rounds``."""
    run(app, "crowd-rounds")


if __name__ == "__main__":
    run(app, "python -m crowd_assets")
