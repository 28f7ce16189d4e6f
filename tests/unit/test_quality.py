"""The gate: which rows it takes, which it does not, and why."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crowd_assets.quality.gate import GateResult, check_feedback, too_few
from resources.data_quality import DataQualityResource
from resources.feedback import EVENT_SCHEMA, Limits, parse_event
from resources.rounds import Round

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ROUND = Round(1, "r000001", 1, 99, "claimed", 1, None, 1, None, None, NOW)
LIMITS = Limits(line_bytes=10_000, text_characters=1_000)
COMMON = {"contributor_id": "c1", "prompt": "p", "submitted_at": "2026-01-01T00:00:00Z"}
DEMONSTRATION = {**COMMON, "kind": "demonstration", "response": "r"}
PREFERENCE = {
    **COMMON,
    **{"kind": "preference", "comparison_id": "k", "response_a": "a", "response_b": "b", "probability_a": 0.7},
}
BID = {**COMMON, "kind": "bid", "lot_id": "l", "response": "r", "asked_price": "0.1", "claimed_quality": 0.5}
OUTCOME = {"kind": "outcome", "comparison_id": "k", "preferred_a": 1, "submitted_at": "2026-01-02T00:00:00Z"}


@pytest.fixture
def data_quality(tmp_path: Path) -> DataQualityResource:
    return DataQualityResource(root=str(tmp_path))


def gate(data_quality: DataQualityResource, *records: dict[str, Any]) -> GateResult:
    rows = [
        parse_event(record, LIMITS) | {"source": "f.jsonl", "line": number}
        for number, record in enumerate(records, start=1)
    ]
    events = pl.DataFrame(rows, schema=EVENT_SCHEMA).with_row_index("seq", offset=1)
    return check_feedback(ROUND, events, data_quality)


def test_rows_that_break_a_rule_between_rows_are_quarantined_with_its_words(data_quality: DataQualityResource) -> None:
    result = gate(
        data_quality,
        DEMONSTRATION,
        DEMONSTRATION | {"event_id": "again"},
        DEMONSTRATION | {"response": " p "},
        DEMONSTRATION | {"response": "late", "submitted_at": "2026-03-02T00:00:00Z"},
        PREFERENCE,
        PREFERENCE | {"probability_a": 0.2},
        PREFERENCE | {"contributor_id": "c2", "response_b": "something else"},
        PREFERENCE | {"contributor_id": "c3", "response_a": "b"},
        OUTCOME,
        OUTCOME | {"preferred_a": 0},
        BID,
        BID | {"asked_price": "0.01"},
    )
    reasons = dict(result.rejected.select("line", "reason").iter_rows())
    expected = {
        2: "the same response to the same prompt once",
        3: "not a copy of its prompt",
        4: "not later than the start of the round",
        6: "judges a comparison once",
        7: "see the same texts",
        8: "two answers of a comparison differ",
        10: "has one outcome",
        12: "bids once for a lot",
    }
    assert set(reasons) == set(expected)
    for line, words in expected.items():
        assert words in reasons[line]
    assert result.valid["line"].to_list() == [1, 5, 9, 11]
    assert result.rejected_share == 8 / 12
    assert set(result.rejected["stage"]) == {"gate"}


def test_copies_are_a_warning_and_cost_nothing(data_quality: DataQualityResource) -> None:
    copies = [DEMONSTRATION | {"prompt": f"p{number}", "response": "buy now"} for number in range(6)]
    result = gate(data_quality, *copies)
    warnings = [finding for finding in result.findings if not finding.success]
    assert [finding.severity for finding in warnings] == ["warning"]
    assert len(warnings[0].failing_ids) == 6
    assert result.rejected.is_empty()


def test_every_round_has_a_page_in_the_data_docs(data_quality: DataQualityResource) -> None:
    gate(data_quality, DEMONSTRATION)
    assert "r000001" in data_quality.data_docs.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("contributors", "each", "reason"), [(1, 9, "1 contributors"), (3, 1, "3 valid demonstrations"), (3, 4, None)]
)
def test_a_round_needs_enough_contributors_and_demonstrations(contributors: int, each: int, reason: str | None) -> None:
    rows = [{"kind": "demonstration", "contributor_id": f"c{n}"} for n in range(contributors) for _ in range(each)]
    said = too_few(pl.DataFrame(rows), groups=2, min_demonstrations=8)
    assert said is None if reason is None else reason in str(said)
