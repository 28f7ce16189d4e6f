"""Φ: texts to vectors, by a multi-label classifier (one sigmoid a label), or by the last hidden states of a sentence encoder
or a causal language model (mean pooling).

Belongs here: loading an encoder, embedding in batches, which Φ it is. Does not belong here: targets, distances, and keeping
vectors (see ``resources.models.embedding_cache``).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.training.loading import pretrained

Progress = Callable[[int, int], None]
BATCH = 256  # texts that go through the model together
LONGEST_TEXT = 256  # tokens; what a comment or an answer needs, and less than every common encoder takes
READ_SUFFIXES = {".safetensors", ".json", ".txt", ".model", ".jinja"}  # weights, configuration and tokenizer


@dataclass(frozen=True)
class Embedder:
    """A loaded Φ. ``labels`` names the dimensions of a classifier and is empty where states are pooled."""

    model: Any
    tokenizer: Any
    device: Any
    labels: tuple[str, ...]

    def embed(
        self, texts: Sequence[str], batch_size: int = BATCH, progress: Progress = lambda done, total: None
    ) -> NDArray[np.float64]:
        """Vectors (n, d) of ``texts``: sigmoid outputs in [0, 1], or mean-pooled states of length 1.

        Values of single precision. Which texts share a batch decides how far each is padded and with it the last digits.

        Args:
            progress: Called with texts done and in all after each batch.
        """
        import torch

        order = by_length(texts)
        vectors: list[NDArray[np.float64] | None] = [None] * len(texts)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            tokens = self.tokenizer(
                [texts[index] or " " for index in chosen],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=LONGEST_TEXT,
            ).to(self.device)
            with torch.inference_mode():
                output = self.model(**tokens)
                if self.labels:
                    states = torch.sigmoid(output.logits.float())
                else:
                    mask = tokens["attention_mask"].unsqueeze(-1).float()
                    pooled = (output.last_hidden_state.float() * mask).sum(1) / mask.sum(1).clamp_min(1e-9)
                    states = torch.nn.functional.normalize(pooled, dim=-1)
            for index, vector in zip(chosen, states.double().cpu().numpy(), strict=True):
                vectors[index] = vector
            progress(start + len(chosen), len(order))
        return np.stack([vector for vector in vectors if vector is not None]) if texts else np.zeros((0, 0))


def by_length(texts: Sequence[str]) -> list[int]:
    """Numbers of the texts in the order in which they are embedded."""
    return sorted(range(len(texts)), key=lambda index: len(texts[index]))


def load_embedder(
    source: str, revision: str = "main", *, dtype: str = "auto", setting: str = "CROWD_EMBEDDER"
) -> Embedder:
    """Φ from a hub id or a local folder: a classifier if its configuration says so, else the pooled last hidden states of a
    sentence encoder or a causal language model.

    Args:
        dtype: Precision of the model; ``auto``: as its configuration says.
        setting: Name of the setting that holds ``source``, for the error.

    Raises:
        ModelUnavailableError: it cannot be loaded; the message names ``setting``.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    config = pretrained(AutoConfig, source, revision, setting)
    tokenizer = pretrained(AutoTokenizer, source, revision, setting)
    tokenizer.padding_side = "right"  # on the left it would shift the positions of what a causal model reads
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = any("ForSequenceClassification" in name for name in config.architectures or [])
    loader = AutoModelForSequenceClassification if classifier else AutoModel
    model = pretrained(loader, source, revision, setting, use_safetensors=True, dtype=dtype).to(device).eval()
    model.config.use_cache = False  # keys and values of a causal model: memory that nothing reads
    labels = tuple(config.id2label[index] for index in range(config.num_labels)) if classifier else ()
    return Embedder(model, tokenizer, device, labels)


def identity(source: str, revision: str) -> str:
    """Which Φ it is: the hash of what a local folder's model is read from, or ``id@revision`` of the hub."""
    folder = Path(source)
    if not folder.is_dir():
        return f"{source}@{revision}"
    files = sorted(path for path in folder.iterdir() if path.suffix in READ_SUFFIXES and path.is_file())
    return _content(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@lru_cache(maxsize=8)
def _content(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for path, _, _ in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
        digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()
