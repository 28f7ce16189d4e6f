"""What every aggregate of labelers' reports has in common: what it knows of labelers, and one method that pools and learns.

Belongs here: the protocol, the state that a round stores, and what several members share. Does not belong here: any rule (see the
member's module).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.families import Member

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TRUTHFUL, ACCURATE, BASELINE = "truthful first", "accurate first", "baseline"
OUTCOMES, AGREEMENT, NOTHING = "outcomes", "agreement", "nothing"


@dataclass(frozen=True, slots=True)
class Known:
    """What an aggregate knows of N labelers: what a round reads before it pools and stores afterwards.

    ``weights`` (N,) positive, sum 1; ``cumulative_loss`` (N,) sum of quadratic losses over the ``slots_seen`` (N,) that each took part
    in; ``slots`` that taught; ``figures`` of the rule itself, a number or (N,) each, by name.
    """

    weights: Floats
    cumulative_loss: Floats
    slots_seen: Ints
    slots: int = 0
    figures: Mapping[str, float | Floats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pooled:
    """What T slots gave: ``known`` afterwards; ``aggregates`` (T,) in [0, 1], NaN where nobody reported; ``losses`` (T,) quadratic loss of
    each, NaN where there was no aggregate or no outcome."""

    known: Known
    aggregates: Floats
    losses: Floats


class Aggregate(Member, Protocol):
    """A rule that pools labelers' reports and learns whom to trust.

    first: ``truthful first`` or ``accurate first``, what a home chooses between; ``baseline`` for what is there to be compared with.
    learns_from: ``outcomes``, ``agreement`` of reports with each other, or ``nothing``.
    else_by_agreement: Whether agreement counts in a home in which nothing was realised yet.
    truthful_for: Motives for which truth is a best reply: ``myopic`` and ``forward_looking`` labelers want a high weight after the slot
        or over slots to come, ``steering`` ones the aggregate near their belief.
    """

    @property
    def first(self) -> str: ...
    @property
    def learns_from(self) -> str: ...
    @property
    def else_by_agreement(self) -> bool: ...
    @property
    def truthful_for(self) -> tuple[str, ...]: ...

    def run(
        self,
        known: Known,
        slot: Ints,
        labeler: Ints,
        report: Floats,
        outcomes: Floats,
        *,
        entry: float,
        rng: np.random.Generator,
    ) -> Pooled:
        """Pool and learn from T slots in their order: each is pooled with what was known before, then its outcome teaches.

        Args:
            known: before the first slot, of N labelers, newcomers included (see ``with_newcomers``).
            slot: shape (m,), values 0..T-1, never falling; ``labeler``: shape (m,), values 0..N-1, nobody twice in a slot.
            report: shape (m,), in [0, 1]; ``outcomes``: shape (T,), in [0, 1], NaN where none was realised.
            entry: in (0, 1], what a new name is worth, as a share of the mean one.
            rng: source of whom a rule follows, where it draws.
        """
        ...


@runtime_checkable
class CountsParts(Protocol):
    """A rule that can count a report for a part of its labeler's weight: see ``alike``."""

    def with_parts(self, parts: Floats) -> Self:
        """The rule for the next ``run``, in which report number n counts ``parts[n]`` times, shape (m,), above 0. What is learnt of
        labelers does not depend on parts."""
        ...


def nobody_known(labelers: int) -> Known:
    """N labelers nobody knows yet: weights 1/N. Raises ValueError for fewer than one labeler.

    Example:
        >>> nobody_known(4).weights.tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    if labelers < 1:
        raise ValueError(f"a crowd needs at least one labeler, got {labelers}")
    return Known(np.full(labelers, 1.0 / labelers), np.zeros(labelers), np.zeros(labelers, dtype=np.int64))


def with_newcomers(known: Known, count: int, *, entry: float = 1.0) -> Known:
    """``known`` with ``count`` more labelers at the end, each entering with ``entry`` of the mean weight and nothing on record.

    Raises:
        ValueError: ``count`` is negative, or ``entry`` outside (0, 1].

    Example:
        >>> with_newcomers(nobody_known(2), 1, entry=0.5).weights.round(3).tolist()
        [0.4, 0.4, 0.2]
    """
    if count < 0 or not 0.0 < entry <= 1.0:
        raise ValueError(f"expected newcomers and entry in (0, 1], got {count} and {entry}")
    if not count:
        return known
    weights = np.concatenate([known.weights, np.full(count, entry * known.weights.mean())])
    return Known(
        weights=as_shares(weights),
        cumulative_loss=np.concatenate([known.cumulative_loss, np.zeros(count)]),
        slots_seen=np.concatenate([known.slots_seen, np.zeros(count, dtype=np.int64)]),
        slots=known.slots,
        figures={
            name: np.concatenate([figure, np.zeros(count)]) if isinstance(figure, np.ndarray) else figure
            for name, figure in known.figures.items()
        },
    )


def figure_of(known: Known, name: str) -> Floats:
    """A rule's figure of each labeler (N,), 0 where it has none yet.

    Example:
        >>> import numpy as np
        >>> known = replace(nobody_known(2), figures={"wins": np.array([3.0, 1.0])})
        >>> figure_of(known, "wins").tolist(), figure_of(known, "trust").tolist()
        ([3.0, 1.0], [0.0, 0.0])
    """
    figure = known.figures.get(name)
    return np.asarray(figure, dtype=np.float64) if isinstance(figure, np.ndarray) else np.zeros(known.weights.size)


def scalar_of(known: Known, name: str, default: float = 0.0) -> float:
    """A rule's number, ``default`` before it has one.

    Example:
        >>> known = replace(nobody_known(2), figures={"shrinkage": 4.0})
        >>> scalar_of(known, "shrinkage"), scalar_of(nobody_known(2), "shrinkage", default=1.0)
        (4.0, 1.0)
    """
    figure = known.figures.get(name, default)
    return default if isinstance(figure, np.ndarray) else float(figure)


def with_losses(known: Known, slot: Ints, labeler: Ints, report: Floats, outcomes: Floats) -> Known:
    """``known`` with the losses, slots seen and slots that these outcomes add; weights and figures stay.

    Example:
        >>> import numpy as np
        >>> slot, labeler, report = np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([1.0, 0.5, 0.0])
        >>> found = with_losses(nobody_known(2), slot, labeler, report, outcomes=np.array([1.0, np.nan]))
        >>> found.cumulative_loss.tolist(), found.slots_seen.tolist(), found.slots
        ([0.0, 0.25], [1, 1], 1)
    """
    losses = np.square(report - outcomes[slot])
    counted = ~np.isnan(losses)
    n = known.weights.size
    heard = np.bincount(slot, minlength=outcomes.size) > 0
    return replace(
        known,
        cumulative_loss=known.cumulative_loss + np.bincount(labeler[counted], losses[counted], minlength=n),
        slots_seen=known.slots_seen + np.bincount(labeler[counted], minlength=n),
        slots=known.slots + int((heard & ~np.isnan(outcomes)).sum()),
    )


def as_shares(weights: Floats) -> Floats:
    """Weights that sum to one, none below the smallest normal float.

    Example:
        >>> import numpy as np
        >>> as_shares(np.array([1.0, 3.0])).tolist()
        [0.25, 0.75]
    """
    weights = np.maximum(weights, np.finfo(np.float64).tiny)
    shares: Floats = weights / weights.sum()
    return shares


def shares_of_odds(odds: Floats) -> Floats:
    """Weights (N,) in proportion to log-odds of accuracy, none for who is no better than a coin; equal where nobody is better.

    Example:
        >>> import numpy as np
        >>> shares_of_odds(np.array([1.0, 3.0, -2.0])).round(6).tolist()
        [0.25, 0.75, 0.0]
    """
    above = np.maximum(odds, 0.0)
    return as_shares(above if above.any() else np.ones(odds.size))


def reports_as_table(slot: Ints, labeler: Ints, report: Floats, slots: int, labelers: int) -> Floats:
    """Reports (T, N), NaN where a labeler did not report.

    Example:
        >>> import numpy as np
        >>> reports_as_table(np.array([0, 1]), np.array([1, 0]), np.array([0.9, 0.2]), slots=2, labelers=2).tolist()
        [[nan, 0.9], [0.2, nan]]
    """
    table = np.full((slots, labelers), np.nan)
    table[slot, labeler] = report
    return table
