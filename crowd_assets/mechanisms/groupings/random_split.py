"""Groups at random.

Belongs here: the grouping ``random``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.groupings.base import Entrants, cut


@dataclass(frozen=True, slots=True)
class Random:
    """Contributors permuted and the row cut into J pieces."""

    name: str = "random"
    summary: str = "At random."
    needs: tuple[str, ...] = ()
    guarantees: tuple[str, ...] = ("A partition into J groups of the given sizes.",)
    source: str = "Crowd-SFT (arXiv 2506.04063), on grouping"
    page: str = "mechanisms/selection.md"
    partition: bool = True
    remembers: bool = False

    def assign(self, entrants: Entrants, rng: np.random.Generator) -> NDArray[np.int64]:
        """See ``Grouping``."""
        return cut(rng.permutation(entrants.keys.size), entrants.sizes)
