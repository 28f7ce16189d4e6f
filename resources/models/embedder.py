"""What every embedder is: Φ behind one resource.

Belongs here: which Φ, and whether its vectors are kept. Does not belong here: who embeds (see ``local``,
``resources.ray_compute.embedder``), tensors (see ``resources.training.embedding``), how vectors are kept (see
``embedding_cache``).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from dagster import ConfigurableResource
from numpy.typing import NDArray
from pydantic import Field

from resources.models.embedding_cache import EmbeddingCache
from resources.models.store import fingerprint
from resources.training import embedding

RECIPE = 1  # raised when the same model gives other vectors than before


class EmbedderResource(ConfigurableResource, ABC):
    """Φ: texts to vectors."""

    source: str = Field(
        description="Hub id or local folder of a multi-label classifier, a sentence encoder or a causal language model."
    )
    revision: str = Field(default="main", description="Revision of an embedder from the hub.")
    dtype: str = Field(default="auto", description="Precision of the model.")
    setting: str = Field(default="CROWD_EMBEDDER", description="Setting that names the source, for errors.")
    threads: int = Field(default=1, description="Threads of torch on the CPU.")
    cache: str = Field(default="", description="File where vectors are kept. Empty: vectors are not kept.")
    cache_mib: int = Field(default=512, description="Largest size of that file, in MiB.")

    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Vectors (n, d) of ``texts``.

        Raises:
            ModelUnavailableError: Φ cannot be loaded.
            EmbeddingCacheError: the file of vectors cannot be used.
        """
        if not self.cache or not texts:
            return self._fresh(texts)
        return EmbeddingCache(Path(self.cache), self.identity, self.cache_mib * 2**20).embed(texts, self._fresh)

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Names of the d dimensions of a classifier; empty for a sentence encoder or a language model."""

    @property
    def identity(self) -> str:
        """Which Φ this is, as 40 hexadecimal digits: the same for the same weights, wherever their folder lies."""
        of_model = embedding.identity(self.source, self.revision)
        return fingerprint(model=of_model, dtype=self.dtype, longest=embedding.LONGEST_TEXT, recipe=RECIPE)

    @abstractmethod
    def _fresh(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Vectors that no file holds."""
