"""The reference of the command line, written from the commands themselves: ``python -m crowd_assets.commands.reference``.

Belongs here: rendering ``docs/command_line.md``. Does not belong here: commands (see ``families``).
"""

from collections.abc import Iterator
from typing import Any

import typer

from crowd_assets.commands.families import command_line
from crowd_assets.exporters.cli import app as exporters
from crowd_assets.importers.cli import app as importers

PROGRAM = "crowd-rounds"
HEADER = f"""# Command line

`make setup` installs `{PROGRAM}` as `.venv/bin/{PROGRAM}`; `python -m crowd_assets COMMAND` is the same. `--help` explains each. Settings are [environment variables](configuration.md). A command ends with 0, with 1
where it found what it looked for to be wrong (`audit`) or had nothing to write (`import`), and with 2 and one line that says
why where it could not do what it was asked.

`status` and `leaderboard` answer at once and wait for nobody: they read the warehouse between two transactions, or the
snapshot of the last settlement where another process holds it (and say so), and Dagster's SQLite files as they are. With
another storage than SQLite `status` asks Dagster, which takes some seconds longer. `--json` prints all of it for programs.

`chat` asks the model that a round began with and the one it ended with. Both draw the same random numbers, as in a round,
so they differ by what they learnt alone; `--seed` draws others, and `--temperature 0.01` takes nearly always the likeliest
word. Prompts come from `--prompt`, or a line each from the terminal or a pipe until it ends or says `/quit`. What models
write is printed without control characters.

This page is written by `python -m crowd_assets.commands.reference > docs/command_line.md`.
"""


def reference() -> str:
    """The page as Markdown."""
    parts = [HEADER]
    for name, commands in (("", command_line()), ("import", importers), ("exchange", exporters)):
        group = typer.main.get_command(commands)
        assert isinstance(group, typer.core.TyperGroup)
        for command in group.commands.values():
            path = " ".join(filter(None, (name, command.name)))
            if path not in ("import", "exchange"):
                parts.append("\n".join(_described(path, command)))
    return "\n".join(parts)


def _described(path: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=f"{PROGRAM} {path}", terminal_width=200)
    yield f"## {path}\n\n```\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
    yield " ".join((command.help or "").split()) + "\n"
    records = [param.get_help_record(context) for param in command.params if param.name != "help"]
    if any(records):
        yield "| option | what it does |\n|---|---|"
        for record in filter(None, records):
            name, words = (text.replace("|", "\\|") for text in record)
            yield f"| `{name}` | {words} |"
        yield ""


if __name__ == "__main__":
    print(reference(), end="")
