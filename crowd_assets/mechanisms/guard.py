"""The guard: whether texts are language like the reference texts', whatever a target says of them.

A target distance is what everybody aims at, so it cannot also be what tells a text that says something from one that was made to
score. The guard looks at other figures: how likely the root model finds a text, token by token, and how alike and how much copied
what a model writes is.

Belongs here: the figures, their calibration on reference texts, the verdicts. Does not belong here: scoring by a model (see
``resources.training.likelihood``), what follows from a verdict (see ``crowd_assets.round.guard``).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 5  # tokens: a hostile sentence in front of a likely one is as long
TAIL = 0.001  # of reference texts, beyond each of the three bounds
COPIED = 8  # words in a row
SURE = 2.0  # standard errors
GRAM = 2  # words whose repetition is counted

Scores = Sequence[NDArray[np.float64]]

Weigh = Callable[[Sequence[tuple[str, str]]], Sequence[tuple[float, str]]]
"""Of pairs of prompt and response, nats a token of the response, and what puts it outside the range of reference texts; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Of each of n texts: ``mean`` (n,) log-likelihood a token, nats, and ``worst`` (n,), the lowest mean of ``WINDOW`` tokens in a
    row, or of all where there are fewer. A text without a token has 0 and 0."""

    mean: NDArray[np.float64]
    worst: NDArray[np.float64]


def likelihoods(scores: Scores) -> Likelihoods:
    """Mean and worst log-likelihood of each text, by the log-likelihoods of the text's tokens.

    Args:
        scores: one array a text, nats, finite.

    Raises:
        ValueError: a number that is not finite, or an array that is not one-dimensional.

    Example:
        >>> import numpy as np
        >>> found = likelihoods([np.array([-1.0, -1, -1, -1, -1, -7]), np.array([-2.0])])
        >>> found.mean.tolist(), found.worst.round(6).tolist()
        ([-2.0, -2.0], [-2.2, -2.0])
    """
    mean, worst = np.zeros(len(scores)), np.zeros(len(scores))
    for index, given in enumerate(scores):
        tokens = np.asarray(given, dtype=np.float64)
        if tokens.ndim != 1 or not np.isfinite(tokens).all():
            raise ValueError(f"text {index}: expected finite log-likelihoods of its tokens, one number each")
        if tokens.size:
            sums = np.concatenate([[0.0], np.cumsum(tokens)])
            width = min(WINDOW, tokens.size)
            mean[index] = tokens.mean()
            worst[index] = ((sums[width:] - sums[:-width]) / width).min()
    return Likelihoods(mean, worst)


@dataclass(frozen=True, slots=True)
class LikelihoodRange:
    """Where reference texts lie, nats a token: a text is outside with a mean below ``lowest`` or above ``highest``, or with
    ``WINDOW`` tokens in a row below ``lowest_window``."""

    lowest: float
    highest: float
    lowest_window: float

    def outside(self, of: Likelihoods) -> NDArray[np.bool_]:
        """(n,), which texts are outside."""
        beyond: NDArray[np.bool_] = (of.mean < self.lowest) | (of.mean > self.highest) | (of.worst < self.lowest_window)
        return beyond

    def why(self, of: Likelihoods, index: int) -> str:
        """What puts a text outside, with its figure; empty for a text that is not."""
        mean, worst = float(of.mean[index]), float(of.worst[index])
        if mean < self.lowest:
            return f"{mean:.2f} nats a token, below {self.lowest:.2f}: unlike the reference texts"
        if worst < self.lowest_window:
            return f"{WINDOW} tokens at {worst:.2f} nats, below {self.lowest_window:.2f}: unlike the reference texts"
        if mean > self.highest:
            return f"{mean:.2f} nats a token, above {self.highest:.2f}: likelier than any reference text"
        return ""


def calibrated(reference: Likelihoods, tail: float = TAIL) -> LikelihoodRange:
    """The range of reference texts.

    Each bound is the order statistic that a further text of the same kind lies beyond with probability at most ``tail``; with
    fewer than 1 / tail texts, the outermost of them.

    Args:
        reference: figures of n >= 20 texts.
        tail: in (0, 0.1].

    Guarantees: of exchangeable texts at most 3 tail are outside, in expectation, where n >= 1 / tail.

    Raises:
        ValueError: fewer than 20 texts, or a tail outside (0, 0.1].

    Source: Vovk, Gammerman & Shafer, "Algorithmic learning in a random world" (2005): conformal prediction.

    Example:
        >>> import numpy as np
        >>> means = np.linspace(-4.0, -2.0, 21)
        >>> calibrated(Likelihoods(means, means - 1.0))
        LikelihoodRange(lowest=-4.0, highest=-2.0, lowest_window=-5.0)
    """
    texts = len(reference.mean)
    if texts < 20 or not 0.0 < tail <= 0.1:
        raise ValueError(f"a range needs 20 reference texts and a tail in (0, 0.1], got {texts} and {tail}")
    place = max(int(tail * (texts + 1)) - 1, 0)
    mean, worst = np.sort(reference.mean), np.sort(reference.worst)
    return LikelihoodRange(float(mean[place]), float(mean[texts - 1 - place]), float(worst[place]))


@dataclass(frozen=True, slots=True)
class Writing:
    """How a model writes, over n texts.

    Attributes:
        outside: Share of texts outside the range of the reference texts.
        distinct: Distinct pairs of words over pairs of words, in [0, 1].
        overlap: Mean share of a text's pairs of words that another of the texts has, too.
        copied: Share of texts that have ``COPIED`` words in a row from a text it was trained on, or are one of them.
        texts: n.
    """

    outside: float
    distinct: float
    overlap: float
    copied: float
    texts: int


def writing(texts: Sequence[str], outside: NDArray[np.bool_], trained_on: Iterable[str] = ()) -> Writing:
    """Figures of what a model wrote.

    Args:
        texts: n >= 1, answers to prompts.
        outside: shape (n,), see ``LikelihoodRange.outside``.
        trained_on: what the model was trained on; by default nothing is called copied.

    Raises:
        ValueError: no text, or not one verdict each.

    Source: Li et al., "A diversity-promoting objective function" (2016), for distinct-n; Zhu et al., "Texygen" (2018), for
    overlap within a sample.

    Example:
        >>> import numpy as np
        >>> found = writing(["the cat sat", "the cat ran"], np.array([False, True]), trained_on=["the cat ran"])
        >>> found.outside, found.distinct, found.overlap, found.copied
        (0.5, 0.75, 0.5, 0.5)
    """
    if not texts or np.asarray(outside).shape != (len(texts),):
        raise ValueError(f"expected one verdict for each of at least one text, got {len(texts)} texts")
    words = [text.lower().split() for text in texts]
    pairs = [_grams(each, GRAM) for each in words]
    total = sum(len(each) for each in pairs)
    having = Counter(pair for each in pairs for pair in set(each))
    shares = [np.mean([having[pair] > 1 for pair in each]) for each in pairs if each]
    seen = {run for text in trained_on for run in _runs(text.lower().split())}
    return Writing(
        outside=float(np.mean(outside)),
        distinct=len(having) / total if total else 0.0,
        overlap=float(np.mean(shares)) if shares else 1.0,
        copied=float(np.mean([any(run in seen for run in _runs(each)) for each in words])) if seen else 0.0,
        texts=len(texts),
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a candidate's writing may fall behind the base's.

    Attributes:
        outside: By how much more of its texts may lie outside of the reference texts' range, and ``SURE`` standard errors beyond.
        distinct: Least part of the base's distinct pairs of words.
        overlap: Least part of the base's pairs of words that no other text of the sample has.
        copied: Largest share of copied texts beyond the base's.
    """

    outside: float = 0.1
    distinct: float = 0.33
    overlap: float = 0.2
    copied: float = 0.5


def falls_behind(candidate: Writing, base: Writing, limits: Limits) -> str:
    """What a candidate falls behind the base in, with both figures; empty where it may win.

    Raises ValueError where the samples are of different sizes: distinct-n falls with every further text.

    Example:
        >>> base = Writing(outside=0.0, distinct=0.9, overlap=0.1, copied=0.0, texts=100)
        >>> falls_behind(Writing(outside=0.0, distinct=0.2, overlap=0.1, copied=0.0, texts=100), base, Limits())
        "20% of its pairs of words are distinct, of the base's 90%"
    """
    if candidate.texts != base.texts:
        raise ValueError(f"samples of one size are compared, got {candidate.texts} and {base.texts} texts")
    chances = (share * (1.0 - share) for share in (candidate.outside, base.outside))
    noise = (sum(chances) / candidate.texts) ** 0.5
    if candidate.outside > base.outside + limits.outside + SURE * noise:
        return f"{candidate.outside:.0%} of its texts are unlike the reference texts, of the base's {base.outside:.0%}"
    if candidate.distinct < limits.distinct * base.distinct:
        return f"{candidate.distinct:.0%} of its pairs of words are distinct, of the base's {base.distinct:.0%}"
    if 1 - candidate.overlap < limits.overlap * (1 - base.overlap):
        return f"its texts share {candidate.overlap:.0%} of their pairs of words, the base's {base.overlap:.0%}"
    if candidate.copied > base.copied + limits.copied:
        return f"{candidate.copied:.0%} of its texts are copied from its training, of the base's {base.copied:.0%}"
    return ""


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    """What counts as a copy: so many words in a row, or all of a shorter text."""
    return _grams(words, COPIED) or ([tuple(words)] if words else [])
