"""Commands of the desk: serve, invite, pause, appeals, payouts.

Belongs here: their options and help. Does not belong here: what they do (see ``crowd_assets.desk``).
"""

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crowd_assets.commands.app import AsJson, app, settings_here

if TYPE_CHECKING:
    from crowd_assets.desk.store import DeskStore

PORT = 3080


@app.command("serve")
def serve_desk(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than this machine's own want a proxy with TLS in front.")
    ] = "127.0.0.1",
) -> None:
    """Serve the desk, the pages on which people write, compare, offer and see their pay, until interrupted. CROWD_DESK_URL
    is the address of the desk for people."""
    settings = settings_here()
    from crowd_assets.desk.serving import serve
    from resources.build import build_resources

    serve(settings, build_resources(settings), host, port)


@app.command("invite")
def invite_people(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names to invite by; a name that is known gets a new link.")
    ] = None,
    count: Annotated[
        int, typer.Option(min=0, max=10_000, help="How many people to invite under names drawn at random.")
    ] = 0,
    operator: Annotated[bool, typer.Option("--operator", help="Invite operators, who see the page Manage.")] = False,
    out: Annotated[Path | None, typer.Option(help="CSV file for names and links, which are also printed.")] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Print the links of everybody who is invited, and invite nobody.")
    ] = False,
    withdraw: Annotated[str, typer.Option(help="Let the person of this name in no more.")] = "",
) -> None:
    """Invite people to the desk, each by a link of their own, signed and to be withdrawn at any time."""
    settings = settings_here()
    from crowd_assets.desk.letting_in import Seals
    from crowd_assets.desk.people import as_cell, new_names
    from crowd_assets.desk.store import CROWD, OPERATOR
    from resources.rounds.secret import home_secret

    store = _store()
    if withdraw:
        store.revoke(withdraw)
        typer.echo(f"{withdraw} is let in no more")
        return
    if listed:
        people = [found for row in store.everybody() if not row["revoked_at"] and (found := store.person(row["name"]))]
    else:
        prefix = "operator" if operator else "person"
        wanted = [*(names or []), *new_names(store, count, prefix)]
        if not wanted:
            raise typer.BadParameter("name somebody, or say --count 20 (crowd-rounds invite --help)")
        people = store.invite(wanted, role=OPERATOR if operator else CROWD)
    seals, url = Seals(home_secret(settings)), settings.desk_url or f"http://127.0.0.1:{PORT}"
    rows = [(each.name, each.role, f"{url}/join/{seals.invitation(each.name, each.link)}") for each in people]
    for name, role, link in rows:
        typer.echo(f"{name}  {role}  {link}")
    if out:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("name", "role", "link"))
            writer.writerows([as_cell(cell) for cell in row] for row in rows)
        typer.echo(f"{len(rows)} links written to {out}", err=True)


@app.command("pause")
def pause_person(
    name: Annotated[str, typer.Argument(help="Name of the person.")],
    why: Annotated[str, typer.Option(help="Reason that the person reads.")] = "by the operator",
    end: Annotated[bool, typer.Option("--end", help="Give the person comparisons again.")] = False,
) -> None:
    """Give somebody nothing to compare at the desk, until the pause is ended."""
    store = _store()
    if end:
        store.unpause(name)
    else:
        store.pause(name, why)
    typer.echo(f"{name} is given {'comparisons again' if end else f'nothing to compare: {why}'}")


@app.command("appeals")
def show_appeals(
    answer: Annotated[str, typer.Option(help="Id of the appeal to answer.")] = "",
    text: Annotated[str, typer.Option(help="Answer that the person reads.")] = "seen",
    as_json: AsJson = False,
) -> None:
    """List appeals of people at the desk, and who asked for an erasure; or answer an appeal."""
    store = _store()
    if answer:
        store.answer(answer, text)
        typer.echo(f"{answer} is answered")
        return
    found, asked = store.appeals(), store.erasures_asked()
    if as_json:
        typer.echo(json.dumps({"appeals": found, "erasures_asked": asked}, indent=2, default=str, ensure_ascii=False))
        return
    for each in found:
        state = f"answered: {each['answer']}" if each["answered_at"] else "open"
        typer.echo(f"{each['appeal_id']}  {each['name']}  {each['reference'] or '-'}  {state}\n    {each['text']}")
    for name in asked:
        typer.echo(f"erasure asked for by {name}: crowd-rounds erase {name} --reason ...")
    if not found and not asked:
        typer.echo("no appeals")


@app.command("payouts")
def show_payouts(
    since: Annotated[str, typer.Option(help="First round whose credits count, like r000002; empty: the first.")] = "",
    through: Annotated[str, typer.Option(help="Last round whose credits count; empty: the last.")] = "",
    out: Annotated[Path | None, typer.Option(help="CSV file to write; empty: print.")] = None,
) -> None:
    """What the ledger owes in credits, by contributor, and the money that CROWD_DESK_CREDIT_RATE makes of the credits, as CSV. Names that
    the desk knows stand in the place of pseudonyms where the key is set."""
    settings = settings_here()
    from crowd_assets.desk.people import payouts, payouts_as_csv
    from resources.build import build_resources

    names = [row["name"] for row in _store().everybody()]
    text = payouts_as_csv(
        payouts(settings, build_resources(settings).warehouse, names=names, since=since, through=through)
    )
    if out:
        out.write_text(text, encoding="utf-8", newline="")
        typer.echo(f"payouts  {out}")
    else:
        sys.stdout.write(text)


def _store() -> "DeskStore":
    from crowd_assets.desk.database import database_url
    from crowd_assets.desk.store import DeskStore

    return DeskStore(database_url(settings_here()))
