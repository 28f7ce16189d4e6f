"""What a judgement earns: a linear contract on a proper score where something was realised, peer prediction where nothing was.

Belongs here: scores of judgements, what of a budget they earn, and what a balance below zero keeps of it. Does not belong here: entries
of the ledger (see ``ledger``), scores that need no outcome (see ``labelers.peer``), whose reports count (see ``labelers``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.peer import correlated_agreement
from crowd_assets.mechanisms.labelers.votes import shares_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OUTCOME, AGREEMENT = "outcome", "agreement"
BASES = (OUTCOME, AGREEMENT)
"""What pay rests on: outcomes that were realised, or agreement with peers."""


@dataclass(frozen=True, slots=True)
class Earned:
    """What each of N labelers earned with m scored judgements.

    ``score`` (N,) sum over its scored reports, each at most its share of a judgement, 0 for what knowing nothing scores; ``scored`` (N,)
    how many reports; ``earned`` (N,) in credits, score times the rate; ``rate`` credits a point of score, the budget over all scored
    judgements, which are the sum of the reports' shares: a ranking of K answers is one, and K(K-1)/2 reports.
    """

    score: Floats
    scored: Ints
    earned: Floats
    rate: float


@dataclass(frozen=True, slots=True)
class Paid:
    """What is paid out of what was earned: ``paid`` (N,) at least 0, ``balance`` (N,) at most 0, what later earnings must make up for."""

    paid: Floats
    balance: Floats


def outcome_scores(report: Floats, outcome: Floats, baseline: float | Floats = 0.5) -> Floats:
    """Score of each judgement against what was realised: how much nearer it is than what knowing nothing says.

        ((b - y)^2 - (r - y)^2) / max(b, 1 - b)^2,   b the baseline, the crowd's mean outcome on other comparisons.

    Args:
        report: shape (m,), r in [0, 1]; ``outcome``: shape (m,), y in [0, 1].
        baseline: in [0, 1], a number or shape (m,); must not depend on the reports that are scored.

    Returns:
        shape (m,), at most 1, at least -3 for b = 1/2.

    Guarantees: strictly proper, its expectation is largest for r = the belief; at least 0 in expectation for who tells a calibrated
    belief, and at most 0 for whoever reports without looking: a constant, a coin, or a number drawn at random.

    Raises:
        ValueError: shapes that do not match, or a number outside [0, 1].

    Source: Brier (1950); a linear contract on a score against a reference: "Principal-agent design for annotation" (arXiv 2502.06387,
    2505.19134), whose gap to the best contract with n checks is Theta(1 / (n log n)).

    Example:
        >>> import numpy as np
        >>> outcome_scores(np.array([1.0, 0.5, 0.0]), np.array([1.0, 1.0, 1.0])).tolist()
        [1.0, 0.0, -3.0]
    """
    report, outcome = np.asarray(report, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    base = np.asarray(baseline, dtype=np.float64)
    if report.shape != outcome.shape or base.shape not in ((), report.shape):
        raise ValueError(f"expected an outcome a report, got {report.shape}, {outcome.shape} and baseline {base.shape}")
    for name, values in (("reports", report), ("outcomes", outcome), ("the baseline", base)):
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} must lie in [0, 1]")
    scores: Floats = (np.square(base - outcome) - np.square(report - outcome)) / np.square(np.maximum(base, 1 - base))
    return scores


def earned_by_outcome(
    labeler: Ints,
    report: Floats,
    outcome: Floats,
    *,
    labelers: int,
    budget: float,
    baseline: float | Floats = 0.5,
    share: Floats | None = None,
) -> Earned:
    """Pay of judgements on comparisons with an outcome: each report earns its score times its share times budget / m, m the sum of
    the shares, which is the number of these judgements.

    Args:
        labeler: shape (m,), values 0..N-1; ``report``, ``outcome``, ``baseline``: as in ``outcome_scores``.
        labelers: N.
        budget: credits, at least 0, for all m.
        share: shape (m,), in (0, 1], which part of one judgement a report is; None: 1 each.

    Guarantees:
        * truth is a dominant strategy for whoever is paid what it earns: pay is affine in a strictly proper score, and nobody else's
          report is in it;
        * linear, so the same judgements earn the same under one name or several, and a judgement less or more moves no other's score;
        * copying what others said of other comparisons, answering at random and answering by a habit earn at most 0 in expectation;
        * all that is earned above zero sums to at most the budget.

    Where few comparisons get an outcome, drawn after the judgements came in so that nobody can tell which, the same holds: each judgement
    earns its score with that chance.

    Raises:
        ValueError: as ``outcome_scores``, a labeler out of range, or a negative budget.

    Example:
        >>> import numpy as np
        >>> found = earned_by_outcome(np.array([0, 1]), np.array([0.9, 0.5]), np.ones(2), labelers=2, budget=1.0)
        >>> found
        Earned(score=array([0.96, 0.  ]), scored=array([1, 1]), earned=array([0.48, 0.  ]), rate=0.5)
    """
    labeler = _labelers(labeler, labelers, budget)
    scores = outcome_scores(report, outcome, baseline)
    if labeler.shape != scores.shape:
        raise ValueError(f"expected a labeler a report, got {labeler.shape} and {scores.shape}")
    share = shares_of(share, scores)
    summed = np.bincount(labeler, scores * share, minlength=labelers).astype(np.float64)
    return _earned(summed, np.bincount(labeler, minlength=labelers), budget, float(share.sum()))


def earned_by_agreement(
    slot: Ints,
    labeler: Ints,
    report: Floats,
    *,
    slots: int,
    labelers: int,
    budget: float,
    ring: Ints | None = None,
    share: Floats | None = None,
) -> Earned:
    """Pay of judgements where nothing was realised: correlated agreement with peers, times the judgements it rests on.

    Args:
        slot, labeler, report, slots, labelers, ring, share: as in ``labelers.peer.correlated_agreement``.
        budget: credits, at least 0, for all judgements that have a peer.

    Guarantees: as ``correlated_agreement``, truth is a best reply to truth, and pay moves with nobody's confidence; all that is earned
    above zero sums to at most the budget. People who agree beforehand on what to say can gain; names that are known to act as one
    cannot.

    Raises:
        ValueError: as ``correlated_agreement``, or a negative budget.

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.repeat(np.arange(4), 2), np.tile([0, 1], 4)
        >>> report = np.array([0.9, 0.8, 0.1, 0.2, 0.9, 0.9, 0.2, 0.1])
        >>> found = earned_by_agreement(slot, labeler, report, slots=4, labelers=2, budget=1.0)
        >>> found
        Earned(score=array([4., 4.]), scored=array([4, 4]), earned=array([0.5, 0.5]), rate=0.125)
    """
    labeler = _labelers(labeler, labelers, budget)
    agreement = correlated_agreement(slot, labeler, report, slots=slots, labelers=labelers, ring=ring, share=share)
    enough = agreement.tasks > 1
    judgements = np.where(enough, agreement.judgements, 0.0)
    return _earned(agreement.score * judgements, np.where(enough, agreement.tasks, 0), budget, float(judgements.sum()))


def paid_out(balance: Floats, earned: Floats) -> Paid:
    """What is paid of earnings, when what was lost before must be made up first.

    A labeler cannot be asked for money: what it lost stays on its balance and is taken from what it earns later, so that over time a
    careless labeler is paid the sum of its scores as far as that is positive, and not its lucky rounds alone.

    Args:
        balance: shape (N,), at most 0, from earlier rounds; ``earned``: shape (N,).

    Guarantees: paid + new balance = balance + earned; never more than what was earned above zero.

    Raises:
        ValueError: shapes that do not match, or a balance above 0.

    Example:
        >>> import numpy as np
        >>> paid_out(np.array([-1.0, 0.0]), np.array([3.0, -2.0]))
        Paid(paid=array([2., 0.]), balance=array([ 0., -2.]))
    """
    balance, earned = np.asarray(balance, dtype=np.float64), np.asarray(earned, dtype=np.float64)
    if balance.shape != earned.shape:
        raise ValueError(f"expected earnings of each balance, got {earned.shape} and {balance.shape}")
    if (balance > 0).any():
        raise ValueError("a balance is at most 0: what is above was paid")
    total = balance + earned
    return Paid(np.maximum(total, 0.0), np.minimum(total, 0.0))


def _labelers(labeler: Ints, labelers: int, budget: float) -> Ints:
    labeler = np.asarray(labeler, dtype=np.int64)
    if not (np.isfinite(budget) and budget >= 0):
        raise ValueError(f"a budget is at least 0, got {budget}")
    if labeler.size and (labeler.min() < 0 or labeler.max() >= labelers):
        raise ValueError(f"labelers must lie in 0..{labelers - 1}")
    return labeler


def _earned(score: Floats, scored: Ints, budget: float, judgements: float) -> Earned:
    rate = budget / judgements if judgements else 0.0
    return Earned(score, scored.astype(np.int64), score * rate, rate)
