"""Money: credits are whole quanta, and what is no money is refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.mechanisms.auctions.money import to_quanta


@given(st.integers(0, 10**18))
def test_credits_are_quanta_exactly(quanta: int) -> None:
    assert to_quanta(Decimal(quanta).scaleb(-6)) == quanta


def test_conversion_by_hand() -> None:
    assert to_quanta(Decimal("1.25")) == 1_250_000
    assert to_quanta(Decimal("1E+3")) == 10**9


@pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("-1"), Decimal("1e-7"), Decimal("Infinity"), 1.0])
def test_what_is_no_money_is_refused(amount: Decimal) -> None:
    with pytest.raises(ValueError, match=r"Decimal|negative|finer"):
        to_quanta(amount)
