"""Stage 7, the round's report: pages that people read, and the round is complete.

Belongs here: when the pages are written. Does not belong here: what they show (see ``crowd_assets.report``).
"""

import math
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from dagster import AssetExecutionContext, FreshnessPolicy, MaterializeResult, MetadataValue, asset

from crowd_assets.assets import OWNERS
from crowd_assets.assets.procurement import comparison_tasks
from crowd_assets.jobs import rounds_partition, tag_seconds
from crowd_assets.quality.verdict import passed_round
from crowd_assets.report import PORT, display
from crowd_assets.report.agreement import shared_figures
from crowd_assets.report.campaign import write_campaign_page
from crowd_assets.report.figures import figures_of
from crowd_assets.report.index import write_index_page
from crowd_assets.report.quality import write_quality_page
from crowd_assets.report.round import write_round_page
from resources.files.frames import FramesResource
from resources.home.identity import uuid_of
from resources.rounds.book import Round, RoundBook
from resources.settings.fields import marks_of
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource
from resources.tools.tracking import TrackedRound, track
from resources.warehouse.base import WarehouseResource


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
    """The round on one page, and the whole campaign on another: distances, who earned what and why, what was bought at what
    price, what was rejected, what the models wrote before and after. Each page is one file that works offline; nothing a
    contributor wrote is interpreted. The quality page gets how far judges agree, over all rounds."""
    round_ = passed_round(warehouse, context.partition_key)
    with warehouse.session():
        page = write_round_page(round_, settings, warehouse, frames, data_quality)
        campaign = write_campaign_page(settings, warehouse, frames, data_quality)
        write_quality_page(settings, warehouse, data_quality, shared_figures(warehouse, frames))
    RoundBook(warehouse).complete(round_.round_no)
    index = write_index_page(settings, warehouse, data_quality)
    warehouse.publish_snapshot()
    tag_seconds(context)
    figures = figures_of(RoundBook(warehouse).settled(round_.round_no), warehouse)
    of_round = figures[round_.round_no]
    _tell_tracker(context, settings, round_, of_round)
    numbers = [float(number) for number in figures]
    return MaterializeResult(
        metadata={
            "report": MetadataValue.path(str(page.absolute())),
            "campaign": MetadataValue.path(str(campaign.absolute())),
            "index": MetadataValue.path(str(index.absolute())),
            "served by crowd-rounds docs-quality": MetadataValue.url(
                f"http://127.0.0.1:{PORT}/reports/{page.parent.name}/{page.name}"
            ),
            "distance_before": round(of_round["distance_before"], 4),
            "distance_after": round(of_round["distance_after"], 4),
            "reduction": round(of_round["reduction"], 4),
            "distances": display.plot(
                display.lines(
                    {
                        "base": (numbers, [each["distance_before"] for each in figures.values()]),
                        "chosen": (numbers, [each["distance_after"] for each in figures.values()]),
                    },
                    x="round",
                    y="target distance, fresh sample",
                )
            ),
        }
    )


def _tell_tracker(
    context: AssetExecutionContext, settings: CrowdSettings, round_: Round, of_round: dict[str, Any]
) -> None:
    """Tell the tracker, where there is one. The round is complete without it, so a tracker that fails is named in the log."""
    if not settings.tracking:
        return
    told = TrackedRound(
        home=f"{Path(settings.home).resolve().name}-{uuid_of(settings)[:8]}",
        round_id=round_.round_id,
        round_no=round_.round_no,
        settings={
            name: getattr(settings, name)
            for name, field in CrowdSettings.model_fields.items()
            if marks_of(field).shown in ("yes", "word")
        },
        figures={
            name: float(value)
            for name, value in of_round.items()
            if isinstance(value, int | float | Decimal) and math.isfinite(value)
        },
    )
    try:
        track(settings.tracking, told)
    except Exception as problem:  # of somebody else's client or server
        context.log.warning(
            f"CROWD_TRACKING={settings.tracking} was not told of {round_.round_id} ({type(problem).__name__}: "
            f"{' '.join(str(problem).split())[:300]}): materialise round_report of this round again to tell the tracker."
        )
