"""What every trainer is: candidates, alignment, generations and scores of stored models, behind one resource.

Belongs here: which model a call is about, under which keys what was trained is stored, loading and exporting a stored model.
Does not belong here: who trains (see ``local``, ``resources.ray_compute.trainer``), tensors (see ``resources.training``), groups
and gates (see ``crowd_assets``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dagster import ConfigurableResource, ResourceDependency, get_dagster_logger
from pydantic import Field

from resources.common.errors import OperatorError
from resources.models.store import ModelStoreResource, fingerprint
from resources.training import alignment, candidates, embedding, exporting, generation, lending, loading
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.packaged import packaged
from resources.training.preference_values import PairValues
from resources.training.prompting import Prompt, TextFormat, TextOptions
from resources.training.supervised import AdapterConfig
from resources.training.valuation import Valuation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROOT_CARD_NAME = "root"
ADAPTER, BASE, MODELFILE = "adapter", "base", "Modelfile"  # of an export


class OtherRootError(OperatorError, ValueError):
    """The settings name another base model than the one that a lineage starts from."""


@dataclass(frozen=True)
class TrainedModel:
    """A stored adapter: its hash, whether it was there already, its training figures, and for each seed of a valuation by
    how much each contributor lowered the validation loss, nats a token."""

    model: str
    reused: bool
    figures: dict[str, Any]
    values: tuple[dict[str, float], ...] = ()


class TrainerResource(ConfigurableResource, ABC):
    """Trains on top of ``base_model`` (the root) or of a stored model, given by its hash; None is the root."""

    store: ResourceDependency[ModelStoreResource]
    base_model: str = Field(description="Hub id or local folder of the root.")
    revision: str = Field(default="main", description="Revision of a root from the hub.")
    threads: int = Field(default=1, description="Threads of torch on the CPU.")
    dtype: str = Field(default="auto", description="Precision of the base.")
    device_map: str = Field(default="", description="Device of the base, as transformers' device_map.")
    quantization: str = Field(default="none", description="none, int8 or nf4: how bitsandbytes keeps the base.")
    sharded: bool = Field(
        default=False, description="Whether the base is spread over a group of processes that all do the same."
    )
    system_prompt: str = Field(default="", description="Said before conversations without a system turn.")
    template: str = Field(
        default="", description="A Jinja chat template in place of the root's own, or the name of one."
    )
    template_options: str = Field(default="", description="What the template is told, as a JSON object.")
    today: str = Field(default="", description="ISO date that a template prints; empty: the day of the call.")
    fused: int = Field(default=8, description="Models that generate in one pass over their common base.")

    keeps: bool = Field(default=True, description="Whether models stay loaded in this process between calls.")

    def load(self, model: str | None) -> loading.LanguageModel:
        """A stored model, or the root, ready for use, and the caller's own.

        Raises:
            ModelUnavailableError: the root cannot be loaded.
            DamagedModelError: an adapter's files are not those that were stored.
            OtherRootError: an adapter was trained over another root.
        """
        return self._load(model, self.quantization)

    def _load(self, model: str | None, quantization: str) -> loading.LanguageModel:
        loading.use_threads(self.threads)
        return loading.load(
            self.base_model,
            self._adapters(self.store.lineage(model)),
            revision=self._commit(),
            dtype=self.dtype,
            device_map=self.device_map,
            quantization=quantization,
            sharded=self.sharded,
            options=self._options,
        )

    @contextmanager
    def lent(self, model: str | None) -> Iterator[loading.LanguageModel]:
        """A stored model, or the root, for the time of the block: read from files where the process does not keep it.

        Raises:
            ModelUnavailableError, DamagedModelError, OtherRootError: as of :meth:`load`.
        """
        if not self.keeps or self.sharded:
            yield self.load(model)
            return
        loading.use_threads(self.threads)
        here = {"revision": self._commit(), "dtype": self.dtype, "device_map": self.device_map}
        how: dict[str, Any] = {**here, "quantization": self.quantization}

        def load(adapters: Sequence[Path]) -> loading.LanguageModel:
            return loading.load(self.base_model, adapters, **how)

        import torch

        plain = self.quantization == "none" and not self.device_map and not torch.cuda.is_available()
        what = (self.base_model, self.root_identity(), *how.values())
        adapters = self._adapters(self.store.lineage(model))
        with lending.lent(load, adapters, what, self._options, in_memory=plain) as loaded:
            yield loaded

    @property
    def _options(self) -> TextOptions:
        return TextOptions(self.system_prompt, self.template, self.template_options, self.today)

    @property
    def texts(self) -> TextFormat:
        """In what form the root, and so every model of its lineages, reads and writes.

        Raises:
            ModelUnavailableError: the root cannot be loaded.
            TemplateError: its template cannot be used.
        """
        return loading.text_format(self.base_model, self._commit(), self._options, self.root_identity())

    def precision(self, device: Any) -> tuple[Any, str]:
        """The precision that ``auto`` takes for the root on a device, and why, in a line."""
        return loading.chosen_precision(self.base_model, self._commit(), device)

    def on(self, day: date) -> Self:
        """The same trainer where a template that prints a date prints this one; itself where the template prints none."""
        return self.model_copy(update={"today": day.isoformat()}) if self.texts.reads_the_clock else self

    def export(self, model: str | None, directory: Path, *, temperature: float = 1.0) -> None:
        """Write a stored model, or the root, to ``directory``: its lineage merged into one model, not quantised, with its
        tokenizer and Ollama's ``Modelfile``; in ``adapter`` the lineage as one LoRA over the root of the hub, or over ``base``, a
        copy of a root that is on no hub."""
        merged = self._load(model, quantization="none")
        loading.save(merged, directory)
        (directory / MODELFILE).write_text(exporting.modelfile(merged.texts, temperature), encoding="utf-8")
        chain = self._adapters(self.store.lineage(model))
        if not chain:
            return
        on_a_hub = not (Path(self.base_model).is_dir() or packaged(self.base_model))
        if not on_a_hub:
            loading.save(self._load(None, quantization="none"), directory / BASE)
        exporting.save_combined(
            chain,
            directory / ADAPTER,
            base=self.base_model if on_a_hub else BASE,
            revision=self._commit() if on_a_hub else None,
        )

    def license(self) -> str:
        """The license that the root's own card names; empty where there is no card, or none in it."""
        folder = loading.model_folder(self.base_model, self._commit(), loading.ROOT_SETTING)
        return exporting.license_of(folder)

    @abstractmethod
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
        """One LoRA adapter a group on ``parent``, all trained in one pass, in the store.

        What a pass trains together is stored together: if one of its models is missing, all are trained again, and are the
        same to the last bit.

        Args:
            cards: What each model's card says beside its training.
        """

    def candidates_key(
        self,
        parent: str | None,
        groups: Sequence[Demonstrations],
        config: CandidateConfig,
        seed: int,
        valuation: Valuation | None,
    ) -> str:
        """Under which candidates that are trained in one pass are stored."""
        return self._key("candidates", parent, groups=groups, config=config, seed=seed, valuation=valuation)

    @abstractmethod
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
        """A LoRA adapter on ``parent``, trained by QA-DPO, in the store."""

    def alignment_key(
        self, parent: str | None, pairs: Sequence[PreferencePair], config: AdapterConfig, beta: float, seed: int
    ) -> str:
        """Under which an aligned model is stored."""
        return self._key("alignment", parent, pairs=pairs, config=config, beta=beta, seed=seed)

    @abstractmethod
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
        """One response of each stored model, or the root (None), to each prompt; see :func:`training.generation.generate`.

        Models share passes over what their lineages have in common; what a model writes does not depend on the others.
        """

    @abstractmethod
    def likelihoods(
        self, model: str | None, pairs: Sequence[tuple[Prompt, str]], max_tokens: int
    ) -> "list[NDArray[np.float64]]":
        """How likely a stored model, or the root, finds responses; see :func:`training.likelihood.token_likelihoods`."""

    @abstractmethod
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
        """What each pair was worth to a stored model that was aligned over ``parent`` with ``pairs``; see
        :func:`training.preference_values.pair_values`."""

    @abstractmethod
    def preference_accuracy(self, model: str | None, pairs: Sequence[PreferencePair], max_tokens: int) -> float:
        """Share of pairs that a stored model, or the root, ranks as the crowd does."""

    def _key(self, purpose: str, parent: str | None, **inputs: Any) -> str:
        base = {"root": self.root_identity(), "dtype": self.dtype, "quantization": self.quantization, "parent": parent}
        if changed := self._options.changed():
            inputs["texts"] = changed
        return fingerprint(purpose=purpose, **base, **inputs)

    def _adapters(self, models: Sequence[str]) -> list[Path]:
        """Directories of stored models that are what was stored, and were trained over this root."""
        for model in models:
            self.store.verify(model)
            trained_over = self.store.card(model).get("root_identity")
            if trained_over not in (None, *self._identities()):
                raise OtherRootError(
                    f"model {model} was trained over {trained_over}, and CROWD_BASE_MODEL={self.base_model!r} "
                    f"(CROWD_BASE_MODEL_REVISION={self.revision!r}) is {self.root_identity()}: set both variables as before, or begin "
                    "with a new CROWD_HOME."
                )
        return [self.store.path(model) for model in models]

    def _commit(self) -> str:
        """What is loaded of a root from the hub: the commit at which the revision stood when this store first used it, so
        that the adapters of all rounds fit one base."""
        if Path(self.base_model).is_dir() or packaged(self.base_model):
            return self.revision
        commit, new = self.store.pinned(
            fingerprint(root=self.base_model, revision=self.revision),
            lambda: loading.hub_folder(self.base_model, self.revision, loading.ROOT_SETTING).name,
        )
        if new and commit != self.revision:
            get_dagster_logger().warning(
                f"CROWD_BASE_MODEL_REVISION={self.revision} may move. All rounds of this home use {self.base_model} as of now, commit {commit}; set CROWD_BASE_MODEL_REVISION={commit} to repeat the rounds in another home."
            )
        return commit

    def root_identity(self) -> str:
        """Which root it is: the hash of a local folder's model, or the hub's id and commit."""
        return embedding.identity(self.base_model, self._commit())

    def _identities(self) -> list[str]:
        """What the root has been called in cards: what is loaded of it, and, in older homes, whatever lay beside that."""
        earlier = [embedding.earlier_identity(self.base_model)] if Path(self.base_model).is_dir() else []
        return [self.root_identity(), *earlier]

    def _together(
        self, key: str, make: Callable[[], tuple[list[str], list[list[dict[str, float]]] | None]]
    ) -> list[TrainedModel]:
        """The models that were stored together under ``key``, made first if one is missing, each with its values."""
        models, values, reused = self.store.reuse_together(key, make)
        return self._described(models, values, reused)

    def _found(self, key: str) -> list[TrainedModel] | None:
        """The models that were stored together under ``key``; None where one is missing."""
        made = self.store.made(key)
        return self._described(*made, reused=True) if made else None

    def _described(
        self, models: list[str], values: list[list[dict[str, float]]] | None, reused: bool
    ) -> list[TrainedModel]:
        return [
            TrainedModel(model, reused, self.store.card(model)["training"], tuple(of_model))
            for model, of_model in zip(models, values or [[]] * len(models), strict=True)
        ]

    def _put(self, directory: Path, parent: str | None, figures: dict[str, Any], card: dict[str, Any]) -> str:
        root = {"root": self.base_model, "root_identity": self.root_identity()}
        return self.store.put(directory, {"parent": parent, **root, "training": figures, **card})
