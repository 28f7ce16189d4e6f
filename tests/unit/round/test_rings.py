"""What counts of those with an interest: no report on one's own answers, and of a ring, where wanted, one."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from crowd_assets.round.labelers import that_count
from crowd_assets.round.procurement import audited_of
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.rings import with_rings
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource, as_stored
from resources.warehouse.duckdb import DuckDBWarehouse

ROUND = Round(2, "r000002", 1, 9, "claimed", 1, None, 0, None, None, datetime(2026, 1, 2, tzinfo=UTC))
REPORTS = [("ann", "c1"), ("sal", "c1"), ("ann", "c2"), ("bob", "c1"), ("sal", "c2"), ("cid", "c1")]


@pytest.fixture
def warehouse(tmp_path: Path) -> WarehouseResource:
    """Sal has sold an answer of comparison c1 in round 1; in round 2 bob and cid are linked."""
    found = DuckDBWarehouse(path=str(tmp_path / "warehouse.duckdb"))
    with found.transaction() as connection:
        for number in (1, 2):
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, settings, claimed_at) "
                "VALUES ($n, $id, $n, $n, 'claimed', 1, 0, '{}', $now)",
                {"n": number, "id": f"r{number:06d}", "now": as_stored(datetime(2026, 1, number, tzinfo=UTC))},
            )
    tasks = [{"comparison_id": "c1", "lot_id": "l", "event_id_a": "e1", "event_id_b": "e2"}]
    awards = [
        {
            "lot_id": "l",
            "event_id": event,
            "contributor_id": seller,
            "quality": 0.5,
            "value": 1,
            "asked_price": 1,
            "payment": 1,
            "awarded": True,
            "lot_cleared": True,
        }
        for event, seller in (("e1", "sal"), ("e2", "eve"))
    ]
    money = {name: pl.Decimal(18, 6) for name in ("value", "asked_price", "payment")}
    found.replace_round("comparison_tasks", 1, pl.DataFrame(tasks))
    found.replace_round("awards", 1, pl.DataFrame(awards, schema_overrides=money))
    found.replace_round("rings", 2, pl.DataFrame({"contributor_id": ["bob", "cid"], "ring": [0, 0]}))
    with found.transaction() as connection:
        connection.execute("UPDATE rounds SET status = 'completed' WHERE round_no = 1")
    return found


def counting(warehouse: WarehouseResource, **changes: object) -> list[tuple[str, str]]:
    preferences = pl.DataFrame(REPORTS, schema=["contributor_id", "comparison_id"], orient="row")
    settings = CrowdSettings(**changes)  # type: ignore[arg-type]
    return that_count(preferences, ROUND, settings, warehouse).rows()


def test_no_report_counts_of_who_sold_one_of_the_answers(warehouse: WarehouseResource) -> None:
    assert counting(warehouse, rings_count_once=False) == [row for row in REPORTS if row != ("sal", "c1")]


def test_nor_of_who_is_linked_with_who_sold_it(warehouse: WarehouseResource) -> None:
    linked = pl.DataFrame({"contributor_id": ["cid", "eve"], "ring": [7, 7]})
    warehouse.replace_round("rings", 2, linked)
    assert counting(warehouse) == [row for row in REPORTS if row not in (("sal", "c1"), ("cid", "c1"))]


def test_of_a_ring_the_first_report_counts_unless_settings_say_otherwise(warehouse: WarehouseResource) -> None:
    left = [row for row in REPORTS if row not in (("sal", "c1"), ("cid", "c1"))]
    assert counting(warehouse) == left


def test_a_ring_has_one_name_and_everybody_else_keeps_their_own(warehouse: WarehouseResource) -> None:
    people = pl.DataFrame({"contributor_id": ["cid", "ann", "bob"]})
    assert with_rings(people, warehouse, 2)["ring"].to_list() == ["ring 0", "ann", "ring 0"]
    assert with_rings(people, warehouse, 1)["ring"].to_list() == ["cid", "ann", "bob"]


def test_audits_are_a_random_part_of_the_tasks() -> None:
    tasks = [{"comparison_id": str(number)} for number in range(200)]
    assert audited_of(tasks, 0.0, generator_for(ROUND, "audits")) == []
    assert audited_of(tasks, 1.0, generator_for(ROUND, "audits")) == tasks
    some = audited_of(tasks, 0.3, generator_for(ROUND, "audits"))
    assert 30 < len(some) < 90
    assert all(task in tasks for task in some)
