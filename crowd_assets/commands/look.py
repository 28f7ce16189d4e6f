"""Commands that look: status, leaderboard, agreement, chat, report, statement, metrics, docs-quality.

Belongs here: their options and help. Does not belong here: what is looked at (see ``crowd_assets.monitoring``, ``crowd_assets.report``).
"""

import json
from contextlib import suppress
from threading import Event
from typing import Annotated

import typer

from crowd_assets.commands.app import AsJson, app, plain_settings_here, settings_here
from crowd_assets.report import PORT


@app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """Show waiting events, the next round, running steps, the last round's result, and the health of the home. The command waits for no
    lock: while another process writes, the last snapshot is shown."""
    from crowd_assets.monitoring.status import print_status, status

    state = status(plain_settings_here())
    if as_json:
        typer.echo(state.as_json())
    else:
        print_status(state)


@app.command("leaderboard")
def show_leaderboard(
    round_name: Annotated[
        str,
        typer.Option("--round", help="Standings after this round: r000003 or 3; empty: after the last settled round."),
    ] = "",
    top: Annotated[int, typer.Option(min=0, help="Places to show; 0: all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Who has earned how many points and credits, the estimate that points go by, and in how many rounds."""
    from crowd_assets.monitoring.leaderboard import leaderboard, print_leaderboard

    board = leaderboard(plain_settings_here(), round_name, top)
    if as_json:
        typer.echo(board.as_json())
    else:
        print_leaderboard(board)


@app.command("agreement")
def show_agreement(
    round_name: Annotated[str, typer.Option("--round", help="The round, like r000003; empty: all rounds.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show how far judges agree (Krippendorff, Fleiss, Gwet, with intervals), how often comparisons are judged, pace, cost,
    and how many more judgements are needed."""
    from crowd_assets.report.agreement import campaign_figures, judgements_of, print_figures
    from resources.build import build_resources

    resources = build_resources(settings_here())
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
        list[str] | None,
        typer.Option(help="A prompt to answer; may be given again. Without a prompt the terminal or a pipe is read."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers of each model to a prompt.")] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(min=0.01, help="1 samples from a model's own distribution. Default: CROWD_TEMPERATURE."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers that the two models share.")] = 0,
) -> None:
    """Let the models before and after a round answer prompts side by side: the prompts given by --prompt, or a prompt a
    line from the terminal or a pipe, until the input ends or says /quit."""
    settings = settings_here()
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


@app.command("report")
def write_report(
    round_name: Annotated[str, typer.Option("--round", help="The round: r000003 or 3; empty: every settled one.")] = "",
) -> None:
    """Write the pages of rounds and of the campaign anew, from the warehouse."""
    settings = settings_here()
    from crowd_assets.exporters.model import settled_round
    from crowd_assets.report.campaign import write_campaign_page
    from crowd_assets.report.index import write_index_page
    from crowd_assets.report.round import write_round_page
    from resources.build import build_resources
    from resources.rounds.book import RoundBook

    resources = build_resources(settings)
    warehouse = resources.warehouse
    rounds = [settled_round(settings, warehouse, round_name)] if round_name else RoundBook(warehouse).settled()
    made_from = (settings, warehouse, resources.frames, resources.data_quality)
    for round_ in rounds:
        typer.echo(f"{round_.round_id}   {write_round_page(round_, *made_from)}")
    typer.echo(f"campaign  {write_campaign_page(*made_from)}")
    typer.echo(f"index     {write_index_page(settings, warehouse, resources.data_quality)}")


@app.command("statement")
def write_statement_of(
    contributor: Annotated[str, typer.Argument(help="Name or pseudonym of the contributor.")] = "",
    everybody: Annotated[
        bool, typer.Option("--all", help="Write the page of everybody, without plots, and an index of the pages.")
    ] = False,
) -> None:
    """Write a contributor's own page: every entry of the ledger, the sum that the points are, and what each round says of why."""
    if bool(contributor) == everybody:
        raise typer.BadParameter("name a contributor, or say --all")
    settings = settings_here()
    from crowd_assets.report.statement import statement_of, write_statement, write_statements
    from crowd_assets.terminal.log import show
    from resources.build import build_resources

    resources = build_resources(settings)
    if everybody:
        index, count = write_statements(settings, resources.warehouse, resources.data_quality)
        typer.echo(f"{count} statements  {index}")
        return
    statement = statement_of(contributor, settings, resources.warehouse)
    show(
        f"{statement.contributor_id}: {statement.points:.2f} points ({statement.provisional:.2f} provisional), {statement.credits:.4f} credits",
        statement.rounds.drop("why"),
    )
    typer.echo(f"statement  {write_statement(statement, settings, resources.warehouse, resources.data_quality)}")


@app.command("metrics")
def show_metrics(
    port: Annotated[
        int, typer.Option(min=0, help="Port on which /metrics is served until stopped; 0: print the metrics once.")
    ] = 0,
    host: Annotated[str, typer.Option(help="Address on which /metrics is served.")] = "127.0.0.1",
) -> None:
    """Print or serve metrics of feedback, rounds and ledger in Prometheus' text format, without waiting for a lock."""
    from crowd_assets.monitoring.metrics import as_text, serve

    settings = plain_settings_here()
    if not port:
        typer.echo(as_text(settings), nl=False)
        return
    server = serve(settings, host, port)
    typer.echo(f"metrics  http://{host}:{port}/metrics")
    with suppress(KeyboardInterrupt):
        Event().wait()
    server.shutdown()


@app.command("docs-quality")
def serve_quality(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free.")] = PORT,
) -> None:
    """Serve the reports and the Great Expectations Data Docs on this machine, until interrupted."""
    settings = settings_here()
    from crowd_assets.report.quality import QualityServer
    from resources.build import build_resources

    with QualityServer(settings, build_resources(settings).data_quality, port) as server:
        if server.campaign_url:
            typer.echo(f"campaign   {server.campaign_url}")
        typer.echo(f"quality    {server.page_url}")
        typer.echo(f"Data Docs  {server.data_docs_url}")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
