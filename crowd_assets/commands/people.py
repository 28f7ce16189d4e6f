"""Commands about people: pseudonym, alias, export-person, erase, release, correct, standings, decide.

Belongs here: their options and help. Does not belong here: what they do (see ``crowd_assets.operations``).
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from crowd_assets.commands.app import AsJson, app, settings_here


@app.command("pseudonym")
def show_pseudonyms(
    names: Annotated[list[str], typer.Argument(help="Names of contributors, as tools send names.")],
) -> None:
    """Print the pseudonym that the home CROWD_HOME has for each name, by the key in CROWD_PSEUDONYM_KEY, to find the person of a payment."""
    settings = settings_here()
    from resources.build import build_resources
    from resources.feedback.pseudonyms import KEY_VARIABLE, HomePseudonyms, PseudonymKeyError, Pseudonyms

    warehouse = build_resources(settings).warehouse
    if not Pseudonyms.from_environment().keyed:
        raise PseudonymKeyError(f"{KEY_VARIABLE} is not set: without a key contributors keep their names.")
    if not warehouse.exists():
        raise PseudonymKeyError(f"CROWD_HOME={settings.home}: there is no home there, so nobody has a pseudonym.")
    pseudonyms = HomePseudonyms.of_home(warehouse)
    for name in names:
        typer.echo(f"{pseudonyms.found(name) or 'has sent nothing'}  {name}")


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
    identifier: Annotated[
        bool,
        typer.Option(
            "--identifier",
            help="Destroy the link between name and pseudonym, too: nobody can tell any more to whom points and payments belong.",
        ),
    ] = False,
) -> None:
    """Erase the texts of a contributor; ids, points and payments stay. Repeat the command after an interruption."""
    settings = settings_here()
    from crowd_assets.desk.privacy import forget_at_desk
    from crowd_assets.operations.erasure import erase
    from resources.build import build_resources

    resources = build_resources(settings)

    def at_desk(names: Sequence[str]) -> int:
        return forget_at_desk(settings, resources.warehouse, [contributor, *names], identifier=identifier)

    found = erase(contributor, reason, settings, resources, identifier=identifier, at_desk=at_desk)
    if found.at_desk:
        typer.echo(f"{found.at_desk} texts, drafts and appeals removed from the desk")
    if found.unlinked:
        typer.echo(f"{found.contributor_id}: nobody can tell any more whose pseudonym this was; {found.unlinked}")
    if not found.erasure_id:
        typer.echo(f"{found.contributor_id}: no text is left in the home to erase")
        return
    typer.echo(f"{found.erasure_id}: {found.events} events of {found.contributor_id}, {found.files} files rewritten")
    for what, names in (
        ("no judgement is taken any more of", found.withdrawn),
        ("trained on the texts", found.trained_on),
        ("made from a model that was", found.descended),
    ):
        if names:
            typer.echo(f"{what}: {', '.join(names)}")


@app.command("export-person")
def export_person(
    contributor: Annotated[str, typer.Argument(help="Name or pseudonym of the contributor.")],
    to: Annotated[
        Path | None,
        typer.Option(help="File to write, readable by its owner alone. Without a file the object is printed."),
    ] = None,
) -> None:
    """Write everything that is kept about a contributor as one JSON object: what arrived, what was rejected, judgements, points,
    payments, findings, from tables, frames, files and the snapshot, and what the desk keeps."""
    settings = settings_here()
    from crowd_assets.desk.privacy import kept_at_desk
    from crowd_assets.operations.person import as_json, everything_about, write_privately
    from resources.build import build_resources

    resources = build_resources(settings)

    def at_desk(names: Sequence[str]) -> list[dict[str, Any]]:
        return kept_at_desk(settings, resources.warehouse, [contributor, *names])

    found = everything_about(contributor, settings, resources, at_desk)
    if to is None:
        typer.echo(as_json(found))
        return
    write_privately(to, as_json(found) + "\n")
    typer.echo(f"{sum(len(rows) for rows in found['tables'].values())} rows of {len(found['tables'])} tables  {to}")


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
    from resources.feedback.aliases import person_of
    from resources.rounds.decisions import DecisionBook

    warehouse = build_resources(settings).warehouse
    name = person_of(warehouse, labeler)
    decided = DecisionBook(warehouse).decide(name, decision, by=by, why=reason, now=datetime.now(UTC))
    typer.echo(f"{decided.decision_id}  {decided.labeler_id} is {decided.decision} from the next round on")
