"""Fine-tuning of one LoRA adapter: the adapter, the loop, the schedule.

Belongs here: what every adapter that is trained alone shares. Does not belong here: preference losses (see ``alignment``),
candidates, which are trained together (see ``candidates``).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.common.errors import OperatorError
from resources.training.loading import LanguageModel

Progress = Callable[[int, int, float], None]
WARM_UP_SHARE = 0.1
LARGEST_GRADIENT_NORM = 1.0
WAYS_OUT = "lower the learning rate, or set CROWD_DTYPE=float32 or bfloat16 in place of float16"


class NotFiniteError(OperatorError, ArithmeticError):
    """A loss or a gradient is not a finite number, so nothing can be learnt from it."""


def not_finite(loss: float) -> str:
    """What is not finite: the loss, or else its gradient."""
    return "gradient that is not finite" if math.isfinite(loss) else f"loss of {loss}"


@dataclass(frozen=True)
class AdapterConfig:
    """How a LoRA adapter is trained.

    Attributes:
        learning_rate: Peak of a linear warm-up over 10 % of the steps and a cosine decay to 0.
        epochs: Passes over the data.
        batch_size: Rows a step.
        rank: Rank of the adapter on every layer.
        alpha: Scale: updates are multiplied by alpha / rank.
        max_tokens: Longest row.
    """

    learning_rate: float
    epochs: int
    batch_size: int
    rank: int
    alpha: int
    max_tokens: int


@dataclass(frozen=True)
class TrainingResult:
    """What training came to.

    Attributes:
        losses: Of every step of all ``epochs``.
        tokens: Response tokens trained on.
        seconds: From the beginning of the first step to the end of the last.
        peak_memory: MiB, see :func:`loading.peak_memory`.
    """

    losses: Sequence[float]
    epochs: int
    tokens: int
    seconds: float
    peak_memory: float

    def figures(self) -> dict[str, float]:
        """As JSON values; losses are means over the first and over the last epoch."""
        per_epoch = len(self.losses) // self.epochs
        return {
            "first_loss": sum(self.losses[:per_epoch]) / per_epoch,
            "last_loss": sum(self.losses[-per_epoch:]) / per_epoch,
            "steps": len(self.losses),
            "tokens": self.tokens,
            "seconds": self.seconds,
            "peak_memory_mib": self.peak_memory,
        }


def new_adapter(language_model: LanguageModel, config: AdapterConfig) -> Any:
    """The model with a fresh LoRA adapter on every layer that :func:`layers.adaptable_layers` names; the base is frozen."""
    from peft import LoraConfig, get_peft_model

    from resources.training.layers import adaptable_layers

    return get_peft_model(
        language_model.model,
        LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=0.0,
            target_modules=adaptable_layers(language_model.model),
            task_type="CAUSAL_LM",
        ),
    )


def save_adapter(model: Any, directory: Path, parent: str) -> None:
    """Write a PEFT checkpoint to ``directory``, with ``parent`` as the name of its base: no path of this machine."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = parent
        # A set's order differs from process to process, and a model's name is the hash of its files.
        config.target_modules = sorted(config.target_modules)
    # Whether embeddings should be saved, too, PEFT would ask the hub about a model of the parent's name.
    model.save_pretrained(str(directory), safe_serialization=True, save_embedding_layers=False)
    (directory / "README.md").unlink(missing_ok=True)


def shuffled_batches(rows: int, config: AdapterConfig, generator: Any) -> list[list[int]]:
    """Row numbers of every step of all epochs; each epoch in an order of its own, drawn from a torch generator."""
    import torch

    steps: list[list[int]] = []
    for _ in range(config.epochs):
        order = torch.randperm(rows, generator=generator).tolist()
        steps += [order[start : start + config.batch_size] for start in range(0, rows, config.batch_size)]
    return steps


def optimise(
    model: Any,
    steps: Sequence[list[int]],
    loss_of: Callable[[list[int]], float],
    config: AdapterConfig,
    progress: Progress,
) -> list[float]:
    """AdamW over ``steps`` with warm-up, cosine decay and clipping; returns the loss of each step. The base drops out nothing.

    Args:
        loss_of: The loss of a step's rows, and its gradient added to that of the parameters.

    Raises:
        NotFiniteError: a loss or a gradient is not finite.
    """
    import torch
    from transformers import get_cosine_schedule_with_warmup

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0)
    warm_up = max(1, round(WARM_UP_SHARE * len(steps)))
    schedule = get_cosine_schedule_with_warmup(optimizer, warm_up, len(steps))
    losses: list[float] = []
    for number, rows in enumerate(steps, start=1):
        loss = loss_of(rows)
        norm = torch.nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT_NORM)
        if not (math.isfinite(loss) and bool(torch.isfinite(norm))):
            raise NotFiniteError(f"step {number} of {len(steps)} has a {not_finite(loss)}: {WAYS_OUT}.")
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss)
        progress(number, len(steps), losses[-1])
    return losses
