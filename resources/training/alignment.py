"""QA-DPO: preference training in which a pair weighs more the larger the gap between its answers' qualities, and pulls
no further apart than the probability that its answers are in the right order allows.

L = −E[ w(q_a, q_r) · (p · log σ(g) + (1 − p) · log σ(−g)) ], g = β((log π/π_ref)(a) − (log π/π_ref)(r)),
w = 0.5 + σ(q_a − q_r), p the probability that a is preferred: least at σ(g) = p; p = 1 is DPO without label noise
[VickreyFeedback, arXiv 2409.18417; Rafailov et al., arXiv 2305.18290; conservative DPO: Mitchell 2023, "A note on DPO
with noisy preferences & relationship to IPO"]

Belongs here: pairs, the loss, accuracy on held-out pairs. Does not belong here: where pairs come from.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.training.loading import LanguageModel, forget_peak_memory, peak_memory, seeded
from resources.training.memory import halving
from resources.training.prompting import IGNORED, Prompt, Tokens, batch
from resources.training.supervised import (
    AdapterConfig,
    TrainingResult,
    new_adapter,
    optimise,
    save_adapter,
    shuffled_batches,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[int, int, str], None]
PASSES_OUT = "lower CROWD_TOKENS_PER_PASS or CROWD_MAX_TOKENS, or set CROWD_GRADIENT_CHECKPOINTING=true"
TOKENS_PER_PASS = {"cpu": 8_192, "cuda": 65_536}  # in one forward pass, padding counted


@dataclass(frozen=True)
class PreferencePair:
    """A prompt, the answer accepted and the answer rejected, the pair's weight w in the loss, in (0.5, 1.5), and the
    aggregated probability p that the accepted answer is preferred.

    Raises:
        ValueError: a probability outside [0.5, 1].
    """

    prompt: Prompt
    accepted: str
    rejected: str
    weight: float
    probability: float = 1.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.probability <= 1.0:
            raise ValueError(f"an accepted answer is preferred with probability 0.5 to 1, not {self.probability}.")


def qa_dpo_loss(margins: Any, reference: Any, weights: Any, probabilities: Any, beta: float) -> Any:
    """Loss of each pair.

    Formula: −w · (p · log σ(g) + (1 − p) · log σ(−g)), g = β(margin − reference margin).

    Args:
        margins: Tensor (n,): the policy's log-probability of the accepted answer minus that of the rejected one, nats.
        reference: Tensor (n,): the same of the reference model.
        weights: Tensor (n,): w.
        probabilities: Tensor (n,): p, in [0.5, 1].
        beta: β, above 0.

    Returns:
        Tensor (n,), nats.

    Source: the module's docstring.
    """
    from torch.nn.functional import logsigmoid

    gap = beta * (margins - reference)
    return -weights * (probabilities * logsigmoid(gap) + (1 - probabilities) * logsigmoid(-gap))


def mean_loss(
    pairs: Sequence[PreferencePair], margins: "NDArray[np.float64]", reference: "NDArray[np.float64]", beta: float
) -> float:
    """Mean :func:`qa_dpo_loss` of pairs.

    Args:
        pairs: At least one.
        margins, reference: (pairs,), log-probability of the accepted answer minus that of the rejected one, nats, under the policy and
            under the reference model.
        beta: β, above 0.
    """
    import torch

    weights, probabilities = (
        torch.tensor([getattr(pair, name) for pair in pairs], dtype=torch.float64) for name in ("weight", "probability")
    )
    losses = qa_dpo_loss(torch.from_numpy(margins), torch.from_numpy(reference), weights, probabilities, beta)
    return float(losses.mean())


def log_probabilities(model: Any, rows: Sequence[Tokens], pad: int, device: Any) -> Any:
    """Sum of log-probabilities of the response tokens of each row: a tensor (n,), nats, at most 0.

    Args:
        model: A causal language model, with or without a PEFT adapter.
        rows: At least one; all are padded to the longest and go through in one pass, so they must fit together.
        pad: Token id for places that nothing reads.
        device: torch's device of the model.
    """
    import torch

    from resources.training.losses import token_losses

    labels = batch(rows, pad, device)
    ids, predicted = labels["input_ids"], labels["labels"][:, 1:] != IGNORED
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    losses = token_losses(bare, ids, predicted, torch.float64 if bare.dtype == torch.float64 else torch.float32)
    owner = torch.arange(len(rows), device=ids.device)[:, None].expand_as(predicted)[predicted]
    return losses.new_zeros(len(rows)).index_add(0, owner, -losses)


def scored(model: Any, rows: Sequence[Tokens], pad: int, device: Any) -> Any:
    """:func:`log_probabilities` of any number of rows, without gradients: those of like length share a pass.

    Returns:
        A tensor (n,) on ``device``, nats, in the order of ``rows``; empty for no row.
    """
    import torch

    sums = torch.zeros(len(rows), device=device)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].ids))
    size = TOKENS_PER_PASS[device.type]
    with torch.no_grad():
        for chosen in rectangles([len(rows[row].ids) for row in order], size):
            of_pass = [order[place] for place in chosen]
            sums[of_pass] = log_probabilities(model, [rows[row] for row in of_pass], pad, device).to(sums.dtype)
    return sums


def rectangles(lengths: Sequence[int], tokens: int) -> Iterator[range]:
    """Places of consecutive rows, so many that they, each padded to the longest, have at most ``tokens`` where one row allows it."""
    begin, width = 0, 0
    for place, length in enumerate(lengths):
        if place > begin and (place + 1 - begin) * max(width, length) > tokens:
            yield range(begin, place)
            begin, width = place, 0
        width = max(width, length)
    if begin < len(lengths):
        yield range(begin, len(lengths))


def preference_accuracy(language_model: LanguageModel, pairs: Sequence[PreferencePair], max_tokens: int) -> float:
    """Share of pairs whose accepted answer the model finds likelier, per token, than the rejected one; ties count half.

    Raises:
        ValueError: there is no pair.
    """
    import torch

    if not pairs:
        raise ValueError("an accuracy needs at least one held-out pair.")
    texts = language_model.texts
    scores = []
    for answer in ("accepted", "rejected"):
        rows = [texts.row(pair.prompt, str(getattr(pair, answer)), max_tokens) for pair in pairs]
        lengths = torch.tensor([max(1, len(row.ids) - row.prompt_length) for row in rows])
        scores.append(scored(language_model.model, rows, texts.pad, language_model.device).cpu() / lengths)
    gap = scores[0] - scores[1]
    return float(((gap > 0).float() + 0.5 * (gap == 0).float()).mean())


def align(
    language_model: LanguageModel,
    pairs: Sequence[PreferencePair],
    directory: Path,
    *,
    parent: str,
    config: AdapterConfig,
    beta: float,
    seed: int,
    tokens_per_pass: int = 0,
    gradient_checkpointing: bool = False,
    progress: Progress = lambda step, steps, note: None,
) -> TrainingResult:
    """Train a LoRA adapter by QA-DPO and write it to ``directory`` as a PEFT checkpoint.

    The reference model is the base itself, with the adapter switched off; its log-probabilities are computed once.

    Args:
        tokens_per_pass: Tokens, padding counted, in one pass; a step with more is split by pairs and adds up gradients. 0: what the
            device takes.
        gradient_checkpointing: Activations are computed again in the backward pass: less memory, more time.
        progress: Called with step, steps and a note (loss, tokens a second, memory) after each step.

    Raises:
        ValueError: there is no pair.
        NotFiniteError: a loss or a gradient is not finite.
        OutOfMemoryError: not even one pair fits into memory.
    """
    import torch

    from resources.training.layers import recompute_blocks

    if not pairs:
        raise ValueError("QA-DPO needs at least one pair.")
    texts, device = language_model.texts, language_model.device
    pad = texts.pad
    accepted = [texts.row(pair.prompt, pair.accepted, config.max_tokens) for pair in pairs]
    rejected = [texts.row(pair.prompt, pair.rejected, config.max_tokens) for pair in pairs]
    weights = torch.tensor([pair.weight for pair in pairs], device=device)
    probabilities = torch.tensor([pair.probability for pair in pairs], device=device)
    forget_peak_memory(device)
    with seeded(seed):
        model = new_adapter(language_model, config)

        def margins(chosen: list[int]) -> Any:
            """Log-probability of the accepted answer minus that of the rejected one, for each chosen pair."""
            rows = [accepted[index] for index in chosen] + [rejected[index] for index in chosen]
            sums = log_probabilities(model, rows, pad, device)
            return sums[: len(chosen)] - sums[len(chosen) :]

        with model.disable_adapter():
            reference = scored(model, accepted, pad, device) - scored(model, rejected, pad, device)
        if gradient_checkpointing:
            recompute_blocks(language_model.model)
        steps = shuffled_batches(len(pairs), config, torch.Generator().manual_seed(seed))
        width = [max(len(first.ids), len(second.ids)) for first, second in zip(accepted, rejected, strict=True)]
        size = tokens_per_pass or TOKENS_PER_PASS[device.type]

        def loss_of(chosen: list[int]) -> float:
            nonlocal size

            def in_passes(tokens: int) -> float:
                model.zero_grad(set_to_none=True)
                total = 0.0
                for places in rectangles([2 * width[pair] for pair in chosen], tokens):
                    part = [chosen[place] for place in places]
                    of_part = qa_dpo_loss(margins(part), reference[part], weights[part], probabilities[part], beta)
                    loss = of_part.sum() / len(chosen)
                    loss.backward()
                    total += float(loss.detach())
                return total

            loss, size = halving(in_passes, size, PASSES_OUT)
            return loss

        lengths = [len(first.ids) + len(second.ids) for first, second in zip(accepted, rejected, strict=True)]
        seen = list(accumulate(sum(lengths[index] for index in chosen) for chosen in steps))
        started = time.perf_counter()

        def note(step: int, of: int, loss: float) -> None:
            rate = seen[step - 1] / (time.perf_counter() - started)
            progress(step, of, f"loss {loss:.3f}, {rate:,.0f} tokens a second, {peak_memory(device):,.0f} MiB")

        losses = optimise(model, steps, loss_of, config, note)
        spent, memory = time.perf_counter() - started, peak_memory(device)
        save_adapter(model, directory, parent)
    tokens = sum(len(row.ids) - row.prompt_length for row in accepted + rejected)
    return TrainingResult(losses, config.epochs, config.epochs * tokens, spent, memory)
