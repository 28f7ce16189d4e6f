"""Seconds to clear a million bids, for each auction.

Goal: at most 0.5 s for the budget-feasible proportional share. Wall-clock seconds, checks of the arguments included, median
of five runs (three with --quick, and 20,000 bids). Values are 1 to 10^6 quanta, asked prices 0 to 10^6, the budget buys about
a quarter of the bids; ``lots`` has five bids a lot. ``proportional_share_ties`` has values and prices of two digits, so that
most bids tie; ``proportional_share_large`` has amounts of twelve digits, so that products leave 64 bits.

Belongs here: timing. Does not belong here: whether the auctions are right (see the tests).
"""

import statistics
from collections.abc import Callable

import numpy as np

from benchmarks import WALL, finish, options, say, seconds
from crowd_assets.mechanisms.auctions import baselines, money
from crowd_assets.mechanisms.auctions import lots as auction
from crowd_assets.mechanisms.auctions.budget import constant_factor_share, proportional_share

BIDS = 1_000_000
QUICK_BIDS = 20_000


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its JSON line."""
    given = options(__doc__, argv)
    bids, repetitions = (QUICK_BIDS, 3) if given.quick else (BIDS, 5)
    rng = np.random.default_rng(given.seed)
    values, asked = rng.integers(1, 10**6, bids), rng.integers(0, 10**6, bids)
    two_digits = rng.integers(1, 100, (2, bids))
    twelve_digits = rng.integers(1, 10**12, (2, bids))
    order = rng.permutation(bids)
    lot = rng.integers(0, bids // 5, bids)
    budget, winners = 100_000 * bids, bids // 10

    def share(value: np.ndarray, price: np.ndarray, money: int) -> money.Purchase:
        return proportional_share(value, price, budget=money, tie_break=order)

    runs: dict[str, Callable[[], money.Purchase | auction.LotClearing | auction.Clearing]] = {
        "proportional_share": lambda: share(values, asked, budget),
        "proportional_share_ties": lambda: share(*two_digits, 10 * bids),
        "proportional_share_large": lambda: share(*twelve_digits, 10**11 * bids),
        "constant_factor_share": lambda: constant_factor_share(values, asked, budget=budget, tie_break=order),
        "lots": lambda: auction.clear_lots(lot, values, asked, budget=budget, rng=np.random.default_rng(given.seed)),
        "scoring_vcg": lambda: auction.scoring_vcg(values, asked, winners, tie_break=order),
        "uniform_price": lambda: baselines.uniform_price(asked, winners, reserve=10**6, tie_break=order),
        "fixed_price": lambda: baselines.fixed_price(asked, price=500_000, budget=budget, tie_break=order),
    }
    taken: dict[str, float] = {}
    awarded: dict[str, int] = {}
    for name, run in runs.items():
        timed = [seconds(WALL, run) for _ in range(repetitions)]
        taken[name] = statistics.median(time for time, _ in timed)
        awarded[name] = int(timed[0][1].awarded.sum())
        say(f"{name}: {taken[name]:.3f} s for {bids:,} bids, {awarded[name]:,} awarded")
    figures = {"seconds_proportional_share_1m": taken.pop("proportional_share")}
    others = {f"seconds_{name}": time for name, time in taken.items()}
    finish(figures | others, {"bids": bids, "repetitions": repetitions, "awarded": awarded, "seed": given.seed})


if __name__ == "__main__":
    main()
