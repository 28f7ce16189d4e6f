"""What every grouping takes and gives, and the sizes of groups.

Belongs here: the protocol, its data, and what members share. Does not belong here: points and estimates themselves (see
``estimates``), and training (see ``resources.training``).
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.families import Member

LEAST_EXPLORATION = 0.4
"""Probability of a random split that ε-greedy never goes below."""


@dataclass(frozen=True)
class Entrants:
    """The n contributors of a round who are grouped, and the keys that groupings sort by.

    Attributes:
        keys: (n,), finite: points or estimates so far, more is better.
        groups: J, how many candidates are trained.
        round_no: Counted from 1, of ``rounds`` that are planned.
        deviation: (n,), a draw from the posterior of the keys less its mean; zero where nothing is drawn.
        small: Size of all groups but one, in equal shares; see ``group_sizes``.
        random_rounds: Rounds at the start that explore in any case.
        centre: Share of the crowd that trained the last winner of nested candidates; a half before there was one.

    Raises:
        ValueError: fewer contributors than groups or than 1, numbers that are not finite, or rounds that do not count from 1.
    """

    keys: NDArray[np.float64]
    groups: int
    round_no: int = 1
    rounds: int = 1
    deviation: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    small: float = 1.0
    random_rounds: int = 0
    centre: float = 0.5

    def __post_init__(self) -> None:
        keys = np.asarray(self.keys, dtype=np.float64)
        deviation = np.asarray(self.deviation, dtype=np.float64)
        deviation = deviation if deviation.size else np.zeros(keys.shape)
        if keys.ndim != 1 or not np.isfinite(keys).all():
            raise ValueError("keys must be one finite number for each contributor")
        if deviation.shape != keys.shape or not np.isfinite(deviation).all():
            raise ValueError("deviation must be one finite number for each contributor")
        check_sizes(keys.size, self.groups)
        exploration_probability(self.round_no, self.rounds)
        if not 0.0 < self.centre <= 1.0:
            raise ValueError(f"centre is a share of the crowd in (0, 1], got {self.centre}")
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "deviation", deviation)

    @property
    def exploration(self) -> float:
        """Probability of an exploring round."""
        return 1.0 if self.round_no <= self.random_rounds else exploration_probability(self.round_no, self.rounds)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(J,), how many contributors each group gets."""
        if self.small == 1.0:
            return equal_sizes(self.keys.size, self.groups)
        return group_sizes(self.keys.size, self.groups, small=self.small)


class Grouping(Member, Protocol):
    """Who trains which candidate.

    partition: Whether everybody trains exactly one candidate; otherwise candidates are nested, each trained by the members of
        those before it and some more, and whoever is in none is benched for the round.
    remembers: Whether candidates learn from what their members sent in earlier rounds, too.
    """

    @property
    def partition(self) -> bool: ...
    @property
    def remembers(self) -> bool: ...

    def assign(self, entrants: Entrants, rng: np.random.Generator) -> NDArray[np.int64]:
        """Index (n,) of the first candidate that each contributor trains, -1 for who is benched.

        Guarantees: candidates 0..k-1 for some k >= 1, k = J for a partition, each with a member that no earlier one has; the same
        generator state gives the same groups.
        """
        ...


def members_of(first: NDArray[np.int64], *, partition: bool) -> NDArray[np.bool_]:
    """Who trains which candidate, (k, n), from what ``Grouping.assign`` gives.

    Example:
        >>> import numpy as np
        >>> members_of(np.array([0, 1, 0]), partition=True).astype(int).tolist()
        [[1, 0, 1], [0, 1, 0]]
    """
    first = np.asarray(first, dtype=np.int64)
    candidate = np.arange(int(first.max(initial=-1)) + 1)[:, None]
    members: NDArray[np.bool_] = (first == candidate) if partition else (first >= 0) & (first <= candidate)
    return members


def exploration_probability(round_no: int, rounds: int) -> float:
    """Probability that ε-greedy splits at random in round ``round_no`` of ``rounds``.

    Formula: max(0.4, 1 - t / T). Range [0.4, 1); rounds past the plan stay at 0.4.

    Raises ValueError unless ``round_no >= 1`` and ``rounds >= 1``.

    Example:
        >>> exploration_probability(1, 4)
        0.75
    """
    if round_no < 1 or rounds < 1:
        raise ValueError(f"rounds count from 1, got round_no={round_no} of rounds={rounds}")
    return max(LEAST_EXPLORATION, 1.0 - round_no / rounds)


def group_sizes(contributors: int, groups: int, *, small: float = 0.25, smallest: int = 2) -> NDArray[np.int64]:
    """Sizes of the groups: J - 1 of them ``small`` times an equal share, and one group of everybody else.

    A member of a small group moves its candidate further, so that the tournament tells contributors apart with fewer
    rounds, and the best of several small groups lies further from the average than the best of several large ones. With
    n contributors and shares 1/m, the information on a member grows with 1/m^2 while only m/n of the rounds bring it.

    Args:
        contributors: n.
        groups: J, 1..n.
        small: in (0, 1]; 1 gives sizes that differ by at most one.
        smallest: least size of a small group, as far as contributors suffice; at least 1.

    Returns:
        shape (J,), every size at least 1, sum n, smaller groups first.

    Raises:
        ValueError: ``small`` outside (0, 1], ``smallest < 1``, ``groups < 1`` or fewer contributors than groups.

    Source: this project; measured in docs/reproduction.md.

    Example:
        >>> group_sizes(20, 4).tolist()
        [2, 2, 2, 14]
    """
    check_sizes(contributors, groups)
    if not 0.0 < small <= 1.0 or smallest < 1:
        raise ValueError(f"small must lie in (0, 1] and smallest be at least 1, got {small} and {smallest}")
    size = max(smallest, round(small * contributors / groups))
    if size * groups >= contributors:
        return np.sort(equal_sizes(contributors, groups))
    return np.array([size] * (groups - 1) + [contributors - size * (groups - 1)], dtype=np.int64)


def check_sizes(contributors: int, groups: int) -> None:
    """Raises ValueError where so many groups cannot be filled.

    Example:
        >>> check_sizes(4, 2)
    """
    if groups < 1 or contributors < groups:
        raise ValueError(
            f"{contributors} contributors cannot fill {groups} groups: lower the number of groups or wait for more"
        )


def equal_sizes(contributors: int, groups: int) -> NDArray[np.int64]:
    """Sizes (J,) that differ by at most one.

    Example:
        >>> equal_sizes(7, 3).tolist()
        [3, 2, 2]
    """
    sizes: NDArray[np.int64] = np.bincount(np.arange(contributors) * groups // contributors, minlength=groups)
    return sizes


def cut(row: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group of each contributor when ``row`` is cut into pieces of the given sizes.

    Example:
        >>> import numpy as np
        >>> cut(np.array([2, 0, 1]), np.array([1, 2])).tolist()
        [1, 1, 0]
    """
    group = np.empty(row.size, dtype=np.int64)
    group[row] = np.repeat(np.arange(len(sizes)), sizes)
    return group


def sorted_by(key: NDArray[np.float64], shuffled: NDArray[np.int64]) -> NDArray[np.int64]:
    """Contributors by ``key``, most first; equal ones as ``shuffled`` has them, so that row order never decides.

    Example:
        >>> import numpy as np
        >>> sorted_by(np.array([0.1, 0.9]), np.array([0, 1])).tolist()
        [1, 0]
    """
    ordered: NDArray[np.int64] = shuffled[np.argsort(-key[shuffled], kind="stable")]
    return ordered
