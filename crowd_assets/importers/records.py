"""What an importer yields, and how its events are made.

Belongs here: the types every format module speaks, the builders of the four event kinds' rows and the small
conversions they share. Does not belong here: files (see ``rows`` and ``writer``) and any one tool's layout.
"""

import hashlib
import json
import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import combinations
from typing import Any
from unicodedata import category, normalize

from resources.common.instants import instant
from resources.feedback.events import FIELDS, IDENTIFIER, OPTIONAL, is_visible
from resources.feedback.pseudonyms import Pseudonyms

Event = dict[str, Any]

WHOLE = re.compile(r"-?\d+\.0+", re.ASCII)
NOBODY = frozenset(("nan", "NaN", "<NA>", "None", "null", "NULL"))
"""What programs write for a name that is not there."""
ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+")
ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")

DEFAULT_START = "2026-01-01T00:00:00+00:00"

# Field names that labeling projects use for what was asked, in the order in which they are looked for.
PROMPT_FIELDS = ("prompt", "instruction", "question", "input", "context", "text")

# The same for the two answers of a comparison: first the one shown left (A), then the one shown right (B).
ANSWER_FIELD_PAIRS = (
    ("response_a", "response_b"),
    ("answer_a", "answer_b"),
    ("response1", "response2"),
    ("response_1", "response_2"),
    ("answer1", "answer2"),
    ("answer_1", "answer_2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("left", "right"),
    ("a", "b"),
)


@dataclass(frozen=True)
class Skipped:
    """A row, or a part of one, that became no event.

    Attributes:
        row: line or row number in the source, from 1.
        reason: the same words for the same cause: the report counts by it.
        detail: what was found in this row, shortened.
    """

    row: int
    reason: str
    detail: str = ""

    def shown(self) -> str:
        """In words, for a person."""
        return f"row {self.row} is skipped: {self.reason}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class Note:
    """Something about the whole source that a person who imports it wants to know."""

    text: str

    def shown(self) -> str:
        """In words, for a person."""
        return self.text


Record = Event | Skipped | Note


class RowError(Exception):
    """A row cannot become an event. The importer turns it into a ``Skipped`` and goes on."""

    def __init__(self, reason: str, detail: object = ""):
        super().__init__(reason)
        self.reason = reason
        self.detail = excerpt(detail)

    def at(self, row: int) -> Skipped:
        return Skipped(row, self.reason, self.detail)


class SourceError(Exception):
    """The source as a whole, or an option, cannot be used: nothing is written. The message says what to do."""


def excerpt(value: object, length: int = 80) -> str:
    """The beginning of a value, on one line, for a report."""
    words = value if isinstance(value, str) else repr(value)
    words = " ".join(words[: 4 * length].split())
    return words if len(words) <= length else words[: length - 1] + "…"


def text_of(value: object, field: str) -> str:
    """The text of a field.

    Raises:
        RowError: there is no text in it, or it is of another type.
    """
    if value is None:
        raise RowError(f"no {field}")
    if not isinstance(value, str):
        raise RowError(f"{field} is not text", value)
    if not is_visible(value):
        raise RowError(f"{field} is empty")
    return value


def number_of(value: object, field: str) -> float:
    """A finite number, given as a number or as digits.

    Raises:
        RowError: it is neither.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RowError(f"{field} is not a number", value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise RowError(f"{field} is not a number", value) from None
    if not math.isfinite(number):
        raise RowError(f"{field} is not finite", value)
    return number


def identifier_of(value: object, field: str) -> str:
    """A name or a number that identifies something, as text: 1.0, as a spreadsheet writes 1, is 1, and an e-mail address, which
    is nobody's public name, becomes a hash of itself.

    Raises:
        RowError: it is empty or of another type.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise RowError(f"no {field}" if value is None else f"{field} is not a name", value)
    try:
        name = str(value).strip()
    except ValueError:  # an integer of more digits than Python is willing to print
        raise RowError(f"{field} is not a name") from None
    if not name.isascii():  # what looks alike is one name
        name = normalize("NFC", "".join(each for each in name if category(each) != "Cf")).strip()
    if not name or name in NOBODY:
        raise RowError(f"no {field}")
    if "E+" in name and ROUNDED.fullmatch(name):
        raise RowError(
            f"{field} is a number that a spreadsheet rounded: format the column as text before it is saved", name
        )
    return _public(name)


@lru_cache(1 << 14)
def _public(name: str) -> str:
    if WHOLE.fullmatch(name):
        return name.split(".")[0]
    return f"person-{digest(name.lower(), size=8)}" if ADDRESS.fullmatch(name) else name


def time_of(value: object, field: str) -> datetime:
    """A point in time with a zone, from ISO 8601 text or a datetime, in UTC.

    Raises:
        RowError: it is neither, or the zone is missing.
    """
    if isinstance(value, str):
        try:
            value = instant(value)
        except (ValueError, OverflowError):
            raise RowError(f"{field} is not an ISO 8601 time", value) from None
    if not isinstance(value, datetime):
        raise RowError(f"no {field}" if value is None else f"{field} is not a time", value)
    if value.tzinfo is None:
        raise RowError(f"{field} has no time zone", value.isoformat())
    # The first and the last year of the calendar leave no room for another zone or the next second.
    if not 1 < value.year < 9999:
        raise RowError(f"{field} is out of range", value.isoformat())
    return value.astimezone(UTC)


def start_of(option: str) -> datetime:
    """The ``--start`` option as a time.

    Raises:
        SourceError: it is no time with a zone.
    """
    try:
        return time_of(option, "--start")
    except RowError as error:
        raise SourceError(
            f"--start {option!r}: {error.reason}; write it like {DEFAULT_START} (date, time, zone)"
        ) from None


def ticks(start: datetime) -> Iterator[datetime]:
    """Increasing times, one second apart, for sources that do not say when something was submitted."""
    second = timedelta(seconds=1)
    now = start
    while True:
        yield now
        now += second


def digest(*parts: str, size: int = 12) -> str:
    """A short name made from content: BLAKE2b, hexadecimal. No two lists of parts run together into one."""
    content = []
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        content += [len(data).to_bytes(8, "little"), data]
    return hashlib.blake2b(b"".join(content), digest_size=size).hexdigest()


def positions(seed: int, prompt: str, one: str, other: str) -> tuple[str, str]:
    """Which of two answers stands at A and which at B: a coin that knows the two texts, not who won.

    The same pair lands the same way round whenever it comes and in whichever order it is given, so that the reports
    of several labelers on it speak of the same A.
    """
    first, second = sorted((one, other))
    heads = int(digest(str(seed), prompt, first, second), 16) % 2 == 0
    return (first, second) if heads else (second, first)


@lru_cache(1 << 14)
def named(name: str) -> str:
    """The name as feedback allows identifiers: one that has other characters, or too many, keeps what it may and gets
    a hash of the whole, so that different names stay different.
    """
    if IDENTIFIER.fullmatch(name):
        return name
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', name)[:64].strip('-') or 'id'}-{digest(name, size=8)}"


def demonstration(contributor_id: str, prompt: str, response: str, submitted_at: datetime, **payload: object) -> Event:
    return {
        "kind": "demonstration",
        "contributor_id": named(contributor_id),
        "prompt": prompt,
        "response": response,
        "submitted_at": submitted_at.isoformat(),
        **_present(payload),
    }


def preference(
    contributor_id: str,
    comparison_id: str,
    prompt: str,
    response_a: str,
    response_b: str,
    probability_a: float,
    submitted_at: datetime,
    **payload: object,
) -> Event:
    return {
        "kind": "preference",
        "contributor_id": named(contributor_id),
        "comparison_id": named(comparison_id),
        "prompt": prompt,
        "response_a": response_a,
        "response_b": response_b,
        "probability_a": probability_a,
        "submitted_at": submitted_at.isoformat(),
        **_present(payload),
    }


def share_of(value: object) -> float | None:
    """Which part of one judgement a report is, as an exporter wrote it beside a comparison; None where it is a whole one.

    Raises:
        RowError: it is not above 0 and at most 1.
    """
    if value in (None, ""):
        return None
    share = number_of(value, "judgement_share")
    if not 0 < share <= 1:
        raise RowError("judgement_share is not above 0 and at most 1", value)
    return share if share < 1 else None


def outcome(comparison_id: str, preferred_a: float, submitted_at: datetime, **payload: object) -> Event:
    return {
        "kind": "outcome",
        "comparison_id": named(comparison_id),
        "preferred_a": preferred_a,
        "submitted_at": submitted_at.isoformat(),
        **_present(payload),
    }


SAID = {kind: (*FIELDS[kind], *OPTIONAL[kind]) for kind in FIELDS}
"""What an event says, by kind."""
_ENCODER = json.JSONEncoder(sort_keys=True)


def identified(event: Event, pseudonyms: Pseudonyms) -> Event:
    """The event with an ``event_id`` made from what it says: who, about what, which answer. Neither when it was said, which an
    export without times cannot tell and which does not make it another event, nor what is sent along.
    """
    if "event_id" in event:
        return event
    kind = event["kind"]
    said = [
        (name, pseudonyms.of(event[name]) if name == "contributor_id" else event[name])
        for name in SAID[kind]
        if name in event
    ]
    return event | {"event_id": f"{kind}-{digest(kind, _ENCODER.encode(said), size=16)}"}


def _present(payload: dict[str, object]) -> Event:
    return {name: value for name, value in payload.items() if value is not None}


def in_time_order(records: Iterable[Record]) -> Iterator[Record]:
    """The same records with events by time; an outcome after the judgements of its second. Events wait in a temporary file."""
    places: list[tuple[datetime, bool, int, int]] = []
    with tempfile.TemporaryFile() as file:
        for record in records:
            if isinstance(record, dict):
                data = json.dumps(record).encode()
                places.append((time_key(record), record["kind"] == "outcome", file.tell(), len(data)))
                file.write(data)
            else:
                yield record
        for _, _, place, size in sorted(places):  # events of one second in the order in which they came
            file.seek(place)
            yield json.loads(file.read(size))


def time_key(event: Event) -> datetime:
    return instant(event["submitted_at"])


def sourced(name: str, source: str) -> str:
    """A name with the source that it is a name of; an empty source leaves it alone."""
    return f"{source}-{name}" if source else name


def find_field(fields: dict[str, Any], wanted: str | None, candidates: Sequence[str], what: str) -> str:
    """The name of the field that holds ``what``: the one the user names, or the first known name present.

    Raises:
        RowError: there is none.
    """
    if wanted is not None:
        if wanted not in fields:
            raise RowError(f"no field {wanted!r}", f"fields: {', '.join(map(str, fields))}")
        return wanted
    for name in candidates:
        if name in fields:
            return name
    raise RowError(f"no field known as {what}: name it with an option", f"fields: {', '.join(map(str, fields))}")


def find_answers(fields: dict[str, Any], field_a: str | None, field_b: str | None) -> tuple[str, str]:
    """The names of the two fields that are compared, A (left) first.

    Raises:
        RowError: they are not named and none of the known pairs is there.
    """
    if field_a is not None and field_b is not None:
        return find_field(fields, field_a, (), "answer A"), find_field(fields, field_b, (), "answer B")
    for name_a, name_b in ANSWER_FIELD_PAIRS:
        if name_a in fields and name_b in fields:
            return name_a, name_b
    raise RowError(
        "no two fields known as the answers: name them with --field-a and --field-b",
        f"fields: {', '.join(map(str, fields))}",
    )


def from_scores(score_a: float, score_b: float, points_per_logit: float = 1.0) -> float:
    """The probability in (0, 1) that A is preferred: 1 / (1 + exp(−(score_a − score_b) / points_per_logit)), which is Bradley
    and Terry's model with the scores as strengths.
    """
    return 0.5 * (1.0 + math.tanh((score_a - score_b) / points_per_logit / 2.0))


def ranked_pairs(ranks: Mapping[str, float]) -> list[tuple[str, str, float, float]]:
    """A ranking as pairs: first and second in the order given, the probability that the first is preferred (1, 0 or ½ where
    tied), and the pair's share of the one judgement that a ranking is.

    Under Plackett and Luce's model every pair of a ranking is a comparison by Bradley and Terry's model with the same strengths,
    and all K(K−1)/2 pairs together estimate them consistently (Azari Soufiani et al., "Generalized Method-of-Moments for Rank
    Aggregation", 2013: full breaking). They are one judgement, so each counts 2 / (K(K−1)).

    Args:
        ranks: by answer, the smallest the best.
    """
    pairs = list(combinations(ranks, 2))
    share = 1 / len(pairs) if pairs else 1.0
    return [
        (one, other, 0.5 if ranks[one] == ranks[other] else float(ranks[one] < ranks[other]), share)
        for one, other in pairs
    ]
