"""What a person's own page shows: what was earned, the sum that it is, what was rejected and why.

Belongs here: gathering it. Does not belong here: how points and credits come about (see ``crowd_assets.round``), how the page looks.
"""

from typing import Any

from crowd_assets.desk.desk import Desk
from crowd_assets.desk.store import Person
from crowd_assets.report.campaign import NothingToReportError
from crowd_assets.report.statement import Statement, statement_of
from resources.warehouse.snapshot import NoSnapshotError


def statement_for(desk: Desk, name: str) -> Statement | None:
    """What the snapshot says of somebody; None before the first round that somebody took part in was settled."""
    try:
        return statement_of(name, desk.settings, desk.warehouse)
    except (NothingToReportError, NoSnapshotError):
        return None


def own_page(desk: Desk, person: Person) -> dict[str, Any]:
    """What the template ``mine`` shows, and ``as_data`` for the export."""
    found = statement_for(desk, person.name)
    frames = (
        {}
        if found is None
        else {
            "rounds": found.rounds.reverse(),
            "terms": found.terms,
            "entries": found.entries,
            "rejected": found.rejected,
            "findings": found.findings,
        }
    )
    return {
        "found": found,
        "rounds": [] if found is None else frames["rounds"].to_dicts(),
        "terms": [] if found is None else found.terms.to_dicts(),
        "words": {} if found is None else found.terms_shown(),
        "entries": [] if found is None else found.entries.to_dicts(),
        "rejected": [] if found is None else found.rejected.to_dicts(),
        "findings": [] if found is None else found.findings.to_dicts(),
        "counts": desk.store.history(person.name).counts,
        "appeals": desk.store.appeals(person.name),
        "currency": desk.settings.desk_currency,
        "rate": float(desk.settings.desk_credit_rate),
        "as_data": {name: frame.to_dicts() for name, frame in frames.items()},
    }
