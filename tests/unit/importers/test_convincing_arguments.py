"""UKPConvArg: judgements in the order of time, and outcomes that never precede them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowd_assets.importers import convincing_arguments
from crowd_assets.importers.records import Event, Note, Skipped, SourceError

NOON = datetime(2016, 2, 1, 12, tzinfo=UTC)
ARGUMENTS = [
    {"argument_id": f"arg{topic}{n}", "topic": f"Topic {topic}", "stance": "Yes", "text": f"argument {topic}{n}"}
    for topic in "XY"
    for n in range(4)
]


def judgement(pair: str, worker: str, choice: str, gold: str | None, minutes: int = 0, **other: object) -> dict:
    a, b = pair.split("_")
    return {
        "pair_id": pair,
        "argument_a": a,
        "argument_b": b,
        "worker_id": worker,
        "hit_id": "hit-1",
        "accepted_at": NOON,
        "submitted_at": NOON + timedelta(minutes=minutes),
        "choice": choice,
        "reason": "because",
        "gold": gold,
        **other,
    }


def source_of(folder: Path, judgements: list[dict]) -> Path:
    pl.DataFrame(ARGUMENTS).write_parquet(folder / "arguments.parquet")
    types = {"accepted_at": pl.Datetime("us", "UTC"), "submitted_at": pl.Datetime("us", "UTC"), "gold": pl.String}
    pl.DataFrame(judgements, schema_overrides=types, infer_schema_length=None).write_parquet(folder / "labels.parquet")
    return folder / "labels.parquet"


def events_of(source: Path, **options) -> list[Event]:
    return [record for record in convincing_arguments.read(source, **options) if isinstance(record, dict)]


def test_a_judgement_becomes_a_preference_and_gold_an_outcome(tmp_path: Path) -> None:
    source = source_of(
        tmp_path, [judgement("argX0_argX1", "w1", "a", "a", 5), judgement("argX0_argX1", "w2", "b", "a", 3)]
    )
    events = events_of(source)
    assert [(event["kind"], event["submitted_at"]) for event in events] == [
        ("preference", "2016-02-01T12:03:00+00:00"),
        ("preference", "2016-02-01T12:05:00+00:00"),
        ("outcome", "2016-02-01T12:05:01+00:00"),
    ]
    assert events[1] == {
        "kind": "preference",
        "contributor_id": "w1",
        "comparison_id": "argX0_argX1",
        "prompt": "Write a convincing argument on “Topic X” for the position “Yes”.",
        "response_a": "argument X0",
        "response_b": "argument X1",
        "probability_a": 1.0,
        "submitted_at": "2016-02-01T12:05:00+00:00",
        "accepted_at": "2016-02-01T12:00:00+00:00",
        "reason": "because",
        "topic": "Topic X",
    }
    assert events[2] == {
        "kind": "outcome",
        "comparison_id": "argX0_argX1",
        "preferred_a": 1.0,
        "submitted_at": "2016-02-01T12:05:01+00:00",
    }


def test_equal_is_a_half_in_both(tmp_path: Path) -> None:
    first, second = events_of(source_of(tmp_path, [judgement("argX0_argX1", "w1", "equal", "equal")]))
    assert (first["probability_a"], second["preferred_a"]) == (0.5, 0.5)


def test_a_pair_without_gold_keeps_its_judgements(tmp_path: Path) -> None:
    source = source_of(tmp_path, [judgement("argX0_argX1", "w1", "a", None), judgement("argX2_argX3", "w1", "a", "b")])
    records = list(convincing_arguments.read(source))
    assert [record["kind"] for record in records if isinstance(record, dict)] == ["preference", "preference", "outcome"]
    assert Note("1 of 2 pairs have no gold: their judgements come without an outcome") in records


@given(
    st.lists(st.tuples(st.sampled_from(["argX0_argX1", "argX2_argX3", "argY0_argY1"]), st.integers(0, 50)), min_size=1)
)
@settings(max_examples=40, deadline=None)
def test_an_outcome_never_precedes_a_judgement_it_scores(
    tmp_path_factory: pytest.TempPathFactory, judged: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("labels")
    source = source_of(folder, [judgement(pair, f"w{n}", "a", "b", at) for n, (pair, at) in enumerate(judged)])
    events = events_of(source)
    times = [datetime.fromisoformat(event["submitted_at"]) for event in events]
    assert times == sorted(times)
    settled = {event["comparison_id"]: place for place, event in enumerate(events) if event["kind"] == "outcome"}
    assert set(settled) == {pair for pair, _ in judged}
    for place, event in enumerate(events):
        if event["kind"] == "preference":
            assert place < settled[event["comparison_id"]]
            assert times[place] < times[settled[event["comparison_id"]]]


def test_broken_rows_are_skipped_with_their_numbers(tmp_path: Path) -> None:
    source = source_of(
        tmp_path,
        [
            judgement("argX0_argX1", "w1", "a", "a"),
            judgement("argX0_argX1", "w2", "c", "a"),
            judgement("argX0_argX9", "w1", "a", "a"),
            judgement("argX0_argY0", "w1", "a", "a"),
            judgement("argX0_argX1", "w3", "a", "a", submitted_at=None),
            judgement("argX0_argX1", None, "a", "a"),
            judgement("argX2_argX3", "w1", "a", "a"),
            judgement("argX2_argX3", "w2", "a", "b"),
            judgement("argY2_argY3", "w2", "a", "z"),
        ],
    )
    records = list(convincing_arguments.read(source))
    assert sorted((record.row, record.reason) for record in records if isinstance(record, Skipped)) == [
        (2, "choice is none of a, b, equal"),
        (3, "the two arguments are of different topics or stances, or unknown"),
        (4, "the two arguments are of different topics or stances, or unknown"),
        (5, "no submitted_at"),
        (6, "no worker_id"),
        (7, "rows of one pair name different gold"),
        (9, "gold is none of a, b, equal"),
    ]
    assert [record["kind"] for record in records if isinstance(record, dict)].count("preference") == 4


def test_topics_and_pairs_can_be_limited(tmp_path: Path) -> None:
    pairs = [f"arg{topic}{a}_arg{topic}{b}" for topic in "XY" for a in range(4) for b in range(a)]
    source = source_of(tmp_path, [judgement(pair, f"w{n}", "a", "a") for pair in pairs for n in range(2)])
    only_x = events_of(source, topics=["topic x"])
    assert {event["topic"] for event in only_x if event["kind"] == "preference"} == {"Topic X"}
    assert len(only_x) == 6 * 3
    three = events_of(source, limit_pairs=3)
    assert len({event["comparison_id"] for event in three}) == 3
    assert len(three) == 3 * 3
    assert three == events_of(source, limit_pairs=3)
    assert any(three != events_of(source, limit_pairs=3, seed=seed) for seed in range(1, 5))
    assert len(events_of(source, limit_pairs=100)) == 12 * 3
    with pytest.raises(SourceError, match="Topics: Topic X; Topic Y"):
        events_of(source, topics=["Z"])


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    source = source_of(tmp_path, [judgement("argX0_argX1", "w1", "a", "a")])
    pl.read_parquet(source).drop("choice").write_parquet(source)
    with pytest.raises(SourceError, match="no column choice"):
        events_of(source)


def test_a_time_without_zone_is_not_guessed(tmp_path: Path) -> None:
    source = source_of(tmp_path, [judgement("argX0_argX1", "w1", "a", "a")])
    pl.read_parquet(source).with_columns(pl.col("submitted_at").dt.replace_time_zone(None)).write_parquet(source)
    assert [record.reason for record in convincing_arguments.read(source) if isinstance(record, Skipped)] == [
        "submitted_at has no time zone"
    ]


@pytest.mark.parametrize("name", ["labels.parquet", "arguments.parquet"])
def test_a_table_that_is_no_parquet_is_named(tmp_path: Path, name: str) -> None:
    source = source_of(tmp_path, [judgement("argX0_argX1", "w1", "a", "a")])
    (tmp_path / name).write_bytes(b"no")
    with pytest.raises(SourceError, match=name):
        events_of(source)
