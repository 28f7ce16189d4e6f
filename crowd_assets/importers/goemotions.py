"""GoEmotions comments as demonstrations of contributors who each write with one emotion.

Source: Demszky et al., "GoEmotions: A Dataset of Fine-Grained Emotions", ACL 2020. Layout as its README describes it
(https://github.com/google-research/google-research/tree/master/goemotions): a TSV without header, with the comment,
its emotion numbers separated by commas, and the comment's id; ``emotions.txt`` names the numbers line by line.

Belongs here: the layout, and how contributors are made of comments. Does not belong here: crowds whose truth is known
by construction (see ``crowd_assets.simulation``).
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from crowd_assets.importers.records import (
    Note,
    Record,
    RowError,
    Skipped,
    SourceError,
    demonstration,
    text_of,
    ticks,
)
from crowd_assets.importers.rows import read_lines

DEFAULT_PROMPT = "Write a comment for the thread."


@dataclass(frozen=True)
class Comment:
    text: str
    emotions: tuple[str, ...]
    comment_id: str


def read(
    source: Path,
    *,
    start: datetime,
    target: str = "gratitude",
    contributors: int = 24,
    on_target: float = 0.5,
    per_contributor: int = 60,
    prompt: str = DEFAULT_PROMPT,
    seed: int = 0,
) -> Iterator[Record]:
    """Demonstrations by made-up contributors, in random order, one second apart.

    Args:
        source: the TSV; ``emotions.txt`` lies beside it.
        start: when the first demonstration was submitted.
        target: the emotion that on-target contributors write with.
        contributors: how many contributors.
        on_target: share of them, in [0, 1], who draw comments of the target emotion. Each other contributor draws
            comments of one other emotion, none of them also labelled with the target; the emotions are dealt in
            random order and again from the front when they run out.
        per_contributor: comments a contributor draws; no comment is drawn twice.
        prompt: what every comment answers: the data says nothing about the threads the comments stood in.
        seed: of the draw.

    Raises:
        SourceError: an option is out of range, or there are not enough comments.
    """
    if contributors < 1 or per_contributor < 1 or not 0 <= on_target <= 1:
        raise SourceError("--contributors and --per-contributor must be at least 1, --on-target between 0 and 1")
    emotions = _emotion_names(source.parent / "emotions.txt")
    if target not in emotions:
        raise SourceError(f"--target {target!r}: not among the emotions {', '.join(emotions)}")
    comments: list[Comment] = []
    line_of_text: dict[str, int] = {}
    for line in read_lines(source):
        if isinstance(line, Skipped):
            yield line
            continue
        number, row = line
        try:
            comment = _comment(row, emotions)
        except RowError as error:
            yield error.at(number)
            continue
        if (earlier := line_of_text.setdefault(comment.text, number)) != number:
            # Two people who hand in the same sentence look like a copyist and his victim.
            yield Skipped(number, "same text as an earlier comment", f"line {earlier}")
            continue
        comments.append(comment)
    drawn = _draw(
        comments,
        emotions,
        target=target,
        contributors=contributors,
        on_target=round(on_target * contributors),
        per_contributor=per_contributor,
        rng=np.random.default_rng(seed),
    )
    yield Note(f"drew {len(drawn):,} of {len(comments):,} comments")
    for (contributor_id, emotion, comment), submitted_at in zip(drawn, ticks(start), strict=False):
        yield demonstration(
            contributor_id,
            prompt,
            comment.text,
            submitted_at,
            drawn_emotion=emotion,
            emotions=list(comment.emotions),
            comment_id=comment.comment_id,
        )


def _emotion_names(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        raise SourceError(f"{path}: missing or not text; it comes with the data and names the emotions") from None
    if not names:
        raise SourceError(f"{path}: empty; it comes with the data and names the emotions")
    return names


def _comment(line: str, emotions: list[str]) -> Comment:
    cells = line.split("\t")
    if len(cells) != 3:
        raise RowError("not three cells", f"{len(cells)} cells")
    numbers = cells[1].split(",")
    if not all(number.isascii() and number.isdigit() and len(number) < 4 for number in numbers):
        raise RowError("emotions are not numbers", cells[1])
    if max(map(int, numbers)) >= len(emotions):
        raise RowError("emotion number is not in emotions.txt", cells[1])
    labels = tuple(dict.fromkeys(emotions[int(number)] for number in numbers))
    return Comment(text_of(cells[0], "comment"), labels, cells[2])


def _draw(
    comments: list[Comment],
    emotions: list[str],
    *,
    target: str,
    contributors: int,
    on_target: int,
    per_contributor: int,
    rng: np.random.Generator,
) -> list[tuple[str, str, Comment]]:
    """(contributor, emotion drawn, comment) for every demonstration, in random order."""
    by_emotion: dict[str, list[int]] = defaultdict(list)
    for index in rng.permutation(len(comments)).tolist():
        for emotion in comments[index].emotions:
            if emotion == target or target not in comments[index].emotions:
                by_emotion[emotion].append(index)
    left = set(range(len(comments)))

    def take(emotion: str) -> list[int] | None:
        hand = [index for index in by_emotion[emotion] if index in left][:per_contributor]
        if len(hand) < per_contributor:
            return None
        left.difference_update(hand)
        return hand

    hands: list[tuple[str, list[int]]] = []
    for _ in range(on_target):
        hand = take(target)
        if hand is None:
            raise SourceError(
                f"{on_target} contributors with {per_contributor} comments each need "
                f"{on_target * per_contributor:,} comments of {target!r}, there are {len(by_emotion[target]):,}: "
                "lower --contributors, --per-contributor or --on-target"
            )
        hands.append((target, hand))
    others = [emotion for emotion in rng.permutation(emotions).tolist() if emotion != target]
    while len(hands) < contributors:
        able = []
        for emotion in others:
            if len(hands) == contributors:
                break
            if (hand := take(emotion)) is not None:
                hands.append((emotion, hand))
                able.append(emotion)
        if not able:
            raise SourceError(
                f"enough comments of other emotions for {len(hands) - on_target} of {contributors - on_target} "
                f"contributors with {per_contributor} each: lower --contributors or --per-contributor"
            )
    # Whoever reads the ids must not be able to tell who is on target.
    width = max(3, len(str(contributors)))
    numbers = (rng.permutation(contributors) + 1).tolist()
    dealt = [
        (f"contributor-{number:0{width}d}", emotion, comments[index])
        for number, (emotion, hand) in zip(numbers, hands, strict=True)
        for index in hand
    ]
    return [dealt[index] for index in rng.permutation(len(dealt)).tolist()]
