"""What is said of a person: why it earned what it earned, in words."""

from decimal import Decimal
from typing import Any

import pytest

from crowd_assets.report.people import why

PERSON: dict[str, Any] = dict.fromkeys(
    [
        "demonstrations",
        "group_index",
        "rank",
        "groups",
        "selected",
        "estimate",
        "estimate_error",
        "reports",
        "mean_loss",
        "relative_weight",
        "offered",
        "sold",
        "sales",
        "asked",
        "basis",
        "scored",
        "score",
        "balance",
        "paid",
        "rejected",
        "flags",
    ]
)


@pytest.mark.parametrize(
    ("did", "said"),
    [
        (
            {"demonstrations": 1, "group_index": 3, "rank": 0, "groups": 6, "selected": True},
            "Wrote 1 demonstration in group 3, whose candidate came 1st of 6 and won.",
        ),
        (
            {
                "demonstrations": 2,
                "group_index": 0,
                "rank": 11,
                "groups": 12,
                "estimate": -0.0121,
                "estimate_error": 0.004,
            },
            "Wrote 2 demonstrations in group 0, whose candidate came 12th of 12. All rounds so far say that the demonstrations bring "
            "a model 0.012 ± 0.004 farther from the target.",
        ),
        (
            {"demonstrations": 1, "group_index": 0, "rank": 1, "groups": 2, "estimate": 0.01, "estimate_error": 0.0},
            "Wrote 1 demonstration in group 0, whose candidate came 2nd of 2. All rounds so far say that the demonstrations bring "
            "a model 0.010 closer to the target, and not yet how sure that is.",
        ),
        ({"reports": 48}, "Judged 48 comparisons; no outcome has scored these judgements yet."),
        (
            {"reports": 1, "mean_loss": 0.04, "relative_weight": 1.5},
            "Judged 1 comparison. Reports so far were off by 20 % (root mean square), so that a report counts 1.50 times the mean.",
        ),
        (
            {"basis": "outcome", "scored": 3, "score": 2.5, "balance": 0.0, "paid": Decimal("0.25")},
            "3 judgements were scored by outcomes: 2.50 points, paid 0.2500 credits.",
        ),
        (
            {"basis": "agreement", "scored": 1, "score": -0.5, "balance": -1.5, "paid": Decimal(0)},
            "1 judgement was scored by agreement with others: −0.50 points; 1.50 points are missing before judgements are paid again.",
        ),
        (
            {"offered": 12, "sold": 2, "sales": 0.71, "asked": Decimal("0.6")},
            "Sold 2 of 12 answers for 0.710 credits (asked 0.600).",
        ),
        (
            {"offered": 1, "sold": 0, "rejected": 2},
            "Offered 1 answer; none was bought. 2 events were rejected at the gate.",
        ),
    ],
)
def test_why_somebody_earned_what_is_said_in_words(did: dict[str, Any], said: str) -> None:
    assert why(PERSON | did) == said
