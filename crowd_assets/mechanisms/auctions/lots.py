"""Auctions that buy the answers which comparisons are made of, in exact integer money.

Belongs here: who is awarded and what each is paid, from verified values and asked prices, by the default rule for
comparisons (``clear_lots``), by other truthful rules, and by baselines that are not truthful and say so.
Does not belong here: where values come from, except that it is never the seller's claim (a winner that is
paid by its own claimed quality gains by over-claiming), and postings (see ``ledger``).

Money is int64 counts of the money quantum, 1e-6 credit: sums, comparisons and payments are exact, and a
payment is a threshold to the last digit. Values are in the same quanta: what the buyer would pay for the
answer at most.

Truthfulness of every mechanism here that claims it rests on Myerson's lemma ("Optimal auction design", 1981) for one
bid a contributor: if asking less never loses an award, and each winner is paid the highest price at which it would
still have been awarded, then asking one's true cost is a best reply to any asked prices of the others. A contributor
with two bids in one lot could gain by the one setting the price of the other: admit one bid of a contributor in a lot.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

MONEY_QUANTUM = Decimal("0.000001")

LARGEST_TOTAL = 1 << 61
"""No set of bids may add up to more quanta, so that sums never leave int64."""

FACTOR = Fraction(241_421_356, 100_000_000)
"""1 + sqrt(2), as ``constant_factor_share`` compares with it."""

BUDGET_PASSES = 64
"""Most passes over the lots in search of ones that still fit the budget; two or three are the rule."""


@dataclass(frozen=True, slots=True)
class LotClearing:
    """One lot: ``awarded`` (n,), ``payments`` (n,) and ``scores`` (n,) of its bids; ``cutoff`` = max(s_(k+1),
    0)."""

    awarded: NDArray[np.bool_]
    payments: NDArray[np.int64]
    scores: NDArray[np.int64]
    cutoff: int


@dataclass(frozen=True, slots=True)
class Clearing:
    """Many lots under one budget.

    ``awarded`` (n,) and ``payments`` (n,) in quanta, of the bids; ``lot_cleared`` (L,) whether awards were
    made in the lot; ``cutoff`` (L,) the score to beat there, 0 where nothing was cleared; ``spent`` = sum of
    payments; ``order`` (L,) the permutation in which lots were considered and ``tie_break`` (n,) the rank of
    each bid among equal scores: both drawn at random and recorded, so that a clearing can be checked
    afterwards.
    """

    awarded: NDArray[np.bool_]
    payments: NDArray[np.int64]
    lot_cleared: NDArray[np.bool_]
    cutoff: NDArray[np.int64]
    spent: int
    order: NDArray[np.int64]
    tie_break: NDArray[np.int64]


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


def from_quanta(quanta: int) -> Decimal:
    """Amount of credits for a count of quanta, with six decimal places; exact for any count, negative ones
    too."""
    sign, digits = (1, -quanta) if quanta < 0 else (0, quanta)
    return Decimal((sign, tuple(int(digit) for digit in str(int(digits))), -6))


def scoring_vcg(
    values: NDArray[np.int64], asked_prices: NDArray[np.int64], winners: int, *, tie_break: NDArray[np.int64]
) -> LotClearing:
    """Scoring VCG auction of one lot for at most k answers.

    Score s_i = v_i - b_i. The k highest scores win, as far as they are positive. Each winner is paid
    p_i = v_i - max(s_(k+1), 0), with s_(k+1) the highest score that does not win for want of a place.

    Args:
        values: v, shape (n,), quanta >= 0, verified by the buyer.
        asked_prices: b, shape (n,), quanta >= 0.
        winners: k >= 1.
        tie_break: shape (n,), a permutation of 0..n-1 that does not depend on asked prices; of equal scores
            the lower rank goes first.

    Returns:
        the lot's clearing; payments are 0 where nothing is awarded.

    Guarantees: truthful; individually rational (b_i <= p_i <= v_i for winners, 0 for the others); the total
    score of the winners, which is welfare at true costs, is the largest that k or fewer answers can have.

    Raises:
        ValueError: shapes that differ, negative or too large amounts, ``winners < 1``, or a tie-break that is
            no permutation.

    Source: Vickrey (1961), Clarke (1971), Groves (1973); as a scoring auction: Che, "Design competition
    through multidimensional auctions" (1993).
    """
    values, asked_prices, tie_break = _bids(values, asked_prices, tie_break)
    _check_terms(winners, 0)
    scores = values - asked_prices
    best_first = np.lexsort((tie_break, -scores))
    cutoff = max(int(scores[best_first[winners]]), 0) if values.size > winners else 0
    awarded = np.zeros(values.size, dtype=bool)
    awarded[best_first[:winners]] = True
    awarded &= scores > 0
    return LotClearing(awarded=awarded, payments=np.where(awarded, values - cutoff, 0), scores=scores, cutoff=cutoff)


def clear_lots(
    lot: NDArray[np.int64],
    values: NDArray[np.int64],
    asked_prices: NDArray[np.int64],
    *,
    winners_per_lot: int = 2,
    budget: int,
    rng: np.random.Generator,
) -> Clearing:
    """Scoring VCG in every lot, all under one budget, each lot giving exactly k awards or none.

    A comparison needs k = 2 answers: one answer alone is worth nothing. So a lot is cleared only where at
    least k bids have a positive score; then the k highest scores win and each winner is paid v_i -
    max(s_(k+1), 0).

    *Which lots are taken.* Lots are considered in a random order. A lot with fewer than k bids of positive
    value can never be cleared and is passed over. A lot is taken when the most it can cost, the sum of its k
    highest values, fits into what earlier lots have left of the budget; otherwise it is passed over. Nothing
    in this depends on an asked price, so no asked price can bring a lot in or push one out.

    *Why "k or none" leaves the payment a threshold.* Fix the others' scores in i's lot and let h be the k-th
    highest of them, or minus infinity where there are fewer than k. Bid i is awarded if and only if (1) the
    lot is taken, (2) at least k - 1 of the others have positive scores, and (3) s_i > 0 and s_i beats h in
    the order of scores and ties. (1) and (2) do not involve b_i. So where they hold, i is awarded below the
    threshold price v_i - max(h, 0) and not above it, and nowhere otherwise: asking less never loses the
    award. When i wins, the k-th highest of the others is s_(k+1), as i stands above it; hence the payment v_i
    - max(s_(k+1), 0) is that threshold, and Myerson's lemma applies. (The k-subset with the highest total
    could contain a negative score; its VCG payments can exceed values. This rule gives that up and keeps
    every payment within the value, which the budget rests on.)

    Args:
        lot: shape (n,), lot index of each bid, values 0..L-1; L is the highest index + 1.
        values: v, shape (n,), quanta >= 0, verified by the buyer.
        asked_prices: b, shape (n,), quanta >= 0.
        winners_per_lot: k >= 1.
        budget: quanta >= 0 for all lots together.
        rng: source of the order of lots and of the tie-break.

    Returns:
        the clearing; the same generator state gives the same clearing.

    Guarantees: truthful for contributors with one bid; individually rational (b_i <= p_i <= v_i for winners,
    0 for the others); ``spent`` <= budget; each lot has k awards or none. A contributor with bids in several
    lots, one in each, has no reason to lie either, as the outcome in a lot depends on the asked prices in
    that lot alone. O(n log n).

    Raises:
        ValueError: shapes that differ, a negative lot index or amount, amounts too large to sum,
            ``winners_per_lot < 1`` or a negative budget.

    Source: as ``scoring_vcg``; threshold payments: Myerson (1981).
    """
    lot = np.asarray(lot, dtype=np.int64)
    values, asked_prices = _amounts(values, "values"), _amounts(asked_prices, "asked prices")
    k = winners_per_lot
    if lot.ndim != 1 or lot.shape != values.shape or lot.shape != asked_prices.shape:
        raise ValueError(f"expected one row a bid, got {lot.shape}, {values.shape} and {asked_prices.shape}")
    if k < 1 or budget < 0 or (lot < 0).any():
        raise ValueError(f"expected winners_per_lot >= 1, budget >= 0 and lots >= 0, got {k}, {budget}")
    bids = lot.size
    lots = int(lot.max()) + 1 if bids else 0
    order = rng.permutation(lots)
    tie_break = rng.permutation(bids)

    by_value, place = _best_first(lot, values, tie_break, lots)
    in_top = (place < k) & (values[by_value] > 0)
    top_lots = lot[by_value][in_top]
    largest_cost = np.zeros(lots, dtype=np.int64)
    np.add.at(largest_cost, top_lots, values[by_value][in_top])
    clearable = np.bincount(top_lots, minlength=lots) == k
    taken = _fit_budget(largest_cost, order[clearable[order]], budget)

    scores = values - asked_prices
    by_score, place = _best_first(lot, scores, tie_break, lots)
    ordered_lots, ordered_scores = lot[by_score], scores[by_score]
    positive = np.bincount(ordered_lots[(place < k) & (ordered_scores > 0)], minlength=lots)
    cleared = taken & (positive == k)
    cutoff = np.zeros(lots, dtype=np.int64)
    runner_up = place == k
    cutoff[ordered_lots[runner_up]] = np.maximum(ordered_scores[runner_up], 0)
    cutoff[~cleared] = 0
    awarded = np.zeros(bids, dtype=bool)
    awarded[by_score] = cleared[ordered_lots] & (place < k)
    payments = np.where(awarded, values - cutoff[lot], 0)
    return Clearing(
        awarded=awarded,
        payments=payments,
        lot_cleared=cleared,
        cutoff=cutoff,
        spent=int(payments.sum()),
        order=order,
        tie_break=tie_break,
    )


def uniform_price(
    asked_prices: NDArray[np.int64], winners: int, *, reserve: int, tie_break: NDArray[np.int64]
) -> Purchase:
    """Uniform-price auction of at most k equal answers: everybody is paid the first price that is not accepted.

    The k lowest asked prices that do not exceed the reserve R win; each winner is paid min(b_(k+1), R).

    Args:
        asked_prices: b, shape (n,), quanta >= 0.
        winners: k >= 1.
        reserve: R >= 0, quanta, the most an answer is worth.
        tie_break: shape (n,), a permutation; of equal prices the lower rank goes first.

    Guarantees: truthful, individually rational, ``spent`` <= k R.

    Raises:
        ValueError: negative or too large amounts, ``winners < 1``, or a tie-break that is no permutation.

    Source: Vickrey, "Counterspeculation, auctions, and competitive sealed tenders" (1961).
    """
    asked_prices = _amounts(asked_prices, "asked prices")
    tie_break = _permutation(tie_break, asked_prices.size)
    _check_terms(winners, reserve * winners)
    cheapest_first = np.lexsort((tie_break, asked_prices))
    price = reserve
    if asked_prices.size > winners:
        price = min(price, int(asked_prices[cheapest_first[winners]]))
    awarded = np.zeros(asked_prices.size, dtype=bool)
    awarded[cheapest_first[:winners]] = True
    awarded &= asked_prices <= reserve
    return _purchase(awarded, np.full(asked_prices.size, price))


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
    """
    values, asked_prices, tie_break = _bids(values, asked_prices, tie_break)
    _check_terms(1, budget)
    return _purchase(
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
    """
    values, asked_prices, tie_break = _bids(values, asked_prices, tie_break)
    _check_terms(1, budget)
    if factor <= 0:
        raise ValueError(f"factor must be positive, got {factor}")
    by_rate = _by_rate(values, asked_prices, tie_break, budget)
    if not by_rate.size:
        return _purchase(np.zeros(values.size, dtype=bool), np.zeros(values.size, dtype=np.int64))
    dearest = int(by_rate[np.lexsort((tie_break[by_rate], -values[by_rate]))[0]])
    v, b = values.tolist(), asked_prices.tolist()
    rest = _Knapsack(by_rate[by_rate != dearest].tolist(), v, b)
    bar, worth = factor * v[dearest], rest.worth(budget)
    if bar >= worth:
        alone = np.arange(values.size) == dearest
        return _purchase(alone, np.where(alone, budget, 0))
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
    return _purchase(awarded, payments)


def vickrey_feedback(bids: NDArray[np.int64], *, tie_break: NDArray[np.int64]) -> Purchase:
    """The rule of the VickreyFeedback paper's summary: the two highest bids win, the second bid is the price of each.

    The pair's weight in the QA-DPO loss is ``preferences.quality_gap_weights`` of the two bids. Offered for comparison:
    read as a purchase from those who bid, it is **not** truthful, as a winner gains by bidding higher; nor is spending
    bounded, nor quality more than claimed.

    Args:
        bids: shape (n,), quanta >= 0.
        tie_break: shape (n,), a permutation; of equal bids the lower rank goes first.

    Returns:
        two awards at one price, or none where there are fewer than two bids.

    Raises:
        ValueError: negative or too large amounts, or a tie-break that is no permutation.

    Source: VickreyFeedback (arXiv 2409.18417), on the auction.
    """
    bids = _amounts(bids, "bids")
    tie_break = _permutation(tie_break, bids.size)
    awarded = np.zeros(bids.size, dtype=bool)
    if bids.size < 2:
        return _purchase(awarded, bids)
    two = np.lexsort((tie_break, -bids))[:2]
    awarded[two] = True
    return _purchase(awarded, np.full(bids.size, bids[two[1]]))


def pay_as_bid(
    values: NDArray[np.int64], asked_prices: NDArray[np.int64], winners: int, *, tie_break: NDArray[np.int64]
) -> Purchase:
    """Baseline: the awards of ``scoring_vcg``, each paid what it asked. **Not** truthful: asking more pays more.

    Arguments and raises: see ``scoring_vcg``. Guarantees: individually rational only.
    """
    clearing = scoring_vcg(values, asked_prices, winners, tie_break=tie_break)
    return _purchase(clearing.awarded, np.asarray(asked_prices, dtype=np.int64))


def fixed_price(asked_prices: NDArray[np.int64], *, price: int, budget: int, tie_break: NDArray[np.int64]) -> Purchase:
    """Baseline: a posted price for all, first come first served until the budget is used up.

    Who asks at most the price is served in the order of ``tie_break``, floor(budget / price) of them (all at price 0).

    Args:
        asked_prices: b, shape (n,), quanta >= 0.
        price: quanta >= 0.
        budget: quanta >= 0.
        tie_break: shape (n,), a permutation: the order of arrival, not of asked prices.

    Guarantees: truthful, individually rational, ``spent`` <= budget; blind to quality.

    Raises:
        ValueError: negative or too large amounts, or a tie-break that is no permutation.
    """
    asked_prices = _amounts(asked_prices, "asked prices")
    tie_break = _permutation(tie_break, asked_prices.size)
    _check_terms(1, budget)
    _check_terms(1, price)
    arrived = np.argsort(tie_break)
    accepting = arrived[asked_prices[arrived] <= price]
    awarded = np.zeros(asked_prices.size, dtype=bool)
    awarded[accepting[: budget // price] if price else accepting] = True
    return _purchase(awarded, np.full(asked_prices.size, price))


def random_purchase(asked_prices: NDArray[np.int64], *, budget: int, tie_break: NDArray[np.int64]) -> Purchase:
    """Baseline: answers bought in random order at what they ask, each as long as it fits the budget's rest.

    **Not** truthful; blind to quality.

    Args:
        asked_prices: b, shape (n,), quanta >= 0.
        budget: quanta >= 0.
        tie_break: shape (n,), a permutation: the order of buying.

    Guarantees: individually rational, ``spent`` <= budget.

    Raises:
        ValueError: negative or too large amounts, or a tie-break that is no permutation.
    """
    asked_prices = _amounts(asked_prices, "asked prices")
    tie_break = _permutation(tie_break, asked_prices.size)
    _check_terms(1, budget)
    return _purchase(_fit_budget(asked_prices, np.argsort(tie_break), budget), asked_prices)


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


def _purchase(awarded: NDArray[np.bool_], prices: NDArray[np.int64]) -> Purchase:
    payments = np.where(awarded, prices, 0).astype(np.int64)
    return Purchase(awarded=awarded, payments=payments, spent=int(payments.sum()))


def _bids(
    values: NDArray[np.int64], asked_prices: NDArray[np.int64], tie_break: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    values, asked_prices = _amounts(values, "values"), _amounts(asked_prices, "asked prices")
    if values.shape != asked_prices.shape:
        raise ValueError(f"expected one value and asked price a bid, got {values.shape} and {asked_prices.shape}")
    return values, asked_prices, _permutation(tie_break, values.size)


def _permutation(tie_break: NDArray[np.int64], bids: int) -> NDArray[np.int64]:
    tie_break = np.asarray(tie_break, dtype=np.int64)
    seen = np.zeros(bids, dtype=bool)
    if tie_break.shape == (bids,) and (not bids or (tie_break.min() >= 0 and tie_break.max() < bids)):
        seen[tie_break] = True
    if tie_break.shape != (bids,) or not seen.all():
        raise ValueError(f"tie_break must be a permutation of 0..{bids - 1}")
    return tie_break


def _check_terms(winners: int, money: int) -> None:
    if winners < 1 or not 0 <= money <= LARGEST_TOTAL:
        raise ValueError(f"expected winners >= 1 and money in 0..{LARGEST_TOTAL} quanta, got {winners} and {money}")


def _best_first(
    lot: NDArray[np.int64], amounts: NDArray[np.int64], tie_break: NDArray[np.int64], lots: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bids sorted by lot, then highest amount, then tie-break; and the place 0, 1, ... of each within its
    lot."""
    ordered = np.lexsort((tie_break, -amounts, lot))
    sizes = np.bincount(lot, minlength=lots)
    place = np.arange(lot.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ordered, place


def _fit_budget(costs: NDArray[np.int64], order: NDArray[np.int64], budget: int) -> NDArray[np.bool_]:
    """Lots taken when each, in ``order``, is taken if its cost still fits; the same as a loop over the lots.

    What is left never grows, so a lot that does not fit now never will: each pass drops those, takes the
    longest run that fits, and stops at the first that no longer does.
    """
    taken = np.zeros(costs.size, dtype=bool)
    left = budget
    for _ in range(BUDGET_PASSES):
        order = order[costs[order] <= left]
        if not order.size:
            break
        running = np.cumsum(costs[order])
        fits = int(np.searchsorted(running, left, side="right"))
        taken[order[:fits]] = True
        left -= int(running[fits - 1])
        order = order[fits:]
    return taken


def _amounts(amounts: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Checked money: integers, not negative, and no more in total than sums can hold."""
    amounts = np.asarray(amounts)
    if amounts.size == 0:
        amounts = amounts.astype(np.int64)
    if amounts.ndim != 1 or amounts.dtype.kind not in "iu":
        raise ValueError(f"{name} must be one integer count of quanta each, never float: got dtype {amounts.dtype}")
    if amounts.size and (int(amounts.min()) < 0 or int(amounts.max()) > LARGEST_TOTAL // amounts.size):
        raise ValueError(f"{name} must not be negative nor sum to more than {LARGEST_TOTAL} quanta")
    return amounts.astype(np.int64)
