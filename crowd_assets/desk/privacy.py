"""What the desk keeps about somebody, and how the desk forgets somebody.

Belongs here: both, for a person's own page and for commands. Does not belong here: what lies in the inbox and beyond (see
``crowd_assets.operations``).
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select, update

from crowd_assets.desk.database import database_url
from crowd_assets.desk.store import DeskStore, now
from crowd_assets.desk.tables import appeals, consents, drafts, erasures, people, seats, sent, skips
from crowd_assets.operations.backup import DESK
from resources.feedback.pseudonyms import HomePseudonyms
from resources.settings.settings import Settings
from resources.warehouse.base import WarehouseResource


def forget(store: DeskStore, name: str, *, identifier: bool = False) -> int:
    """Remove every text of somebody that the desk still has; what lies in the inbox is for ``crowd-rounds erase``.

    Args:
        identifier: Whether the person goes as well: that a judgement was sent stays, under a name that is nobody's.

    Returns:
        how many events, drafts and appeals lost their text.
    """
    with store.database.writing() as connection:
        gone = connection.execute(delete(sent).where(sent.c.name == name, sent.c.written_at.is_(None))).rowcount
        gone += connection.execute(delete(drafts).where(drafts.c.name == name)).rowcount
        gone += connection.execute(
            update(appeals).where(appeals.c.name == name).values(text="[erased on request]")
        ).rowcount
        connection.execute(
            update(erasures).where(erasures.c.name == name, erasures.c.done_at.is_(None)).values(done_at=now())
        )
        if identifier:
            connection.execute(
                update(sent).where(sent.c.name == name).values(name=f"erased-{secrets.token_hex(8)}", text="")
            )
            for table in (people, consents, skips, seats, appeals, erasures):
                connection.execute(delete(table).where(table.c.name == name))
    store.database.forget_log()
    return int(gone)


def kept_about(store: DeskStore, name: str) -> dict[str, Any]:
    """All that the desk keeps about somebody, as JSON has it."""
    with store.database.reading() as connection:
        tables = {
            "person": people,
            "consents": consents,
            "drafts": drafts,
            "sent": sent,
            "skipped": skips,
            "seats": seats,
            "appeals": appeals,
            "erasures": erasures,
        }
        return {
            what: [
                {key: value.isoformat() if isinstance(value, datetime) else value for key, value in row.items()}
                for row in connection.execute(select(table).where(table.c.name == name)).mappings()
            ]
            for what, table in tables.items()
        }


def forget_at_desk(
    settings: Settings, warehouse: WarehouseResource, names: Sequence[str], *, identifier: bool = False
) -> int:
    """:func:`forget` for whoever has one of some names or pseudonyms, where there is a desk.

    Returns:
        how many events, drafts and appeals lost their text.
    """
    with _known_at_desk(settings, warehouse, names) as (store, known):
        return sum(forget(store, name, identifier=identifier) for name in known if store is not None)


def kept_at_desk(settings: Settings, warehouse: WarehouseResource, names: Sequence[str]) -> list[dict[str, Any]]:
    """:func:`kept_about` for whoever has one of some names or pseudonyms; nothing where there is no desk."""
    with _known_at_desk(settings, warehouse, names) as (store, known):
        return [kept_about(store, name) for name in known if store is not None]


@contextmanager
def _known_at_desk(
    settings: Settings, warehouse: WarehouseResource, names: Sequence[str]
) -> Iterator[tuple[DeskStore | None, list[str]]]:
    """The desk's tables, and the names that people have there who have one of some names or pseudonyms."""
    if not settings.warehouse and not Path(settings.home, DESK).exists():
        yield None, []
        return
    pseudonyms, store = HomePseudonyms.of_home(warehouse), DeskStore(database_url(settings))
    try:
        known = sorted(row["name"] for row in store.everybody())
        yield store, [name for name in known if name in names or pseudonyms.found(name) in names]
    finally:
        store.close()
