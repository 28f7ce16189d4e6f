"""A toy member of a family, for tests that add a row to its table.

Belongs here: toys that more than one test adds. Does not belong here: what members must do (see ``tests/unit/mechanisms``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.base import RATIONAL, WITHIN_BUDGET, Offers, Sale, Terms
from crowd_assets.mechanisms.groupings.base import Entrants


@dataclass(frozen=True)
class Nothing:
    """An auction."""

    name: str = "nothing"
    summary: str = "Buys nothing."
    needs: tuple[str, ...] = ()
    guarantees: tuple[str, ...] = (RATIONAL, WITHIN_BUDGET)
    source: str = "a test"
    page: str = "mechanisms/auctions.md"

    def clear(self, offers: Offers, terms: Terms, rng: np.random.Generator) -> Sale:
        none = np.zeros(offers.lot.size, dtype=np.int64)
        return Sale(none.astype(bool), none, np.zeros(offers.lots, dtype=bool))


@dataclass(frozen=True)
class Together:
    """A grouping."""

    name: str = "together"
    summary: str = "One candidate, trained by everybody."
    needs: tuple[str, ...] = ()
    guarantees: tuple[str, ...] = ()
    source: str = "a test"
    page: str = "mechanisms/selection.md"
    partition: bool = True
    remembers: bool = False

    def assign(self, entrants: Entrants, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.zeros(entrants.keys.size, dtype=np.int64)
