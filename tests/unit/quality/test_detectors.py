"""Detectors: what was planted is found, what is honest is not; and what settings make of it."""

import json
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
import pytest

from crowd_assets.forum import comments as forum
from crowd_assets.mechanisms.preferences import cyclic_triads_by_judge
from crowd_assets.quality.detectors import detect, duplicates, masked, personal, texts
from crowd_assets.quality.detectors.base import Detection, binomial_tail, discoveries
from crowd_assets.quality.objections import EXPECTED, objections_of
from crowd_assets.simulation.defects import DETECTOR, KINDS, Corrupted, plant
from resources.feedback.events import EVENT_SCHEMA, InvalidEventError, Limits, parse_event
from resources.settings.fields import SettingError
from resources.settings.quality import DETECTORS
from resources.settings.resource import CrowdSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(line_bytes=60_000, text_characters=20_000)
SETTINGS = CrowdSettings(languages="en")


def frame(records: list[dict[str, Any]], first_seq: int = 1) -> pl.DataFrame:
    rows = []
    for line, record in enumerate(records, start=1):
        with_time = {"submitted_at": START.isoformat(), **record}
        rows.append(parse_event(with_time, LIMITS) | {"source": "f", "line": line})
    return pl.DataFrame(rows, schema=EVENT_SCHEMA).with_columns(seq=pl.int_range(pl.len()) + first_seq)


def written(*answers: tuple[str, str], prompt: str = "p") -> pl.DataFrame:
    """Demonstrations (contributor, response)."""
    common = {"kind": "demonstration", "prompt": prompt}
    return frame([{**common, "contributor_id": who, "response": text} for who, text in answers])


def honest_feedback(rng: np.random.Generator) -> list[dict[str, Any]]:
    """160 demonstrations of 8 writers; 182 comparisons of 14 answers to each of two prompts, judged by 7 of 15 labelers
    each, whose judgements agree with the answers' qualities, but for noise."""
    comments = forum.write_comments(160, rng)
    records: list[dict[str, Any]] = [
        {
            "kind": "demonstration",
            "contributor_id": f"writer-{number % 8}",
            "prompt": comment.prompt,
            "response": comment.response,
            "submitted_at": (START + timedelta(minutes=number)).isoformat(),
        }
        for number, comment in enumerate(comments)
    ]
    answers = [comment.response for comment in forum.write_comments(28, np.random.default_rng(99))]
    for topic in range(2):
        items, quality = answers[topic * 14 : topic * 14 + 14], rng.permutation(14)
        for one, other in combinations(range(14), 2):
            a, b = (one, other) if rng.random() < 0.5 else (other, one)
            name = f"c{topic}-{one}-{other}"
            shown = {"prompt": f"Which topic, {topic}?", "response_a": items[a], "response_b": items[b]}
            at = START + timedelta(hours=1, seconds=int(rng.integers(80_000)))
            for labeler in rng.permutation(15)[:7]:
                chance = 1 / (1 + np.exp(-(quality[a] - quality[b]) / 1.5))
                records.append(
                    {
                        **{
                            "kind": "preference",
                            "contributor_id": f"labeler-{labeler}",
                            "comparison_id": name,
                            **shown,
                        },
                        **{"probability_a": float(rng.random() < chance), "submitted_at": at.isoformat()},
                        "accepted_at": (at - timedelta(seconds=30)).isoformat(),
                    }
                )
            outcome = {"kind": "outcome", "comparison_id": name, "preferred_a": float(quality[a] > quality[b])}
            records.append({**outcome, "submitted_at": (at + timedelta(days=1)).isoformat()})
    return records


@pytest.fixture(scope="module")
def corrupted() -> Corrupted:
    rng = np.random.default_rng(0)
    return plant(honest_feedback(rng), rng, rows=6, labelers=1)


@pytest.fixture(scope="module")
def events(corrupted: Corrupted) -> pl.DataFrame:
    """What of the corrupted lines can be read, each event once, by line."""
    rows = []
    for number, line in enumerate(corrupted.lines, start=1):
        try:
            rows.append(parse_event(json.loads(line), LIMITS) | {"source": "f", "line": number})
        except (InvalidEventError, json.JSONDecodeError):
            continue
    read = pl.DataFrame(rows, schema=EVENT_SCHEMA).with_columns(seq=pl.int_range(pl.len()) + 1)
    meant_for_the_gate = {
        each.line for each in corrupted.planted if KINDS[each.kind].stage != DETECTOR and each.kind != "duplicate_event"
    }
    return read.filter(~pl.col("line").is_in(list(meant_for_the_gate)))


@pytest.fixture(scope="module")
def detections(events: pl.DataFrame) -> dict[str, Detection]:
    return {detection.detector: detection for detection in detect(events, None, SETTINGS)}


def test_every_planted_defect_is_found_by_the_detector_that_is_meant_for_it(
    corrupted: Corrupted, events: pl.DataFrame, detections: dict[str, Detection]
) -> None:
    lines = dict(events.select("event_id", "line").iter_rows())
    for kind, meant in KINDS.items():
        if meant.stage != DETECTOR:
            continue
        found = detections[meant.rule]
        planted = [each for each in corrupted.planted if each.kind == kind]
        assert planted
        if meant.of_labelers:
            flagged = set(found.contributors.filter("flagged")["contributor_id"])
            assert {each.contributor_id for each in planted} <= flagged, kind
        else:
            assert {each.line for each in planted} <= {lines[event] for event in found.events["event_id"]}, kind


def test_honest_feedback_is_left_alone() -> None:
    """Not one labeler; of 160 comments the grammar makes a few of one pattern, which are near duplicates indeed."""
    found = {each.detector: each for each in detect(frame(honest_feedback(np.random.default_rng(1))), None, SETTINGS)}
    flags = {name: each.events.height for name, each in found.items() if each.events.height}
    assert flags.pop("near_duplicates", 0) <= 8
    assert flags == {}
    assert not any(each.contributors["flagged"].any() for each in found.values())
    assert found["gold_agreement"].contributors["value"].min() > 0.6  # type: ignore[operator]  # a float
    topics = found["intransitivity"].topics
    assert topics["triads"].to_list() == [364, 364]
    assert topics["cyclic_share"].max() < 0.1  # type: ignore[operator]  # a float


def test_findings_do_not_depend_on_the_order_of_rows(events: pl.DataFrame, detections: dict[str, Detection]) -> None:
    for again in detect(events.sample(fraction=1.0, shuffle=True, seed=3), None, SETTINGS):
        before = detections[again.detector]
        assert again.events.sort("event_id").equals(before.events.sort("event_id")), again.detector
        assert again.contributors.equals(before.contributors), again.detector


def test_every_detector_copes_with_a_round_without_its_feedback() -> None:
    nothing = frame([])
    for empty in (nothing, written(("ada", "Thank you all.")), frame([honest_feedback(np.random.default_rng(2))[-1]])):
        found = detect(empty, None, SETTINGS)
        assert tuple(each.detector for each in found) == DETECTORS
        assert all(each.events.is_empty() and not each.contributors["flagged"].any() for each in found)


LONG = "We met at the old mill and walked along the river until it was dark."


def test_of_two_alike_the_one_that_arrived_later_is_the_copy() -> None:
    records = [{"kind": "demonstration", "prompt": "p", "contributor_id": name, "response": LONG} for name in "ab"]
    records[1] |= {"submitted_at": "2020-01-01T00:00:00Z"}  # backdated
    both = frame(records)
    found = duplicates.copies(both, duplicates.responses(both, None), None)
    assert found.events["event_id"].to_list() == [both["event_id"][1]]
    assert found.events["source"].to_list() == [both["event_id"][0]]


def test_texts_of_earlier_rounds_count_as_written_before_and_are_not_flagged_again() -> None:
    earlier, now = (
        written(("a", LONG), ("c", LONG)),
        written(("b", LONG.replace(".", "!"))).with_columns(seq=pl.lit(9, pl.Int64)),
    )
    found = duplicates.copies(now, duplicates.responses(now, earlier), earlier)
    assert found.events["event_id"].to_list() == now["event_id"].to_list()
    own = written(("a", LONG + " ")).with_columns(seq=pl.lit(9, pl.Int64))
    assert duplicates.copies(own, duplicates.responses(own, earlier), earlier).events.is_empty()


@pytest.mark.parametrize("bands", ["many", "few"])
def test_similarity_is_the_exact_one_of_sets_of_four_bytes(bands: str) -> None:
    one, other = LONG, LONG.replace("mill", "hill") if bands == "many" else LONG.replace("old mill", "new pub")
    pair = written(("a", one), ("b", other))

    def shingles(text: str) -> set[str]:
        plain = text.lower().replace(".", "")
        return {plain[at : at + 4] for at in range(len(plain) - 3)}

    exact = len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))
    found = duplicates.near_duplicates(pair, duplicates.responses(pair, None), 0.5).events
    assert found["score"].to_list() == pytest.approx([exact])
    assert duplicates.near_duplicates(pair, duplicates.responses(pair, None), exact + 0.01).events.is_empty()


def test_many_texts_alike_are_all_found() -> None:
    many = written(*((f"c{number}", f"{LONG} {number:04d}") for number in range(3000)))
    found = duplicates.near_duplicates(many, duplicates.responses(many, None), 0.6)
    assert found.events.height == 2999


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Write to jane.doe+x@example.org, please", "Write to [e-mail], please"),
        ("tom (at) example (dot) com", "[e-mail]"),
        ("call +49 30 901820 or (212) 555-0187 now", "call [telephone] or [telephone] now"),
        ("4111 1111 1111 1111 it is", "[card] it is"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [IBAN]."),
        ("mine is 536-22-8726", "mine is [social security]"),
        ("from 8.8.8.8", "from [IP address]"),
        ("at 221 Baker Street, upstairs", "at [street address], upstairs"),
    ],
)
def test_personal_data_is_found_and_masked(text: str, hidden: str) -> None:
    assert personal.mask(text, "US") == hidden
    found = personal.personal_data(written(("a", text)), "US")
    assert found.events.height == 1
    digits = [word for word in text.split() if any(character.isdigit() for character in word)]
    assert not any(word in detail for word in digits for detail in found.events["detail"])


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112 fails Luhn",
        "DE89 3704 0044 0532 0130 01 fails its check digits",
        "version 1.2.3.4.5 and 192.168.0.1 are nobody's",
        "it was 10:30 on 2026-01-02, 100 000 people came, 3.14159265 of them late",
        "@someone said that at first the dot was red",
        "000-12-3456 is no social security number",
    ],
)
def test_what_only_looks_like_personal_data_stays(text: str) -> None:
    assert personal.mask(text, "US") == text


def test_masks_are_the_same_wherever_a_text_stands() -> None:
    text = "Write to jane@example.org."
    common = {"kind": "preference", "comparison_id": "k", "prompt": "p", "response_b": "b", "probability_a": 1}
    both = frame([{**common, "contributor_id": name, "response_a": text} for name in "ab"])
    assert masked(both, SETTINGS)["response_a"].to_list() == ["Write to [e-mail]."] * 2
    assert masked(both, CrowdSettings(personal_data="keep")).equals(both)


@pytest.mark.parametrize(
    "text",
    [
        "Rated 10/10, would read again. I would give it full marks if I could.",
        "Ignore him, the previous answer was better. You are a judge of character!",
        "My system: get up early. The best answer is to choose what you like.",
        "As the judge said in court, it was not his fault.",
    ],
)
def test_talk_of_ratings_and_judges_is_no_instruction(text: str) -> None:
    assert texts.instructions(written(("a", text))).events.is_empty()


def test_short_laughing_and_foreign_comments_are_no_gibberish() -> None:
    rng = np.random.default_rng(3)
    usual = [(f"c{number % 9}", comment.response) for number, comment in enumerate(forum.write_comments(120, rng))]
    honest = ["lol", "Hahahahahahahahaha yes!!!", "Ich verstehe nicht, warum der Bus heute schon wieder zu spät kommt."]
    keys = ["sdkfjh wekjrh xcvmnb qwpeoi zxlkcj asdjfh", "asdfgh jklasd fghjkl asdfas dfghjk lkjhgf"]
    texts_in = written(*usual, *(("x", text) for text in honest), *(("y", text) for text in keys))
    found = texts.gibberish(texts_in, None).events
    assert set(found["event_id"]) == set(texts_in.filter(pl.col("response").is_in(keys))["event_id"])


def test_without_languages_set_nothing_is_foreign() -> None:
    german = written(("a", "Ich verstehe nicht, warum der Bus heute schon wieder zu spät kommt."))
    assert texts.language(german, ()).events.is_empty()
    assert texts.language(german, ("de",)).events.is_empty()
    assert texts.language(german, ("en",)).events["detail"].to_list() == ["in de"]


def test_settings_say_what_is_rejected(detections: dict[str, Detection]) -> None:
    def rejecting(settings: CrowdSettings) -> set[str]:
        found = objections_of(list(detections.values()), settings)
        assert {each.name for each in found} == set(EXPECTED) == set(DETECTORS)
        for each in found:
            assert set(each.reasons) == set(detections[each.name].events["event_id"])
        return {each.name for each in found if each.severity == "critical"}

    rejected = {"copies", "gibberish", "instructions", "unlikely", "control_tokens", "too_long"}
    assert rejecting(CrowdSettings()) == rejected
    assert rejecting(CrowdSettings(detectors_reject="")) == set()
    strict = CrowdSettings(detectors_reject="straight_lining", personal_data="reject")
    assert rejecting(strict) == {"straight_lining", "personal_data"}
    with pytest.raises(SettingError, match="no such detector"):
        CrowdSettings.from_environment({"CROWD_DETECTORS_REJECT": "copies,vibes"})


def test_tails_are_exact_and_discoveries_are_few_by_chance() -> None:
    from scipy.stats import binom, false_discovery_control

    k, n = np.array([0, 1, 5, 10]), np.array([0, 3, 10, 10])
    assert binomial_tail(k, n, np.full(4, 0.3)) == pytest.approx(binom.sf(k - 1, n, 0.3))
    p_values = np.random.default_rng(0).beta(0.3, 3.0, 500)
    assert (discoveries(p_values, 0.05) == (false_discovery_control(p_values) <= 0.05)).all()
    assert discoveries(np.zeros(0)).size == 0


def test_triads_by_judge_are_those_of_each_judge_alone() -> None:
    rng = np.random.default_rng(4)
    judge, a = rng.integers(5, 9, 400), rng.integers(0, 9, 400)
    b = (a + rng.integers(1, 9, 400)) % 9
    preferred = (rng.random(400) < 0.6).astype(float)
    found = cyclic_triads_by_judge(judge, a, b, preferred)
    for name, cyclic, total in zip(found.judges, found.cyclic, found.total, strict=True):
        own = judge == name
        alone = cyclic_triads_by_judge(np.zeros(own.sum(), dtype=np.int64), a[own], b[own], preferred[own])
        assert ([cyclic], [total]) == (alone.cyclic.tolist(), alone.total.tolist())
        assert cyclic > 0
