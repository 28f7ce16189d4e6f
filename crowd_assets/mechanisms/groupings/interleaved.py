"""Groups dealt from the upper and the lower half.

Belongs here: the grouping ``interleaved``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.groupings.base import Entrants, sorted_by


@dataclass(frozen=True, slots=True)
class Interleaved:
    """Sorted by key and halved, each half shuffled, the upper and then the lower dealt to the groups in turn."""

    name: str = "interleaved"
    summary: str = "Dealt from the upper and the lower half, so that every group gets its share of both."
    needs: tuple[str, ...] = ()
    guarantees: tuple[str, ...] = ("A partition into J groups whose sizes differ by at most one.",)
    source: str = "Crowd-SFT (arXiv 2506.04063), on grouping"
    page: str = "mechanisms/selection.md"
    partition: bool = True
    remembers: bool = False

    def assign(self, entrants: Entrants, rng: np.random.Generator) -> NDArray[np.int64]:
        """See ``Grouping``."""
        contributors = entrants.keys.size
        by_key = sorted_by(entrants.keys, rng.permutation(contributors))
        upper = (contributors + 1) // 2
        dealt = np.concatenate([rng.permutation(by_key[:upper]), rng.permutation(by_key[upper:])])
        group = np.empty(contributors, dtype=np.int64)
        group[dealt] = np.arange(contributors) % entrants.groups
        return group
