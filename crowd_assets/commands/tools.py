"""Commands that exchange with other tools: import, exchange, export, append.

Belongs here: their options and help. Does not belong here: formats (see ``crowd_assets.importers``, ``crowd_assets.exporters``).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from crowd_assets.commands.app import PASSED_ON, app, plain_settings_here, settings_here


@app.command("import", **PASSED_ON)
def import_feedback(context: typer.Context) -> None:
    """Convert other tools' exports to feedback files: import FORMAT SOURCE --out FOLDER. import --help lists the formats."""
    from crowd_assets.importers.cli import app as importers

    importers(context.args, prog_name=context.command_path)


@app.command("exchange", **PASSED_ON)
def exchange_with_tools(context: typer.Context) -> None:
    """Write comparison tasks and what rounds learnt from as other tools' files, or send to and pull from Label Studio: exchange
    TOOL. exchange --help lists the tools."""
    from crowd_assets.exporters.cli import app as exporters

    exporters(context.args, prog_name=context.command_path)


@app.command("export")
def export_model(
    round_name: Annotated[
        str, typer.Option("--round", help="The round: r000003 or 3; empty: the last settled one.")
    ] = "",
    to: Annotated[str, typer.Option(help="Folder to write; empty: exports/<round> in CROWD_HOME.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export in the folder.")] = False,
) -> None:
    """Write the model that a settled round ended with as a folder that transformers loads, with a model card."""
    settings = settings_here()
    from crowd_assets.exporters.model import export_round
    from resources.build import build_resources

    resources = build_resources(settings)
    folder = export_round(
        settings,
        resources.warehouse,
        resources.trainer,
        round_name=round_name,
        to=Path(to) if to else None,
        force=force,
    )
    typer.echo(f"model  {folder}")
    typer.echo(f"card   {folder / 'README.md'}")


@app.command("push")
def push_model(
    repository: Annotated[str, typer.Argument(help="Repository of the hub: OWNER/NAME.")],
    round_name: Annotated[
        str, typer.Option("--round", help="The round: r000003 or 3; empty: the last settled one.")
    ] = "",
    license_: Annotated[
        str, typer.Option("--license", help="License of a base whose own card names none, such as apache-2.0.")
    ] = "",
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
) -> None:
    """Send the model that a settled round ended with to a hub, with adapter and card. The hub's client reads HF_TOKEN and
    HF_ENDPOINT. The round is exported to exports/<round> in CROWD_HOME first unless the folder holds an export of the round."""
    settings = settings_here()
    from crowd_assets.exporters.model import export_round, settled_round
    from crowd_assets.exporters.push import push
    from resources.build import build_resources

    resources = build_resources(settings)
    round_ = settled_round(settings, resources.warehouse, round_name)
    folder = Path(settings.home, "exports", round_.round_id).resolve()
    if not (folder / "README.md").is_file():
        export_round(settings, resources.warehouse, resources.trainer, round_name=round_.round_id)
    sent = push(folder, repository, license_=license_, public=public, dry_run=dry_run)
    for name, size in sent.files.items():
        typer.echo(f"{size / 2**20:10.1f} MiB  {name}")
    if dry_run:
        there = "is there" if sent.exists else f"would be made, {'public' if public else 'private'}"
        typer.echo(f"nothing was sent: {repository} {there}")
    else:
        typer.echo(f"sent  {sent.url}")


@app.command("append")
def append_feedback(
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="Feedback files, whole: JSON Lines or Parquet."
        ),
    ],
    collector: Annotated[str, typer.Option(help="Name of who collects: letters, digits, - and _.")] = "collector",
) -> None:
    """Put feedback files into the inbox from any machine that reaches the inbox, each under a new name in the folder of the hour:
    any number of collectors may append at once. The command needs CROWD_FILES or CROWD_INBOX and no home."""
    settings = plain_settings_here()
    from resources.feedback.arrivals import append
    from resources.files.storage import use_object_stores

    use_object_stores(settings.store_retry_s)
    for path in files:
        put = append(settings.inbox_path, collector, path.read_bytes(), path.suffix, datetime.now(UTC))
        typer.echo(f"{path}  {put}")
