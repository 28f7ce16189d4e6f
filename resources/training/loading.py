"""Loading language models: a root from the hub or a folder, then the adapters of a lineage merged into it.

Belongs here: where weights come from. Does not belong here: what is done with a model.
Weights are read from safetensors only, and no code of a repository runs.
"""

import os
import random
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ModelUnavailableError(OperatorError, RuntimeError):
    """A model could not be loaded; the message names the setting and the way out."""


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer, on its device, in evaluation mode."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    device: Any


def pretrained(loader: Any, source: str, revision: str, setting: str, **options: Any) -> Any:
    """``loader.from_pretrained`` for a hub id or a local folder.

    Args:
        setting: Name of the setting that holds ``source``, for the error.

    Raises:
        ModelUnavailableError: the folder or the hub does not give it.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for every adapter of every candidate would drown the round's own progress
    try:
        if not os.path.isdir(source):
            options["revision"] = revision
        return loader.from_pretrained(source, trust_remote_code=False, **options)
    except (OSError, ValueError) as problem:
        raise ModelUnavailableError(
            f"{setting}={source!r} could not be loaded: {str(problem).splitlines()[0][:300]}. It takes the folder of a "
            f"Hugging Face model or a hub id that can be reached from here; without {setting} the embedded default is used."
        ) from problem


def load(root: str, adapters: Sequence[Path], *, revision: str = "main", dtype: str = "auto") -> LanguageModel:
    """The model of a lineage: the root with every adapter of the chain merged into its weights, in order.

    Args:
        root: Hub id or local folder of the base model of round 1.
        adapters: Directories of PEFT adapters, from the root's first child to the model wanted; may be empty.
        dtype: ``float32``, ``bfloat16`` or ``float16``; ``auto``: as the root's configuration says.

    Raises:
        ModelUnavailableError: the root cannot be loaded.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = pretrained(AutoTokenizer, root, revision, "CROWD_BASE_MODEL")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = pretrained(AutoModelForCausalLM, root, revision, "CROWD_BASE_MODEL", use_safetensors=True, dtype=dtype)
    for directory in adapters:
        model = PeftModel.from_pretrained(model, str(directory)).merge_and_unload()
    return LanguageModel(model.to(device).eval(), tokenizer, device)


def save(language_model: LanguageModel, directory: Path) -> None:
    """Write model and tokenizer to ``directory`` as ``from_pretrained`` reads them: weights as safetensors."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    language_model.model.save_pretrained(str(directory))
    language_model.tokenizer.save_pretrained(str(directory))


def use_threads(threads: int) -> None:
    """Let torch use this many threads on the CPU, in this process, from now on."""
    import torch

    torch.set_num_threads(threads)


@contextmanager
def seeded(seed: int) -> "Iterator[None]":
    """Every generator that training draws from, seeded; deterministic kernels; the state before is put back."""
    import numpy as np
    import torch

    state, torch_state = random.getstate(), torch.random.get_rng_state()
    numpy_state = np.random.get_state()  # noqa: NPY002  # libraries draw from the global generator
    deterministic = torch.are_deterministic_algorithms_enabled()
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        random.setstate(state)
        torch.random.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.use_deterministic_algorithms(deterministic)
