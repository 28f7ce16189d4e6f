"""Groups by a draw from the posterior of the estimates.

Belongs here: the grouping ``posterior_sampling``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.groupings.base import Entrants, cut, sorted_by


@dataclass(frozen=True, slots=True)
class PosteriorSampling:
    """As ε-greedy, with a draw's deviation added to the keys, and in exploring rounds by the deviation alone. So contributors
    are told apart where the estimates do not know them yet."""

    name: str = "posterior_sampling"
    summary: str = (
        "By a draw from the posterior of the estimates, so that contributors of whom least is known are tried."
    )
    needs: tuple[str, ...] = ("estimates", "horizon")
    guarantees: tuple[str, ...] = ("A partition into J groups of the given sizes.",)
    source: str = "Thompson (1933); Russo et al., A tutorial on Thompson sampling (2018)"
    page: str = "mechanisms/selection.md"
    partition: bool = True
    remembers: bool = False

    def assign(self, entrants: Entrants, rng: np.random.Generator) -> NDArray[np.int64]:
        """See ``Grouping``."""
        shuffled = rng.permutation(entrants.keys.size)
        key = entrants.deviation
        if rng.random() >= entrants.exploration:
            key = key + entrants.keys
        return cut(sorted_by(key, shuffled), entrants.sizes)
