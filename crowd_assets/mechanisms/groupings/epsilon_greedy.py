"""Groups by points or estimates so far, with exploring rounds.

Belongs here: the grouping ``epsilon_greedy``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.groupings.base import Entrants, cut, sorted_by


@dataclass(frozen=True, slots=True)
class EpsilonGreedy:
    """With probability max(0.4, 1 - t/T) at random; otherwise sorted by key, most first, and cut, so that group 0 holds the
    contributors with most."""

    name: str = "epsilon_greedy"
    summary: str = "By points or estimates so far, with exploring rounds."
    needs: tuple[str, ...] = ("horizon",)
    guarantees: tuple[str, ...] = ("A partition into J groups of the given sizes.",)
    source: str = "Crowd-SFT (arXiv 2506.04063), on grouping"
    page: str = "mechanisms/selection.md"
    partition: bool = True
    remembers: bool = False

    def assign(self, entrants: Entrants, rng: np.random.Generator) -> NDArray[np.int64]:
        """See ``Grouping``."""
        shuffled = rng.permutation(entrants.keys.size)
        key = entrants.keys if rng.random() >= entrants.exploration else np.zeros(entrants.keys.size)
        return cut(sorted_by(key, shuffled), entrants.sizes)
