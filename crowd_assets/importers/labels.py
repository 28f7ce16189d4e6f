"""What labels mean that people tick: which of two answers is better, that both are as good, or that both are bad.

Belongs here: words that everybody understands, and those that the user says. Does not belong here: which question asks for them (see each
format).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from crowd_assets.importers.records import SourceError

# Labels that can mean nothing but which of two answers is better, normalised.
CLEAR_CHOICES = {"left": 1.0, "right": 0.0, **dict.fromkeys(("equal", "tie", "same", "draw"), 0.5)}

# Labels that mean it where the question is known to ask for it. A category called "none" or a rating of "1" does not.
_NAMES = (
    "",
    "response",
    "answer",
    "model",
    "assistant",
    "option",
    "completion",
    "candidate",
    "output",
    "text",
    "generation",
)
_SAID = ("", "isbetter", "better", "wins", "won", "isclearlybetter", "isslightlybetter", "ismuchbetter", "preferred")
_SURENESS = ("", "slightly", "clearly", "strongly", "much", "definitely", "probably", "somewhat")
KNOWN_CHOICES = {
    **CLEAR_CHOICES,
    **{
        f"{sure}{name}{letter}{said}": probability
        for probability, letters in (
            (1.0, ("a", "1", "one", "left", "first")),
            (0.0, ("b", "2", "two", "right", "second")),
        )
        for letter in letters
        for name in _NAMES
        for said in _SAID
        for sure in _SURENESS
    },
    **dict.fromkeys(
        (
            "both",
            "neither",
            "none",
            "bothgood",
            "botharegood",
            "bothequal",
            "aboutthesame",
            "equallygood",
            "noneisbetter",
            "nopreference",
            "theyareequal",
            "botharetied",
            "theyareaboutthesame",
            "cannotdecide",
        ),
        0.5,
    ),
}

# Labels that say that neither answer is good.
BOTH_BAD = frozenset(
    ("bothbad", "botharebad", "tiebothbad", "bothpoor", "bothwrong", "botharewrong", "neithergood", "equallybad")
)


def normalised(choice: str) -> str:
    """A label as people write it, reduced to its letters and digits in lower case."""
    return "".join(character for character in choice.lower() if character.isalnum())


@dataclass(frozen=True)
class Labels:
    """What labels mean: those of the user first, then those that everybody understands.

    Attributes:
        own: label as it is ticked, to the probability that A is preferred; None where both answers are bad.
    """

    own: Mapping[str, float | None] = field(default_factory=dict)

    @classmethod
    def parsed(cls, options: Iterable[str]) -> Self:
        """From options like ``a_winner=A``: A, B, tie, both-bad, or a number from 0 to 1.

        Raises:
            SourceError: an option is none of that kind.
        """
        own: dict[str, float | None] = {}
        for option in options:
            label, _, meaning = option.rpartition("=")
            word = meaning.strip().lower()
            if not label or (word not in MEANINGS and not _is_share(word)):
                raise SourceError(f"--label {option!r}: write LABEL=A, LABEL=B, LABEL=tie, LABEL=both-bad or LABEL=0.8")
            own[label] = MEANINGS[word] if word in MEANINGS else float(word)
        return cls(own)

    def judged(self, label: str, known: bool) -> tuple[float, bool] | None:
        """The probability that A is preferred, and whether both answers are bad; None where the label says neither.

        Args:
            label: as ticked.
            known: whether the question is known to ask which answer is better.
        """
        if label in self.own:
            meaning = self.own[label]
            return (0.5, True) if meaning is None else (meaning, False)
        plain = normalised(label)
        if known and plain in BOTH_BAD:
            return 0.5, True
        probability = probability_of_choice(label, known)
        return None if probability is None else (probability, False)


MEANINGS: dict[str, float | None] = {"a": 1.0, "b": 0.0, "tie": 0.5, "both-bad": None}


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def probability_of_choice(choice: str, known: bool) -> float | None:
    """1 where A is preferred, 0 where B is, ½ for neither; None where the label says none of these.

    Args:
        choice: the label as ticked.
        known: whether the question is known to ask which answer is better.
    """
    if known and (order := ORDER.fullmatch(choice.strip())):
        first, sign, second = order.groups()
        if first.lower() != second.lower():
            ahead = 1.0 if first in "aA" else 0.0
            return 0.5 if set(sign) <= {"=", "~"} else ahead if ">" in sign else 1 - ahead
    return (KNOWN_CHOICES if known else CLEAR_CHOICES).get(normalised(choice))


ORDER = re.compile(r"([abAB])\s*(>{1,3}|<{1,3}|={1,2}|~)\s*([abAB])")
