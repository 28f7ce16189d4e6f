"""Log-odds of labelers by their shrunk reliabilities: the most accurate aggregate, not the most truthful.

Belongs here: reliabilities and the aggregate by them. Does not belong here: weights that make truth-telling optimal (see ``score_update``).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.score_update import checked_rows

LARGEST_SHRINKAGE = 1e6
"""So many judgements' worth of the crowd's mean stand for a crowd in which labelers do not differ."""


LEAST_ERROR = 0.01
"""No labeler is taken to be nearer to always right, or always wrong, than this."""


@dataclass(frozen=True, slots=True)
class ReliabilityState:
    """How right N labelers were so far, and how far votes can be trusted.

    ``score`` (N,) sum of 1 - quadratic loss over the slots each took part in; ``slots_seen`` (N,) number of these;
    ``squares`` sum of all squared scores; ``slots`` that taught; ``shrinkage`` judgements that the crowd's mean counts
    for, > 0; ``sharpness`` (b, c) of ``run_log_odds``; ``curvature`` the information on them, as its entries bb, bc, cc;
    ``lost`` sum of all quadratic losses.
    """

    score: NDArray[np.float64]
    slots_seen: NDArray[np.int64]
    squares: float = 0.0
    slots: int = 0
    shrinkage: float = 1.0
    sharpness: tuple[float, float] = (1.0, 0.0)
    curvature: tuple[float, float, float] = (1.0, 0.0, 1.0)
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class LogOddsResults:
    """What log-odds pooling gave over T slots.

    ``state`` afterwards; ``aggregates`` (T,) in (0, 1), NaN where nobody reported; ``losses`` (T,) quadratic loss of
    each aggregate, NaN where there was no aggregate or no outcome.
    """

    state: ReliabilityState
    aggregates: NDArray[np.float64]
    losses: NDArray[np.float64]


def initial_reliability(labelers: int) -> ReliabilityState:
    """State of N labelers nobody knows yet. Raises ValueError for fewer than one labeler.

    Example:
        >>> initial_reliability(2).score.tolist()
        [0.0, 0.0]
    """
    if labelers < 1:
        raise ValueError(f"a crowd needs at least one labeler, got {labelers}")
    return ReliabilityState(np.zeros(labelers), np.zeros(labelers, dtype=np.int64))


def reliabilities(state: ReliabilityState, *, entry: float = 1.0) -> NDArray[np.float64]:
    """Estimated accuracy of each labeler: (k m + S_i) / (k + n_i), kept within [0.01, 0.99].

    S_i the score and n_i the judgements of labeler i, m the crowd's mean score (two judgements of 0.75, what knowing
    nothing scores, are added to it) and k the shrinkage: who has not judged yet is taken for the crowd's
    mean, or for ``entry`` of the way from 1/2 to it.

    Returns:
        shape (N,).

    Example:
        >>> import numpy as np
        >>> reliabilities(ReliabilityState(np.array([9.0, 0.0]), np.array([10, 0]))).round(3).tolist()
        [0.898, 0.875]
    """
    accuracy: NDArray[np.float64] = np.clip(
        (state.shrinkage * (0.5 + entry * (_mean_score(state) - 0.5)) + state.score)
        / (state.shrinkage + state.slots_seen),
        LEAST_ERROR,
        1.0 - LEAST_ERROR,
    )
    return accuracy


def run_log_odds(
    state: ReliabilityState,
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    *,
    by_difficulty: bool = False,
    entry: float = 1.0,
    parts: NDArray[np.float64] | None = None,
) -> LogOddsResults:
    """Pool votes by how reliable labelers were: the predictive probability of a slot, then what its outcome teaches.

        logit P = max(b - c u, 0) * sum over reporters of (2 r_i - 1) logit a_i,   a = ``reliabilities``,

    with u = mean of 4 r_i (1 - r_i) in [0, 1], how undecided the reporters are. With b = 1, c = 0 and votes of 0 or 1
    that is the posterior of independent labelers with known accuracies (naive Bayes, the E-step of one-coin
    Dawid-Skene). b corrects for errors that labelers share and c for slots without a clear answer, whose outcome may be
    1/2; both learn by one Newton step on the log loss a slot, from b = 1 and c = 0 with unit ridge. An outcome y adds 1 - (r_i - y)^2 to S_i. The shrinkage is the variance of scores within
    labelers over that between them, estimated from earlier slots whenever the number of those that taught has doubled.

    Made for crowds in which most labelers judge rarely: each has a reputation of its own from the first judgement on,
    where the weighted score update with its step of sqrt(ln N / t) needs about t / ln N slots of everybody.

    Args:
        state: before the first slot, of N labelers, those still to come included.
        slot, labeler, report, outcomes: as in ``run_reports``.

        by_difficulty: whether an outcome adds 1 - (r_i - y)^2 + d_t to S_i, d_t the mean loss of the slot's other reporters and of one
            of the crowd's mean, less the crowd's mean: then nobody has a better name for answering what is easy for everybody.
        entry: in (0, 1]: what everybody's record is shrunk to lies that part of the way from 1/2 to the crowd's mean, so that below 1
            a new name is worth less than the mean one.
        parts: shape (m,), how often each report counts in its sum; once by default. Scores do not depend on it.

    Returns:
        results; running over two batches one after the other equals running over both at once.

    Guarantees: myopic truth-telling is optimal for labelers who want a high reliability, as it is affine and rising in
    their own quadratic score, which is proper; over several slots up to what a report moves a later shrinkage. Not
    truthful for labelers who steer (a pool never is), and no regret bound: the sum of log-odds is right where errors
    are independent given the answer, up to a common factor.

    Raises:
        ValueError: shapes that do not match, slots out of order, an index out of range, a labeler twice in a slot, or a
            report or outcome outside [0, 1].

    Source: weights log(a / (1 - a)): Nitzan & Paroush, "Optimal decision rules in uncertain dichotomous choice
    situations" (1982); shrinkage: Bühlmann & Straub, "Glaubwürdigkeit für Schadensätze" (1970).

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.repeat(np.arange(4), 2), np.tile([0, 1], 4)
        >>> found = run_log_odds(initial_reliability(2), slot, labeler, np.tile([1.0, 0.0], 4), np.ones(4))
        >>> found.aggregates.round(2).tolist(), found.state.score.tolist()
        ([0.5, 0.91, 0.98, 1.0], [4.0, 0.0])
    """
    slots, labelers = np.size(outcomes), state.score.size
    if parts is not None and np.shape(parts) != np.shape(report):
        raise ValueError(f"expected a part a report, got {np.shape(parts)} and {np.shape(report)}")
    slot, labeler, report, outcomes = checked_rows(slot, labeler, report, outcomes, labelers)
    score, slots_seen = state.score.copy(), state.slots_seen.copy()
    learned, squares = state.slots, state.squares
    (sharp, blunt), (by_sharp, by_both, by_blunt) = state.sharpness, state.curvature
    shrinkage, total, judgements, lost = state.shrinkage, float(score.sum()), int(slots_seen.sum()), state.lost
    aggregates = np.full(slots, np.nan)
    start = 0
    for t, end in enumerate(np.searchsorted(slot, np.arange(slots), side="right").tolist()):
        reporters, reported = labeler[start:end], report[start:end]
        counted = 2.0 * reported - 1.0 if parts is None else parts[start:end] * (2.0 * reported - 1.0)
        start = end
        if not reporters.size:
            continue
        prior = shrinkage * (0.5 + entry * ((1.5 + total) / (2.0 + judgements) - 0.5))
        accuracy = (prior + score[reporters]) / (shrinkage + slots_seen[reporters])
        accuracy = np.minimum(np.maximum(accuracy, LEAST_ERROR), 1.0 - LEAST_ERROR)
        evidence = float(counted @ np.log(accuracy / (1.0 - accuracy)))
        undecided = 4.0 * float(reported @ (1.0 - reported)) / reporters.size
        chance = 0.5 * (1.0 + math.tanh(0.5 * max(sharp - blunt * undecided, 0.0) * evidence))
        aggregates[t] = chance
        outcome = float(outcomes[t])
        if math.isnan(outcome):
            continue
        information = chance * (1.0 - chance) * evidence**2
        by_sharp += information
        by_both -= information * undecided
        by_blunt += information * undecided**2
        slope = (outcome - chance) * evidence / (by_sharp * by_blunt - by_both**2)
        sharp += slope * (by_blunt + by_both * undecided)
        blunt -= slope * (by_both + by_sharp * undecided)
        if learned & (learned - 1) == 0:
            shrinkage = _shrinkage(score, slots_seen, squares)
        losses = np.square(reported - outcome)
        gained = 1.0 - losses
        if by_difficulty:
            usual = (0.5 + lost) / (2.0 + judgements)
            gained += (float(losses.sum()) - losses + usual) / reporters.size - usual
        lost += float(losses.sum())
        score[reporters] += gained
        slots_seen[reporters] += 1
        squares += float(gained @ gained)
        total += float(gained.sum())
        judgements += reporters.size
        learned += 1
    return LogOddsResults(
        state=ReliabilityState(
            score, slots_seen, squares, learned, shrinkage, (sharp, blunt), (by_sharp, by_both, by_blunt), lost
        ),
        aggregates=aggregates,
        losses=np.square(aggregates - outcomes),
    )


def _mean_score(state: ReliabilityState) -> float:
    return float((1.5 + state.score.sum()) / (2.0 + state.slots_seen.sum()))


def _shrinkage(score: NDArray[np.float64], seen: NDArray[np.int64], squares: float) -> float:
    """Variance of scores within labelers over variance between them, by analysis of variance; 1 where neither is known."""
    known = seen > 0
    labelers, judgements = int(known.sum()), int(seen.sum())
    if labelers < 2 or judgements <= labelers:
        return 1.0
    counts = seen[known].astype(np.float64)
    means = score[known] / counts
    within = max(squares - float(counts @ np.square(means)), 0.0) / (judgements - labelers)
    spread = float(counts @ np.square(means - score.sum() / judgements))
    between = (spread - (labelers - 1) * within) / (judgements - float(counts @ counts) / judgements)
    if between <= within / LARGEST_SHRINKAGE:
        return LARGEST_SHRINKAGE
    return max(within / between, 1.0 / LARGEST_SHRINKAGE)
