"""Learning from labelers of whom one reports a slot, or two: limited and paired feedback.

Belongs here: estimates of losses that nobody reported. Does not belong here: slots that everybody reports (see ``score_update``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.dense import updated_weights
from crowd_assets.mechanisms.labelers.score_update import (
    LARGEST_STEP,
    LabelerState,
    SlotResults,
    check_outcomes,
    checked_slots,
    draw,
    update,
)


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


def limited_feedback_step(labelers: int, slots: int) -> float:
    """Step for ``run_limited_feedback`` over a known number of slots: min(1/(2N), sqrt(ln N / (2 N T))).

    At most 1/(2N), as the estimated loss reaches N: then no weight changes by more than half in a slot.

    Raises:
        ValueError: fewer than one labeler or slot.

    Example:
        >>> round(limited_feedback_step(labelers=2, slots=100), 4)
        0.0416
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

    Example:
        >>> import numpy as np
        >>> from crowd_assets.mechanisms.labelers.score_update import initial_state
        >>> reports, outcomes = np.tile([1.0, 0.0], (100, 1)), np.ones(100)
        >>> found = run_limited_feedback(initial_state(2), reports, outcomes, rng=np.random.default_rng(0))
        >>> bool(found.state.weights[0] > 0.9), int(found.state.slots_seen.sum())
        (True, 100)
    """
    reports, outcomes = checked_slots(reports), np.asarray(outcomes, dtype=np.float64)
    slots, labelers = reports.shape
    if labelers != state.weights.size or outcomes.shape != (slots,):
        raise ValueError(f"expected reports of {state.weights.size} labelers and {slots} outcomes")
    if np.isnan(reports).any() or np.isnan(outcomes).any():
        raise ValueError("limited feedback draws whom to ask: every labeler needs a report and every slot an outcome")
    check_outcomes(outcomes)
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
        aggregates[t] = reports[t, draw(weights, rng)]
        loss = (reports[t, teacher] - outcomes[t]) ** 2
        estimated = np.zeros(labelers)
        estimated[teacher] = labelers * loss
        update(weights, everybody, estimated, step, 1.0)
        cumulative_loss[teacher] += loss
        slots_seen[teacher] += 1
    return SlotResults(
        state=LabelerState(weights, state.slots + slots, cumulative_loss, slots_seen),
        aggregates=aggregates,
        losses=np.square(aggregates - outcomes),
    )


def initial_paired_state(labelers: int, crowds: tuple[int, ...] = ()) -> PairedState:
    """State of N labelers nobody knows yet, in each crowd of shape ``crowds``. Raises ValueError for none.

    Example:
        >>> state = initial_paired_state(2)
        >>> state.weights.tolist(), state.step.round(6).tolist()
        ([0.5, 0.5], [0.25])
    """
    if labelers < 1:
        raise ValueError(f"a crowd needs at least one labeler, got {labelers}")
    squares = np.zeros((*crowds, labelers))
    return PairedState(np.full(squares.shape, 1.0 / labelers), squares, paired_feedback_step(squares))


def paired_feedback_step(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Step of paired feedback after gains whose squares sum to ``squares`` (..., N): sqrt(ln N / (4 N^2 ln N + max)).

    Returns:
        shape (..., 1), at most 1/(2N), never rising from slot to slot (with ln 2 for ln N where N = 1).

    Example:
        >>> import numpy as np
        >>> paired_feedback_step(np.zeros(2)).round(6).tolist()
        [0.25]
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

    Example:
        >>> import numpy as np
        >>> found = update_paired(initial_paired_state(2), np.array(0), np.array(1), np.array(0.0), np.array(1.0))
        >>> found.weights.round(3).tolist(), found.squares.tolist()
        ([0.625, 0.375], [1.0, 1.0])
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

    Example:
        >>> import numpy as np
        >>> reports, outcomes = np.tile([1.0, 0.0], (100, 1)), np.ones(100)
        >>> found = run_paired_feedback(initial_paired_state(2), reports, outcomes, rng=np.random.default_rng(0))
        >>> bool(found.state.weights[0] > 0.9), found.asked.shape
        (True, (100, 2))
    """
    reports, outcomes = checked_slots(reports), np.asarray(outcomes, dtype=np.float64)
    slots, labelers = reports.shape
    if state.weights.shape != (labelers,) or outcomes.shape != (slots,):
        raise ValueError(f"expected reports of {state.weights.shape} labelers and {slots} outcomes")
    if np.isnan(reports).any() or np.isnan(outcomes).any():
        raise ValueError("paired feedback draws whom to ask: every labeler needs a report and every slot an outcome")
    check_outcomes(outcomes)
    losses = np.square(reports - outcomes[:, None])
    asked = np.empty((slots, 2), dtype=np.int64)
    for t in range(slots):
        asked[t] = draw(state.weights, rng), rng.integers(labelers)
        one, other = asked[t]
        state = update_paired(state, one, other, losses[t, one], losses[t, other])
    everywhere = np.arange(slots)
    return PairedResults(
        state=state,
        aggregates=reports[everywhere, asked[:, 0]],
        losses=losses[everywhere, asked[:, 0]],
        asked=asked,
    )
