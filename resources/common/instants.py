"""Instants as people and tools write them: ISO 8601 with leap seconds, and pauses that a clock which was set back ends.

Belongs here: reading an instant, comparing with a clock that may jump. Does not belong here: which instants a home accepts (see
``crowd_assets.quality.conditions``).
"""

import re
from datetime import UTC, datetime, timedelta

_LEAP = re.compile(r"([T ]\d\d:?\d\d:?)60(?=\D|$)")
_LAST = timedelta(seconds=1)


def instant(text: str) -> datetime:
    """ISO 8601 text as an instant, with a zone where the text has one. A leap second (``23:59:60Z``, in any zone) is the second
    after it, as clocks that have none count.

    Raises:
        ValueError: it is no ISO 8601, or a second 60 that ends no day in UTC.
    """
    found, leaps = _LEAP.subn(r"\g<1>59", text)
    at = datetime.fromisoformat(found)
    if not leaps:
        return at
    if (
        at.tzinfo is None
        or (at.hour * 60 + at.minute + 1 - (at.utcoffset() or timedelta()).total_seconds() / 60) % 1440
    ):
        raise ValueError(f"second 60 of {text} ends no day in UTC")
    return at + _LAST


def still_ahead(due: datetime | None, now: datetime, longest: timedelta) -> bool:
    """Whether ``due`` is yet to come. What is further ahead than the longest pause was reckoned by a clock that was set back since,
    and has passed."""
    return due is not None and now < due <= now + longest


def utc(at: datetime) -> datetime:
    """An instant with a zone, in UTC.

    Raises:
        ValueError: it is out of the calendar there.
    """
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{at} is out of range") from None
