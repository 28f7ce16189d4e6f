"""A response outside the range of reference texts is flagged with its figure, and nobody is where there is no range."""

from datetime import UTC, datetime

import polars as pl

from crowd_assets.quality.detectors.likelihood import unlikely
from crowd_assets.quality.objections import objections_of
from resources.feedback.events import EVENT_SCHEMA
from resources.settings.resource import CrowdSettings

SALAD = "advice days saved means helped learned"


def feedback(*responses: str) -> pl.DataFrame:
    rows = [
        {
            "seq": number,
            "event_id": f"e{number}",
            "kind": "bid" if number % 2 else "demonstration",
            "contributor_id": f"who {number}",
            "prompt": "What happened?",
            "response": response,
            "submitted_at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        for number, response in enumerate(responses)
    ]
    return pl.DataFrame(rows, schema={"seq": pl.Int64(), **EVENT_SCHEMA})


def test_demonstrations_and_bids_outside_the_range_are_flagged_with_their_figure() -> None:
    asked: list[tuple[str, str]] = []

    def weigh(pairs: list[tuple[str, str]]) -> list[tuple[float, str]]:
        asked.extend(pairs)
        return [(-9.0, "-9.00 nats a token") if text == SALAD else (-1.0, "") for _, text in pairs]

    found = unlikely(feedback("Thank you.", SALAD, SALAD, "It was kind of you."), weigh)
    assert found.events.select("event_id", "score", "detail").rows() == [
        ("e1", -9.0, "-9.00 nats a token"),
        ("e2", -9.0, "-9.00 nats a token"),
    ]
    assert len(asked) == 3, "the same text is scored once"


def test_where_most_of_the_crowd_is_outside_the_reference_texts_are_of_another_domain_and_nobody_is_rejected() -> None:
    def weigh(pairs: list[tuple[str, str]]) -> list[tuple[float, str]]:
        return [(-9.0, "unlike") if text.startswith("La ") else (-1.0, "") for _, text in pairs]

    own, theirs = [f"La vita {number}" for number in range(3)], [f"Thank you {number}" for number in range(2)]
    found = unlikely(feedback(*own, *theirs), weigh)
    assert found.events.height == 3
    assert not found.fits
    assert found.events["detail"][0] == "unlike (3 of 5 contributors write so: see CROWD_REFERENCE_TEXTS)"
    settings = CrowdSettings(home="nowhere")
    assert {each.severity for each in objections_of([found], settings)} == {"warning"}
    found = unlikely(feedback(*own[:2], *theirs), weigh)
    assert found.fits
    assert {each.severity for each in objections_of([found], settings)} == {"critical"}


def test_without_a_range_nothing_is_flagged() -> None:
    assert unlikely(feedback(SALAD), None).events.is_empty()
    assert unlikely(feedback(), lambda pairs: []).events.is_empty()
