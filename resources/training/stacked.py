"""J LoRA adapters over one frozen base, in one forward and one backward pass.

The rows of a batch lie adapter-major: the first n belong to adapter 0, the next n to adapter 1, and so on. Every linear
layer computes y = W x + (alpha / r) (x A_j) B_j by the base's own matrix product over all rows and two batched products
over the adapters. All A and B lie in one matrix (J, P), so that clipping, the optimiser and the contributors' values are
operations on its rows, and adapters stay independent of one another: each ends as it would have ended alone.

Belongs here: the layers, the parameters, the loss, a row's inner product with a direction. Does not belong here: data,
schedules, what is stored (see ``supervised``).
"""

import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resources.training.layers import adaptable_layers
from resources.training.loading import LanguageModel, read_adapter
from resources.training.losses import token_losses
from resources.training.prompting import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator


class UnstackableModelError(RuntimeError):
    """A layer reorders the rows of a batch, so that adapters cannot share one pass."""


class LowRankUpdate(torch.autograd.Function):
    """y + scale (x A) B for stacked A and B, which get their gradients in the layer's own buffers.

    Autograd would give every layer's slice of the one parameter matrix a gradient of the whole matrix's size.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, anchor: Tensor, layer: "StackedLinear") -> Tensor:
        rows = layer.by_adapter(x)
        a, b = layer.matrices(x.dtype)
        down = torch.bmm(rows, a)
        ctx.save_for_backward(x, down)
        ctx.layer = layer
        flat = y.reshape(len(a), -1, y.shape[-1])
        # A tensor of its own, not a view: some models change what a layer returns in place.
        updated = torch.empty(y.shape, dtype=y.dtype, device=y.device)
        torch.baddbmm(flat, down, b, alpha=layer.scale, out=updated.view(flat.shape))
        return updated

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (dy,) = gradients
        x, down = ctx.saved_tensors
        layer: StackedLinear = ctx.layer
        a, b = layer.matrices(x.dtype)
        rows, up = layer.by_adapter(x), dy.reshape(len(a), -1, dy.shape[-1])
        d_down = torch.bmm(up, b.transpose(1, 2)).mul_(layer.scale)
        stack = layer.stack
        if stack.by_owner is not None:
            ownership = stack.ownership.to(x.dtype)
            each = ownership.shape[0] * ownership.shape[2]  # rows of the pass
            for part, into, factor in zip(
                ((rows, d_down), (down, up)), layer.views(stack.by_owner.flatten(0, 1)), (1.0, layer.scale), strict=True
            ):
                left, right = (side.reshape(each, -1, side.shape[-1]) for side in part)
                of_rows = torch.bmm(left.transpose(1, 2), right).view(len(a), ownership.shape[2], -1)
                into.add_(torch.bmm(ownership, of_rows).view(into.shape), alpha=factor)
        elif stack.wants_gradients:
            into_a, into_b = layer.views(stack.gradients)
            into_a.add_(torch.bmm(rows.transpose(1, 2), d_down))
            into_b.add_(torch.bmm(down.transpose(1, 2), up), alpha=layer.scale)
        if stack.direction is not None:
            towards_a, towards_b = (part.to(x.dtype) for part in layer.views(stack.direction))
            along = torch.bmm(rows, towards_a).mul_(d_down)
            along.add_(torch.bmm(up, towards_b.transpose(1, 2)).mul_(down), alpha=layer.scale)
            stack.row_products.add_(along.view(stack.row_products.numel(), -1).sum(1, dtype=stack.row_products.dtype))
        dx = torch.bmm(d_down, a.transpose(1, 2)).view_as(x) if ctx.needs_input_grad[1] else None
        return dy, dx, None, None


class StackedLinear(nn.Module):
    """A linear layer of the frozen base with one low-rank update an adapter; stands where PEFT's layer stood."""

    def __init__(self, stack: "AdapterStack", peft_layer: nn.Module, offset: int) -> None:
        super().__init__()
        self.base = peft_layer.get_base_layer()  # type: ignore[operator]
        self.scale = float(peft_layer.scaling["default"])  # type: ignore[index]
        self.rank, self.width_in = peft_layer.lora_A["default"].weight.shape  # type: ignore[index, union-attr]
        self.width_out = peft_layer.lora_B["default"].weight.shape[0]  # type: ignore[index, union-attr]
        self.offset = offset
        object.__setattr__(self, "stack", stack)  # no submodule: the stack holds the layers, not they the stack

    stack: "AdapterStack"
    opaque: Any = None  # the update as an operation that a compiled block does not look into, once there is one
    number: Tensor  # by which it finds this layer

    @property
    def parameters_each(self) -> int:
        """Parameters of one adapter in this layer."""
        return int(self.rank * (self.width_in + self.width_out))

    def views(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """A (k, d_in, r) and B (k, r, d_out) within a matrix (k, P)."""
        middle = self.offset + self.width_in * self.rank
        end = middle + self.rank * self.width_out
        return (
            matrix[:, self.offset : middle].view(-1, self.width_in, self.rank),
            matrix[:, middle:end].view(-1, self.rank, self.width_out),
        )

    def matrices(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A and B of the adapters in use."""
        a, b = self.views(self.stack.in_use)
        return a.to(dtype), b.to(dtype)

    def by_adapter(self, x: Tensor) -> Tensor:
        """x (k n, ..., d) as (k, n ..., d).

        Raises:
            UnstackableModelError: x does not have the batch's rows.
        """
        adapters = len(self.stack.in_use)
        if adapters > 1 and x.shape[0] not in self.stack.expected_rows:
            raise UnstackableModelError(
                f"a layer of {x.shape[-1]} inputs gets {x.shape[0]} rows where the batch has {self.stack.expected_rows[0]}: "
                "the model regroups rows, so its adapters cannot share a pass. Set CROWD_FUSED_CANDIDATES=1."
            )
        return x.reshape(adapters, -1, x.shape[-1])

    def forward(self, x: Tensor, *rest: Any, **options: Any) -> Tensor:
        y = self.base(x, *rest, **options)
        if self.opaque is not None:
            return self.opaque(y, x, self.stack.anchor, self.number, self.rank)[0]
        if torch.is_grad_enabled():
            return LowRankUpdate.apply(y, x, self.stack.anchor, self)
        a, b = self.matrices(x.dtype)
        update = torch.bmm(torch.bmm(self.by_adapter(x), a), b).mul_(self.scale)
        return y + update.view_as(y)


@dataclass(frozen=True)
class StackedBatch:
    """Rows of k adapters, n each, right-padded: ``ids`` (k n, T), ``labelled`` (k n, T) marks the tokens that are
    predicted from the one before, ``weights`` (k n,) is what a row's tokens count in the loss: 0 for a row that only fills up."""

    ids: Tensor
    labelled: Tensor
    weights: Tensor


class AdapterStack:
    """J fresh LoRA adapters on every layer that :func:`layers.adaptable_layers` names.

    Attributes:
        parameters: (J, P), one adapter a row, in single precision unless the base is in double; B is zero at first, A as PEFT draws it.
        in_use: (k, P), the adapters of the next pass.
        gradients: (k, P), what backward passes added since :meth:`use`.
        by_owner: (k, owners, P) or None. With it backward passes add each row's gradient to its owner's, by ``ownership``
            (k, owners, n) of ones and zeros, and leave ``gradients`` alone.
        direction: (k, P) or None. With it a backward pass also adds, for each row, the inner product of its own gradient
            with its adapter's direction to ``row_products``, without forming the row's gradient.
    """

    def __init__(self, language_model: LanguageModel, *, rank: int, alpha: int, seeds: Sequence[int]) -> None:
        from peft import LoraConfig, get_peft_model
        from peft.tuners.lora import LoraLayer

        self.device = language_model.device
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=0.0,
            target_modules=adaptable_layers(language_model.model),
            task_type="CAUSAL_LM",
        )
        self.peft_model: Any = get_peft_model(language_model.model, config)
        self.model: Any = self.peft_model.get_base_model()
        self._replaced: dict[str, Any] = {
            name: module for name, module in self.model.named_modules() if isinstance(module, LoraLayer)
        }
        self.layers: list[StackedLinear] = []
        offset = 0
        for name, module in self._replaced.items():
            layer = StackedLinear(self, module, offset)
            offset += layer.parameters_each
            self.layers.append(layer)
            self._put(name, layer)
        wide = torch.float64 if self.model.dtype == torch.float64 else torch.float32
        self.parameters = torch.zeros((len(seeds), offset), device=self.device, dtype=wide)
        for row, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for layer in self.layers:
                bound = 1 / math.sqrt(layer.width_in)  # PEFT's Kaiming uniform with a = sqrt(5)
                drawn = torch.rand((layer.rank, layer.width_in), generator=generator).mul_(2 * bound).sub_(bound)
                layer.views(self.parameters)[0][row].copy_(drawn.T)
        # So that the first layers have a backward pass.
        self.anchor = torch.zeros((), device=self.device, requires_grad=True)
        self.direction: Tensor | None = None
        self.by_owner: Tensor | None = None
        self.ownership = torch.zeros(0, device=self.device)
        self.wants_gradients = True
        self.expected_rows: tuple[int, ...] = ()
        self.row_products = torch.zeros(0, device=self.device)
        self.in_use = self._used = self.parameters
        self.gradients = self._all_gradients = torch.zeros_like(self.parameters)

    @classmethod
    def of_stored(cls, language_model: LanguageModel, lineages: Sequence[Sequence[Path]]) -> "AdapterStack":
        """Stored PEFT adapters over their common base: each lineage is a chain of them, whose updates add up."""
        found = [[read_adapter(directory) for directory in lineage] for lineage in lineages]
        rank = max(sum(each.rank for each in chain) for chain in found)
        # Each has its own scale, which goes into its B.
        stack = cls(language_model, rank=rank, alpha=rank, seeds=[0] * len(lineages))
        stack.parameters.zero_()
        for row, chain in enumerate(found):
            at = 0
            for each in chain:
                unknown = sorted(set(each.layers) - set(stack._replaced))
                if unknown:
                    raise UnstackableModelError(
                        f"an adapter changes {', '.join(unknown[:3])}, which no adapter of this base is put on: set CROWD_FUSED_CANDIDATES=1, and the adapter is merged instead."
                    )
                for name, layer in zip(stack._replaced, stack.layers, strict=True):
                    if name not in each.layers:
                        continue
                    stored_a, stored_b = each.matrices(name)
                    a, b = layer.views(stack.parameters)
                    a[row][:, at : at + each.rank] = stored_a.T
                    b[row][at : at + each.rank] = stored_b.T * each.scale
                at += each.rank
        return stack

    def _put(self, name: str, module: nn.Module) -> None:
        parent, _, own = name.rpartition(".")
        setattr(self.model.get_submodule(parent) if parent else self.model, own, module)

    def use(self, adapters: Sequence[int]) -> None:
        """Let the next passes run with these adapters, in this order, and forget gradients."""
        everything = list(adapters) == list(range(len(self.parameters)))
        self.in_use = self._used = self.parameters if everything else self.parameters[list(adapters)]
        if len(self._all_gradients) == len(adapters):
            self._all_gradients.zero_()
        else:
            self._all_gradients = torch.zeros_like(self.in_use)
        self.gradients = self._all_gradients

    @contextmanager
    def window(
        self,
        begin: int,
        end: int,
        direction: Tensor | None = None,
        *,
        gradients: bool = True,
        by_owner: Tensor | None = None,
        ownership: Tensor | None = None,
    ) -> "Iterator[None]":
        """Within the block, passes run with a part of the adapters in use.

        Args:
            direction: (k, P) of all adapters in use; backward passes collect ``row_products`` along it.
            gradients: Whether backward passes add to ``gradients``.
            by_owner: (k, owners, P) of all adapters in use, to which they add instead.
            ownership: (end - begin, owners, n): whose the rows of the pass are.
        """
        self.in_use, self.gradients = self._used[begin:end], self._all_gradients[begin:end]
        self.direction = None if direction is None else direction[begin:end]
        self.wants_gradients = gradients
        if by_owner is not None and ownership is not None:
            self.by_owner, self.ownership = by_owner[begin:end], ownership
        try:
            yield
        finally:
            self.in_use, self.gradients = self._used, self._all_gradients
            self.direction, self.by_owner, self.wants_gradients = None, None, True

    def loss(self, batch: StackedBatch) -> Tensor:
        """Weighted cross-entropy summed over the labelled tokens of each row, (k n,), in nats."""
        rows, width = batch.ids.shape
        self.expected_rows = (rows, rows * width)
        if self.direction is not None:
            self.row_products = torch.zeros(rows, device=self.device, dtype=self.parameters.dtype)
        predicted = batch.labelled[:, 1:]
        losses = token_losses(self.model, batch.ids, predicted, self.parameters.dtype)
        owner = torch.arange(rows, device=self.device)[:, None].expand_as(predicted)[predicted]
        return losses.new_zeros(rows).index_add(0, owner, losses) * batch.weights.to(losses.dtype)

    def as_peft(self, adapter: int) -> Any:
        """PEFT's own model with the weights of one adapter, for saving. The stack must not train afterwards."""
        for (name, module), layer in zip(self._replaced.items(), self.layers, strict=True):
            a, b = layer.views(self.parameters)
            module.lora_A["default"].weight.data = a[adapter].T.contiguous()
            module.lora_B["default"].weight.data = b[adapter].T.contiguous()
            self._put(name, module)
        return self.peft_model


def stacked_batch(
    rows: Sequence[Sequence[Tokens]], weights: Sequence[Sequence[float]], pad: int, device: Any
) -> StackedBatch:
    """The batch of k adapters: ``rows[j]`` are adapter j's, and ``weights[j]`` what each one's tokens count.

    Adapters with fewer rows than others get their first row again, which counts nothing: what some models make of a row of nothing but
    padding is no number, and no weight makes such a number nothing.
    """
    most = max(map(len, rows))
    width = max(len(row.ids) for of_adapter in rows for row in of_adapter)
    ids = torch.full((len(rows) * most, width), pad)
    labelled = torch.zeros((len(rows) * most, width), dtype=torch.bool)
    counted = torch.zeros(len(rows) * most, dtype=torch.float64)
    for adapter, (of_adapter, its_weights) in enumerate(zip(rows, weights, strict=True)):
        for index, (row, weight) in enumerate(zip(of_adapter, its_weights, strict=True), start=adapter * most):
            ids[index, : len(row.ids)] = torch.tensor(row.ids)
            labelled[index, row.prompt_length : len(row.ids)] = True
            counted[index] = weight
        if of_adapter:
            ids[adapter * most + len(of_adapter) : (adapter + 1) * most] = ids[adapter * most]
    return StackedBatch(ids.to(device), labelled.to(device), counted.to(device))
