"""Labelers' standings as a table and as JSON.

Belongs here: that. Does not belong here: how they come about (see ``crowd_assets.round.standing``).
"""

from typing import Any

import polars as pl

from crowd_assets.round.standing import STANDINGS
from resources.rounds.decisions import DecisionBook
from resources.warehouse.base import WarehouseResource

SHOWN = (
    "labeler_id",
    "state",
    "since_round",
    "checks",
    "checks_correct",
    "outcomes",
    "correct",
    "repeats",
    "repeats_same",
    "reason",
)


def standings_now(warehouse: WarehouseResource) -> dict[str, Any]:
    """``labelers`` as the last settled round left them, and the ``decisions`` that wait for a round."""
    latest = warehouse.query("SELECT coalesce(max(round_no), 0) FROM rounds").item()
    rows = warehouse.read_last_before(STANDINGS, int(latest) + 1)
    waiting = [each for each in DecisionBook(warehouse).all() if each.round_no is None]
    return {
        "labelers": rows.select(SHOWN).sort(pl.col("state") == "active", "labeler_id").to_dicts(),
        "decisions_waiting": [vars(each) | {"decided_at": each.decided_at.isoformat()} for each in waiting],
    }


def print_standings(found: dict[str, Any]) -> None:
    """Both in a terminal."""
    from crowd_assets.terminal.printing import print_table

    numbers = {"since_round", "checks", "checks_correct", "outcomes", "correct", "repeats", "repeats_same"}
    print_table(
        "labelers", [(name, name in numbers) for name in SHOWN], [tuple(row.values()) for row in found["labelers"]]
    )
    if found["decisions_waiting"]:
        columns = ("labeler_id", "decision", "reason", "decided_by")
        rows = [tuple(each[name] for name in columns) for each in found["decisions_waiting"]]
        print_table("decisions that wait for a round", [(name, False) for name in columns], rows)
