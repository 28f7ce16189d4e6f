"""Stage 1, feedback: what arrived, and what of it is valid.

Belongs here: ingestion and the gate as assets. Does not belong here: formats (see ``resources.feedback``), suites
(see ``crowd_assets.quality``).
"""

import os
from collections.abc import Iterator

import polars as pl
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    MarkdownMetadataValue,
    MaterializeResult,
    asset,
)

from crowd_assets import display
from crowd_assets.assets import OWNERS
from crowd_assets.quality.gate import GateResult, check_feedback, too_few
from crowd_assets.rounds import rounds_partition
from resources.data_quality import DataQualityResource
from resources.frames import FramesResource
from resources.inbox import InboxResource
from resources.rounds import RoundBook
from resources.settings import CrowdSettings
from resources.warehouse import WarehouseResource
from sensors.processes import process_tags

REASONS_SHOWN = 20


@asset(group_name="feedback", kinds={"json", "parquet", "duckdb"}, owners=OWNERS)
def raw_feedback(
    context: AssetExecutionContext, inbox: InboxResource, warehouse: WarehouseResource
) -> MaterializeResult[None]:
    """Everything the crowd sent, append-only: demonstrations, preferences, outcomes and bids, each event once, numbered
    in order of arrival. A line that is no event lies in rejected_feedback with its file, number and reason."""
    files = inbox.ingest(context.log.info)
    events = warehouse.query("SELECT kind, count(*) AS events FROM event_index GROUP BY kind ORDER BY kind")
    rejected = warehouse.query(
        "SELECT reason, count(*) AS lines FROM rejected_feedback WHERE stage = 'ingestion' "
        "GROUP BY reason ORDER BY lines DESC, reason LIMIT $most",
        {"most": REASONS_SHOWN},
    )
    return MaterializeResult(
        metadata={
            "files": len(files),
            "new_events": sum(file.accepted for file in files),
            "duplicates": sum(file.duplicates for file in files),
            "rejected_lines": sum(file.rejected for file in files),
            "events": display.table(events),
            "rejected": display.table(rejected),
        }
    )


@asset(
    group_name="feedback",
    kinds={"polars", "parquet"},
    owners=OWNERS,
    deps=[raw_feedback],
    partitions_def=rounds_partition,
    output_required=False,
    check_specs=[
        AssetCheckSpec(
            "feedback_gate",
            asset="validated_feedback",
            blocking=True,
            description="Few enough of the round's events were rejected (CROWD_MAX_REJECTED_SHARE).",
        ),
        AssetCheckSpec(
            "feedback_warnings",
            asset="validated_feedback",
            description="No expectation of severity warning was missed.",
        ),
    ],
)
def validated_feedback(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    inbox: InboxResource,
    frames: FramesResource,
    data_quality: DataQualityResource,
) -> Iterator[MaterializeResult[None] | AssetCheckResult]:
    """The round's events that meet every critical expectation; the others lie in rejected_feedback with their reason.
    Too many of those block the round; too few valid demonstrations skip it, and its events wait for the next."""
    pid = os.getpid() if settings.executor == "in_process" else os.getppid()
    context.instance.add_run_tags(context.run_id, process_tags(pid))
    book = RoundBook(warehouse)
    round_ = book.reopen(context.partition_key)
    events = inbox.events(round_.from_seq, round_.to_seq)
    gate = check_feedback(round_, events, data_quality)
    blocked = gate.rejected_share > settings.max_rejected_share
    scarce = too_few(gate.valid, settings.groups, settings.min_demonstrations)
    reason = (
        f"{gate.rejected_share:.0%} of the events were rejected; CROWD_MAX_REJECTED_SHARE allows "
        f"{settings.max_rejected_share:.0%}"
        if blocked
        else scarce
    )
    frames.write("validated_feedback", round_.round_id, gate.valid, settled=round_.settled)
    with warehouse.transaction() as connection:
        warehouse.append(connection, "rejected_feedback", gate.rejected)
    verdict = {
        "passed": [reason is None],
        "reason": [reason],
        "accepted": [gate.valid.height],
        "rejected": [gate.rejected.height],
    }
    warehouse.replace_round(
        "quality_verdicts", round_.round_no, pl.DataFrame(verdict, schema_overrides={"reason": pl.String})
    )
    if reason is not None:
        book.skip(round_.round_no, reason)
        context.log.warning(f"{round_.round_id} is skipped: {reason}. Its events wait for the next round.")
    skipped = not blocked and scarce is not None
    if not skipped:  # of a skipped round nothing is materialised, so nothing downstream runs, and nothing fails
        yield MaterializeResult(metadata=_figures(gate, events))
    yield AssetCheckResult(
        check_name="feedback_gate",
        passed=reason is None,
        severity=AssetCheckSeverity.WARN if skipped else AssetCheckSeverity.ERROR,
        metadata={
            "verdict": reason or "passed",
            "rejected_share": gate.rejected_share,
            "expectations": _findings(gate),
            "reasons": _reasons(gate),
            "data_docs": str(data_quality.data_docs),
        },
    )
    warnings = [finding for finding in gate.findings if finding.severity == "warning" and not finding.success]
    yield AssetCheckResult(
        check_name="feedback_warnings",
        passed=not warnings,
        severity=AssetCheckSeverity.WARN,
        metadata={
            finding.suite: f"{finding.expectation}: missed by {len(finding.failing_ids)} events" for finding in warnings
        },
    )


def _figures(gate: GateResult, events: pl.DataFrame) -> display.Metadata:
    by_kind = (
        events.group_by("kind")
        .agg(events=pl.len(), contributors=pl.col("contributor_id").replace("", None).drop_nulls().n_unique())
        .join(gate.valid.group_by("kind").agg(valid=pl.len()), on="kind", how="left")
        .sort("kind")
    )
    return {
        "events": events.height,
        "valid": gate.valid.height,
        "rejected": gate.rejected.height,
        "rejected_share": gate.rejected_share,
        "kinds": display.table(by_kind),
    }


def _findings(gate: GateResult) -> MarkdownMetadataValue:
    rows = [
        {
            "suite": finding.suite,
            "expectation": finding.expectation,
            "severity": finding.severity,
            "met": finding.success,
            "failing events": len(finding.failing_ids),
        }
        for finding in gate.findings
    ]
    return display.table(pl.DataFrame(rows))


def _reasons(gate: GateResult) -> MarkdownMetadataValue:
    return display.table(gate.rejected.select("source", "line", "kind", "contributor_id", "reason").head(REASONS_SHOWN))
