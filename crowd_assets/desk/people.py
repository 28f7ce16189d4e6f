"""People as an operator deals with them from a terminal: names for invitations, and what each is to be paid.

Belongs here: that, for commands and pages alike. Does not belong here: who is let in (see ``letting_in``).
"""

import csv
import io
import secrets
from decimal import Decimal

import polars as pl

from crowd_assets.desk.store import DeskStore
from crowd_assets.mechanisms.ledger import TREASURY, contributor_of
from resources.feedback.pseudonyms import HomePseudonyms
from resources.settings.settings import Settings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.snapshot import NoSnapshotError

PAYOUTS: dict[str, pl.DataType] = {
    "name": pl.String(),
    "account": pl.String(),
    "credits": pl.Decimal(18, 6),
    "amount": pl.Decimal(38, 2),
    "currency": pl.String(),
}
CENT = Decimal("0.01")


def new_names(store: DeskStore, count: int, prefix: str = "person") -> list[str]:
    """Names that nobody has: they say nothing about who it is."""
    known = {row["name"] for row in store.everybody()}
    names: list[str] = []
    while len(names) < count:
        name = f"{prefix}-{secrets.token_hex(4)}"
        if name not in known:
            known.add(name)
            names.append(name)
    return names


def payouts(
    settings: Settings,
    warehouse: WarehouseResource,
    *,
    names: list[str] | None = None,
    since: str = "",
    through: str = "",
) -> pl.DataFrame:
    """What the ledger owes in credits, by contributor, and what it is in money by ``CROWD_DESK_CREDIT_RATE``.

    Args:
        names: Names to look for behind pseudonyms; without them rows carry the name that the ledger has.
        since, through: Rounds, like r000002, whose entries count; empty: from the first, through the last.

    Returns:
        Columns ``name``, ``account``, ``credits``, ``amount`` (rounded down to hundredths) and ``currency``, most credits first.
    """
    conditions, parameters = ["unit = 'credit'", "account <> $treasury"], {"treasury": TREASURY}
    for sign, round_id in ((">=", since), ("<=", through)):
        if round_id:
            conditions.append(f"round_id {sign} ${'since' if sign == '>=' else 'through'}")
            parameters["since" if sign == ">=" else "through"] = round_id
    try:
        found = warehouse.query(
            f"SELECT account, sum(amount) AS credits FROM ledger WHERE {' AND '.join(conditions)} GROUP BY account "
            "ORDER BY credits DESC, account",
            parameters,
        )
    except NoSnapshotError:
        return pl.DataFrame(schema=PAYOUTS)
    pseudonyms = HomePseudonyms.of_home(warehouse)
    known = {pseudonyms.found(name): name for name in names or ()}
    rate = Decimal(settings.desk_credit_rate)
    rows = [
        {
            "name": known.get(contributor_of(account), contributor_of(account)),
            "account": account,
            "credits": credits,
            "amount": (credits * rate).quantize(CENT, rounding="ROUND_FLOOR"),
            "currency": settings.desk_currency,
        }
        for account, credits in found.iter_rows()
        if credits
    ]
    return pl.DataFrame(rows, schema=PAYOUTS)


def payouts_as_csv(rows: pl.DataFrame) -> str:
    """Payouts as CSV for a spreadsheet; no cell begins as a formula does."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(rows.columns)
    for row in rows.iter_rows():
        writer.writerow([as_cell(value) for value in row])
    return text.getvalue()


def as_cell(value: object) -> str:
    """A value as a cell that no spreadsheet takes for a formula."""
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not isinstance(value, Decimal) else text
