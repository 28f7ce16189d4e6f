"""Points by where each contributor was seen to take a candidate in Φ: nothing counts that candidates do not bear out.

Belongs here: the schemes ``evidence`` and ``proven``, which differ in whose candidates count. Does not belong here: recovering vectors and the values of demonstrations (see ``estimates``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.estimates import recovered_vectors, values_of_demonstrations
from crowd_assets.mechanisms.payouts import Payouts, PayRules
from crowd_assets.mechanisms.points_schemes.base import Standing, Tournament, Withheld, paid_by_estimates
from crowd_assets.mechanisms.points_schemes.surrogate import direction


@dataclass(frozen=True, slots=True)
class Evidence:
    """Shapley values of single demonstrations at their contributors' recovered places, shrunken towards nothing known.

    Pay goes by the posterior mean. Groups go by the optimistic estimate, which takes texts to work fully at first: who looks good is
    tried, and paid when candidates show it.
    """

    name: str = "evidence"
    summary: str = "Shapley values of demonstrations by where candidates show that demonstrations take a model; nothing shown, nothing paid."
    needs: tuple[str, ...] = ("embeddings",)
    guarantees: tuple[str, ...] = (
        "Where training moves no candidate all contributors are paid alike for equal work.",
        "Work that is split between names is paid the same, given the estimates.",
    )
    source: str = "this project; James & Stein (1961) for the shrinkage, Aumann & Shapley (1974) for atoms of work"
    page: str = "mechanisms/points.md"
    estimates_by: str = "evidence"
    each: bool = False
    every_round: bool = False

    def standing(self, seen: Tournament, target: NDArray[np.float64], rng: np.random.Generator) -> Standing:
        """See ``PointsScheme``."""
        rounds = (seen.shares, seen.embeddings, seen.round_index, seen.bases)
        shown = recovered_vectors(*rounds, prior=seen.written, on_evidence=True, each=self.each)
        hoped = recovered_vectors(*rounds, prior=seen.written)
        base, towards = seen.bases[-1], direction(seen.bases[-1], target)
        work = seen.demonstrations.sum(axis=0)
        values = values_of_demonstrations(shown.vectors, work, target, empty=base, rng=rng)
        keys = hoped.vectors @ towards
        harmonic = float(
            np.log(max(work.sum(), 1.0)) + np.euler_gamma
        )  # what a step towards the target is worth in all
        return Standing(
            values,
            harmonic * shown.standard_errors,
            lambda contributors: 1.0 / contributors,
            keys,
            lambda generator: hoped.draw(towards, generator) - keys,
        )

    def payouts(self, seen: Tournament, known: Standing, first: int, withheld: Withheld, rules: PayRules) -> Payouts:
        """See ``PointsScheme``."""
        return paid_by_estimates(seen, known, first, withheld, rules)


@dataclass(frozen=True, slots=True)
class Proven(Evidence):
    """As ``evidence``, where each contributor's texts count by the probability that the contributor's own candidates bear out the texts."""

    name: str = "proven"
    summary: str = "As evidence, each contributor's texts by the probability that the contributor's own candidates bear out the texts."
    source: str = (
        "this project; George & McCulloch, Variable selection via Gibbs sampling (1993), for texts that work or not"
    )
    estimates_by: str = "proven"
    each: bool = True
