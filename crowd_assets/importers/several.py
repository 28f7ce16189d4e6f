"""What a row says of several answers, as pairs: rankings, ratings, a best of K, and a correction beside what was corrected.

Belongs here: the pairs and their shares of one judgement. Does not belong here: two answers and a winner (see ``table``).
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, cast

from crowd_assets.importers.cells import at, cell_of, first_of, plain
from crowd_assets.importers.chat import Asked, answer_of
from crowd_assets.importers.mapping import Mapping, axes_of, each_of
from crowd_assets.importers.records import (
    Event,
    RowError,
    digest,
    from_scores,
    identifier_of,
    named,
    number_of,
    positions,
    ranked_pairs,
    sourced,
)


def correction_of(event: Event, original: str, question: Asked | None) -> Iterator[Event]:
    """A correction as what it shows, and as a preference for it over what was corrected."""
    corrected = event["response"]
    if corrected == original:
        raise RowError("nothing was corrected")
    yield event
    key = question.key if question else ""
    response_a, response_b = positions(0, key, corrected, original)
    kept = {name: value for name, value in event.items() if name not in ("response", "event_id")}
    yield kept | {
        "kind": "preference",
        "comparison_id": digest(key, response_a, response_b),
        "response_a": response_a,
        "response_b": response_b,
        "probability_a": float(response_a == corrected),
    }


def pairs_of(event: Event, cells: dict[str, Any], mapping: Mapping, asked_key: str, source: str) -> Iterator[Event]:
    """A ranking, ratings or a best-of-K as pairs, which together are one judgement."""
    texts = [answer_of(each, "response") for each in _several(cells, mapping.responses)]
    names = [str(number) for number in range(len(texts))]
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise RowError("fewer than two responses, or two that are the same")
    if mapping.best:
        chosen = _best(cells, mapping, texts)
        others = [number for number in range(len(texts)) if number != chosen]
        # The best of K is preferred to each of the others, of which nothing is said among themselves.
        found: list[tuple[int, int, float, float]] = [
            (min(chosen, other), max(chosen, other), float(chosen < other), 1 / len(others)) for other in others
        ]
    else:
        numbers = _ranks(cells, mapping) if mapping.ranks else _ratings(cells, mapping)
        if len(numbers) != len(texts):
            raise RowError("not as many ranks or ratings as responses", numbers)
        if mapping.ranks:
            ranked = ranked_pairs(dict(zip(names, numbers, strict=True)))
            found = [(int(one), int(other), probability, share) for one, other, probability, share in ranked]
        else:
            found = [
                (
                    one,
                    other,
                    from_scores(numbers[one], numbers[other]),
                    2 / (len(texts) * (len(texts) - 1)),
                )
                for one, other in combinations(range(len(texts)), 2)
            ]
    given_id = cell_of("comparison_id", cells, mapping)
    for one, other, probability, share in found:
        content = digest(asked_key, texts[one], texts[other])
        pair = {"response_a": texts[one], "response_b": texts[other], "probability_a": probability}
        comparison = (
            content if given_id is None else f"{identifier_of(given_id, 'comparison_id')}-{one + 1}-{other + 1}"
        )
        yield (
            event
            | pair
            | {"comparison_id": named(comparison if given_id is None else sourced(comparison, source))}
            | ({"judgement_share": share} if share < 1 else {})
        )


def _ranks(cells: dict[str, Any], mapping: Mapping) -> list[float]:
    return [number_of(each, "rank") for each in _several(cells, mapping.ranks)]


def _ratings(cells: dict[str, Any], mapping: Mapping) -> list[float]:
    """The strength of each response in logits: its ratings on all axes, by their weights."""
    axes = axes_of(mapping.ratings)
    if mapping.group:
        rated = [[at(row, column) for axis in axes for column in each_of(axis)] for row in cells[""]]
    elif any(not isinstance(axis, str) for axis in axes):
        rated = [[at(cells, column) for column in each_of(axis)] for axis in axes]
    else:
        rated = [[each] for each in _several(cells, cast("tuple[str, ...]", axes))]
    return [_strength(each, mapping) for each in rated]


def _strength(given: list[Any], mapping: Mapping) -> float:
    weights = mapping.weights.get("ratings", (1.0,) * len(given))
    if len(weights) != len(given):
        raise RowError("not as many ratings as weights", given)
    rated = [(_points(each, mapping), weight) for each, weight in zip(given, weights, strict=True) if plain(each)]
    if not sum(weight for _, weight in rated) > 0:
        raise RowError("no rating of a response")
    return sum(points * weight for points, weight in rated) / sum(weight for _, weight in rated)


def _points(given: Any, mapping: Mapping) -> float:
    """A rating in logits."""
    text = given.strip().removesuffix("%") if isinstance(given, str) else given
    points = number_of(text, "rating")
    if "ratings" not in mapping.scale:
        return points / (mapping.points_per_logit or 1.0)
    low, high = mapping.scale["ratings"]
    if not min(low, high) <= points <= max(low, high):
        raise RowError(f"rating is not on the scale from {min(low, high):g} to {max(low, high):g}", given)
    return (points - low) / (mapping.points_per_logit or abs(high - low) / 4) * (1 if high > low else -1)


def _best(cells: dict[str, Any], mapping: Mapping, texts: list[str]) -> int:
    value = plain(first_of(cells, each_of(mapping.best)))
    columns = each_of(mapping.responses)
    if value in texts:
        return texts.index(value)
    if value in columns:
        return columns.index(value)
    number = number_of(value, "best")
    if not number.is_integer() or not 1 <= number <= len(texts):
        raise RowError("best is none of the responses: write its number from 1, its column or its text", value)
    return int(number) - 1


def _several(cells: dict[str, Any], columns: Any) -> list[Any]:
    """The values of several columns that are not empty, or of the list that one column holds."""
    if isinstance(cells.get(""), list):  # rows that belong together
        return [at(row, columns if isinstance(columns, str) else columns[0]) for row in cells[""]]
    found = [at(cells, column) for column in each_of(columns)]
    if len(found) == 1 and isinstance(found[0], list):
        return found[0]
    return [each for each in found if plain(each)]
