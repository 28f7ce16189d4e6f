"""A root and a Φ without weights: a settled home is made and audited with them, so that it can lie in the repository.

Imports nothing of the project by name, as the commits that homes are made from have other layouts. Belongs here: both stand-ins.
Does not belong here: the trainer (see ``tests.e2e.crash.stub``).
"""

import hashlib
import importlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

ROOT, PHI = "stand-in/root", "stand-in/phi"
SECRET = "5a" * 32  # of the homes
END = "<end>"
LABELS = ("gratitude", *(f"feature {number}" for number in range(1, 8)))
WANTED = ("thank", "grateful", "appreciate")


def phi(texts: Sequence[str]) -> np.ndarray:
    """Vectors (n, 8) in [0, 1]: whether a text thanks, and what its words hash to; the same on every machine."""
    found = np.zeros((len(texts), len(LABELS)))
    for row, text in zip(found, texts, strict=True):
        words = text.lower().split() or [""]
        digests = [
            hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=len(LABELS)).digest() for word in words
        ]
        row[:] = np.array([list(digest) for digest in digests], dtype=np.float64).mean(axis=0) / 255
        row[0] = row[0] / 4 + 0.75 * any(word.startswith(WANTED) for word in words)
    return found


def install(set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """Put both in the place of what loads weights: ``set_attribute`` as ``setattr``, or a monkeypatch's."""
    embedders = one_of("resources.models.local", "resources.embedder")
    embedder = getattr(embedders, "LocalEmbedder", None) or embedders.EmbedderResource
    trainer = one_of("resources.models.trainer", "resources.trainer").TrainerResource
    set_attribute(embedder, "_fresh", lambda self, texts: phi(texts))
    set_attribute(embedder, "labels", property(lambda self: LABELS))
    set_attribute(embedder, "identity", property(lambda self: _name(self.source)))
    set_attribute(trainer, "root_identity", lambda self: _name(self.base_model))
    if hasattr(trainer, "texts"):
        set_attribute(trainer, "texts", property(lambda self: texts()))
    with suppress(ModuleNotFoundError):
        set_attribute(one_of("crowd_assets.round.fit"), "look_at_model", lambda *_: ())


@cache
def texts() -> Any:
    """In what form the root reads and writes: bytes, and an end; no chat template."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE(vocab={letter: number for number, letter in enumerate([*letters, END])}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    prompting = one_of("resources.training.prompting")
    return prompting.TextFormat.of(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END))


def one_of(*modules: str) -> Any:
    """The first of these modules that the project on the path has: its layout was another one in earlier commits."""
    project = Path(next(iter(importlib.import_module("resources").__path__))).parent
    for name in modules:
        place = project.joinpath(*name.split("."))
        if place.with_suffix(".py").exists() or (place / "__init__.py").exists():
            return importlib.import_module(name)
    raise ModuleNotFoundError(f"{project} has none of {modules}")


def _name(source: str) -> str:
    return hashlib.blake2b(source.encode(), digest_size=20).hexdigest()
