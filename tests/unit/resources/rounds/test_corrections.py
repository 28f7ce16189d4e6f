"""Corrections: the round that is settled next reverses a transaction and posts it anew, once, and nothing else can be corrected."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from crowd_assets.mechanisms.ledger import TREASURY, Entry, contributor_account, deposit_account, transfer
from crowd_assets.round.settlement import as_frame, correction_entries
from resources.rounds.book import Round, RoundBook
from resources.rounds.corrections import CorrectionBook, NoCorrectionError
from resources.warehouse.base import WarehouseResource, as_stored
from resources.warehouse.duckdb import DuckDBWarehouse

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_round(warehouse: WarehouseResource, number: int) -> Round:
    with warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, settings, claimed_at) "
            "VALUES ($n, $id, $n, $n, 'claimed', 1, 0, '{}', $now)",
            {"n": number, "id": f"r{number:06d}", "now": as_stored(NOW)},
        )
    return RoundBook(warehouse).get(f"r{number:06d}")


def settle(warehouse: WarehouseResource, round_: Round, entries: list[Entry]) -> None:
    RoundBook(warehouse).settle(round_, as_frame(entries), base_model=None, next_model=None, now=NOW, about={})
    RoundBook(warehouse).complete(round_.round_no)


def balance(warehouse: WarehouseResource, account: str, unit: str) -> Decimal:
    found = warehouse.query(
        "SELECT coalesce(sum(amount), 0) AS b FROM ledger WHERE account = $a AND unit = $u", {"a": account, "u": unit}
    )
    return Decimal(found.item())


@pytest.fixture
def warehouse(tmp_path: Path) -> WarehouseResource:
    """One settled round: points for Ann, a debt of Bob's, a deposit, credits."""
    made = DuckDBWarehouse(path=str(tmp_path / "warehouse.duckdb"))
    ann, bob, deposit = contributor_account("ann"), contributor_account("bob"), deposit_account("ann")
    entries: list[Entry] = []
    for debit, credit, unit, amount, reference in (
        (TREASURY, ann, "point", "3.5", "earned in r000001, ann"),
        (bob, TREASURY, "point", "2", "earned in r000001, bob"),
        (ann, deposit, "point", "1", "deposit of ann"),
        (TREASURY, ann, "credit", "0.25", "lot l, bid b"),
    ):
        entries += transfer(
            round_id="r000001",
            debit_account=debit,
            credit_account=credit,
            unit=unit,
            amount=Decimal(amount),
            reason="posted",
            reference=reference,
        )
    settle(made, a_round(made, 1), entries)
    return made


def entry(warehouse: WarehouseResource, account: str, reference: str) -> str:
    found = warehouse.query(
        "SELECT entry_id FROM ledger WHERE account = $a AND starts_with(reference, $r)", {"a": account, "r": reference}
    )
    return str(found.item())


@pytest.mark.parametrize(
    ("account", "reference", "unit", "right"),
    [
        ("contributor:ann", "earned", "point", "1.25"),
        ("contributor:ann", "earned", "point", "0"),
        ("contributor:ann", "earned", "point", "-4"),
        ("contributor:bob", "earned", "point", "0.5"),
        ("contributor:ann", "lot", "credit", "0.3"),
        ("deposit:ann", "deposit", "point", "0.000001"),
    ],
)
def test_the_next_round_makes_an_entry_what_it_should_have_been(
    warehouse: WarehouseResource, account: str, reference: str, unit: str, right: str
) -> None:
    wrong = entry(warehouse, account, reference)
    before = balance(warehouse, account, unit)
    was = warehouse.query("SELECT amount FROM ledger WHERE entry_id = $id", {"id": wrong}).item()
    CorrectionBook(warehouse).correct(wrong, right, by="Op", why="misread", now=NOW)
    assert balance(warehouse, account, unit) == before, "nothing is posted before a round is settled"
    round_ = a_round(warehouse, 2)
    taken = CorrectionBook(warehouse).taken_by(2)
    assert taken == CorrectionBook(warehouse).taken_by(2) == CorrectionBook(warehouse).of_round(2)
    entries = correction_entries(round_, warehouse, taken)
    settle(warehouse, round_, entries)
    assert balance(warehouse, account, unit) == before - was + Decimal(right)
    assert sum(each.amount for each in entries) == 0
    assert wrong in {each.reference for each in entries}
    a_round(warehouse, 3)
    assert CorrectionBook(warehouse).taken_by(3) == []


def test_a_correction_counts_once_and_a_skipped_rounds_goes_to_the_next(warehouse: WarehouseResource) -> None:
    book, wrong = CorrectionBook(warehouse), entry(warehouse, "contributor:ann", "earned")
    first = book.correct(wrong, "1", by="Op", why="misread", now=NOW)
    assert book.correct(wrong, "1.0", by="Op", why="misread", now=NOW) == first
    with pytest.raises(NoCorrectionError, match="corrected already"):
        book.correct(wrong, "2", by="Op", why="misread", now=NOW)
    a_round(warehouse, 2)
    assert len(book.taken_by(2)) == 1
    RoundBook(warehouse).skip(2, "a test")
    a_round(warehouse, 3)
    assert [each.round_no for each in book.taken_by(3)] == [3]


@pytest.mark.parametrize(
    ("amount", "by", "why", "said"),
    [
        ("3.5", "Op", "w", "nothing to correct"),
        ("0.0000001", "Op", "w", "6 decimal places"),
        ("NaN", "Op", "w", "6 decimal places"),
        ("1e99", "Op", "w", "6 decimal places"),
        ("ten", "Op", "w", "6 decimal places"),
        ("1", " ", "w", "who corrects and why"),
        ("1", "Op", "", "who corrects and why"),
    ],
)
def test_what_is_no_correction_is_refused(
    warehouse: WarehouseResource, amount: str, by: str, why: str, said: str
) -> None:
    with pytest.raises(NoCorrectionError, match=said):
        CorrectionBook(warehouse).correct(
            entry(warehouse, "contributor:ann", "earned"), amount, by=by, why=why, now=NOW
        )
    assert warehouse.query("SELECT * FROM corrections").is_empty()


def test_the_treasurys_side_and_entries_that_are_none_are_refused(warehouse: WarehouseResource) -> None:
    book = CorrectionBook(warehouse)
    with pytest.raises(NoCorrectionError, match="no such entry"):
        book.correct("'; DROP TABLE ledger; --", "1", by="Op", why="w", now=NOW)
    with pytest.raises(NoCorrectionError, match="treasury's side"):
        book.correct(entry(warehouse, "treasury", "earned in r000001, ann"), "1", by="Op", why="w", now=NOW)
    assert isinstance(warehouse.query("SELECT * FROM ledger"), pl.DataFrame)
