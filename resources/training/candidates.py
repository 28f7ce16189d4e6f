"""Candidates: one LoRA adapter a group on what its contributors wrote, all groups in one pass, loss on the response only.

While they train, each contributor's value is read off the same backward passes: by how much its demonstrations lowered the
loss on validation texts, step by step (In-Run Data Shapley, Wang et al., arXiv 2406.11011).

Belongs here: the plan of batches, the loop, early stopping, contributor values. Does not belong here: layers (see
``stacked``), who is in a group.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from resources.training.loading import LanguageModel, seeded
from resources.training.prompting import Tokens, tokenise
from resources.training.supervised import LARGEST_GRADIENT_NORM, WARM_UP_SHARE, AdapterConfig, save_adapter

if TYPE_CHECKING:
    from torch import Tensor


Progress = Callable[[int, int, str], None]
TOKENS_PER_PASS = {"cpu": 1024, "cuda": 65_536}
POOL = 8  # batches within which rows are sorted by length


@dataclass(frozen=True)
class Demonstrations:
    """What one group learns from: ``pairs`` of prompt and response, and for each the contributor who wrote it."""

    pairs: Sequence[tuple[str, str]]
    contributors: Sequence[str]


@dataclass(frozen=True)
class CandidateConfig(AdapterConfig):
    """How candidates are trained, beyond what every adapter has.

    Attributes:
        held_out: Share of a group's demonstrations that only measure; rounded, so a small group may hold out none.
        patience: Epochs in a row without a lower held-out loss after which an adapter stops. It ends as it was at its
            lowest. Without held-out rows it ends as its last step leaves it.
        tokens_per_pass: Tokens, padding counted, in one forward pass. A step with more is split, by adapters and then by
            rows, and accumulates gradients. 0: what was fastest on the device, on a CPU what its cache holds.
        optimizer: ``adamw``, or ``sgd`` without momentum, of which contributor values are exact to their order.
        gradient_checkpointing: Activations are computed again in the backward pass: less memory, about a third more time.
    """

    held_out: float = 0.0
    patience: int = 2
    tokens_per_pass: int = 0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class Valuation:
    """How contributor values are found.

    Attributes:
        pairs: Prompts and responses on which a lower loss is worth something.
        seeds: Runs of every group, each with its own initial adapter and order of rows; the first is the candidate.
        rows: Validation rows of one gradient.
        every: Steps from one validation gradient to the next.
        order: 1, or 2 with the curvature of the validation loss along the step: twice the backward passes.
    """

    pairs: Sequence[tuple[str, str]]
    seeds: int = 2
    rows: int = 16
    every: int = 8
    order: int = 1


@dataclass(frozen=True)
class CandidateResult:
    """What training came to.

    Attributes:
        first_loss, last_loss: Mean over the tokens of the first and of the last pass, nats.
        held_out_loss: Lowest loss on the held-out rows, nats a token; NaN where none were held out.
        steps, tokens: Steps taken and response tokens trained on.
        seconds: Of the whole pass, which all its candidates share.
        values: For each seed, by how much each contributor lowered the validation loss, nats a token.
    """

    first_loss: float
    last_loss: float
    held_out_loss: float
    steps: int
    tokens: int
    seconds: float
    values: tuple[dict[str, float], ...] = field(default=(), repr=False)

    def figures(self) -> dict[str, Any]:
        """As JSON values, without the contributors."""
        found = None if math.isnan(self.held_out_loss) else self.held_out_loss
        return {
            "first_loss": self.first_loss,
            "last_loss": self.last_loss,
            "held_out_loss": found,
            "steps": self.steps,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }


@dataclass
class _Run:
    """One adapter on its way: a group under one seed."""

    rows: list[Tokens]
    owners: list[str]
    held_out: list[Tokens]
    plan: list[list[int]]
    steps_an_epoch: int
    warm_up: int
    losses: list[float] = field(default_factory=list)
    values: list[dict[str, float]] = field(default_factory=list)  # one an epoch
    best: float = math.inf
    best_epoch: int = 0
    worse: int = 0
    stopped: bool = False

    def rate(self, step: int, peak: float) -> float:
        """Learning rate of step 1, 2, …: linear warm-up, then half a cosine that would be 0 one step after the last."""
        if step <= self.warm_up:
            return peak * step / self.warm_up
        done = (step - self.warm_up) / (len(self.plan) + 1 - self.warm_up)
        return peak * 0.5 * (1 + math.cos(math.pi * done))

    def active(self, step: int) -> bool:
        return not self.stopped and step <= len(self.plan)

    def note_values(self, epoch: int, rows: Sequence[int], values: np.ndarray) -> None:
        """Add what each row of a step was worth to its contributor's value of the epoch."""
        of_epoch = self.values[epoch]
        for row, value in zip(rows, values.tolist(), strict=True):
            of_epoch[self.owners[row]] = of_epoch.get(self.owners[row], 0.0) + value


def train_candidates(
    language_model: LanguageModel,
    groups: Sequence[Demonstrations],
    directories: Sequence[Path],
    *,
    parent: str,
    config: CandidateConfig,
    seed: int,
    valuation: Valuation | None = None,
    progress: Progress = lambda step, steps, note: None,
) -> list[CandidateResult]:
    """Train one LoRA adapter a group in one pass over the base and write each to its directory as a PEFT checkpoint.

    Each adapter ends as it would have ended alone, up to the order of floating-point sums: batches, learning rates, clipping
    and early stopping are its own. The base does not drop out anything while it is fine-tuned.

    Args:
        language_model: The base; it is consumed, as adapters are put into its layers.
        parent: Name that the checkpoints give their base.
        seed: Of initial adapters and of the order of rows, the same for all groups.
        progress: Called with step, steps and a note (loss, tokens a second) after each step.

    Raises:
        ValueError: a group has no demonstration.
        UnstackableModelError: the model's rows cannot be shared by several adapters.
    """
    for number, group in enumerate(groups):
        if not group.pairs:
            raise ValueError(f"group {number} has no demonstration; a candidate needs at least one.")
    replicas = valuation.seeds if valuation else 1
    started = time.perf_counter()
    with seeded(seed):
        trainer = _Trainer(language_model, groups, config, [seed + replica for replica in range(replicas)], valuation)
        trainer.run(progress)
        spent = time.perf_counter() - started
        results = []
        for number, directory in enumerate(directories):
            save_adapter(trainer.stack.as_peft(number), directory, parent)
            runs = trainer.runs[number :: len(groups)]
            results.append(_result(runs, spent, valued=valuation is not None))
    return results


def length_bucketed(lengths: Sequence[int], size: int, epochs: int, seed: int) -> list[list[int]]:
    """Row numbers of every step of all epochs: rows of like length together, so that little is padded, in random order.

    The order of batches depends on their number and the seed alone, so groups of one size meet with like lengths.
    """
    steps: list[list[int]] = []
    for epoch in range(epochs):
        rng = np.random.default_rng((seed, epoch))
        rows = rng.permutation(len(lengths))
        batches: list[list[int]] = []
        for begin in range(0, len(rows), POOL * size):
            pool = sorted(rows[begin : begin + POOL * size].tolist(), key=lambda row: lengths[row])
            batches += [pool[at : at + size] for at in range(0, len(pool), size)]
        order = np.random.default_rng((seed, epoch, 1)).permutation(len(batches))
        steps += [batches[position] for position in order]
    return steps


def _portions(lengths: Sequence[Sequence[int]], tokens: int) -> Iterator[tuple[range, slice]]:
    """Adapters and rows of each pass, so that none has more than ``tokens`` in its rectangle where a single row allows it.

    Args:
        lengths: Of every row of every adapter.
    """
    begin = 0
    while begin < len(lengths):
        end, rows, width = begin, 0, 1
        while end < len(lengths):
            most, widest = max(rows, len(lengths[end])), max(width, *lengths[end], 1)
            if end > begin and (end + 1 - begin) * most * widest > tokens:
                break
            end, rows, width = end + 1, most, widest
        size = max(1, min(rows, tokens // ((end - begin) * width)))
        for first in range(0, rows, size):
            yield range(begin, end), slice(first, first + size)
        begin = end


class _Trainer:
    """Groups times seeds adapters over one base; adapter ``s J + j`` is group j under seed s."""

    def __init__(
        self,
        language_model: LanguageModel,
        groups: Sequence[Demonstrations],
        config: CandidateConfig,
        seeds: Sequence[int],
        valuation: Valuation | None,
    ) -> None:
        import torch

        from resources.training.stacked import AdapterStack

        tokenizer = language_model.tokenizer
        self.config, self.valuation = config, valuation
        self.device, self.pad = language_model.device, int(tokenizer.pad_token_id)
        self.tokens_per_pass = config.tokens_per_pass or TOKENS_PER_PASS[self.device.type]
        self.runs: list[_Run] = []
        for seed in seeds:
            for group in groups:
                self.runs.append(_run(tokenizer, group, config, seed, held_out_seed=seeds[0]))
        adapter_seeds = [seed for seed in seeds for _ in groups]
        if config.gradient_checkpointing:
            _checkpoint_gradients(language_model.model)
        self.stack: AdapterStack = AdapterStack(
            language_model, rank=config.rank, alpha=config.alpha, seeds=adapter_seeds
        )
        # One parameter an adapter, in the rows of the stack's matrix: each has its own steps and learning rate.
        self.parameters = [torch.nn.Parameter(row) for row in self.stack.parameters]
        rules = {
            "adamw": lambda groups: torch.optim.AdamW(groups, weight_decay=0.0, fused=True),
            "sgd": lambda groups: torch.optim.SGD(groups, fused=True),
        }
        self.optimizer = rules[config.optimizer]([{"params": [parameter]} for parameter in self.parameters])
        self.best = self.stack.parameters.clone() if any(run.held_out for run in self.runs) else None
        self.validation: list[Tokens] = []
        self.validation_gradient: Tensor | None = None
        if valuation:
            self.validation = [tokenise(tokenizer, *pair, config.max_tokens) for pair in valuation.pairs]
            self.validation_order = np.random.default_rng((seeds[0], 2))

    def run(self, progress: Progress) -> None:
        """All steps of all adapters."""
        steps = max(len(run.plan) for run in self.runs)
        tokens, started = 0, time.perf_counter()
        for step in range(1, steps + 1):
            active = [number for number, run in enumerate(self.runs) if run.active(step)]
            if not active:
                break
            tokens += self._step(step, active)
            due = [number for number in active if step % self.runs[number].steps_an_epoch == 0]
            self._evaluate([number for number in due if self.runs[number].held_out])
            loss = float(np.mean([self.runs[number].losses[-1] for number in active]))
            rate = tokens / (time.perf_counter() - started)
            progress(step, steps, f"loss {loss:.3f}, {rate:,.0f} tokens a second")
        if self.best is not None:
            for number, run in enumerate(self.runs):
                if run.held_out:
                    self.stack.parameters[number] = self.best[number]

    def _step(self, step: int, active: list[int]) -> int:
        """One step of the active adapters; the tokens it saw, padding not counted."""
        runs = [self.runs[number] for number in active]
        chosen = [run.plan[step - 1] for run in runs]
        rates = [run.rate(step, self.config.learning_rate) for run in runs]
        self._renew_validation_gradient(step, active)
        # Without a step behind it AdamW has no second moment yet: the first pass finds it, a second one the values.
        unscaled = step == 1 and self.config.optimizer == "adamw"
        twice = self.valuation is not None and (unscaled or self.valuation.order == 2)
        direction = None if self.valuation is None or twice else self._direction(active)
        self.stack.use(active)
        losses, products = self._backward(runs, chosen, direction, keep=False)
        gradients = self.stack.gradients
        clip = (LARGEST_GRADIENT_NORM / (gradients.norm(dim=1) + 1e-6)).clamp(max=1.0)
        gradients.mul_(clip[:, None])
        if twice:
            clipped = gradients.clone()
            direction = self._direction(active, clipped, rates)
            self.stack.use(active)
            _, products = self._backward(runs, chosen, direction, keep=True)
            self.stack.gradients.copy_(clipped)
            gradients = self.stack.gradients
        if products is not None:
            for index, (run, rows) in enumerate(zip(runs, chosen, strict=True)):
                scaled = products[index] * (rates[index] * float(clip[index]))
                run.note_values((step - 1) // run.steps_an_epoch, rows, scaled)
        for index, number in enumerate(active):
            self.parameters[number].grad = gradients[index]
            self.optimizer.param_groups[number]["lr"] = rates[index]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for run, loss in zip(runs, losses, strict=True):
            run.losses.append(loss)
        return sum(len(run.rows[row].ids) for run, rows in zip(runs, chosen, strict=True) for row in rows)

    def _backward(
        self, runs: list[_Run], chosen: list[list[int]], direction: "Tensor | None", *, keep: bool
    ) -> tuple[list[float], list[np.ndarray] | None]:
        """Mean loss a token of each adapter, and each row's product of its gradient with the direction; gradients of the
        adapters are left in the stack, or not where ``keep`` asks to leave those of before."""
        parts = [[run.rows[row] for row in rows] for run, rows in zip(runs, chosen, strict=True)]
        losses, products = self._passes(parts, direction, gradients=not keep)
        return [float(of_adapter.sum()) for of_adapter in losses], products

    def _passes(
        self,
        parts: list[list[Tokens]],
        direction: "Tensor | None" = None,
        *,
        gradients: bool = True,
        learn: bool = True,
    ) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """Passes over the rows of each adapter in use: each row's part in its adapter's mean loss a token, and its product
        with the direction."""
        import torch

        from resources.training.stacked import stacked_batch

        counts = [max(1, sum(map(_labelled, part))) for part in parts]
        losses = [np.zeros(len(part)) for part in parts]
        products = [np.zeros(len(part)) for part in parts]
        for adapters, rows in _portions([[len(row.ids) for row in part] for part in parts], self.tokens_per_pass):
            portion = [parts[adapter][rows] for adapter in adapters]
            weights = [[1 / counts[adapter]] * len(part) for adapter, part in zip(adapters, portion, strict=True)]
            batch = stacked_batch(portion, weights, self.pad, self.device)
            with (
                torch.set_grad_enabled(learn),
                self.stack.window(adapters.start, adapters.stop, direction, gradients=gradients),
            ):
                of_rows = self.stack.loss(batch)
                if learn:
                    of_rows.sum().backward()
            found = of_rows.detach().view(len(adapters), -1).double().cpu().numpy()
            along = (
                self.stack.row_products.view(len(adapters), -1).double().cpu().numpy()
                if direction is not None
                else found
            )
            for index, adapter in enumerate(adapters):
                losses[adapter][rows] = found[index, : len(portion[index])]
                products[adapter][rows] = along[index, : len(portion[index])]
        return losses, products if direction is not None else None

    def _renew_validation_gradient(self, step: int, active: list[int]) -> None:
        """Every so many steps, the gradient of the loss on other validation rows, where the adapters are now."""
        import torch

        if self.valuation is None or (step - 1) % (1 if self.valuation.order == 2 else self.valuation.every):
            return
        rows = min(self.valuation.rows, len(self.validation))
        chosen = self.validation_order.choice(len(self.validation), rows, replace=False)
        self.validation_rows = [self.validation[row] for row in chosen]
        self.validation_gradient = torch.zeros_like(self.stack.parameters)
        self.validation_gradient[active] = self._gradient_of_validation(active)

    def _direction(self, active: list[int], clipped: "Tensor | None" = None, rates: Sequence[float] = ()) -> "Tensor":
        """What a unit of a row's gradient takes off the validation loss per unit of learning rate, (k, P): the validation
        gradient times the optimiser's scale.

        The second moment is the last step's, or the one that this step's ``clipped`` gradients make of it. The momentum's
        delay is left out: a gradient counts where it arises. With order 2 the validation gradient is the mean of that
        before and that after the step, which is the second-order term by finite difference.
        """
        import torch

        assert self.validation_gradient is not None
        scale = torch.stack([self._scale(number, clipped, index) for index, number in enumerate(active)])
        gradient = self.validation_gradient[active]
        if clipped is not None and self.valuation is not None and self.valuation.order == 2:
            before = self.stack.parameters[active]
            change = scale * clipped * torch.tensor(rates, device=self.device)[:, None]
            self.stack.parameters[active] = before - change
            gradient = (gradient + self._gradient_of_validation(active)) / 2
            self.stack.parameters[active] = before
        return scale * gradient

    def _scale(self, number: int, clipped: "Tensor | None", index: int) -> "Tensor":
        """What AdamW multiplies an adapter's gradient with, (P,): 1 / sqrt(v), v averaged over each matrix; 1 for SGD.

        Parameter by parameter the scale is larger the better the contributors' gradients cancel, and would be largest where
        their sum means least: averaged, values tell contributors apart better.
        """
        import torch

        parameters = self.parameters[number]
        if self.config.optimizer == "sgd":
            return torch.ones_like(parameters)
        group = self.optimizer.param_groups[number]
        beta, epsilon = group["betas"][1], group["eps"]
        state = self.optimizer.state[parameters]
        moment = state["exp_avg_sq"] if state else torch.zeros_like(parameters)
        steps = int(state["step"]) if state else 0
        if clipped is not None:
            moment = beta * moment + (1 - beta) * clipped[index] ** 2
            steps += 1
        scale = torch.empty_like(moment)
        for layer in self.stack.layers:
            for part, into in zip(layer.views(moment[None]), layer.views(scale[None]), strict=True):
                into.fill_(1 / ((part.mean() / (1 - beta**steps)).sqrt() + epsilon))
        return scale

    def _gradient_of_validation(self, active: list[int]) -> "Tensor":
        """Gradient of the mean loss a token on the validation rows in use, (k, P)."""
        self.stack.use(active)
        self._passes([self.validation_rows] * len(active))
        return self.stack.gradients.clone()

    def _evaluate(self, due: list[int]) -> None:
        """Held-out loss of the adapters that end an epoch: the best is kept, and who stays worse stops."""
        if not due or self.best is None:
            return
        runs = [self.runs[number] for number in due]
        self.stack.use(due)
        losses, _ = self._passes([run.held_out for run in runs], learn=False)
        for number, run, of_rows in zip(due, runs, losses, strict=True):
            loss = float(of_rows.sum())
            epoch = len(run.losses) // run.steps_an_epoch
            if loss < run.best:
                run.best, run.best_epoch, run.worse = loss, epoch, 0
                self.best[number] = self.stack.parameters[number]
            else:
                run.worse += 1
                run.stopped = run.worse >= self.config.patience


def _run(tokenizer: Any, group: Demonstrations, config: CandidateConfig, seed: int, held_out_seed: int) -> _Run:
    rows = [tokenise(tokenizer, *pair, config.max_tokens) for pair in group.pairs]
    measuring = min(round(config.held_out * len(rows)), len(rows) - 1)
    order = np.random.default_rng((held_out_seed, 3)).permutation(len(rows))
    held_out, training = set(order[:measuring].tolist()), sorted(order[measuring:].tolist())
    plan = length_bucketed([len(rows[row].ids) for row in training], config.batch_size, config.epochs, seed)
    return _Run(
        rows=[rows[row] for row in training],
        owners=[group.contributors[row] for row in training],
        held_out=[rows[row] for row in sorted(held_out)],
        plan=plan,
        steps_an_epoch=len(plan) // config.epochs,
        warm_up=max(1, round(WARM_UP_SHARE * len(plan))),
        values=[{} for _ in range(config.epochs)],
    )


def _labelled(row: Tokens) -> int:
    """Tokens of a row that are predicted: its response, but no first token."""
    return len(row.ids) - max(row.prompt_length, 1)


def _result(runs: Sequence[_Run], seconds: float, *, valued: bool) -> CandidateResult:
    """Of a candidate, from its group's runs under all seeds; values of epochs that early stopping undid do not count."""
    first = runs[0]
    values = []
    for run in runs if valued else ():
        kept = run.values[: run.best_epoch or None] if run.held_out else run.values
        total = dict.fromkeys(run.owners, 0.0)
        for of_epoch in kept:
            for owner, value in of_epoch.items():
                total[owner] += value
        values.append(total)
    epoch = first.steps_an_epoch
    return CandidateResult(
        first_loss=float(np.mean(first.losses[:epoch])),
        last_loss=float(np.mean(first.losses[-epoch:])),
        held_out_loss=first.best if first.held_out else math.nan,
        steps=len(first.losses),
        tokens=sum(_labelled(first.rows[row]) for rows in first.plan[: len(first.losses)] for row in rows),
        seconds=seconds,
        values=tuple(values),
    )


def _checkpoint_gradients(model: Any) -> None:
    """Recompute activations in the backward pass, and drop out nothing: only the layers that decide on it are in training."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
