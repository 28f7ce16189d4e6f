"""What one candidate learns from and how its run goes: its rows and batches, its learning rate by step, what it came to.

Belongs here: the configuration, the plan of batches, early stopping's books, the result. Does not belong here: the passes of all
candidates together (see ``candidates``), validation rows (see ``valuation``).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from resources.training.prompting import Prompt, TextFormat, Tokens
from resources.training.supervised import (
    WARM_UP_SHARE,
    AdapterConfig,
)

if TYPE_CHECKING:
    pass


POOL = 8  # batches within which rows are sorted by length


@dataclass(frozen=True)
class Demonstrations:
    """What one group learns from: ``pairs`` of prompt and response, and for each the contributor who wrote it; ``learning_rate`` is
    its candidate's peak, None: that of the configuration."""

    pairs: Sequence[tuple[Prompt, str]]
    contributors: Sequence[str]
    learning_rate: float | None = None


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
        compile: torch.compile each block of the base; see :mod:`training.compiled`.
    """

    held_out: float = 0.0
    patience: int = 2
    tokens_per_pass: int = 0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    gradient_checkpointing: bool = False
    compile: bool = False


@dataclass(frozen=True)
class CandidateResult:
    """What training came to.

    Attributes:
        first_loss, last_loss: Mean over the tokens of the first and of the last pass, nats.
        held_out_loss: Lowest loss on the held-out rows, nats a token; NaN where none were held out.
        steps, tokens: Steps taken and response tokens trained on.
        seconds, peak_memory: Of the whole pass, which all its candidates share; MiB, see :func:`loading.peak_memory`.
        values: For each seed, by how much each contributor lowered the validation loss, nats a token.
        stopped: Why its training ended early, where a loss or a gradient was not finite; it is as it was before that step.
    """

    first_loss: float
    last_loss: float
    held_out_loss: float
    steps: int
    tokens: int
    seconds: float
    peak_memory: float
    values: tuple[dict[str, float], ...] = field(default=(), repr=False)
    stopped: str | None = None

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
            "peak_memory_mib": self.peak_memory,
            "stopped": self.stopped,
        }


@dataclass
class Run:
    """One adapter on its way: a group under one seed."""

    rows: list[Tokens]
    owners: list[str]
    held_out: list[Tokens]
    plan: list[list[int]]
    steps_an_epoch: int
    warm_up: int
    peak: float
    losses: list[float] = field(default_factory=list)
    values: list[dict[str, float]] = field(default_factory=list)  # one an epoch
    best: float = math.inf
    best_epoch: int = 0
    worse: int = 0
    stopped: bool = False
    not_finite: str | None = None

    def rate(self, step: int) -> float:
        """Learning rate of step 1, 2, …: linear warm-up, then half a cosine that would be 0 one step after the last."""
        if step <= self.warm_up:
            return self.peak * step / self.warm_up
        done = (step - self.warm_up) / (len(self.plan) + 1 - self.warm_up)
        return self.peak * 0.5 * (1 + math.cos(math.pi * done))

    def active(self, step: int) -> bool:
        return not self.stopped and step <= len(self.plan)

    def note_values(self, epoch: int, owners: Sequence[str], values: Sequence[float]) -> None:
        """Add what contributors were worth to their values of the epoch."""
        of_epoch = self.values[epoch]
        for owner, value in zip(owners, values, strict=True):
            of_epoch[owner] = of_epoch.get(owner, 0.0) + value

    def segment(self, step: int, every: int) -> int:
        """Steps of the segment that begins with this step, 0 if none does. With held-out rows none crosses an epoch's end."""
        whole = self.steps_an_epoch if self.held_out else len(self.plan)
        gone = (step - 1) % whole
        return 0 if gone % every else min(every, whole - gone)


def length_bucketed(lengths: Sequence[int], size: int, epochs: int, seed: int) -> list[list[int]]:
    """Row numbers of every step of all epochs: rows of like length together, so that little is padded, in random order.

    The order of batches depends on their number and the seed alone, so groups of one size meet with like lengths.

    Args:
        lengths: Tokens of each row, shape (n,).
        size: Rows of a step, at least 1; the last step of a pool may have fewer.
        epochs: Passes over all rows, at least 1.

    Returns:
        A list a step: ``epochs`` times ceil(n / size) steps or a few more, every row once an epoch.
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


def portions(lengths: Sequence[Sequence[int]], tokens: int) -> Iterator[tuple[range, slice]]:
    """Adapters and rows of each pass, so that none has more than ``tokens`` in its rectangle where a single row allows it.

    Args:
        lengths: Tokens of every row of every adapter.
        tokens: Most tokens of a pass, padding counted, at least 1.

    Yields:
        Consecutive adapters and, of each of them, the rows of this pass; every row of every adapter once.
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


def run_of(texts: TextFormat, group: Demonstrations, config: CandidateConfig, seed: int, held_out_seed: int) -> Run:
    """The run of one group under one seed, before its first step.

    Args:
        texts: In what form the base reads and writes.
        seed: Of the order of batches; ``held_out_seed``: of which rows only measure, the same for all seeds of a group.
    """
    rows = [texts.row(*pair, config.max_tokens) for pair in group.pairs]
    measuring = min(round(config.held_out * len(rows)), len(rows) - 1)
    order = np.random.default_rng((held_out_seed, 3)).permutation(len(rows))
    held_out, training = set(order[:measuring].tolist()), sorted(order[measuring:].tolist())
    plan = length_bucketed([len(rows[row].ids) for row in training], config.batch_size, config.epochs, seed)
    return Run(
        rows=[rows[row] for row in training],
        owners=[group.contributors[row] for row in training],
        held_out=[rows[row] for row in sorted(held_out)],
        plan=plan,
        steps_an_epoch=len(plan) // config.epochs,
        warm_up=max(1, round(WARM_UP_SHARE * len(plan))),
        peak=config.learning_rate if group.learning_rate is None else group.learning_rate,
        values=[{} for _ in range(config.epochs)],
    )


def labelled(row: Tokens) -> int:
    """Tokens of a row that are predicted: its response, but no first token."""
    return len(row.ids) - max(row.prompt_length, 1)


def result_of(runs: Sequence[Run], seconds: float, memory: float, *, valued: bool) -> CandidateResult:
    """Of a candidate, from its group's runs under all seeds; values of epochs that early stopping undid do not count.

    Args:
        runs: At least one; the first one's adapter is the candidate.
        seconds, memory: Of the whole pass: wall time in s, peak memory in MiB.
        valued: Whether contributors were valued; else ``values`` is empty.
    """
    first = runs[0]
    values = []
    for run in runs if valued else ():
        kept = run.values[: run.best_epoch or None] if run.held_out else run.values
        total = dict.fromkeys(run.owners, 0.0)
        for of_epoch in kept:
            for owner, value in of_epoch.items():
                total[owner] += value if math.isfinite(value) else 0.0
        values.append(total)
    epoch = first.steps_an_epoch
    return CandidateResult(
        first_loss=float(np.mean(first.losses[:epoch])) if first.losses else math.nan,
        last_loss=float(np.mean(first.losses[-epoch:])) if first.losses else math.nan,
        held_out_loss=first.best if first.held_out else math.nan,
        steps=len(first.losses),
        tokens=sum(labelled(first.rows[row]) for rows in first.plan[: len(first.losses)] for row in rows),
        seconds=seconds,
        peak_memory=memory,
        values=tuple(values),
        stopped=first.not_finite,
    )
