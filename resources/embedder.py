"""The embedder: Φ behind one resource.

Belongs here: which Φ, loaded once a process. Does not belong here: tensors (see ``training.embedding``).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from dagster import ConfigurableResource
from numpy.typing import NDArray
from pydantic import Field

from resources.training.embedding import Embedder, load_embedder
from resources.training.loading import use_threads


class EmbedderResource(ConfigurableResource):
    """Φ: texts to vectors."""

    source: str = Field(description="Hub id or local folder of a multi-label classifier or a sentence encoder.")
    revision: str = Field(default="main", description="Revision of an embedder from the hub.")
    threads: int = Field(default=1, description="Threads of torch on the CPU.")

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Vectors (n, d) of ``texts``."""
        use_threads(self.threads)
        return _loaded(self.source, self.revision).embed(texts)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the d dimensions of a classifier; empty for a sentence encoder."""
        return _loaded(self.source, self.revision).labels


@lru_cache(maxsize=1)
def _loaded(source: str, revision: str) -> Embedder:
    return load_embedder(source, revision)
