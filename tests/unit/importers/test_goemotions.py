"""GoEmotions: who draws which comments, and what a broken line costs."""

from collections import Counter
from pathlib import Path

import pytest

from crowd_assets.importers import goemotions
from crowd_assets.importers.records import DEFAULT_START, Event, Note, Skipped, SourceError, start_of

START = start_of(DEFAULT_START)
EMOTIONS = ["anger", "gratitude", "joy", "love", "neutral"]


def source_of(folder: Path, lines: list[str]) -> Path:
    (folder / "emotions.txt").write_text("\n".join(EMOTIONS) + "\n")
    path = folder / "train.tsv"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
    return path


def comments(each: int = 40) -> list[str]:
    """``each`` comments of every emotion, and as many that are both grateful and joyful."""
    single = [f"{name} {n}\t{index}\te{index}{n}" for n in range(each) for index, name in enumerate(EMOTIONS)]
    return single + [f"thankful joy {n}\t1,2\tf{n}" for n in range(each)]


def events_of(source: Path, **options) -> list[Event]:
    options = {"start": START, "contributors": 8, "per_contributor": 10, **options}
    return [record for record in goemotions.read(source, **options) if isinstance(record, dict)]


def test_a_demonstration_has_the_fields_of_one(tmp_path: Path) -> None:
    first = events_of(source_of(tmp_path, comments()))[0]
    assert next(iter(first)) == "kind"
    assert first["kind"] == "demonstration"
    assert first["prompt"] == goemotions.DEFAULT_PROMPT
    assert first["submitted_at"] == DEFAULT_START
    assert first["drawn_emotion"] in first["emotions"]


def test_half_of_the_contributors_draw_the_target_and_each_other_one_emotion(tmp_path: Path) -> None:
    events = events_of(source_of(tmp_path, comments()))
    drawn = {event["contributor_id"]: event["drawn_emotion"] for event in events}
    assert Counter(event["contributor_id"] for event in events) == dict.fromkeys(drawn, 10)
    assert len(drawn) == 8
    assert Counter(drawn.values()) == {"gratitude": 4, "anger": 1, "joy": 1, "love": 1, "neutral": 1}
    assert all("gratitude" not in event["emotions"] for event in events if event["drawn_emotion"] != "gratitude")


def test_emotions_are_dealt_again_when_they_run_out(tmp_path: Path) -> None:
    events = events_of(source_of(tmp_path, comments()), contributors=6, on_target=0.0, per_contributor=20)
    drawn = Counter({event["contributor_id"]: event["drawn_emotion"] for event in events}.values())
    assert "gratitude" not in drawn
    assert sorted(drawn.values()) == [1, 1, 2, 2]


def test_no_comment_is_drawn_twice(tmp_path: Path) -> None:
    events = events_of(source_of(tmp_path, comments()), per_contributor=20)
    assert len({event["comment_id"] for event in events}) == len(events) == 160


def test_times_increase_by_a_second_and_the_seed_decides(tmp_path: Path) -> None:
    source = source_of(tmp_path, comments())
    times = [event["submitted_at"] for event in events_of(source)]
    assert times == sorted(set(times))
    assert times[-1] == "2026-01-01T00:01:19+00:00"
    assert events_of(source) == events_of(source)
    assert events_of(source) != events_of(source, seed=1)


def test_the_order_of_ids_and_of_events_does_not_tell_who_is_on_target(tmp_path: Path) -> None:
    events = events_of(source_of(tmp_path, comments()))
    drawn = {event["contributor_id"]: event["drawn_emotion"] for event in events}
    on_target = [drawn[contributor] == "gratitude" for contributor in sorted(drawn)]
    assert on_target not in ([True] * 4 + [False] * 4, [False] * 4 + [True] * 4)
    assert len({event["contributor_id"] for event in events[:20]}) > 3


def test_broken_lines_are_skipped_and_the_rest_is_drawn(tmp_path: Path) -> None:
    broken = [
        "two cells\t1",
        "four\t1\tx\ty",
        "no number\tjoy\tx",
        "out of range\t28\tx",
        " \t1\tx",
        "anger 0\t1\tx",
        "no text \udcff\t1\tx",
        "superscript\t²\tx",
    ]
    source = source_of(tmp_path, comments() + broken)
    records = list(goemotions.read(source, start=START, contributors=8, per_contributor=10))
    assert [(record.row - 240, record.reason) for record in records if isinstance(record, Skipped)] == [
        (1, "not three cells"),
        (2, "not three cells"),
        (3, "emotions are not numbers"),
        (4, "emotion number is not in emotions.txt"),
        (5, "comment is empty"),
        (6, "same text as an earlier comment"),
        (7, "line is not UTF-8"),
        (8, "emotions are not numbers"),
    ]
    assert Note("drew 80 of 240 comments") in records


def test_a_quote_in_a_comment_is_a_quote(tmp_path: Path) -> None:
    source = source_of(tmp_path, ['"Thanks" they said, "bye\t1\tx'])
    events = events_of(source, contributors=1, on_target=1.0, per_contributor=1)
    assert events[0]["response"] == '"Thanks" they said, "bye'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "envy"}, "not among the emotions"),
        ({"per_contributor": 30}, "need 120 comments of 'gratitude', there are 80"),
        ({"on_target": 0.0, "contributors": 5, "per_contributor": 30}, "for 4 of 5 contributors"),
        ({"on_target": 1.5}, "--on-target"),
        ({"contributors": 0}, "--contributors"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_figures(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        events_of(source_of(tmp_path, comments()), **options)


def test_the_names_of_the_emotions_are_needed(tmp_path: Path) -> None:
    source = source_of(tmp_path, comments())
    (tmp_path / "emotions.txt").unlink()
    with pytest.raises(SourceError, match=r"emotions\.txt"):
        events_of(source)
