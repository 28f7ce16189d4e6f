"""What holds of every importer and mapping, whatever the rows: one row more is one event more, and each row is accounted for."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crowd_assets.importers import argilla, label_studio, table, trl_preference, trl_prompt_completion, ultrafeedback
from crowd_assets.importers.mapping import find_mapping
from crowd_assets.importers.records import DEFAULT_START, Record, Skipped, start_of
from crowd_assets.importers.writer import write_feedback

LATER = start_of("2026-07-01T12:00:00+00:00")
START = start_of(DEFAULT_START)
Row = dict[str, Any]


def judged(who: int, number: int, left: bool) -> Row:
    """What a person thinks of a question's two answers."""
    return {"who": f"w{who}", "ask": f"What {number}?", "one": f"One {number}.", "two": f"Two {number}.", "left": left}


def said(row: Row, text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["ask"]}, {"role": "assistant", "content": text}]


def _label_studio(row: Row, number: int) -> Row:
    result = [{"type": "pairwise", "from_name": "p", "value": {"selected": "left" if row["left"] else "right"}}]
    annotation = {
        "id": number,
        "completed_by": int(row["who"][1:]),
        "result": result,
        "updated_at": "2026-01-02T10:00:00Z",
    }
    return {
        "id": number,
        "project": 1,
        "data": {"prompt": row["ask"], "response_a": row["one"], "response_b": row["two"]},
        "annotations": [annotation],
    }


def _argilla(row: Row, number: int) -> Row:
    fields = {"prompt": row["ask"], "response_a": row["one"], "response_b": row["two"]}
    answer = {"value": "response_a" if row["left"] else "response_b", "user_id": row["who"]}
    return {"id": row["ask"], "fields": fields, "responses": {"preference": [answer]}}


def _mapped(name: str, made: Callable[[Row], Row]) -> tuple[Callable[[Row, int], Row], Callable[..., Iterator[Record]]]:
    return (lambda row, number: made(row)), lambda path, start: table.read(
        path, mapping=find_mapping(name), start=start
    )


LAYOUTS: dict[str, tuple[Callable[[Row, int], Row], Callable[..., Iterator[Record]]]] = {
    "trl-preference": (
        lambda row, number: {
            "prompt": row["ask"],
            "chosen": row["one" if row["left"] else "two"],
            "rejected": row["two" if row["left"] else "one"],
            "who": row["who"],
        },
        lambda path, start: trl_preference.read(path, start=start, contributor_column="who"),
    ),
    "trl-prompt-completion": (
        lambda row, number: {"messages": said(row, row["one" if row["left"] else "two"]), "who": row["who"]},
        lambda path, start: trl_prompt_completion.read(path, start=start, contributor_column="who"),
    ),
    "label-studio": (_label_studio, lambda path, start: label_studio.read(path)),
    "argilla": (_argilla, lambda path, start: argilla.read(path, start=start)),
    "arena": _mapped(
        "arena",
        lambda row: {
            "judge": row["who"],
            "conversation_a": said(row, row["one"]),
            "conversation_b": said(row, row["two"]),
            "winner": "model_a" if row["left"] else "model_b",
        },
    ),
    "shp": _mapped(
        "shp",
        lambda row: {
            "history": f"{row['who']}: {row['ask']}",
            "human_ref_A": row["one"],
            "human_ref_B": row["two"],
            "labels": int(row["left"]),
        },
    ),
    "alpaca_eval": _mapped(
        "alpaca_eval",
        lambda row: {
            "annotator": row["who"],
            "instruction": row["ask"],
            "output_1": row["one"],
            "output_2": row["two"],
            "preference": 1.0 if row["left"] else 2.0,
        },
    ),
    "helpsteer3": _mapped(
        "helpsteer3",
        lambda row: {
            "context": [{"role": "user", "content": f"{row['who']}: {row['ask']}"}],
            "response1": row["one"],
            "response2": row["two"],
            "overall_preference": -3 if row["left"] else 3,
        },
    ),
}
ROWS = st.lists(
    st.builds(judged, st.integers(1, 4), st.integers(0, 30), st.booleans()),
    min_size=1,
    max_size=8,
    unique_by=lambda row: (row["who"], row["ask"]),
)


def imported(folder: Path, layout: str, rows: list[Row], start: Any) -> tuple[list[Row], list[Skipped]]:
    made, read = LAYOUTS[layout]
    source = folder / "rows.json"
    source.write_text(json.dumps([made(row, number) for number, row in enumerate(rows, start=1)]))
    found = list(read(source, start=start))
    for file in folder.glob("mine*"):
        file.unlink()
    report = write_feedback(found, folder, "mine")
    events = [json.loads(line) for file in report.files for line in file.read_text().splitlines()]
    return events, [record for record in found if isinstance(record, Skipped)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_row_more_is_one_event_more_and_every_row_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, layout: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")

    @given(ROWS, st.data())
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def check(rows: list[Row], data: st.DataObject) -> None:
        row = judged(9, data.draw(st.integers(0, 40)), data.draw(st.booleans()))
        # A server numbers what comes later later; a table's rows may stand in any order.
        place = len(rows) if layout == "label-studio" else data.draw(st.integers(0, len(rows)))
        before, skipped = imported(folder, layout, rows, START)
        assert len(before) + len(skipped) == len(rows)
        after, _ = imported(folder, layout, [*rows[:place], row, *rows[place:]], LATER)
        known = {event["event_id"] for event in before}
        assert len(known) == len(before)
        assert known < {event["event_id"] for event in after}
        assert len(after) == len(before) + 1

    check()


def test_a_ranking_is_one_judgement_however_many_answers_it_orders(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        'kind = "preference"\nresponses = ["r1", "r2", "r3"]\nranks = ["k1", "k2", "k3"]\n'
        '[columns]\ncontributor_id = "who"\nprompt = "q"\n'
    )
    (tmp_path / "t.csv").write_text("who,q,r1,r2,r3,k1,k2,k3\nann,Why?,a,b,c,2,1,2\n")
    events = list(table.read(tmp_path / "t.csv", mapping=find_mapping(str(tmp_path / "m.toml")), start=START))
    assert [(event["response_a"], event["response_b"], event["probability_a"]) for event in events] == [
        ("a", "b", 0.0),
        ("a", "c", 0.5),
        ("b", "c", 1.0),
    ]
    assert sum(event["judgement_share"] for event in events) == pytest.approx(1)


@pytest.mark.parametrize(
    ("more", "cells", "probabilities"),
    [
        ('best = "k1"', "a,b,c,2,,", [0.0, 1.0]),
        ('ratings = ["k1", "k2", "k3"]', "a,b,c,5,3,3", [0.8808, 0.8808, 0.5]),
    ],
)
def test_a_best_of_three_and_ratings_become_pairs(
    tmp_path: Path, more: str, cells: str, probabilities: list[float]
) -> None:
    (tmp_path / "m.toml").write_text(
        f'kind = "preference"\nresponses = ["r1", "r2", "r3"]\n{more}\n[columns]\ncontributor_id = "who"\nprompt = "q"\n'
    )
    (tmp_path / "t.csv").write_text(f"who,q,r1,r2,r3,k1,k2,k3\nann,Why?,{cells}\n")
    events = list(table.read(tmp_path / "t.csv", mapping=find_mapping(str(tmp_path / "m.toml")), start=START))
    assert [event["probability_a"] for event in events] == pytest.approx(probabilities, abs=1e-4)
    assert sum(event["judgement_share"] for event in events) == pytest.approx(1)


@pytest.mark.parametrize(
    ("more", "header", "row", "probability"),
    [
        (
            '[columns]\nprobability_a = ["wa", "wb", "wt"]\n[values]\nprobability_a = [1, 0, 0.5]',
            "wa,wb,wt",
            "0,1,0",
            0.0,
        ),
        ('[columns]\nprobability_a = "x"\n[scale]\nprobability_a = [7, 1]', "x", "2", 5 / 6),
        ('[columns]\nprobability_a = "x"', "x", "80%", 0.8),
        ('[columns]\nprobability_a = "x"', "x", "Response B", 0.0),
    ],
)
def test_what_cells_say_of_two_answers(tmp_path: Path, more: str, header: str, row: str, probability: float) -> None:
    given_columns = '\nprompt = "q"\nresponse_a = "l"\nresponse_b = "r"\ncontributor_id = "who"'
    (tmp_path / "m.toml").write_text('kind = "preference"\n' + more.replace("[columns]", "[columns]" + given_columns))
    (tmp_path / "t.csv").write_text(f"who,q,l,r,{header}\nann,Why?,a,b,{row}\n")
    (event,) = table.read(tmp_path / "t.csv", mapping=find_mapping(str(tmp_path / "m.toml")), start=START)
    assert event["probability_a"] == pytest.approx(probability)


def test_a_workbook_is_a_table(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    for line in (["who", "q", "a"], [1.0, "What?", "Fine."], ["ann", "What?", None]):
        book.active.append(line)
    book.save(tmp_path / "t.xlsx")
    (tmp_path / "m.toml").write_text(
        'kind = "demonstration"\n[columns]\ncontributor_id = "who"\nprompt = "q"\nresponse = "a"\n'
    )
    event, skipped = table.read(tmp_path / "t.xlsx", mapping=find_mapping(str(tmp_path / "m.toml")), start=START)
    assert event["contributor_id"] == "1"
    assert skipped == Skipped(3, "no response")


def test_scores_of_completions_keep_their_share() -> None:
    assert ultrafeedback.probability(7, 5) == pytest.approx(0.8808, abs=1e-4)
