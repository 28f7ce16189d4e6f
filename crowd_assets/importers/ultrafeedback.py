"""UltraFeedback's completions layout: several scored answers to an instruction.

Layout: https://github.com/OpenBMB/UltraFeedback#dataset-format: one object an instruction, with ``instruction`` and
``completions``, each with ``model``, ``response``, ``overall_score`` (1–10), ``fine-grained_score`` (1–5, the mean of
the aspects' ratings) and ``annotations`` (``{aspect: {"Rating": "1"…"5" or "N/A", "Rationale": …}}``). Files from
before December 2023 have the annotations only.

Belongs here: that layout, and how two scores become a probability. Does not belong here: binarised tables of chosen
and rejected answers (see ``trl_preference``).
"""

import math
from collections.abc import Iterator
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from crowd_assets.importers.chat import Asked, question_of, refuse_unusable
from crowd_assets.importers.records import (
    Event,
    Record,
    RowError,
    Skipped,
    SourceError,
    digest,
    excerpt,
    from_scores,
    number_of,
    positions,
    preference,
    sourced,
    text_of,
    ticks,
)
from crowd_assets.importers.text_tables import any_rows

DEFAULT_ANNOTATOR = "gpt-4"


def read(
    source: Path,
    *,
    start: datetime,
    annotator: str = DEFAULT_ANNOTATOR,
    points_per_logit: float = 1.0,
    seed: int = 0,
    name: str = "",
) -> Iterator[Record]:
    """One preference for every two completions of an instruction whose scores differ, one second apart.

    Args:
        source: ``.jsonl``, ``.json`` or ``.parquet``.
        start: when the first preference was submitted.
        annotator: contributor id of whoever scored.
        points_per_logit: how many points of difference, on the scale from 1 to 10, raise the log-odds by one:
            see ``probability``.
        seed: of the coin that decides which of two completions stands at A.
        name: of the source, which goes into the annotator's id.

    Raises:
        SourceError: ``points_per_logit`` is not positive, or the file cannot be read.
    """
    if not (points_per_logit > 0 and math.isfinite(points_per_logit)):
        raise SourceError("--points-per-logit must be a positive number")
    clock = ticks(start)
    for row in any_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        number, cells = row
        completions = cells.get("completions")
        try:
            refuse_unusable(cells)
            question = question_of(cells, "instruction")
            if not isinstance(completions, list) or len(completions) < 2:
                raise RowError("fewer than two completions", completions)
        except RowError as error:
            yield error.at(number)
            continue
        usable = []
        for index, completion in enumerate(completions, start=1):
            try:
                if not isinstance(completion, dict):
                    raise RowError("completion is not an object", completion)
                usable.append((text_of(completion.get("response"), "response"), completion))
            except RowError as error:
                yield Skipped(number, error.reason, f"completion {index} {error.detail}".strip())
        pairs = list(combinations(usable, 2))
        for one, other in pairs:
            try:
                event = _preference(question, one, other, next(clock), sourced(annotator, name), points_per_logit, seed)
                yield event | ({"judgement_share": 1 / len(pairs)} if len(pairs) > 1 else {})
            except RowError as error:
                yield error.at(number)


def _preference(
    question: Asked,
    one: tuple[str, dict[str, Any]],
    other: tuple[str, dict[str, Any]],
    submitted_at: datetime,
    annotator: str,
    points_per_logit: float,
    seed: int,
) -> Event:
    if one[0] == other[0]:
        raise RowError("both completions are the same")
    scores = _scores(one[1], other[1])
    if scores[0] == scores[1]:
        raise RowError("both completions have the same score", scores[0])
    response_a, response_b = positions(seed, question.key, one[0], other[0])
    (a, score_a), (b, score_b) = (one[1], scores[0]), (other[1], scores[1])
    if response_a != one[0]:
        (a, score_a), (b, score_b) = (b, score_b), (a, score_a)
    return preference(
        annotator,
        digest(question.key, response_a, response_b),
        question.prompt,
        response_a,
        response_b,
        probability(score_a, score_b, points_per_logit),
        submitted_at,
        model_a=_name(a),
        model_b=_name(b),
        score_a=score_a,
        score_b=score_b,
        **question.payload,
    )


probability = from_scores
"""Scores to the probability that A is preferred. With one point a logit a difference of one point is 0.73, of two 0.88, of four
0.98."""


def _scores(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    """The two scores on the scale from 1 to 10, by the first kind of score that both completions have."""
    for kind in (_overall_score, _fine_grained_score, _mean_rating):
        first, second = kind(one), kind(other)
        if first is not None and second is not None:
            return first, second
    raise RowError("no score that both completions have")


def _overall_score(completion: dict[str, Any]) -> float | None:
    return _score(completion, "overall_score")


def _fine_grained_score(completion: dict[str, Any]) -> float | None:
    score = _score(completion, "fine-grained_score")
    return None if score is None else _from_five_points(score)


def _score(completion: dict[str, Any], name: str) -> float | None:
    """A score; None where there is none, which the data set writes as null or NaN."""
    score = completion.get(name)
    return None if score is None or score != score else number_of(score, name)


def _mean_rating(completion: dict[str, Any]) -> float | None:
    annotations = completion.get("annotations")
    aspects = annotations.values() if isinstance(annotations, dict) else ()
    ratings = [
        number_of(aspect["Rating"], "Rating")
        for aspect in aspects
        if isinstance(aspect, dict) and aspect.get("Rating") not in (None, "N/A")
    ]
    return _from_five_points(math.fsum(ratings) / len(ratings)) if ratings else None


def _from_five_points(score: float) -> float:
    """A score between 1 and 5 on the scale from 1 to 10."""
    return 1.0 + (score - 1.0) * 9.0 / 4.0


def _name(completion: dict[str, Any]) -> str | None:
    model = completion.get("model")
    return excerpt(model) if isinstance(model, str) else None
