"""Learning from labelers of whom one reports a slot, or two: limited and paired feedback.

Belongs here: estimates of losses that nobody reported. Does not belong here: slots that everybody reports (see ``score_update``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.dense import updated_weights
from crowd_assets.mechanisms.labelers.score_update import (
    LARGEST_STEP,
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


def limited_feedback_step(labelers: int, slots: int) -> float:
    """Step of the published limited feedback over a known number of slots: min(1/(2N), sqrt(ln N / (2 N T))).

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

    Guarantees, where I gives the slot's aggregate:
        * myopic truth-telling is optimal: J's next weight is affine and falling in J's own loss, I's as well (its weight grows by what J
          loses), both are strictly proper, and step and pull do not depend on the slot's reports; steering labelers tell the truth too, as
          the aggregate is one labeler's report and nobody else's;
        * a forward-looking labeler may gain: a report moves the pull of a later slot, which lifts a weight by at most
          N / (2 (4 N^2 ln N + V)), less the more was observed;
        * with g_i = sum of w_j l_j - l_i, V = max over i of the sum of g_i^2: as in ``update_slot``,
          ln w' >= keep ln w + (1 - keep) ln(1/N) and ln(1 + eta g) >= eta g - eta^2 g^2 for |eta g| <= 1/2 give
          sum of g_i <= ln N / eta_(T+1) + sum of eta_t g_i^2 <= 3 sqrt(ln N (4 N^2 ln N + V)) for every i and T (g_i^2 <= N^2, so that the
          two slots eta_t lags behind fit into 4 N^2 ln N). As E g_i^2 <= 2 N D with D the largest mean of (l_J - l_I)^2, the expected
          regret is 3 sqrt(2 N D T ln N) to leading order: at most 3 sqrt(2 N T ln N), and less the more alike labelers judge.

    Source: the limited-feedback update of Freeman et al. (2020) and Hao & Duan (arXiv 2412.16834), with a control variate from the same
    slot (this project's) and a step from observed second moments: Cesa-Bianchi, Mansour & Stoltz, "Improved second-order bounds for
    prediction with expert advice" (2007).

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
