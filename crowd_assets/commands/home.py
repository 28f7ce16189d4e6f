"""Commands for a home as a whole: audit, doctor, backup, restore, compact, migrate.

Belongs here: their options and help. Does not belong here: what they do (see ``crowd_assets.operations``).
"""

from pathlib import Path
from typing import Annotated

import typer

from crowd_assets.commands.app import app, settings_here


@app.command("audit")
def audit_rounds(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object.")] = False,
    expect: Annotated[
        str, typer.Option(help="Hash of an earlier audit, which must still be in the chain of records.")
    ] = "",
) -> None:
    """Recompute every settled round and the ledger, and print the first difference; exit code 1 where there is a difference.
    Training and generation are not repeated: models are compared with their hashes."""
    settings = settings_here()
    from crowd_assets.operations.audit import audit, line

    found = audit(settings, expected=expect, found=lambda each: None if as_json else typer.echo(line(each)))
    if as_json:
        typer.echo(found.as_json())
    else:
        for part, difference in (("records", found.chain), ("ledger", found.ledger)):
            if difference:
                typer.echo(f"{part}  DIFFERS  {difference}")
        typer.echo(
            f"{found.entries} ledger entries recomputed; the chain of records ends with {found.head or 'nothing'}"
        )
    raise typer.Exit(0 if found.clean else 1)


@app.command("doctor")
def examine_home() -> None:
    """Examine CROWD_HOME for a minute (files, hashes, versions, space, leases, models, settings, backups),
    and print each problem with the way out; exit code 1 where there is a problem. No file is changed."""
    settings = settings_here()
    from crowd_assets.operations.doctor import examine

    well = True
    for finding in examine(settings):
        typer.echo(f"{finding.name:<10} {'ok' if finding.well else 'NOT WELL'}  {finding.words}")
        well = well and finding.well
    raise typer.Exit(0 if well else 1)


@app.command("backup")
def back_up_home(to: Annotated[Path, typer.Argument(help="Folder to write, outside of the home.")]) -> None:
    """Copy CROWD_HOME as a whole; rounds may run meanwhile. Dagster's own storage is left out, as no round needs Dagster's storage."""
    settings = settings_here()
    from crowd_assets.operations.backup import backup
    from resources.build import build_resources

    done = backup(settings, build_resources(settings).warehouse, to)
    typer.echo(f"{done.files} files, {done.bytes / 2**20:.1f} MiB  {done.folder}")
    for place in done.elsewhere:
        typer.echo(f"lies outside the home and is not in the backup: {place}")


@app.command("restore")
def restore_home(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="Folder that backup wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Put the files of a home that is not empty aside, in a folder of the home.")
    ] = False,
) -> None:
    """Put a backup back as CROWD_HOME, if every file has the hash of the backup's manifest. Stop the daemon first."""
    settings = settings_here()
    from crowd_assets.operations.backup import restore
    from resources.build import build_resources

    done = restore(settings, build_resources(settings).warehouse, source, force=force)
    typer.echo(f"{done.files} files, {done.bytes / 2**20:.1f} MiB  {done.folder}")
    if done.aside:
        typer.echo(f"what lay there before  {done.aside}")


@app.command("compact")
def compact_home() -> None:
    """Remove what CROWD_KEEP_* do not keep of a home, also while rounds run: old runs and logs, Data Docs, models that lost,
    archived files, what killed processes left. Ledger, rounds, events and chosen models stay."""
    settings = settings_here()
    from crowd_assets.commands.campaign import campaign
    from crowd_assets.operations.retention import compact
    from resources.build import build_resources

    with campaign(settings) as here:
        gone = compact(settings, build_resources(settings), here.instance)
    for what, count in (
        ("runs with their logs", gone.runs),
        ("pages of the Data Docs", gone.pages),
        ("models that no round chose", gone.models),
        ("archived files", gone.archive),
        ("unfinished files", gone.unfinished),
    ):
        typer.echo(f"{count:6} {what} removed")
    typer.echo(f"warehouse {'written anew' if gone.warehouse else 'left as before: little of the file is free'}")


@app.command("migrate")
def migrate_home(
    to: Annotated[
        str,
        typer.Option(
            help="Empty database for the tables, postgresql://user@host/database; the password by PGPASSWORD."
        ),
    ] = "",
    files_to: Annotated[str, typer.Option(help="URI or folder for the files, such as s3://bucket/prefix.")] = "",
) -> None:
    """Move the tables of CROWD_HOME to PostgreSQL (--to), its files elsewhere (--files-to), or both: copied, compared, proved by
    the audit. Stop the daemon first. From then on CROWD_WAREHOUSE and CROWD_FILES must name the places."""
    from resources.settings.resource import CrowdSettings

    if not to and not files_to:
        raise typer.BadParameter("name where to: --to for the tables, --files-to for the files, or both")
    settings = CrowdSettings.from_environment(warehouse=to) if to else settings_here()
    if to:
        from crowd_assets.operations.audit import line
        from crowd_assets.operations.migrate_tables import migrate_tables

        moved = migrate_tables(
            settings,
            copied=lambda table, rows: typer.echo(f"{rows:10,} rows of {table}, the same there"),
            found=lambda each: typer.echo(line(each)),
        )
        typer.echo(f"{sum(moved.rows.values()):10,} rows in {moved.place}, and the audit is clean")
        typer.echo(f"from now on  CROWD_WAREHOUSE={to}")
    if files_to:
        from crowd_assets.operations.migrate_files import migrate_files
        from resources.build import build_resources

        done = migrate_files(settings, build_resources(settings).warehouse, files_to, typer.echo)
        typer.echo(
            f"{done.files} files, {done.bytes / 2**20:.1f} MiB  {done.to}; {done.copied} of these copied by this call"
        )
        typer.echo(f"{done.rounds} rounds audited there: ok; {done.names} names changed in the warehouse")
        if done.aside:
            typer.echo(f"what lay there before  {done.aside}")
        typer.echo(f"from now on  CROWD_FILES={done.to}")
