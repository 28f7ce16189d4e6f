"""All commands under one root, in the order in which ``--help`` lists them.

Belongs here: which families of commands there are. Does not belong here: a command (a family a module).
"""

import sys

import typer

from crowd_assets.commands import desk, home, look, people, rounds, tools
from crowd_assets.commands.app import app

FAMILIES = (rounds, desk, look, home, people, tools)
"""Families of commands: each module adds its own to the root when it is imported."""


def command_line() -> typer.Typer:
    """The root with every command."""
    app.registered_commands.sort(key=lambda command: FAMILIES.index(sys.modules[command.callback.__module__]))
    return app
