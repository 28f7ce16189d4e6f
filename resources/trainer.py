"""The trainer: candidates, alignment, generations and scores of stored models, behind one resource.

Belongs here: which model a call is about, storing what was trained, not training twice.
Does not belong here: tensors (see ``training``), groups and gates (see ``crowd_assets``).
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import ConfigurableResource, ResourceDependency
from pydantic import Field

from resources.model_store import ModelStoreResource, fingerprint
from resources.training import alignment, generation, loading, supervised
from resources.training.alignment import PreferencePair
from resources.training.supervised import AdapterConfig, TrainingResult

ROOT_CARD_NAME = "root"


@dataclass(frozen=True)
class TrainedModel:
    """A stored adapter: its hash, whether it was there already, and its training figures."""

    model: str
    reused: bool
    figures: dict[str, Any]


class TrainerResource(ConfigurableResource):
    """Trains on top of ``base_model`` (the root) or of a stored model, given by its hash; None is the root."""

    store: ResourceDependency[ModelStoreResource]
    base_model: str = Field(description="Hub id or local folder of the root.")
    revision: str = Field(default="main", description="Revision of a root from the hub.")
    threads: int = Field(default=1, description="Threads of torch on the CPU.")

    def load(self, model: str | None) -> loading.LanguageModel:
        """A stored model, or the root, ready for use.

        Raises:
            ModelUnavailableError: the root cannot be loaded.
            DamagedModelError: an adapter's files are not those that were stored.
        """
        loading.use_threads(self.threads)
        chain = self.store.lineage(model)
        for adapter in chain:
            self.store.verify(adapter)
        return loading.load(self.base_model, [self.store.path(adapter) for adapter in chain], revision=self.revision)

    def train_candidate(
        self,
        parent: str | None,
        demonstrations: Sequence[tuple[str, str]],
        *,
        config: AdapterConfig,
        seed: int,
        card: dict[str, Any],
        progress: supervised.Progress,
    ) -> TrainedModel:
        """A LoRA adapter on ``parent``, trained on (prompt, response) pairs, in the store."""

        def train(model: loading.LanguageModel, directory: Path) -> TrainingResult:
            return supervised.train_candidate(
                model,
                demonstrations,
                directory,
                parent=parent or ROOT_CARD_NAME,
                config=config,
                seed=seed,
                progress=progress,
            )

        key = self._key("candidate", parent, demonstrations=demonstrations, config=config, seed=seed)
        return self._trained(key, parent, card, train)

    def align(
        self,
        parent: str | None,
        pairs: Sequence[PreferencePair],
        *,
        config: AdapterConfig,
        beta: float,
        seed: int,
        card: dict[str, Any],
        progress: supervised.Progress,
    ) -> TrainedModel:
        """A LoRA adapter on ``parent``, trained by QA-DPO, in the store."""

        def train(model: loading.LanguageModel, directory: Path) -> TrainingResult:
            return alignment.align(
                model,
                pairs,
                directory,
                parent=parent or ROOT_CARD_NAME,
                config=config,
                beta=beta,
                seed=seed,
                progress=progress,
            )

        key = self._key("alignment", parent, pairs=pairs, config=config, beta=beta, seed=seed)
        return self._trained(key, parent, card, train)

    def generate(
        self,
        model: str | None,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        progress: generation.Progress = lambda done, total: None,
    ) -> list[str]:
        """One response of a stored model, or the root, to each prompt; see :func:`training.generation.generate`."""
        return generation.generate(
            self.load(model),
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            progress=progress,
        )

    def preference_accuracy(self, model: str | None, pairs: Sequence[PreferencePair], max_tokens: int) -> float:
        """Share of pairs that a stored model, or the root, ranks as the crowd does."""
        return alignment.preference_accuracy(self.load(model), pairs, max_tokens)

    def _key(self, purpose: str, parent: str | None, **inputs: Any) -> str:
        return fingerprint(purpose=purpose, root=self._root_identity(), parent=parent, **inputs)

    def _root_identity(self) -> str:
        folder = Path(self.base_model)
        if not folder.is_dir():
            return f"{self.base_model}@{self.revision}"
        digest = hashlib.blake2b(digest_size=20)
        for path in sorted(folder.glob("*.safetensors")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _trained(
        self,
        key: str,
        parent: str | None,
        card: dict[str, Any],
        train: Callable[[loading.LanguageModel, Path], TrainingResult],
    ) -> TrainedModel:
        def make() -> str:
            with tempfile.TemporaryDirectory() as folder:
                result = train(self.load(parent), Path(folder))
                described = {"parent": parent, "root": self.base_model, "training": result.figures(), **card}
                return self.store.put(Path(folder), described)

        model, reused = self.store.reuse(key, make)
        return TrainedModel(model, reused, self.store.card(model)["training"])
