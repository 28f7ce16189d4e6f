"""What every points scheme takes and gives: the tournament of many rounds as arrays, what it says of each contributor, pay.

Belongs here: the protocol, its data, and what members share. Does not belong here: reading a tournament from tables (see
``crowd_assets.round.tournament``), the rule of pay (see ``payouts``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.estimates import Reliability, value_reliability
from crowd_assets.mechanisms.families import Member
from crowd_assets.mechanisms.payouts import Payouts, PayRules, Slope, epoch_payouts


@dataclass(frozen=True)
class Tournament:
    """T rounds of candidates and who trained them. M candidates, N contributors, d dimensions of Φ.

    Attributes:
        contributors: (N,) ids, sorted.
        round_ids: (T,), in order.
        shares: (M, N): a member's share of its candidate's demonstrations, as a candidate learns from each of them alike.
        values: (M,), minus the target distance, with ``standard_errors`` (M,).
        embeddings: (M, d), mean of what each candidate wrote.
        round_index: (M,), values 0..T-1.
        bases: (T, d), mean of what each round's base wrote.
        gains: (T,), by how much the round's model came closer to the target, on a fresh sample, with ``gain_errors`` (T,).
        improved: (T,), whether a candidate became the round's model.
        written: (N, d), mean of what each contributor wrote.
        demonstrations: (T, N), how many valid ones each contributor sent in each round.
    """

    contributors: tuple[str, ...]
    round_ids: tuple[str, ...]
    shares: NDArray[np.float64]
    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    embeddings: NDArray[np.float64]
    round_index: NDArray[np.int64]
    bases: NDArray[np.float64]
    gains: NDArray[np.float64]
    gain_errors: NDArray[np.float64]
    improved: NDArray[np.bool_]
    written: NDArray[np.float64]
    demonstrations: NDArray[np.float64]

    @property
    def participated(self) -> NDArray[np.bool_]:
        """(T, N): who sent demonstrations in which round."""
        return self.demonstrations > 0

    @property
    def reliability(self) -> Reliability:
        """How much of the difference between candidates is more than noise of their evaluation."""
        return value_reliability(self.values, self.standard_errors, self.round_index)


@dataclass(frozen=True)
class Standing:
    """What each contributor is estimated to add: ``estimates`` (N,) and ``standard_errors`` (N,) in target distance;
    ``slope`` as ``payouts.regression_points`` takes it; ``draw`` gives a draw (N,) from the posterior of what groups are formed
    by, less its mean, which is ``keys`` (N,)."""

    estimates: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    slope: Slope
    keys: NDArray[np.float64]
    draw: Callable[[np.random.Generator], NDArray[np.float64]]


@dataclass(frozen=True)
class Withheld:
    """Whose pay is withheld in an epoch of E rounds: ``copied`` (E, N), share of copies in what each sent; ``caught`` (N,), who was
    found cheating."""

    copied: NDArray[np.float64]
    caught: NDArray[np.bool_]


class PointsScheme(Member, Protocol):
    """What points go by.

    estimates_by: Name of the scheme whose estimates are shown and grouped by, its own as a rule.
    every_round: Whether each round is paid by itself; otherwise an epoch is, by estimates that each of its rounds restates.
    """

    @property
    def estimates_by(self) -> str: ...
    @property
    def every_round(self) -> bool: ...

    def standing(self, seen: Tournament, target: NDArray[np.float64], rng: np.random.Generator) -> Standing:
        """What the rounds so far say about each contributor; ``target`` (d,)."""
        ...

    def payouts(self, seen: Tournament, known: Standing, first: int, withheld: Withheld, rules: PayRules) -> Payouts:
        """Points of each contributor for each of the rounds from ``first`` on, (E, N)."""
        ...


def paid_by_estimates(seen: Tournament, known: Standing, first: int, withheld: Withheld, rules: PayRules) -> Payouts:
    """Payouts of the rounds from ``first`` on by the estimates of ``known``.

    Example:
        >>> import numpy as np
        >>> candidates = (np.eye(2), np.zeros(2), np.zeros(2), np.eye(2), np.zeros(2, int), np.zeros((1, 2)))
        >>> gained = {"gains": np.array([0.4]), "gain_errors": np.zeros(1), "improved": np.array([True])}
        >>> sent = {"written": np.eye(2), "demonstrations": np.array([[3.0, 1.0]])}
        >>> seen = Tournament(("ann", "bob"), ("r1",), *candidates, **gained, **sent)
        >>> known = Standing(np.array([0.1, -0.1]), np.zeros(2), 1.0, np.zeros(2), lambda rng: np.zeros(2))
        >>> withheld = Withheld(np.zeros((1, 2)), np.array([False, False]))
        >>> paid_by_estimates(seen, known, 0, withheld, PayRules()).points.round(6).tolist()
        [[0.3, 0.1]]
    """
    return epoch_payouts(
        known.estimates,
        known.slope,
        seen.participated[first:],
        seen.gains[first:],
        seen.gain_errors[first:],
        seen.demonstrations[first:],
        rules,
        copied=withheld.copied,
        rounds_taken_part=seen.participated.sum(axis=0),
        caught=withheld.caught,
    )
