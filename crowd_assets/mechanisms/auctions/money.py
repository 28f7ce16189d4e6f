"""Money as whole numbers of quanta, and what every auction shares: checked amounts, recorded ties, the result of a purchase.

Belongs here: conversion, checks, the result type. Does not belong here: a rule that decides who sells (a module each).
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

MONEY_QUANTUM = Decimal("0.000001")


LARGEST_TOTAL = 1 << 61
"""No set of bids may add up to more quanta, so that sums never leave int64."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """What one of the other rules buys: ``awarded`` (n,), ``payments`` (n,) in quanta, ``spent`` = their sum."""

    awarded: NDArray[np.bool_]
    payments: NDArray[np.int64]
    spent: int


def to_quanta(amount: Decimal) -> int:
    """Count of money quanta in an amount of credits: amount / 1e-6, exactly.

    Raises:
        ValueError: not a ``Decimal``, not finite, negative, or finer than the quantum.

    Example:
        >>> to_quanta(Decimal("1.5"))
        1500000
    """
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise ValueError(f"money must be a finite Decimal, got {amount!r}")
    if amount < 0:
        raise ValueError(f"money must not be negative, got {amount}")
    numerator, denominator = amount.as_integer_ratio()
    quanta, rest = divmod(numerator * 1_000_000, denominator)
    if rest:
        raise ValueError(f"{amount} is finer than the money quantum {MONEY_QUANTUM}: round it first")
    return quanta


def purchase_of(awarded: NDArray[np.bool_], prices: NDArray[np.int64]) -> Purchase:
    """The purchase of the bids ``awarded`` (n,) at ``prices`` (n,) in quanta; the others are paid 0.

    Example:
        >>> import numpy as np
        >>> purchase_of(np.array([True, False]), np.array([4, 5]))
        Purchase(awarded=array([ True, False]), payments=array([4, 0]), spent=4)
    """
    payments = np.where(awarded, prices, 0).astype(np.int64)
    return Purchase(awarded=awarded, payments=payments, spent=int(payments.sum()))


def checked_bids(
    values: NDArray[np.int64], asked_prices: NDArray[np.int64], tie_break: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Checked values, asked prices and tie-break, (n,) each; raises what ``checked_amounts`` and ``checked_permutation`` raise.

    Example:
        >>> import numpy as np
        >>> [part.tolist() for part in checked_bids(np.array([9, 8]), np.array([2, 3]), np.array([1, 0]))]
        [[9, 8], [2, 3], [1, 0]]
    """
    values, asked_prices = checked_amounts(values, "values"), checked_amounts(asked_prices, "asked prices")
    if values.shape != asked_prices.shape:
        raise ValueError(f"expected one value and asked price a bid, got {values.shape} and {asked_prices.shape}")
    return values, asked_prices, checked_permutation(tie_break, values.size)


def checked_permutation(tie_break: NDArray[np.int64], bids: int) -> NDArray[np.int64]:
    """The tie-break as int64 (n,); raises ``ValueError`` unless each rank 0..n-1 occurs once.

    Example:
        >>> import numpy as np
        >>> checked_permutation(np.array([2, 0, 1]), 3).tolist()
        [2, 0, 1]
    """
    tie_break = np.asarray(tie_break, dtype=np.int64)
    seen = np.zeros(bids, dtype=bool)
    if tie_break.shape == (bids,) and (not bids or (tie_break.min() >= 0 and tie_break.max() < bids)):
        seen[tie_break] = True
    if tie_break.shape != (bids,) or not seen.all():
        raise ValueError(f"tie_break must be a permutation of 0..{bids - 1}")
    return tie_break


def check_terms(winners: int, money: int) -> None:
    """Raises ``ValueError`` unless there is a winner at least and the money is in 0..2^61 quanta.

    Example:
        >>> check_terms(winners=2, money=10)
        >>> check_terms(winners=0, money=10)
        Traceback (most recent call last):
            ...
        ValueError: expected winners >= 1 and money in 0..2305843009213693952 quanta, got 0 and 10
    """
    if winners < 1 or not 0 <= money <= LARGEST_TOTAL:
        raise ValueError(f"expected winners >= 1 and money in 0..{LARGEST_TOTAL} quanta, got {winners} and {money}")


def checked_amounts(amounts: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Money as int64 (n,), in quanta; raises ``ValueError`` unless it is integers, not negative, at most 2^61 in total.

    Example:
        >>> import numpy as np
        >>> checked_amounts(np.array([4, 0], dtype=np.uint8), "values").dtype.name
        'int64'
    """
    amounts = np.asarray(amounts)
    if amounts.size == 0:
        amounts = amounts.astype(np.int64)
    if amounts.ndim != 1 or amounts.dtype.kind not in "iu":
        raise ValueError(f"{name} must be one integer count of quanta each, never float: got dtype {amounts.dtype}")
    if amounts.size and (int(amounts.min()) < 0 or int(amounts.max()) > LARGEST_TOTAL // amounts.size):
        raise ValueError(f"{name} must not be negative nor sum to more than {LARGEST_TOTAL} quanta")
    return amounts.astype(np.int64)
