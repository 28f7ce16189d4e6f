"""Noisy Bradley-Terry: scores of items from comparisons by people who may be careless or prefer a side.

Belongs here: this consensus, which knows which items a slot compares. Does not belong here: those that know slots alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from crowd_assets.mechanisms.labelers.votes import Floats, Ints, checked, expit

RIDGE = 0.1


@dataclass(frozen=True, slots=True)
class NoisyBradleyTerry:
    """``probability_a`` (T,) that A is better, for every slot; ``score`` (K,) of the items, mean 0; ``attention`` (N,) in (0, 1), the
    chance that a labeler looked; ``leaning`` (N,) in (0, 1), its chance of A where it did not; ``converged``."""

    probability_a: Floats
    score: Floats
    attention: Floats
    leaning: Floats
    converged: bool


def noisy_bradley_terry(
    first: Ints,
    second: Ints,
    slot: Ints,
    labeler: Ints,
    report: Floats,
    *,
    items: int,
    labelers: int,
    iterations: int = 200,
) -> NoisyBradleyTerry:
    """Scores s, attention and leaning of every labeler by penalised maximum likelihood.

    Labeler k says A of the items (i, j) with probability  f_k sigma(s_i - s_j) + (1 - f_k) sigma(q_k),  f_k = sigma(g_k); a report r
    counts as r of a vote for A. Penalty: 0.1 / 2 times the squares of s, q and of g less 1. Every slot borrows from others that share
    an item with it, so that a slot whose judges are all wrong can be set right by them.

    Args:
        first: shape (T,), values 0..K-1, the item that is A in a slot; ``second``: B.
        slot, labeler, report: as in ``votes.checked``.
        items: K; ``labelers``: N; ``iterations``: most of L-BFGS.

    Raises:
        ValueError: see ``votes.checked``, or items that do not match the slots.

    Source: Chen, Bennett, Collins-Thompson & Horvitz, "Pairwise ranking aggregation in a crowdsourced setting" (WSDM 2013); the leaning:
    Bugakova, Fedorova, Gusev & Drutsa, "Aggregation of pairwise comparisons with reduction of biases" (2019).

    Example:
        >>> import numpy as np
        >>> first, second = np.array([0, 1, 0]), np.array([1, 2, 2])
        >>> slot, labeler = np.repeat(np.arange(3), 2), np.tile([0, 1], 3)
        >>> found = noisy_bradley_terry(first, second, slot, labeler, np.ones(6), items=3, labelers=2)
        >>> np.argsort(-found.score).tolist(), (found.probability_a > 0.5).tolist()
        ([0, 1, 2], [True, True, True])
    """
    first, second = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"expected two items a slot, got {first.shape} and {second.shape}")
    if first.size and (min(first.min(), second.min()) < 0 or max(first.max(), second.max()) >= items):
        raise ValueError(f"items must lie in 0..{items - 1}")
    slot, labeler, report = checked(slot, labeler, report, first.size, labelers)
    one, other = first[slot], second[slot]

    def lost(at: Floats) -> tuple[float, Floats]:
        score, attention, leaning = at[:items], expit(at[items : items + labelers]), expit(at[items + labelers :])
        better = expit(score[one] - score[other])
        looked, leans = attention[labeler], leaning[labeler]
        chance = np.clip(looked * better + (1 - looked) * leans, 1e-12, 1 - 1e-12)
        by_chance = report / chance - (1 - report) / (1 - chance)
        of_score = by_chance * looked * better * (1 - better)
        slope = np.concatenate(
            [
                np.bincount(one, of_score, minlength=items) - np.bincount(other, of_score, minlength=items),
                np.bincount(labeler, by_chance * (better - leans) * looked * (1 - looked), minlength=labelers),
                np.bincount(labeler, by_chance * (1 - looked) * leans * (1 - leans), minlength=labelers),
            ]
        )
        away = at.copy()
        away[items : items + labelers] -= 1.0
        value = float(report @ np.log(chance) + (1 - report) @ np.log1p(-chance))
        return RIDGE / 2 * float(away @ away) - value, RIDGE * away - slope

    start = np.zeros(items + 2 * labelers)
    start[items : items + labelers] = 1.0
    minimum = minimize(lost, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    score = minimum.x[:items] - (minimum.x[:items].mean() if items else 0.0)
    return NoisyBradleyTerry(
        probability_a=expit(score[first] - score[second]),
        score=score,
        attention=expit(minimum.x[items : items + labelers]),
        leaning=expit(minimum.x[items + labelers :]),
        converged=bool(minimum.success),
    )
