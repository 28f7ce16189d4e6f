"""torch.compile for stacked adapters: each block of the base as one graph, in which the adapters' update is one opaque operation.

The update adds gradients to buffers of the stack and takes whichever adapters are in use, neither of which a graph can hold: traced, it
would be compiled anew for every layer. As an operation of its own it finds its layer by a number, which is data to the graph, so
that blocks of one shape share their graph, from pass to pass.

Belongs here: that operation, compiling blocks, the error where nothing can be compiled. Does not belong here: the update itself
(see ``stacked``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from resources.common.errors import OperatorError
from resources.training.stacked import AdapterStack, LowRankUpdate, StackedLinear


class CompilationError(OperatorError, RuntimeError):
    """CROWD_COMPILE is set, and the model cannot be compiled here."""


_layers: WeakValueDictionary[int, StackedLinear] = WeakValueDictionary()
_numbers = count()


class _Context:
    """What autograd's context is to :class:`LowRankUpdate`, where the graph keeps the tensors."""

    needs_input_grad = (True, True)

    def __init__(self, layer: Tensor, *tensors: Tensor) -> None:
        self.layer, self.saved_tensors = _layers[int(layer)], tensors

    def save_for_backward(self, *tensors: Tensor) -> None:
        self.saved_tensors = tensors


@torch.library.custom_op("crowd_rounds::low_rank_update", mutates_args=())
def _update(y: Tensor, x: Tensor, anchor: Tensor, layer: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    context = _Context(layer)
    updated = LowRankUpdate.forward(context, y, x, anchor, context.layer)
    return updated, context.saved_tensors[1].view(*x.shape[:-1], rank)


@torch.library.custom_op("crowd_rounds::low_rank_update_backward", mutates_args=())
def _backward(dy: Tensor, x: Tensor, down: Tensor, layer: Tensor) -> tuple[Tensor, Tensor]:
    context = _Context(layer, x)
    context.saved_tensors += (context.layer.by_adapter(down),)
    # A gradient of the anchor, or the graph would leave out the first layers, whose inputs need none.
    return LowRankUpdate.backward(context, dy.contiguous())[1], dy.new_zeros(())


@_update.register_fake
def _(y: Tensor, x: Tensor, anchor: Tensor, layer: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    return torch.empty_like(y), x.new_empty((*x.shape[:-1], rank))


@_backward.register_fake
def _(dy: Tensor, x: Tensor, down: Tensor, layer: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), dy.new_empty(())


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, x, _, layer, _ = inputs
    ctx.save_for_backward(x, output[1], layer)


def _gradients(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    dx, anchor = _backward(dy, *ctx.saved_tensors)
    return dy, dx, anchor, None, None


_update.register_autograd(_gradients, setup_context=_keep)


def compile_blocks(stack: AdapterStack, backend: Any = "inductor") -> None:
    """Let the next passes run each block of the base compiled, for batches of any size.

    Args:
        backend: torch.compile's.

    Raises:
        CompilationError: transformers does not say what the model's blocks are.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    blocks = [module for module in stack.model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not blocks:
        raise CompilationError(f"{type(stack.model).__name__} has no blocks to compile: set CROWD_COMPILE=false.")
    for layer in stack.layers:
        number = next(_numbers)
        _layers[number] = layer
        layer.register_buffer("number", torch.tensor(number), persistent=False)
        layer.opaque = torch.ops.crowd_rounds.low_rank_update
    for block in blocks:
        block.compile(dynamic=True, backend=backend)


@contextmanager
def named_errors() -> Iterator[None]:
    """What goes wrong in a compiler, as an error that names the setting.

    Raises:
        CompilationError: there is no working compiler, or none for this model.
    """
    from torch._dynamo.exc import BackendCompilerFailed

    try:
        yield
    except BackendCompilerFailed as problem:
        reason = " ".join(str(problem.inner_exception).split())[:300]
        raise CompilationError(
            f"CROWD_COMPILE=true: torch.compile failed ({reason}). torch.compile needs a C++ compiler (g++, or what CXX names) and "
            "Python's headers, on a GPU Triton as well; without these set CROWD_COMPILE=false."
        ) from problem
