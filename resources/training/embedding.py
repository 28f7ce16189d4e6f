"""Φ: texts to vectors, by a multi-label classifier (one sigmoid a label), or by the last hidden states of a sentence encoder
or a causal language model (mean pooling).

Belongs here: loading an encoder, embedding in batches, which Φ it is. Does not belong here: targets, distances, and keeping
vectors (see ``resources.models.embedding_cache``).
"""

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.training.loading import ModelUnavailableError, pretrained
from resources.training.packaged import packaged

logger = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
BATCH = 256  # texts that go through the model together
# Models whose positions begin behind that of the pad token, so that they have fewer for a text.
COUNTED_FROM_PAD = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
LONGEST_TEXT = 256  # tokens; what a comment or an answer needs, and less than every common encoder takes
READ_SUFFIXES = {".safetensors", ".json", ".txt", ".model", ".jinja"}  # weights, configuration and tokenizer
# Of the JSON that lies beside a model, what is read when it is loaded: no trainer's state, no results, no notes.
READ_JSON = re.compile(
    r"(config|generation_config|(.*\.)?tokenizer(_config)?|vocab|special_tokens_map|added_tokens|chat_template|"
    r"(preprocessor|processor)_config|model\.safetensors\.index)\.json"
)
READ_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")


@dataclass(frozen=True)
class Embedder:
    """A loaded Φ. ``labels`` names the dimensions of a classifier and is empty where states are pooled.

    Attributes:
        exclusive: Whether a classifier gives a text one label (a softmax) and not each label a probability of its own (a sigmoid).
        longest: Most tokens of a text.
    """

    model: Any
    tokenizer: Any
    device: Any
    labels: tuple[str, ...]
    exclusive: bool = False
    longest: int = LONGEST_TEXT

    def embed(
        self, texts: Sequence[str], batch_size: int = BATCH, progress: Progress = lambda done, total: None
    ) -> NDArray[np.float64]:
        """Vectors (n, d) of ``texts``: a classifier's probabilities in [0, 1], or mean-pooled states of length 1.

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
                max_length=self.longest,
            ).to(self.device)
            with torch.inference_mode():
                output = self.model(**tokens)
                if self.labels:
                    logits = output.logits.float()
                    states = torch.softmax(logits, dim=-1) if self.exclusive else torch.sigmoid(logits)
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
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForSequenceClassification,
        AutoModelForTextEncoding,
        AutoTokenizer,
    )

    config = pretrained(AutoConfig, source, revision, setting)
    tokenizer = pretrained(AutoTokenizer, source, revision, setting)
    tokenizer.padding_side = "right"  # on the left it would shift the positions of what a causal model reads
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = any("ForSequenceClassification" in name for name in config.architectures or [])
    # Of T5 and its like the encoder alone is what reads a text.
    encoder = AutoModelForTextEncoding if config.is_encoder_decoder else AutoModel
    loader = AutoModelForSequenceClassification if classifier else encoder
    model = pretrained(loader, source, revision, setting, use_safetensors=True, dtype=dtype).to(device).eval()
    model.config.use_cache = False  # keys and values of a causal model: memory that nothing reads
    _set_pad(tokenizer, model, setting)
    labels = tuple(config.id2label[index] for index in range(config.num_labels)) if classifier else ()
    exclusive = config.problem_type == "single_label_classification" and len(labels) > 1
    if config.problem_type is None and len(labels) > 1:
        logger.warning(
            f"{setting}={source!r} does not say whether a text has one label or several: each label gets a probability of its own. Where "
            'texts have one label, write "problem_type": "single_label_classification" into config.json of a copy, and name the copy.'
        )
    return Embedder(model, tokenizer, device, labels, exclusive, _longest(config))


def _set_pad(tokenizer: Any, model: Any, setting: str) -> None:
    """A pad token that the model has a vector for, the same for tokenizer and model: a causal classifier reads its verdict off the
    last token that is none.

    Raises:
        ModelUnavailableError: no token can be one.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    known = (tokenizer.pad_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token)
    usable = [token for token in known if token is not None and 0 <= tokenizer.convert_tokens_to_ids(token) < rows]
    if not usable:
        raise ModelUnavailableError(f"{setting}: the tokenizer has no token that texts could be padded with.")
    tokenizer.pad_token = usable[0]
    model.config.pad_token_id = model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def _longest(config: Any) -> int:
    """Tokens of a text that a model has positions for, at most LONGEST_TEXT."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None) or LONGEST_TEXT
    if config.model_type in COUNTED_FROM_PAD:
        positions -= (config.pad_token_id or 0) + 1
    return max(1, min(LONGEST_TEXT, int(positions)))


def identity(source: str, revision: str) -> str:
    """Which Φ it is: the hash of what a local folder's model is read from, that of a packaged model's file, or ``id@revision`` of
    the hub."""
    folder = Path(source)
    if not folder.is_dir():
        in_package = packaged(source)
        return f"{source}@{in_package.sha256 if in_package else revision}"
    files = sorted(
        path for path in folder.iterdir() if path.suffix in READ_SUFFIXES and path.is_file() and _is_read(path)
    )
    return _of(files)


def earlier_identity(source: str) -> str:
    """Which model a local folder was before only what is loaded counted: with all other files of its kinds."""
    folder = Path(source)
    return _of(sorted(path for path in folder.iterdir() if path.suffix in READ_SUFFIXES and path.is_file()))


def _is_read(path: Path) -> bool:
    if path.suffix == ".json":
        return READ_JSON.fullmatch(path.name) is not None
    if path.suffix == ".safetensors":
        return READ_WEIGHTS.fullmatch(path.name) is not None
    return path.suffix != ".txt" or path.name in {"vocab.txt", "merges.txt"}


def _of(files: Sequence[Path]) -> str:
    return _content(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@lru_cache(maxsize=8)
def _content(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    for path, _, _ in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
        digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()
