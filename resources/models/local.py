"""The trainer and the embedder of this process.

Belongs here: calling what computes, with the model that a call is about. Does not belong here: keys, cards and stored models (see
``trainer``), kept vectors (see ``embedder``), tensors (see ``resources.training``), tasks on other machines (see
``resources.ray_compute``, which does the same work there).
"""

import tempfile
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from dagster import get_dagster_logger
from numpy.typing import NDArray

from resources.common.progress import throttled
from resources.models.embedder import EmbedderResource
from resources.models.trainer import ROOT_CARD_NAME, TrainedModel, TrainerResource
from resources.training import alignment, candidates, embedding, generation, likelihood
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.loading import use_threads
from resources.training.preference_values import PairValues, pair_values
from resources.training.prompting import Prompt
from resources.training.supervised import AdapterConfig
from resources.training.valuation import Valuation


class LocalTrainer(TrainerResource):
    """Trains, writes and judges in this process."""

    def train_candidates(
        self,
        parent: str | None,
        groups: Sequence[Demonstrations],
        *,
        config: CandidateConfig,
        seed: int,
        valuation: Valuation | None,
        cards: Sequence[dict[str, Any]],
        progress: candidates.Progress,
    ) -> list[TrainedModel]:
        def make() -> tuple[list[str], list[list[dict[str, float]]]]:
            with tempfile.TemporaryDirectory() as folder, self.lent(parent) as model:
                directories = [Path(folder) / str(number) for number in range(len(groups))]
                results = candidates.train_candidates(
                    model,
                    groups,
                    directories,
                    parent=parent or ROOT_CARD_NAME,
                    config=config,
                    seed=seed,
                    valuation=valuation,
                    progress=progress,
                )
                models = [
                    self._put(directory, parent, result.figures(), card)
                    for directory, result, card in zip(directories, results, cards, strict=True)
                ]
            return models, [list(result.values) for result in results]

        return self._together(self.candidates_key(parent, groups, config, seed, valuation), make)

    def align(
        self,
        parent: str | None,
        pairs: Sequence[PreferencePair],
        *,
        config: AdapterConfig,
        beta: float,
        seed: int,
        card: dict[str, Any],
        progress: alignment.Progress,
    ) -> TrainedModel:
        def make() -> tuple[list[str], None]:
            with tempfile.TemporaryDirectory() as folder, self.lent(parent) as model:
                result = alignment.align(
                    model,
                    pairs,
                    Path(folder),
                    parent=parent or ROOT_CARD_NAME,
                    config=config,
                    beta=beta,
                    seed=seed,
                    progress=progress,
                )
                return [self._put(Path(folder), parent, result.figures(), card)], None

        return self._together(self.alignment_key(parent, pairs, config, beta, seed), make)[0]

    def generate(
        self,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        longest: int | None = None,
        progress: generation.Progress = lambda done, total: None,
    ) -> list[list[str]]:
        responses: list[list[str]] = []
        total = len(models) * len(prompts)
        for first in range(0, len(models), self.fused):
            chains = [self.store.lineage(model) for model in models[first : first + self.fused]]
            common = [same[0] for same in takewhile(lambda level: len(set(level)) == 1, zip(*chains, strict=False))]
            with self.lent(common[-1] if common else None) as base:
                responses += generation.generate(
                    base,
                    prompts,
                    lineages=[self._adapters(chain[len(common) :]) for chain in chains],
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    seed=seed,
                    top_k=top_k,
                    top_p=top_p,
                    min_p=min_p,
                    longest=longest,
                    progress=partial(_further, progress, len(responses) * len(prompts), total),
                )
        return responses

    def likelihoods(
        self, model: str | None, pairs: Sequence[tuple[Prompt, str]], max_tokens: int
    ) -> "list[NDArray[np.float64]]":
        said = throttled(f"likelihoods of {len(pairs):,} texts", get_dagster_logger().info)
        with self.lent(model) as loaded:
            return likelihood.token_likelihoods(loaded, pairs, max_tokens=max_tokens, progress=said)

    def pair_values(
        self,
        parent: str | None,
        aligned: str,
        pairs: Sequence[PreferencePair],
        held_out: Sequence[PreferencePair],
        *,
        beta: float,
        max_tokens: int,
    ) -> PairValues:
        (adapter,) = self._adapters([aligned])
        with self.lent(parent) as model:
            return pair_values(model, adapter, pairs, held_out, beta=beta, max_tokens=max_tokens)

    def preference_accuracy(self, model: str | None, pairs: Sequence[PreferencePair], max_tokens: int) -> float:
        with self.lent(model) as loaded:
            return alignment.preference_accuracy(loaded, pairs, max_tokens)


class LocalEmbedder(EmbedderResource):
    """Φ, loaded once a process."""

    @property
    def labels(self) -> tuple[str, ...]:
        return self.loaded().labels

    def _fresh(self, texts: Sequence[str]) -> NDArray[np.float64]:
        use_threads(self.threads)
        said = throttled(f"embedding of {len(texts):,} texts", get_dagster_logger().info)
        return self.loaded().embed(texts, progress=said)

    def loaded(self) -> embedding.Embedder:
        """Φ, loaded once a process."""
        return _loaded(self.source, self.revision, self.dtype, self.setting, self.identity)


@lru_cache(maxsize=1)
def _loaded(source: str, revision: str, dtype: str, setting: str, identity: str) -> embedding.Embedder:
    """``identity`` is what makes a folder with other weights another Φ."""
    return embedding.load_embedder(source, revision, dtype=dtype, setting=setting)


def _further(progress: generation.Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)
