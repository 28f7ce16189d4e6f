"""The rate at which a budget is used up: what a unit of verified value is paid where every answer is paid the same for it.

At a rate g, an answer of value v is offered floor(v g / 1,000,000) quanta, and whoever asks no more accepts. Of those who
accept, the best of each lot are bought, at most ``most``, and none where fewer than two accept.

Belongs here: what is bought at a rate, and the rate of a budget. Does not belong here: whose bids a rate is learned from (see
the members).
"""

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.base import WHOLE, Offers, best_of_lots


def offered(values: NDArray[np.int64], rate: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(values * rate / 1,000,000), exactly, for rates of at most 1,000,000; shape (n,), quanta.

    Example:
        >>> import numpy as np
        >>> offered(np.array([10, 7]), 500_000).tolist()
        [5, 3]
    """
    prices: NDArray[np.int64] = values // WHOLE * rate + values % WHOLE * rate // WHOLE
    return prices


def accepting(offers: Offers, prices: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whose answer is worth something and is offered, in ``prices`` (n,), at least what it asks; (n,).

    Example:
        >>> import numpy as np
        >>> offers = Offers(np.zeros(3, int), np.arange(3), np.array([9, 8, 0]), np.array([4, 5, 0]), np.full(3, 100))
        >>> accepting(offers, np.array([4, 4, 0])).tolist()
        [True, False, False]
    """
    accept: NDArray[np.bool_] = (offers.values > 0) & (offers.asked_prices <= prices)
    return accept


def spent_at(offers: Offers, rate: int, most: int, order: NDArray[np.int64]) -> int:
    """Quanta that all lots cost at ``rate``. It does not fall as the rate rises, nor as bids are added: neither can make an
    answer cheaper, a lot's best ones worse, or fewer accept.

    Example:
        >>> import numpy as np
        >>> offers = Offers(np.zeros(3, int), np.arange(3), np.array([9, 8, 7]), np.array([4, 4, 9]), np.full(3, 100))
        >>> [spent_at(offers, rate, 2, np.arange(3)) for rate in (0, 400_000, 500_000, 1_000_000)]
        [0, 0, 8, 17]
    """
    prices = offered(offers.values, rate)
    return int(prices[best_of_lots(offers, accepting(offers, prices), most, order)].sum())


def clearing_rate(offers: Offers, budget: int, most: int, reserve: int, order: NDArray[np.int64]) -> int:
    """The highest rate, in millionths, at most ``reserve``, at which all lots together cost no more than ``budget`` quanta.

    As ``spent_at`` does not fall, a bid that is added never raises this rate, and a bid that no rate up to the reserve
    satisfies does not change it. O(n log n) with 20 looks at all bids.

    Example:
        >>> import numpy as np
        >>> values, asked = np.full(2, 8_000_000), np.full(2, 3_000_000)
        >>> offers = Offers(np.zeros(2, int), np.arange(2), values, asked, np.full(2, 100))
        >>> clearing_rate(offers, 12_000_000, 2, WHOLE, np.arange(2))
        750000
    """
    low, high = 0, reserve + 1
    while high - low > 1:
        middle = (low + high) // 2
        if spent_at(offers, middle, most, order) <= budget:
            low = middle
        else:
            high = middle
    return low
