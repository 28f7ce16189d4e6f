"""The loss of each predicted token, without the logits of all of them at once.

Logits of a large vocabulary are what a training step needs most memory for: 0.6 MB a token at 152,000 words. Only labelled positions
have any here, and where they would still be many, they are made a part at a time, with their gradient, and let go: the head is frozen,
so what a part leaves behind is the gradient of its hidden states alone (as in Liger's fused linear cross-entropy, Hsu et al.,
arXiv 2410.10989).

Belongs here: from hidden states to losses. Does not belong here: what is done with them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from resources.training.memory import LOGITS_AT_ONCE

CLOSE = 2e-2  # how far, as a share, logits that were made apart may lie from the model's own: single digits of bfloat16


class _InParts(torch.autograd.Function):
    """Losses (n,) of hidden states (n, d) that logits are made of ``size`` at a time."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, targets: Tensor, logits_of: Callable[[Tensor], Tensor], wide: Any, size: int
    ) -> Tensor:
        wants = ctx.needs_input_grad[0]
        losses = torch.empty(len(hidden), device=hidden.device, dtype=wide)
        gradients = torch.empty_like(hidden) if wants else hidden.new_zeros(0)
        for begin in range(0, len(hidden), size):
            part = hidden[begin : begin + size].detach()
            with torch.set_grad_enabled(wants):
                part.requires_grad_(wants)
                found = torch.nn.functional.cross_entropy(
                    logits_of(part).to(wide), targets[begin : begin + size], reduction="none"
                )
                if wants:
                    (gradients[begin : begin + size],) = torch.autograd.grad(found.sum(), part)
            losses[begin : begin + size] = found.detach()
        ctx.save_for_backward(gradients)
        return losses

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        return gradients * outer[0][:, None].to(gradients.dtype), None, None, None, None


def token_losses(model: Any, ids: Tensor, predicted: Tensor, wide: Any) -> Tensor:
    """Cross-entropy of each predicted token, nats, in the order of rows and places: (n,) in the precision ``wide``.

    Args:
        ids: (rows, width), padded on the right: what stands there is never seen by what comes before it, so causal models need no mask.
        predicted: (rows, width - 1): place t marks the token at t + 1.
    """
    head = model.get_output_embeddings()
    places = torch.nn.functional.pad(predicted, (0, 1))
    targets = ids[:, 1:][predicted]
    vocabulary = int(head.weight.shape[0])
    in_parts = len(targets) * vocabulary > LOGITS_AT_ONCE and getattr(model, "_logits_in_parts", True)
    kept: list[Tensor] = []

    def keep_labelled(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = inputs[0][places]
        kept.append(hidden)
        # Where logits are made in parts, the model's own first one shows whether the parts are made as the model makes them.
        return ((hidden[:1] if in_parts else hidden)[None], *inputs[1:])

    handle = head.register_forward_pre_hook(keep_labelled)
    try:
        logits = model(input_ids=ids, use_cache=False).logits[0]
    finally:
        handle.remove()
    if not in_parts:
        return torch.nn.functional.cross_entropy(logits.to(wide), targets, reduction="none")
    logits_of = _logits_of(model, head)
    with torch.no_grad():
        own, ours = logits.float(), logits_of(kept[0][:1]).float()
        same = own.shape == ours.shape and bool((own - ours).norm() <= CLOSE * own.norm() + 1e-6)
    if not same:
        model._logits_in_parts = (
            False  # this model does to logits what its configuration does not say: all at once, then
        )
        return token_losses(model, ids, predicted, wide)
    return _InParts.apply(kept[0], targets, logits_of, wide, max(1, LOGITS_AT_ONCE // vocabulary))


def _logits_of(model: Any, head: Any) -> Callable[[Tensor], Tensor]:
    """Logits of hidden states, by the head and what configurations say is done to them: Gemma's cap, Cohere's and Granite's scale."""
    config = model.config.get_text_config()
    cap, times = getattr(config, "final_logit_softcapping", None), getattr(config, "logit_scale", None)
    over = getattr(config, "logits_scaling", None)

    def logits_of(hidden: Tensor) -> Tensor:
        logits: Tensor = head(hidden)
        if times:
            logits = logits * times
        if over:
            logits = logits / over
        if cap:
            logits = torch.tanh(logits / cap) * cap
        return logits

    return logits_of
