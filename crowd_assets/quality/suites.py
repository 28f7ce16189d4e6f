"""One Great Expectations suite a kind of feedback.

Belongs here: expectations and the columns that they need. Critical ones cost a row its place, warnings are shown.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

# What makes two events answers to the same question: of each pair only the first counts.
ANSWERED_ONCE = {
    "demonstration": ("contributor_id", "prompt", "response"),
    "preference": ("contributor_id", "comparison_id"),
    "outcome": ("comparison_id",),
    "bid": ("contributor_id", "lot_id"),
}
ANSWERED_ONCE_WORDS = {
    "demonstration": "a contributor gives the same response to the same prompt once",
    "preference": "a labeler judges a comparison once",
    "outcome": "a comparison has one outcome",
    "bid": "a seller bids once for a lot",
}
COMMON_RESPONSE_SHARE = 0.2


def prepared(kind: str, events: pl.DataFrame) -> pl.DataFrame:
    """Events of one kind, in order of ``seq``, with the columns that the suite looks at.

    Adds ``answer_number`` (1 for the first answer to a question), ``texts_differ`` (a preference's answers are two,
    a response is not its prompt), ``texts_match`` (all who judge a comparison see the same texts) and
    ``copies_share`` (share of a contributor's demonstrations with this response).
    """
    one, other = ("response_a", "response_b") if kind == "preference" else ("prompt", "response")
    same = pl.col(one).str.strip_chars() == pl.col(other).str.strip_chars()
    alone = pl.len().over("contributor_id")
    copies = pl.len().over("contributor_id", "response")
    seen = pl.struct("prompt", "response_a", "response_b")
    return events.sort("seq").with_columns(
        pl.col("submitted_at").dt.replace_time_zone(None),  # in UTC, as pandas compares it
        texts_match=seen == seen.first().over("comparison_id"),
        answer_number=pl.int_range(1, pl.len() + 1).over(ANSWERED_ONCE[kind]),
        texts_differ=~same.fill_null(False),
        copies_share=pl.when(alone >= 5).then(copies / alone).otherwise(0.0),
    )


def suites(claimed_at: datetime) -> dict[str, Sequence[Any]]:
    """The expectations of each kind, for a round claimed at ``claimed_at``: nothing in it is later than that."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    def never_null(column: str) -> Any:
        return gxe.ExpectColumnValuesToNotBeNull(column=column, description=f"{column} is there")

    def share(column: str) -> Any:
        return gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=0, max_value=1, description=f"{column} is from 0 to 1"
        )

    def not_in_future() -> Any:
        return gxe.ExpectColumnValuesToBeBetween(
            column="submitted_at",
            max_value=claimed_at.replace(tzinfo=None),
            description="submitted_at is not later than the start of the round",
        )

    def answered_once(kind: str) -> Any:
        return gxe.ExpectColumnValuesToBeInSet(
            column="answer_number", value_set=[1], description=ANSWERED_ONCE_WORDS[kind]
        )

    def texts_differ(words: str) -> Any:
        return gxe.ExpectColumnValuesToBeInSet(column="texts_differ", value_set=[True], description=words)

    def unique_ids() -> Any:
        return gxe.ExpectColumnValuesToBeUnique(column="event_id", description="event_id is unique")

    def price() -> Any:
        return gxe.ExpectColumnValuesToMatchRegex(
            column="asked_price", regex=r"^\d+\.\d{6}$", description="asked_price is a decimal with 6 places"
        )

    def few_copies() -> Any:
        return gxe.ExpectColumnValuesToBeBetween(
            column="copies_share",
            max_value=COMMON_RESPONSE_SHARE,
            severity=FailureSeverity.WARNING,
            description=f"no response is more than {COMMON_RESPONSE_SHARE:.0%} of what its contributor wrote",
        )

    def common(kind: str) -> list[Any]:
        return [unique_ids(), not_in_future(), answered_once(kind)]

    return {
        "demonstration": [
            *common("demonstration"),
            never_null("contributor_id"),
            never_null("prompt"),
            never_null("response"),
            texts_differ("a response is not a copy of its prompt"),
            few_copies(),
        ],
        "preference": [
            *common("preference"),
            never_null("comparison_id"),
            share("probability_a"),
            texts_differ("the two answers of a comparison differ"),
            gxe.ExpectColumnValuesToBeInSet(
                column="texts_match", value_set=[True], description="all who judge a comparison see the same texts"
            ),
        ],
        "outcome": [*common("outcome"), never_null("comparison_id"), share("preferred_a")],
        "bid": [*common("bid"), never_null("lot_id"), share("claimed_quality"), price()],
    }
