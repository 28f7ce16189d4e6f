"""The charts of a round's page: candidates, standings, Shapley values, labelers' weights and regret, lots.

Belongs here: which figures a chart shows and how they are called. Does not belong here: how a chart is drawn (see ``charts``), tables and
sentences of the page (see ``round``).
"""

from typing import Any

import polars as pl

from crowd_assets.report import charts
from crowd_assets.report.charts import Chart
from crowd_assets.report.figures import (
    correlation,
)
from crowd_assets.report.page import (
    number,
    ordinal,
    signed,
)
from crowd_assets.round.labelers import regret_so_far
from crowd_assets.round.tournament import points_so_far
from resources.files.frames import FramesResource
from resources.warehouse.base import WarehouseResource

EXTREMES_SHOWN = 10
POINTS_DRAWN = 600
LOTS_DRAWN, BIDS_DRAWN = 60, 1_500
WEIGHTS_DRAWN = 24

BASE, CANDIDATE, WINNER, ALIGNED = "base", "candidate", "winner", "aligned"
MODELS = {BASE: "var(--c-base)", CANDIDATE: "var(--c1)", WINNER: "var(--good)", ALIGNED: "var(--c4)"}
EARNED = {"earned": "var(--good)", "lost": "var(--bad)"}


def candidates_chart(figures: dict[str, Any]) -> Chart:
    def row(label: str, kind: str, mean: float, error: float | None, note: str) -> dict[str, Any]:
        spread = error or 0.0
        said = f"{number(mean, 3)} ± {number(error, 3)} {note}"
        return {"label": label, "kind": kind, "value": mean, "low": mean - spread, "high": mean + spread, "note": said}

    rows = [
        row(
            f"group {each['group_index']} ({ordinal(each['rank'] + 1)})",
            WINNER if each["selected"] else CANDIDATE,
            each["distance"],
            each["standard_error"],
            "on the selection sample",
        )
        for each in figures["candidates"].sort("rank").iter_rows(named=True)
    ]
    rows.append(
        row(BASE, BASE, figures["base_selection_distance"], figures["base_selection_error"], "on the selection sample")
    )
    fresh = "on a fresh sample"
    if figures["winner"] != BASE:
        rows.append(row("winner, fresh", WINNER, figures["distance_selected"], figures["error_selected"], fresh))
    if figures["alignment"]["kept"]:
        rows.append(row("aligned, fresh", ALIGNED, figures["distance_after"], figures["error_after"], fresh))
    rows.append(row("base, fresh", BASE, figures["distance_before"], figures["error_before"], fresh))
    there = {kind: colour for kind, colour in MODELS.items() if any(each["kind"] == kind for each in rows)}
    return charts.intervals("candidates", rows, axis="target distance", kinds=there)


def standings_chart(warehouse: WarehouseResource, round_no: int) -> Chart:
    points = points_so_far(warehouse, round_no)
    if points.height > 2 * EXTREMES_SHOWN:
        points = pl.concat([points.head(EXTREMES_SHOWN), points.tail(EXTREMES_SHOWN)])
    rows = [
        {
            "label": each["contributor_id"],
            "value": each["points"],
            "kind": "earned" if each["points"] >= 0 else "lost",
            "note": f"{number(each['points'], 2)} points",
        }
        for each in points.iter_rows(named=True)
    ]
    return charts.bars("standings", rows, axis="points so far", kinds=EARNED)


def shapley_chart(warehouse: WarehouseResource, round_no: int) -> dict[str, Any]:
    """Points so far against Shapley values summed so far, of those farthest apart where the crowd is large."""
    values = warehouse.query(
        "SELECT contributor_id, sum(shapley_value) AS shapley, sqrt(sum(standard_error * standard_error)) AS error "
        "FROM contributions WHERE round_no <= $n GROUP BY contributor_id",
        {"n": round_no},
    )
    both = values.join(points_so_far(warehouse, round_no), on="contributor_id").sort("contributor_id")
    drawn = both.gather_every(max(1, -(-both.height // POINTS_DRAWN)))
    rows = [
        {
            "label": each["contributor_id"],
            "x": each["shapley"],
            "low": each["shapley"] - (each["error"] or 0.0),
            "high": each["shapley"] + (each["error"] or 0.0),
            "y": each["points"],
            "kind": "earned" if each["points"] >= 0 else "lost",
            "note": f"{number(each['points'], 2)} points, Shapley value {signed(each['shapley'], 4)} ± {number(each['error'], 4)}",
        }
        for each in drawn.iter_rows(named=True)
    ]
    return {
        "shapley": charts.scatter("shapley", rows, x="Shapley values so far", y="points so far", kinds=EARNED),
        "shapley_correlation": correlation(both["shapley"], both["points"]),
        "shapley_drawn": (drawn.height, both.height),
    }


def labeler_charts(warehouse: WarehouseResource, frames: FramesResource, round_no: int) -> dict[str, Chart | None]:
    weights = warehouse.read_round("labeler_weights", round_no).sort("weight", "labeler_id", descending=[True, False])
    if weights.is_empty():
        return {"weights": None, "regret": None}
    mean = 1 / weights.height
    shown = weights
    if shown.height > WEIGHTS_DRAWN:
        shown = pl.concat([weights.head(WEIGHTS_DRAWN // 2), weights.tail(WEIGHTS_DRAWN // 2)])
    rows = [
        {
            "label": each["labeler_id"],
            "value": each["weight"] / mean,
            "kind": "above the mean" if each["weight"] >= mean else "below the mean",
            "note": f"{number(each['weight'] / mean, 2)} times the mean",
        }
        for each in shown.iter_rows(named=True)
    ]
    kinds = {"above the mean": "var(--c1)", "below the mean": "var(--c-base)"}
    drawn = charts.bars("weights", rows, axis="weight, in times the mean", kinds=kinds, reference=1.0)
    return {"weights": drawn, "regret": regret_chart(regret_so_far(warehouse, frames, round_no))}


def regret_chart(regrets: pl.DataFrame) -> Chart | None:
    """Regret so far and its bound over the rounds; None where no outcome came yet."""
    if regrets.is_empty():
        return None
    rows = [
        {"round": each["round_no"], "series": name, "value": each[column]}
        for each in regrets.iter_rows(named=True)
        for name, column in (("regret so far", "regret"), ("bound of the score update, 3√(T ln N)", "bound"))
    ]
    colours = {"regret so far": "var(--c1)", "bound of the score update, 3√(T ln N)": "var(--c2)"}
    return charts.lines(
        "regret",
        rows,
        axis="quadratic loss",
        colours=colours,
        dashed=["bound of the score update, 3√(T ln N)"],
        form=".3~g",
        zero=True,
    )


def lots_chart(warehouse: WarehouseResource, round_no: int) -> dict[str, Any]:
    awards = warehouse.read_round("awards", round_no)
    if awards.is_empty():
        return {"supply": None, "lots_drawn": 0}
    paid = (
        awards.group_by("lot_id")
        .agg(paid=pl.col("payment").filter(pl.col("awarded")).sum(), bids=pl.len())
        .sort("paid", "lot_id", descending=[True, False])
    )
    bids_so_far = paid["bids"].cum_sum()
    chosen = (
        paid.filter((bids_so_far <= BIDS_DRAWN) | (bids_so_far == paid["bids"]))["lot_id"].head(LOTS_DRAWN).to_list()
    )
    rows = []
    for lot in chosen:
        bids = awards.filter(pl.col("lot_id") == lot).sort("asked_price", "event_id")
        for place, bid in enumerate(bids.iter_rows(named=True), start=1):
            payment = float(bid["payment"]) if bid["awarded"] else None
            rows.append(
                {
                    "lot": lot,
                    "place": place,
                    "seller": bid["contributor_id"],
                    "asked": float(bid["asked_price"]),
                    "value": float(bid["value"]),
                    "paid": payment,
                    "paid_text": "nothing" if payment is None else number(payment, 4),
                    "kind": "bought" if bid["awarded"] else "not bought",
                }
            )
    return {"supply": charts.lots("supply", rows, chosen=chosen), "lots_drawn": len(chosen)}
