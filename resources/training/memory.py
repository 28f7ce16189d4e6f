"""Memory: how much there is, what a pass takes, and making it smaller when there is too little.

Belongs here: bytes. Does not belong here: what a pass computes.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from resources.common.errors import OperatorError

Found = TypeVar("Found")
LOGITS_AT_ONCE = 2**24  # logits of one pass through the head: 64 MiB in single precision
SHARE = 0.5  # of the free memory, that a pass of generation may take
LOGITS_HELD = 4  # times the logits of a row, in single precision, while one of its tokens is drawn: themselves, as floats, noise, their sum
CONTAINER = Path("/sys/fs/cgroup")  # where Linux says what a container may use


class OutOfMemoryError(OperatorError, RuntimeError):
    """The smallest pass does not fit into memory; the message names the settings that make it smaller."""


def free_bytes(device: Any) -> int:
    """Memory that is free now, on a GPU or the machine."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return min(int(psutil.virtual_memory().available), max(0, _of_container() - _used_in_container()))


def _used_in_container() -> int:
    """Memory that a container uses, but for files that would make room."""
    try:
        held = dict(line.split() for line in (CONTAINER / "memory.stat").read_text().splitlines())
        return int((CONTAINER / "memory.current").read_text()) - int(held.get("inactive_file", 0))
    except (OSError, ValueError):
        return 0


def total_bytes(device: Any) -> int:
    """Memory of a GPU, or of the machine as far as this process may use it."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[1])
    import psutil

    return min(int(psutil.virtual_memory().total), _of_container())


def _of_container() -> int:
    """Memory that a container may use, where this is one with a limit."""
    try:
        return int((CONTAINER / "memory.max").read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return sys.maxsize


def cache_bytes_a_token(model: Any) -> int:
    """Bytes of keys and values that generation keeps for each token of a row, over all layers."""
    config = model.config.get_text_config()
    heads = _said(config, "num_attention_heads") or 1
    hidden = _said(config, "hidden_size") or 1
    of_keys = _said(config, "num_key_value_heads") or heads
    width = _said(config, "head_dim") or hidden // heads
    return int(2 * (_said(config, "num_hidden_layers") or 1) * of_keys * width * model.dtype.itemsize)


def writing_bytes_a_token(model: Any, tokens: int) -> int:
    """Bytes that a pass of generation takes for each token of a row of so many: keys and values, what a block holds while it reads the
    prompt, and the row's share of the logits, of which each row has those of one place."""
    config = model.config.get_text_config()
    widest = max(4 * (_said(config, "hidden_size") or 1), _said(config, "intermediate_size") or 1)
    vocabulary = int(model.get_output_embeddings().weight.shape[0])
    block = 3 * widest * model.dtype.itemsize
    return cache_bytes_a_token(model) + block + -(-LOGITS_HELD * 4 * vocabulary // max(1, tokens))


def _said(config: Any, name: str) -> int | None:
    """A size that a configuration says, the largest where layers differ; None where it says none."""
    try:
        said = getattr(config, name, None)
    except Exception:  # transformers' own error where layers differ and no one number is true of all
        said = [getattr(each, name, None) for each in config.per_layer_config]
    return max((int(each) for each in (said if isinstance(said, list | tuple) else [said]) if each), default=None)


def has_bfloat16(device: Any) -> bool:
    """Whether a device multiplies matrices in bfloat16 by instructions of its own; a CPU without them is several times slower than
    in single precision."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return any(
        bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def precision(own: Any, weights: int, device: Any) -> tuple[Any, str]:
    """The precision in which a base is kept where none is asked for, and why, in a line.

    Args:
        own: torch's type that the configuration names.
        weights: Bytes of the weights in that type; 0 where nobody knows.
        device: Where the base will lie.
    """
    import torch

    if (
        own not in (torch.bfloat16, torch.float16)
        or device.type != "cpu"
        or (own == torch.bfloat16 and has_bfloat16(device))
    ):
        return own, f"{_named(own)}, as the model's configuration says"
    needed, free = 2 * weights, free_bytes(device)
    if needed > free:
        return (
            own,
            f"{_named(own)}, as single precision would take {needed / 2**30:.1f} GiB and {free / 2**30:.1f} are free",
        )
    return torch.float32, f"float32, as this CPU has no instructions for {_named(own)}"


def _named(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an error says that memory ran out: of a GPU, or of the machine as torch's CPU allocator says so."""
    import torch

    if isinstance(problem, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(problem, RuntimeError) and any(
        said in str(problem) for said in ("not enough memory", "can't allocate memory", "CUDA out of memory")
    )


def halving(attempt: Callable[[int], Found], size: int, ways_out: str) -> tuple[Found, int]:
    """What ``attempt`` gives for the first of size, size/2, … that fits into memory, and that size.

    Args:
        attempt: Called with a size; it must leave nothing behind when it fails.
        ways_out: What the settings are that make even the smallest pass smaller, for the error.

    Raises:
        OutOfMemoryError: it does not fit with a size of 1.
    """
    import gc

    import torch

    while True:
        try:
            return attempt(size), size
        except Exception as problem:
            if not is_out_of_memory(problem):
                raise
            reason = " ".join(str(problem).split())[:200]
        if size <= 1:
            raise OutOfMemoryError(f"the smallest pass does not fit into memory ({reason}): {ways_out}.")
        size = max(1, size // 2)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
