"""Stage 7, the round's report: one self-contained page that a person reads, and the round is complete.

Belongs here: gathering what the page shows. Does not belong here: how the page looks (see ``report.html.jinja``).
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from dagster import AssetExecutionContext, FreshnessPolicy, MaterializeResult, MetadataValue, asset
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from upath import UPath

from crowd_assets import display
from crowd_assets.assets import OWNERS
from crowd_assets.assets.procurement import comparison_tasks
from crowd_assets.quality.gate import passed_round
from crowd_assets.rounds import rounds_partition, tag_seconds
from crowd_assets.tournament import standings
from resources.data_quality import DataQualityResource
from resources.frames import FramesResource
from resources.rounds import Round, RoundBook
from resources.settings import CrowdSettings
from resources.storage import write_text_atomically
from resources.warehouse import WarehouseResource

SAMPLES_SHOWN = 8
ROWS_SHOWN = 40


@asset(
    group_name="7_report",
    kinds={"html", "duckdb"},
    owners=OWNERS,
    freshness_policy=FreshnessPolicy.time_window(fail_window=timedelta(days=7), warn_window=timedelta(days=2)),
    deps=[comparison_tasks, "point_ledger"],
    partitions_def=rounds_partition,
)
def round_report(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    data_quality: DataQualityResource,
) -> MaterializeResult[None]:
    """The round on one page: distances, groups and points, labeler weights, awards, what was rejected and why, and what
    the model wrote before and after. Works offline; nothing a contributor wrote is interpreted."""
    round_ = passed_round(warehouse, context.partition_key)
    figures = round_figures(round_, warehouse)
    path = report_path(settings, round_.round_id)
    page = _page(round_, figures, settings, warehouse, frames, data_quality)
    write_text_atomically(path, page)
    RoundBook(warehouse).complete(round_.round_no)
    warehouse.publish_snapshot()
    tag_seconds(context)
    return MaterializeResult(
        metadata={
            "report": MetadataValue.path(str(path.absolute())),
            "distance_before": round(figures["distance_before"], 4),
            "distance_after": round(figures["distance_after"], 4),
            "reduction": round(1 - figures["distance_after"] / figures["distance_before"], 4),
            "distances": display.plot(_distance_plot(round_, warehouse)),
        }
    )


def report_path(settings: CrowdSettings, round_id: str) -> UPath:
    """Where a round's report lies."""
    return settings.path("reports", f"{round_id}.html")


def round_figures(round_: Round, warehouse: WarehouseResource) -> dict[str, Any]:
    """What a round came to: its distances on the fresh sample, the winner, whether alignment was kept, money spent."""
    selection = warehouse.read_round("selections", round_.round_no)
    alignment = warehouse.read_round("alignments", round_.round_no).row(0, named=True)
    winner = selection.filter("selected").row(0, named=True)
    base = selection.filter(pl.col("role") == "base").row(0, named=True)
    awards = warehouse.read_round("awards", round_.round_no).filter("awarded")
    return {
        "distance_before": base["fresh_distance"],
        "distance_selected": winner["fresh_distance"],
        "distance_after": alignment["fresh_distance"] if alignment["kept"] else winner["fresh_distance"],
        "winner": "base" if winner["role"] == "base" else f"group {winner['group_index']}",
        "alignment": alignment,
        "spent": awards["payment"].sum() or 0,
        "answers_bought": awards.height,
        "candidates": selection.filter(pl.col("role") == "candidate").sort("group_index"),
        "base_selection_distance": base["distance"],
    }


def _distance_plot(round_: Round, warehouse: WarehouseResource) -> bytes:
    past = [
        (each.round_no, round_figures(each, warehouse))
        for each in RoundBook(warehouse).all()
        if each.round_no <= round_.round_no and each.settled
    ]
    numbers = [float(number) for number, _ in past]
    return display.lines(
        {
            "base": (numbers, [figures["distance_before"] for _, figures in past]),
            "chosen": (numbers, [figures["distance_after"] for _, figures in past]),
        },
        x="round",
        y="target distance, fresh sample",
    )


def _page(
    round_: Round,
    figures: dict[str, Any],
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    data_quality: DataQualityResource,
) -> str:
    number = {"n": round_.round_no}
    contributors = (
        warehouse.query(
            "SELECT contributor_id, group_index AS group_no, demonstrations, shapley_value, standard_error AS shapley_error "
            "FROM contributor_groups JOIN contributions USING (round_no, contributor_id) WHERE round_no = $n",
            number,
        )
        .join(standings(warehouse, round_.round_no), on="contributor_id", how="left")
        .sort("points", "contributor_id", descending=[True, False])
    )
    labelers = warehouse.query(
        "SELECT labeler_id, weight, slots_seen, cumulative_loss / nullif(slots_seen, 0) AS mean_loss, reports "
        "FROM labeler_weights WHERE round_no = $n ORDER BY weight DESC, labeler_id LIMIT $most",
        number | {"most": ROWS_SHOWN},
    )
    awards = warehouse.query(
        "SELECT lot_id, contributor_id, quality, asked_price, payment FROM awards WHERE round_no = $n AND awarded "
        "ORDER BY lot_id, contributor_id LIMIT $most",
        number | {"most": ROWS_SHOWN},
    )
    rejected = warehouse.query(
        "SELECT source, line, kind, contributor_id, reason FROM rejected_feedback WHERE round_no = $n "
        "ORDER BY source, line LIMIT $most",
        number | {"most": ROWS_SHOWN},
    )
    samples = frames.read("generations", round_.round_id).head(SAMPLES_SHOWN)
    bars = display.bars(
        ["base", *(f"group {group}" for group in figures["candidates"]["group_index"])],
        [figures["base_selection_distance"], *figures["candidates"]["distance"]],
        axis="target distance, selection sample",
        highlighted=lambda name: name == figures["winner"],
    )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.jinja").render(
        round=round_,
        settings=settings,
        figures=figures,
        epoch=warehouse.read_round("epochs", round_.round_no).row(0, named=True),
        verdict=warehouse.read_round("quality_verdicts", round_.round_no).row(0, named=True),
        candidates_plot=display.data_uri(bars),
        distances_plot=display.data_uri(_distance_plot(round_, warehouse)),
        tables={
            "Contributors": contributors,
            "Labelers": labelers,
            "Answers bought": awards,
            "Rejected in this round": rejected,
            "Before and after": samples,
        },
        data_docs=str(data_quality.data_docs),
    )
