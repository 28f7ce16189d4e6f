"""Φ: texts to vectors, by a multi-label classifier (one sigmoid a label) or a sentence encoder (mean pooling).

Belongs here: loading an encoder and embedding in batches. Does not belong here: targets and distances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.training.loading import pretrained

LONGEST_TEXT = 256  # tokens; what a comment or an answer needs, and less than every common encoder takes


@dataclass(frozen=True)
class Embedder:
    """A loaded Φ. ``labels`` names the dimensions of a classifier and is empty for a sentence encoder."""

    model: Any
    tokenizer: Any
    device: Any
    labels: tuple[str, ...]

    def embed(self, texts: Sequence[str], batch_size: int = 256) -> NDArray[np.float64]:
        """Vectors (n, d) of ``texts``: sigmoid outputs in [0, 1], or mean-pooled states of length 1."""
        import torch

        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
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
        return np.stack([vector for vector in vectors if vector is not None]) if texts else np.zeros((0, 0))


def load_embedder(source: str, revision: str = "main") -> Embedder:
    """Φ from a hub id or a local folder: a classifier if its configuration says so, else a sentence encoder.

    Raises:
        ModelUnavailableError: it cannot be loaded; the message names CROWD_EMBEDDER.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    setting = "CROWD_EMBEDDER"
    config = pretrained(AutoConfig, source, revision, setting)
    tokenizer = pretrained(AutoTokenizer, source, revision, setting)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = any("ForSequenceClassification" in name for name in config.architectures or [])
    loader = AutoModelForSequenceClassification if classifier else AutoModel
    model = pretrained(loader, source, revision, setting, use_safetensors=True).to(device).eval()
    labels = tuple(config.id2label[index] for index in range(config.num_labels)) if classifier else ()
    return Embedder(model, tokenizer, device, labels)
