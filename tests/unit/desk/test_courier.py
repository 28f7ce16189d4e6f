"""What is acknowledged lies in the inbox once, wherever the desk is stopped."""

import json
from collections import Counter

import pytest

from resources.build import build_resources
from tests.unit.desk.conftest import Served, serve


class Stopped(Exception):  # noqa: N818
    """Stands for a kill."""


def _write(served: Served, name: str, count: int) -> None:
    browser = served.invited(name)
    for number in range(count):
        browser.open("/write?lot=lot-1-0")
        browser.send("/write", form=1, response=f"Answer {number} of {name}, freely given.")
        assert "is received" in browser.text


@pytest.mark.parametrize("step", ["write", "finish"])
@pytest.mark.parametrize("ingested", [False, True])
def test_a_courier_that_is_killed_is_followed_by_one_that_finishes(desk_settings, step: str, ingested: bool) -> None:
    served = serve(desk_settings)
    _write(served, "ada", 3)

    def stop(here: str) -> None:
        if here == step:
            raise Stopped

    with pytest.raises(Stopped):
        served.desk.courier.deliver(stop)
    served.desk.store.close()
    inbox = build_resources(desk_settings).inbox
    if ingested:
        inbox.ingest()
    again = serve(desk_settings)
    _write(again, "bo", 2)
    again.desk.courier.deliver()
    inbox.ingest()
    assert inbox.warehouse.query("SELECT count(*) FROM event_index").item() == 5
    assert list(desk_settings.inbox_path.iterdir()) == []
    assert again.desk.store.waiting() == 0
    again.desk.store.close()


def test_lines_lie_in_one_file_each(served: Served) -> None:
    _write(served, "ada", 4)
    served.desk.courier.deliver()
    _write(served, "bo", 1)
    ids = Counter(event["event_id"] for event in served.delivered())
    assert len(ids) == 5
    assert set(ids.values()) == {1}
    assert len(list(served.desk.settings.inbox_path.glob("*.jsonl"))) == 2


def test_a_disk_that_is_full_is_said_and_costs_nothing(served: Served, monkeypatch) -> None:
    boss = served.invited("boss", role="operator")
    _write(served, "ada", 1)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(served.desk.courier._inbox), "deliver", full)
        served.desk.courier._seconds = 0.01
        served.desk.courier.start()
        while not served.desk.courier.problem:
            pass
        assert "No space left" in boss.open("/manage")
        served.desk.courier._stopped.set()
        served.desk.courier._thread.join()
    assert len(served.delivered()) == 1


def test_contributors_reach_the_inbox_by_pseudonym_where_there_is_a_key(desk_settings, monkeypatch) -> None:
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key of the tests, long enough")
    served = serve(desk_settings)
    _write(served, "yvonne", 1)
    (event,) = served.delivered()
    assert event["contributor_id"].startswith("p-")
    assert "yvonne" not in json.dumps({**event, "response": ""})
    served.desk.store.close()
