"""What a round came to, read from the warehouse: the figures that pages and the terminal show.

Belongs here: reading and adding up. Does not belong here: showing (see ``round``, ``campaign``), and what a round computes.
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource

QUOTED = re.compile(r"(?<!\w)['\"].*['\"](?!\w)|\b[0-9a-f]{32}\b", re.DOTALL)
"""What in a reason is of one event alone: quoted text and ids."""


def round_figures(round_: Round, warehouse: WarehouseResource) -> dict[str, Any]:
    """What a round came to: its distances on the fresh sample, the winner, whether alignment was kept, money spent."""
    return figures_of([round_], warehouse)[round_.round_no]


def figures_of(rounds: Sequence[Round], warehouse: WarehouseResource) -> dict[int, dict[str, Any]]:
    """:func:`round_figures` of several rounds by their numbers, in as many queries as for one."""
    numbers = {"numbers": [each.round_no for each in rounds]}

    def rows(table: str) -> dict[int, dict[str, Any]]:
        found = warehouse.query(f"SELECT * FROM {table} WHERE round_no = ANY($numbers)", numbers)
        return {row["round_no"]: row for row in found.iter_rows(named=True)}

    alignments, verdicts, epochs = rows("alignments"), rows("quality_verdicts"), rows("epochs")
    selections = warehouse.query("SELECT * FROM selections WHERE round_no = ANY($numbers)", numbers)
    bought = warehouse.query(
        "SELECT round_no, sum(payment) AS spent, count(*) AS answers, count(DISTINCT lot_id) AS pairs, "
        "avg(quality) AS quality FROM awards WHERE awarded AND round_no = ANY($numbers) GROUP BY round_no",
        numbers,
    )
    purchases = {row["round_no"]: row for row in bought.iter_rows(named=True)}
    nothing = {"spent": Decimal(0), "answers": 0, "pairs": 0, "quality": None}
    found = {}
    for round_ in rounds:
        number = round_.round_no
        selection = selections.filter(pl.col("round_no") == number)
        winner = selection.filter("selected").row(0, named=True)
        base = selection.filter(pl.col("role") == "base").row(0, named=True)
        alignment, verdict = alignments[number], verdicts[number]
        after = alignment if alignment["kept"] else winner
        purchase = purchases.get(number, nothing)
        found[number] = {
            "distance_before": base["fresh_distance"],
            "error_before": base["fresh_standard_error"],
            "distance_selected": winner["fresh_distance"],
            "error_selected": winner["fresh_standard_error"],
            "distance_after": after["fresh_distance"],
            "error_after": after["fresh_standard_error"],
            "reduction": 1 - after["fresh_distance"] / base["fresh_distance"],
            "winner": "base" if winner["role"] == "base" else f"group {winner['group_index']}",
            "alignment": alignment,
            "spent": purchase["spent"],
            "answers_bought": purchase["answers"],
            "pairs_bought": purchase["pairs"],
            "quality_bought": purchase["quality"],
            "candidates": selection.filter(pl.col("role") == "candidate").sort("group_index"),
            "base_selection_distance": base["distance"],
            "base_selection_error": base["standard_error"],
            "accepted": verdict["accepted"],
            "rejected": verdict["rejected"],
            "rejected_share": verdict["rejected"] / max(verdict["accepted"] + verdict["rejected"], 1),
            "epoch": epochs[number],
        }
    return found


def record_of(warehouse: WarehouseResource, round_no: int) -> dict[str, Any]:
    """The record a round was settled with: ``hash``, ``previous_hash`` and the ``settings``; empty where it has none."""
    rows = warehouse.query("SELECT * FROM round_records WHERE round_no = $n", {"n": round_no}).rows(named=True)
    if not rows:
        return {}
    row = rows[0]
    return {name: row[name] for name in ("hash", "previous_hash")} | {"settings": json.loads(row["record"])["settings"]}


def settled_settings(warehouse: WarehouseResource, round_no: int, settings: CrowdSettings) -> CrowdSettings:
    """The settings that a round was settled with; those of now where it has no record."""
    record = record_of(warehouse, round_no)
    return settings.of_record(record["settings"]) if record else settings


def rejections(warehouse: WarehouseResource, round_no: int) -> pl.DataFrame:
    """What the gate rejected in a round: ``kind``, ``reason`` without what quotes an event, ``events`` and ``contributors``,
    most first."""
    rows = warehouse.query(
        "SELECT kind, reason, contributor_id FROM rejected_feedback WHERE round_no = $n AND stage = 'gate'",
        {"n": round_no},
    )
    return (
        rows.with_columns(reason=pl.col("reason").map_elements(general_reason, return_dtype=pl.String))
        .group_by("kind", "reason")
        .agg(events=pl.len(), contributors=pl.col("contributor_id").n_unique())
        .sort("events", "kind", "reason", descending=[True, False, False])
    )


def general_reason(reason: str) -> str:
    """A reason without what it quotes of one event."""
    return QUOTED.sub("…", reason)


def correlation(xs: pl.Series, ys: pl.Series) -> float | None:
    """Pearson correlation; None for fewer than three pairs, or where either does not vary."""
    if len(xs) < 3 or xs.n_unique() < 2 or ys.n_unique() < 2:
        return None
    return float(np.corrcoef(xs.to_numpy(), ys.to_numpy())[0, 1])
