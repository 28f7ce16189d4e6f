"""The score update over slots that all labelers report, as matrices: many instances at once, for experiments.

Belongs here: vectorised slots. Does not belong here: slots with gaps, as rounds have them (see ``score_update``).
"""

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.score_update import (
    LARGEST_STEP,
    LabelerState,
    SlotResults,
    check_outcomes,
    checked_slots,
    learn,
    pool,
    update,
)


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

    Example:
        >>> import numpy as np
        >>> from crowd_assets.mechanisms.labelers.score_update import initial_state
        >>> state, aggregate = update_slot(initial_state(2), np.array([1.0, 0.0]), 1.0, step=0.5)
        >>> state.weights.tolist(), aggregate
        ([0.625, 0.375], 0.5)
    """
    reports = checked_slots(np.asarray(reports, dtype=np.float64)[None, :])[0]
    if reports.shape != state.weights.shape:
        raise ValueError(f"expected {state.weights.size} reports (NaN where absent), got {reports.size}")
    check_outcomes(np.array([outcome]))
    if not 0.0 <= step <= LARGEST_STEP:
        raise ValueError(f"step must lie in [0, {LARGEST_STEP}], got {step}")
    if not 0.0 < keep <= 1.0:
        raise ValueError(f"keep must lie in (0, 1], got {keep}")
    reporters = np.flatnonzero(~np.isnan(reports))
    if not reporters.size:
        return state, float("nan")
    weights = state.weights.copy()
    aggregate = pool(weights[reporters], reports[reporters])
    if np.isnan(outcome):
        return state, aggregate
    losses = np.square(reports[reporters] - outcome)
    update(weights, reporters, losses, step, keep)
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

    Example:
        >>> import numpy as np
        >>> drawn(np.array([[0.0, 1.0], [1.0, 0.0]]), np.random.default_rng(0)).tolist()
        [1, 0]
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

    Example:
        >>> import numpy as np
        >>> updated_weights(np.array([0.5, 0.5]), np.array([0.0, 1.0]), step=0.5).tolist()
        [0.625, 0.375]
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

    Example:
        >>> import numpy as np
        >>> from crowd_assets.mechanisms.labelers.score_update import initial_state
        >>> found = run_slots(initial_state(2), np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1.0, 1.0]))
        >>> found.aggregates.round(3).tolist(), found.losses.round(3).tolist()
        ([0.5, 0.625], [0.25, 0.141])
    """
    reports = checked_slots(reports)
    outcomes = np.asarray(outcomes, dtype=np.float64)
    if reports.shape[1] != state.weights.size:
        raise ValueError(f"expected reports of {state.weights.size} labelers, got {reports.shape[1]}")
    if outcomes.shape != (len(reports),):
        raise ValueError(f"expected one outcome for each of {len(reports)} slots, got shape {outcomes.shape}")
    check_outcomes(outcomes)
    reported = ~np.isnan(reports)
    slot, labeler = np.nonzero(reported)
    return learn(state, slot.astype(np.int64), labeler.astype(np.int64), reports[reported], outcomes, rule, rng)
