"""The tournament of many rounds: who shared in which candidate, whoever comes and goes, and never what came later."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowd_assets.mechanisms.points_schemes.base import Tournament
from crowd_assets.mechanisms.points_schemes.table import POINTS_SCHEMES
from crowd_assets.round.tournament import (
    EMBEDDED_CANDIDATES,
    EMBEDDED_CONTRIBUTORS,
    NOT_YET_SURE,
    points_so_far,
    tournament,
)
from resources.files.frames import FramesResource
from resources.warehouse.base import WarehouseResource, as_stored
from resources.warehouse.duckdb import DuckDBWarehouse

PEOPLE = {1: {"ann": (0, 30), "bob": (0, 10), "cid": (1, 20)}, 2: {"ann": (0, 8), "dot": (1, 8), "cid": (1, 24)}}
GOOD = {"ann": 0.2, "bob": 0.9, "cid": 0.9, "dot": 0.3}


@pytest.fixture
def played(tmp_path: Path) -> tuple[WarehouseResource, FramesResource]:
    """Two settled rounds and an open third: people come and go, groups differ in size; one dimension, the target at 0."""
    warehouse = DuckDBWarehouse(path=str(tmp_path / "warehouse.duckdb"))
    frames = FramesResource(root=str(tmp_path / "frames"))
    with warehouse.transaction() as connection:
        for number in (1, 2, 3):
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, settings, claimed_at) "
                "VALUES ($n, $id, $n, $n, 'claimed', 1, 0, '{}', $now)",
                {"n": number, "id": f"r{number:06d}", "now": as_stored(datetime(2026, 1, number, tzinfo=UTC))},
            )
    for number, people in PEOPLE.items():
        groups = pl.DataFrame(
            {
                "contributor_id": list(people),
                "group_index": [group for group, _ in people.values()],
                "demonstrations": [count for _, count in people.values()],
            }
        )
        warehouse.replace_round("contributor_groups", number, groups)
        places = {
            group: sum(GOOD[who] * count for who, (of, count) in people.items() if of == group)
            / sum(count for of, count in people.values() if of == group)
            for group in (0, 1)
        }
        best = min(places, key=lambda group: places[group])
        rows = [
            {"model": "base", "role": "base", "group_index": -1, "distance": 1.0, "fresh_distance": 1.0},
            *(
                {
                    "model": f"m{group}",
                    "role": "candidate",
                    "group_index": group,
                    "distance": place,
                    "rank": int(group != best),
                    "fresh_distance": place if group == best else None,
                }
                for group, place in places.items()
            ),
        ]
        selections = pl.DataFrame(rows).with_columns(
            standard_error=pl.lit(0.01),
            selected=pl.col("group_index") == best,
            fresh_standard_error=pl.lit(0.01),
        )
        warehouse.replace_round("selections", number, selections)
        frames.write(
            EMBEDDED_CANDIDATES,
            f"r{number:06d}",
            pl.DataFrame({"group_index": [-1, 0, 1], "vector": [[1.0, 0.0], [places[0], 0.0], [places[1], 0.0]]}),
        )
        frames.write(
            EMBEDDED_CONTRIBUTORS,
            f"r{number:06d}",
            pl.DataFrame(
                {
                    "contributor_id": list(people),
                    "demonstrations": [count for _, count in people.values()],
                    "vector": [[GOOD[who], float(number)] for who in people],
                }
            ),
        )
    with warehouse.transaction() as connection:
        connection.execute("UPDATE rounds SET status = 'completed' WHERE round_no < 3")
    return warehouse, frames


def _played_before(played: tuple[WarehouseResource, FramesResource], round_no: int) -> Tournament:
    found = tournament(*played, round_no, including=False)
    assert found is not None
    return found


def test_shares_are_shares_of_the_groups_demonstrations(played: tuple[WarehouseResource, FramesResource]) -> None:
    found = _played_before(played, 3)
    assert found.contributors == ("ann", "bob", "cid", "dot")
    assert found.round_ids == ("r000001", "r000002")
    assert found.shares.tolist() == [[0.75, 0.25, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0.75, 0.25]]
    assert found.participated.tolist() == [[True, True, True, False], [True, False, True, True]]
    assert found.gains == pytest.approx([1 - 0.375, 1 - 0.2])
    assert found.demonstrations.tolist() == [[30, 10, 20, 0], [8, 0, 24, 8]]
    assert found.written[:, 1] == pytest.approx([(30 * 1 + 8 * 2) / 38, 1, (20 * 1 + 24 * 2) / 44, 2])


def test_a_round_reads_what_came_before_it_and_not_what_came_later(
    played: tuple[WarehouseResource, FramesResource],
) -> None:
    assert tournament(*played, 1, including=False) is None
    assert _played_before(played, 2).round_ids == ("r000001",)
    including = tournament(*played, 1, including=True)
    assert including is not None
    assert including.round_ids == ("r000001",)


def test_memory_keeps_the_last_rounds_and_all_that_no_closed_epoch_has_paid(
    played: tuple[WarehouseResource, FramesResource],
) -> None:
    warehouse, frames = played
    assert _played_before(played, 3).round_ids == ("r000001", "r000002")
    unpaid = tournament(warehouse, frames, 3, including=False, memory=1)
    assert unpaid is not None
    assert unpaid.round_ids == ("r000001", "r000002")
    epoch = {"first_round_no": 1, "closes": True, "reliability": 0.5, "observed_variance": 1.0, "noise_variance": 0.5}
    warehouse.replace_round("epochs", 1, pl.DataFrame([epoch]))
    last = tournament(warehouse, frames, 3, including=False, memory=1)
    assert last is not None
    assert last.round_ids == ("r000002",)
    assert last.contributors == ("ann", "cid", "dot")
    assert last.written[:, 1] == pytest.approx([2.0, 2.0, 2.0])


@pytest.mark.parametrize("scheme", ["proven", "evidence", "surrogate", "regression"])
def test_who_takes_a_candidate_nearer_to_the_target_stands_higher(
    played: tuple[WarehouseResource, FramesResource], scheme: str
) -> None:
    known = POINTS_SCHEMES[scheme].standing(_played_before(played, 3), np.zeros(2), np.random.default_rng(0))
    ann, bob, cid, _ = known.estimates
    assert ann > bob
    assert ann > cid
    assert (known.standard_errors >= 0).all()
    assert known.keys[0] > known.keys[2]


def test_standings_add_provisional_points_only_while_the_epoch_is_open(
    played: tuple[WarehouseResource, FramesResource],
) -> None:
    warehouse, _ = played
    estimates = pl.DataFrame(
        {
            "contributor_id": ["ann", "cid"],
            "scheme": ["surrogate"] * 2,
            "estimate": [0.5, -0.1],
            "standard_error": [0.1, 0.1],
            "provisional_points": [7.0, -2.0],
        }
    )
    for number, closes in ((1, False), (2, True)):
        epoch = {
            "first_round_no": 1,
            "closes": closes,
            "reliability": 0.5,
            "observed_variance": 1.0,
            "noise_variance": 0.5,
        }
        warehouse.replace_round("contributor_estimates", number, estimates)
        warehouse.replace_round("epochs", number, pl.DataFrame([epoch]))
    first = points_so_far(warehouse, 1)
    assert first.select("contributor_id", "points").rows() == [("ann", 7.0), ("bob", 0.0), ("cid", -2.0)]
    assert points_so_far(warehouse, 2)["points"].to_list() == [0.0] * 4


def test_an_error_of_which_nothing_is_known_is_shown_as_none() -> None:
    shown = pl.DataFrame({"standard_error": [0.0, 0.25]}).with_columns(NOT_YET_SURE)
    assert shown["standard_error"].to_list() == [None, 0.25]
