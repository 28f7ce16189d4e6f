"""Targets in an embedding space, and how far texts are from them.

Belongs here: choosing the target, distances, evaluations, and the game that values contributors by their
centroid. Does not belong here: the embedding itself (see ``resources.models.embedder``).

Source: Crowd-SFT (arXiv 2506.04063), on targets and evaluation functions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EVALUATIONS = ("negative_l2", "negative_l1", "dot_product", "cosine")


@dataclass(frozen=True, slots=True)
class DistanceEstimate:
    """Mean target distance of a model, in the embedding space's unit.

    ``mean`` over ``samples`` texts; ``standard_error`` = sd / sqrt(samples), infinite for a single text, as
    one text says nothing about the spread.
    """

    mean: float
    standard_error: float
    samples: int


def nearest_centroid(
    vectors: NDArray[np.float64], scores: NDArray[np.float64], k: int = 100
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Target: the centroid of the k nearest neighbours of the text that scores highest for the wanted
    attribute.

    The highest-scoring text is where the neighbourhood is, not a member of it; of equal scores and equal
    distances the lower index counts first.

    Args:
        vectors: shape (n, d), the embedded texts.
        scores: shape (n,), how strongly each text shows the attribute.
        k: number of neighbours, 1..n-1.

    Returns:
        target of shape (d,) and the neighbours' indices of shape (k,), nearest first.

    Raises:
        ValueError: shapes that do not match, a number that is not finite, or fewer than k + 1 texts.

    Source: Crowd-SFT (arXiv 2506.04063), on targets (k = 100, L2).

    Example:
        >>> import numpy as np
        >>> texts = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 4.0]])
        >>> centre, members = nearest_centroid(texts, scores=np.array([0.9, 0.2, 0.8]), k=1)
        >>> centre.tolist(), members.tolist()
        ([0.0, 1.0], [1])
    """
    vectors = _matrix(vectors)
    scores = _scores(scores, len(vectors))
    if not 1 <= k < len(vectors):
        raise ValueError(f"{k} neighbours of one text need at least {k + 1} texts, got {len(vectors)}: lower k")
    highest = int(np.argmax(scores))
    away = distances(vectors, vectors[highest])
    away[highest] = np.inf
    neighbours = np.argsort(away, kind="stable")[:k].astype(np.int64)
    return vectors[neighbours].mean(axis=0), neighbours


def highest_centroid(
    vectors: NDArray[np.float64], scores: NDArray[np.float64], k: int = 100
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Target: the centroid of the k texts that score highest for the wanted attribute.

    Of equal scores the lower index counts first.

    Args:
        vectors: shape (n, d), the embedded texts.
        scores: shape (n,), how strongly each text shows the attribute.
        k: number of texts, 1..n.

    Returns:
        target of shape (d,) and the texts' indices of shape (k,), highest first.

    Raises:
        ValueError: shapes that do not match, a number that is not finite, or fewer than k texts.

    Example:
        >>> import numpy as np
        >>> texts = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 4.0]])
        >>> centre, members = highest_centroid(texts, scores=np.array([0.9, 0.2, 0.8]), k=2)
        >>> centre.tolist(), members.tolist()
        ([2.0, 2.0], [0, 2])
    """
    vectors = _matrix(vectors)
    scores = _scores(scores, len(vectors))
    if not 1 <= k <= len(vectors):
        raise ValueError(f"the {k} highest of {len(vectors)} texts cannot be had: choose k in 1..{len(vectors)}")
    highest = np.argsort(-scores, kind="stable")[:k].astype(np.int64)
    return vectors[highest].mean(axis=0), highest


def distances(vectors: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Target distance of each text: the L2 norm of (vector - target).

    Args:
        vectors: shape (n, d).
        target: shape (d,).

    Returns:
        shape (n,), each >= 0.

    Raises:
        ValueError: shapes that do not match or a number that is not finite.

    Example:
        >>> import numpy as np
        >>> distances(np.array([[3.0, 4.0], [0.0, 0.0]]), np.zeros(2)).tolist()
        [5.0, 0.0]
    """
    vectors, target = _matrix(vectors), _target(target, np.shape(vectors)[-1])
    away: NDArray[np.float64] = np.linalg.norm(vectors - target, axis=1)
    return away


def mean_distance(vectors: NDArray[np.float64], target: NDArray[np.float64]) -> DistanceEstimate:
    """Target distance of a model: the mean over its n generated texts, with a standard error.

    Select on one sample of texts and report on a fresh one: the smallest of J noisy means is biased low.

    Args:
        vectors: shape (n, d), n >= 1.
        target: shape (d,).

    Raises:
        ValueError: no text, shapes that do not match, or a number that is not finite.

    Source: Crowd-SFT (arXiv 2506.04063), on evaluation functions.

    Example:
        >>> import numpy as np
        >>> mean_distance(np.array([[3.0, 4.0], [0.0, 1.0]]), np.zeros(2))
        DistanceEstimate(mean=3.0, standard_error=2.0, samples=2)
    """
    away = distances(vectors, target)
    if not away.size:
        raise ValueError("the distance of a model needs at least one generated text")
    error = float(away.std(ddof=1) / np.sqrt(away.size)) if away.size > 1 else float("inf")
    return DistanceEstimate(mean=float(away.mean()), standard_error=error, samples=int(away.size))


def confidence_ahead(distances: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Confidence that one model is closer to the target than another, from distances on common prompts and random numbers.

    Args:
        distances: of the first model's generations, shape (n,), n >= 2.
        others: of the second model's generations for the same prompts, shape (n,).

    Returns:
        Phi(mean difference / its standard error) in [0, 1], one half where all differences are zero. Pairing leaves out what
        both models have in common, so fewer samples tell them apart.

    Raises:
        ValueError: shapes that do not match, fewer than two samples, or a distance that is not finite.

    Example:
        >>> import numpy as np
        >>> round(confidence_ahead(np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.3, 0.5])), 3)
        1.0
    """
    mine, theirs = np.asarray(distances, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if mine.shape != theirs.shape or mine.ndim != 1 or mine.size < 2 or not np.isfinite(mine - theirs).all():
        raise ValueError(f"expected finite distances (n,) twice, n >= 2, got {mine.shape} and {theirs.shape}")
    gaps = theirs - mine
    error = float(gaps.std(ddof=1)) / math.sqrt(gaps.size)
    if error == 0.0:
        return float(0.5 + 0.5 * np.sign(gaps.mean()))
    return 0.5 * (1.0 + math.erf(float(gaps.mean()) / error / math.sqrt(2.0)))


def evaluate(vectors: NDArray[np.float64], target: NDArray[np.float64], evaluation: str) -> NDArray[np.float64]:
    """How good each vector is against the target: higher is better.

    With x a vector and g the target: ``negative_l2`` = -|x - g|_2, ``negative_l1`` = -|x - g|_1,
    ``dot_product`` = x.g, ``cosine`` = x.g / (|x||g|), which is 0 where x or g is zero.

    Args:
        vectors: shape (n, d).
        target: shape (d,).
        evaluation: one of ``EVALUATIONS``.

    Returns:
        shape (n,); at most 0 for the two distances, in [-1, 1] for cosine.

    Raises:
        ValueError: unknown evaluation, shapes that do not match or a number that is not finite.

    Source: Crowd-SFT (arXiv 2506.04063), on evaluation functions.

    Example:
        >>> import numpy as np
        >>> evaluate(np.array([[3.0, 4.0]]), np.zeros(2), 'negative_l2').tolist()
        [-5.0]
    """
    score = _evaluation(evaluation)
    vectors = _matrix(vectors)
    return score(vectors, _target(target, vectors.shape[1]))


def centroid_game(
    contributor_vectors: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    empty: NDArray[np.float64],
    evaluation: str = "negative_l2",
) -> Callable[[NDArray[np.bool_]], NDArray[np.float64]]:
    """The cooperative game in which a coalition is worth what its centroid is worth.

    v(S) = evaluation(mean of the vectors in S, target); v(nobody) = evaluation(empty, target).

    Args:
        contributor_vectors: shape (N, d), one vector for each contributor.
        target: shape (d,).
        empty: shape (d,), where the model stands without anybody's contribution.
        evaluation: one of ``EVALUATIONS``.

    Returns:
        a ``shapley.Game``: masks of shape (m, N) to values of shape (m,), one matrix product a call.

    Raises:
        ValueError: unknown evaluation, shapes that do not match or a number that is not finite.

    Source: Crowd-SFT (arXiv 2506.04063), experiment 2, with empty = 0.

    Example:
        >>> import numpy as np
        >>> game = centroid_game(np.array([[1.0], [3.0]]), np.array([2.0]), empty=np.array([0.0]))
        >>> game(np.array([[False, False], [True, False], [True, True]])).tolist()
        [-2.0, -1.0, -0.0]
    """
    score = _evaluation(evaluation)
    contributor_vectors = _matrix(contributor_vectors)
    dimension = contributor_vectors.shape[1]
    target, empty = _target(target, dimension), _target(empty, dimension)

    def worth(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        members = masks.astype(np.float64)
        sizes = members.sum(axis=1, keepdims=True)
        centroids = members @ contributor_vectors / np.maximum(sizes, 1.0)
        return score(np.where(sizes > 0, centroids, empty), target)

    return worth


_Evaluation = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def _negative_l2(vectors: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    score: NDArray[np.float64] = -np.linalg.norm(vectors - target, axis=1)
    return score


def _negative_l1(vectors: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    score: NDArray[np.float64] = -np.abs(vectors - target).sum(axis=1)
    return score


def _dot_product(vectors: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    score: NDArray[np.float64] = vectors @ target
    return score


def _cosine(vectors: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    # Scaled by the largest entry first: squares of very large or very small entries would leave the float
    # range.
    vectors, target = _to_unit_peak(vectors), _to_unit_peak(target[None, :])[0]
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(target)
    score: NDArray[np.float64] = np.clip(vectors @ target / np.where(lengths > 0, lengths, 1.0), -1.0, 1.0)
    return score


def _to_unit_peak(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    peaks = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    scaled: NDArray[np.float64] = vectors / np.where(peaks > 0, peaks, 1.0)
    return scaled


_SCORES: dict[str, _Evaluation] = dict(
    zip(EVALUATIONS, (_negative_l2, _negative_l1, _dot_product, _cosine), strict=True)
)


def _evaluation(name: str) -> _Evaluation:
    if name not in _SCORES:
        raise ValueError(f"unknown evaluation {name!r}: choose one of {', '.join(EVALUATIONS)}")
    return _SCORES[name]


def _matrix(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"expected finite vectors of shape (n, d), got shape {vectors.shape}")
    return vectors


def _scores(scores: NDArray[np.float64], texts: int) -> NDArray[np.float64]:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (texts,) or not np.isfinite(scores).all():
        raise ValueError(f"expected one finite score for each of {texts} texts, got shape {scores.shape}")
    return scores


def _target(target: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
    target = np.asarray(target, dtype=np.float64)
    if target.shape != (dimension,) or not np.isfinite(target).all():
        raise ValueError(f"expected a finite vector of shape ({dimension},), got shape {target.shape}")
    return target
