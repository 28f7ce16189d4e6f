"""Commands about people: pseudonym, erase, release, correct, standings, decide.

Belongs here: their options and help. Does not belong here: what they do (see ``crowd_assets.operations``).
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from crowd_assets.commands.app import AsJson, app, settings_here


@app.command("pseudonym")
def show_pseudonyms(
    names: Annotated[list[str], typer.Argument(help="Names of contributors, as tools send names.")],
) -> None:
    """Print the pseudonym of each name by the key in CROWD_PSEUDONYM_KEY, to find the person of a payment."""
    from resources.feedback.pseudonyms import KEY_VARIABLE, PseudonymKeyError, Pseudonyms

    pseudonyms = Pseudonyms.from_environment()
    if not pseudonyms.keyed:
        raise PseudonymKeyError(f"{KEY_VARIABLE} is not set: without a key contributors keep their names.")
    for name in names:
        typer.echo(f"{pseudonyms.of(name)}  {name}")


@app.command("alias")
def alias_names(
    name: Annotated[
        str | None, typer.Argument(help="Other name of a person. Without a name aliases are listed.")
    ] = None,
    person: Annotated[str | None, typer.Argument(help="Name under which the person is paid.")] = None,
    by: Annotated[str, typer.Option(help="Who names the alias.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias back.")] = False,
) -> None:
    """Say that two names, of whichever tools, are one person: what arrives under the first from now on is the second's."""
    settings = settings_here()
    from resources.build import build_resources
    from resources.feedback.aliases import AliasBook

    book = AliasBook(build_resources(settings).inbox)
    if name is None:
        for each in book.all():
            typer.echo(f"{each.name}  is  {each.person}  since {each.since:%Y-%m-%d %H:%M}, said by {each.said_by}")
        return
    if remove == (person is not None):
        raise typer.BadParameter("give NAME and PERSON, or NAME with --remove")
    if person is None:
        found = book.remove(name)
        typer.echo(f"{found.name} is {found.person} no more: what arrived until now stays {found.person}'s")
    else:
        found = book.add(name, person, by=by)
        typer.echo(f"{found.name} is {found.person}: what arrives from now on is {found.person}'s")


@app.command("erase")
def erase_contributor(
    contributor: Annotated[str, typer.Argument(help="Name or pseudonym of the contributor.")],
    reason: Annotated[str, typer.Option(help="Who asked for the erasure, and why; kept unchanged in the record.")],
) -> None:
    """Erase the texts of a contributor; ids, points and payments stay. Repeat the command after an interruption."""
    settings = settings_here()
    from crowd_assets.desk.store import forget_at_desk
    from crowd_assets.operations.erasure import erase
    from resources.build import build_resources

    found = erase(contributor, reason, settings, build_resources(settings))
    if forgotten := forget_at_desk(settings, contributor):
        typer.echo(f"{forgotten} texts, drafts and appeals removed from the desk")
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
    by: Annotated[str, typer.Option(help="Who releases the event.")],
    reason: Annotated[str, typer.Option(help="Why the rejection was wrong.")],
) -> None:
    """Release a rejected event, which then takes part in the next round. The table releases keeps the person and the reason."""
    settings = settings_here()
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
    amount: Annotated[str, typer.Option(help="The right amount of the entry, with sign; 0: no entry.")],
    by: Annotated[str, typer.Option(help="Who corrects the entry.")],
    reason: Annotated[str, typer.Option(help="Why the entry was wrong.")],
) -> None:
    """Correct an entry of a settled round. The round that is settled next reverses the transaction and posts a new one;
    statements, records and the audit show both."""
    settings = settings_here()
    from resources.build import build_resources
    from resources.rounds.corrections import CorrectionBook

    correction = CorrectionBook(build_resources(settings).warehouse).correct(
        entry, amount, by=by, why=reason, now=datetime.now(UTC)
    )
    posted = f"in round {correction.round_no}" if correction.round_no else "when the next round is settled"
    typer.echo(f"entry    {correction.entry_id}")
    typer.echo(f"posted   {posted}, as {correction.amount:f}, by {correction.corrected_by}: {correction.reason}")


@app.command("standings")
def show_standings(as_json: AsJson = False) -> None:
    """Show who may judge: every labeler's state, the figures of checks, outcomes and repeats, and decisions that wait for a round."""
    settings = settings_here()
    from crowd_assets.report.standings import print_standings, standings_now
    from resources.build import build_resources

    found = standings_now(build_resources(settings).warehouse)
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False)) if as_json else print_standings(found)


@app.command("decide")
def decide_on_labeler(
    labeler: Annotated[str, typer.Argument(help="Name or pseudonym of the labeler.")],
    decision: Annotated[
        Literal["paused", "unpaused", "appealed"],
        typer.Argument(
            help="paused: the labeler gets no comparison. unpaused: comparisons as before, without earlier checks. appealed: "
            "only checks, which lift the pause where answered well."
        ),
    ],
    by: Annotated[str, typer.Option(help="Name of the person who decides.")],
    reason: Annotated[str, typer.Option(help="Reason of the decision.")],
) -> None:
    """Pause a labeler, lift a pause, or hear an appeal. The decision holds from the next round on, whose record has the decision."""
    settings = settings_here()
    from resources.build import build_resources
    from resources.feedback.pseudonyms import Pseudonyms
    from resources.rounds.decisions import DecisionBook

    name = Pseudonyms.from_environment().of(labeler)
    decided = DecisionBook(build_resources(settings).warehouse).decide(
        name, decision, by=by, why=reason, now=datetime.now(UTC)
    )
    typer.echo(f"{decided.decision_id}  {decided.labeler_id} is {decided.decision} from the next round on")
