"""What contributors are worth to a candidate while it trains (In-Run Data Shapley, Wang et al., arXiv 2406.11011).

Belongs here: what is asked for, and the sums along a path of steps. Does not belong here: passes over a model (see
``stacked``), the loop (see ``candidates``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resources.training.prompting import Prompt

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Valuation:
    """How contributor values are found.

    Attributes:
        pairs: Prompts and responses on which a lower loss is worth something.
        seeds: Runs of every group, each with its own initial adapter and order of rows; the first is the candidate.
        rows: Validation rows of one gradient: what values are worth depends on them most.
        every: Steps from one validation gradient to the next.
        order: 1: a step is worth what the gradient before it says. 2: what the gradients before and after say, each by how
            near the step is to it, which adds the curvature of the validation loss along the path; holds the gradient of
            each contributor who is in those steps.
    """

    pairs: Sequence[tuple[Prompt, str]]
    seeds: int = 2
    rows: int = 64
    every: int = 16
    order: int = 2


@dataclass
class Segment:
    """Steps between two validation gradients, of one adapter.

    The loss falls by the integral of its gradient along the path. Between ``start`` and the gradient at the end it is taken
    to change in proportion to the way gone, measured in learning rate: the trapezoidal rule, which is exact where the loss is
    quadratic, and whose cross terms between contributors are halved between them, as the Shapley value of a step does.

    Attributes:
        start: Validation gradient where the segment begins, (P,).
        length: Sum of the learning rates of its steps.
        epoch: Epoch in which it begins.
        values: By how much each contributor lowered the validation loss, as far as known.
    """

    start: "Tensor"
    length: float
    epoch: int
    values: dict[str, float] = field(default_factory=dict)
    _gone: float = 0.0
    _late: "dict[str, Tensor]" = field(default_factory=dict)

    def step(self, owners: Sequence[str], changes: "Tensor", rate: float) -> None:
        """Add a step.

        Args:
            owners: Distinct contributors.
            changes: By how much each one's gradient lowers the parameters in this step, (owners, P).
            rate: Learning rate of the step.
        """
        share = (self._gone + rate / 2) / self.length
        self._gone += rate
        for owner, change, product in zip(owners, changes, (changes @ self.start).tolist(), strict=False):
            self.values[owner] = self.values.get(owner, 0.0) + (1 - share) * product
            if owner in self._late:
                self._late[owner].add_(change, alpha=share)
            else:
                self._late[owner] = change * share

    def close(self, end: "Tensor") -> dict[str, float]:
        """Values of the whole segment, with the validation gradient where it ends, (P,)."""
        return {owner: value + float(self._late[owner] @ end) for owner, value in self.values.items()}
