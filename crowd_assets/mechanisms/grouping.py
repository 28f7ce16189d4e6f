"""Splitting the contributors of a round into the groups that train one candidate each.

Belongs here: the sizes of groups and the schemes that turn contributors and what is known of them into a group index each.
Does not belong here: points and estimates themselves (see ``points``), and training (see
``resources.models.trainer``).

Sources: Crowd-SFT (arXiv 2506.04063): random, epsilon-greedy and interleaved; Thompson, "On the likelihood that one
unknown probability exceeds another" (1933), and Russo et al., "A tutorial on Thompson sampling" (2018): posterior sampling.
"""

import numpy as np
from numpy.typing import NDArray

GROUPING_SCHEMES = ("random", "epsilon_greedy", "interleaved", "posterior_sampling")

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


def group_sizes(contributors: int, groups: int, *, small: float = 0.25, smallest: int = 2) -> NDArray[np.int64]:
    """Sizes of the groups: J - 1 of them ``small`` times an equal share, and one that takes everybody else.

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
    """
    _check_sizes(contributors, groups)
    if not 0.0 < small <= 1.0 or smallest < 1:
        raise ValueError(f"small must lie in (0, 1] and smallest be at least 1, got {small} and {smallest}")
    size = max(smallest, round(small * contributors / groups))
    if size * groups >= contributors:
        return np.sort(_equal_sizes(contributors, groups))
    return np.array([size] * (groups - 1) + [contributors - size * (groups - 1)], dtype=np.int64)


def assign_groups(
    scheme: str,
    points: NDArray[np.float64],
    groups: int,
    *,
    round_no: int,
    rounds: int,
    rng: np.random.Generator,
    random_rounds: int = 0,
    sizes: NDArray[np.int64] | None = None,
    deviation: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Group index of each contributor.

    * ``random``: permute the contributors and cut the row into J pieces.
    * ``epsilon_greedy``: with probability max(0.4, 1 - t/T) as ``random``; otherwise sort by points, most
      first, and cut the row into J pieces, so that group 0 holds the contributors with the most points.
    * ``interleaved``: sort by points, halve, shuffle each half, deal the upper and then the lower half to the
      groups in turn, so that every group gets its share of both halves.
    * ``posterior_sampling``: as ``epsilon_greedy``, with ``deviation`` added to the points, and in place of a random
      split one by ``deviation`` alone. So contributors are also told apart where the estimates do not know them yet.

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
        sizes: shape (J,), sum n, how many contributors each group gets; by default sizes that differ by at most one.
            See ``group_sizes``. ``interleaved`` has no use for it.
        deviation: shape (n,), finite: a draw from the posterior of the points less its mean; zero by default.

    Returns:
        shape (n,), values 0..J-1.

    Guarantees: a partition into J non-empty groups of the given sizes; the same generator state gives the same groups.

    Raises:
        ValueError: unknown scheme, ``groups < 1``, fewer contributors than groups, points that are not
            finite, rounds that do not count from 1, sizes that are no partition, or sizes given to ``interleaved``.

    Source: Crowd-SFT (arXiv 2506.04063), on grouping.
    """
    if scheme not in GROUPING_SCHEMES:
        raise ValueError(f"unknown grouping scheme {scheme!r}: choose one of {', '.join(GROUPING_SCHEMES)}")
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 1 or not np.isfinite(points).all():
        raise ValueError("points must be one finite number for each contributor")
    contributors = points.size
    _check_sizes(contributors, groups)
    if sizes is None:
        sizes = _equal_sizes(contributors, groups)
    elif scheme == "interleaved":
        raise ValueError("interleaved deals groups of equal size: leave sizes out or choose another scheme")
    if len(sizes) != groups or min(sizes) < 1 or sum(sizes) != contributors:
        raise ValueError(f"sizes {list(sizes)} do not split {contributors} contributors into {groups} groups")
    drawn = np.zeros(contributors) if deviation is None else np.asarray(deviation, dtype=np.float64)
    if drawn.shape != points.shape or not np.isfinite(drawn).all():
        raise ValueError("deviation must be one finite number for each contributor")
    exploration = exploration_probability(round_no, rounds)
    if round_no <= random_rounds:
        exploration = 1.0

    shuffled = rng.permutation(contributors)
    if scheme == "random":
        return _cut(shuffled, sizes)
    if scheme == "interleaved":
        by_points = shuffled[np.argsort(-points[shuffled], kind="stable")]
        upper = (contributors + 1) // 2
        dealt = np.concatenate([rng.permutation(by_points[:upper]), rng.permutation(by_points[upper:])])
        group = np.empty(contributors, dtype=np.int64)
        group[dealt] = np.arange(contributors) % groups
        return group
    key = drawn if scheme == "posterior_sampling" else np.zeros(contributors)
    if rng.random() >= exploration:
        key = key + points
    return _cut(shuffled[np.argsort(-key[shuffled], kind="stable")], sizes)


def _check_sizes(contributors: int, groups: int) -> None:
    if groups < 1 or contributors < groups:
        raise ValueError(
            f"{contributors} contributors cannot fill {groups} groups: lower the number of groups or wait for more"
        )


def _equal_sizes(contributors: int, groups: int) -> NDArray[np.int64]:
    sizes: NDArray[np.int64] = np.bincount(np.arange(contributors) * groups // contributors, minlength=groups)
    return sizes


def _cut(row: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group of each contributor when ``row`` is cut into pieces of the given sizes."""
    group = np.empty(row.size, dtype=np.int64)
    group[row] = np.repeat(np.arange(len(sizes)), sizes)
    return group
