"""What every row of feedback must be like: named conditions, each a Polars expression that is true of a row that meets it.

The first step looks at a chunk of events and keeps, of each row, what it says alone and a few keys: 64-bit hashes that
stand for names and texts, so that rows of a large round and of the rounds before it fit into memory side by side. The
second step looks at these facts of all rows together.

Belongs here: conditions, and the columns that they need. Critical ones cost a row its place, warnings are shown.
Does not belong here: Great Expectations (see ``suites``), distributions (see ``drift``), what follows (see ``gate``).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from resources.feedback.assigned import ASKED, ASSIGNED, FOR_THEM, NOT_PAUSED, PUBLISHED_NAME
from resources.feedback.events import FIELDS, IDENTIFIER, IDENTIFIERS, KINDS, LARGEST_PRICE, accepted_at

CRITICAL, WARNING = "critical", "warning"
COMMON_RESPONSE_SHARE = 0.2
RESPONSES_TO_TELL = 5  # demonstrations of a contributor below which copies say nothing
FIRST_INSTANT = datetime(2000, 1, 1, tzinfo=UTC)

# What makes two events answers to the same question: of each pair only the first counts.
ANSWERED_ONCE = {
    "demonstration": ("contributor_id", "prompt", "messages", "response"),
    "preference": ("contributor_id", "comparison_id"),
    "outcome": ("comparison_id",),
    "bid": ("contributor_id", "lot_id", "response"),
}
ANSWERED_ONCE_WORDS = {
    "demonstration": "a contributor gives the same response to the same prompt once",
    "preference": "a labeler judges a comparison once",
    "outcome": "a comparison has one outcome",
    "bid": "a seller offers an answer in a lot once",
}
QUESTION = {
    "demonstration": ("prompt", "messages"),
    "preference": ("comparison_id",),
    "outcome": ("comparison_id",),
    "bid": ("lot_id",),
}
SEEN = {"preference": ("prompt", "messages", "response_a", "response_b"), "bid": ("prompt", "messages")}
SHARE = {"preference": "probability_a", "outcome": "preferred_a", "bid": "claimed_quality"}

# Hashes are salted by the process: nobody outside can write a text that passes for another. Of a million texts two share a
# hash once in 40 million rounds.
_SALT = secrets.randbits(64)

FACTS = {
    "seq": pl.Int64(),
    "event": pl.UInt64(),
    "contributor": pl.UInt64(),
    "answer": pl.UInt64(),
    "question": pl.UInt64(),
    "response": pl.UInt64(),
    "seen": pl.UInt64(),
    "submitted_at": pl.Datetime("us", "UTC"),
    "share": pl.Float64(),
    "named_as_published": pl.Boolean(),
}


@dataclass(frozen=True)
class Condition:
    """One expectation of the rows of one kind.

    Attributes:
        name: Column, check and table know it by this name.
        words: What is expected.
        met: True of a row that meets it; null counts as not met. Of an event's own columns, or of the facts of all rows.
        severity: ``critical`` or ``warning``.
        shown: Column whose value reports show beside a failing event's id; none that holds free text.
    """

    name: str
    words: str
    met: pl.Expr
    severity: str = CRITICAL
    shown: str = "contributor_id"


def _between(column: str, low: float, high: float) -> Condition:
    return Condition(
        f"{column}_in_range",
        f"{column} is from {low:g} to {high:g}",
        pl.col(column).is_between(low, high),
        shown=column,
    )


def _alone(kind: str) -> tuple[Condition, ...]:
    """What a row of ``kind`` says for itself, whatever the others are; columns are those of an event."""
    fields = [pl.col(name) for name in FIELDS[kind]]
    names = [pl.col(name) for name in ("event_id", *FIELDS[kind]) if name in IDENTIFIERS]
    differ = {
        "preference": ("answers_differ", "the two answers of a comparison differ", "response_a", "response_b"),
        "outcome": None,
    }.get(kind, ("response_is_no_copy", "a response is not a copy of its prompt", "prompt", "response"))
    conditions = [
        Condition(
            "fields_there",
            f"every field of {_a(kind)} is there",
            pl.all_horizontal(
                pl.col("submitted_at").is_not_null(),
                *(field.is_not_null() & (field.cast(pl.String) != "") for field in fields),
            ),
        ),
        Condition(
            "identifiers_well_formed",
            "identifiers are 1 to 128 letters, digits or one of _ . : @ | -",
            pl.all_horizontal(name.str.contains(f"^{IDENTIFIER.pattern}$") for name in names),
        ),
        Condition(
            "not_in_future",
            "submitted_at is not later than the start of the round",
            pl.col("submitted_at") <= pl.col("claimed_at"),
            shown="submitted_at",
        ),
        Condition(
            "not_long_ago",
            f"submitted_at is not before {FIRST_INSTANT.year}",
            pl.col("submitted_at") >= FIRST_INSTANT,
            shown="submitted_at",
        ),
        Condition(
            "accepted_not_long_ago",
            f"accepted_at, where it is given, is not before {FIRST_INSTANT.year}",
            (pl.col("accepted_at") >= FIRST_INSTANT).fill_null(True),
            shown="submitted_at",
        ),
        Condition(
            "accepted_before_submitted",
            "accepted_at, where it is given, is not later than submitted_at",
            pl.col("accepted_at").is_null() | (pl.col("accepted_at") <= pl.col("submitted_at")),
            shown="submitted_at",
        ),
    ]
    if differ:
        name, words, one, other = differ
        same = pl.col(one).str.strip_chars() == pl.col(other).str.strip_chars()
        conditions.append(Condition(name, words, ~same.fill_null(False)))
    if kind in SHARE:
        conditions.append(_between(SHARE[kind], 0, 1))
    if kind == "preference":
        conditions += [
            Condition(
                "assigned_to_labeler",
                "an assignment is answered by the labeler whom it is for, or by a newcomer where it is a seat",
                pl.col(FOR_THEM),
            ),
            Condition(
                "assigned",
                "where CROWD_ASSIGNMENTS=required a labeler judges what was assigned",
                pl.col(ASSIGNED),
                shown="comparison_id",
            ),
            Condition(
                "labeler_not_paused",
                "where CROWD_ASSIGNMENTS=required no paused labeler judges",
                pl.col(NOT_PAUSED),
            ),
        ]
    if kind == "bid":
        conditions += [
            Condition(
                "asked_price_is_decimal",
                f"asked_price is a decimal with 6 places, at most {LARGEST_PRICE:,}",
                pl.col("asked_price").str.contains(r"^\d+\.\d{6}$")
                & (pl.col("asked_price").cast(pl.Float64, strict=False) <= float(LARGEST_PRICE)),
                shown="asked_price",
            ),
            Condition(
                "lot_known",
                "a bid answers the prompt of a lot that was published for the round, or is for a lot of CROWD_LOTS",
                pl.col("lot_listed"),
                shown="lot_id",
            ),
        ]
    return tuple(conditions)


def _together(kind: str) -> tuple[Condition, ...]:
    """What takes other rows to see, of this round and of those before it; columns are those of :func:`facts`.

    ``sound`` is true of rows that meet what is critical of a row alone: a row that does not takes nobody's place.
    """
    seq, sound = pl.col("seq"), pl.col("sound")
    first_answer = seq.filter(sound).min().over("answer")
    seen = pl.col("seen") == pl.col("seen").filter(sound).first().over("question")
    conditions = [
        Condition("event_id_unique", "event_id is unique", pl.len().over("event") == 1),
        Condition(
            "answered_once",
            ANSWERED_ONCE_WORDS[kind],
            (seq <= first_answer).fill_null(True),
            shown="contributor_id" if kind == "demonstration" else QUESTION[kind][0],
        ),
    ]
    if kind == "demonstration":
        alone = (~pl.col("earlier")).sum().over("contributor")
        copies = (~pl.col("earlier")).sum().over("contributor", "response")
        conditions.append(
            Condition(
                "few_copies",
                f"no response is more than {COMMON_RESPONSE_SHARE:.0%} of what its contributor wrote",
                (alone < RESPONSES_TO_TELL) | (copies / alone <= COMMON_RESPONSE_SHARE),
                WARNING,
            )
        )
    if kind == "preference":
        conditions += [
            Condition(
                "texts_match",
                "all who judge a comparison see the same texts",
                seen.fill_null(True) | ~sound,
                shown="comparison_id",
            ),
            Condition(
                "comparison_known",
                "a comparison named like one of the platform's was published by it",
                ~pl.col("named_as_published") | pl.col("published"),
                shown="comparison_id",
            ),
        ]
    if kind == "bid":
        conditions.append(
            Condition(
                "texts_match",
                "all who bid for a lot answer the same prompt",
                seen.fill_null(True) | ~sound,
                shown="lot_id",
            )
        )
    if kind == "outcome":
        first_outcome = pl.col("share").filter(sound).first().over("question")
        conditions += [
            Condition(
                "comparison_known",
                "an outcome names a comparison that was published or judged",
                pl.col("known"),
                shown="comparison_id",
            ),
            Condition(
                "outcomes_agree",
                "an outcome agrees with the comparison's first",
                (pl.col("share") == first_outcome).fill_null(True) | ~sound,
                shown="comparison_id",
            ),
            Condition(
                "realised_after_reports",
                "an outcome is not older than the first report on its comparison",
                (pl.col("submitted_at") >= pl.col("first_report_at")).fill_null(True),
                WARNING,
                shown="comparison_id",
            ),
        ]
    return tuple(conditions)


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


ALONE = {kind: _alone(kind) for kind in KINDS}
TOGETHER = {kind: _together(kind) for kind in KINDS}
CONDITIONS = {kind: (*ALONE[kind], *TOGETHER[kind]) for kind in KINDS}


def facts(kind: str, events: pl.DataFrame, claimed_at: datetime, lots: Mapping[str, str] | None) -> pl.DataFrame:
    """What the conditions need to know of a chunk of events of one kind, in about 100 bytes a row.

    Args:
        claimed_at: When the round was claimed, or the latest instant that the home had noted by then: nothing in it is later.
        lots: Prompts by lot that may be bid for, an empty one for any prompt; None where any lot may.

    Returns:
        Columns of ``FACTS`` and, by name, what the conditions of :data:`ALONE` found.
    """
    listed = pl.lit(True)
    if lots is not None and not lots:
        listed = pl.lit(False)
    elif lots:
        asked = pl.col("lot_id").replace_strict(lots, default=None, return_dtype=pl.String)
        listed = asked.is_not_null() & ((asked == "") | (asked == pl.col("prompt").str.strip_chars()))
    free = {ASKED: pl.col("comparison_id"), FOR_THEM: pl.lit(True), ASSIGNED: pl.lit(True), NOT_PAUSED: pl.lit(True)}
    return events.with_columns(
        *(value.alias(name) for name, value in free.items() if name not in events.columns),
        claimed_at=pl.lit(claimed_at, pl.Datetime("us", "UTC")),
        accepted_at=accepted_at(),
        lot_listed=listed,
    ).select(
        *_keys(kind, ASKED),
        *(condition.met.fill_null(False).alias(condition.name) for condition in ALONE[kind]),
    )


def keys(kind: str, events: pl.LazyFrame) -> pl.LazyFrame:
    """The columns of ``FACTS`` of events of one kind."""
    return events.select(_keys(kind))


def hashed(*columns: str | pl.Expr) -> pl.Expr:
    """A key that stands for the values of ``columns`` in this process."""
    return pl.struct(*columns).hash(_SALT)


def _as_seen(text: str) -> pl.Expr:
    """A text as people see it: tools change the white space around it and the ends of its lines."""
    return pl.col(text).str.replace_all("\r\n", "\n", literal=True).str.strip_chars()


def _keys(kind: str, compared: str = "comparison_id") -> list[pl.Expr]:
    """The facts of events; ``compared`` is the column with the comparison that a report is on."""
    nothing = pl.lit(None)
    question = [compared if name == "comparison_id" and kind == "preference" else name for name in QUESTION[kind]]
    keys = {
        "seq": pl.col("seq"),
        "event": hashed("event_id"),
        "contributor": hashed("contributor_id"),
        "answer": hashed(*ANSWERED_ONCE[kind]),
        "question": hashed(*(pl.col(name).alias(own) for name, own in zip(question, QUESTION[kind], strict=True))),
        "response": hashed("response") if kind == "demonstration" else nothing,
        "seen": hashed(*map(_as_seen, SEEN[kind])) if kind in SEEN else nothing,
        "submitted_at": pl.col("submitted_at"),
        "share": pl.col(SHARE[kind]) if kind in SHARE else nothing,
        "named_as_published": pl.col(compared).str.contains(PUBLISHED_NAME).fill_null(False),
    }
    return [keys[name].cast(dtype).alias(name) for name, dtype in FACTS.items()]


def judged(
    kind: str, now: pl.DataFrame, before: pl.DataFrame, published: pl.Series, reports: pl.DataFrame
) -> pl.DataFrame:
    """Every condition of ``kind`` on the facts of all its rows.

    Args:
        now: :func:`facts` of the round.
        before: :func:`keys` of the rounds before it that ask the same.
        published: Keys of the comparisons that the platform published.
        reports: Of known comparisons their key ``question`` and ``first_report_at``, null where none has come.

    Returns:
        ``seq``, ``event`` and one column for each of ``CONDITIONS``: false where the row does not meet it.
    """
    sound = pl.all_horizontal(each.name for each in ALONE[kind] if each.severity == CRITICAL)
    both = pl.concat(
        [
            before.lazy().with_columns(earlier=True, sound=True),
            now.lazy().with_columns(earlier=False, sound=sound),
        ],
        how="diagonal",
    ).sort("seq")
    if kind == "preference":
        both = both.with_columns(published=pl.col("question").is_in(published.implode()))
    if kind == "outcome":
        both = both.join(
            reports.lazy().with_columns(known=True), on="question", how="left", maintain_order="left"
        ).with_columns(pl.col("known").fill_null(False))
    return (
        both.with_columns(each.met.fill_null(False).alias(each.name) for each in TOGETHER[kind])
        .filter(~pl.col("earlier"))
        .select("seq", "event", *(each.name for each in CONDITIONS[kind]))
        .collect()
    )
