"""What a task does: the local trainer's and embedder's work, with what they need made anew where the task runs.

Belongs here: functions that a node runs, and what is sent to them. Does not belong here: how work is split (see ``trainer``,
``embedder``), and waiting for it (see ``cluster``).
"""

import socket
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from upath import UPath

from resources.common.errors import OperatorError
from resources.files.storage import is_local, patience_with_stores, use_object_stores
from resources.models.local import LocalEmbedder, LocalTrainer
from resources.models.store import ModelStoreResource
from resources.models.trainer import TrainedModel, TrainerResource
from resources.training.loading import use_threads
from resources.training.preference_values import PairValues

MARK = "shared"


class UnsharedFilesError(OperatorError, RuntimeError):
    """A node does not see the files that the machine sees which runs the round."""


@dataclass(frozen=True)
class SentTrainer:
    """What a trainer is made from on a node.

    Attributes:
        fields: Of the trainer, but for its store.
        store: Folder or URI of the model store.
        mark: What the store holds under ``pinned/shared``.
        root: Identity of the root.
        patience_s: How long to wait for an object store that does not answer.
    """

    fields: dict[str, Any]
    store: str
    mark: str
    root: str
    patience_s: float

    @classmethod
    def of(cls, trainer: TrainerResource, shards: int) -> "SentTrainer":
        """What ``trainer`` is made from, with its base spread over ``shards`` processes."""
        fields = {name: getattr(trainer, name) for name in TrainerResource.model_fields if name != "store"}
        mark, _ = trainer.store.pinned(MARK, lambda: uuid.uuid4().hex)
        fields |= {"base_model": anywhere(trainer.base_model), "sharded": shards > 1}
        place = UPath(trainer.store.root)
        store = str(Path(trainer.store.root).absolute()) if is_local(place) else trainer.store.root
        return cls(fields, store, mark, trainer.root_identity(), patience_with_stores())

    def made(self) -> LocalTrainer:
        """The trainer, checked to be the same as there.

        Raises:
            UnsharedFilesError: its store or its root is another.
        """
        use_object_stores(self.patience_s)
        store = ModelStoreResource(root=self.store, cache=str(Path(tempfile.gettempdir(), "crowd-models")))
        path = UPath(self.store, "pinned", MARK)
        if not path.exists() or path.read_text(encoding="utf-8") != self.mark:
            raise UnsharedFilesError(
                f"{socket.gethostname()} of the Ray cluster sees another model store at {self.store} than the machine that runs "
                "the round: set CROWD_MODELS to a folder that all nodes share under one name, or to a URI such as s3://…."
            )
        trainer = LocalTrainer(store=store, **self.fields)
        _check_same("CROWD_BASE_MODEL", trainer.base_model, trainer.root_identity(), self.root)
        return trainer


def anywhere(source: str) -> str:
    """A hub id as it is, a local folder so that it does not depend on a process's own."""
    return str(Path(source).absolute()) if Path(source).is_dir() else source


def train_candidates(sent: SentTrainer, arguments: dict[str, Any], *, progress: Any) -> list[TrainedModel]:
    return sent.made().train_candidates(**arguments, progress=progress)


def align(sent: SentTrainer, arguments: dict[str, Any], *, progress: Any) -> TrainedModel:
    return sent.made().align(**arguments, progress=progress)


def generate(sent: SentTrainer, arguments: dict[str, Any], *, progress: Any) -> list[list[str]]:
    return sent.made().generate(**arguments, progress=progress)


def likelihoods(sent: SentTrainer, arguments: dict[str, Any], *, progress: Any) -> "list[NDArray[np.float64]]":
    return sent.made().likelihoods(**arguments)


def pair_values(sent: SentTrainer, arguments: dict[str, Any], *, progress: Any) -> PairValues:
    return sent.made().pair_values(**arguments)


def preference_accuracy(sent: SentTrainer, arguments: dict[str, Any], *, progress: Any) -> float:
    return sent.made().preference_accuracy(**arguments)


def embed(fields: dict[str, Any], identity: str, texts: Sequence[str], *, progress: Any) -> NDArray[np.float64]:
    embedder = _embedder(fields, identity)
    use_threads(embedder.threads)
    return embedder.loaded().embed(texts, progress=progress)


def labels(fields: dict[str, Any], identity: str, *, progress: Any) -> tuple[str, ...]:
    return _embedder(fields, identity).labels


def _embedder(fields: dict[str, Any], identity: str) -> LocalEmbedder:
    embedder = LocalEmbedder(**fields)
    _check_same(embedder.setting, embedder.source, embedder.identity, identity)
    return embedder


def _check_same(setting: str, source: str, here: str, there: str) -> None:
    if here != there:
        raise UnsharedFilesError(
            f"{socket.gethostname()} of the Ray cluster has another model at {source} than the machine that runs the round: set "
            f"{setting} to a hub id, or to a folder that all nodes share under one name; without {setting} that is CROWD_HOME."
        )
