"""Every importer: sound rows become events, and no row breaks one."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from crowd_assets.importers import argilla, label_studio, trl_preference, ultrafeedback
from crowd_assets.importers.writer import write_feedback
from resources.feedback.events import Limits
from tests.reading import read_file
from tests.unit.importers.samples import START

# Hostile rows

MESSAGES = [{"role": "user", "content": "p"}, {"role": "assistant", "content": [{"type": "text", "text": "r"}]}]


ONE = {"model": "m", "response": "r", "overall_score": 7, "annotations": {"honesty": {"Rating": "2"}}}


OTHER = {"model": "n", "response": "s", "overall_score": 5.0, "fine-grained_score": 2.5}


LAST = {"response": "t", "annotations": {"honesty": {"Rating": "5"}, "helpfulness": {"Rating": "N/A"}}}


SOUND_ROWS = {
    "trl-preference": [
        {"id": 1, "prompt": "p", "chosen": "c", "rejected": "r"},
        {"id": 2, "chosen": MESSAGES, "rejected": [MESSAGES[0], {"role": "assistant", "content": "s"}]},
    ],
    "ultrafeedback": [{"instruction": "p", "completions": [ONE, OTHER, LAST]}],
    "label-studio": [
        {
            "id": 1,
            "project": 2,
            "data": {"prompt": "p", "text1": "a", "text2": "b"},
            "annotations": [
                {
                    "id": 3,
                    "completed_by": {"id": 4, "email": "e"},
                    "updated_at": "2026-01-01T00:00:00.5Z",
                    "ground_truth": truth,
                    "was_cancelled": False,
                    "result": [{"type": type_, "from_name": "winner", "value": value}],
                }
                for type_, value, truth in [
                    ("pairwise", {"selected": "left"}, False),
                    ("choices", {"choices": ["equal"]}, True),
                    ("textarea", {"text": ["t"]}, False),
                ]
            ],
        }
    ],
    "argilla": [
        {
            "id": "i",
            "fields": {"prompt": "p", "response1": "a", "response2": "b"},
            "responses": {
                "ranking": [{"value": ["response2", "response1"], "user_id": "u"}],
                "label": [{"value": "left", "user_id": "u"}],
                "text": [{"value": "t", "user_id": "u"}],
            },
        },
        {
            "id": "j",
            "fields": {"prompt": MESSAGES, "1": "a", "2": "b"},
            "responses": [
                {
                    "user_id": "u",
                    "status": "submitted",
                    "updated_at": "2026-01-01T00:00:00",
                    "values": {"r": {"value": [{"value": "1", "rank": 1}, {"value": "2", "rank": 1}]}},
                }
            ],
        },
    ],
}


READ = {
    "trl-preference": lambda path: trl_preference.read(path, start=START, contributor_column="id"),
    "ultrafeedback": lambda path: ultrafeedback.read(path, start=START),
    "label-studio": lambda path: label_studio.read(path),
    "argilla": lambda path: argilla.read(path, start=START),
}


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["", " ", "1", "a", "left", "draft", "nan", "1e999", "\ud800", "\x00", "x" * 200])
    | st.sampled_from(
        ["2026-01-01T00:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z"]
    )
)


VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


INVISIBLE = ["\u200b", "\u2060\ufeff", "\u202e "]


def places_in(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The path of every value inside a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inside for place in places_in(item, (*path, key)))]


def spoiled(value: object, path: tuple[object, ...], by: object) -> object:
    """The value with another one at the path."""
    if not path:
        return by
    if isinstance(value, dict):
        return {key: spoiled(item, path[1:], by) if key == path[0] else item for key, item in value.items()}
    assert isinstance(value, list)
    return [spoiled(item, path[1:], by) if index == path[0] else item for index, item in enumerate(value)]


@pytest.mark.parametrize("name", READ)
def test_sound_rows_become_events(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(SOUND_ROWS[name]))
    assert write_feedback(READ[name](tmp_path / "rows.json"), tmp_path, "mine").events.total() >= 2


@pytest.mark.parametrize("name", READ)
def test_no_row_breaks_an_importer_and_no_event_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    out = tmp_path_factory.mktemp("hostile")
    places = places_in(SOUND_ROWS[name])[1:]

    @given(st.lists(st.tuples(st.sampled_from(places), VALUES | st.sampled_from(INVISIBLE)), min_size=1, max_size=2))
    @settings(max_examples=300, deadline=None)
    def check(changes: list[tuple[tuple[object, ...], object]]) -> None:
        hostile: object = SOUND_ROWS[name]
        for path, by in changes:
            if path in places_in(hostile):
                hostile = spoiled(hostile, path, by)
        source = out / "rows.json"
        source.write_text(json.dumps(hostile))
        for file in out.glob("mine*"):
            file.unlink()
        for file in write_feedback(READ[name](source), out, "mine").files:
            assert read_file(UPath(file), Limits(line_bytes=10**6, text_characters=20_000)).rejections == []

    check()
