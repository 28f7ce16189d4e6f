"""The command line: ``crowd-rounds COMMAND``, or ``python -m crowd_assets COMMAND``.

Belongs here: starting it. Does not belong here: a command (see ``crowd_assets.commands``, a family a module).
"""

from crowd_assets.commands.families import command_line
from crowd_assets.terminal.ending import run

app = command_line()


def main() -> None:
    """The console script ``crowd-rounds``."""
    run(app, "crowd-rounds")


if __name__ == "__main__":
    run(app, "python -m crowd_assets")
