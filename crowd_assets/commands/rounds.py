"""Commands that run rounds: round, ui, ingest, seed, reproduce.

Belongs here: their options and help. Does not belong here: running (see ``campaign``).
"""

from typing import Annotated

import typer

from crowd_assets.commands.app import app, settings_here


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
    settings = settings_here()
    from crowd_assets.commands.campaign import campaign
    from crowd_assets.operations.preflight import check_inputs
    from crowd_assets.round.fit import check_model

    check_inputs(settings, feedback)
    with campaign(settings) as here:
        here.build_seeds()
        check_model(settings, here.trainer)
        if feedback:
            here.take_in(feedback)
        else:
            here.simulate(rounds)


@app.command("plan")
def plan_round(
    texts: Annotated[int, typer.Option(min=1, help="Demonstrations of a round.")] = 200,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of a prompt and its response, on average.")] = 80,
) -> None:
    """Show whether the base model can train and write on this machine, the figures chosen for the model, and how long a round takes and in how
    much memory, from one timed step. No round is claimed, no model stored, no entry paid."""
    settings = settings_here()
    from crowd_assets.operations.plan import plan
    from crowd_assets.operations.preflight import check_inputs
    from resources.build import build_resources

    check_inputs(settings)
    for line in plan(settings, build_resources(settings).trainer, texts, tokens):
        typer.echo(line)


@app.command("ui")
def show_ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Serve the Dagster UI of the home on this machine, with sensors and schedule running, until interrupted. Pages of other
    origins are refused."""
    settings = settings_here()
    from crowd_assets.commands.ui import serve_ui

    serve_ui(settings, port)


@app.command("ingest")
def ingest_inbox() -> None:
    """Take in the feedback files of the inbox and publish the prompts of the next round, without starting a round."""
    settings = settings_here()
    from crowd_assets.commands.campaign import campaign

    with campaign(settings) as here:
        events, round_id, prompts = here.ingest()
    typer.echo(f"events   {events:,} in all")
    typer.echo(f"prompts  {prompts:,} published for {round_id}")


@app.command("seed")
def build_seeds() -> None:
    """Build the embedded language model and classifier, unless both exist."""
    settings = settings_here()
    from crowd_assets.commands.campaign import campaign

    with campaign(settings) as here:
        here.build_seeds()


@app.command("reproduce")
def reproduce(
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer cells and repetitions under the same names: at most 10 minutes.")
    ] = False,
) -> None:
    """Reproduce the three papers' figures, and ours, from the real data in CROWD_REFERENCE_DATA."""
    settings = settings_here()
    from crowd_assets.commands.campaign import campaign

    with campaign(settings) as here:
        here.reproduce(quick)
