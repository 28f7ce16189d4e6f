"""What a round came to, read from the warehouse: the figures that pages and the terminal show.

Belongs here: reading and adding up. Does not belong here: showing (see ``round``, ``campaign``), and what a round computes.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from crowd_assets.assets.labelers import Learnt, weights_after
from crowd_assets.mechanisms.aggregation import anytime_bound
from resources.frames import FramesResource
from resources.rounds import Round, RoundBook
from resources.settings import CrowdSettings
from resources.warehouse import WarehouseResource

REGRET = "labeler_regret"
"""Frame of what the slots of a round say about each labeler, which no table keeps: ``labeler_id``, ``slots`` that it took
part in, its ``own_loss`` there and the ``aggregate_loss``."""

QUOTED = re.compile(r"(?<!\w)['\"].*['\"](?!\w)|\b[0-9a-f]{32}\b", re.DOTALL)
"""What in a reason is of one event alone: quoted text and ids."""


def settled_rounds(warehouse: WarehouseResource, through: int | None = None) -> list[Round]:
    """The settled rounds, oldest first, through number ``through``."""
    return [
        each for each in RoundBook(warehouse).all() if each.settled and (through is None or each.round_no <= through)
    ]


def round_figures(round_: Round, warehouse: WarehouseResource) -> dict[str, Any]:
    """What a round came to: its distances on the fresh sample, the winner, whether alignment was kept, money spent."""
    return figures_of([round_], warehouse)[round_.round_no]


def figures_of(rounds: Sequence[Round], warehouse: WarehouseResource) -> dict[int, dict[str, Any]]:
    """:func:`round_figures` of several rounds by their numbers, in as many queries as for one."""
    numbers = {"numbers": [each.round_no for each in rounds]}

    def rows(table: str) -> dict[int, dict[str, Any]]:
        found = warehouse.query(f"SELECT * FROM {table} WHERE list_contains($numbers, round_no)", numbers)
        return {row["round_no"]: row for row in found.iter_rows(named=True)}

    alignments, verdicts, epochs = rows("alignments"), rows("quality_verdicts"), rows("epochs")
    selections = warehouse.query("SELECT * FROM selections WHERE list_contains($numbers, round_no)", numbers)
    bought = warehouse.query(
        "SELECT round_no, sum(payment) AS spent, count(*) AS answers, count(DISTINCT lot_id) AS pairs, "
        "avg(quality) AS quality FROM awards WHERE awarded AND list_contains($numbers, round_no) GROUP BY round_no",
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
    """The settings that a round was settled with; of those that came later the value of now."""
    recorded = record_of(warehouse, round_no).get("settings", {})
    return settings.model_copy(
        update={name: value for name, value in recorded.items() if name in CrowdSettings.model_fields}
    )


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


def regrets(
    settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, through: int | None = None
) -> pl.DataFrame:
    """Regret so far after each settled round: ``round_no``, ``slots``, ``labelers``, ``regret`` against the best labeler
    in hindsight (over the slots each took part in) and its ``bound``, in units of quadratic loss. Without rows where no
    outcome came yet."""
    found = []
    crowds = {
        number: (labelers, slots)
        for number, labelers, slots in warehouse.query(
            "SELECT round_no, count(*), max(slots) FROM labeler_weights GROUP BY round_no"
        ).iter_rows()
    }
    behind: Counter[str] = Counter()
    for round_ in settled_rounds(warehouse, through):
        of_round = _losses(round_, settings, warehouse, frames)
        for labeler, own, aggregate in of_round.select("labeler_id", "own_loss", "aggregate_loss").iter_rows():
            behind[labeler] += aggregate - own
        if behind:
            labelers, slots = crowds[round_.round_no]
            found.append(
                {
                    "round_no": round_.round_no,
                    "slots": slots,
                    "labelers": labelers,
                    "regret": max(behind.values()),
                    "bound": anytime_bound(labelers, slots),
                }
            )
    schema = {"round_no": pl.Int64, "slots": pl.Int64, "labelers": pl.Int64, "regret": pl.Float64, "bound": pl.Float64}
    return pl.DataFrame(found, schema=schema)


def _losses(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> pl.DataFrame:
    """The frame ``labeler_regret`` of a round, made where it is not there yet."""
    if frames.path(REGRET, round_.round_id).exists():
        return frames.read(REGRET, round_.round_id)
    then = settled_settings(warehouse, round_.round_no, settings)
    _, learnt = weights_after(round_, then, warehouse, frames)
    frame = _losses_of(learnt)
    frames.write(REGRET, round_.round_id, frame)
    return frame


def _losses_of(learnt: Learnt | None) -> pl.DataFrame:
    schema = {"labeler_id": pl.String, "slots": pl.Int64, "own_loss": pl.Float64, "aggregate_loss": pl.Float64}
    if learnt is None or not learnt.slot.size:
        return pl.DataFrame(schema=schema)
    outcome = learnt.outcomes["preferred_a"].to_numpy()[learnt.slot]
    reports = pl.DataFrame(
        {
            "labeler_id": pl.Series(learnt.labelers).gather(learnt.labeler),
            "own_loss": np.square(learnt.report - outcome),
            "aggregate_loss": learnt.results.losses[learnt.slot],
        }
    )
    counted = reports.filter(pl.col("aggregate_loss").is_not_nan())
    return (
        counted.group_by("labeler_id")
        .agg(
            slots=pl.len().cast(pl.Int64),
            own_loss=pl.col("own_loss").sum(),
            aggregate_loss=pl.col("aggregate_loss").sum(),
        )
        .sort("labeler_id")
        .select(list(schema))
    )
