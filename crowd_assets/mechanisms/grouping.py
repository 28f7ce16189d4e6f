"""Splitting the contributors of a round into the groups that train one candidate each.

Belongs here: the schemes that turn contributors and what is known of them into a group index each.
Does not belong here: points and estimates themselves (see ``points``), and training (see
``resources.trainer``).

Source: Crowd-SFT (arXiv 2506.04063): random, epsilon-greedy and interleaved.
"""

import numpy as np
from numpy.typing import NDArray

GROUPING_SCHEMES = ("random", "epsilon_greedy", "interleaved")

LEAST_EXPLORATION = 0.4
"""Probability of a random split that epsilon-greedy never goes below."""


def exploration_probability(round_no: int, rounds: int) -> float:
    """Probability that epsilon-greedy splits at random in round ``round_no`` of ``rounds``.

    Formula: max(0.4, 1 - t / T). Range [0.4, 1); rounds past the plan stay at 0.4.

    Raises ValueError unless ``round_no >= 1`` and ``rounds >= 1``.
    """
    if round_no < 1 or rounds < 1:
        raise ValueError(f"rounds count from 1, got round_no={round_no} of rounds={rounds}")
    return max(LEAST_EXPLORATION, 1.0 - round_no / rounds)


def assign_groups(
    scheme: str,
    points: NDArray[np.float64],
    groups: int,
    *,
    round_no: int,
    rounds: int,
    rng: np.random.Generator,
    random_rounds: int = 0,
) -> NDArray[np.int64]:
    """Group index of each contributor.

    * ``random``: permute the contributors and cut the row into J pieces.
    * ``epsilon_greedy``: with probability max(0.4, 1 - t/T) as ``random``; otherwise sort by points, most
      first, and cut the row into J pieces, so that group 0 holds the contributors with the most points.
    * ``interleaved``: sort by points, halve, shuffle each half, deal the upper and then the lower half to the
      groups in turn, so that every group gets its share of both halves.

    Equal points are ordered at random, so that row order never decides who is grouped with whom.

    Args:
        scheme: one of ``GROUPING_SCHEMES``.
        points: shape (n,), finite; points so far, or any figure of the same meaning such as an estimated
            value.
        groups: J, the number of groups.
        round_no: t, counted from 1.
        rounds: T, the number of rounds that are planned; only ``epsilon_greedy`` uses it.
        rng: source of the shuffles.
        random_rounds: rounds at the start that ``epsilon_greedy`` always splits at random, so that estimates have
            something to go by.

    Returns:
        shape (n,), values 0..J-1.

    Guarantees: a partition into J non-empty groups whose sizes differ by at most one; the same generator
    state gives the same groups.

    Raises:
        ValueError: unknown scheme, ``groups < 1``, fewer contributors than groups, points that are not
            finite, or rounds that do not count from 1.

    Source: Crowd-SFT (arXiv 2506.04063), on grouping.
    """
    if scheme not in GROUPING_SCHEMES:
        raise ValueError(f"unknown grouping scheme {scheme!r}: choose one of {', '.join(GROUPING_SCHEMES)}")
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 1 or not np.isfinite(points).all():
        raise ValueError("points must be one finite number for each contributor")
    contributors = points.size
    if groups < 1 or contributors < groups:
        raise ValueError(
            f"{contributors} contributors cannot fill {groups} groups: lower the number of groups or wait for more"
        )
    exploration = exploration_probability(round_no, rounds)
    if round_no <= random_rounds:
        exploration = 1.0

    shuffled = rng.permutation(contributors)
    if scheme == "random" or (scheme == "epsilon_greedy" and rng.random() < exploration):
        return _cut(shuffled, groups)
    by_points = shuffled[np.argsort(-points[shuffled], kind="stable")]
    if scheme == "epsilon_greedy":
        return _cut(by_points, groups)
    upper = (contributors + 1) // 2
    dealt = np.concatenate([rng.permutation(by_points[:upper]), rng.permutation(by_points[upper:])])
    group = np.empty(contributors, dtype=np.int64)
    group[dealt] = np.arange(contributors) % groups
    return group


def _cut(row: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """Group of each contributor when ``row`` is cut into ``groups`` pieces of (nearly) equal length."""
    group = np.empty(row.size, dtype=np.int64)
    group[row] = np.arange(row.size) * groups // row.size
    return group
