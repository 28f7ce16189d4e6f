"""Pooling labelers' reports, with weights that follow their accuracy against realised outcomes.

Belongs here: weight updates, aggregates, regret, and the plain aggregates they are compared with.
Does not belong here: what labelers might do strategically (see ``strategic``) and which outcomes exist (see
the feedback assets).

A slot is one comparison whose labelers report the probability r_i in [0, 1] that answer A is preferred, and
whose outcome y in [0, 1] is realised later. The loss of a report is quadratic, l_i = (r_i - y)^2.

Sources: Freeman, Pennock, Podimata & Wortman Vaughan, "No-regret and incentive-compatible online learning"
(ICML 2020), for the weighted score update; Hao & Duan, "Online learning from strategic human
feedback in LLM fine-tuning" (arXiv 2412.16834) for its use with labelers.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST_STEP = 0.5
"""Above it the update could take a weight past zero before its loss is known to be worst."""

LARGE_CROWD = 1_000
"""Labelers; in a larger crowd all weights are moved towards the mean at once, every ``LAZY_SLOTS`` slots."""
LAZY_SLOTS = 1_000

RULES = ("pooled", "sampled")

LARGEST_SHRINKAGE = 1e6
"""So many judgements' worth of the crowd's mean stand for a crowd in which labelers do not differ."""

LEAST_ERROR = 0.01
"""No labeler is taken to be nearer to always right, or always wrong, than this."""


@dataclass(frozen=True, slots=True)
class LabelerState:
    """What is known of N labelers after some slots.

    ``weights`` (N,) positive, sum 1; ``slots`` that changed weights so far; ``cumulative_loss`` (N,) sum of
    quadratic losses over the slots each took part in; ``slots_seen`` (N,) number of these slots.
    """

    weights: NDArray[np.float64]
    slots: int
    cumulative_loss: NDArray[np.float64]
    slots_seen: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SlotResults:
    """What a run over T slots gave.

    ``state`` afterwards; ``aggregates`` (T,) in [0, 1], NaN where nobody reported; ``losses`` (T,) quadratic
    loss of each aggregate, NaN where there was no aggregate or no outcome.
    """

    state: LabelerState
    aggregates: NDArray[np.float64]
    losses: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LotteryResults:
    """What ELF-X gave over T slots.

    ``wins`` (N,) lotteries won by each labeler; ``aggregates`` (T,) in [0, 1], NaN where nobody reported; ``losses``
    (T,) quadratic loss of each aggregate, NaN where there was no aggregate or no outcome.
    """

    wins: NDArray[np.int64]
    aggregates: NDArray[np.float64]
    losses: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedState:
    """What paired feedback knows of N labelers in each of some crowds (leading axes of any shape, or none).

    ``weights`` (..., N) positive, sum 1; ``squares`` (..., N) sum over slots of the squared relative gain that each
    weight was updated by; ``step`` (..., 1) eta of the coming slot, which the last slot had no part in.
    """

    weights: NDArray[np.float64]
    squares: NDArray[np.float64]
    step: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedResults:
    """What paired feedback gave over T slots.

    ``state`` afterwards; ``aggregates`` (T,) in [0, 1]; ``losses`` (T,) quadratic loss of each; ``asked`` (T, 2) who
    was asked for the aggregate, and who was compared.
    """

    state: PairedState
    aggregates: NDArray[np.float64]
    losses: NDArray[np.float64]
    asked: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReliabilityState:
    """How right N labelers were so far, and how far votes can be trusted.

    ``score`` (N,) sum of 1 - quadratic loss over the slots each took part in; ``slots_seen`` (N,) number of these;
    ``squares`` sum of all squared scores; ``slots`` that taught; ``shrinkage`` judgements that the crowd's mean counts
    for, > 0; ``sharpness`` (b, c) of ``run_log_odds``; ``curvature`` the information on them, as its entries bb, bc, cc.
    """

    score: NDArray[np.float64]
    slots_seen: NDArray[np.int64]
    squares: float = 0.0
    slots: int = 0
    shrinkage: float = 1.0
    sharpness: tuple[float, float] = (1.0, 0.0)
    curvature: tuple[float, float, float] = (1.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class LogOddsResults:
    """What log-odds pooling gave over T slots.

    ``state`` afterwards; ``aggregates`` (T,) in (0, 1), NaN where nobody reported; ``losses`` (T,) quadratic loss of
    each aggregate, NaN where there was no aggregate or no outcome.
    """

    state: ReliabilityState
    aggregates: NDArray[np.float64]
    losses: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DawidSkene:
    """Consensus without outcomes.

    ``probability_a`` (T,) in [0, 1], NaN where nobody reported; ``accuracy`` (N,) in (0, 1), the chance that a labeler
    sides with the consensus; ``iterations`` of EM; ``converged``.
    """

    probability_a: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    iterations: int
    converged: bool


def initial_state(labelers: int) -> LabelerState:
    """State of N labelers nobody knows yet: weights 1/N. Raises ValueError for fewer than one labeler."""
    if labelers < 1:
        raise ValueError(f"a crowd needs at least one labeler, got {labelers}")
    return LabelerState(
        weights=np.full(labelers, 1.0 / labelers),
        slots=0,
        cumulative_loss=np.zeros(labelers),
        slots_seen=np.zeros(labelers, dtype=np.int64),
    )


def with_newcomers(state: LabelerState, count: int, *, entry: float = 1.0) -> LabelerState:
    """State with ``count`` more labelers at the end, each entering with a share of the mean weight.

    Formula: the N weights become w_i N / (N + entry count), each newcomer gets entry / (N + entry count).

    Args:
        state: of N labelers.
        count: newcomers.
        entry: in (0, 1]; below 1 a labeler who is below the mean has less from coming back under a new name.

    Guarantees: weights sum to one; ratios between the earlier labelers do not change.

    Raises:
        ValueError: ``count`` is negative, or ``entry`` outside (0, 1].
    """
    if count < 0:
        raise ValueError(f"the number of newcomers cannot be negative, got {count}")
    if not 0.0 < entry <= 1.0:
        raise ValueError(f"entry must lie in (0, 1], got {entry}")
    if not count:
        return state
    entered = np.full(count, entry * state.weights.mean())
    return LabelerState(
        weights=_normalised(np.concatenate([state.weights, entered])),
        slots=state.slots,
        cumulative_loss=np.concatenate([state.cumulative_loss, np.zeros(count)]),
        slots_seen=np.concatenate([state.slots_seen, np.zeros(count, dtype=np.int64)]),
    )


def counted_reports(
    slot: NDArray[np.int64],
    ring: NDArray[np.int64],
    *,
    interested: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    once: bool = False,
) -> NDArray[np.bool_]:
    """Which reports count: none of who sells one of the answers, and of a ring, where wanted, the first.

    A ring is one person behind several names, or several who act as one; who is in none has a number of its own.

    Args:
        slot: shape (m,), slot of each report, in order of arrival within a slot.
        ring: shape (m,), ring of the labeler of each report.
        interested: slots and rings, both shape (k,), of those who sell an answer of the slot.
        once: whether reports of one ring on one slot count as one, the first that counts.

    Returns:
        shape (m,).

    Raises:
        ValueError: shapes that do not match.
    """
    slot, ring = np.asarray(slot, dtype=np.int64), np.asarray(ring, dtype=np.int64)
    if slot.ndim != 1 or ring.shape != slot.shape:
        raise ValueError(f"expected one slot and ring a report, got {slot.shape} and {ring.shape}")
    counts = np.ones(slot.size, dtype=bool)
    if interested is not None:
        of_slot, of_ring = (np.asarray(each, dtype=np.int64) for each in interested)
        if of_slot.ndim != 1 or of_ring.shape != of_slot.shape:
            raise ValueError(f"expected one slot and ring a seller, got {of_slot.shape} and {of_ring.shape}")
        both = np.unique(
            np.column_stack([np.append(slot, of_slot), np.append(ring, of_ring)]), axis=0, return_inverse=True
        )[1]
        counts = ~np.isin(both[: slot.size], both[slot.size :])
    if once:
        counting = np.flatnonzero(counts)
        first = np.unique(np.column_stack([slot[counting], ring[counting]]), axis=0, return_index=True)[1]
        counts = np.zeros(slot.size, dtype=bool)
        counts[counting[first]] = True
    return counts


def known_horizon_step(labelers: int, slots: int) -> float:
    """Step for a known number of slots: min(1/2, sqrt(ln N / T)), for ``update_slot`` in every slot.

    Guarantee: regret at most 2 sqrt(T ln N) against the best labeler in hindsight.

    Raises:
        ValueError: fewer than one labeler or slot.
    """
    if labelers < 1 or slots < 1:
        raise ValueError(f"a step needs at least one labeler and one slot, got {labelers} and {slots}")
    return min(LARGEST_STEP, float(np.sqrt(np.log(labelers) / slots)))


def anytime_step(labelers: int, slot_no: int) -> float:
    """Step of slot t = 1, 2, ... where the number of slots is not known: min(1/2, sqrt(ln N / t)).

    Never rises with t. Only together with ``keep`` of ``update_slot`` does it bound the regret; see there.

    Raises:
        ValueError: fewer than one labeler, or slots that do not count from 1.
    """
    return known_horizon_step(labelers, slot_no)


def pooled(weights: NDArray[np.float64], reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean report of each slot, over those who reported.

    Formula: sum of w_i r_i over reporters / sum of w_i over reporters.

    Args:
        weights: shape (N,), non-negative.
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.

    Returns:
        shape (T,), in [0, 1]; NaN where nobody with a positive weight reported.

    Raises:
        ValueError: shapes that do not match, a negative weight, or a report outside [0, 1].
    """
    reports = _slots(reports)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (reports.shape[1],) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"expected {reports.shape[1]} weights, finite and not negative, got shape {weights.shape}")
    reported = ~np.isnan(reports)
    mass = reported @ weights
    weighted = np.where(reported, reports, 0.0) @ weights
    means = np.full(len(reports), np.nan)
    np.divide(weighted, mass, out=means, where=mass > 0)
    within: NDArray[np.float64] = np.clip(means, 0.0, 1.0)
    return within


def update_slot(
    state: LabelerState, reports: NDArray[np.float64], outcome: float, *, step: float, keep: float = 1.0
) -> tuple[LabelerState, float]:
    """Weighted score update after one slot, among those who reported.

    With R the reporters, W their total weight, u_i = w_i / W and the aggregate P = sum of u_i r_i:
        w_i <- w_i (1 - step (l_i - sum over j in R of u_j l_j))   for i in R,
    after which W is the same: who did not report keeps their share. With ``keep`` < 1 every weight then moves
    towards the mean, w_i <- keep w_i + (1 - keep) / N. Weights are renormalised each slot: the sum stays one
    on paper, but that fixed point is unstable in floating point.

    Args:
        state: before the slot.
        reports: shape (N,), in [0, 1], NaN where a labeler did not report.
        outcome: y in [0, 1]; NaN where none was realised, which gives an aggregate and changes nothing.
        step: eta in [0, 1/2].
        keep: in (0, 1]; eta of the next slot / eta of this one, where the step falls from slot to slot.

    Returns:
        the state after the slot, and the aggregate from the weights before it (NaN where nobody reported, in
        which case the state is unchanged too).

    Guarantees:
        * weights stay positive and sum to one;
        * myopic truth-telling is optimal: a labeler's next weight is affine and falling in its own quadratic
          loss, a strictly proper score, so its expectation is largest when the report equals the belief,
          strictly so while another reporter has weight;
        * constant step sqrt(ln N / T), keep 1: regret at most 2 sqrt(T ln N);
        * step_t = min(1/2, sqrt(ln N / t)), keep_t = step_(t+1) / step_t: regret at most 3 sqrt(T ln N) for
          every T. For labeler i, with g_t = P_t's weighted loss - l_i: ln(1 + eta g) >= eta g - eta^2 g^2 for
          eta <= 1/2, and by concavity ln w' >= keep ln w + (1 - keep) ln(1/N); dividing slot t by eta_t makes
          the logarithms telescope to sum g_t <= ln N / eta_T + sum eta_t. Without ``keep`` a falling step has
          no such bound: a labeler that is good first and bad later is followed for as long as it was good,
          three times over, and regret grows linearly.
        The regret bounds hold for labelers who skip slots too, counted over the slots each took part in.

    Raises:
        ValueError: shapes that do not match, a report or outcome outside [0, 1], a step outside [0, 1/2], or
            keep outside (0, 1].

    Source: Freeman et al. (2020), weighted-score update and its regret bound; the pull towards the mean:
    Fang, Harvey, Portella & Friedlander, "Online mirror descent and dual averaging: keeping pace in the
    dynamic case" (JMLR 2022), on primal stabilisation.
    """
    reports = _slots(np.asarray(reports, dtype=np.float64)[None, :])[0]
    if reports.shape != state.weights.shape:
        raise ValueError(f"expected {state.weights.size} reports (NaN where absent), got {reports.size}")
    _check_outcomes(np.array([outcome]))
    if not 0.0 <= step <= LARGEST_STEP:
        raise ValueError(f"step must lie in [0, {LARGEST_STEP}], got {step}")
    if not 0.0 < keep <= 1.0:
        raise ValueError(f"keep must lie in (0, 1], got {keep}")
    reporters = np.flatnonzero(~np.isnan(reports))
    if not reporters.size:
        return state, float("nan")
    weights = state.weights.copy()
    aggregate = _pool(weights[reporters], reports[reporters])
    if np.isnan(outcome):
        return state, aggregate
    losses = np.square(reports[reporters] - outcome)
    _update(weights, reporters, losses, step, keep)
    cumulative_loss, slots_seen = state.cumulative_loss.copy(), state.slots_seen.copy()
    cumulative_loss[reporters] += losses
    slots_seen[reporters] += 1
    return LabelerState(weights, state.slots + 1, cumulative_loss, slots_seen), aggregate


def drawn(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """One labeler of each crowd, drawn with probability proportional to weight.

    Args:
        weights: shape (..., N), not negative; the last labeler is drawn where all are zero.
        rng: source of the draws.

    Returns:
        shape (...), values 0..N-1.
    """
    ladders = np.cumsum(weights, axis=-1)
    passed = ladders <= np.asarray(rng.random(weights.shape[:-1]))[..., None] * ladders[..., -1:]
    labelers: NDArray[np.int64] = np.minimum(passed.sum(axis=-1), weights.shape[-1] - 1)
    return labelers


def updated_weights(
    weights: NDArray[np.float64],
    losses: NDArray[np.float64],
    *,
    step: float | NDArray[np.float64],
    keep: float | NDArray[np.float64] = 1.0,
) -> NDArray[np.float64]:
    """Weighted score update of many crowds at once, in which everybody has a loss; ``update_slot`` has the formula.

    Args:
        weights: shape (..., N), positive, sum 1.
        losses: shape (..., N), with step * (l_i - mean loss) within [-1/2, 1/2].
        step: eta of every crowd: a number, or shape (..., 1).
        keep: in (0, 1]: a number, or shape (..., 1).

    Returns:
        shape (..., N), positive, sum 1. Nothing is checked: it is made to be called slot after slot.
    """
    after = weights * (1.0 - step * (losses - (weights * losses).sum(axis=-1, keepdims=True)))
    after = np.maximum(after, np.finfo(np.float64).tiny)
    after = after * (keep / after.sum(axis=-1, keepdims=True)) + (1.0 - keep) / weights.shape[-1]
    shares: NDArray[np.float64] = after
    return shares


def run_slots(
    state: LabelerState,
    reports: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    *,
    rule: str = "pooled",
    rng: np.random.Generator | None = None,
) -> SlotResults:
    """Aggregate and learn from T slots in their order, with the anytime step.

    In each slot: aggregate with the weights so far, then ``update_slot`` with step_t = min(1/2, sqrt(ln N / t))
    and keep_t = step_(t+1) / step_t, where t continues from ``state.slots``. The aggregate of a slot is
    either
        * ``pooled``: the weighted mean report. Best where labelers care for their weight; not truthful for
          labelers who want the aggregate near their own belief;
        * ``sampled``: the report of one reporter drawn with probability proportional to weight. Truthful for
          both motives, with the same bound on the expected regret, at the price of a noisier aggregate.

    Args:
        state: before the first slot, of N labelers.
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.
        outcomes: shape (T,), in [0, 1], NaN where none was realised: such a slot is aggregated and teaches
            nothing.
        rule: one of ``RULES``.
        rng: needed by ``sampled``.

    Returns:
        results; running over two batches one after the other equals running over both at once.

    Who does not report keeps their share up to the pull towards the mean, which is (1 - keep_t) ~ 1 / (2 t) a slot: a
    reputation that is never confirmed again fades as sqrt(t_0 / t), a bad one as well.

    Guarantees: regret at most 3 sqrt(T ln N), in expectation for ``sampled``; memory O(N + T) besides the
    arguments.

    Raises:
        ValueError: unknown rule, ``sampled`` without a generator, shapes that do not match, or a report or
            outcome outside [0, 1].

    Source: see ``update_slot``; the two rules: Hao & Duan (arXiv 2412.16834).
    """
    reports = _slots(reports)
    outcomes = np.asarray(outcomes, dtype=np.float64)
    if reports.shape[1] != state.weights.size:
        raise ValueError(f"expected reports of {state.weights.size} labelers, got {reports.shape[1]}")
    if outcomes.shape != (len(reports),):
        raise ValueError(f"expected one outcome for each of {len(reports)} slots, got shape {outcomes.shape}")
    _check_outcomes(outcomes)
    reported = ~np.isnan(reports)
    slot, labeler = np.nonzero(reported)
    return _learn(state, slot.astype(np.int64), labeler.astype(np.int64), reports[reported], outcomes, rule, rng)


def run_reports(
    state: LabelerState,
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    *,
    rule: str = "pooled",
    rng: np.random.Generator | None = None,
) -> SlotResults:
    """``run_slots`` for crowds in which each slot has few of many labelers: one row for each report.

    Args:
        state: before the first slot, of N labelers.
        slot: shape (m,), values 0..T-1, never falling.
        labeler: shape (m,), values 0..N-1, no labeler twice in one slot.
        report: shape (m,), in [0, 1].
        outcomes: shape (T,), in [0, 1], NaN where none was realised.
        rule: one of ``RULES``.
        rng: needed by ``sampled``.

    Returns and guarantees: as ``run_slots``, whose result it equals; memory O(N + T + m).

    Raises:
        ValueError: unknown rule, ``sampled`` without a generator, shapes that do not match, slots out of
            order, an index out of range, a labeler twice in a slot, or a report or outcome outside [0, 1].
    """
    slot, labeler, report, outcomes = _rows(slot, labeler, report, outcomes, state.weights.size)
    return _learn(state, slot, labeler, report, outcomes, rule, rng)


def regret(aggregates: NDArray[np.float64], outcomes: NDArray[np.float64], reports: NDArray[np.float64]) -> float:
    """Regret of the aggregates against the best labeler in hindsight.

    Formula: max over labelers i of the sum, over slots in which i reported, of (P_t - y_t)^2 - (r_it -
    y_t)^2. Where everybody reports always, this is the aggregates' loss less the best labeler's loss. Slots
    without an aggregate or outcome are left out. Negative where the aggregate beats every labeler, as
    averages do when errors are independent.

    Args:
        aggregates: shape (T,), in [0, 1] or NaN.
        outcomes: shape (T,), in [0, 1] or NaN.
        reports: shape (T, N), in [0, 1] or NaN; pass beliefs instead for the regret against truthful
            labelers.

    Returns:
        the regret, in units of quadratic loss, at most T; NaN where no labeler has a slot that counts.

    Raises:
        ValueError: shapes that do not match, or a number outside [0, 1].

    Source: Freeman et al. (2020); labelers who skip slots: Freund, Schapire, Singer & Warmuth,
    "Using and combining predictors that specialize" (1997).
    """
    reports = _slots(reports)
    aggregates, outcomes = np.asarray(aggregates, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if aggregates.shape != (len(reports),) or outcomes.shape != (len(reports),):
        raise ValueError(f"expected {len(reports)} slots, got {aggregates.shape} aggregates, {outcomes.shape} outcomes")
    _check_outcomes(aggregates)
    _check_outcomes(outcomes)
    excess = np.square(aggregates - outcomes)[:, None] - np.square(reports - outcomes[:, None])
    counted = ~np.isnan(excess)
    if not counted.any():
        return float("nan")
    sums = np.where(counted, excess, 0.0).sum(axis=0)
    return float(sums[counted.any(axis=0)].max())


def excess_losses(
    aggregates: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    labelers: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What ``regret`` is the largest of, one row for each report: sums that add up over runs of slots.

    Args:
        aggregates: shape (T,), in [0, 1] or NaN.
        outcomes: shape (T,), in [0, 1] or NaN.
        slot: shape (m,), values 0..T-1.
        labeler: shape (m,), values 0..N-1, no labeler twice in one slot.
        report: shape (m,), in [0, 1].
        labelers: N.

    Returns:
        shape (N,), the sum over the slots that labeler i reported in of (P_t - y_t)^2 - (r_it - y_t)^2, and shape (N,), how
        many slots those are. Slots without an aggregate or outcome are left out.
    """
    excess = np.square(aggregates[slot] - outcomes[slot]) - np.square(report - outcomes[slot])
    counted = ~np.isnan(excess)
    sums = np.bincount(labeler[counted], weights=excess[counted], minlength=labelers)
    slots = np.bincount(labeler[counted], minlength=labelers)
    return sums.astype(np.float64), slots.astype(np.int64)


def anytime_regret_bound(labelers: int, slots: int) -> float:
    """What the regret over T slots cannot exceed with the step and pull of ``run_slots``: 3 sqrt(T ln N); see ``update_slot``."""
    return 3.0 * float(np.sqrt(slots * np.log(labelers)))


def limited_feedback_step(labelers: int, slots: int) -> float:
    """Step for ``run_limited_feedback`` over a known number of slots: min(1/(2N), sqrt(ln N / (2 N T))).

    At most 1/(2N), as the estimated loss reaches N: then no weight changes by more than half in a slot.

    Raises:
        ValueError: fewer than one labeler or slot.
    """
    if labelers < 1 or slots < 1:
        raise ValueError(f"a step needs at least one labeler and one slot, got {labelers} and {slots}")
    return min(LARGEST_STEP / labelers, float(np.sqrt(np.log(labelers) / (2 * labelers * slots))))


def run_limited_feedback(
    state: LabelerState,
    reports: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    *,
    step: float | None = None,
    rng: np.random.Generator,
) -> SlotResults:
    """Aggregate and learn where only two labelers are asked in a slot.

    In each slot the aggregate is the report of one labeler I drawn with probability w, and the weights learn from one
    labeler J drawn uniformly, whose loss stands for everybody's: l_i = N (r_J - y)^2 for i = J, 0 for the others, an
    unbiased estimate. Then the weighted score update: w_i <- w_i (1 - step (l_i - sum of w_j l_j)).
    ``run_paired_feedback`` asks the same two, learns more from them and need not know T.

    Args:
        state: before the first slot, of N labelers.
        reports: shape (T, N), in [0, 1], the reports that would be given; only those of I and J are looked at.
        outcomes: shape (T,), in [0, 1].
        step: in [0, 1/(2N)]; by default ``limited_feedback_step`` for these T slots.
        rng: source of the draws.

    Returns:
        results; ``cumulative_loss`` and ``slots_seen`` of the state count the slots from which a labeler was learned.

    Guarantees: myopic truth-telling is optimal, as in ``update_slot``, for it affects the weights only; expected regret
    at most 2 sqrt(2 N T ln N): E[(l_i - sum w l)^2] <= 2 N in the bound of ``update_slot``.

    Raises:
        ValueError: shapes that do not match, reports or outcomes missing or outside [0, 1], or a step outside [0,
            1/(2N)].

    Source: Freeman et al. (2020), on partial information; uniform exploration apart from prediction: Hao &
    Duan (arXiv 2412.16834).
    """
    reports, outcomes = _slots(reports), np.asarray(outcomes, dtype=np.float64)
    slots, labelers = reports.shape
    if labelers != state.weights.size or outcomes.shape != (slots,):
        raise ValueError(f"expected reports of {state.weights.size} labelers and {slots} outcomes")
    if np.isnan(reports).any() or np.isnan(outcomes).any():
        raise ValueError("limited feedback draws whom to ask: every labeler needs a report and every slot an outcome")
    _check_outcomes(outcomes)
    if step is None:
        step = limited_feedback_step(labelers, max(slots, 1))
    if not 0.0 <= step <= LARGEST_STEP / labelers:
        raise ValueError(f"step must lie in [0, {LARGEST_STEP / labelers}], got {step}")
    weights = state.weights.copy()
    cumulative_loss, slots_seen = state.cumulative_loss.copy(), state.slots_seen.copy()
    aggregates = np.empty(slots)
    everybody = np.arange(labelers)
    for t in range(slots):
        teacher = int(rng.integers(labelers))
        aggregates[t] = reports[t, _draw(weights, rng)]
        loss = (reports[t, teacher] - outcomes[t]) ** 2
        estimated = np.zeros(labelers)
        estimated[teacher] = labelers * loss
        _update(weights, everybody, estimated, step, 1.0)
        cumulative_loss[teacher] += loss
        slots_seen[teacher] += 1
    return SlotResults(
        state=LabelerState(weights, state.slots + slots, cumulative_loss, slots_seen),
        aggregates=aggregates,
        losses=np.square(aggregates - outcomes),
    )


def initial_paired_state(labelers: int, crowds: tuple[int, ...] = ()) -> PairedState:
    """State of N labelers nobody knows yet, in each crowd of shape ``crowds``. Raises ValueError for none."""
    if labelers < 1:
        raise ValueError(f"a crowd needs at least one labeler, got {labelers}")
    squares = np.zeros((*crowds, labelers))
    return PairedState(np.full(squares.shape, 1.0 / labelers), squares, paired_feedback_step(squares))


def paired_feedback_step(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Step of paired feedback after gains whose squares sum to ``squares`` (..., N): sqrt(ln N / (4 N^2 ln N + max)).

    Returns:
        shape (..., 1), at most 1/(2N), never rising from slot to slot (with ln 2 for ln N where N = 1).
    """
    labelers = squares.shape[-1]
    spread = np.log(max(labelers, 2))
    steps: NDArray[np.float64] = np.sqrt(spread / (4 * labelers**2 * spread + squares.max(axis=-1, keepdims=True)))
    return steps


def update_paired(
    state: PairedState,
    asked: NDArray[np.int64],
    compared: NDArray[np.int64],
    asked_loss: NDArray[np.float64],
    compared_loss: NDArray[np.float64],
) -> PairedState:
    """Update after one slot in which two labelers reported: I, drawn by weight, and J, drawn uniformly.

    J's loss is measured against that of I: l_i = N (l_J - l_I) for i = J, 0 for the others, then
        w_i <- w_i (1 - eta (l_i - sum of w_j l_j)),
    with eta_t = ``paired_feedback_step`` of the slots up to t - 2, and the pull towards the mean of ``update_slot``, keep
    = eta_(t+1) / eta_t. Both are known before the slot: had its own reports a part in the pull, a labeler with a small
    weight would gain by an error that made it large.

    The expectation of l_i over J is the loss of i less l_I, the same for everybody, and what is added to everybody's
    loss drops out of the update: the estimate is as unbiased as without l_I. What a slot does to both losses at
    once, an outcome against all odds, cancels, so the estimate's variance is N E(l_J - l_I)^2 in place of N E l_J^2,
    and steps can be longer.

    Args:
        state: before the slot.
        asked: I, shape (...), the labelers whose reports were the aggregates.
        compared: J, shape (...).
        asked_loss: in [0, 1], shape (...), quadratic; ``compared_loss`` alike, the same where I = J.

    Returns:
        the state after the slot. Nothing is checked: it is made to be called slot after slot.

    Guarantees: see ``run_paired_feedback``.
    """
    weights, squares = state.weights, state.squares
    labelers = weights.shape[-1]
    excess = np.expand_dims(labelers * (compared_loss - asked_loss), -1)
    estimated = np.where(np.arange(labelers) == np.expand_dims(compared, -1), excess, 0.0)
    gains = (weights * estimated).sum(axis=-1, keepdims=True) - estimated
    squares = squares + np.square(gains)
    step, next_step = state.step, paired_feedback_step(state.squares)
    return PairedState(updated_weights(weights, estimated, step=step, keep=next_step / step), squares, next_step)


def run_paired_feedback(
    state: PairedState,
    reports: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    *,
    rng: np.random.Generator,
) -> PairedResults:
    """Aggregate and learn where only two labelers are asked in a slot, each measured against the other.

    As ``run_limited_feedback``: the aggregate is the report of one labeler I drawn with probability w, and weights
    learn from one labeler J drawn uniformly; but by ``update_paired``, and the number of slots need not be known.

    Args:
        state: before the first slot, of one crowd of N labelers.
        reports: shape (T, N), in [0, 1], the reports that would be given; only those of I and J are looked at.
        outcomes: shape (T,), in [0, 1].
        rng: source of the draws.

    Returns:
        results; running over two batches one after the other equals running over both at once.

    Guarantees:
        * myopic truth-telling is optimal: J's next weight is affine and falling in J's own loss, I's as well (its
          weight grows by what J loses), both are strictly proper, and step and pull do not depend on the slot's reports;
          steering labelers tell the truth too, as the aggregate is one labeler's report and nobody else's;
        * a forward-looking labeler may gain: a report moves the pull of a later slot, which lifts a weight by at most
          N / (2 (4 N^2 ln N + V)), less the more was observed;
        * with g_i = sum of w_j l_j - l_i, V = max over i of the sum of g_i^2: as in ``update_slot``,
          ln w' >= keep ln w + (1 - keep) ln(1/N) and ln(1 + eta g) >= eta g - eta^2 g^2 for |eta g| <= 1/2 give
          sum of g_i <= ln N / eta_(T+1) + sum of eta_t g_i^2 <= 3 sqrt(ln N (4 N^2 ln N + V)) for every i and T (g_i^2
          <= N^2, so that the two slots eta_t lags behind fit into 4 N^2 ln N). As
          E g_i^2 <= 2 N D with D the largest mean of (l_J - l_I)^2, the expected regret is 3 sqrt(2 N D T ln N) to
          leading order: at most 3 sqrt(2 N T ln N), and less the more alike labelers judge.

    Raises:
        ValueError: shapes that do not match, reports or outcomes missing or outside [0, 1].

    Source: the limited-feedback update of Freeman et al. (2020) and Hao & Duan (arXiv 2412.16834), with a control
    variate from the same slot (this project's) and a step from observed second moments: Cesa-Bianchi, Mansour &
    Stoltz, "Improved second-order bounds for prediction with expert advice" (2007).
    """
    reports, outcomes = _slots(reports), np.asarray(outcomes, dtype=np.float64)
    slots, labelers = reports.shape
    if state.weights.shape != (labelers,) or outcomes.shape != (slots,):
        raise ValueError(f"expected reports of {state.weights.shape} labelers and {slots} outcomes")
    if np.isnan(reports).any() or np.isnan(outcomes).any():
        raise ValueError("paired feedback draws whom to ask: every labeler needs a report and every slot an outcome")
    _check_outcomes(outcomes)
    losses = np.square(reports - outcomes[:, None])
    asked = np.empty((slots, 2), dtype=np.int64)
    for t in range(slots):
        asked[t] = _draw(state.weights, rng), rng.integers(labelers)
        one, other = asked[t]
        state = update_paired(state, one, other, losses[t, one], losses[t, other])
    everywhere = np.arange(slots)
    return PairedResults(
        state=state,
        aggregates=reports[everywhere, asked[:, 0]],
        losses=losses[everywhere, asked[:, 0]],
        asked=asked,
    )


def initial_reliability(labelers: int) -> ReliabilityState:
    """State of N labelers nobody knows yet. Raises ValueError for fewer than one labeler."""
    if labelers < 1:
        raise ValueError(f"a crowd needs at least one labeler, got {labelers}")
    return ReliabilityState(np.zeros(labelers), np.zeros(labelers, dtype=np.int64))


def reliabilities(state: ReliabilityState) -> NDArray[np.float64]:
    """Estimated accuracy of each labeler: (k m + S_i) / (k + n_i), kept within [0.01, 0.99].

    S_i the score and n_i the judgements of labeler i, m the crowd's mean score (two judgements of 0.75, what knowing
    nothing scores, are added to it) and k the shrinkage: who has not judged yet is taken for the crowd's mean.

    Returns:
        shape (N,).
    """
    accuracy: NDArray[np.float64] = np.clip(
        (state.shrinkage * _mean_score(state) + state.score) / (state.shrinkage + state.slots_seen),
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
    """
    slots, labelers = np.size(outcomes), state.score.size
    slot, labeler, report, outcomes = _rows(slot, labeler, report, outcomes, labelers)
    score, slots_seen = state.score.copy(), state.slots_seen.copy()
    learned, squares = state.slots, state.squares
    (sharp, blunt), (by_sharp, by_both, by_blunt) = state.sharpness, state.curvature
    shrinkage, total, judgements = state.shrinkage, float(score.sum()), int(slots_seen.sum())
    aggregates = np.full(slots, np.nan)
    start = 0
    for t, end in enumerate(np.searchsorted(slot, np.arange(slots), side="right").tolist()):
        reporters, reported = labeler[start:end], report[start:end]
        start = end
        if not reporters.size:
            continue
        prior = shrinkage * (1.5 + total) / (2.0 + judgements)
        accuracy = (prior + score[reporters]) / (shrinkage + slots_seen[reporters])
        accuracy = np.minimum(np.maximum(accuracy, LEAST_ERROR), 1.0 - LEAST_ERROR)
        evidence = float((2.0 * reported - 1.0) @ np.log(accuracy / (1.0 - accuracy)))
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
        gained = 1.0 - np.square(reported - outcome)
        score[reporters] += gained
        slots_seen[reporters] += 1
        squares += float(gained @ gained)
        total += float(gained.sum())
        judgements += reporters.size
        learned += 1
    return LogOddsResults(
        state=ReliabilityState(
            score, slots_seen, squares, learned, shrinkage, (sharp, blunt), (by_sharp, by_both, by_blunt)
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


def lottery_chances(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance of each labeler to win a slot's lottery in ELF-X: (1 - l_i + mean of l) / n, for losses in [0, 1].

    A distribution for any losses, affine and falling in a labeler's own loss (strictly for n > 1).
    """
    chances: NDArray[np.float64] = (1.0 - losses + losses.mean()) / losses.size
    return chances


def elf_x(
    reports: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    *,
    wins: NDArray[np.int64] | None = None,
    rng: np.random.Generator,
) -> LotteryResults:
    """ELF-X: follow the labeler that has won most lotteries, one lottery for each past slot.

    After a slot one of its n reporters wins with probability (1 - l_i + mean of l) / n. The aggregate of a slot is the
    report of the reporter with most wins so far, ties broken at random. (The paper draws all past lotteries anew in
    every slot; drawing each once and keeping it gives every slot the same chances and costs O(N) a slot. A lottery
    depends on no other, so all are drawn at once.)

    Args:
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.
        outcomes: shape (T,), in [0, 1], NaN where none was realised: such a slot has no lottery.
        wins: shape (N,), lotteries won in earlier slots; none by default.
        rng: source of the lotteries.

    Guarantees: truthful for forward-looking labelers too, who care for how often they are followed over any number of
    slots: more wins never hurt, and truth-telling maximises the chance of each of them. Regret falls in practice but
    has no proven O(sqrt T) bound; Komiyama, Mehta & Mortazavi (arXiv 2502.11483) give a variant that has one, up to logs.

    Memory: O(T N).

    Raises:
        ValueError: shapes that do not match, or a report or outcome outside [0, 1].

    Source: Freeman et al. (2020), on ELF-X; the lottery: Witkowski, Freeman, Wortman Vaughan, Pennock &
    Krause, "Incentive-compatible forecasting competitions" (2018).
    """
    reports, outcomes = _slots(reports), np.asarray(outcomes, dtype=np.float64)
    slots, labelers = reports.shape
    won = np.zeros(labelers, dtype=np.int64) if wins is None else np.array(wins, dtype=np.int64)
    if outcomes.shape != (slots,) or won.shape != (labelers,):
        raise ValueError(f"expected {slots} outcomes and {labelers} counts of wins, got {outcomes.shape}, {won.shape}")
    _check_outcomes(outcomes)
    reported, taught = ~np.isnan(reports), ~np.isnan(outcomes)
    losses = np.square(reports - outcomes[:, None])
    reporters = reported.sum(axis=1, keepdims=True)
    mean_loss = np.where(reported, losses, 0.0).sum(axis=1, keepdims=True) / np.maximum(reporters, 1)
    chances = np.where(reported & taught[:, None], 1.0 - losses + mean_loss, 0.0)
    winners = drawn(chances, rng)
    won_in = np.zeros((slots, labelers), dtype=np.int64)
    won_in[np.arange(slots), winners] = (reporters[:, 0] > 0) & taught
    standing = won + np.cumsum(won_in, axis=0)
    before = np.where(reported, standing - won_in, -1)
    lead = reported & (before == before.max(axis=1, keepdims=True))
    followed = drawn(lead.astype(np.float64), rng)
    aggregates = reports[np.arange(slots), followed]
    won = standing[-1] if slots else won
    return LotteryResults(wins=won, aggregates=aggregates, losses=np.square(aggregates - outcomes))


def dawid_skene(
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    *,
    slots: int,
    labelers: int,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> DawidSkene:
    """One-coin Dawid-Skene: consensus by expectation maximisation, without any outcome. A baseline.

    Each slot has a hidden answer, A with prior probability pi; labeler i sides with it with probability a_i; a report r
    counts as r of a vote for A and 1 - r of a vote against. E-step: q_t from the votes; M-step: a_i = (1 + sum over its
    reports of q r + (1 - q)(1 - r)) / (2 + number of its reports), one vote of each kind added, and pi = mean q. Starts
    from the plain mean. Where a majority shares a bias, the consensus is the bias.

    Args:
        slot: shape (m,), values 0..T-1, in any order; ``labeler``: shape (m,), values 0..N-1; ``report``: shape (m,),
            in [0, 1].
        slots: T.
        labelers: N.
        iterations: most iterations of EM.
        tolerance: largest change of any q at which it has converged.

    Raises:
        ValueError: shapes that do not match, an index out of range, or a report outside [0, 1].

    Source: Dawid & Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (1979), with
    one error rate for each observer.
    """
    slot, labeler = np.asarray(slot, dtype=np.int64), np.asarray(labeler, dtype=np.int64)
    report = np.asarray(report, dtype=np.float64)
    if slot.ndim != 1 or slot.shape != labeler.shape or slot.shape != report.shape:
        raise ValueError(f"expected one row for each report, got {slot.shape}, {labeler.shape} and {report.shape}")
    if slot.size and (slot.min() < 0 or slot.max() >= slots or labeler.min() < 0 or labeler.max() >= labelers):
        raise ValueError(f"slots must lie in 0..{slots - 1} and labelers in 0..{labelers - 1}")
    if not ((report >= 0) & (report <= 1)).all():
        raise ValueError("reports must lie in [0, 1]")
    votes = np.bincount(slot, minlength=slots)
    heard = votes > 0
    reports_of = np.bincount(labeler, minlength=labelers)
    answer = np.bincount(slot, report, minlength=slots) / np.maximum(votes, 1)
    accuracy = np.full(labelers, 0.5)
    done, converged = 0, not heard.any()
    while done < iterations and not converged:
        done += 1
        belief = answer[slot]
        agreed = np.bincount(labeler, belief * report + (1 - belief) * (1 - report), minlength=labelers)
        accuracy = (1.0 + agreed) / (2.0 + reports_of)
        prior = np.clip(answer[heard].mean(), 1e-6, 1 - 1e-6)
        odds = np.log(prior / (1 - prior)) + np.bincount(
            slot, (2 * report - 1) * np.log(accuracy / (1 - accuracy))[labeler], minlength=slots
        )
        revised = np.where(heard, (1 + np.tanh(odds / 2)) / 2, answer)
        converged = bool(np.abs(revised - answer).max() <= tolerance)
        answer = revised
    return DawidSkene(np.where(heard, answer, np.nan), accuracy, done, converged)


def mean_aggregate(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Plain mean report of each slot: a baseline whose regret grows linearly where rivals share a bias.

    Args:
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.

    Returns:
        shape (T,), in [0, 1], NaN where nobody reported.

    Raises:
        ValueError: the wrong shape or a report outside [0, 1].
    """
    reports = _slots(reports)
    return pooled(np.ones(reports.shape[1]), reports)


def median_aggregate(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median report of each slot: a baseline, robust to a minority, with linear regret where a majority is
    biased.

    Args:
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.

    Returns:
        shape (T,), in [0, 1], NaN where nobody reported; the midpoint of the middle two where their number is
        even.

    Raises:
        ValueError: the wrong shape or a report outside [0, 1].
    """
    reports = _slots(reports)
    middle = np.full(len(reports), np.nan)
    anybody = ~np.isnan(reports).all(axis=1)
    if anybody.any():
        middle[anybody] = np.nanmedian(reports[anybody], axis=1)
    return middle


def _rows(
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    labelers: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Checked rows of sparse reports in the order of their slots; see ``run_reports``."""
    slot, labeler = np.asarray(slot, dtype=np.int64), np.asarray(labeler, dtype=np.int64)
    report, outcomes = np.asarray(report, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if slot.ndim != 1 or slot.shape != labeler.shape or slot.shape != report.shape or outcomes.ndim != 1:
        raise ValueError(f"expected one row for each report, got {slot.shape}, {labeler.shape} and {report.shape}")
    if (np.diff(slot) < 0).any():
        raise ValueError("reports must be sorted by slot: weights depend on the order")
    if slot.size and (slot[0] < 0 or slot[-1] >= outcomes.size or labeler.min() < 0 or labeler.max() >= labelers):
        raise ValueError(f"slots must lie in 0..{outcomes.size - 1} and labelers in 0..{labelers - 1}")
    rows = slot * labelers + labeler
    if (np.diff(rows) <= 0).any() and np.unique(rows).size != rows.size:
        raise ValueError("a labeler reported twice in one slot: keep one report of each")
    if not ((report >= 0) & (report <= 1)).all():
        raise ValueError("reports must lie in [0, 1]")
    _check_outcomes(outcomes)
    return slot, labeler, report, outcomes


def _learn(
    state: LabelerState,
    slot: NDArray[np.int64],
    labeler: NDArray[np.int64],
    report: NDArray[np.float64],
    outcomes: NDArray[np.float64],
    rule: str,
    rng: np.random.Generator | None,
) -> SlotResults:
    """``run_reports`` on checked rows. All that does not depend on weights is computed for all slots at once; what is
    left in the loop is a handful of operations on vectors.

    A slot moves who reported, and everybody towards the mean. In a crowd of more than ``LARGE_CROWD`` the latter is
    kept as one factor and one summand of all weights, w = scale * weights + offset, so that a slot takes time by its
    reports and not by the crowd.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
    if rule == "sampled" and rng is None:
        raise ValueError("the sampled rule draws one labeler a slot: pass rng")
    labelers, slots = state.weights.size, outcomes.size
    ends = np.searchsorted(slot, np.arange(slots), side="right")
    starts = np.concatenate([[0], ends[:-1]]) if slots else ends
    heard = ends > starts
    teaches = heard & ~np.isnan(outcomes)
    learned = state.slots + np.cumsum(teaches)
    spread = np.log(labelers)
    steps = np.minimum(LARGEST_STEP, np.sqrt(spread / np.maximum(learned, 1)))
    next_steps = np.minimum(LARGEST_STEP, np.sqrt(spread / (learned + 1)))
    keeps = np.divide(next_steps, steps, out=np.ones(slots), where=steps > 0)
    losses = np.square(report - outcomes[slot])
    fall = -steps[slot] * losses
    in_order = bool((np.diff(slot * labelers + labeler) > 0).all())
    everybody = in_order & (ends - starts == labelers)

    weights, least, ones = state.weights.copy(), np.finfo(np.float64).tiny, np.ones(labelers)
    aggregates = np.full(slots, np.nan)
    scale, offset, moved = 1.0, 0.0, 0  # slots since the weights themselves were moved
    todo = np.flatnonzero(heard)
    for t, start, end, full, teaching, keep in zip(
        *(column[todo].tolist() for column in (np.arange(slots), starts, ends, everybody, teaches, keeps)), strict=True
    ):
        reported = report[start:end]
        lazily = labelers > LARGE_CROWD and not full and keep < 1.0
        if moved and (not lazily or moved == LAZY_SLOTS):
            weights, scale, offset, moved = _normalised(scale * weights + offset), 1.0, 0.0, 0
        held = weights if full else weights[labeler[start:end]]
        if moved:
            held = scale * held + offset
        mass = 1.0 if full else held.dot(ones[: end - start])
        if rng is not None and rule == "sampled":
            aggregates[t] = reported[_draw(held, rng)]
        else:
            aggregates[t] = held.dot(reported) / mass
        if not teaching:
            continue
        # w_i (1 - step (l_i - mean loss)), with fall_i = -step l_i.
        falls = fall[start:end]
        held = held * (falls + (1.0 - held.dot(falls) / mass))
        if full:
            weights = held
        else:
            held *= mass / held.dot(ones[: end - start])
            weights[labeler[start:end]] = (held - offset) / scale if moved else held
        if lazily:
            scale, offset, moved = scale * keep, offset * keep + (1.0 - keep) / labelers, moved + 1
            continue
        if keep == 1.0:
            np.maximum(weights, least, out=weights)
        weights *= keep / weights.dot(ones)
        weights += (1.0 - keep) / labelers
    if moved:
        weights = _normalised(scale * weights + offset)
    if rule == "pooled" and todo.size:
        # A mean lies within what it is a mean of, also after rounding.
        lowest, highest = np.minimum.reduceat(report, starts[todo]), np.maximum.reduceat(report, starts[todo])
        aggregates[todo] = np.clip(aggregates[todo], lowest, highest)

    cumulative_loss, slots_seen = state.cumulative_loss.copy(), state.slots_seen.copy()
    counted = teaches[slot]
    np.add.at(cumulative_loss, labeler[counted], losses[counted])
    slots_seen += np.bincount(labeler[counted], minlength=labelers)
    return SlotResults(
        state=LabelerState(weights, state.slots + int(teaches.sum()), cumulative_loss, slots_seen),
        aggregates=aggregates,
        losses=np.square(aggregates - outcomes),
    )


def _pool(held: NDArray[np.float64], reported: NDArray[np.float64]) -> float:
    """Weighted mean, kept within the reports it is a mean of."""
    return float(np.clip(held @ reported / held.sum(), reported.min(), reported.max()))


def _draw(held: NDArray[np.float64], rng: np.random.Generator) -> int:
    """Index drawn with probability proportional to ``held``."""
    ladder = np.cumsum(held)
    return int(min(np.searchsorted(ladder, rng.random() * ladder[-1], side="right"), held.size - 1))


def _update(
    weights: NDArray[np.float64],
    reporters: NDArray[np.int64],
    losses: NDArray[np.float64],
    step: float,
    keep: float,
) -> None:
    """Weighted score update of ``weights`` in place; see ``update_slot``."""
    held = weights[reporters]
    mass = held.sum()
    held = held * (1.0 - step * (losses - held @ losses / mass))
    weights[reporters] = held * (mass / held.sum())
    if keep < 1.0:
        weights *= keep
        weights += (1.0 - keep) / weights.size
    weights[:] = _normalised(weights)


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that sum to one; never below the smallest normal float, from which no update could bring one
    back."""
    weights = np.maximum(weights, np.finfo(np.float64).tiny)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _slots(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    reports = np.asarray(reports, dtype=np.float64)
    if reports.ndim != 2:
        raise ValueError(f"expected reports of shape (slots, labelers), got shape {reports.shape}")
    if (reports < 0).any() or (reports > 1).any():
        raise ValueError("reports must lie in [0, 1], NaN where a labeler did not report")
    return reports


def _check_outcomes(outcomes: NDArray[np.float64]) -> None:
    if (outcomes < 0).any() or (outcomes > 1).any():
        raise ValueError("outcomes must lie in [0, 1], NaN where none was realised")
