"""Points by where each contributor takes a candidate in Φ, taking texts to work fully until candidates show otherwise.

Belongs here: the scheme ``surrogate``. Does not belong here: recovering vectors (see ``estimates``), Shapley values (see
``shapley``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.distance_shapley import distance_shapley
from crowd_assets.mechanisms.estimates import recovered_vectors
from crowd_assets.mechanisms.payouts import Payouts, PayRules, averaging_spread
from crowd_assets.mechanisms.points_schemes.base import Standing, Tournament, Withheld, paid_by_estimates
from crowd_assets.mechanisms.shapley import estimate_shapley
from crowd_assets.mechanisms.target import centroid_game

SHAPLEY_PERMUTATIONS = 400
MOST_COALITIONS = 40_000  # of a larger crowd
LARGE_CROWD = 1_000  # contributors, above whom a regression on coalitions takes minutes and gigabytes


@dataclass(frozen=True, slots=True)
class Surrogate:
    """Shapley values of the game of the contributors' recovered places in Φ."""

    name: str = "surrogate"
    summary: str = (
        "Shapley values on where each contributor takes a candidate in Φ, beginning with the contributor's texts."
    )
    needs: tuple[str, ...] = ("embeddings",)
    guarantees: tuple[str, ...] = ("Estimates sum to what everybody together is estimated to be worth.",)
    source: str = "this project"
    page: str = "mechanisms/points.md"
    estimates_by: str = "surrogate"
    every_round: bool = False

    def standing(self, seen: Tournament, target: NDArray[np.float64], rng: np.random.Generator) -> Standing:
        """See ``PointsScheme``. What contributors wrote is where they are expected to be, as far as candidates bear it out."""
        recovered = recovered_vectors(seen.shares, seen.embeddings, seen.round_index, seen.bases, prior=seen.written)
        base = seen.bases[-1]
        game = centroid_game(recovered.vectors, target, empty=base)
        crowd = len(seen.contributors)
        if crowd > LARGE_CROWD:
            shapley = distance_shapley(recovered.vectors, target, empty=base, rng=rng)
        else:
            permutations = min(SHAPLEY_PERMUTATIONS, max(4, MOST_COALITIONS // crowd))
            shapley = estimate_shapley(game, crowd, permutations=permutations, rng=rng)
        towards = direction(base, target)
        keys = recovered.vectors @ towards
        return Standing(
            shapley.values,
            np.hypot(shapley.standard_errors, averaging_spread(crowd) * recovered.standard_errors),
            lambda contributors: 1.0,
            keys,
            lambda generator: recovered.draw(towards, generator) - keys,
        )

    def payouts(self, seen: Tournament, known: Standing, first: int, withheld: Withheld, rules: PayRules) -> Payouts:
        """See ``PointsScheme``."""
        return paid_by_estimates(seen, known, first, withheld, rules)


def direction(base: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the base to the target, of length 1; (d,).

    Example:
        >>> import numpy as np
        >>> direction(np.zeros(2), np.array([3.0, 4.0])).round(6).tolist()
        [0.6, 0.8]
    """
    towards: NDArray[np.float64] = (target - base) / max(float(np.linalg.norm(target - base)), 1e-12)
    return towards
