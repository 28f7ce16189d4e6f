"""Purchases to compare with: the published rules, a posted price, a draw.

Belongs here: rules that are measured against. Does not belong here: what a round's money should be spent by (see ``lots``, ``budget``).
"""

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.lots import fit_budget, scoring_vcg
from crowd_assets.mechanisms.auctions.money import (
    Purchase,
    check_terms,
    checked_amounts,
    checked_permutation,
    purchase_of,
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

    Example:
        >>> import numpy as np
        >>> found = uniform_price(np.array([2, 5, 3, 9]), 2, reserve=8, tie_break=np.arange(4))
        >>> found.payments.tolist(), found.spent
        ([5, 0, 5, 0], 10)
    """
    asked_prices = checked_amounts(asked_prices, "asked prices")
    tie_break = checked_permutation(tie_break, asked_prices.size)
    check_terms(winners, reserve * winners)
    cheapest_first = np.lexsort((tie_break, asked_prices))
    price = reserve
    if asked_prices.size > winners:
        price = min(price, int(asked_prices[cheapest_first[winners]]))
    awarded = np.zeros(asked_prices.size, dtype=bool)
    awarded[cheapest_first[:winners]] = True
    awarded &= asked_prices <= reserve
    return purchase_of(awarded, np.full(asked_prices.size, price))


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

    Example:
        >>> import numpy as np
        >>> vickrey_feedback(np.array([3, 9, 7]), tie_break=np.arange(3)).payments.tolist()
        [0, 7, 7]
    """
    bids = checked_amounts(bids, "bids")
    tie_break = checked_permutation(tie_break, bids.size)
    awarded = np.zeros(bids.size, dtype=bool)
    if bids.size < 2:
        return purchase_of(awarded, bids)
    two = np.lexsort((tie_break, -bids))[:2]
    awarded[two] = True
    return purchase_of(awarded, np.full(bids.size, bids[two[1]]))


def pay_as_bid(
    values: NDArray[np.int64], asked_prices: NDArray[np.int64], winners: int, *, tie_break: NDArray[np.int64]
) -> Purchase:
    """Baseline: the awards of ``scoring_vcg``, each paid what it asked. **Not** truthful: asking more pays more.

    Arguments and raises: see ``scoring_vcg``. Guarantees: individually rational only.

    Example:
        >>> import numpy as np
        >>> pay_as_bid(np.array([9, 8, 7]), np.array([2, 3, 6]), 2, tie_break=np.arange(3)).payments.tolist()
        [2, 3, 0]
    """
    clearing = scoring_vcg(values, asked_prices, winners, tie_break=tie_break)
    return purchase_of(clearing.awarded, np.asarray(asked_prices, dtype=np.int64))


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

    Example:
        >>> import numpy as np
        >>> found = fixed_price(np.array([2, 5, 3, 1]), price=4, budget=9, tie_break=np.arange(4))
        >>> found.payments.tolist(), found.spent
        ([4, 0, 4, 0], 8)
    """
    asked_prices = checked_amounts(asked_prices, "asked prices")
    tie_break = checked_permutation(tie_break, asked_prices.size)
    check_terms(1, budget)
    check_terms(1, price)
    arrived = np.argsort(tie_break)
    accepting = arrived[asked_prices[arrived] <= price]
    awarded = np.zeros(asked_prices.size, dtype=bool)
    awarded[accepting[: budget // price] if price else accepting] = True
    return purchase_of(awarded, np.full(asked_prices.size, price))


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

    Example:
        >>> import numpy as np
        >>> random_purchase(np.array([4, 5, 3]), budget=8, tie_break=np.array([1, 0, 2])).payments.tolist()
        [0, 5, 3]
    """
    asked_prices = checked_amounts(asked_prices, "asked prices")
    tie_break = checked_permutation(tie_break, asked_prices.size)
    check_terms(1, budget)
    return purchase_of(fit_budget(asked_prices, np.argsort(tie_break), budget), asked_prices)
