"""QA-DPO: preference training in which a pair weighs more the larger the gap between its answers' qualities, and pulls
no further apart than the probability that its answers are in the right order allows.

L = −E[ w(q_a, q_r) · (p · log σ(g) + (1 − p) · log σ(−g)) ], g = β((log π/π_ref)(a) − (log π/π_ref)(r)),
w = 0.5 + σ(q_a − q_r), p the probability that a is preferred: least at σ(g) = p; p = 1 is DPO without label noise
[VickreyFeedback, arXiv 2409.18417; Rafailov et al., arXiv 2305.18290; conservative DPO: Mitchell 2023, "A note on DPO
with noisy preferences & relationship to IPO"]

Belongs here: pairs, the loss, accuracy on held-out pairs. Does not belong here: where pairs come from.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from resources.training.loading import LanguageModel, forget_peak_memory, peak_memory, seeded
from resources.training.prompting import IGNORED, Tokens, batch, tokenise
from resources.training.supervised import (
    AdapterConfig,
    TrainingResult,
    new_adapter,
    optimise,
    save_adapter,
    shuffled_batches,
)

Progress = Callable[[int, int, str], None]
SCORING_BATCH = 64


@dataclass(frozen=True)
class PreferencePair:
    """A prompt, the answer accepted and the answer rejected, the pair's weight w in the loss, in (0.5, 1.5), and the
    aggregated probability p that the accepted answer is preferred.

    Raises:
        ValueError: a probability outside [0.5, 1].
    """

    prompt: str
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


def log_probabilities(model: Any, rows: Sequence[Tokens], pad: int, device: Any) -> Any:
    """Sum of log-probabilities of the response tokens of each row: a tensor (n,)."""
    import torch

    tensors = batch(rows, pad, device)
    labels = tensors.pop("labels")[:, 1:]
    logits = model(**tensors).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return -losses.sum(-1)


def preference_accuracy(language_model: LanguageModel, pairs: Sequence[PreferencePair], max_tokens: int) -> float:
    """Share of pairs whose accepted answer the model finds likelier, per token, than the rejected one; ties count half.

    Raises:
        ValueError: there is no pair.
    """
    import torch

    if not pairs:
        raise ValueError("an accuracy needs at least one held-out pair.")
    pad = int(language_model.tokenizer.pad_token_id)
    scores = []
    for answer in ("accepted", "rejected"):
        rows = [
            tokenise(language_model.tokenizer, pair.prompt, str(getattr(pair, answer)), max_tokens) for pair in pairs
        ]
        lengths = torch.tensor([max(1, len(row.ids) - row.prompt_length) for row in rows])
        with torch.inference_mode():
            sums = [
                log_probabilities(language_model.model, rows[start : start + SCORING_BATCH], pad, language_model.device)
                for start in range(0, len(rows), SCORING_BATCH)
            ]
        scores.append(torch.cat(sums).cpu() / lengths)
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
    progress: Progress = lambda step, steps, note: None,
) -> TrainingResult:
    """Train a LoRA adapter by QA-DPO and write it to ``directory`` as a PEFT checkpoint.

    The reference model is the base itself, with the adapter switched off; its log-probabilities are computed once.

    Args:
        progress: Called with step, steps and a note (loss, tokens a second, memory) after each step.

    Raises:
        ValueError: there is no pair.
    """
    import torch

    if not pairs:
        raise ValueError("QA-DPO needs at least one pair.")
    tokenizer, device = language_model.tokenizer, language_model.device
    pad = int(tokenizer.pad_token_id)
    accepted = [tokenise(tokenizer, pair.prompt, pair.accepted, config.max_tokens) for pair in pairs]
    rejected = [tokenise(tokenizer, pair.prompt, pair.rejected, config.max_tokens) for pair in pairs]
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

        with torch.no_grad(), model.disable_adapter():
            everything = list(range(len(pairs)))
            reference = torch.cat(
                [margins(everything[start : start + SCORING_BATCH]) for start in range(0, len(pairs), SCORING_BATCH)]
            )
        steps = shuffled_batches(len(pairs), config, torch.Generator().manual_seed(seed))

        def loss_of(chosen: list[int]) -> Any:
            return qa_dpo_loss(margins(chosen), reference[chosen], weights[chosen], probabilities[chosen], beta).mean()

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
