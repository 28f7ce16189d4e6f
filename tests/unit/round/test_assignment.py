"""Who is asked what: by skill and load, never twice, never an own answer, with checks that look like the rest."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from crowd_assets.mechanisms.assignment import ASK, CHECK, REPEAT
from crowd_assets.round.assignment import assignments_of, lines_of
from crowd_assets.round.labelers import aggregated, weights_after
from resources.rounds.decisions import DecisionBook, NoDecisionError
from tests.unit.round.small_home import SmallHome, answer, judgement, outcome

PEOPLE = ("ann", "bob", "cid", "dan", "eve")
GOLD = [f"gold-{at}" for at in range(30)]


def opening(careless: str = "eve", left_out: str = "fay") -> list[dict[str, object]]:
    """All but ``left_out`` judge half of the gold, everybody their own half; ``careless`` is wrong throughout."""
    events: list[dict[str, object]] = []
    for at, name in enumerate(GOLD):
        for number, who in enumerate((*PEOPLE, left_out)):
            if (at + number) % 2:
                events.append(judgement(who, name, 0.1 if who == careless else 0.9))
    return events + [outcome(name, 1.0) for name in GOLD]


@pytest.fixture
def home(tmp_path: Path) -> SmallHome:
    return SmallHome(tmp_path, qualification=0)


def test_everybody_is_asked_until_pairs_have_enough_and_nobody_what_they_sold(home: SmallHome) -> None:
    home.settle([*opening(), judgement("sal", "free", 0.9)], pairs=12)
    asks = home.plan.filter(pl.col("purpose") == ASK, pl.col("seat").is_null())
    assert "sal" in home.standings["labeler_id"]
    assert not asks["labeler_id"].is_in(["sal"]).any()
    assert asks.select("labeler_id", "comparison_id").is_unique().all()
    assert set(asks["comparison_id"].value_counts()["count"]) <= {2, 3, 4, 5}
    assert asks["comparison_id"].n_unique() == 12


def test_no_line_of_the_outbox_tells_a_check(home: SmallHome) -> None:
    lines = home.settle(opening(), pairs=20)
    purposes = Counter(home.plan["purpose"])
    assert purposes[CHECK]
    assert purposes[REPEAT]
    assert {tuple(line) for line in lines} == {
        ("comparison_id", "contributor_id", "seat", "place", "prompt", "response_a", "response_b")
    }
    assert not any(word in json.dumps(lines) for word in (*GOLD, "outcome", "check", "purpose"))
    assert all(line["comparison_id"].startswith("r000001-") and len(line["comparison_id"]) == 24 for line in lines)
    checks = home.plan.filter(pl.col("purpose") == CHECK)
    judged = {(event["contributor_id"], event["comparison_id"]) for event in opening() if event["kind"] == "preference"}
    assert not judged & set(checks.select("labeler_id", "comparison_id").iter_rows())


def test_checks_stand_anywhere_among_the_rest(tmp_path: Path) -> None:
    home = SmallHome(tmp_path, qualification=0, check_share=0.3, repeat_share=0.0)
    home.settle(opening(), pairs=60)
    of_people = home.plan.filter(pl.col("seat").is_null())
    relative = of_people.with_columns(at=pl.col("place") / pl.len().over("labeler_id"))
    means = dict(relative.group_by("purpose").agg(pl.col("at").mean()).iter_rows())
    assert abs(means[CHECK] - means[ASK]) < 0.15


def test_the_same_round_gives_the_same_assignments_and_another_secret_others(home: SmallHome) -> None:
    home.settle(opening(), pairs=10)
    again = assignments_of(home.round, home.settings, home.warehouse, home.frames)
    assert again.equals(home.plan)
    other = replace(home.round, key="f" * 64)
    changed = assignments_of(other, home.settings, home.warehouse, home.frames)
    assert set(changed["assignment_id"]).isdisjoint(home.plan["assignment_id"])


def test_answers_are_taken_for_what_was_asked_and_checks_for_nothing_else(home: SmallHome) -> None:
    lines = home.settle(opening(), pairs=12)
    answers = [answer(line, 0.9) for line in lines if line["contributor_id"]]
    home.settle(answers, pairs=0)
    found = aggregated(home.round, home.settings, home.warehouse, home.frames)
    assert set(found["comparison_id"]) == set(home.warehouse.read_round("comparison_tasks", 1)["comparison_id"])
    asked = home.warehouse.read_round("assignments", 1).filter(pl.col("seat").is_null())
    assert found["reports"].sum() == asked.filter(pl.col("purpose") == ASK).height
    checked = dict(asked.filter(pl.col("purpose") == CHECK)["labeler_id"].value_counts().iter_rows())
    assert dict(home.standings.filter(pl.col("checks") > 0).select("labeler_id", "checks").iter_rows()) == checked
    learnt = weights_after(home.round, home.settings, home.warehouse, home.frames)[1]
    assert learnt is not None
    assert learnt.outcomes.height == sum(checked.values())


def test_a_known_pair_is_asked_no_more_and_one_that_people_disagree_on_is(tmp_path: Path) -> None:
    home = SmallHome(tmp_path, qualification=0, check_share=0.0, repeat_share=0.0, newcomer_seats=0)
    lines = home.settle(opening(), pairs=6)
    disputed = sorted({line["prompt"] for line in lines})[:2]
    answers, seen = [], Counter()
    for line in lines:
        seen[line["prompt"]] += 1
        answers.append(answer(line, 1.0 if line["prompt"] not in disputed or seen[line["prompt"]] % 2 else 0.0))
    lines = home.settle([each for each in answers if each["contributor_id"] != "eve"], pairs=0)
    of_eve = home.warehouse.read_round("assignments", 1).filter(pl.col("labeler_id") == "eve")["comparison_id"]
    asked = {line["prompt"] for line in lines}
    assert asked <= {*disputed, *(f"p1-{int(name[-16:])}" for name in of_eve)}
    assert asked >= set(disputed)
    judged = home.warehouse.read_round("assignments", 1).select("labeler_id", "comparison_id")
    assert home.plan.filter(pl.col("labeler_id") != "eve").join(judged, on=["labeler_id", "comparison_id"]).is_empty()


def test_fixed_overlap_asks_so_many_and_no_more(tmp_path: Path) -> None:
    home = SmallHome(tmp_path, overlap="fixed", judgements_least=3, qualification=0, newcomer_seats=0)
    lines = home.settle(opening(), pairs=5)
    asks = home.plan.filter(pl.col("purpose") == ASK)
    assert asks["comparison_id"].value_counts()["count"].to_list() == [3] * 5
    assert home.settle([answer(line, 0.5) for line in lines], pairs=0) == []


def test_an_assignment_is_answered_by_whom_it_is_for_and_a_seat_by_newcomers(tmp_path: Path) -> None:
    home = SmallHome(tmp_path, assignments="required", qualification=0)
    lines = home.settle(opening(), pairs=12)
    own = next(line for line in lines if line["contributor_id"] == "ann")
    seat = next(line for line in lines if line["seat"])
    assert home.refused(
        [
            answer(own, 0.9),
            answer(own, 0.9, "bob"),
            answer(seat, 0.9, "zoe"),
            answer(seat, 0.9, "bob"),
            judgement("zoe", "free", 0.9),
        ]
    ) == [[], ["assigned_to_labeler"], [], ["assigned_to_labeler"], ["assigned"]]


def test_where_assignments_are_offered_whoever_judges_something_else_is_heard(home: SmallHome) -> None:
    home.settle(opening(), pairs=12)
    assert home.refused([judgement("zoe", "free", 0.9)]) == [[]]


def test_who_fails_checks_is_paused_and_asked_nothing_until_the_pause_is_lifted(tmp_path: Path) -> None:
    home = SmallHome(
        tmp_path, assignments="required", check_share=0.4, repeat_share=0.0, qualification=0, newcomer_seats=0
    )
    lines = home.settle(opening(), pairs=40)
    for _ in range(3):
        wrong = [answer(line, 0.0 if line["contributor_id"] == "eve" else 1.0) for line in lines]
        lines = home.settle(wrong, pairs=40)
    states = dict(home.standings.select("labeler_id", "state").iter_rows())
    assert states == dict.fromkeys((*PEOPLE, "fay"), "active") | {"eve": "paused"}
    assert not any(line["contributor_id"] == "eve" for line in lines)
    assert "labeler_not_paused" in home.refused([judgement("eve", "free", 0.9)])[0]
    book = DecisionBook(home.warehouse)
    with home.warehouse.transaction() as connection:
        connection.execute("INSERT INTO event_index VALUES ('x', 1, 'preference', 'eve', NULL)")
    book.decide("eve", "appealed", by="op", why="a broken screen", now=datetime.now(UTC))
    lines = home.settle([], pairs=0)
    theirs = [line for line in lines if line["contributor_id"] == "eve"]
    assert set(home.plan.filter(pl.col("labeler_id") == "eve")["purpose"]) == {CHECK}
    home.settle([answer(line, 1.0) for line in theirs], pairs=10)
    row = home.standings.row(by_predicate=pl.col("labeler_id") == "eve", named=True)
    assert (row["state"], row["log_ratio"]) == ("active", 0.0)
    assert "checks right" in row["reason"]
    assert home.plan["labeler_id"].is_in(["eve"]).any()


def test_a_newcomer_answers_checks_first(tmp_path: Path) -> None:
    home = SmallHome(tmp_path, qualification=5, newcomer_seats=2)
    lines = home.settle(opening(), pairs=8)
    assert set(home.plan.filter(pl.col("seat").is_not_null())["purpose"]) == {CHECK}
    taken = [answer(line, 0.9, "zoe") for line in lines if line["seat"] == 1]
    assert len(taken) == 5
    home.settle(taken, pairs=8)
    row = home.standings.row(by_predicate=pl.col("labeler_id") == "zoe", named=True)
    assert (row["checks"], row["checks_correct"], row["state"]) == (5, 5.0, "active")
    assert ASK in set(home.plan.filter(pl.col("labeler_id") == "zoe")["purpose"])


def test_repeats_say_how_steady_somebody_is_and_are_no_second_report(tmp_path: Path) -> None:
    home = SmallHome(tmp_path, qualification=0, check_share=0.0, repeat_share=0.5, newcomer_seats=0)
    lines = home.settle(opening(), pairs=20)
    repeats = home.plan.filter(pl.col("purpose") == REPEAT)
    assert repeats.height
    home.settle([answer(line, 0.9) for line in lines], pairs=0)
    assert home.standings["repeats"].sum() == repeats.height
    of_eve = repeats.filter(pl.col("labeler_id") == "eve").height
    assert home.standings["repeats_same"].sum() == repeats.height - of_eve


def test_a_decision_names_who_and_why_and_somebody_of_the_home(home: SmallHome) -> None:
    book = DecisionBook(home.warehouse)
    with pytest.raises(NoDecisionError, match="--by and --reason"):
        book.decide("ann", "paused", by=" ", why="x", now=datetime.now(UTC))
    with pytest.raises(NoDecisionError, match="no contributor"):
        book.decide("nobody", "paused", by="op", why="x", now=datetime.now(UTC))


def test_texts_that_were_erased_are_asked_no_more(home: SmallHome) -> None:
    home.settle(opening(), pairs=4)
    gone = home.plan.filter(pl.col("purpose") == ASK)["comparison_id"][0]
    with home.warehouse.transaction() as connection:
        connection.execute("INSERT INTO withdrawn_comparisons VALUES ($id, 'e1')", {"id": gone})
    lines = lines_of(home.plan, home.round, home.warehouse, home.frames)
    assert len(lines) == home.plan.filter(pl.col("comparison_id") != gone).height
