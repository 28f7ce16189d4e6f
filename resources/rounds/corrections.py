"""Corrections: what a settled round posted wrongly is reversed and posted anew, in the round that is settled next.

A settled round is never rewritten. A correction waits until a round is settled, which posts the reversal of the whole transaction and,
where an amount is left, a new transaction; both refer to the entry that was wrong. So a correction is part of that round's
record, and the audit recomputes its entries.

Belongs here: corrections and their record. Does not belong here: their entries (see ``crowd_assets.round.settlement``).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import polars as pl

from resources.common.errors import OperatorError
from resources.warehouse.base import WarehouseResource, as_stored, fetch_row
from resources.warehouse.connection import Connection
from resources.warehouse.facts import TREASURY

PLACES = 6  # decimal places of an amount
LARGEST = Decimal(10) ** 12  # of an amount, exclusive
COLUMNS = "entry_id, amount, reason, corrected_by, corrected_at, round_no"


@dataclass(frozen=True)
class Correction:
    """One row of the table ``corrections``: the entry that is wrong, what it should have been (0: nothing), why, by whom and when;
    ``round_no`` is the round that posts it, None before one does."""

    entry_id: str
    amount: Decimal
    reason: str
    corrected_by: str
    corrected_at: datetime
    round_no: int | None


class NoCorrectionError(OperatorError, ValueError):
    """What was named cannot be corrected so; the message says why."""


class CorrectionBook:
    """Corrections of a warehouse's ledger."""

    def __init__(self, warehouse: WarehouseResource) -> None:
        self._warehouse = warehouse

    def correct(self, entry_id: str, amount: str, *, by: str, why: str, now: datetime) -> Correction:
        """Say what an entry should have been. The same correction twice is one.

        Args:
            entry_id: Of the entry on the contributor's account, or on its deposit.
            amount: What it should have been, with its sign, at most 6 decimal places; 0 reverses it and posts nothing.

        Raises:
            NoCorrectionError: there is no such entry, it is the treasury's side, nothing would change, the amount is no such number,
                nobody or no reason is named, or the entry is corrected already, to another amount.
        """
        if not by.strip() or not why.strip():
            raise NoCorrectionError("A correction names who corrects and why: --by and --reason.")
        right = _amount(amount)

        def note(connection: Connection) -> Correction:
            entry = fetch_row(
                connection, "SELECT account, unit, amount FROM ledger WHERE entry_id = $id", {"id": entry_id}
            )
            if not entry:
                raise NoCorrectionError(
                    f"{entry_id}: the ledger has no such entry. A contributor's statement lists their ids."
                )
            account, unit, posted = entry
            if account == TREASURY:
                raise NoCorrectionError(
                    f"{entry_id} is the treasury's side of a transaction: name the entry on the contributor's account."
                )
            known = _rows(connection, "WHERE entry_id = $id", {"id": entry_id})
            if known:
                if known[0].amount == right:
                    return known[0]
                raise NoCorrectionError(
                    f"{entry_id} is corrected already, to {known[0].amount:f} {unit}s: correct the entry of that correction, once a round has posted the entry."
                )
            if posted == right:
                raise NoCorrectionError(f"{entry_id} is of {posted:f} {unit}s: nothing to correct.")
            correction = Correction(entry_id, right, why.strip(), by.strip(), now, None)
            self._warehouse.append(
                connection,
                "corrections",
                pl.DataFrame(
                    [{**vars(correction), "corrected_at": as_stored(now)}],
                    schema_overrides={"amount": pl.Decimal(18, 6), "round_no": pl.Int32},
                ),
            )
            return correction

        return self._warehouse.atomically(note)

    def taken_by(self, round_no: int) -> list[Correction]:
        """Those that a round posts: what waits when it is about to be settled is given to it, and what a skipped round had."""

        def take(connection: Connection) -> list[Correction]:
            connection.execute(
                "UPDATE corrections SET round_no = $n WHERE (round_no IS NULL OR round_no IN "
                "(SELECT round_no FROM rounds WHERE status = 'skipped')) AND EXISTS (SELECT 1 FROM rounds WHERE round_no = $n "
                "AND status = 'claimed')",
                {"n": round_no},
            )
            return _rows(connection, "WHERE round_no = $n", {"n": round_no})

        return self._warehouse.atomically(take)

    def of_round(self, round_no: int) -> list[Correction]:
        """Those that a round has posted."""
        with self._warehouse.connect() as connection:
            return _rows(connection, "WHERE round_no = $n", {"n": round_no})


def _rows(connection: Connection, which: str, parameters: dict[str, object]) -> list[Correction]:
    rows = connection.execute(f"SELECT {COLUMNS} FROM corrections {which} ORDER BY entry_id", parameters).fetchall()
    return [
        Correction(entry, amount, why, by, at.replace(tzinfo=UTC), number)
        for entry, amount, why, by, at, number in rows
    ]


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
        valid = amount.is_finite() and amount == round(amount, PLACES) and abs(amount) < LARGEST
    except InvalidOperation:
        valid = False
    if not valid:
        raise NoCorrectionError(
            f"--amount {text!r}: expected a number of at most {PLACES} decimal places, such as -1.25."
        )
    return amount
