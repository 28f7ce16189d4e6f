"""What preference pairs were worth to the model that QA-DPO made of them: by how much each lowered the loss of pairs kept out.

The way from the parent to the aligned model is taken as straight, from none of the adapter's B to all of B. Gradients are taken in the
middle of the way, which is exact where the loss of the pairs kept out is quadratic along the way. The pairs own the part of the way along
the sum of their gradients; a pair is worth the product of its own part with the gradient of the pairs kept out. Sources: first-order
In-Run Data Shapley (arXiv 2406.11011); that coalitions of preference data add up in the log-probabilities of a model trained by DPO, so
that no coalition is trained, is the finding of arXiv 2512.15765.

Belongs here: values of pairs. Does not belong here: whose judgements made a pair (see ``crowd_assets.mechanisms.judgement_values``),
training (see ``alignment``).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.training.alignment import PASSES_OUT, TOKENS_PER_PASS, PreferencePair, qa_dpo_loss, rectangles
from resources.training.loading import LanguageModel, seeded
from resources.training.memory import halving

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MOST_MEASURED = 64
"""Pairs kept out that values are measured on, at most."""


@dataclass(frozen=True)
class PairValues:
    """What pairs were worth.

    Attributes:
        values: (n,), nats by which each pair lowered the mean loss of the pairs kept out; negative: raised it.
        loss_before: That loss before alignment; ``loss_after``: after it. The values sum to the difference where that loss is quadratic along
            the way and training went where the pairs pull together; else to more or less.
    """

    values: "NDArray[np.float64]"
    loss_before: float
    loss_after: float


def pair_values(
    language_model: LanguageModel,
    adapter: Path,
    pairs: Sequence[PreferencePair],
    held_out: Sequence[PreferencePair],
    *,
    beta: float,
    max_tokens: int,
) -> PairValues:
    """What each pair was worth to an aligned model.

    Takes two passes forward and one backward over the pairs, and about as much over at most 64 of those kept out.

    Args:
        language_model: The parent that alignment began with; it is consumed, as the adapter is put into its layers.
        adapter: PEFT checkpoint of the aligned model.
        pairs: Those that it was trained on, at least one.
        held_out: Others, at least one.
        beta: β of QA-DPO.
        max_tokens: Longest row.

    Raises:
        ValueError: there is no pair, or none kept out.
        OutOfMemoryError: not even one pair fits into memory.
    """
    import torch

    if not pairs or not held_out:
        raise ValueError("values of pairs need a pair that was trained on, and one that was kept out.")
    with seeded(0):
        way = _Way(language_model, adapter, beta, max_tokens)
        measured, trained = _Pairs(way, _spread(held_out)), _Pairs(way, pairs)
        after, _ = way.swept(measured, at=1.0)
        way.swept(measured, at=0.5, learn=True)
        wanted = way.gradient()
        _, products = way.swept(trained, at=0.5, learn=True, direction=wanted / len(measured.pairs))
        pulled = way.gradient()
    went = max(0.0, -float((way.b_of(way.trained) * pulled).sum()))
    step = went / max(float((pulled * pulled).sum()), torch.finfo(pulled.dtype).tiny)
    before = math.log(2) * float(measured.weights.mean())  # where policy and reference agree
    return PairValues(step * products, before, float(after.mean()))


def _spread(pairs: Sequence[PreferencePair]) -> Sequence[PreferencePair]:
    return pairs[:: -(-len(pairs) // MOST_MEASURED)]


class _Pairs:
    """Pairs as rows, and what the parent makes of them."""

    def __init__(self, way: "_Way", pairs: Sequence[PreferencePair]) -> None:
        import torch

        texts, device = way.language_model.texts, way.language_model.device
        self.pairs = pairs
        self.rows = [
            (
                texts.row(pair.prompt, pair.accepted, way.max_tokens),
                texts.row(pair.prompt, pair.rejected, way.max_tokens),
            )
            for pair in pairs
        ]
        self.weights = torch.tensor([pair.weight for pair in pairs], device=device)
        self.probabilities = torch.tensor([pair.probability for pair in pairs], device=device)
        self.reference = torch.zeros(len(pairs), device=device)
        self.reference = way.margins(self, at=0.0)


class _Way:
    """The adapter over its parent, at any share of the way."""

    def __init__(self, language_model: LanguageModel, adapter: Path, beta: float, max_tokens: int) -> None:
        from resources.training.stacked import AdapterStack

        self.language_model, self.beta, self.max_tokens = language_model, beta, max_tokens
        self.stack: AdapterStack = AdapterStack.of_stored(language_model, [[adapter]])
        self.trained = self.stack.parameters.clone()
        self.tokens = TOKENS_PER_PASS[language_model.device.type]
        self.stack.use([0])

    def gradient(self) -> Any:
        """What the last backward passes have added up of B, (1, P)."""
        return self.b_of(self.stack.gradients)

    def b_of(self, matrix: Any) -> Any:
        """A matrix (1, P) with nothing in the place of A."""
        found = matrix.clone()
        for layer in self.stack.layers:
            layer.views(found)[0].zero_()
        return found

    def margins(self, of: _Pairs, *, at: float) -> Any:
        """Log-probability of the accepted answer less that of the rejected one, nats, (n,), at a share of the way."""
        import torch

        with torch.no_grad():
            return self._in_passes(of, at, lambda places: (self._margins(of, places),))[0]

    def swept(
        self, of: _Pairs, *, at: float, learn: bool = False, direction: Any = None
    ) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
        """Loss of each pair, nats, and the product of its gradient with ``direction``; with ``learn`` gradients add up in the stack."""
        import torch

        def part(places: list[int]) -> tuple[Any, Any]:
            with torch.set_grad_enabled(learn or direction is not None):
                margins = self._margins(of, places)
                losses = qa_dpo_loss(
                    margins, of.reference[places], of.weights[places], of.probabilities[places], self.beta
                )
                if losses.requires_grad:
                    losses.sum().backward()
            products = self.stack.row_products if direction is not None else torch.zeros(2 * len(places))
            return losses.detach(), products[: len(places)] + products[len(places) :]

        with self.stack.window(0, 1, direction, gradients=learn):
            losses, products = self._in_passes(of, at, part)
        return losses.double().cpu().numpy(), products.double().cpu().numpy()

    def _margins(self, of: _Pairs, places: list[int]) -> Any:
        from resources.training.stacked import stacked_batch

        rows = [of.rows[place][answer] for answer in (0, 1) for place in places]
        batch = stacked_batch([rows], [[1.0] * len(rows)], self.language_model.texts.pad, self.language_model.device)
        losses = self.stack.loss(batch)
        return losses[len(places) :] - losses[: len(places)]

    def _in_passes(self, of: _Pairs, at: float, part: Callable[[list[int]], tuple[Any, ...]]) -> Any:
        """What ``part`` makes of pairs, pass by pass, those of like length together; tensors in the order of the pairs."""
        import torch

        self.stack.parameters.copy_(self.trained)
        for layer in self.stack.layers:
            layer.views(self.stack.parameters)[1].mul_(at)
        width = [max(len(row.ids) for row in rows) for rows in of.rows]
        order = sorted(range(len(width)), key=width.__getitem__)

        def attempt(tokens: int) -> list[Any]:
            self.stack.gradients.zero_()
            passes = rectangles([2 * width[place] for place in order], tokens)
            made = [part([order[place] for place in chosen]) for chosen in passes]
            back = torch.argsort(torch.tensor(order))
            return [torch.cat(columns)[back.to(columns[0].device)] for columns in zip(*made, strict=True)]

        found, self.tokens = halving(attempt, self.tokens, PASSES_OUT)
        return found
