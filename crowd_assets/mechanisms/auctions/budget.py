"""Budget-feasible purchases of additive values: proportional share, and its constant-factor variant.

Belongs here: purchases that spend a budget over all bids. Does not belong here: lots of comparable answers (see ``lots``).
"""

import math
from bisect import bisect_right
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.money import (
    Purchase,
    check_terms,
    checked_bids,
    purchase_of,
)

FACTOR = Fraction(241_421_356, 100_000_000)
"""1 + sqrt(2), as ``constant_factor_share`` compares with it."""


def proportional_share(
    values: NDArray[np.int64], asked_prices: NDArray[np.int64], *, budget: int, tie_break: NDArray[np.int64]
) -> Purchase:
    """Budget-feasible purchase of answers with additive values: the cheapest for their value, as far as money goes.

    Bids above the budget B or of no value are dropped; the others are sorted by b_i / v_i. The largest prefix S in
    which the last bid has b_j / v_j <= B / V(S) wins, V the sum of values. Winners are paid
    p_i = v_i min(B / V(S), b_next / v_next), rounded down to a quantum, with next the first bid after S.

    That is the threshold price: i at a price rate rho wins if and only if rho (v_i + values at lower rates) <= B, which
    grows with rho, holds up to min(B / V(S), rate of next), and fails above, as next itself did not fit.

    Args:
        values: v, shape (n,), quanta >= 0, verified by the buyer.
        asked_prices: b, shape (n,), quanta >= 0.
        budget: B >= 0, quanta.
        tie_break: shape (n,), a permutation; of equal rates the lower rank goes first.

    Guarantees: truthful, individually rational, ``spent`` <= budget; all comparisons are exact, in integers of any
    size.

    Raises:
        ValueError: shapes that differ, negative or too large amounts, or a tie-break that is no permutation.

    Source: Singer, "Budget feasible mechanisms" (2010); Chen, Gravin & Lu, "On the approximability of budget
    feasible mechanisms" (2011).

    Example:
        >>> import numpy as np
        >>> found = proportional_share(np.array([10, 10, 10]), np.array([2, 4, 9]), budget=12, tie_break=np.arange(3))
        >>> found.payments.tolist(), found.spent
        ([6, 6, 0], 12)
    """
    values, asked_prices, tie_break = checked_bids(values, asked_prices, tie_break)
    check_terms(1, budget)
    return purchase_of(
        *_proportional_share(values, asked_prices, _by_rate(values, asked_prices, tie_break, budget), budget)
    )


def constant_factor_share(
    values: NDArray[np.int64],
    asked_prices: NDArray[np.int64],
    *,
    budget: int,
    tie_break: NDArray[np.int64],
    factor: Fraction = FACTOR,
) -> Purchase:
    """Budget-feasible purchase that never does much worse than the best one, also where one answer outweighs the rest.

    Let d be the bid of the highest value among those within the budget B, and F the fractional knapsack optimum of the
    others at their asked prices. Where factor * v_d >= F, d alone wins and is paid B. Otherwise the winners are those
    of ``proportional_share`` over all bids, d included.

    *The cap on payments.* In the second branch a winner i other than d must not be paid its proportional-share
    threshold as it stands: asking more lowers F, and beyond the price at which factor * v_d >= F begins to hold, d
    takes everything and i loses. So i is paid the smaller of its proportional-share threshold and the highest price at
    which the second branch still holds. d's own price enters neither F nor the choice of branch.

    Args:
        values: v, shape (n,), quanta >= 0, verified by the buyer.
        asked_prices: b, shape (n,), quanta >= 0.
        budget: B >= 0, quanta.
        tie_break: shape (n,), a permutation; of equal values or rates the lower rank goes first.
        factor: 1 + sqrt(2), rounded to a fraction so that comparisons are exact.

    Guarantees: truthful, individually rational, ``spent`` <= budget; value at least 1 / (2 + sqrt(2)) of the best
    purchase that knows all costs.

    Raises:
        ValueError: shapes that differ, negative or too large amounts, a tie-break that is no permutation, or a factor
            that is not positive.

    Source: Chen, Gravin & Lu (2011), the deterministic mechanism; the cap follows from Myerson (1981).

    Example:
        >>> import numpy as np
        >>> asked, ranks = np.array([2, 4, 9, 8]), np.arange(4)
        >>> constant_factor_share(np.array([50, 10, 10, 10]), asked, budget=12, tie_break=ranks).payments.tolist()
        [12, 0, 0, 0]
        >>> constant_factor_share(np.array([10, 10, 10, 10]), asked, budget=40, tie_break=ranks).payments.tolist()
        [10, 10, 10, 10]
    """
    values, asked_prices, tie_break = checked_bids(values, asked_prices, tie_break)
    check_terms(1, budget)
    if factor <= 0:
        raise ValueError(f"factor must be positive, got {factor}")
    by_rate = _by_rate(values, asked_prices, tie_break, budget)
    if not by_rate.size:
        return purchase_of(np.zeros(values.size, dtype=bool), np.zeros(values.size, dtype=np.int64))
    dearest = int(by_rate[np.lexsort((tie_break[by_rate], -values[by_rate]))[0]])
    v, b = values.tolist(), asked_prices.tolist()
    rest = _Knapsack(by_rate[by_rate != dearest].tolist(), v, b)
    bar, worth = factor * v[dearest], rest.worth(budget)
    if bar >= worth:
        alone = np.arange(values.size) == dearest
        return purchase_of(alone, np.where(alone, budget, 0))
    awarded, payments = _proportional_share(values, asked_prices, by_rate, budget)
    # At any price, i takes no more than its value from the optimum: only a large value can bring it down to the bar.
    capped = awarded & (values >= math.floor(worth - bar))
    for i in np.flatnonzero(capped).tolist():
        if i == dearest or rest.worth(budget, i, int(payments[i])) > bar:
            continue
        holds, fails = b[i], int(payments[i])
        while fails - holds > 1:
            middle = (holds + fails) // 2
            if rest.worth(budget, i, middle) > bar:
                holds = middle
            else:
                fails = middle
        payments[i] = holds
    return purchase_of(awarded, payments)


class _Knapsack:
    """Fractional knapsack over bids sorted by asked price per value, with one of them at another price.

    Exact: integers of any size and fractions. Each question costs O(log n).
    """

    def __init__(self, by_rate: list[int], values: list[int], asked_prices: list[int]) -> None:
        self.bids, self.values, self.prices = by_rate, values, asked_prices
        self.at = {bid: place for place, bid in enumerate(by_rate)}
        self.cost, self.value = [0], [0]
        for bid in by_rate:
            self.cost.append(self.cost[-1] + asked_prices[bid])
            self.value.append(self.value[-1] + values[bid])

    def worth(self, budget: int, changed: int | None = None, price: int = 0) -> Fraction:
        """Best fractional value for ``budget``, with the bid ``changed`` asking ``price`` instead of its own."""
        if changed is None:
            return self._without(None, budget)
        value = self.values[changed]
        ahead = bisect_right(
            range(len(self.bids)), -1, key=lambda place: self._not_ahead(self.bids[place], changed, price)
        )
        left = budget - self._sum(self.cost, ahead, changed)
        if left < 0:
            return self._without(changed, budget)
        if price > left:
            return self._sum(self.value, ahead, changed) + Fraction(left * value, price)
        return value + self._without(changed, budget - price)

    def _not_ahead(self, bid: int, changed: int, price: int) -> int:
        """-1 while ``bid`` asks less for its value than ``changed`` at ``price``; its own old place asks its old
        price."""
        return -1 if self.prices[bid] * self.values[changed] < price * self.values[bid] else 0

    def _sum(self, prefix: list[int], places: int, left_out: int | None) -> int:
        """Sum over the first ``places`` bids, without ``left_out``."""
        if left_out is None or self.at[left_out] >= places:
            return prefix[places]
        own = self.at[left_out]
        return prefix[places] - (prefix[own + 1] - prefix[own])

    def _without(self, left_out: int | None, budget: int) -> Fraction:
        """Best fractional value for ``budget`` of the bids without ``left_out``."""
        whole = bisect_right(
            range(1, len(self.bids) + 1), budget, key=lambda places: self._sum(self.cost, places, left_out)
        )
        worth = Fraction(self._sum(self.value, whole, left_out))
        if whole < len(self.bids):
            following = self.bids[whole]
            left = budget - self._sum(self.cost, whole, left_out)
            worth += Fraction(left * self.values[following], self.prices[following])
        return worth


def _by_rate(
    values: NDArray[np.int64], asked_prices: NDArray[np.int64], tie_break: NDArray[np.int64], budget: int
) -> NDArray[np.int64]:
    """Bids of some value within the budget, lowest asked price per value first, compared exactly.

    Sorted by floats first. A float rate is within 2^-51 of the exact one, relatively: only runs of neighbours that lie
    closer than 2^-49 need a second, exact look.
    """
    eligible = np.flatnonzero((values > 0) & (asked_prices <= budget))
    v, b = values[eligible], asked_prices[eligible]
    rates = b / v
    order = np.argsort(rates)
    ascending = rates[order]
    near = np.diff(ascending) <= ascending[1:] * 2.0**-49
    in_run = np.zeros(order.size, dtype=bool)
    in_run[1:] |= near
    in_run[:-1] |= near
    places = np.flatnonzero(in_run)
    unsure = order[places]
    if int(b.max(initial=0)) * int(v.max(initial=0)) <= 1 << 51:
        # Different rates of numbers as small as these differ by more than a rounding, and equal ones are equal floats.
        exact = np.lexsort((tie_break[eligible[unsure]], rates[unsure]))
    else:
        # Rates of values below 2^61 differ by more than 2^-122 or not at all: 128 binary places keep their order.
        rank, cost, worth = tie_break[eligible[unsure]].tolist(), b[unsure].tolist(), v[unsure].tolist()
        exact = np.array(
            sorted(range(len(rank)), key=lambda i: ((cost[i] << 128) // worth[i], rank[i])), dtype=np.int64
        )
    order[places] = unsure[exact]
    return eligible[order]


def _proportional_share(
    values: NDArray[np.int64], asked_prices: NDArray[np.int64], by_rate: NDArray[np.int64], budget: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Winners of ``proportional_share`` and, of these, the price up to which each would have won; 0 for the others."""
    awarded, ceilings = np.zeros(values.size, dtype=bool), np.zeros(values.size, dtype=np.int64)
    running = np.cumsum(values[by_rate])
    # Rates do not fall and sums of values grow, so the last bid of a prefix fits up to some prefix and never after.
    winners = bisect_right(
        range(by_rate.size),
        0,
        key=lambda at: int(int(asked_prices[by_rate[at]]) * int(running[at]) > budget * int(values[by_rate[at]])),
    )
    if not winners:
        return awarded, ceilings
    won = by_rate[:winners]
    price, value = budget, int(running[winners - 1])
    if winners < by_rate.size:
        next_price, next_value = int(asked_prices[by_rate[winners]]), int(values[by_rate[winners]])
        if next_price * value < price * next_value:
            price, value = next_price, next_value
    awarded[won] = True
    ceilings[won] = _floor_share(values[won], price, value)
    return awarded, ceilings


def _floor_share(amounts: NDArray[np.int64], numerator: int, denominator: int) -> NDArray[np.int64]:
    """floor(amount * numerator / denominator), exactly, for results and a denominator up to 2^61: long division of all
    amounts at once, by as many binary digits at a time as leave room in 64."""
    whole, numerator = divmod(numerator, denominator)
    digits = 63 - denominator.bit_length()
    left = -(-int(amounts.max(initial=0)).bit_length() // digits) * digits
    unsigned = amounts.astype(np.uint64)
    width, low = np.uint64(digits), np.uint64((1 << digits) - 1)
    numerator64, denominator64 = np.uint64(numerator), np.uint64(denominator)
    quotient, rest = np.zeros_like(unsigned), np.zeros_like(unsigned)
    while left:
        left -= digits
        # Both rest and numerator are below the denominator, so what is divided is below denominator * 2^(digits + 1).
        rest = (rest << width) + ((unsigned >> np.uint64(left)) & low) * numerator64
        part = rest // denominator64
        quotient = (quotient << width) + part
        rest = rest - part * denominator64
    shares: NDArray[np.int64] = quotient.astype(np.int64) + amounts * whole
    return shares
