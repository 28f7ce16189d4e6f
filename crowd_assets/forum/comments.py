"""A small forum whose truth is known: threads about everyday topics, and comments written in a known mood.

What belongs here: the grammar (topics, moods, sentence templates), and the functions that draw prompts, comments and the
texts of careless or dishonest contributors from it. What does not: who writes what, when and why (that is the crowd's),
and anything that trains a model. numpy only; every draw comes from the ``Generator`` that is passed in.

A comment is an *opener* and a *continuation* of one mood, with nouns of one topic in their slots. The slots are

``{thing}``   one thing of the topic, with its article        ``{things}``  several of them, without an article
``{person}``  somebody of the topic, with an article          ``{doing}``   an activity, as a gerund
``{place}``   where, with its preposition                     ``{when}``    a time in the past

No filler occurs in two topics and every continuation has a topic slot, so different choices give different texts: that is
what lets ``write_comments`` promise distinct responses and say how many there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod

import numpy as np

from crowd_assets.forum.words import (
    CONTINUATIONS,
    FACTS,
    NEIGHBOURS,
    NOTICES,
    OPENERS,
    PRODUCTS,
    PROMPTS,
    SPAM,
    TOPIC_WORDS,
    WHEN,
    Topic,
)


@dataclass(frozen=True)
class Comment:
    """A comment below a thread title, with the mood and the topic it was written in."""

    prompt: str
    response: str
    mood: str
    topic: str


TOPICS: tuple[str, ...] = tuple(TOPIC_WORDS)
"""The names of the forum's topics."""


MOODS: tuple[str, ...] = tuple(OPENERS)
"""The moods that comments are written in, by their names among the 28 labels of GoEmotions."""


_SLOT = re.compile(r"\{(\w+)\}")

_Cell = tuple[Topic, tuple[str, ...]]
"""A topic and the sentence templates of one text: everything but the choice of fillers."""


@cache
def _slots(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_SLOT.findall(" ".join(parts))))


def _choices(topic: Topic, slot: str) -> tuple[str, ...]:
    return WHEN if slot == "when" else topic.fillers[slot]


def _ways(cell: _Cell) -> int:
    """In how many ways the slots of ``cell`` can be filled."""
    topic, parts = cell
    return prod(len(_choices(topic, slot)) for slot in _slots(parts))


def _fillers(cell: _Cell, way: int) -> dict[str, str]:
    """The ``way``-th choice of fillers, counted in mixed radix so that every number below ``_ways`` is another choice."""
    topic, parts = cell
    chosen = {}
    for slot in _slots(parts):
        choices = _choices(topic, slot)
        way, position = divmod(way, len(choices))
        chosen[slot] = choices[position]
    return chosen


def _render(parts: tuple[str, ...], fillers: dict[str, str]) -> str:
    """Fill the templates and join them, with a capital at the start of every sentence."""
    text = ""
    for part in parts:
        sentence = part.format_map(fillers)
        if not text or text[-1] in ".!?":
            sentence = sentence[0].upper() + sentence[1:]
        text = f"{text} {sentence}" if text else sentence
    return text


def _distinct(
    cells: Sequence[_Cell], ways_of_cells: Sequence[int], rng: np.random.Generator
) -> Iterator[tuple[_Cell, dict[str, str]]]:
    """Every cell with every choice of its fillers, once each, in a random order that visits all cells evenly.

    One pass takes one unused choice of each cell. Drawing evenly from all texts instead would favour the templates with
    most slots, because they make most texts.
    """
    ways = np.array(ways_of_cells)
    start = rng.integers(ways)
    for step in range(int(ways.max())):
        for position in rng.permutation(np.flatnonzero(ways > step)):
            cell = cells[position]
            yield cell, _fillers(cell, int((start[position] + step) % ways[position]))


@cache
def _comment_cells(mood: str) -> tuple[_Cell, ...]:
    return tuple(
        (topic, (opener, continuation))
        for topic, opener, continuation in product(TOPIC_WORDS.values(), OPENERS[mood], CONTINUATIONS[mood])
    )


@cache
def _ways_of_comments(mood: str) -> tuple[int, ...]:
    return tuple(map(_ways, _comment_cells(mood)))


@cache
def _prompt_cells() -> tuple[_Cell, ...]:
    return tuple((topic, (template,)) for topic, template in product(TOPIC_WORDS.values(), PROMPTS))


def _check_mood(mood: str) -> None:
    if mood not in OPENERS:
        raise ValueError(f"mood {mood!r} is not in the forum's grammar; choose from {', '.join(MOODS)}")


def _choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _prompt_for(topic: Topic, fillers: dict[str, str], rng: np.random.Generator) -> str:
    """A thread title that ``fillers`` could be an answer to: it shares their choices and draws what they leave open."""
    template = (_choose(rng, PROMPTS),)
    own = {slot: _choose(rng, _choices(topic, slot)) for slot in _slots(template)}
    return _render(template, own | fillers)


def most_comments(moods: Sequence[str] = MOODS) -> int:
    """How many distinct responses ``write_comments`` can write when every mood in ``moods`` has an equal share."""
    return len(moods) * min(sum(_ways_of_comments(mood)) for mood in moods)


def write_comments(count: int, rng: np.random.Generator, moods: Sequence[str] = MOODS) -> list[Comment]:
    """Write ``count`` comments with distinct responses, in random order, on all topics.

    Parameters
    ----------
    count
        How many; every mood gets ``count / len(moods)`` of them, give or take one.
    rng
        The only source of randomness: the same state gives the same comments.
    moods
        The moods to write in, each named once.

    Raises
    ------
    ValueError
        If ``moods`` is empty, names a mood twice or one that is not in ``MOODS``, or if there are fewer than ``count``
        distinct responses.
    """
    for mood in moods:
        _check_mood(mood)
    if not moods or len(set(moods)) < len(moods):
        raise ValueError(f"moods must name at least one mood, and each only once; got {list(moods)}")
    if not 0 <= count <= most_comments(moods):
        raise ValueError(
            f"count is {count}, but the grammar has between 0 and {most_comments(moods)} distinct responses in "
            f"{len(moods)} mood(s); ask for fewer, or for more moods"
        )
    comments = []
    for position, mood in enumerate(moods):
        share = count // len(moods) + (position < count % len(moods))
        drawn = _distinct(_comment_cells(mood), _ways_of_comments(mood), rng)
        for _, ((topic, parts), fillers) in zip(range(share), drawn, strict=False):
            prompt = _prompt_for(topic, fillers, rng)
            comments.append(Comment(prompt, _render(parts, fillers), mood, topic.name))
    return [comments[position] for position in rng.permutation(count)]


def lot_prompts(mood: str, seed: int, round_no: int, count: int) -> list[str]:
    """Prompts of the lots of a round of the embedded forum: the same for the same mood, seed and round."""
    rng = np.random.default_rng([seed, round_no, 2])
    of = mood if mood in MOODS else MOODS[0]
    return [write_comment(of, TOPICS[int(rng.integers(len(TOPICS)))], rng).prompt for _ in range(count)]


def write_comment(mood: str, topic: str, rng: np.random.Generator) -> Comment:
    """Write one comment in ``mood`` on ``topic``; comments of separate calls may repeat.

    Raises
    ------
    ValueError
        If ``mood`` is not in ``MOODS`` or ``topic`` not in ``TOPICS``.
    """
    _check_mood(mood)
    if topic not in TOPICS:
        raise ValueError(f"topic {topic!r} is not in the forum's grammar; choose from {', '.join(TOPICS)}")
    parts = (_choose(rng, OPENERS[mood]), _choose(rng, CONTINUATIONS[mood]))
    cell = (TOPIC_WORDS[topic], parts)
    fillers = _fillers(cell, int(rng.integers(_ways(cell))))
    return Comment(_prompt_for(TOPIC_WORDS[topic], fillers, rng), _render(parts, fillers), mood, topic)


def prompts(rng: np.random.Generator, count: int) -> list[str]:
    """Write ``count`` distinct thread titles, on all topics and in no mood.

    Raises
    ------
    ValueError
        If there are fewer than ``count`` distinct titles.
    """
    ways = [_ways(cell) for cell in _prompt_cells()]
    most = sum(ways)
    if not 0 <= count <= most:
        raise ValueError(f"count is {count}, but the grammar has between 0 and {most} distinct prompts; ask for fewer")
    draws = zip(range(count), _distinct(_prompt_cells(), ways, rng), strict=False)
    return [_render(parts, fillers) for _, ((_, parts), fillers) in draws]


def off_topic_text(rng: np.random.Generator) -> str:
    """One or two sentences of trivia or office notices that answer no thread and carry no mood."""
    sentences = []
    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.5:
            sentences.append(_choose(rng, FACTS))
        else:
            sentences.append(
                _choose(rng, NOTICES).format(
                    number=rng.integers(2, 400),
                    letter=_choose(rng, "ABCDEFGH"),
                    hour=f"{rng.integers(24):02d}",
                    minute=f"{rng.integers(60):02d}",
                )
            )
    return " ".join(dict.fromkeys(sentences))


def spam_text(rng: np.random.Generator) -> str:
    """One advertising line, as it is pasted below every thread."""
    return _choose(rng, SPAM).format(
        product=_choose(rng, PRODUCTS),
        price=rng.integers(5, 100),
        percent=rng.integers(10, 95),
        site=f"www.{_choose(rng, ('best', 'cheap', 'super', 'top'))}-offers{rng.integers(1, 1000)}.example",
    )


def _swap(word: str, at: int) -> str:
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _drop(word: str, at: int) -> str:
    return word[:at] + word[at + 1 :]


def _double(word: str, at: int) -> str:
    return word[: at + 1] + word[at:]


def _neighbour(word: str, at: int) -> str:
    return word[:at] + NEIGHBOURS.get(word[at], word[at]) + word[at + 1 :]


_TYPOS: tuple[Callable[[str, int], str], ...] = (_swap, _drop, _double, _neighbour)


def misspell(text: str, rng: np.random.Generator, rate: float = 0.25) -> str:
    """Put typos into about ``rate`` of the words: letters swapped, dropped, doubled or hit one key beside.

    Words of fewer than four characters and first letters stay as they are, as most typos leave them.

    Raises
    ------
    ValueError
        If ``rate`` is not in [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; expected the share of words with a typo, in [0, 1]")
    words = text.split(" ")
    for position, word in enumerate(words):
        if len(word) >= 4 and rng.random() < rate:
            typo = _TYPOS[rng.integers(len(_TYPOS))]
            words[position] = typo(word, int(rng.integers(1, len(word) - 1)))
    return " ".join(words)
