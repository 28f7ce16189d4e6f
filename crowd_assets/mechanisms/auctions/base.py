"""What every auction of a round is given and returns, and the sentences that members guarantee.

A lot is a prompt that the platform published; a bid is an answer to it. A comparison needs two answers, so a member buys at
least two answers in a lot or none. Money is int64 counts of the money quantum; values are what the buyer verified, in the
same quanta, never the seller's claim.

Belongs here: ``Auction``, ``Offers``, ``Terms``, ``Sale`` and what members share. Does not belong here: any rule of who is
awarded.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.money import LARGEST_TOTAL, Purchase
from crowd_assets.mechanisms.families import Member

WHOLE = 1_000_000
"""Rates are counts of millionths of a value: at ``WHOLE`` an answer is paid all that it is worth."""
LEAST = 2
"""Answers bought in a lot at least: a comparison has two."""

TRUTHFUL = "A seller with one bid earns most by asking its cost, whatever the others ask."
RATIONAL = "An awarded seller is paid at least the asked price, and nobody else is paid."
WITHIN_BUDGET = "Payments sum to no more than the budget."
NO_MORE_THAN_VALUE = "No answer is paid more than its verified value."
NAMES_RAISE_NO_PRICE = (
    "No bid that is added, under whatever name, in whatever lot, at whatever price, raises what any answer is paid."
)
SEVERAL_ANSWERS = (
    "A seller can sell under one name all that several names could sell: a seller may offer several answers in a lot."
)
UNSELLABLE_IS_NOTHING = "A bid that asks more than its answer is worth changes nothing for anybody."


@dataclass(frozen=True, slots=True)
class Offers:
    """The n bids of a round.

    Attributes:
        lot: (n,) index of the lot, 0..L-1.
        seller: (n,) an integer a name that does not depend on who else bids, such as a hash of the name.
        values: (n,) quanta >= 0, verified by the buyer.
        asked_prices: (n,) quanta >= 0.
        lengths: (n,) characters of each response.
        lot_keys: (L,) an integer a lot that does not depend on which other lots are bid for; the index, if left out.
    """

    lot: NDArray[np.int64]
    seller: NDArray[np.int64]
    values: NDArray[np.int64]
    asked_prices: NDArray[np.int64]
    lengths: NDArray[np.int64]
    lot_keys: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for name in ("values", "asked_prices", "lengths"):
            amounts = getattr(self, name)
            if amounts.shape != self.lot.shape or (amounts < 0).any():
                raise ValueError(
                    f"{name} must be one number >= 0 a bid, got shape {amounts.shape} for {self.lot.shape}"
                )
            if amounts.size and int(amounts.max()) > LARGEST_TOTAL // amounts.size:
                raise ValueError(f"{name} must not sum to more than {LARGEST_TOTAL}")
        if self.lot_keys is not None and (self.lot >= self.lot_keys.size).any():
            raise ValueError(f"a bid is for lot {int(self.lot.max())}, and there are {self.lot_keys.size}")
        if self.seller.shape != self.lot.shape or (self.lot < 0).any():
            raise ValueError(
                f"expected one seller and one lot >= 0 a bid, got {self.seller.shape} and {self.lot.shape}"
            )

    @property
    def lots(self) -> int:
        """L: as many as there are keys, without keys the highest index of a lot + 1."""
        if self.lot_keys is not None:
            return int(self.lot_keys.size)
        return int(self.lot.max()) + 1 if self.lot.size else 0

    def only(self, kept: NDArray[np.bool_]) -> "Offers":
        """The bids where ``kept`` (n,) is true; lots keep their indices."""
        parts = {name: getattr(self, name)[kept] for name in ("lot", "seller", "values", "asked_prices", "lengths")}
        return replace(self, **parts, lot_keys=self.keys())

    def keys(self) -> NDArray[np.int64]:
        """Keys of the lots, (L,)."""
        return np.arange(self.lots) if self.lot_keys is None else self.lot_keys


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of a round's purchase: ``budget`` quanta; ``most`` >= 2 answers a lot; ``reserve``, the most a value is paid, in
    millionths of it; ``value_of_one``, quanta that an answer of quality 1 is worth."""

    budget: int
    most: int = LEAST
    reserve: int = WHOLE
    value_of_one: int = WHOLE

    def __post_init__(self) -> None:
        if not 0 <= self.budget <= LARGEST_TOTAL or self.most < LEAST or not 0 <= self.reserve <= WHOLE:
            raise ValueError(
                f"expected a budget in 0..{LARGEST_TOTAL}, most >= {LEAST} and a reserve in 0..{WHOLE}, got {self.budget}, "
                f"{self.most} and {self.reserve}"
            )


@dataclass(frozen=True, slots=True)
class Sale:
    """What was bought: ``awarded`` (n,), ``payments`` (n,) in quanta, 0 where nothing is awarded, ``lot_cleared`` (L,)."""

    awarded: NDArray[np.bool_]
    payments: NDArray[np.int64]
    lot_cleared: NDArray[np.bool_]

    @property
    def spent(self) -> int:
        """Sum of payments, quanta."""
        return int(self.payments.sum())


class Auction(Member, Protocol):
    """A rule by which a round buys answers."""

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        """Who is awarded and what each is paid: at least two answers in a lot, or none.

        Args:
            rng: Source of all that is drawn; nobody who bids may know it beforehand.
        """
        ...


def sale(offers: Offers, awarded: NDArray[np.bool_], prices: NDArray[np.int64]) -> Sale:
    """The sale of the bids ``awarded`` (n,) at ``prices`` (n,).

    Example:
        >>> import numpy as np
        >>> lot, values, asked = np.array([0, 0, 1]), np.array([9, 8, 7]), np.array([2, 3, 1])
        >>> offers = Offers(lot, np.arange(3), values, asked, np.full(3, 100))
        >>> found = sale(offers, np.array([True, True, False]), np.array([4, 4, 4]))
        >>> found.payments.tolist(), found.lot_cleared.tolist(), found.spent
        ([4, 4, 0], [True, False], 8)
    """
    cleared = np.zeros(offers.lots, dtype=bool)
    cleared[offers.lot[awarded]] = True
    return Sale(awarded, np.where(awarded, prices, 0).astype(np.int64), cleared)


def drawn(keys: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint64]:
    """A random number for each key, uniform over 64 bits, the same for the same key whichever others there are.

    Source: the finaliser of SplitMix64 (Steele, Lea & Flood, 2014) on key + seed.

    Example:
        >>> import numpy as np
        >>> few = drawn(np.array([7, 8]), np.random.default_rng(0))
        >>> many = drawn(np.array([8, 5, 7]), np.random.default_rng(0))
        >>> bool(few[0] == many[2] and few[1] == many[0])
        True
    """
    mixed = keys.astype(np.uint64) + rng.integers(0, 2**64, dtype=np.uint64, endpoint=False)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def by_value(offers: Offers, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of the bids (n,), by lot, highest value first, equal values in an order that is drawn.

    Example:
        >>> import numpy as np
        >>> lot, values, asked = np.array([1, 0, 0]), np.array([9, 7, 8]), np.zeros(3, int)
        >>> offers = Offers(lot, np.arange(3), values, asked, np.full(3, 100))
        >>> by_value(offers, np.random.default_rng(0)).tolist()
        [2, 1, 0]
    """
    return np.lexsort((drawn(offers.seller, rng), -offers.values, offers.lot))


def best_of_lots(offers: Offers, eligible: NDArray[np.bool_], most: int, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of the ``eligible`` (n,) bids the ``most`` first ones of each lot in ``order`` (n,), which goes by lot; none where
    there are fewer than two.

    Example:
        >>> import numpy as np
        >>> lot, values = np.array([0, 0, 0, 1]), np.array([7, 9, 8, 9])
        >>> offers = Offers(lot, np.arange(4), values, np.zeros(4, np.int64), np.full(4, 100))
        >>> best_of_lots(offers, np.ones(4, dtype=bool), 2, by_value(offers, np.random.default_rng(0))).tolist()
        [False, True, True, False]
    """
    chosen = np.zeros(offers.lot.size, dtype=bool)
    there = order[eligible[order]]
    lot = offers.lot[there]
    count = np.bincount(lot, minlength=offers.lots)
    place = np.arange(there.size) - (np.cumsum(count) - count)[lot]
    chosen[there[(place < most) & (count[lot] >= LEAST)]] = True
    return chosen


def whole_lots(offers: Offers, bought: Purchase, terms: Terms, rng: np.random.Generator) -> Sale:
    """A purchase of single answers without what makes no comparison: the best ``most`` of a lot, and none of a lot with one.

    Where the set of winners is the same at every price at which a bid wins, dropping some of them by value keeps thresholds:
    what was truthful, individually rational and within the budget remains so.

    Example:
        >>> import numpy as np
        >>> lot, values, asked = np.array([0, 0, 1]), np.array([9, 8, 7]), np.array([2, 3, 1])
        >>> offers = Offers(lot, np.arange(3), values, asked, np.full(3, 100))
        >>> bought = Purchase(np.ones(3, dtype=bool), np.array([4, 4, 4]), 12)
        >>> whole_lots(offers, bought, Terms(budget=20), np.random.default_rng(0)).payments.tolist()
        [4, 4, 0]
    """
    return sale(offers, best_of_lots(offers, bought.awarded, terms.most, by_value(offers, rng)), bought.payments)


def lot_by_lot(
    offers: Offers, budget: int, rng: np.random.Generator, buy: Callable[[NDArray[np.int64]], Purchase]
) -> Sale:
    """Lots in an order that is drawn, each bought by ``buy`` (indices of its bids) as long as it fits what is left of
    ``budget``.

    Example:
        >>> import numpy as np
        >>> lot, values, asked = np.array([0, 0, 1]), np.array([9, 8, 7]), np.array([2, 3, 1])
        >>> offers = Offers(lot, np.arange(3), values, asked, np.full(3, 100))
        >>> at_four = lambda bids: Purchase(bids >= 0, np.full(bids.size, 4), 4 * bids.size)
        >>> lot_by_lot(offers, 10, np.random.default_rng(0), at_four).payments.tolist()
        [4, 4, 0]
    """
    awarded, prices = np.zeros(offers.lot.size, dtype=bool), np.zeros(offers.lot.size, dtype=np.int64)
    grouped = np.argsort(offers.lot, kind="stable")
    ends = np.cumsum(np.bincount(offers.lot, minlength=offers.lots))
    for lot in np.argsort(drawn(offers.keys(), rng), kind="stable").tolist():
        bids = grouped[ends[lot - 1] if lot else 0 : ends[lot]]
        bought = buy(bids)
        if bought.awarded.sum() >= LEAST and bought.spent <= budget:
            awarded[bids], prices[bids] = bought.awarded, bought.payments
            budget -= bought.spent
    return sale(offers, awarded, prices)
