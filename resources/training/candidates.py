"""Candidates: one LoRA adapter a group on what its contributors wrote, all groups in one pass, loss on the response only.

While they train, each contributor's value is read off the same backward passes: by how much its demonstrations lowered the
loss on validation texts, step by step (In-Run Data Shapley, Wang et al., arXiv 2406.11011).

Belongs here: the loop, passes over the stack, contributor values. Does not belong here: one candidate's plan and books (see
``candidate_runs``), layers (see ``stacked``), who is in a group.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resources.training.candidate_runs import (
    CandidateConfig,
    CandidateResult,
    Demonstrations,
    Run,
    labelled,
    portions,
    result_of,
    run_of,
)
from resources.training.loading import LanguageModel, forget_peak_memory, peak_memory, seeded
from resources.training.memory import halving
from resources.training.prompting import Tokens
from resources.training.supervised import (
    LARGEST_GRADIENT_NORM,
    WAYS_OUT,
    NotFiniteError,
    not_finite,
    save_adapter,
)
from resources.training.valuation import Segment, Valuation

if TYPE_CHECKING:
    from torch import Tensor


Progress = Callable[[int, int, str], None]
TOKENS_PER_PASS = {"cpu": 1024, "cuda": 65_536}
PASSES_OUT = (
    "lower CROWD_FUSED_CANDIDATES, CROWD_MAX_TOKENS or CROWD_VALUE_SEEDS, set CROWD_GRADIENT_CHECKPOINTING=true, or keep the base in "
    "CROWD_DTYPE=bfloat16 or CROWD_QUANTIZATION=nf4"
)


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
        NotFiniteError: no candidate could take a step; one that could not, among others that could, is stopped alone.
        OutOfMemoryError: not even one row fits into memory.
        CompilationError: the model cannot be compiled here, and the configuration asks for it.
    """
    for number, group in enumerate(groups):
        if not group.pairs:
            raise ValueError(f"group {number} has no demonstration; a candidate needs at least one.")
    replicas = valuation.seeds if valuation else 1
    device, started = language_model.device, time.perf_counter()
    forget_peak_memory(device)
    with seeded(seed):
        trainer = _Trainer(language_model, groups, config, [seed + replica for replica in range(replicas)], valuation)
        trainer.run(progress)
        spent, memory = time.perf_counter() - started, peak_memory(device)
        results = []
        for number, directory in enumerate(directories):
            save_adapter(trainer.stack.as_peft(number), directory, parent)
            runs = trainer.runs[number :: len(groups)]
            results.append(result_of(runs, spent, memory, valued=valuation is not None))
    return results


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

        from resources.training.layers import recompute_blocks
        from resources.training.stacked import AdapterStack

        texts = language_model.texts
        self.config, self.valuation, self.seeds = config, valuation, len(seeds)
        self.device, self.pad = language_model.device, texts.pad
        self.tokens_per_pass = config.tokens_per_pass or TOKENS_PER_PASS[self.device.type]
        self.runs: list[Run] = []
        for seed in seeds:
            for group in groups:
                self.runs.append(run_of(texts, group, config, seed, held_out_seed=seeds[0]))
        adapter_seeds = [seed for seed in seeds for _ in groups]
        self.stack: AdapterStack = AdapterStack(
            language_model, rank=config.rank, alpha=config.alpha, seeds=adapter_seeds
        )
        self.named_errors: Callable[[], AbstractContextManager[None]] = nullcontext
        if config.compile:
            from resources.training import compiled

            compiled.compile_blocks(self.stack)
            self.named_errors = compiled.named_errors
        if config.gradient_checkpointing:
            recompute_blocks(self.stack.model)
        # One parameter an adapter, in the rows of the stack's matrix: each has its own steps and learning rate.
        self.parameters = [torch.nn.Parameter(row) for row in self.stack.parameters]
        rules = {
            "adamw": lambda groups: torch.optim.AdamW(groups, weight_decay=0.0, fused=True),
            "sgd": lambda groups: torch.optim.SGD(groups, fused=True),
        }
        self.optimizer = rules[config.optimizer]([{"params": [parameter]} for parameter in self.parameters])
        self.best = self.stack.parameters.clone() if any(run.held_out for run in self.runs) else None
        self.validation: list[Tokens] = []
        self.validation_gradient = torch.zeros_like(self.stack.parameters)
        self.segments: list[Segment | None] = [None] * len(self.runs)
        if valuation:
            self.validation = [texts.row(*pair, config.max_tokens) for pair in valuation.pairs]
            self.validation_order = np.random.default_rng((seeds[0], 2))
            self.validation_turns: list[int] = []
            self.gradients_of_validation = [0] * len(self.runs)

    def run(self, progress: Progress) -> None:
        """All steps of all adapters."""
        steps = max(len(run.plan) for run in self.runs)
        tokens, started = 0, time.perf_counter()
        for step in range(1, steps + 1):
            active = [number for number, run in enumerate(self.runs) if run.active(step)]
            if not active:
                break
            with self.named_errors():
                tokens += self._step(step, active)
            active = [number for number in active if not self.runs[number].not_finite]
            due = [number for number in active if step % self.runs[number].steps_an_epoch == 0]
            self._evaluate([number for number in due if self.runs[number].held_out])
            loss = float(np.mean([self.runs[number].losses[-1] for number in active])) if active else math.nan
            rate = tokens / (time.perf_counter() - started)
            progress(step, steps, f"loss {loss:.3f}, {rate:,.0f} tokens a second, {peak_memory(self.device):,.0f} MiB")
        if self.best is not None:
            for number, run in enumerate(self.runs):
                if run.held_out and run.best_epoch:
                    self.stack.parameters[number] = self.best[number]

    def _step(self, step: int, active: list[int]) -> int:
        """One step of the active adapters; the tokens it saw, padding not counted."""
        import torch

        runs = [self.runs[number] for number in active]
        chosen = [run.plan[step - 1] for run in runs]
        parts = [[run.rows[row] for row in rows] for run, rows in zip(runs, chosen, strict=True)]
        rates = [run.rate(step) for run in runs]
        order = self.valuation.order if self.valuation else 0
        if order == 1:
            losses = self._valued_by_direction(step, active, parts, chosen, rates)
        elif order == 2:
            losses = self._valued_along_the_path(step, active, parts, chosen, rates)
        else:
            self.stack.use(active)
            losses, _ = self._passes(parts)
            self._clip()
        of_runs = [float(of_rows.sum()) for of_rows in losses]
        finite = torch.isfinite(self.stack.gradients).all(dim=1).tolist()
        for index, number in enumerate(active):
            if not (finite[index] and math.isfinite(of_runs[index])):
                self._stop(number, step, of_runs[index])
                continue
            self.parameters[number].grad = self.stack.gradients[index]
            self.optimizer.param_groups[number]["lr"] = rates[index]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for run, loss in zip(runs, of_runs, strict=True):
            if not run.not_finite:
                run.losses.append(loss)
        if order == 2:
            ending = [number for number in active if step == len(self.runs[number].plan)]
            self._close_segments([number for number in ending if not self.runs[number].not_finite])
        return sum(len(row.ids) for part in parts for row in part)

    def _stop(self, number: int, step: int, loss: float) -> None:
        """End one adapter's training before a step that is not finite, and nobody else's.

        Raises:
            NotFiniteError: no candidate has taken a step.
        """
        run = self.runs[number]
        groups = len(self.runs) // self.seeds
        run.not_finite = f"step {step} of {len(run.plan)} has a {not_finite(loss)}"
        run.stopped = True
        self.segments[number] = None
        if all(each.not_finite and not each.losses for each in self.runs[:groups]):
            raise NotFiniteError(
                f"candidate {number % groups + 1} of {groups}: {run.not_finite}, as in all others: {WAYS_OUT}."
            )

    def _clip(self) -> "Tensor":
        """Clip the gradients in the stack, each adapter's by its own norm; the factors, (k,)."""
        gradients = self.stack.gradients
        clip = (LARGEST_GRADIENT_NORM / (gradients.norm(dim=1) + 1e-6)).clamp(max=1.0)
        gradients.mul_(clip[:, None])
        return clip

    def _valued_by_direction(
        self, step: int, active: list[int], parts: list[list[Tokens]], chosen: list[list[int]], rates: list[float]
    ) -> list[np.ndarray]:
        """Clipped gradients of a step in the stack, and its first-order values: products with the validation gradient, which
        the same backward pass finds without any row's gradient."""
        assert self.valuation is not None
        if (step - 1) % self.valuation.every == 0:
            self.validation_gradient[active] = self._gradient_of_validation(active)
        # AdamW has no second moment before the first step, and none of A before the second, as B is zero at first: then a
        # first pass finds it, and a second one the values.
        unscaled = step <= 2 and self.config.optimizer == "adamw"
        direction = None if unscaled else self._scale(active) * self.validation_gradient[active]
        self.stack.use(active)
        losses, products = self._passes(parts, direction)
        clip = self._clip()
        if unscaled:
            clipped = self.stack.gradients.clone()
            self.stack.use(active)
            direction = self._scale(active, clipped) * self.validation_gradient[active]
            _, products = self._passes(parts, direction, gradients=False)
            self.stack.gradients.copy_(clipped)
        assert products is not None
        for index, number in enumerate(active):
            run = self.runs[number]
            owners = [run.owners[row] for row in chosen[index]]
            worth = products[index] * (rates[index] * float(clip[index]))
            run.note_values((step - 1) // run.steps_an_epoch, owners, worth.tolist())
        return losses

    def _valued_along_the_path(
        self, step: int, active: list[int], parts: list[list[Tokens]], chosen: list[list[int]], rates: list[float]
    ) -> list[np.ndarray]:
        """Clipped gradients of a step in the stack, and each contributor's part of it in the adapters' segments."""
        import torch

        assert self.valuation is not None
        due = {number: self.runs[number].segment(step, self.valuation.every) for number in active}
        self._close_segments([number for number, steps in due.items() if steps])
        for number, steps in due.items():
            if steps:
                run = self.runs[number]
                length = sum(run.rate(step + more) for more in range(steps))
                epoch = (step - 1) // run.steps_an_epoch
                self.segments[number] = Segment(self.validation_gradient[number].clone(), length, epoch)
        of_rows = [[self.runs[number].owners[row] for row in rows] for number, rows in zip(active, chosen, strict=True)]
        owners = [list(dict.fromkeys(names)) for names in of_rows]
        slots = [[names.index(name) for name in of_row] for names, of_row in zip(owners, of_rows, strict=True)]
        self.stack.use(active)
        gradients = self.stack.gradients
        by_owner = gradients.new_zeros((len(active), max(map(len, owners)), gradients.shape[1]))
        losses, _ = self._passes(parts, by_owner=by_owner, slots=slots)
        torch.sum(by_owner, dim=1, out=gradients)
        factors = self._clip() * gradients.new_tensor(rates)
        by_owner.mul_((factors[:, None] * self._scale(active, gradients))[:, None])
        for index, number in enumerate(active):
            segment = self.segments[number]
            assert segment is not None
            segment.step(owners[index], by_owner[index], rates[index])
        return losses

    def _close_segments(self, ending: list[int]) -> None:
        """Renew the validation gradient of the adapters whose segment ends here, and book the segments' values."""
        if not ending:
            return
        if self.runs[ending[0]].losses:
            self.validation_gradient[ending] = self._gradient_of_validation(ending)
        else:  # before the first step all groups of a seed have the same adapter
            groups = len(self.runs) // self.seeds
            first = self._gradient_of_validation([number * groups for number in range(self.seeds)])
            self.validation_gradient.copy_(first.repeat_interleave(groups, dim=0))
            self.gradients_of_validation = [1] * len(self.runs)
        for number in ending:
            segment = self.segments[number]
            if segment is not None:
                values = segment.close(self.validation_gradient[number])
                self.runs[number].note_values(segment.epoch, list(values), list(values.values()))
            self.segments[number] = None

    def _passes(
        self,
        parts: list[list[Tokens]],
        direction: "Tensor | None" = None,
        *,
        gradients: bool = True,
        by_owner: "Tensor | None" = None,
        slots: Sequence[Sequence[int]] = (),
        learn: bool = True,
    ) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """Passes over the rows of each adapter in use: each row's part in its adapter's mean loss a token, and its product
        with the direction. Gradients are added up in the stack, or each row's in its slot of ``by_owner``. Where memory runs out, all
        is begun again in smaller passes, and they stay as small.

        Raises:
            OutOfMemoryError: not even a row of one adapter fits.
        """

        def attempt(tokens: int) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
            if learn and gradients:
                self.stack.gradients.zero_()
            if by_owner is not None:
                by_owner.zero_()
            return self._passes_of(
                tokens, parts, direction, gradients=gradients, by_owner=by_owner, slots=slots, learn=learn
            )

        widest = len(parts) * max(len(row.ids) for part in parts for row in part) * max(map(len, parts))
        begun = min(self.tokens_per_pass, max(1, widest))
        found, fitting = halving(attempt, begun, PASSES_OUT)
        if fitting < begun:
            self.tokens_per_pass = fitting
        return found

    def _passes_of(
        self,
        tokens_per_pass: int,
        parts: list[list[Tokens]],
        direction: "Tensor | None" = None,
        *,
        gradients: bool = True,
        by_owner: "Tensor | None" = None,
        slots: Sequence[Sequence[int]] = (),
        learn: bool = True,
    ) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """:meth:`_passes` with so many tokens in each."""
        import torch

        from resources.training.layers import UnadaptableModelError
        from resources.training.stacked import stacked_batch

        counts = [max(1, sum(map(labelled, part))) for part in parts]
        losses = [np.zeros(len(part)) for part in parts]
        products = [np.zeros(len(part)) for part in parts]
        for adapters, rows in portions([[len(row.ids) for row in part] for part in parts], tokens_per_pass):
            portion = [parts[adapter][rows] for adapter in adapters]
            weights = [[1 / counts[adapter]] * len(part) for adapter, part in zip(adapters, portion, strict=True)]
            batch = stacked_batch(portion, weights, self.pad, self.device)
            ownership = None
            if by_owner is not None:
                ownership = by_owner.new_zeros((len(adapters), by_owner.shape[1], max(map(len, portion))))
                for index, adapter in enumerate(adapters):
                    ownership[index, slots[adapter][rows], range(len(portion[index]))] = 1
            with (
                torch.set_grad_enabled(learn),
                self.stack.window(
                    adapters.start,
                    adapters.stop,
                    direction,
                    gradients=gradients,
                    by_owner=by_owner,
                    ownership=ownership,
                ),
            ):
                of_rows = self.stack.loss(batch)
                if learn and not of_rows.requires_grad:
                    raise UnadaptableModelError(
                        f"{type(self.stack.model).__name__} computes its blocks past the gradients of what is put into them, as reversible "
                        "layers do, so no adapter can learn: name another base in CROWD_BASE_MODEL."
                    )
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

    def _scale(self, active: list[int], clipped: "Tensor | None" = None) -> "Tensor":
        """What the optimiser multiplies gradients with, (k, P): for AdamW 1 / sqrt(v), v averaged over each matrix; 1 for SGD.

        v is the last step's, or the one that this step's ``clipped`` gradients make of it. The momentum's delay is left out:
        a gradient counts where it arises. Parameter by parameter the scale is larger the better the contributors' gradients
        cancel, and would be largest where their sum means least: averaged, values tell contributors apart better.
        """
        import torch

        scale = torch.ones_like(self.stack.parameters[active])
        if self.config.optimizer == "sgd":
            return scale
        for index, number in enumerate(active):
            group = self.optimizer.param_groups[number]
            beta, epsilon = group["betas"][1], group["eps"]
            state = self.optimizer.state[self.parameters[number]]
            moment = state["exp_avg_sq"] if state else torch.zeros_like(self.parameters[number])
            steps = int(state["step"]) if state else 0
            if clipped is not None:
                moment = beta * moment + (1 - beta) * clipped[index] ** 2
                steps += 1
            for layer in self.stack.layers:
                for part, into in zip(layer.views(moment[None]), layer.views(scale[None, index]), strict=True):
                    into.fill_(1 / ((part.mean() / (1 - beta**steps)).sqrt() + epsilon))
        return scale

    def _gradient_of_validation(self, active: list[int]) -> "Tensor":
        """Gradient of the mean loss a token on each adapter's next validation rows, (k, P). All have their turn before one comes
        again: what one gradient misses, the next ones have. Which rows an adapter's gradient is on depends on no other adapter."""
        assert self.valuation is not None
        rows = min(self.valuation.rows, len(self.validation))
        chosen = []
        for number in active:
            begin = self.gradients_of_validation[number] * rows
            while len(self.validation_turns) < begin + rows:
                self.validation_turns += self.validation_order.permutation(len(self.validation)).tolist()
            chosen.append([self.validation[row] for row in self.validation_turns[begin : begin + rows]])
            self.gradients_of_validation[number] += 1
        self.stack.use(active)
        self._passes(chosen)
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
