"""The contest of a round's candidates with its base, and what alignment learns from.

Belongs here: measuring, ranking, splitting pairs. Does not belong here: training and generation (see ``resources.training``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.preferences import quality_gap_weights
from crowd_assets.mechanisms.target import DistanceEstimate, confidence_ahead, distances, mean_distance
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.training import prompt_of
from resources.feedback.events import BOTH_BAD_SHARE
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.training.alignment import PreferencePair

DECIDED = 0.1  # a pair teaches where the aggregate is at least this far from one half


NEARLY_CERTAIN = 0.98  # the largest probability that a pair is trained with, and that a quality gap is taken from


@dataclass(frozen=True)
class Measured:
    """What a model wrote, n texts, and where they lie in Φ: ``vectors`` (n, d), ``target`` (d,)."""

    texts: list[str]
    vectors: NDArray[np.float64]
    target: NDArray[np.float64]

    @property
    def distance(self) -> DistanceEstimate:
        """Mean over the texts, and its standard error."""
        return mean_distance(self.vectors, self.target)

    def with_more(self, more: "Measured") -> "Measured":
        """Both samples as one."""
        return Measured(self.texts + more.texts, np.concatenate([self.vectors, more.vectors]), self.target)

    def confidence_ahead(self, other: "Measured") -> float:
        """Confidence that this model is closer to the target than another, from the prompts that both answered."""
        common = min(len(self.texts), len(other.texts))
        mine, others = (distances(each.vectors[:common], self.target) for each in (self, other))
        return confidence_ahead(mine, others)


Measure = Callable[[Sequence[str | None], str, int], list[Measured]]
"""Measures models on a named sample of so many texts."""


@dataclass(frozen=True)
class Contest:
    """All models as measured, in order, and the confidence that the best is closer to the target than the runner-up."""

    measured: list[Measured]
    confidence: float


def contest_of(models: Sequence[str | None], measure: Measure, settings: CrowdSettings) -> Contest:
    """Measure all models, then those again that the best cannot be told from, until it can or the samples are spent.

    Args:
        models: Hashes of stored models, None for the root; at least one.
        measure: Takes models, the name of a draw and a number of texts, and gives the distance of each model in Φ.
        settings: Texts of a sample, most samples, and the confidence from which a model counts as behind the best.

    Returns:
        Measurements in the order of ``models``, and the confidence in [0, 1] with which the best is ahead of the model that is closest behind.
    """
    measured = measure(models, "selection", settings.samples["selection"])
    for extension in range(1, settings.selection_batches + 1):
        best = int(np.argmin([each.distance.mean for each in measured]))
        ahead = [1.0 if index == best else measured[best].confidence_ahead(each) for index, each in enumerate(measured)]
        if min(ahead) >= settings.selection_confidence or extension == settings.selection_batches:
            break
        close = [index for index, sure in enumerate(ahead) if index == best or sure < settings.selection_confidence]
        further = measure([models[index] for index in close], f"selection {extension}", settings.samples["selection"])
        for index, more in zip(close, further, strict=True):
            measured[index] = measured[index].with_more(more)
    return Contest(measured, min(ahead))


def selection_row(
    role: str,
    group: int,
    model: str | None,
    distance: DistanceEstimate,
    rank: int | None,
    selected: bool,
    fresh: DistanceEstimate | None,
) -> dict[str, object]:
    """A row of ``selections``.

    Args:
        role: ``base`` or ``candidate``.
        group: Index of the candidate's group from 0, -1 for the base.
        distance: On the selection sample, in units of Φ; ``fresh``: on the report's sample, None for a model that nobody measured again.
        rank: Among the candidates, 0 the nearest to the target; None for the base.
        selected: Whether the next round begins with this model, alignment aside.
    """
    return {
        "model": model,
        "role": role,
        "group_index": group,
        "distance": distance.mean,
        "standard_error": distance.standard_error,
        "rank": rank,
        "selected": selected,
        "fresh_distance": fresh.mean if fresh else None,
        "fresh_standard_error": fresh.standard_error if fresh else None,
    }


def compared(
    aggregated: pl.DataFrame, round_: Round, settings: CrowdSettings
) -> tuple[list[tuple[str, PreferencePair]], list[tuple[str, PreferencePair]]]:
    """Decided comparisons as pairs to train on and pairs to measure on, each behind its ``comparison_id``.

    The quality gap of a pair is its Bradley–Terry gap, the log odds of the aggregate: what labelers found, not what
    sellers claim. Its probability is that of the aggregate, too. A comparison of which half of the reports or more say that
    both answers are bad teaches neither of them, and is left out.

    Args:
        aggregated: The frame ``aggregated_preferences`` of the round: a row a comparison, ``probability_a`` in [0, 1].

    Returns:
        Two lists without a common pair; the second has the share ``CROWD_ALIGNMENT_HOLDOUT`` of all, drawn by the round's key.
    """
    decided = aggregated.filter((pl.col("probability_a") - 0.5).abs() >= DECIDED).sort("comparison_id")
    if "both_bad" in decided.columns:  # frames of earlier versions have no such column
        decided = decided.filter(pl.col("both_bad").fill_null(0.0) < BOTH_BAD_SHARE)
    likelier = np.maximum(decided["probability_a"].to_numpy(), 1 - decided["probability_a"].to_numpy())
    likelier = np.minimum(likelier, NEARLY_CERTAIN)
    log_odds = np.log(likelier / (1 - likelier))
    weights = quality_gap_weights(log_odds / 2, -log_odds / 2)
    pairs = []
    for row, weight, probability in zip(decided.iter_rows(named=True), weights, likelier, strict=True):
        first, second = row["response_a"], row["response_b"]
        accepted, rejected = (first, second) if row["probability_a"] > 0.5 else (second, first)
        prompt = prompt_of(row["prompt"], row.get("messages"))
        pair = PreferencePair(prompt, accepted, rejected, float(weight), float(probability))
        pairs.append((row["comparison_id"], pair))
    order = generator_for(round_, "held-out pairs").permutation(len(pairs))
    held_out = set(order[: round(settings.alignment_holdout * len(pairs))].tolist())
    return (
        [pair for index, pair in enumerate(pairs) if index not in held_out],
        [pair for index, pair in enumerate(pairs) if index in held_out],
    )


def preference_pairs(
    aggregated: pl.DataFrame, round_: Round, settings: CrowdSettings
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """The pairs of :func:`compared`: those to train on, and those to measure on."""
    training, held_out = compared(aggregated, round_, settings)
    return [pair for _, pair in training], [pair for _, pair in held_out]


def is_better(accuracy_before: float, accuracy_after: float, distance_before: float, distance_after: float) -> bool:
    """Whether an aligned model is kept: held-out accuracy, in [0, 1], rose, and the target distance, in units of Φ, did not."""
    return accuracy_after > accuracy_before and distance_after <= distance_before


def why_not(accuracy_before: float, accuracy_after: float, distance_before: float, distance_after: float) -> str:
    """Why :func:`is_better` says no, in words for a report."""
    if accuracy_after <= accuracy_before:
        return f"held-out accuracy went from {accuracy_before:.3f} to {accuracy_after:.3f}"
    return f"target distance went from {distance_before:.3f} to {distance_after:.3f}"
