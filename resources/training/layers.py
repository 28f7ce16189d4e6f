"""Which layers of a base get adapters: one list, the same in candidates, alignment and generation.

A linear layer is adapted where it is given the rows of the batch, each as it would be given alone: not the head, not what a text
never comes through (an image's tower), not the experts of a mixture, which get tokens of all rows in an order of their own, nor their router, nor what PEFT takes for
experts by its name, and not a layer whose weight is read past it, as the fused kernels of recurrent models do. What a layer is given is seen in a trial of a few
tokens, so that families nobody has listed are right, too.

Belongs here: finding layers, and blocks. Does not belong here: what adapters compute (see ``stacked``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from resources.common.errors import OperatorError

ROWS, WIDTH = 2, 5  # of the trial
# Layers that the fused kernels of state-space models read the weights of, past the layer, where these kernels are installed.
FUSED = {model_type: {"out_proj"} for model_type in ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")}
FURTHEST = 0.1  # how far, as a share of its norm, what a layer is given may differ between rows together and rows alone


class UnadaptableModelError(OperatorError, RuntimeError):
    """The base has no layer that an adapter can be put on, or cannot read a text."""


def adaptable_layers(model: Any) -> list[str]:
    """Names of the layers of a causal language model that get adapters, sorted.

    Raises:
        UnadaptableModelError: there is none, or the model cannot read a text.
    """
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    if head is None:
        raise UnadaptableModelError(
            f"{type(model).__name__} has no language model head: CROWD_BASE_MODEL takes causal language models."
        )
    fused = FUSED.get(model.config.model_type, set())
    linear: dict[str, nn.Module] = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and module is not head
        and ".experts." not in f".{name}."
        and name.rpartition(".")[2] not in fused
    }
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    ids = (torch.arange(ROWS * WIDTH, device=model.device) * 7 + 3).remainder(vocabulary).view(ROWS, WIDTH)
    with _weights_read_past_their_layers(linear) as read_past:
        together = _given(model, linear, ids)
    alone = [_given(model, linear, ids[row : row + 1]) for row in range(ROWS)]
    found = sorted(
        name
        for name, given in together.items()
        if name not in read_past
        and all(name in each for each in alone)
        and _is_row_wise(given, [each[name] for each in alone])
        and _is_no_expert_to_peft(model, name)
    )
    if not found:
        raise UnadaptableModelError(
            f"{type(model).__name__} has no linear layer that is given a text's rows one by one, so no adapter can be trained on this model: name another base in CROWD_BASE_MODEL."
        )
    return found


def blocks_of(model: Any) -> list[Any]:
    """The blocks that a model repeats, as transformers marks them; empty where it does not say."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def recompute_blocks(model: Any) -> None:
    """Let passes from now on keep what goes into each block alone, and compute the rest again in the backward pass. No layer is told
    that it is in training, so nothing is dropped out.

    Raises:
        UnadaptableModelError: transformers does not say what the model's blocks are.
    """
    blocks = blocks_of(model)
    if not blocks:
        raise UnadaptableModelError(
            f"{type(model).__name__} has no blocks to compute again: set CROWD_GRADIENT_CHECKPOINTING=false."
        )
    for block in blocks:
        compiled = getattr(block, "_compiled_call_impl", None)
        if compiled is None:
            block.forward = _recomputed(block.forward)
        else:
            block._compiled_call_impl = _recomputed(compiled)


def _recomputed(call: Callable[..., Any]) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint

    def again(*inputs: Any, **options: Any) -> Any:
        return checkpoint(call, *inputs, use_reentrant=False, **options)

    return again


@contextmanager
def _weights_read_past_their_layers(linear: dict[str, nn.Module]) -> Iterator[set[str]]:
    """Within the block, names of layers whose weight is read by others than the layer: some routers' are."""
    seen: set[str] = set()
    working: set[str] = set()

    def watched(name: str, kind: type[nn.Module]) -> type[nn.Module]:
        def get(module: nn.Module, what: str) -> Any:
            if what == "weight" and name not in working:
                seen.add(name)
            return kind.__getattr__(module, what)

        return type(kind.__name__, (kind,), {"__getattr__": get})

    handles = []
    kinds = {name: type(module) for name, module in linear.items()}
    for name, module in linear.items():
        module.__class__ = watched(name, kinds[name])
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: working.add(name)))
        handles.append(module.register_forward_hook(lambda *_, name=name: working.discard(name)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        for name, module in linear.items():
            module.__class__ = kinds[name]


def _given(model: Any, linear: dict[str, nn.Module], ids: Tensor) -> dict[str, Tensor]:
    """What each layer is given first, in a pass over ``ids``, of those that answer with one tensor: routers answer with several."""
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def see(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                seen.setdefault(name, inputs[0].detach().float())

        return see

    handles = [module.register_forward_hook(watch(name)) for name, module in linear.items()]
    try:
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:300].rstrip(".")
        raise UnadaptableModelError(
            f"{type(model).__name__} cannot read a text here ({type(problem).__name__}: {reason}): name another base in CROWD_BASE_MODEL."
        ) from problem
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _is_no_expert_to_peft(model: Any, name: str) -> bool:
    """Whether PEFT puts an adapter on this layer, rather than on the experts of a mixture: it takes the projections of shared experts
    and of dense blocks for theirs, by the ends of their names, and whoever loads an export does so by PEFT."""
    from peft import LoraConfig
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    config = LoraConfig(target_modules=[name])
    try:
        convert_peft_config_for_transformers(config, model, None)
    except ValueError:  # one of the several that make up what experts have as one
        return False
    return set(config.target_modules or ()) == {name}


def _is_row_wise(together: Tensor, alone: list[Tensor]) -> bool:
    if together.shape[0] not in (ROWS, ROWS * WIDTH) or any(
        each.shape[0] * ROWS != together.shape[0] for each in alone
    ):
        return False
    expected = torch.cat(alone)
    if expected.shape != together.shape:
        return False
    return bool((together - expected).norm() <= FURTHEST * expected.norm() + 1e-6)
