"""The gate: which rows it takes, which it does not, and why."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import ks_2samp

from crowd_assets.quality import drift, suites
from crowd_assets.quality.conditions import CONDITIONS
from crowd_assets.quality.detectors import Detection, detect
from crowd_assets.quality.detectors.base import CONTRIBUTORS, FLAGGED_EVENTS
from crowd_assets.quality.gate import GateResult, ReportMismatchError, check_feedback
from crowd_assets.quality.history import Earlier
from crowd_assets.quality.suites import LISTED
from crowd_assets.quality.verdict import too_few
from resources.feedback.events import EVENT_SCHEMA, Limits, parse_event
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource

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


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of what Polars finds need no report, which takes a second."""
    monkeypatch.setattr("crowd_assets.quality.gate._report", lambda *_: None)


def events_of(*records: dict[str, Any], first: int = 1) -> pl.DataFrame:
    rows = [
        parse_event(record, LIMITS) | {"source": "f.jsonl", "line": number}
        for number, record in enumerate(records, start=1)
    ]
    events = pl.DataFrame(rows, schema=EVENT_SCHEMA).with_row_index("seq", offset=first)
    return events.cast({"seq": pl.Int64})


def after(*rounds: pl.DataFrame, **more: Any) -> Earlier:
    """What is before a round that comes after ``rounds``."""
    events = pl.concat([each.with_columns(round_id=pl.lit(f"r{number}")) for number, each in enumerate(rounds)])
    return Earlier(events=events.lazy(), recent=lambda: list(rounds), **more)


def gate(data_quality: DataQualityResource, *records: dict[str, Any], **options: Any) -> GateResult:
    before = options.get("earlier", Earlier()).events.collect()
    events = events_of(*records, first=1 + before.height)
    settings = CrowdSettings(**options.pop("settings", {}))
    return check_feedback(ROUND, lambda: events.iter_slices(5), data_quality, settings, **options)


def reasons(result: GateResult) -> dict[int, str]:
    return dict(result.rejected.select("line", "reason").iter_rows())


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
    found = reasons(result)
    expected = {
        2: "the same response to the same prompt once",
        3: "not a copy of its prompt",
        4: "not later than the start of the round",
        6: "judges a comparison once",
        7: "see the same texts",
        8: "two answers of a comparison differ",
        10: "has one outcome",
        12: "offers an answer in a lot once",
    }
    assert set(found) == set(expected)
    for line, words in expected.items():
        assert words in found[line]
    assert pl.concat(result.valid())["line"].to_list() == [1, 5, 9, 11]
    assert result.rejected_share == 8 / 12
    assert set(result.rejected["stage"]) == {"gate"}


@pytest.mark.usefixtures("unreported")
def test_answers_and_outcomes_count_once_over_all_rounds(data_quality: DataQualityResource) -> None:
    before = events_of(DEMONSTRATION, PREFERENCE, OUTCOME, BID, BID | {"lot_id": "sold"})
    sold = before.filter(pl.col("lot_id") == "sold").select("event_id")
    result = gate(
        data_quality,
        DEMONSTRATION | {"event_id": "again"},
        DEMONSTRATION | {"response": "new"},
        PREFERENCE | {"probability_a": 0.1},
        PREFERENCE | {"contributor_id": "c2"},
        PREFERENCE | {"contributor_id": "c3", "response_a": "not what c1 saw"},
        OUTCOME | {"preferred_a": 0},
        BID | {"event_id": "not-bought-then"},
        BID | {"lot_id": "sold", "event_id": "bought-then"},
        earlier=after(before, sold=sold),
    )
    found = reasons(result)
    assert set(found) == {1, 3, 5, 6, 8}
    assert "same response to the same prompt once" in found[1]
    assert "judges a comparison once" in found[3]
    assert "see the same texts" in found[5]
    assert "agrees with the comparison's first" in found[6]
    assert "has one outcome" in found[6]
    assert "offers an answer in a lot once" in found[8]


@pytest.mark.usefixtures("unreported")
def test_what_is_named_must_be_known(data_quality: DataQualityResource, tmp_path: Path) -> None:
    bought = events_of(
        BID | {"response": "one", "event_id": "bid-a"},
        BID | {"contributor_id": "c2", "response": "two", "event_id": "bid-b"},
    )
    published = "r000001-0123456789abcdef"
    tasks = pl.DataFrame({"comparison_id": [published], "event_id_a": ["bid-a"], "event_id_b": ["bid-b"]})
    (tmp_path / "lots").write_text("l\nm\n")
    judged = PREFERENCE | {"comparison_id": published, "response_a": "one", "response_b": "two"}
    result = gate(
        data_quality,
        judged,
        judged | {"contributor_id": "c2", "response_b": "other"},
        judged | {"contributor_id": "c4", "response_b": "two\r\n"},
        judged | {"contributor_id": "c3", "comparison_id": "r000001-00000000deadbeef"},
        OUTCOME | {"comparison_id": published},
        OUTCOME | {"comparison_id": "nobody-asked"},
        OUTCOME | {"comparison_id": "r000001-00000000deadbeef"},
        OUTCOME,
        PREFERENCE,
        BID,
        BID | {"lot_id": "n"},
        earlier=after(bought, tasks=tasks),
        settings={"lots": str(tmp_path / "lots")},
    )
    found = reasons(result)
    assert set(found) == {2, 4, 6, 7, 11}
    assert "see the same texts" in found[2]
    assert "was published by it" in found[4]
    assert "published or judged" in found[6]
    assert "published or judged" in found[7], "only an invalid preference names it"
    assert "CROWD_LOTS" in found[11]
    assert gate(data_quality).events == 0


@pytest.mark.usefixtures("unreported")
def test_times_are_in_order(data_quality: DataQualityResource) -> None:
    result = gate(
        data_quality,
        PREFERENCE | {"accepted_at": "2026-01-01T00:00:00+00:00"},
        PREFERENCE | {"contributor_id": "c2", "accepted_at": "2026-01-01T01:00:01+01:00"},
        PREFERENCE | {"contributor_id": "c3", "accepted_at": "a while ago"},
        DEMONSTRATION | {"submitted_at": "1999-12-31T23:59:59Z"},
        OUTCOME | {"submitted_at": "2025-01-01T00:00:00Z"},
    )
    assert {line: reason.split(":")[1].split(",")[0] for line, reason in reasons(result).items()} == {
        2: " accepted_at",
        4: " submitted_at is not before 2000",
    }
    assert [each.check for each in result.findings if each.severity == "warning" and not each.success] == [
        "outcome_realised_after_reports"
    ]


@pytest.mark.usefixtures("unreported")
def test_a_row_that_fails_takes_nobodys_place(data_quality: DataQualityResource) -> None:
    result = gate(
        data_quality,
        PREFERENCE | {"response_a": "b"},
        PREFERENCE | {"contributor_id": "c2"},
        PREFERENCE | {"probability_a": 0.5},
    )
    assert set(reasons(result)) == {1}


def found_by(detector: str, **details: str) -> Detection:
    """A detection of the events that are named, each with its detail."""
    events = [(event_id, 1.0, detail, None) for event_id, detail in details.items()]
    return Detection(
        detector, pl.DataFrame(events, schema=FLAGGED_EVENTS, orient="row"), pl.DataFrame(schema=CONTRIBUTORS)
    )


def test_what_detectors_find_goes_the_same_way(data_quality: DataQualityResource) -> None:
    looked_at = []

    def detected(events: pl.DataFrame, earlier: pl.DataFrame | None, _: CrowdSettings) -> list[Detection]:
        looked_at.extend(events["event_id"])
        assert earlier is None
        return [found_by("copies", a="word for word z"), found_by("language", b="in de", other="in fr")]

    rows = [DEMONSTRATION | {"event_id": name, "response": name} for name in ("a", "b", "c", "p")]
    bid = BID | {"event_id": "bid"}
    result = gate(data_quality, *rows, bid, detect=detected)
    assert looked_at == ["a", "b", "c", "bid"], "p is a copy of its prompt"
    assert reasons(result) == {1: "copies: word for word z", 4: "not met: a response is not a copy of its prompt"}
    found = {each.check: (each.severity, each.failing) for each in result.findings}
    assert found["demonstration_copies"] == ("critical", 1)
    assert found["demonstration_language"] == ("warning", 1)
    assert found["bid_copies"] == ("critical", 0)
    assert "preference_copies" not in found
    lenient = gate(data_quality, *rows, detect=detected, settings={"detectors_reject": "language"})
    assert reasons(lenient)[2] == "language: in de"
    assert 1 not in reasons(lenient)


@pytest.mark.usefixtures("unreported")
def test_whoever_is_flagged_for_texts_is_told_which_and_near_what(data_quality: DataQualityResource) -> None:
    figures = [("c1", 1.0, 2, 0.0, True, "2 of 2"), ("c2", 1.0, 1, 0.5, False, "1 of 1")]
    people = pl.DataFrame(figures, schema=CONTRIBUTORS, orient="row")
    found = replace(found_by("near_duplicates", a="0.9 of 1 like z", b="0.8 of 1 like z"), contributors=people)
    rows = [
        DEMONSTRATION | {"event_id": name, "contributor_id": who, "response": name}
        for name, who in (("a", "c1"), ("b", "c2"), ("c", "c1"))
    ]
    result = gate(data_quality, *rows, detect=lambda *_: [found])
    assert result.texts.rows() == [("c1", "near_duplicates", "a", "0.9 of 1 like z")]


@pytest.mark.usefixtures("unreported")
def test_a_released_row_need_not_meet_that_rule_again_but_every_other(data_quality: DataQualityResource) -> None:
    early = "not met: submitted_at is not before 2000"
    assert not [words for each in CONDITIONS.values() for words in [c.words for c in each] if "; " in words]
    old = {"submitted_at": "1999-12-31T23:59:59Z"}
    rows = [
        PREFERENCE | {"event_id": "a", **old},
        PREFERENCE | {"event_id": "b", "contributor_id": "c2", **old},
        OUTCOME | {"event_id": "o"},
        DEMONSTRATION | {"event_id": "copied", "response": "p"},
        DEMONSTRATION | {"event_id": "twice", "response": "x"},
    ]
    strict = gate(data_quality, *rows, detect=lambda *_: [found_by("copies", twice="z", copied="z")])
    assert set(reasons(strict)) == {1, 2, 3, 4, 5}
    released = {"a": {early}, "copied": {"copies"}, "twice": {"copies"}}
    result = gate(data_quality, *rows, detect=lambda *_: [found_by("copies", twice="z", copied="z")], released=released)
    assert reasons(result) == {2: early, 4: "not met: a response is not a copy of its prompt"}


@pytest.mark.usefixtures("unreported")
def test_personal_data_is_found_in_what_was_sent_and_masked_in_what_is_kept(
    data_quality: DataQualityResource,
) -> None:
    mail = DEMONSTRATION | {"event_id": "mail", "response": "Write to ada.lovelace@gmail.com about it, please."}
    kept = events_of(mail).with_columns(pl.col("response").str.replace("ada.*com", "[e-mail]"))
    found = {}
    for choice in ("mask", "reject", "keep"):
        result = gate(data_quality, mail, detect=detect, settings={"personal_data": choice})
        (finding,) = [each for each in result.findings if each.check == "demonstration_personal_data"]
        assert finding.failing == 1
        valid = pl.concat(result.valid())["response"].to_list()
        found[choice] = (finding.severity, valid, result.rejected["reason"].to_list())
        assert "gmail" not in "".join(result.rejected["excerpt"])
    assert found["mask"] == ("warning", kept["response"].to_list(), [])
    assert found["reject"] == ("critical", [], ["personal_data: e-mail"])
    assert found["keep"] == ("warning", [mail["response"]], [])
    # What an earlier round kept is what this one would keep of the same text.
    again = mail | {"event_id": "again"}
    result = gate(data_quality, again, earlier=after(kept))
    assert "same response to the same prompt once" in reasons(result)[1]


def test_great_expectations_counts_what_polars_found(
    data_quality: DataQualityResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: dict[tuple[str, str], int] = {}
    run = DataQualityResource.run_suites

    def watched(self: DataQualityResource, *arguments: Any) -> dict[tuple[str, str], int]:
        counted.update(run(self, *arguments))
        return counted

    rows = [
        DEMONSTRATION
        | {"contributor_id": f"c{number % 7}", "response": "r" * (number % 11 + 1), "event_id": f"e{number}"}
        for number in range(300)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(DataQualityResource, "run_suites", watched)
        result = gate(data_quality, *rows, PREFERENCE, OUTCOME | {"comparison_id": "unknown"})
    found = {(each.suite, each.name): each.failing for each in result.findings if (each.suite, each.name) in counted}
    assert found == counted
    assert counted["demonstration", "answered_once"] == 300 - 77 > LISTED
    assert counted["outcome", "comparison_known"] == 1

    def one_row_more(met: pl.DataFrame, listed: Any) -> pl.DataFrame:
        return suites.reported(met, listed).with_columns(answered_once=pl.lit("and others"))

    monkeypatch.setattr("crowd_assets.quality.gate.reported", one_row_more)
    with pytest.raises(ReportMismatchError, match="demonstration_answered_once"):
        gate(data_quality, DEMONSTRATION)


def test_nothing_a_contributor_wrote_reaches_the_data_docs(data_quality: DataQualityResource) -> None:
    hostile = "<script>alert(1)</script>"
    events = events_of(
        *(DEMONSTRATION | {"response": hostile, "prompt": hostile, "event_id": f"e{number}"} for number in range(6))
    ).with_columns(contributor_id=pl.lit(hostile))  # as if it had come past the first check
    result = check_feedback(ROUND, lambda: iter([events]), data_quality, CrowdSettings())
    assert result.rejected.height == 6
    pages = [path.read_text(encoding="utf-8") for path in data_quality.data_docs.parent.rglob("validations/**/*.html")]
    assert any("e0 ?script?alert?1??" in page for page in pages)
    assert not any(hostile in page for page in pages)


@pytest.mark.usefixtures("unreported")
def test_drift_is_a_distance_beyond_chance(data_quality: DataQualityResource) -> None:
    def round_of(length: int, contributors: int = 10) -> pl.DataFrame:
        return events_of(
            *(
                DEMONSTRATION
                | {"contributor_id": f"c{number % contributors}", "response": f"{'ж' * (number % length)} {number}"}
                for number in range(200)
            )
        )

    def warned(result: GateResult) -> set[str]:
        return {each.check for each in result.findings if each.suite == "round" and not each.success}

    def checked(now: pl.DataFrame, *rounds: pl.DataFrame, vectors: Any = None) -> GateResult:
        earlier = after(*rounds, vectors=vectors)
        numbered = now.with_columns(pl.col("seq") + 10_000, pl.col("event_id") + "-now")
        lengths = lambda texts: np.array([[len(text), 0.0] for text in texts])  # noqa: E731
        return check_feedback(ROUND, lambda: iter([numbered]), data_quality, CrowdSettings(), earlier, embed=lengths)

    usual = [round_of(20).with_columns(pl.col("contributor_id") + str(number)) for number in range(3)]
    far = np.array([[1000.0, 0.0]] * 60)
    assert warned(checked(round_of(20), *usual)) == set()
    assert warned(checked(round_of(200), *usual, vectors=far)) == {
        "round_demonstration_length_drift",
        "round_phi_drift",
    }
    latin = round_of(20).with_columns(pl.col("response").str.replace_all("ж", "z"))
    assert warned(checked(latin, *usual)) == {"round_demonstration_script_drift"}
    one_writer = pl.when(pl.int_range(200) % 3 > 0).then(pl.lit("c0")).otherwise(pl.col("contributor_id"))
    assert warned(checked(round_of(20).with_columns(contributor_id=one_writer), *usual)) == {
        "round_demonstration_largest_share"
    }
    assert warned(checked(round_of(20).head(30), *usual)) == {"round_demonstration_volume"}
    old = round_of(20).with_columns(pl.col("submitted_at").dt.offset_by("-4y"))
    assert warned(checked(old, *usual)) == {"round_freshness"}


def test_the_distance_of_distributions_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, 300).astype(float), rng.integers(0, 6, 80).astype(float)
    assert drift.distance(one, other) == pytest.approx(ks_2samp(one, other).statistic)
    alike = [drift.distance(rng.random(80), rng.random(120)) > drift.by_chance(80, 120) for _ in range(2_000)]
    assert sum(alike) <= 8
    assert drift.distance(rng.random(80), rng.random(120) + 0.5) > drift.by_chance(80, 120)


def test_copies_are_a_warning_and_cost_nothing(data_quality: DataQualityResource) -> None:
    copies = [DEMONSTRATION | {"prompt": f"p{number}", "response": "buy now"} for number in range(6)]
    result = gate(data_quality, *copies)
    warnings = [finding for finding in result.findings if not finding.success]
    assert [finding.severity for finding in warnings] == ["warning"]
    assert warnings[0].failing == 6
    assert result.rejected.is_empty()


def test_every_round_has_a_page_in_the_data_docs(data_quality: DataQualityResource) -> None:
    gate(data_quality, DEMONSTRATION)
    assert "r000001" in data_quality.data_docs.read_text(encoding="utf-8")
    (page,) = data_quality.data_docs.parent.glob("validations/demonstration/**/*.html")
    suite = re.search(r'href="([^"]*/expectations/[^"?]*)', page.read_text(encoding="utf-8"))
    assert suite
    assert (page.parent / suite[1]).exists()


@pytest.mark.parametrize(
    ("contributors", "each", "reason"), [(1, 9, "1 contributors"), (3, 1, "3 valid demonstrations"), (3, 4, None)]
)
def test_a_round_needs_enough_contributors_and_demonstrations(contributors: int, each: int, reason: str | None) -> None:
    said = too_few(contributors * each, contributors, groups=2, min_demonstrations=8)
    assert said is None if reason is None else reason in str(said)
