"""Nested candidates: the best few, some more, and so on, each with what its members sent in earlier rounds.

Belongs here: the grouping ``nested``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.groupings.base import Entrants, sorted_by

RATIO = 1.5
"""Between the sizes of one candidate and the next."""


@dataclass(frozen=True, slots=True)
class Nested:
    """Contributors sorted by key; the j-th candidate is trained by the first n_j contributors, with sizes n_j that grow by ``RATIO`` about
    the share of the crowd that trained the last winner. Whoever is below the last cut is benched until its key rises."""

    name: str = "nested"
    summary: str = "The best few, some more, and so on, each with what its members sent before; the rest is benched."
    needs: tuple[str, ...] = ("estimates", "memory")
    guarantees: tuple[str, ...] = (
        "Each candidate is trained by all members of those before it and at least one more.",
        "Who trains a candidate has a key at least as high as who does not.",
    )
    source: str = "this project"
    page: str = "mechanisms/selection.md"
    partition: bool = False
    remembers: bool = True

    def assign(self, entrants: Entrants, rng: np.random.Generator) -> NDArray[np.int64]:
        """See ``Grouping``."""
        contributors = entrants.keys.size
        order = sorted_by(entrants.keys, rng.permutation(contributors))
        steps = np.arange(entrants.groups) - (entrants.groups - 1) / 2
        sizes = np.rint(entrants.centre * contributors * RATIO**steps).astype(np.int64)
        sizes = np.unique(np.clip(sizes, 1, contributors))
        first = np.full(contributors, -1, dtype=np.int64)
        first[order[: sizes[-1]]] = np.searchsorted(sizes, np.arange(sizes[-1]), side="right")
        return first
