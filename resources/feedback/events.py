"""Feedback as it arrives: a line's values become an event, or the line is rejected with the reason.

Belongs here: the format of the four kinds of feedback and the checks that a line alone can pass or fail.
Does not belong here: reading files (see ``event_files``), checks that need other events (see ``crowd_assets.quality``), storing (see
``inbox``).
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

import polars as pl

from resources.common.instants import instant, utc
from resources.feedback.conversations import InvalidConversationError, as_text, conversation
from resources.feedback.pseudonyms import Pseudonyms

KINDS = ("demonstration", "preference", "outcome", "bid")
FIELDS: dict[str, tuple[str, ...]] = {
    "demonstration": ("contributor_id", "prompt", "response"),
    "preference": ("contributor_id", "comparison_id", "prompt", "response_a", "response_b", "probability_a"),
    "outcome": ("comparison_id", "preferred_a"),
    "bid": ("contributor_id", "lot_id", "prompt", "response", "asked_price", "claimed_quality"),
}
IDENTIFIERS = ("contributor_id", "comparison_id", "lot_id", "event_id")
TEXTS = ("prompt", "response", "response_a", "response_b")
SHARES = ("probability_a", "preferred_a", "claimed_quality")
OPTIONAL: dict[str, tuple[str, ...]] = {
    "demonstration": ("messages",),
    "preference": ("messages", "both_bad", "judgement_share"),
    "outcome": (),
    "bid": ("messages",),
}
"""Fields that an event may have besides; without them it is what it was before they existed, its id included.

``messages`` is the conversation that the prompt ends (see ``conversations``), ``both_bad`` says that neither answer is
good, ``judgement_share`` in (0, 1] which part of one judgement this report is: a ranking of K answers is one judgement and
arrives as K(K-1)/2 reports.
"""
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@|-]{0,127}")
LARGEST_PRICE = Decimal(1_000_000)
PRICE = re.compile(r"\s*[+-]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,3})?\s*", re.ASCII)
PRICE_QUANTUM = Decimal("0.000001")
SUFFIXES = (".jsonl", ".parquet")
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})  # general categories of Unicode

EVENT_SCHEMA: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "kind": pl.String(),
    "contributor_id": pl.String(),
    "submitted_at": pl.Datetime("us", "UTC"),
    "comparison_id": pl.String(),
    "lot_id": pl.String(),
    "prompt": pl.String(),
    "response": pl.String(),
    "response_a": pl.String(),
    "response_b": pl.String(),
    "probability_a": pl.Float64(),
    "preferred_a": pl.Float64(),
    "asked_price": pl.String(),
    "claimed_quality": pl.Float64(),
    "payload": pl.String(),
    "source": pl.String(),
    "line": pl.Int64(),
    "messages": pl.String(),
    "both_bad": pl.Boolean(),
    "judgement_share": pl.Float64(),
}
REJECTION_SCHEMA: dict[str, pl.DataType] = {
    "rejection_id": pl.String(),
    "round_no": pl.Int32(),
    "stage": pl.String(),
    "source": pl.String(),
    "line": pl.Int64(),
    "kind": pl.String(),
    "contributor_id": pl.String(),
    "event_id": pl.String(),
    "reason": pl.String(),
    "excerpt": pl.String(),
}
EXCERPT_CHARACTERS = 200
DEEPEST_PAYLOAD = 64
"""Levels of objects and lists in unknown fields; deeper ones exhaust whoever reads them later."""
NAMES_AS_THEY_ARE = Pseudonyms()
BOTH_BAD_SHARE = 0.5
"""Of a comparison's reports: from this share on neither answer is worth learning from."""
ERASED = "[erased on request]"
"""What stands where a contributor's text stood; an event that holds it is in no round."""


OTHER_TOOLS = (
    (frozenset({"chosen", "rejected"}), "a row of chosen and rejected answers, as TRL trains on"),
    (frozenset({"data", "annotations"}), "a task of Label Studio"),
    (frozenset({"fields", "responses"}), "a record of Argilla"),
    (frozenset({"instruction", "completions"}), "a row of UltraFeedback"),
    (frozenset({"instruction", "output"}), "a row of instruction and output, as alpaca has them"),
    (frozenset({"prompt", "completion"}), "a row of prompt and completion, as TRL trains on"),
    (frozenset({"conversations"}), "a row of conversations, as ShareGPT has them"),
    (frozenset({"messages"}), "a row of chat messages"),
)


class InvalidEventError(ValueError):
    """A line that is no event; the message is the reason that the quarantine keeps."""


@dataclass(frozen=True)
class Limits:
    """Longest line in bytes, longest text in characters, and most that a Parquet file holds once decompressed, in bytes."""

    line_bytes: int
    text_characters: int
    parquet_bytes: int = 2 << 30


def rejection(
    *, stage: str, source: str, line: int, reason: str, excerpt: str = "", round_no: int | None = None, **event: Any
) -> dict[str, Any]:
    """One row of the quarantine; its id is a hash of stage, source, line, reason and event, so that it is kept once."""
    identity = json.dumps([stage, source, line, reason, round_no, event.get("event_id")])
    return {
        "rejection_id": hashlib.blake2b(identity.encode(), digest_size=16).hexdigest(),
        "round_no": round_no,
        "stage": stage,
        "source": source,
        "line": line,
        "kind": event.get("kind"),
        "contributor_id": event.get("contributor_id"),
        "event_id": event.get("event_id"),
        "reason": reason,
        "excerpt": _clean(excerpt[:EXCERPT_CHARACTERS]),
    }


def shown_of_event() -> pl.Expr:
    """What the quarantine shows of an event that the gate rejects: how its answer begins, else which comparison it speaks of."""
    texts = [pl.col(name).replace("", None) for name in ("response", "response_a", "comparison_id")]
    return pl.coalesce(*texts, pl.lit("")).str.slice(0, EXCERPT_CHARACTERS)


def parse_event(record: Any, limits: Limits, pseudonyms: Pseudonyms = NAMES_AS_THEY_ARE) -> dict[str, Any]:
    """One decoded line as an event: the fields of its kind checked, unknown ones kept in ``payload``, the contributor by
    pseudonym.

    Raises:
        InvalidEventError: it is none; the message is the reason.
    """
    if not isinstance(record, dict):
        raise InvalidEventError(f"a line must be a JSON object, not {type(record).__name__}")
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise InvalidEventError(
            f"unknown kind {_shown(kind)}; expected one of {', '.join(KINDS)}{_of_another_tool(record) if kind is None else ''}"
        )
    event = _NO_VALUES.copy()
    event["kind"] = kind
    event["contributor_id"] = ""
    if record.get("messages") is not None:
        record = _with_conversation(record, kind, limits)
    for name, checked in _CHECKS[kind]:
        value = record.get(name)
        if value is None:
            raise InvalidEventError(f"{name} is missing")
        event[name] = checked(name, value, limits)
    for name in OPTIONAL[kind]:
        if record.get(name) is not None:
            event[name] = _OPTIONAL_CHECKS[name](name, record[name], limits)
    event["contributor_id"] = pseudonyms.of(event["contributor_id"])
    event["submitted_at"] = _instant(record.get("submitted_at"))
    event["payload"] = "" if record.keys() <= _KNOWN else _payload(record, limits)
    given = record.get("event_id")
    event["event_id"] = _content_id(event) if given is None else _identifier("event_id", given, limits)
    return event


def _identifier(name: str, value: Any, limits: Limits) -> str:
    if not isinstance(value, str) or not IDENTIFIER.fullmatch(value):
        raise InvalidEventError(
            f"{name} {_shown(value)} must be 1 to 128 letters, digits or one of _ . : @ | - and start with a letter or digit"
        )
    return value


def _share(name: str, value: Any, limits: Limits) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidEventError(f"{name} {_shown(value)} must be a number from 0 to 1")
    return float(value)


def _text(name: str, value: Any, limits: Limits) -> str:
    if not isinstance(value, str):
        raise InvalidEventError(f"{name} must be text, not {type(value).__name__}")
    text = value if value.isascii() and "\x00" not in value else _clean(value)
    if not is_visible(text):
        raise InvalidEventError(f"{name} is empty")
    if len(text) > limits.text_characters:
        raise InvalidEventError(f"{name} has {len(text)} characters; at most {limits.text_characters}")
    return text


def _of_another_tool(record: dict[str, Any]) -> str:
    """What a line without a kind looks like, and how to take it in; empty where nobody knows."""
    for keys, words in OTHER_TOOLS:
        if keys <= record.keys():
            return f". It looks like {words}: crowd-rounds import auto FILE --out INBOX takes such files"
    return ""


def _with_conversation(record: dict[str, Any], kind: str, limits: Limits) -> dict[str, Any]:
    """A record whose ``messages`` is checked, clean and canonical, and whose ``prompt`` is what the conversation ends with."""
    if "messages" not in OPTIONAL[kind]:
        raise InvalidEventError(f"messages is no field of {kind}")
    try:
        said = conversation(record["messages"])
    except InvalidConversationError as problem:
        raise InvalidEventError(str(problem)) from None
    for message in said:
        message["content"] = _text("a message", message["content"], limits)
    last = said[-1]["content"]
    prompt = record.get("prompt")
    if prompt is not None and (not isinstance(prompt, str) or _clean(prompt) != last):
        raise InvalidEventError("prompt is not what messages ends with: leave prompt out, or write it alike")
    text = as_text(said)
    if text is not None and len(text) > limits.text_characters:
        raise InvalidEventError(f"messages has {len(text)} characters; at most {limits.text_characters}")
    return {**record, "prompt": last, "messages": text}


def _as_it_is(name: str, value: Any, limits: Limits) -> str:
    return str(value)


def _flag(name: str, value: Any, limits: Limits) -> bool:
    if not isinstance(value, bool):
        raise InvalidEventError(f"{name} {_shown(value)} must be true or false")
    return value


def _part(name: str, value: Any, limits: Limits) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise InvalidEventError(f"{name} {_shown(value)} must be a number above 0 and at most 1")
    return float(value)


def is_erased() -> pl.Expr:
    """Whether a text of an event was erased, or of the conversation that it answers."""
    spoken = pl.col("messages").str.contains(json.dumps(ERASED), literal=True).fill_null(False)
    return pl.any_horizontal(pl.col(TEXTS).eq_missing(ERASED), pl.col("messages").eq_missing(ERASED), spoken)


def accepted_at() -> pl.Expr:
    """When the task of an event was accepted, as its tool said in the payload; null where it did not, or not as ISO 8601."""
    given = pl.col("payload").str.json_path_match("$.accepted_at")
    return given.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)


def says_erased(*texts: str | None) -> bool:
    """:func:`is_erased` of single texts, or conversations as they are stored."""
    return any(text == ERASED or (text is not None and json.dumps(ERASED) in text) for text in texts)


def completed(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame of events that an earlier version wrote, with the columns that it had not yet, empty."""
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in EVENT_SCHEMA.items() if name not in frame.columns]
    return frame.with_columns(missing) if missing else frame


def is_visible(text: str) -> bool:
    """Whether a text has something to see in it: a character that is neither space nor control, format or half a pair."""
    first = text[:1]
    if first > " " and first.isprintable():  # the rule, and quickly told
        return True
    return any(unicodedata.category(character) not in INVISIBLE for character in text)


def _price(name: str, value: Any, limits: Limits) -> str:
    """A price as canonical decimal text; a float is taken as it is written."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidEventError(f"{name} {_shown(value)} must be a decimal number")
    written = str(value)
    if not PRICE.fullmatch(written):
        raise InvalidEventError(f"{name} {_shown(value)} must be a decimal number")
    amount = Decimal(written)
    if not 0 <= amount <= LARGEST_PRICE:
        raise InvalidEventError(f"{name} {_shown(value)} must be from 0 to {LARGEST_PRICE}")
    if amount != amount.quantize(PRICE_QUANTUM):
        raise InvalidEventError(f"{name} {_shown(value)} has more than 6 decimal places")
    return str(abs(amount.quantize(PRICE_QUANTUM)))  # a negative zero is a zero


def _instant(value: Any) -> datetime:
    if not isinstance(value, str):
        raise InvalidEventError("submitted_at is missing: ISO 8601 with a zone")
    try:
        at = instant(value) if "60" in value else datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        raise InvalidEventError(f"submitted_at {_shown(value)} is not ISO 8601") from None
    if at.tzinfo is None:
        raise InvalidEventError(f"submitted_at {_shown(value)} has no zone")
    if at.tzinfo is UTC:
        return at
    try:
        return utc(at)
    except ValueError:
        raise InvalidEventError(f"submitted_at {_shown(value)} is out of range") from None


def _payload(record: dict[str, Any], limits: Limits) -> str:
    """The fields that no kind has, as JSON."""
    unknown = {name: value for name, value in record.items() if name not in _NO_VALUES}
    if not unknown:
        return ""
    if is_deep(unknown, DEEPEST_PAYLOAD):
        raise InvalidEventError(f"unknown fields are nested more than {DEEPEST_PAYLOAD} levels deep")
    try:
        payload = _clean(json.dumps(unknown, sort_keys=True, allow_nan=False))
    except (ValueError, TypeError):
        raise InvalidEventError("an unknown field holds a number that is not finite, or no JSON value") from None
    if len(payload) > limits.text_characters:
        raise InvalidEventError(f"unknown fields take {len(payload)} characters; at most {limits.text_characters}")
    return payload


def is_deep(value: object, deepest: int) -> bool:
    """Whether objects and lists are nested more than ``deepest`` levels deep; told level by level, without recursion."""
    level = [value]
    for _ in range(deepest):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def _content_id(event: dict[str, Any]) -> str:
    """BLAKE2 hash of the canonical content: the same event has the same id wherever it lies.

    Canonical is JSON with sorted keys and without spaces, of the fields of its kind, written here field by field as
    ``json.dumps(..., sort_keys=True, ensure_ascii=False, separators=(",", ":"))`` writes it, in a third of the time.
    """
    template, fields = _CANONICAL[event["kind"]]
    canonical = template % tuple([write(event[name]) for name, write in fields])
    more = {name: event[name] for name in OPTIONAL[event["kind"]] if event[name] is not None}
    if more:  # an event without them has the id that it had before there were any
        canonical += json.dumps(more, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def _clean(text: str) -> str:
    """``text`` as valid UTF-8 without NUL: lone surrogates become U+FFFD, as storage could not hold them."""
    return text.encode("utf-8", errors="replace").decode("utf-8").replace("\x00", "\ufffd")


def _shown(value: Any) -> str:
    shown = repr(value)
    return _clean(shown if len(shown) <= 60 else shown[:57] + "...")


_NO_VALUES: dict[str, Any] = dict.fromkeys(EVENT_SCHEMA)
_OPTIONAL_CHECKS = {"messages": _as_it_is, "both_bad": _flag, "judgement_share": _part}
_KNOWN = _NO_VALUES.keys()
_CHECKS = {
    kind: tuple(
        (name, _identifier if name in IDENTIFIERS else _text if name in TEXTS else _share if name in SHARES else _price)
        for name in names
    )
    for kind, names in FIELDS.items()
}


def _canonical(kind: str) -> tuple[str, tuple[tuple[str, Callable[[Any], str]], ...]]:
    """The canonical content of a kind with a place for each value, and how each is written."""
    names = sorted({"kind", "contributor_id", "submitted_at", "payload", *FIELDS[kind]})
    template = ",".join(f'"{name}":%s' for name in names)
    written = {"submitted_at": lambda instant: f'"{instant.isoformat()}"', **dict.fromkeys(SHARES, repr)}
    return f"{{{template}}}", tuple((name, written.get(name, encode_basestring)) for name in names)


_CANONICAL = {kind: _canonical(kind) for kind in KINDS}
