"""Every line of a file is an event or a rejection with its reason, whatever it holds."""

import hashlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from resources.feedback.event_files import ParsedFile, read_parts
from resources.feedback.events import InvalidEventError, Limits, is_visible, parse_event
from tests.reading import read_file

LIMITS = Limits(line_bytes=10_000, text_characters=1_000)
DEMONSTRATION = {
    "kind": "demonstration",
    "contributor_id": "c1",
    "prompt": "What is new?",
    "response": "Not much.",
    "submitted_at": "2026-01-02T03:04:05+01:00",
}
BID = {
    "kind": "bid",
    "contributor_id": "s1",
    "lot_id": "lot-1",
    "prompt": "p",
    "response": "r",
    "asked_price": "0.25",
    "claimed_quality": 1,
    "submitted_at": "2026-01-02T03:04:05Z",
}


def read(folder: Path, content: bytes, name: str = "feedback.jsonl") -> ParsedFile:
    path = folder / name
    path.write_bytes(content)
    return read_file(UPath(path), LIMITS)


def test_a_demonstration_becomes_an_event_in_utc() -> None:
    event = parse_event(DEMONSTRATION, LIMITS)
    assert event["submitted_at"].isoformat() == "2026-01-02T02:04:05+00:00"
    assert (event["contributor_id"], event["response"], event["payload"]) == ("c1", "Not much.", "")


def test_the_id_is_a_hash_of_the_content_alone() -> None:
    first = parse_event(DEMONSTRATION, LIMITS)["event_id"]
    assert parse_event(dict(reversed(DEMONSTRATION.items())), LIMITS)["event_id"] == first
    assert parse_event(DEMONSTRATION | {"response": "Much."}, LIMITS)["event_id"] != first
    assert parse_event(DEMONSTRATION | {"event_id": "mine-1"}, LIMITS)["event_id"] == "mine-1"


PREFERENCE = {
    "kind": "preference",
    "contributor_id": "s1",
    "comparison_id": "k",
    "prompt": "p",
    "response_a": "é\u2028",
    "response_b": "b",
    "probability_a": 0.1,
    "submitted_at": "2026-01-02T03:04:05Z",
}
OUTCOME = {
    "kind": "outcome",
    "comparison_id": "k",
    "preferred_a": 1e-9,
    "submitted_at": "2026-01-01T00:00:00Z",
    "extra": {"b": [1, "ü"], "a": None},
}


@pytest.mark.parametrize(
    ("record", "kept_since_the_first_version"),
    [
        (DEMONSTRATION | {"prompt": "What?", "response": "Not"}, "02f14075c88f926b4e3b649a7d5f5b9f"),
        (BID | {"submitted_at": "2026-01-02T03:04:05.12Z"}, "d7c1050ef90ea4aa6cf7d55d5db0daad"),
        (PREFERENCE, "283dab01f16a7ac5e7484abe56dd1726"),
        (OUTCOME, "4b42b1d508db785870fb5fbe13b2a717"),
    ],
)
def test_the_id_of_an_event_never_changes(record: dict[str, object], kept_since_the_first_version: str) -> None:
    assert parse_event(record, LIMITS)["event_id"] == kept_since_the_first_version


@given(text=st.text(min_size=1), share=st.floats(0, 1), instant=st.datetimes(timezones=st.just(UTC)))
def test_the_canonical_content_is_that_of_the_json_module(text: str, share: float, instant: datetime) -> None:
    change = {"prompt": f".{text}", "probability_a": share, "submitted_at": instant.isoformat(), "unknown": text}
    event = parse_event(PREFERENCE | change, Limits(line_bytes=10_000, text_characters=10_000))
    content = {name: value for name, value in event.items() if value is not None and name != "event_id"}
    content["submitted_at"] = event["submitted_at"].isoformat()
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert event["event_id"] == hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def test_a_file_in_parts_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    path.write_text("".join(json.dumps(DEMONSTRATION | {"response": f"{n}"}) + "\nbroken\n\n" for n in range(7)))
    frame = tmp_path / "feedback.parquet"
    pl.DataFrame([DEMONSTRATION | {"response": f"{n % 6}"[: n % 5]} for n in range(7)]).write_parquet(frame)
    for each in (path, frame):
        whole = read_file(UPath(each), LIMITS)
        assert len(whole.events) + len(whole.rejections) == (14 if each is path else 7)
        parts = list(read_parts(UPath(each), LIMITS, rows=3))
        assert len(parts) > 2
        assert [row for part in parts for row in part.events] == whole.events
        assert [row for part in parts for row in part.rejections] == whole.rejections
        assert (parts[-1].digest, parts[-1].bytes) == (whole.digest, whole.bytes)


def test_unknown_fields_are_kept() -> None:
    assert json.loads(parse_event(DEMONSTRATION | {"tool": {"version": 2}}, LIMITS)["payload"]) == {
        "tool": {"version": 2}
    }


@pytest.mark.parametrize(("written", "kept"), [("0.25", "0.250000"), (0.1, "0.100000"), (3, "3.000000")])
def test_prices_are_exact_decimals(written: object, kept: str) -> None:
    assert parse_event(BID | {"asked_price": written}, LIMITS)["asked_price"] == kept


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "opinion"}, "unknown kind"),
        ({"kind": ["bid"]}, "unknown kind"),
        ({"contributor_id": None}, "contributor_id is missing"),
        ({"contributor_id": "../../etc/passwd"}, "contributor_id"),
        ({"contributor_id": "<script>"}, "contributor_id"),
        ({"lot_id": ""}, "lot_id"),
        ({"response": "  "}, "response is empty"),
        ({"response": 7}, "response must be text"),
        ({"response": "x" * 1_001}, "response has 1001 characters"),
        ({"claimed_quality": 1.01}, "claimed_quality"),
        ({"claimed_quality": True}, "claimed_quality"),
        ({"claimed_quality": math.nan}, "claimed_quality"),
        ({"asked_price": -1}, "asked_price"),
        ({"asked_price": "NaN"}, "asked_price"),
        ({"asked_price": "1e400"}, "asked_price"),
        ({"asked_price": "0.0000001"}, "6 decimal places"),
        ({"submitted_at": "yesterday"}, "not ISO 8601"),
        ({"submitted_at": "2026-01-02T03:04:05"}, "no zone"),
        ({"submitted_at": None}, "submitted_at is missing"),
        ({"extra": math.inf}, "not finite"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidEventError, match=reason):
        parse_event(BID | change, LIMITS)


def test_one_bad_line_never_costs_the_others(tmp_path: Path) -> None:
    good = json.dumps(DEMONSTRATION).encode()
    bad = {
        2: (b'{"kind": "demonstration",', "broken JSON"),
        3: (b'{"kind": "outcome", "comparison_id": "a", "preferred_a": NaN}', "NaN is not a finite number"),
        4: (b"x" * 10_000_000, "the line has 10000001 bytes"),
        5: (b"\xff\xfe{}", "not UTF-8"),
        6: (b"[" * 9_000, "nested too deeply|broken JSON"),
        7: (b'{"kind": "outcome", "comparison_id": "a", "preferred_a": 1e999}', "not a finite number"),
        8: (b"[1, 2]", "must be a JSON object"),
        9: (b"\xef\xbb\xbf\xef\xbb\xbf" + good, "broken JSON: Unexpected UTF-8 BOM"),
    }
    parsed = read(tmp_path, b"\n".join([good, *(line for line, _ in bad.values()), b"", b"\xef\xbb\xbf" + good]))
    assert [event["line"] for event in parsed.events] == [1, 11]
    assert [row["line"] for row in parsed.rejections] == list(bad)
    for row in parsed.rejections:
        pattern = bad[row["line"]][1]
        assert any(part in row["reason"] for part in pattern.split("|")), row["reason"]
        assert len(row["excerpt"]) <= 200


def test_an_empty_file_is_rejected_with_its_reason(tmp_path: Path) -> None:
    assert [row["reason"] for row in read(tmp_path, b"").rejections] == ["the file is empty"]


def test_lone_surrogates_and_nul_become_replacement_characters(tmp_path: Path) -> None:
    line = json.dumps(DEMONSTRATION | {"response": "a\ud800b\u0000c"}).encode()
    assert read(tmp_path, line).events[0]["response"] in ("a?b\ufffdc", "a\ufffdb\ufffdc")


def test_parquet_rows_are_read_like_lines(tmp_path: Path) -> None:
    path = tmp_path / "feedback.parquet"
    pl.DataFrame([DEMONSTRATION, DEMONSTRATION | {"response": ""}]).write_parquet(path)
    parsed = read_file(UPath(path), LIMITS)
    assert [event["event_id"] for event in parsed.events] == [parse_event(DEMONSTRATION, LIMITS)["event_id"]]
    assert [(row["line"], row["reason"]) for row in parsed.rejections] == [(2, "response is empty")]


def test_what_is_no_parquet_is_rejected(tmp_path: Path) -> None:
    parsed = read(tmp_path, b"PAR1 but not really", "feedback.parquet")
    assert not parsed.events
    assert "not a Parquet file" in parsed.rejections[0]["reason"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(
    record=st.dictionaries(st.sampled_from([*DEMONSTRATION, *BID, "event_id", "extra"]), json_values)
    | st.tuples(st.sampled_from([*BID, "event_id", "extra"]), json_values).map(
        lambda change: BID | {change[0]: change[1]}
    )
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_an_event_or_an_invalid_event(record: dict[str, object]) -> None:
    try:
        event = parse_event(record, LIMITS)
    except InvalidEventError:
        return
    json.dumps(event, default=str).encode("utf-8")
    assert event["kind"] in ("demonstration", "bid")


@given(content=st.binary(max_size=400))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_without_an_exception(content: bytes, tmp_path: Path) -> None:
    parsed = read(tmp_path, content)
    assert not parsed.events
    if content.strip():
        assert parsed.rejections


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("a", True),
        ("\u200ba", True),
        ("\U00018cd6", True),
        ("", False),
        (" \n", False),
        ("\u200b\u2060", False),
        ("\x07", False),
    ],
)
def test_a_text_is_visible_by_one_character_that_is(text: str, visible: bool) -> None:
    """U+18CD6 is a letter that the Unicode of older Pythons does not know."""
    assert is_visible(text) == visible
