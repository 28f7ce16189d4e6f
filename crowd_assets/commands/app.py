"""The command line's root: options that every command has, and the settings of the one that runs.

Belongs here: the application. Does not belong here: a command (a family a module).
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from resources.settings.resource import CrowdSettings
    from resources.settings.settings import Settings

app = typer.Typer(
    help="An open crowd fine-tunes a language model, round after round. Settings: CROWD_* variables, docs/configuration.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from resources.home.identity import program_version

        typer.echo(f"crowd-rounds {program_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """An open crowd fine-tunes a language model, round after round. Settings: CROWD_* variables, docs/configuration.md."""


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")]


# Their own command lines read what follows: they are imported only when they are asked for.
PASSED_ON: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}


def settings_here() -> "CrowdSettings":
    """The settings as a resource of the graph."""
    from resources.settings.resource import CrowdSettings

    return CrowdSettings.from_environment()


def plain_settings_here() -> "Settings":
    """The settings without Dagster, which takes seconds to import: for commands that only look."""
    from resources.settings.settings import Settings

    return Settings.from_environment()
