"""Φ in tasks of a Ray cluster.

Belongs here: how texts are shared out, so that their vectors do not depend on it. Does not belong here: embedding (see
``training.embedding``), the cluster (see ``cluster``).
"""

from collections.abc import Sequence

import numpy as np
from dagster import ResourceDependency, get_dagster_logger
from numpy.typing import NDArray

from resources.common.progress import throttled
from resources.models.embedder import EmbedderResource
from resources.ray_compute import tasks
from resources.ray_compute.cluster import RayCluster, evenly
from resources.training.embedding import BATCH, by_length


class RayEmbedder(EmbedderResource):
    """Φ, loaded on nodes only; vectors are kept here."""

    cluster: ResourceDependency[RayCluster]

    @property
    def labels(self) -> tuple[str, ...]:
        labels: tuple[str, ...] = self.cluster.run("labels of Φ", tasks.labels, [self._sent()])[0]
        return labels

    def _fresh(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Batches are those of one process: which texts share one decides the last digits."""
        if not texts:
            return np.zeros((0, 0))
        order = by_length(texts)
        batches = -(-len(order) // BATCH)
        calls, begin = [], 0
        for size in evenly(batches, self.cluster.at_once):
            end = begin + size * BATCH
            calls.append((*self._sent(), [texts[index] for index in order[begin:end]]))
            begin = end
        said = throttled(f"embedding of {len(texts):,} texts", get_dagster_logger().info)
        vectors = np.concatenate(self.cluster.run("embedding", tasks.embed, calls, said))
        fresh = np.empty_like(vectors)
        fresh[order] = vectors
        return fresh

    def _sent(self) -> tuple[dict[str, object], str]:
        fields = {name: getattr(self, name) for name in EmbedderResource.model_fields if not name.startswith("cache")}
        return {**fields, "source": tasks.anywhere(self.source)}, self.identity
