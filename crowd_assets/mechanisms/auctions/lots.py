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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.money import check_terms, checked_amounts, checked_bids

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

    Example:
        >>> import numpy as np
        >>> found = scoring_vcg(np.array([9, 8, 7]), np.array([2, 3, 6]), 2, tie_break=np.arange(3))
        >>> found.scores.tolist(), found.payments.tolist(), found.cutoff
        ([7, 5, 1], [8, 7, 0], 1)
    """
    values, asked_prices, tie_break = checked_bids(values, asked_prices, tie_break)
    check_terms(winners, 0)
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

    Example:
        >>> import numpy as np
        >>> lot, values, asked = np.array([0, 0, 0, 1]), np.array([9, 8, 7, 9]), np.array([2, 3, 6, 1])
        >>> found = clear_lots(lot, values, asked, budget=20, rng=np.random.default_rng(0))
        >>> found.payments.tolist(), found.lot_cleared.tolist(), found.spent
        ([8, 7, 0, 0], [True, False], 15)
    """
    lot = np.asarray(lot, dtype=np.int64)
    values, asked_prices = checked_amounts(values, "values"), checked_amounts(asked_prices, "asked prices")
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
    taken = fit_budget(largest_cost, order[clearable[order]], budget)

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


def _best_first(
    lot: NDArray[np.int64], amounts: NDArray[np.int64], tie_break: NDArray[np.int64], lots: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bids sorted by lot, then highest amount, then tie-break; and the place 0, 1, ... of each within its
    lot."""
    ordered = np.lexsort((tie_break, -amounts, lot))
    sizes = np.bincount(lot, minlength=lots)
    place = np.arange(lot.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ordered, place


def fit_budget(costs: NDArray[np.int64], order: NDArray[np.int64], budget: int) -> NDArray[np.bool_]:
    """Lots taken when each, in ``order``, is taken if its cost still fits; the same as a loop over the lots.

    What is left never grows, so a lot that does not fit now never will: each pass drops those, takes the
    longest run that fits, and stops at the first that no longer does.

    Example:
        >>> import numpy as np
        >>> fit_budget(np.array([5, 6, 3]), np.array([1, 0, 2]), 10).tolist()
        [False, True, True]
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
