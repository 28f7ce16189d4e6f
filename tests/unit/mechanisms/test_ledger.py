"""Ledger: entries balance, are named deterministically, and are undone by reversals."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.ledger import (
    TREASURY,
    UNITS,
    Entry,
    contributor_account,
    contributor_of,
    deposit_account,
    held_back,
    reversal,
    totals,
    transfer,
    unbalanced,
)

amounts = st.decimals(min_value="0.000001", max_value="999999999999", places=6, allow_nan=False)
transfers = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(UNITS), amounts, st.integers(0, 99)), max_size=12)


def post(rows: list[tuple[int, str, Decimal, int]]) -> list[Entry]:
    return [
        entry
        for row, (contributor, unit, amount, bid) in enumerate(rows)
        for entry in transfer(
            round_id="r000001",
            debit_account=TREASURY,
            credit_account=contributor_account(f"c{contributor}"),
            unit=unit,
            amount=amount,
            reason="award",
            reference=f"bid-{row}-{bid}",
        )
    ]


@given(transfers)
def test_every_set_of_transfers_balances_and_its_reversal_leaves_nothing(
    rows: list[tuple[int, str, Decimal, int]],
) -> None:
    entries = post(rows)
    with localcontext() as context:
        context.prec = 3  # the caller's precision must not matter
        undone = reversal(entries, round_id="r000002", reason="correction")
        assert unbalanced(entries) == {}
        assert unbalanced([*entries, *undone]) == {}
        assert not any(totals([*entries, *undone]).values())
    assert len({(entry.entry_id) for entry in [*entries, *undone]}) == len([*entries, *undone])
    assert totals(entries) == totals(reversed(entries))


@given(amount=amounts)
def test_equal_arguments_give_equal_entries_and_the_amount_is_not_part_of_the_name(amount: Decimal) -> None:
    (debit, credit), again, (other, _) = (
        transfer(
            round_id="r000001",
            debit_account=TREASURY,
            credit_account="contributor:ada",
            unit="credit",
            amount=given_amount,
            reason="award",
            reference="bid-7",
        )
        for given_amount in (amount, amount, amount + 1)
    )
    assert (debit, credit) == again
    assert debit.amount == -credit.amount == -amount
    assert debit.entry_id == other.entry_id
    assert debit.entry_id != credit.entry_id
    assert len(debit.entry_id) == 32


def test_entry_ids_stay_what_they_are() -> None:
    entry = transfer(
        round_id="r000001",
        debit_account=TREASURY,
        credit_account="contributor:zoë",
        unit="point",
        amount=Decimal(3),
        reason="rank_points",
        reference="r000001/zoë",
    )[1]
    assert entry.entry_id == "351b06beed144b7819f3ff12e7abe3b8"


def test_half_a_transaction_is_unbalanced_and_cannot_be_reversed() -> None:
    half = post([(1, "credit", Decimal("0.5"), 1)])[:1]
    assert unbalanced(half) == {"credit": Decimal("-0.5")}
    with pytest.raises(ValueError, match="whole transactions"):
        reversal(half, round_id="r000002", reason="correction")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"amount": Decimal(0)}, "positive"),
        ({"amount": Decimal(-1)}, "positive"),
        ({"amount": Decimal("NaN")}, "finite"),
        ({"amount": Decimal("Infinity")}, "finite"),
        ({"amount": Decimal("0.0000001")}, "decimal places"),
        ({"amount": 1.5}, "never float"),
        ({"unit": "euro"}, "unknown unit"),
        ({"credit_account": TREASURY}, "two accounts"),
        ({"reference": ""}, "reference is empty"),
    ],
)
def test_what_is_no_transfer_is_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "round_id": "r000001",
        "debit_account": TREASURY,
        "credit_account": "contributor:ada",
        "unit": "credit",
        "amount": Decimal("1.250000"),
        "reason": "award",
        "reference": "bid-1",
    }
    with pytest.raises(ValueError, match=message):
        transfer(**{**arguments, **change})  # type: ignore[arg-type]


def test_an_account_needs_a_contributor() -> None:
    assert contributor_account("ada") == "contributor:ada"
    with pytest.raises(ValueError, match="contributor id"):
        contributor_account("")


points = st.decimals(min_value=-50, max_value=50, places=6, allow_nan=False)


@given(st.lists(points, max_size=8), st.decimals(min_value=0, max_value=30, places=6))
def test_the_first_points_of_a_name_are_held_back_once_however_they_arrive(
    earned: list[Decimal], deposit: Decimal
) -> None:
    held = Decimal(0)
    for amount in earned:
        back = held_back(held, amount, deposit)
        assert 0 <= back <= max(amount, Decimal(0))
        held += back
    assert held == min(deposit, sum((max(amount, Decimal(0)) for amount in earned), Decimal(0)))


def test_a_deposit_that_is_lowered_comes_back_and_none_is_below_zero() -> None:
    assert held_back(Decimal(5), Decimal(-3), Decimal(2)) == Decimal(-3)
    assert held_back(Decimal(5), Decimal(1), Decimal(0)) == Decimal(-5)
    for held, deposit in ((-1, 5), (1, -5)):
        with pytest.raises(ValueError, match="below zero"):
            held_back(Decimal(held), Decimal(1), Decimal(deposit))


def test_a_deposit_is_an_account_of_its_own() -> None:
    assert deposit_account("a:b") != contributor_account("a:b")
    assert contributor_of(deposit_account("a:b")) == contributor_of(contributor_account("a:b")) == "a:b"
    with pytest.raises(ValueError, match="contributor id"):
        deposit_account("")
