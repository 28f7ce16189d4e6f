"""Loading language models: a root from the hub or a folder, then the adapters of a lineage merged into it.

Belongs here: where weights come from. Does not belong here: what is done with a model.
Weights are read from safetensors only, and no code of a repository runs.
"""

import json
import logging
import os
import random
import resource
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.common.errors import OperatorError
from resources.training.packaged import packaged, packaged_folder
from resources.training.prompting import TextFormat, TextOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

ROOT_SETTING = "CROWD_BASE_MODEL"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
OF_LAYER, A_WEIGHT, B_WEIGHT = (
    "base_model.model.",
    ".lora_A.weight",
    ".lora_B.weight",
)  # PEFT's names of a layer's weights
FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "README.md"]
NO_FILES = ["*/*", "consolidated*"]  # what transformers does not read


class ModelUnavailableError(OperatorError, RuntimeError):
    """A model could not be loaded; the message names the setting and the way out."""


class PlacementError(OperatorError, RuntimeError):
    """The base model cannot be kept here as CROWD_DEVICE_MAP and CROWD_QUANTIZATION ask."""


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer, on its device, in evaluation mode.

    Attributes:
        options: What an operator chose about its texts.
        of_generation: What its root's ``generation_config.json`` says, for exports.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    device: Any
    options: TextOptions = field(default_factory=TextOptions)
    of_generation: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def texts(self) -> TextFormat:
        """In what form it reads and writes."""
        config = getattr(self.model, "generation_config", None)
        return TextFormat.of(self.tokenizer, self.model.config, config, self.options)


def pretrained(loader: Any, source: str, revision: str, setting: str, **options: Any) -> Any:
    """``loader.from_pretrained`` for a hub id or a local folder.

    Args:
        setting: Name of the setting that holds ``source``, for the error.

    Raises:
        ModelUnavailableError: the folder or the hub does not give it.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a bar for every adapter of every candidate would drown the round's own progress
    folder = str(model_folder(source, revision, setting))
    with _named(source, setting):
        return loader.from_pretrained(folder, trust_remote_code=False, **options)


def model_folder(source: str, revision: str, setting: str) -> Path:
    """The folder that a model is read from: a local one, that of a packaged model, or the hub's in its cache.

    Raises:
        ModelUnavailableError: there is no such model or revision, or neither hub nor copy.
        MissingExtraError: a packaged model's package is not installed.
    """
    if os.path.isdir(source):
        return Path(source)
    return packaged_folder(source, logger.info) if packaged(source) else hub_folder(source, revision, setting)


@lru_cache
def hub_folder(source: str, revision: str, setting: str) -> Path:
    """The folder of a hub's model in the hub's cache, named by the commit that the revision stands at; downloaded first where
    it is not there. The hub is asked once a process, and not at all for a commit that is there. Where it cannot be reached, a
    branch or tag stands where it stood when it was last asked.

    Raises:
        ModelUnavailableError: there is no such model or revision, or neither hub nor copy.
    """
    from huggingface_hub import snapshot_download

    with _named(source, setting):
        try:
            return Path(snapshot_download(source, revision=revision, allow_patterns=FILES, ignore_patterns=NO_FILES))
        except (OSError, ValueError):
            raise
        except Exception as problem:  # of the HTTP client
            raise OSError(f"{type(problem).__name__}: {problem}") from problem


@contextmanager
def _named(source: str, setting: str) -> "Iterator[None]":
    """Errors of loading ``source`` that name the setting and the way out."""
    try:
        yield
    except (OSError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:300].rstrip(".")
        raise ModelUnavailableError(
            f"{setting}={source!r} could not be loaded: {reason}. Name the folder of a Hugging Face model, or a hub id that can be reached from here; without {setting} the embedded default is used."
        ) from problem


def load(
    root: str,
    adapters: Sequence[Path],
    *,
    revision: str = "main",
    dtype: str = "auto",
    device_map: str = "",
    quantization: str = "none",
    sharded: bool = False,
    options: TextOptions | None = None,
) -> LanguageModel:
    """The model of a lineage: the root with every adapter of the chain merged into its weights, in order.

    Args:
        root: Hub id or local folder of the base model of round 1.
        adapters: Directories of PEFT adapters, from the root's first child to the model wanted; may be empty.
        dtype: ``float32``, ``bfloat16`` or ``float16``; ``auto``: as the root's configuration says.
        device_map: transformers' ``device_map``; empty: the first GPU, or the CPU.
        quantization: ``int8`` or ``nf4``: linear layers as bitsandbytes keeps them.
        sharded: Whether the model is spread over the processes of torch's default group; see :mod:`training.sharding`.
        options: What an operator chose about its texts.

    Raises:
        ModelUnavailableError: the root cannot be loaded.
        ShardingError: it cannot be spread.
        PlacementError: bitsandbytes is not installed, the map's device is not there, or the model does not fit on one.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    quantized = quantization != "none"
    if sharded and (device_map or quantized):
        from resources.training.sharding import ShardingError

        raise ShardingError(
            f"CROWD_SHARDING=fsdp spreads the base unchanged: leave CROWD_DEVICE_MAP={device_map} empty and set "
            f"CROWD_QUANTIZATION={quantization} to none, or CROWD_SHARDING to none."
        )
    if quantized and find_spec("bitsandbytes") is None:
        raise PlacementError(
            f"CROWD_QUANTIZATION={quantization} needs bitsandbytes: pip install bitsandbytes, or set CROWD_QUANTIZATION=none."
        )
    tokenizer = pretrained(AutoTokenizer, root, revision, ROOT_SETTING)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if dtype == "auto":
        dtype = chosen_precision(
            root, revision, torch.device(device_map) if device_map not in ("", "auto") else device
        )[0]
    # What a configuration says of generation has no part in ours but the ends, and need not be what transformers takes.
    of_generation = pretrained(RawGenerationConfig, root, revision, ROOT_SETTING)
    model = pretrained(
        AutoModelForCausalLM,
        root,
        revision,
        ROOT_SETTING,
        use_safetensors=True,
        dtype=dtype,
        generation_config=GenerationConfig(eos_token_id=of_generation.content.get("eos_token_id")),
    )
    merge(model, [read_adapter(directory) for directory in adapters])
    if device_map or quantized:
        model = _placed(model, device_map or str(device), quantization)
        device = model.device
    else:
        if sharded:
            from resources.training.sharding import shard

            shard(model, device)
        model.to(device)
    loaded = LanguageModel(model.eval(), tokenizer, device, options or TextOptions(), of_generation.content)
    model.generation_config.eos_token_id = list(loaded.texts.ends) or None
    return loaded


def chosen_precision(root: str, revision: str, device: Any) -> tuple[Any, str]:
    """The precision of a root where ``CROWD_DTYPE=auto``, and why, in a line.

    Raises:
        ModelUnavailableError: the root cannot be loaded.
    """
    from transformers import AutoConfig

    from resources.training.memory import precision

    own = getattr(pretrained(AutoConfig, root, revision, ROOT_SETTING).get_text_config(), "dtype", None)
    if own is None:
        return "auto", "as the model's weights are"
    weights = sum(path.stat().st_size for path in model_folder(root, revision, ROOT_SETTING).glob("*.safetensors"))
    return precision(own, weights, device)


@lru_cache(maxsize=8)
def text_format(root: str, revision: str, options: TextOptions, identity: str) -> TextFormat:
    """In what form a root reads and writes, without its weights.

    Args:
        identity: What makes a folder with other files another root.

    Raises:
        ModelUnavailableError: the root cannot be loaded.
        TemplateError: its template cannot be used.
    """
    from transformers import AutoConfig, AutoTokenizer

    tokenizer, config, generation = (
        pretrained(each, root, revision, ROOT_SETTING) for each in (AutoTokenizer, AutoConfig, RawGenerationConfig)
    )
    return TextFormat.of(tokenizer, config, generation, options)


@dataclass(frozen=True)
class RawGenerationConfig:
    """A model's ``generation_config.json`` as it is, whether transformers takes it or not; empty where there is none."""

    content: dict[str, Any]

    @property
    def eos_token_id(self) -> Any:
        """The ends that it names, as it names them."""
        return self.content.get("eos_token_id")

    @classmethod
    def from_pretrained(cls, folder: str, **_: Any) -> "RawGenerationConfig":
        try:
            found = json.loads(Path(folder, "generation_config.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            found = {}
        return cls(found if isinstance(found, dict) else {})


@dataclass(frozen=True)
class StoredAdapter:
    """A PEFT checkpoint: B A times ``scale`` is added to each layer's weight.

    Attributes:
        weights: By PEFT's names: ``base_model.model.<layer>.lora_A.weight`` (rank, d_in) and ``lora_B.weight`` (d_out, rank).
    """

    weights: "dict[str, torch.Tensor]"
    rank: int
    scale: float

    @property
    def layers(self) -> list[str]:
        """Names of the layers that it changes, sorted."""
        return sorted(name[len(OF_LAYER) : -len(A_WEIGHT)] for name in self.weights if name.endswith(A_WEIGHT))

    def matrices(self, layer: str) -> "tuple[torch.Tensor, torch.Tensor]":
        """A (rank, d_in) and B (d_out, rank) of a layer."""
        return self.weights[f"{OF_LAYER}{layer}{A_WEIGHT}"], self.weights[f"{OF_LAYER}{layer}{B_WEIGHT}"]


def read_adapter(directory: Path) -> StoredAdapter:
    """The PEFT checkpoint in a directory.

    Raises:
        ModelUnavailableError: it has no safetensors; a pickle is never read.
    """
    from peft import LoraConfig
    from safetensors.torch import load_file

    if not (directory / ADAPTER_WEIGHTS).is_file():
        raise ModelUnavailableError(
            f"{directory} has no {ADAPTER_WEIGHTS}: weights are read from safetensors only. Restore the model from a backup."
        )
    config: Any = LoraConfig.from_pretrained(str(directory))
    weights = load_file(directory / ADAPTER_WEIGHTS)
    return StoredAdapter(weights, config.r, config.lora_alpha / config.r)


def merge(model: Any, adapters: "Sequence[StoredAdapter]") -> None:
    """Add adapters to the weights of a model, in order. Weights of low precision are summed up in single precision and rounded once:
    rounded after each adapter, a lineage in bfloat16 would lose a quarter of what its rounds learnt."""
    import torch

    changes: dict[str, list[StoredAdapter]] = {}
    for adapter in adapters:
        for layer in adapter.layers:
            changes.setdefault(layer, []).append(adapter)
    for layer, of_layer in changes.items():
        weight = model.get_submodule(layer).weight
        wide = weight.dtype if weight.dtype == torch.float64 else torch.float32
        total = weight.data.to(wide, copy=True)
        for adapter in of_layer:
            a, b = (part.to(total.device, wide) for part in adapter.matrices(layer))
            change = (b @ a) * adapter.scale
            total += change.T if _transposed(model.get_submodule(layer)) else change
        weight.data = total.to(weight.dtype)


def _transposed(layer: Any) -> bool:
    """Whether a layer keeps its weight as (d_in, d_out), as GPT-2's do."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(layer, Conv1D)


def _placed(merged: "PreTrainedModel", device_map: str, quantization: str) -> "PreTrainedModel":
    """A model on the devices of a map, quantised there: after its adapters were merged, which lose nothing by it."""
    import torch

    gpus = torch.cuda.device_count()
    kind, _, number = device_map.partition(":")
    if kind == "cuda" and int(number or 0) >= gpus:
        raise PlacementError(f"CROWD_DEVICE_MAP={device_map}: torch sees {gpus} GPUs here, counted from cuda:0.")
    try:
        model: PreTrainedModel = type(merged).from_pretrained(
            None,
            config=merged.config,
            state_dict=merged.state_dict(),
            dtype=merged.dtype,
            device_map=device_map,
            quantization_config=_quantization_config(quantization, merged.dtype) if quantization != "none" else None,
        )
    except (ImportError, ValueError) as problem:  # an older bitsandbytes; a map that needs a disk
        asked = f"CROWD_DEVICE_MAP={device_map}, CROWD_QUANTIZATION={quantization}"
        raise PlacementError(f"{asked}: {' '.join(str(problem).split())[:300]}") from problem
    model.generation_config = merged.generation_config
    modules: Any = model.modules()
    for module in modules:
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # At the first pass without gradients it would repack its weights for kernels that have no backward pass.
            module.support_avx512bf16_for_cpu = False
    check_on_one_device(model)
    return model


def check_on_one_device(model: Any) -> None:
    """Check that a model lies on one device.

    Raises:
        PlacementError: its device map has several.
    """
    devices = sorted(map(str, set((getattr(model, "hf_device_map", None) or {}).values())))
    if len(devices) > 1:
        raise PlacementError(
            f"CROWD_DEVICE_MAP spreads the model over {', '.join(devices)}, and training and generation keep the model on one device: name a device with room for the model, or make the model smaller by CROWD_QUANTIZATION=nf4 or CROWD_DTYPE=bfloat16."
        )


def _quantization_config(quantization: str, dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)  # a line for every product of int8
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def peak_memory(device: Any) -> float:
    """The most memory that was in use, MiB: of a GPU, by tensors since :func:`forget_peak_memory`; on a CPU by the whole
    process since it started."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak_memory(device: Any) -> None:
    """Let :func:`peak_memory` of a GPU count from now on."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def save(language_model: LanguageModel, directory: Path) -> None:
    """Write model and tokenizer to ``directory`` as ``from_pretrained`` reads them: weights as safetensors."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    language_model.model.generation_config = _exported_generation(language_model)
    language_model.model.save_pretrained(str(directory))
    language_model.tokenizer.save_pretrained(str(directory))


def _exported_generation(language_model: LanguageModel) -> Any:
    """What the root says about generation, as far as transformers takes it, and the ends that training taught."""
    from transformers import GenerationConfig

    ends = {"eos_token_id": list(language_model.texts.ends) or None}
    try:
        config = GenerationConfig(**(language_model.of_generation | ends))
        config.validate(strict=True)
    except (TypeError, ValueError):  # of two minds, such as a temperature without sampling
        config = GenerationConfig(**ends)
    return config


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
