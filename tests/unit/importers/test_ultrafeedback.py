"""UltraFeedback: which pairs of scored completions become preferences, and how sure."""

import json
import math
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowd_assets.importers import ultrafeedback
from crowd_assets.importers.records import DEFAULT_START, Event, Record, Skipped, SourceError, start_of

START = start_of(DEFAULT_START)


def completion(response: str, overall: object = None, fine: object = None, ratings: str = "") -> dict[str, object]:
    aspects = ["instruction_following", "honesty", "truthfulness", "helpfulness"]
    return {
        "model": f"model of {response}",
        "principle": "helpfulness",
        "custom_system_prompt": "Be helpful.",
        "response": response,
        "overall_score": overall,
        "fine-grained_score": fine,
        "annotations": {
            aspect: {"Rating": "N/A" if rating == "-" else rating, "Rationale": "because"}
            for aspect, rating in zip(aspects, ratings, strict=False)
        },
    }


def row(*completions: object) -> dict[str, object]:
    return {"source": "sharegpt", "instruction": "Do it.", "models": [], "completions": list(completions)}


def read(folder: Path, rows: list[object], **options) -> list[Record]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(ultrafeedback.read(path, **{"start": START, **options}))


def events_of(folder: Path, rows: list[object], **options) -> list[Event]:
    return [record for record in read(folder, rows, **options) if isinstance(record, dict)]


def test_every_two_completions_with_different_scores_become_a_preference(tmp_path: Path) -> None:
    records = read(
        tmp_path, [row(completion("w", 7), completion("x", 5.0), completion("y", "9"), completion("z", 5.0))]
    )
    events = [record for record in records if isinstance(record, dict)]
    assert len(events) == 5
    assert [record for record in records if isinstance(record, Skipped)] == [
        Skipped(1, "both completions have the same score", "5.0")
    ]
    scores = {"w": 7.0, "x": 5.0, "y": 9.0, "z": 5.0}
    for event in events:
        a, b = event["response_a"], event["response_b"]
        assert (event["score_a"], event["score_b"]) == (scores[a], scores[b])
        assert event["model_a"] == f"model of {a}"
        assert event["probability_a"] == pytest.approx(1 / (1 + math.exp(scores[b] - scores[a])))
        assert event["contributor_id"] == "gpt-4"
    assert len({event["comparison_id"] for event in events}) == 5
    assert len({event["submitted_at"] for event in events}) == 5


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_whole_layout_written_by_datasets(tmp_path: Path, suffix: str) -> None:
    """The hub cannot be reached from tests: the columns are those of its data set, the values are made up."""
    from datasets import Dataset

    whole = row(
        completion("w", 7.0, 4.25, "5434"), completion("x", 3.0, 2.5, "2233"), completion("y", None, math.nan, "33-3")
    )
    for each in whole["completions"]:
        each["critique"] = "Good."
        for aspect in ("truthfulness", "helpfulness"):
            each["annotations"][aspect] |= {"Type": ["1"], "Rationale For Rating": "so"}
    rows = Dataset.from_list([whole | {"correct_answers": ["None"], "incorrect_answers": ["None"]}])
    path = tmp_path / f"rows.{suffix}"
    (rows.to_json if suffix == "jsonl" else rows.to_parquet)(path)
    records = list(ultrafeedback.read(path, start=START))
    assert [record for record in records if isinstance(record, Skipped)] == []
    scores = {event["response_a"] + event["response_b"]: event["score_a"] - event["score_b"] for event in records}
    by_pair = {"".join(sorted(pair)): abs(difference) for pair, difference in scores.items()}
    assert by_pair == {"wx": 4.0, "wy": pytest.approx(2.25), "xy": pytest.approx(1.125)}


def test_scores_of_different_scales_are_not_compared(tmp_path: Path) -> None:
    (event,) = events_of(tmp_path, [row(completion("x", 9, fine=2.0), completion("y", fine=4.0))])
    by_text = {event["response_a"]: event["score_a"], event["response_b"]: event["score_b"]}
    assert by_text == {"x": 1 + 9 / 4, "y": 1 + 3 * 9 / 4}


def test_ratings_stand_in_for_missing_scores(tmp_path: Path) -> None:
    (event,) = events_of(tmp_path, [row(completion("x", ratings="55-5"), completion("y", ratings="1331"))])
    by_text = {event["response_a"]: event["score_a"], event["response_b"]: event["score_b"]}
    assert by_text == {"x": 10.0, "y": 1 + 9 / 4}


@given(st.floats(1, 10), st.floats(1, 10), st.floats(0.1, 10))
def test_probability_is_symmetric_and_monotone(one: float, other: float, scale: float) -> None:
    p = ultrafeedback.probability(one, other, scale)
    assert 0 <= p <= 1
    assert p == pytest.approx(1 - ultrafeedback.probability(other, one, scale))
    assert (p > 0.5) == (one > other) or abs(one - other) < 1e-9


def test_the_documented_probabilities() -> None:
    assert [round(ultrafeedback.probability(1 + gap, 1), 2) for gap in (0, 1, 2, 4)] == [0.5, 0.73, 0.88, 0.98]


def test_the_annotator_and_the_scale_are_options(tmp_path: Path) -> None:
    rows = [row(completion("x", 9), completion("y", 5))]
    (event,) = events_of(tmp_path, rows, annotator="judge", points_per_logit=4.0)
    assert event["contributor_id"] == "judge"
    assert max(event["probability_a"], 1 - event["probability_a"]) == pytest.approx(1 / (1 + math.exp(-1)))
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(SourceError, match="--points-per-logit"):
            events_of(tmp_path, rows, points_per_logit=scale)


def test_position_says_nothing_about_the_model(tmp_path: Path) -> None:
    rows = [row(completion(f"x{n}", 9), completion(f"y{n}", 5)) for n in range(2_000)]
    first_at_a = sum(event["response_a"].startswith("x") for event in events_of(tmp_path, rows))
    assert abs(first_at_a / 2_000 - 0.5) < 0.05


def test_broken_rows_and_completions_are_skipped_and_the_rest_is_read(tmp_path: Path) -> None:
    records = read(
        tmp_path,
        [
            {"instruction": "p"},
            {"completions": []},
            row(completion("x", 1)),
            row(completion("x", 1), completion("x", 2)),
            row(completion("x", 1), completion("", 2), 5, completion("y", math.inf), completion("z", 3)),
            row(completion("x"), completion("y", 2)),
        ],
    )
    assert [(record.row, record.reason) for record in records if isinstance(record, Skipped)] == [
        (1, "fewer than two completions"),
        (2, "no instruction"),
        (3, "fewer than two completions"),
        (4, "both completions are the same"),
        (5, "response is empty"),
        (5, "completion is not an object"),
        (5, "overall_score is not finite"),
        (5, "overall_score is not finite"),
        (6, "no score that both completions have"),
    ]
    assert sum(isinstance(record, dict) for record in records) == 1


def test_parquet_is_read(tmp_path: Path) -> None:
    pl.DataFrame([row(completion("x", 1.0, 1.0, "1111"), completion("y", 2.0, 2.0, "2222"))]).write_parquet(
        tmp_path / "rows.parquet"
    )
    (event,) = ultrafeedback.read(tmp_path / "rows.parquet", start=START)
    assert isinstance(event, dict)
    assert {event["score_a"], event["score_b"]} == {1.0, 2.0}
