"""Points by the rank of the group's candidate, the paper's.

Belongs here: the scheme ``rank``. Does not belong here: ranks (see ``payouts``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.payouts import Payouts, PayRules, rank_payouts
from crowd_assets.mechanisms.points_schemes.base import Standing, Tournament, Withheld
from crowd_assets.mechanisms.points_schemes.surrogate import Surrogate


@dataclass(frozen=True, slots=True)
class Rank:
    """J less its rank to every member of a group, in each round that a candidate won."""

    name: str = "rank"
    summary: str = "The rank of the group's candidate, posted in every round (the paper's)."
    needs: tuple[str, ...] = ("candidate values",)
    guarantees: tuple[str, ...] = (
        "Members of one group are paid alike, and a group that ranks better is never paid less.",
    )
    source: str = "Crowd-SFT (arXiv 2506.04063), on point-based rewards"
    page: str = "mechanisms/points.md"
    estimates_by: str = "surrogate"
    every_round: bool = True

    def standing(self, seen: Tournament, target: NDArray[np.float64], rng: np.random.Generator) -> Standing:
        """See ``PointsScheme``: what is shown beside points, which go by none of it."""
        return Surrogate().standing(seen, target, rng)

    def payouts(self, seen: Tournament, known: Standing, first: int, withheld: Withheld, rules: PayRules) -> Payouts:
        """See ``PointsScheme``."""
        last = seen.round_index >= first
        return rank_payouts(
            seen.values[last],
            seen.shares[last],
            seen.round_index[last] - first,
            seen.improved[first:],
            withheld.caught,
        )
