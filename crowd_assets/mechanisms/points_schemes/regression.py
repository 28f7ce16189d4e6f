"""Points by what each contributor adds to a candidate's value.

Belongs here: the scheme ``regression``. Does not belong here: the regression itself (see ``estimates``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.estimates import contribution_estimates
from crowd_assets.mechanisms.payouts import Payouts, PayRules, averaging_spread
from crowd_assets.mechanisms.points_schemes.base import Standing, Tournament, Withheld, paid_by_estimates


@dataclass(frozen=True, slots=True)
class Regression:
    """Candidates' values regressed on who trained them."""

    name: str = "regression"
    summary: str = (
        "What each contributor adds to a candidate's value, by a ridge regression whose penalty noise decides."
    )
    needs: tuple[str, ...] = ("candidate values",)
    guarantees: tuple[str, ...] = (
        "A constant added to the values of a round changes nothing.",
        "Contributors with equal shares in every candidate have equal estimates.",
    )
    source: str = "MacKay, Bayesian interpolation (1992), for the fit; its use is this project's"
    page: str = "mechanisms/points.md"
    estimates_by: str = "regression"
    every_round: bool = False

    def standing(self, seen: Tournament, target: NDArray[np.float64], rng: np.random.Generator) -> Standing:
        """See ``PointsScheme``."""
        fitted = contribution_estimates(seen.shares, seen.values, seen.round_index)
        return Standing(
            fitted.values,
            fitted.standard_errors,
            averaging_spread,
            fitted.values,
            lambda generator: fitted.draw(generator) - fitted.values,
        )

    def payouts(self, seen: Tournament, known: Standing, first: int, withheld: Withheld, rules: PayRules) -> Payouts:
        """See ``PointsScheme``."""
        return paid_by_estimates(seen, known, first, withheld, rules)
