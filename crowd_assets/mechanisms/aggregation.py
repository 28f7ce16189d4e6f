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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST_STEP = 0.5
"""Above it the update could take a weight past zero before its loss is known to be worst."""

RULES = ("pooled", "sampled")


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


def with_newcomers(state: LabelerState, count: int) -> LabelerState:
    """State with ``count`` more labelers at the end, each entering with the mean weight.

    Formula: the N weights become w_i N / (N + count), each newcomer gets 1 / (N + count).

    Guarantees: weights sum to one; ratios between the earlier labelers do not change.

    Raises:
        ValueError: ``count`` is negative.
    """
    if count < 0:
        raise ValueError(f"the number of newcomers cannot be negative, got {count}")
    if not count:
        return state
    entered = np.full(count, state.weights.mean())
    return LabelerState(
        weights=_normalised(np.concatenate([state.weights, entered])),
        slots=state.slots,
        cumulative_loss=np.concatenate([state.cumulative_loss, np.zeros(count)]),
        slots_seen=np.concatenate([state.slots_seen, np.zeros(count, dtype=np.int64)]),
    )


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
    slot, labeler = np.nonzero(~np.isnan(reports))
    return run_reports(
        state,
        slot.astype(np.int64),
        labeler.astype(np.int64),
        reports[slot, labeler],
        outcomes,
        rule=rule,
        rng=rng,
    )


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
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
    if rule == "sampled" and rng is None:
        raise ValueError("the sampled rule draws one labeler a slot: pass rng")
    slot, labeler = np.asarray(slot, dtype=np.int64), np.asarray(labeler, dtype=np.int64)
    report, outcomes = np.asarray(report, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    labelers, slots = state.weights.size, outcomes.size
    if slot.ndim != 1 or slot.shape != labeler.shape or slot.shape != report.shape or outcomes.ndim != 1:
        raise ValueError(f"expected one row for each report, got {slot.shape}, {labeler.shape} and {report.shape}")
    if (np.diff(slot) < 0).any():
        raise ValueError("reports must be sorted by slot: weights depend on the order")
    if slot.size and (slot[0] < 0 or slot[-1] >= slots or labeler.min() < 0 or labeler.max() >= labelers):
        raise ValueError(f"slots must lie in 0..{slots - 1} and labelers in 0..{labelers - 1}")
    if np.unique(slot * labelers + labeler).size != slot.size:
        raise ValueError("a labeler reported twice in one slot: keep one report of each")
    if not ((report >= 0) & (report <= 1)).all():
        raise ValueError("reports must lie in [0, 1]")
    _check_outcomes(outcomes)

    weights = state.weights.copy()
    cumulative_loss, slots_seen = state.cumulative_loss.copy(), state.slots_seen.copy()
    learned = state.slots
    aggregates = np.full(slots, np.nan)
    row_ends = np.searchsorted(slot, np.arange(slots), side="right")
    start = 0
    for t, end in enumerate(row_ends.tolist()):
        reporters, reported = labeler[start:end], report[start:end]
        start = end
        if not reporters.size:
            continue
        held = weights[reporters]
        if rule == "pooled":
            aggregates[t] = _pool(held, reported)
        else:
            assert rng is not None
            aggregates[t] = reported[_draw(held, rng)]
        if np.isnan(outcomes[t]):
            continue
        learned += 1
        losses = np.square(reported - outcomes[t])
        step, next_step = anytime_step(labelers, learned), anytime_step(labelers, learned + 1)
        _update(weights, reporters, losses, step, next_step / step if step else 1.0)
        cumulative_loss[reporters] += losses
        slots_seen[reporters] += 1
    return SlotResults(
        state=LabelerState(weights, learned, cumulative_loss, slots_seen),
        aggregates=aggregates,
        losses=np.square(aggregates - outcomes),
    )


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
    every slot; drawing each once and keeping it gives every slot the same chances and costs O(N) a slot.)

    Args:
        reports: shape (T, N), in [0, 1], NaN where a labeler did not report.
        outcomes: shape (T,), in [0, 1], NaN where none was realised: such a slot has no lottery.
        wins: shape (N,), lotteries won in earlier slots; none by default.
        rng: source of the lotteries.

    Guarantees: truthful for forward-looking labelers too, who care for how often they are followed over any number of
    slots: more wins never hurt, and truth-telling maximises the chance of each of them. Regret falls in practice but
    has
    no proven O(sqrt T) bound; Komiyama, Mehta & Mortazavi (arXiv 2502.11483) give a variant that has one, up to logs.

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
    aggregates = np.full(slots, np.nan)
    for t in range(slots):
        reporters = np.flatnonzero(~np.isnan(reports[t]))
        if not reporters.size:
            continue
        lead = won[reporters] == won[reporters].max()
        aggregates[t] = reports[t, reporters[_draw(lead.astype(np.float64), rng)]]
        if not np.isnan(outcomes[t]):
            chances = lottery_chances(np.square(reports[t, reporters] - outcomes[t]))
            won[reporters[_draw(chances, rng)]] += 1
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
