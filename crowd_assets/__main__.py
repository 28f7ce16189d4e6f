"""The command line: ``python -m crowd_assets COMMAND``, or ``crowd-rounds COMMAND``.

Belongs here: commands and their help; what takes long to import is imported inside of them. Does not belong here: what they do.
"""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crowd_assets.report import PORT
from crowd_assets.terminal.ending import run
from resources.settings.settings import Settings

if TYPE_CHECKING:
    from resources.settings.resource import CrowdSettings

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


AsJson = Annotated[bool, typer.Option("--json", help="Print it as one JSON object.")]
# Their own command lines read what follows: they are imported only when they are asked for.
PASSED_ON: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}


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
    settings = _settings()
    from crowd_assets.commands.campaign import campaign
    from crowd_assets.operations.preflight import check_inputs

    check_inputs(settings, feedback)
    with campaign(settings) as here:
        here.build_seeds()
        if feedback:
            here.take_in(feedback)
        else:
            here.simulate(rounds)


@app.command("ui")
def show_ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Serve the Dagster UI of the home on this machine, with sensors and schedule running, until interrupted. Pages of other
    origins are refused."""
    settings = _settings()
    from crowd_assets.commands.ui import serve_ui

    serve_ui(settings, port)


@app.command("ingest")
def ingest_inbox() -> None:
    """Take in the feedback files that lie in the inbox now; no round starts by it."""
    settings = _settings()
    from crowd_assets.commands.campaign import campaign

    with campaign(settings) as here:
        here.ingest()


@app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """What waits, what the next round lacks, what runs, what the last round came to, and whether all is well. It waits for no
    lock: while the warehouse is in use it shows the last snapshot, and says so."""
    from crowd_assets.monitoring.status import print_status, status

    found = status(Settings.from_environment())
    if as_json:
        typer.echo(found.as_json())
    else:
        print_status(found)


@app.command("leaderboard")
def show_leaderboard(
    round_name: Annotated[
        str, typer.Option("--round", help="As this round left it: r000003 or 3; empty: as the last settled one did.")
    ] = "",
    top: Annotated[int, typer.Option(min=0, help="Places to show; 0: all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Who has earned how many points and credits, the estimate that points go by, and in how many rounds."""
    from crowd_assets.monitoring.leaderboard import leaderboard, print_leaderboard

    found = leaderboard(Settings.from_environment(), round_name, top)
    if as_json:
        typer.echo(found.as_json())
    else:
        print_leaderboard(found)


@app.command("agreement")
def show_agreement(
    round_name: Annotated[str, typer.Option("--round", help="This round alone: r000003; empty: all rounds.")] = "",
    as_json: AsJson = False,
) -> None:
    """How far judges agree (Krippendorff, Fleiss, Gwet, with intervals), what is judged how often, how long it takes, what it costs,
    and how much more is to be asked."""
    from crowd_assets.report.agreement import campaign_figures, judgements_of, print_figures
    from resources.build import build_resources

    resources = build_resources(_settings())
    judged = judgements_of(resources.warehouse, resources.frames, round_id=round_name or None)
    if judged.is_empty():
        typer.echo("No valid judgement was settled here yet" + (f" in {round_name}." if round_name else "."), err=True)
        raise typer.Exit(1)
    figures = campaign_figures(judged, resources.warehouse)
    typer.echo(json.dumps(figures, indent=2, ensure_ascii=False)) if as_json else print_figures(figures)


@app.command("chat")
def chat_with_models(
    round_name: Annotated[
        str, typer.Option("--round", help="The round: r000003 or 3; empty: the last settled one.")
    ] = "",
    prompt: Annotated[
        list[str] | None, typer.Option(help="Answer this and end; may be given again. Without it prompts are read.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers of each model to a prompt.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(min=0.01, help="1 samples from a model's own distribution. Default: CROWD_TEMPERATURE."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn; both models draw the same.")] = 0,
) -> None:
    """Let the model that a round began with and the one it ended with answer prompts side by side: those given, or a prompt a
    line from the terminal or a pipe, until it ends or says /quit."""
    settings = _settings()
    from crowd_assets.commands.chat import open_chat, talk
    from resources.build import build_resources

    resources = build_resources(settings)
    chat = open_chat(
        settings,
        resources.warehouse,
        resources.trainer,
        round_name=round_name,
        temperature=temperature,
        seed=seed,
    )
    talk(chat, prompt or [], samples)


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


@app.command("seed")
def build_seeds() -> None:
    """Build the embedded language model and classifier, where they are not there yet."""
    settings = _settings()
    from crowd_assets.commands.campaign import campaign

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
    settings = _settings()
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


@app.command("pseudonym")
def show_pseudonyms(
    names: Annotated[list[str], typer.Argument(help="Names of contributors, as their tools send them.")],
) -> None:
    """Print the pseudonym of each name by the key in CROWD_PSEUDONYM_KEY: who it is that a payment goes to."""
    from resources.feedback.pseudonyms import KEY_VARIABLE, PseudonymKeyError, Pseudonyms

    pseudonyms = Pseudonyms.from_environment()
    if not pseudonyms.keyed:
        raise PseudonymKeyError(f"{KEY_VARIABLE} is not set: without a key contributors keep their names.")
    for name in names:
        typer.echo(f"{pseudonyms.of(name)}  {name}")


@app.command("erase")
def erase_contributor(
    contributor: Annotated[str, typer.Argument(help="Name or pseudonym of the contributor.")],
    reason: Annotated[str, typer.Option(help="Who asked for it, and why; kept in the record as it is.")],
) -> None:
    """Erase the texts of a contributor; ids, points and payments stay. Repeat it if it was interrupted."""
    settings = _settings()
    from crowd_assets.operations.erasure import erase
    from resources.build import build_resources

    found = erase(contributor, reason, settings, build_resources(settings))
    if not found.erasure_id:
        typer.echo(f"{found.contributor_id}: the texts were erased before, and nothing came since")
        return
    typer.echo(f"{found.erasure_id}: {found.events} events of {found.contributor_id}, {found.files} files rewritten")
    for what, names in (
        ("no judgement is taken any more of", found.withdrawn),
        ("trained on the texts", found.trained_on),
        ("made from a model that was", found.descended),
    ):
        if names:
            typer.echo(f"{what}: {', '.join(names)}")


@app.command("release")
def release_rejected(
    reference: Annotated[str, typer.Argument(help="rejection_id or event_id in the table rejected_feedback.")],
    by: Annotated[str, typer.Option(help="Who releases it.")],
    reason: Annotated[str, typer.Option(help="Why it was rejected wrongly.")],
) -> None:
    """Release a quarantined row: it takes part in the next round, and the table releases keeps who released it and why."""
    settings = _settings()
    from resources.build import build_resources
    from resources.rounds.releases import ReleaseBook

    release = ReleaseBook(build_resources(settings).inbox).release(reference, by=by, why=reason, now=datetime.now(UTC))
    typer.echo(f"event    {release.event_id}")
    typer.echo(f"rejected in round {release.round_no}: {release.rejected_for}")
    typer.echo(f"released {release.released_at:%Y-%m-%d %H:%M} by {release.released_by}: {release.released_why}")


@app.command("correct")
def correct_entry(
    entry: Annotated[
        str, typer.Argument(help="entry_id in the table ledger, on the contributor's account: see its statement.")
    ],
    amount: Annotated[str, typer.Option(help="What the entry should have been, with its sign; 0: nothing.")],
    by: Annotated[str, typer.Option(help="Who corrects it.")],
    reason: Annotated[str, typer.Option(help="Why it was wrong.")],
) -> None:
    """Correct what a settled round posted: the round that is settled next reverses the transaction and posts it anew, and
    statements, records and the audit have both."""
    settings = _settings()
    from resources.build import build_resources
    from resources.rounds.corrections import CorrectionBook

    found = CorrectionBook(build_resources(settings).warehouse).correct(
        entry, amount, by=by, why=reason, now=datetime.now(UTC)
    )
    posted = f"in round {found.round_no}" if found.round_no else "when the next round is settled"
    typer.echo(f"entry    {found.entry_id}")
    typer.echo(f"posted   {posted}, as {found.amount:f}, by {found.corrected_by}: {found.reason}")


@app.command("audit")
def audit_rounds(
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON object.")] = False,
    expect: Annotated[
        str, typer.Option(help="Hash that an earlier audit ended with: it must still be in the chain of records.")
    ] = "",
) -> None:
    """Recompute every settled round from its frames and the ledger from nothing, and compare; exit code 1: they differ.
    Training and generation are not repeated: models are compared with their hashes."""
    settings = _settings()
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
    """Look at all that can be known of CROWD_HOME in a minute (files, hashes, versions, space, leases, models, settings, backups),
    and say the way out of what is not well; exit code 1 where something is not. Nothing is changed."""
    settings = _settings()
    from crowd_assets.operations.doctor import examine

    well = True
    for found in examine(settings):
        typer.echo(f"{found.name:<10} {'ok' if found.well else 'NOT WELL'}  {found.words}")
        well = well and found.well
    raise typer.Exit(0 if well else 1)


@app.command("backup")
def back_up_home(to: Annotated[Path, typer.Argument(help="Folder to write, outside of the home.")]) -> None:
    """Copy CROWD_HOME as a whole; rounds may run meanwhile. Dagster's own storage is left out: no round needs it."""
    settings = _settings()
    from crowd_assets.operations.backup import backup
    from resources.build import build_resources

    done = backup(settings, build_resources(settings).warehouse, to)
    typer.echo(f"{done.files} files, {done.bytes / 2**20:.1f} MiB  {done.folder}")
    for place in done.elsewhere:
        typer.echo(f"lies outside the home and is not in it: {place}")


@app.command("restore")
def restore_home(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="Folder that backup wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Put what lies in a home that is not empty aside, in a folder of it.")
    ] = False,
) -> None:
    """Put a backup back as CROWD_HOME, if all of it is as it was written. Stop the daemon first."""
    settings = _settings()
    from crowd_assets.operations.backup import restore
    from resources.build import build_resources

    done = restore(settings, build_resources(settings).warehouse, source, force=force)
    typer.echo(f"{done.files} files, {done.bytes / 2**20:.1f} MiB  {done.folder}")
    if done.aside:
        typer.echo(f"what lay there before  {done.aside}")


@app.command("report")
def write_report(
    round_name: Annotated[str, typer.Option("--round", help="The round: r000003 or 3; empty: every settled one.")] = "",
) -> None:
    """Write the pages of rounds and of the campaign anew, from the warehouse."""
    settings = _settings()
    from crowd_assets.exporters.model import settled_round
    from crowd_assets.report.campaign import write_campaign_page
    from crowd_assets.report.figures import settled_rounds
    from crowd_assets.report.round import write_round_page
    from resources.build import build_resources

    resources = build_resources(settings)
    warehouse = resources.warehouse
    rounds = [settled_round(settings, warehouse, round_name)] if round_name else settled_rounds(warehouse)
    made_from = (settings, warehouse, resources.frames, resources.data_quality)
    for found in rounds:
        typer.echo(f"{found.round_id}   {write_round_page(found, *made_from)}")
    typer.echo(f"campaign  {write_campaign_page(*made_from)}")


@app.command("statement")
def write_statement_of(
    contributor: Annotated[str, typer.Argument(help="Name or pseudonym of the contributor.")],
) -> None:
    """Write a contributor's own page: every entry of the ledger, and what each round says of why."""
    settings = _settings()
    from crowd_assets.report.statement import statement_of, write_statement
    from crowd_assets.terminal.log import show
    from resources.build import build_resources

    resources = build_resources(settings)
    found = statement_of(contributor, settings, resources.warehouse)
    show(
        f"{found.contributor_id}: {found.points:.2f} points ({found.provisional:.2f} provisional), {found.credits:.4f} credits",
        found.rounds.drop("why"),
    )
    typer.echo(f"statement  {write_statement(found, settings, resources.warehouse, resources.data_quality)}")


@app.command("compact")
def compact_home() -> None:
    """Remove what CROWD_KEEP_* do not keep of a home, also while rounds run: old runs and logs, Data Docs, models that lost,
    archived files, what killed processes left. Ledger, rounds, events and chosen models stay."""
    settings = _settings()
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
    typer.echo(f"warehouse {'written anew' if gone.warehouse else 'left as it is: little of its file is free'}")


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
    """Put feedback files into the inbox from anywhere that reaches it, each in the folder of its hour under a name of its own:
    any number of collectors may do so at once. It needs CROWD_FILES or CROWD_INBOX and no home."""
    settings = Settings.from_environment()
    from resources.feedback.arrivals import append
    from resources.files.storage import use_object_stores

    use_object_stores(settings.store_retry_s)
    for path in files:
        put = append(settings.inbox_path, collector, path.read_bytes(), path.suffix, datetime.now(UTC))
        typer.echo(f"{path}  {put}")


@app.command("metrics")
def show_metrics(
    port: Annotated[
        int, typer.Option(min=0, help="Serve them here, on /metrics, until stopped; 0: print them once.")
    ] = 0,
    host: Annotated[str, typer.Option(help="Address to serve them on.")] = "127.0.0.1",
) -> None:
    """What waits, how long, what rounds came to and what the ledger holds, in Prometheus' text format. It waits for no lock."""
    from crowd_assets.monitoring.metrics import as_text, serve

    settings = Settings.from_environment()
    if not port:
        typer.echo(as_text(settings), nl=False)
        return
    server = serve(settings, host, port)
    typer.echo(f"metrics  http://{host}:{port}/metrics")
    with suppress(KeyboardInterrupt):
        Event().wait()
    server.shutdown()


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
    settings = CrowdSettings.from_environment(warehouse=to) if to else _settings()
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
            f"{done.files} files, {done.bytes / 2**20:.1f} MiB  {done.to}; {done.copied} of them copied by this call"
        )
        typer.echo(f"{done.rounds} rounds audited there: ok; {done.names} names changed in the warehouse")
        if done.aside:
            typer.echo(f"what lay there before  {done.aside}")
        typer.echo(f"from now on  CROWD_FILES={done.to}")


@app.command("reproduce")
def reproduce(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer cells and repetitions under the same names: at most 10 minutes.")
    ] = False,
) -> None:
    """Reproduce the three papers' figures, and ours, from the real data in CROWD_REFERENCE_DATA."""
    settings = _settings()
    from crowd_assets.commands.campaign import campaign

    with campaign(settings) as here:
        here.reproduce(quick)


@app.command("docs-quality")
def serve_quality(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free.")] = PORT,
) -> None:
    """Serve the reports and the Great Expectations Data Docs on this machine, until interrupted."""
    settings = _settings()
    from crowd_assets.report.quality import QualityServer
    from resources.build import build_resources

    with QualityServer(settings, build_resources(settings).data_quality, port) as server:
        if server.campaign_url:
            typer.echo(f"campaign   {server.campaign_url}")
        typer.echo(f"quality    {server.page_url}")
        typer.echo(f"Data Docs  {server.data_docs_url}")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def _settings() -> "CrowdSettings":
    """The settings as a resource of the graph."""
    from resources.settings.resource import CrowdSettings

    return CrowdSettings.from_environment()


def main() -> None:
    """The console script ``crowd-rounds``."""
    run(app, "crowd-rounds")


if __name__ == "__main__":
    run(app, "python -m crowd_assets")
