"""Which comparison is next for whom."""

import re

import pytest

from resources.build import build_resources
from resources.feedback.aliases import AliasBook, person_of
from resources.feedback.inbox import ASSIGNMENTS
from tests.unit.desk.conftest import Served, comparison, serve


def _assigned(who: str | None, seat: int | None, numbers: list[int], names: str) -> list[dict]:
    return [
        comparison(number)
        | {"comparison_id": f"r000002-{names}{place:015x}", "contributor_id": who, "seat": seat, "place": place}
        for place, number in enumerate(numbers, 1)
    ]


def _all_asked(served: Served, name: str) -> list[str]:
    browser, asked = served.invited(name), []
    while "Nothing waits" not in browser.open("/compare"):
        asked.append(re.search(r"Question (\d+)", browser.text)[1])
        browser.send("/compare", form=1, strength="3")
    return asked


def _publish(settings) -> None:
    rows = [*_assigned("ada", None, [4, 1], "a"), *_assigned(None, 1, [2], "b"), *_assigned(None, 2, [5, 3], "c")]
    build_resources(settings).outbox.publish(ASSIGNMENTS, "r000002", rows[::-1])


def test_people_judge_what_they_are_assigned_and_newcomers_take_a_seat_each(desk_settings) -> None:
    settings = desk_settings.changed(assignments="required")
    _publish(settings)
    served = serve(settings)
    assert _all_asked(served, "ada") == ["4", "1"]
    assert _all_asked(served, "bo") == ["2"]
    assert _all_asked(served, "cy") == ["5", "3"]
    assert _all_asked(served, "di") == []  # no seat is left
    names = {(event["contributor_id"], event["comparison_id"][:9]) for event in served.delivered()}
    assert names == {("ada", "r000002-a"), ("bo", "r000002-b"), ("cy", "r000002-c")}
    served.desk.store.close()


def test_where_assignments_are_offered_no_pair_is_asked_twice_under_another_name(desk_settings) -> None:
    settings = desk_settings.changed(assignments="offered")
    _publish(settings)
    served = serve(settings)
    asked = _all_asked(served, "ada")
    assert asked[:2] == ["4", "1"]
    assert sorted(asked) == [str(number) for number in range(6)]
    served.desk.store.close()


def test_assignments_are_known_by_pseudonym_and_alias(desk_settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key of the tests, long enough")
    settings = desk_settings.changed(assignments="required")
    resources = build_resources(settings)
    one = {"kind": "demonstration", "prompt": "p", "response": "r", "submitted_at": "2026-01-01T00:00:00Z"}
    resources.inbox.deliver("one", [one | {"contributor_id": "ada"}])
    resources.inbox.ingest()
    AliasBook(resources.inbox).add("desk-1", "ada", by="the manager")
    rows = _assigned(person_of(resources.warehouse, "ada"), None, [4, 2], "a")
    resources.outbox.publish(ASSIGNMENTS, "r000002", rows)
    resources.warehouse.publish_snapshot()
    served = serve(settings)
    assert _all_asked(served, "ada") == _all_asked(served, "desk-1") == ["4", "2"]
    assert _all_asked(served, "somebody") == []
    served.desk.store.close()


def test_a_seat_stays_the_newcomers_until_other_assignments_hold(served: Served) -> None:
    store = served.desk.store
    assert store.seat("r000002.jsonl", "ada", (1, 2)) == 1
    assert store.seat("r000002.jsonl", "bo", (1, 2)) == 2
    assert store.seat("r000002.jsonl", "ada", (1, 2)) == 1
    assert store.seat("r000002.jsonl", "cy", (1, 2)) is None
    assert store.seat("r000003.jsonl", "cy", (1, 2)) == 1
