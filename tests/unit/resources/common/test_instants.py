"""Times of feedback: leap seconds, the ends of the calendar, nights of another length, and clocks that are set back."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from upath import UPath

from crowd_assets.importers.cells import instant_of as time_of_cell
from crowd_assets.importers.label_studio import _time as time_of_annotation
from crowd_assets.importers.mapping import Mapping
from crowd_assets.importers.records import RowError, start_of, time_of
from crowd_assets.quality import conditions
from crowd_assets.quality.gate import check_feedback
from crowd_assets.quality.history import Earlier, before
from resources.build import build_resources
from resources.common.instants import instant, still_ahead
from resources.feedback.events import EVENT_SCHEMA, Limits, accepted_at, parse_event
from resources.rounds.attempts import LONGEST_PAUSE, AttemptBook
from resources.rounds.book import RoundBook
from resources.rounds.claims import PendingFeedback, Quorum, Round
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource
from sensors.decisions import decide, ingestion_waits
from sensors.rounds import nightly_schedule
from tests.reading import read_file

LEAP, AFTER = "2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)
EVENT = {"kind": "demonstration", "contributor_id": "c1", "prompt": "p", "response": "r"}
LIMITS = Limits(10_000, 1_000)


def parsed(submitted_at: str, **other: Any) -> dict[str, Any]:
    return parse_event({**EVENT, "submitted_at": submitted_at, **other}, LIMITS)


@pytest.mark.parametrize(
    "text",
    [
        LEAP,
        "2016-12-31T23:59:60+00:00",
        "20161231T235960Z",
        "2016-12-31 23:59:60Z",
        "2017-01-01T05:29:60+05:30",
        "2016-12-31T15:59:60-08:00",
    ],
)
def test_a_leap_second_is_the_second_after_it_wherever_a_time_is_read(text: str) -> None:
    assert instant(text) == AFTER
    assert parsed(text)["submitted_at"] == AFTER
    assert time_of(text, "submitted_at") == AFTER
    assert start_of(text) == AFTER
    assert time_of_cell(text, Mapping("demonstration", {})) == AFTER
    assert time_of_annotation({"updated_at": text}, datetime.now(UTC)) == AFTER


def test_fractions_of_a_leap_second_count_and_payloads_are_read_alike() -> None:
    assert instant("2016-12-31T23:59:60.5Z") == AFTER + timedelta(seconds=0.5)
    given = [LEAP, "2016-12-31T23:59:60.5Z", "2026-01-01 10:00:00+02:00", "yesterday", "0001-01-01T00:00:00Z"]
    payloads = pl.DataFrame({"payload": [json.dumps({"accepted_at": each}) for each in given]})
    found = payloads.select(accepted_at()).to_series().to_list()
    assert found[:3] == [AFTER, AFTER + timedelta(seconds=0.5), datetime(2026, 1, 1, 8, tzinfo=UTC)]
    assert found[3] is None


@pytest.mark.parametrize(
    "text", ["2016-12-31T12:59:60Z", "2016-12-31T23:58:60Z", "2016-12-31T23:59:60+01:00", "2016-12-31T23:59:61Z"]
)
def test_a_second_that_no_clock_has_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({**EVENT, "submitted_at": text}))
    (rejected,) = read_file(UPath(tmp_path / "a.jsonl"), LIMITS).rejections
    assert text in rejected["reason"]
    assert "is not ISO 8601" in rejected["reason"]
    with pytest.raises(RowError, match="ISO 8601"):
        time_of(text, "submitted_at")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-01:00"])
def test_the_ends_of_the_calendar_end_nothing_else(text: str, tmp_path: Path) -> None:
    good = json.dumps({**EVENT, "submitted_at": "2026-01-01T00:00:00Z"})
    (tmp_path / "a.jsonl").write_text("\n".join([json.dumps({**EVENT, "submitted_at": text}), good]))
    found = read_file(UPath(tmp_path / "a.jsonl"), LIMITS)
    assert (len(found.events), len(found.rejections)) == (1, 1)


def test_a_time_in_a_zone_with_summer_is_read_on_both_nights_of_change() -> None:
    mapping = Mapping("demonstration", {}, time_zone="Europe/Berlin")
    assert time_of_cell("2026-10-25 02:30:00", mapping) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # the first of two
    assert time_of_cell("2026-03-29 02:30:00", mapping) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # there is none


def test_the_nightly_schedule_goes_by_a_clock_that_has_no_summer() -> None:
    schedule = nightly_schedule()
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 2 * * *", "UTC")


CLAIMED = datetime(2026, 6, 1, tzinfo=UTC)
ROUND = Round(2, "r000002", 1, 9, "claimed", 1, None, 1, None, None, CLAIMED)


def judged(tmp_path: Path, *times: str, earlier: Earlier | None = None, **more: Any) -> tuple[list[str], float | None]:
    """Reasons of a round's rows by line, and how old the newest of its feedback is, in days; None where none counts."""
    rows = [
        parsed(time, **{**more, "response": f"r{number}"}) | {"source": "f", "line": number}
        for number, time in enumerate(times, start=1)
    ]
    events = pl.DataFrame(rows, schema=EVENT_SCHEMA).with_row_index("seq", offset=1).cast({"seq": pl.Int64})
    quality = DataQualityResource(root=str(tmp_path))
    result = check_feedback(ROUND, lambda: iter([events]), quality, CrowdSettings(), earlier)
    (age,) = [each.figure for each in result.findings if each.name == "freshness"]
    return sorted(result.rejected["reason"].to_list()), age


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crowd_assets.quality.gate._report", lambda *_: None)


@pytest.mark.usefixtures("unreported")
def test_times_that_cannot_be_are_rejected_with_the_reason_and_hide_no_stale_round(tmp_path: Path) -> None:
    stale = (CLAIMED - timedelta(days=40)).isoformat()
    reasons, age = judged(tmp_path, stale, "2099-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9998-12-31T00:00:00Z")
    assert sorted(reasons) == [
        "not met: submitted_at is not before 2000",
        *["not met: submitted_at is not later than the start of the round"] * 2,
    ]
    assert age == pytest.approx(40)
    reasons, _ = judged(tmp_path, stale, accepted_at="0001-01-01T00:00:00Z")
    assert "not before 2000" in reasons[0]


@pytest.mark.usefixtures("unreported")
def test_feedback_of_before_the_clock_was_set_back_is_not_of_the_future(tmp_path: Path) -> None:
    sent = (CLAIMED + timedelta(days=1)).isoformat()
    assert len(judged(tmp_path, sent)[0]) == 1
    reasons, age = judged(tmp_path, sent, earlier=Earlier(latest=CLAIMED + timedelta(days=1, hours=1)))
    assert reasons == []
    assert age == pytest.approx(1 / 24, abs=1e-5)


def test_the_latest_instant_that_a_home_noted_is_of_its_rounds_and_of_what_it_took_in(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path))
    resources = build_resources(settings)
    found = before(ROUND, resources.warehouse, resources.frames, "phi")
    assert found.latest is None
    with resources.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO rounds (round_no, round_id, status, to_seq, claimed_at, settled_at) VALUES "
            "(1, 'r000001', 'completed', 0, '2026-06-03', '2026-06-04')"
        )
    assert before(ROUND, resources.warehouse, resources.frames, "phi").latest == datetime(2026, 6, 4, tzinfo=UTC)
    with resources.warehouse.transaction() as connection:
        connection.execute("INSERT INTO event_index VALUES ('e', 3, 'bid', 'c', '2026-06-05')")
    assert before(ROUND, resources.warehouse, resources.frames, "phi").latest == datetime(2026, 6, 5, tzinfo=UTC)


def test_what_waits_is_not_held_up_by_a_clock_that_was_set_back_by_years() -> None:
    quorum = Quorum(100, 1, timedelta(hours=1))
    for apart, due in ((timedelta(minutes=5), False), (timedelta(hours=2), True), (-timedelta(days=3650), True)):
        pending = PendingFeedback(5, 5, 2, 1, 5, CLAIMED)
        assert (quorum.missing(pending, CLAIMED + apart) is None) == due


def test_a_pause_that_was_reckoned_by_a_later_clock_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert still_ahead(CLAIMED, CLAIMED - timedelta(seconds=5), LONGEST_PAUSE)
    assert not still_ahead(CLAIMED, CLAIMED - timedelta(days=5), LONGEST_PAUSE)
    assert not still_ahead(None, CLAIMED, LONGEST_PAUSE)
    book = AttemptBook(build_resources(CrowdSettings(home=str(tmp_path))).warehouse, 60)
    clock = [datetime(2031, 1, 1, tzinfo=UTC)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: timezone | None = None) -> datetime:  # type: ignore[override]
            return clock[0]

    monkeypatch.setattr("resources.rounds.attempts.datetime", Clock)
    for number, outcome in enumerate(("failed", "succeeded")):
        book.begin(f"z{9 - number}", "ingestion", 1, state="s")
        book.end(f"z{9 - number}", outcome, reason="a disk")  # type: ignore[arg-type]
        clock[0] = CLAIMED
    attempts = book.of("ingestion")
    assert [each.outcome for each in attempts] == ["failed", "succeeded"]
    assert ingestion_waits(attempts[:1], "s", CLAIMED) is None
    assert decide(ROUND, attempts[:1], 0, 3, CLAIMED).action == "retry"


def test_a_round_is_claimed_by_arrival_when_the_clock_was_set_back_between_rounds(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path))
    resources = build_resources(settings)
    Path(resources.inbox.root).mkdir()
    book, quorum = RoundBook(resources.warehouse), Quorum(1, 1, timedelta(0))
    ranges = []
    for number, now in enumerate((datetime(2031, 1, 1, tzinfo=UTC), CLAIMED)):
        line = {**EVENT, "response": f"r{number}", "submitted_at": "2026-01-01T00:00:00Z"}
        Path(resources.inbox.root, f"{number}.jsonl").write_text(json.dumps(line))
        resources.inbox.ingest()
        claimed, reason = book.claim(quorum, settings, now)
        assert claimed is not None, reason
        ranges.append((claimed.from_seq, claimed.to_seq))
        with resources.warehouse.transaction() as connection:
            connection.execute("UPDATE rounds SET status = 'completed', settled_at = claimed_at")
    assert ranges == [(1, 1), (2, 2)]


def test_every_kind_is_held_against_both_ends_of_time() -> None:
    for kind, found in conditions.ALONE.items():
        assert {"not_in_future", "not_long_ago"} <= {each.name for each in found}, kind
