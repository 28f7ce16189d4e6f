"""The command line: ``python -m crowd_assets COMMAND``.

Belongs here: commands and their help. Does not belong here: what they do.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from upath import UPath

from resources.errors import OperatorError
from resources.settings import CrowdSettings

app = typer.Typer(
    help="An open crowd fine-tunes a language model, round after round. Settings: CROWD_* variables, docs/configuration.md.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("round")
def run_rounds(
    feedback: Annotated[
        str,
        typer.Option(
            help="Folder or URI of feedback files (JSON Lines or Parquet) for one round; empty: the simulated crowd."
        ),
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the simulated crowd.")] = 3,
) -> None:
    """Run rounds in this terminal: three with the simulated crowd, or one on a folder of feedback."""
    settings = CrowdSettings.from_environment()
    from crowd_assets.campaign import campaign

    with campaign(settings) as here:
        here.build_seeds()
        if feedback:
            here.take_in(UPath(feedback))
        else:
            here.simulate(rounds)


@app.command("seed")
def build_seeds() -> None:
    """Build the embedded language model and classifier, where they are not there yet."""
    settings = CrowdSettings.from_environment()
    from crowd_assets.campaign import campaign

    with campaign(settings) as here:
        here.build_seeds()


@app.command("export")
def export_model(
    round_name: Annotated[
        str, typer.Option("--round", help="The round: r000003 or 3; empty: the last settled one.")
    ] = "",
    to: Annotated[str, typer.Option(help="Folder to write; empty: exports/<round> in CROWD_HOME.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export that lies there.")] = False,
) -> None:
    """Write the model that a settled round ended with as a folder that transformers loads, with a model card."""
    settings = CrowdSettings.from_environment()
    from crowd_assets.definitions import build_resources
    from crowd_assets.export import export_round

    resources = build_resources(settings)
    folder = export_round(
        settings,
        resources["warehouse"],
        resources["trainer"],
        round_name=round_name,
        to=Path(to) if to else None,
        force=force,
    )
    typer.echo(f"model  {folder}")
    typer.echo(f"card   {folder / 'README.md'}")


@app.command("release")
def release_rejected(
    reference: Annotated[str, typer.Argument(help="rejection_id or event_id in the table rejected_feedback.")],
    by: Annotated[str, typer.Option(help="Who releases it.")],
    reason: Annotated[str, typer.Option(help="Why it was rejected wrongly.")],
) -> None:
    """Release a quarantined row: it takes part in the next round, and the table releases keeps who released it and why."""
    settings = CrowdSettings.from_environment()
    from crowd_assets.definitions import build_resources
    from resources.releases import ReleaseBook

    release = ReleaseBook(build_resources(settings)["inbox"]).release(
        reference, by=by, why=reason, now=datetime.now(UTC)
    )
    typer.echo(f"event    {release.event_id}")
    typer.echo(f"rejected in round {release.round_no}: {release.rejected_for}")
    typer.echo(f"released {release.released_at:%Y-%m-%d %H:%M} by {release.released_by}: {release.released_why}")


@app.command("reproduce")
def reproduce(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer cells and repetitions under the same names: at most 10 minutes.")
    ] = False,
) -> None:
    """Reproduce the three papers' figures, and ours, from the real data in CROWD_REFERENCE_DATA."""
    settings = CrowdSettings.from_environment()
    from crowd_assets.campaign import campaign

    with campaign(settings) as here:
        here.reproduce(quick)


def main() -> None:
    """Run the command line; a wrong setting or a failed round is one line, not a traceback."""
    try:
        app()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0
    except OperatorError as problem:
        typer.secho(f"error: {problem}", err=True, fg="red")
        status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # an ordinary exit lets DuckDB's binding print a page about objects of its own that it still holds


if __name__ == "__main__":
    main()
