"""Reports of labelers who steer the aggregate towards their own belief, at the equilibrium of a crowd of them.

Belongs here: equilibria of the mean, the median and a log-odds pool. Does not belong here: updates of weights (see ``score_update``),
searches for the best misreport (see ``crowd_assets.simulation.misreports``).

Source: Hao & Duan, "Online learning from strategic human feedback in LLM fine-tuning" (arXiv 2412.16834).
"""

import numpy as np
from numpy.typing import NDArray


def steering_reports(
    weights: NDArray[np.float64], beliefs: NDArray[np.float64], steering: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Reports of a crowd in which some steer the pooled aggregate and the others tell the truth, at equilibrium.

    The truthful share F = sum of w p stays where it is. With the beliefs of those who steer sorted p_(1) >= ... >= p_(k) and W_k the weight
    of the first k, the crowd settles on P = max(F, max over k of min(p_(k), F + W_k)): who believes more than P reports 1, who believes
    less reports 0, who believes P fills up what is missing. Where all of N steer with equal weights, P is median(p_1, ..., p_N, 1/N, ...,
    (N-1)/N): the mean has become a median, whatever the reports' precision was.

    Args:
        weights: shape (N,), or (..., N) for many crowds at once; not negative, sum 1.
        beliefs: the same shape, in [0, 1].
        steering: the same shape, who steers.

    Returns:
        the same shape, in [0, 1]; nobody who steers could bring the aggregate nearer to its belief alone.

    Raises:
        ValueError: shapes that differ.

    Source: Renault & Trannoy, "Protecting minorities through the average voting rule" (2005); Moulin, "On strategy-proofness and single
    peakedness" (1980) for the median with phantoms.

    Example:
        >>> import numpy as np
        >>> beliefs, steering = np.array([0.75, 0.25, 0.0]), np.array([True, True, False])
        >>> steering_reports(np.array([0.5, 0.25, 0.25]), beliefs, steering).tolist()
        [1.0, 0.0, 0.0]
    """
    weights, beliefs = np.asarray(weights, dtype=np.float64), np.asarray(beliefs, dtype=np.float64)
    steering = np.asarray(steering, dtype=bool)
    if weights.shape != beliefs.shape or steering.shape != beliefs.shape:
        raise ValueError(f"expected one entry a labeler, got {weights.shape}, {beliefs.shape} and {steering.shape}")
    fixed = np.where(steering, 0.0, weights * beliefs).sum(axis=-1, keepdims=True)
    held = np.where(steering, weights, 0.0)
    settled = _settled(held, np.where(steering, beliefs, -np.inf), fixed)
    above, at = steering & (beliefs > settled), steering & (beliefs == settled)
    reports = np.where(steering, above.astype(np.float64), beliefs)
    filling = np.where(at, held, 0.0).sum(axis=-1, keepdims=True)
    missing = settled - fixed - np.where(above, held, 0.0).sum(axis=-1, keepdims=True)
    fill = np.clip(np.divide(missing, filling, out=np.zeros_like(filling), where=filling > 0), 0.0, 1.0)
    return np.where(at & (filling > 0), fill, reports)


def _settled(
    weights: NDArray[np.float64], beliefs: NDArray[np.float64], fixed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Aggregate (..., 1) on which those who steer settle, with ``fixed`` (..., 1) added by those who do not; beliefs of
    -inf stand for nobody."""
    order = np.argsort(-beliefs, axis=-1, kind="stable")
    ladder = np.minimum(fixed + np.cumsum(np.take_along_axis(weights, order, -1), axis=-1), 1.0)
    reached: NDArray[np.float64] = np.minimum(np.take_along_axis(beliefs, order, -1), ladder)
    highest: NDArray[np.float64] = np.maximum(reached.max(axis=-1, keepdims=True), fixed)
    return highest


def median_equilibrium(beliefs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Aggregate on which a crowd of steering labelers settles under the median.

    For an odd number nobody gains by lying: the median of the beliefs. For an even number the midpoint of the middle
    two is pulled from both sides, until it rests at median(p_(N/2), 1/2, p_(N/2 + 1)): what all above P reporting 1 and
    all below it reporting 0 gives.

    Args:
        beliefs: shape (..., N), in [0, 1].

    Returns:
        shape (...), in [0, 1].

    Raises:
        ValueError: no labeler.

    Source: Yamamura & Kawasaki, "Generalized average rules as stable Nash mechanisms to implement generalized median
    rules" (2013).

    Example:
        >>> import numpy as np
        >>> median_equilibrium(np.array([[0.1, 0.2, 0.9, 1.0], [0.1, 0.2, 0.3, 1.0]])).tolist()
        [0.5, 0.3]
    """
    ordered = np.sort(np.asarray(beliefs, dtype=np.float64), axis=-1)
    labelers = ordered.shape[-1]
    if not labelers:
        raise ValueError("a crowd needs at least one labeler")
    settled: NDArray[np.float64] = np.clip(0.5, ordered[..., (labelers - 1) // 2], ordered[..., labelers // 2])
    return settled


def log_odds_steering_reports(
    weights: NDArray[np.float64], prior: float, beliefs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reports of a crowd that steers a log-odds pool, logit P = prior + sum of (2 r_i - 1) weight_i, at equilibrium.

    Dawid-Skene and naive Bayes pool like that, at given accuracies. As in ``steering_reports``, with the ladder
    F_k = P when the k highest believers pull up and the others down: P = max(F_0, max over k of min(p_(k), F_k)). Who
    has a negative weight pulls by reporting the opposite.

    Args:
        weights: shape (N,), log-odds of the accuracies, finite.
        prior: log-odds of A.
        beliefs: shape (T, N), in [0, 1].

    Returns:
        reports (T, N) and P (T,); nobody could bring P nearer to its belief alone.

    Example:
        >>> import numpy as np
        >>> reports, settled = log_odds_steering_reports(np.array([1.0, 1.0]), 0.0, np.array([[0.9, 0.2]]))
        >>> reports.tolist(), settled.round(3).tolist()
        ([[1.0, 0.0]], [0.5])
    """
    pull = np.abs(np.asarray(weights, dtype=np.float64))
    order = np.argsort(-beliefs, axis=1, kind="stable")
    ordered, pulls = np.take_along_axis(beliefs, order, 1), pull[order]
    lowest = prior - pull.sum()
    rungs = lowest + 2.0 * np.cumsum(pulls, axis=1)
    floor, ladder = (1.0 + np.tanh(lowest / 2.0)) / 2.0, (1.0 + np.tanh(rungs / 2.0)) / 2.0
    settled = np.maximum(np.minimum(ordered, ladder).max(axis=1, keepdims=True), floor)
    above, at = ordered > settled, ordered == settled
    inner = np.clip(settled, 1e-15, 1.0 - 1e-15)
    missing = np.log(inner / (1.0 - inner)) - lowest - 2.0 * np.where(above, pulls, 0.0).sum(axis=1, keepdims=True)
    filling = 2.0 * np.where(at, pulls, 0.0).sum(axis=1, keepdims=True)
    fill = np.clip(np.divide(missing, filling, out=np.full_like(filling, 0.5), where=filling > 0), 0.0, 1.0)
    upward = np.empty_like(ordered)
    np.put_along_axis(upward, order, np.where(at, fill, above.astype(np.float64)), 1)
    reports: NDArray[np.float64] = np.where(np.asarray(weights) < 0.0, 1.0 - upward, upward)
    return reports, settled[:, 0]
