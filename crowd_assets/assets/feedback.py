"""Stage 1, feedback: what arrived, and what of it is valid.

Belongs here: ingestion and the gate as assets. Does not belong here: formats (see ``resources.feedback.events``), suites
(see ``crowd_assets.quality``).
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import polars as pl
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    FreshnessPolicy,
    MarkdownMetadataValue,
    MaterializeResult,
    MetadataValue,
    asset,
)

from crowd_assets.assets import OWNERS
from crowd_assets.assets.seed import seed_classifier, seed_language_model
from crowd_assets.jobs import rounds_partition
from crowd_assets.quality.detectors import detect
from crowd_assets.quality.drift import ROUND
from crowd_assets.quality.gate import Finding, GateResult, check_feedback
from crowd_assets.quality.history import VECTORS, before, kept_vectors
from crowd_assets.quality.verdict import too_few
from crowd_assets.report import display
from crowd_assets.report.quality import write_quality_page
from crowd_assets.round.asked import with_asked
from crowd_assets.round.fit import check_model
from crowd_assets.round.guard import weigher_of
from crowd_assets.round.lots import next_round_no, open_lots, publish_lots
from crowd_assets.round.members import check_members
from crowd_assets.round.standing import paused_before
from resources.feedback.events import EVENT_SCHEMA, KINDS
from resources.feedback.inbox import InboxResource, OutboxResource
from resources.files.frames import FramesResource
from resources.home.names import BATCH_TAG, NOTHING_STUCK, ROUND_TAG, TAKEN_IN
from resources.models.embedder import EmbedderResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round, RoundBook
from resources.rounds.releases import ReleaseBook
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource
from resources.warehouse.base import WarehouseResource
from sensors.waiting import said as said_to_wait
from sensors.waiting import waiting_now

REASONS_SHOWN = 20


def suite_check(suite: str) -> str:
    """Name of a suite's check: one a kind of feedback, and one of the round's figures."""
    return "figures_as_before" if suite == ROUND else f"{suite}s_as_expected"


@asset(
    group_name="1_feedback",
    kinds={"json", "parquet", "duckdb"},
    owners=OWNERS,
    deps=["inbox"],
    freshness_policy=FreshnessPolicy.time_window(fail_window=timedelta(days=7), warn_window=timedelta(days=2)),
    check_specs=[
        AssetCheckSpec(
            TAKEN_IN,
            asset="raw_feedback",
            description="Every file of the inbox could be read; what could not is left there.",
        ),
        AssetCheckSpec(
            NOTHING_STUCK,
            asset="raw_feedback",
            description="Nothing waits that somebody has to act for: files, events, or an open round.",
        ),
    ],
)
def raw_feedback(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    inbox: InboxResource,
    outbox: OutboxResource,
    warehouse: WarehouseResource,
) -> Iterator[MaterializeResult[None] | AssetCheckResult]:
    """Everything the crowd sent, append-only: demonstrations, preferences, outcomes and bids, each event once, numbered
    in order of arrival. A line that is no event lies in rejected_feedback with its file, number and reason."""
    bounded = BATCH_TAG in context.run.tags
    looked_at = inbox.ingest(
        context.log.info,
        most_files=settings.ingest_files if bounded else 0,
        most_mib=settings.ingest_mib if bounded else 0,
    )
    publish_lots(next_round_no(warehouse), settings, warehouse, outbox)
    if any(each.rejected for each in looked_at) and not warehouse.snapshot_path.exists():
        warehouse.publish_snapshot()  # before the first round, whoever sent feedback reads why it was rejected
    files = [each for each in looked_at if not each.left]
    left = [each for each in looked_at if each.left]
    events = warehouse.query("SELECT kind, count(*) AS events FROM event_index GROUP BY kind ORDER BY kind")
    rejected = warehouse.query(
        "SELECT reason, count(*) AS lines FROM rejected_feedback WHERE stage = 'ingestion' "
        "GROUP BY reason ORDER BY lines DESC, reason LIMIT $most",
        {"most": REASONS_SHOWN},
    )
    yield MaterializeResult(
        metadata={
            "files": len(files),
            "files_left": len(left),
            display.ROW_COUNT: sum(file.accepted for file in files),
            "new_events": sum(file.accepted for file in files),
            "duplicates": sum(file.duplicates for file in files),
            "rejected_lines": sum(file.rejected for file in files),
            "events": display.table(events),
            "rejected": display.table(rejected),
        }
    )
    said = ", ".join(f"{each.name} ({each.left})" for each in left[:REASONS_SHOWN])
    yield AssetCheckResult(
        check_name=TAKEN_IN,
        passed=not left,
        severity=AssetCheckSeverity.WARN,
        description=f"{len(left)} files cannot be read and wait: {said}. Let this user read the files, or take the files away."
        if left
        else None,
    )
    waiting = waiting_now(settings, warehouse, inbox)
    yield AssetCheckResult(
        check_name=NOTHING_STUCK,
        passed=not any(each.stuck for each in waiting),
        severity=AssetCheckSeverity.WARN,
        description=said_to_wait(waiting),
    )


@asset(
    group_name="1_feedback",
    kinds={"polars", "greatexpectations", "parquet"},
    owners=OWNERS,
    deps=[raw_feedback, seed_classifier, seed_language_model],
    partitions_def=rounds_partition,
    output_required=False,
    check_specs=[
        AssetCheckSpec(
            "feedback_gate",
            asset="validated_feedback",
            blocking=True,
            description="Few enough of the round's events were rejected (CROWD_MAX_REJECTED_SHARE).",
        ),
        *(
            AssetCheckSpec(
                suite_check(kind),
                asset="validated_feedback",
                description=f"Of the {kind}s no more were rejected than a round may have (CROWD_MAX_REJECTED_SHARE), and nobody "
                "was flagged by a detector that leaves what it flags in the round.",
            )
            for kind in KINDS
        ),
        AssetCheckSpec(
            suite_check(ROUND),
            asset="validated_feedback",
            description="The round's figures lie where the figures of earlier rounds let one expect.",
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
    embedder: EmbedderResource,
    trainer: TrainerResource,
) -> Iterator[MaterializeResult[None] | AssetCheckResult]:
    """The round's events that meet every critical expectation; the others lie in rejected_feedback with their reason.
    Too many of those block the round; too few valid demonstrations skip it, and its events wait for the next. What every
    expectation and detector found is kept, and shown over all rounds on one page. Detectors look at the whole round at
    once: see docs/quality.md for the memory."""
    context.instance.add_run_tags(context.run.run_id, {ROUND_TAG: context.partition_key})
    book = RoundBook(warehouse)
    round_ = book.reopen(context.partition_key)
    check_members(settings)
    check_model(settings, trainer)
    space = f"{embedder.source}@{embedder.revision}"
    paused = paused_before(warehouse, round_.round_no)

    def events() -> Iterator[pl.DataFrame]:
        for chunk in inbox.chunks(round_.from_seq, round_.to_seq):
            yield with_asked(chunk, round_.round_no, settings, warehouse, paused)

    gate = check_feedback(
        round_,
        events,
        data_quality,
        settings,
        before(round_, warehouse, frames, space),
        partial(
            detect,
            weigh=weigher_of(round_, settings, frames, trainer),
            texts_of_model=trainer.on(round_.claimed_at.date()).texts,
        ),
        ReleaseBook(inbox).released(round_),
        embedder.embed,
        open_lots(round_, settings, warehouse),
    )
    blocked = gate.rejected_share > settings.max_rejected_share
    demonstrations, contributors = gate.valid_demonstrations
    scarce = too_few(demonstrations, contributors, settings.groups, settings.min_demonstrations)
    reason = (
        f"{gate.rejected_share:.0%} of the events were rejected; CROWD_MAX_REJECTED_SHARE allows "
        f"{settings.max_rejected_share:.0%}"
        if blocked
        else scarce
    )
    schema = {"seq": pl.Int64(), **EVENT_SCHEMA}
    frames.write_chunks("validated_feedback", round_.round_id, gate.valid(), schema, settled=round_.settled)
    if gate.vectors is not None and gate.vectors.size:
        frames.write(VECTORS, round_.round_id, kept_vectors(gate.vectors, space), settled=round_.settled)
    verdict = {
        "passed": [reason is None],
        "reason": [reason],
        "accepted": [gate.accepted],
        "rejected": [gate.rejected.height],
    }
    with warehouse.session():
        with warehouse.transaction() as connection:
            warehouse.append(connection, "rejected_feedback", gate.rejected)
            connection.execute("DELETE FROM flagged_texts WHERE round_no = $n", {"n": round_.round_no})
            texts = gate.texts.with_columns(round_no=pl.lit(round_.round_no, pl.Int32))
            warehouse.append(connection, "flagged_texts", texts)
        warehouse.replace_round("quality_findings", round_.round_no, gate.findings_frame())
        warehouse.replace_round("quality_contributors", round_.round_no, gate.contributors)
        warehouse.replace_round("rings", round_.round_no, gate.rings)
        warehouse.replace_round(
            "quality_verdicts", round_.round_no, pl.DataFrame(verdict, schema_overrides={"reason": pl.String})
        )
    page = write_quality_page(settings, warehouse, data_quality)
    if reason is not None:
        book.skip(round_.round_no, reason)
        warehouse.publish_snapshot()  # nobody settles the round, and whoever sent its feedback reads why it was rejected
        context.log.warning(f"{round_.round_id} is skipped: {reason}. Its events wait for the next round.")
    skipped = not blocked and scarce is not None
    if not skipped:  # of a skipped round nothing is materialised, so nothing downstream runs, and nothing fails
        yield MaterializeResult(metadata=_figures(gate, round_, warehouse))
    yield AssetCheckResult(
        check_name="feedback_gate",
        passed=reason is None,
        severity=AssetCheckSeverity.WARN if skipped else AssetCheckSeverity.ERROR,
        metadata={
            "verdict": reason or "passed",
            "rejected_share": gate.rejected_share,
            "expectations": _findings(gate),
            "reasons": _reasons(gate),
            "report": MetadataValue.path(str(page.absolute())),
            "data_docs": MetadataValue.path(str(data_quality.data_docs.absolute())),
        },
    )
    for suite in (*KINDS, ROUND):
        yield _suite(suite, gate, settings, blocked)


def _suite(suite: str, gate: GateResult, settings: CrowdSettings, blocked: bool) -> AssetCheckResult:
    """One suite in the UI. Events in quarantine are what the gate is for: the check fails where somebody should look, and is an
    error where the round is blocked by what was rejected."""
    findings = [finding for finding in gate.findings if finding.suite == suite]
    missed = [finding for finding in findings if not finding.success]
    found: display.Metadata = {"expectations": len(findings), "expectations_missed": len(missed)}
    if suite == ROUND:
        passed, rejected_too_many = not missed, False
        found |= {finding.name: finding.figure for finding in findings if finding.figure is not None}
    else:
        of_kind = gate.kinds.row(by_predicate=pl.col("kind") == suite, named=True)
        rejected = of_kind["events"] - of_kind["valid"]
        share = rejected / max(of_kind["events"], 1)
        found |= {"events": of_kind["events"], "rejected": rejected, "rejected_share": share}
        staying = [finding.name for finding in missed if finding.severity == "warning"]
        flagged = gate.contributors.filter("flagged", pl.col("detector").is_in(staying)).sort(
            "p_value", "contributor_id"
        )
        rejected_too_many = share > settings.max_rejected_share
        passed = not rejected_too_many and flagged.is_empty()
        if flagged.height:
            found |= {"flagged": display.table(flagged.head(REASONS_SHOWN).drop("flagged"))}
    if missed:
        found |= {"missed": display.table(pl.DataFrame([_row(finding) for finding in missed]))}
    return AssetCheckResult(
        check_name=suite_check(suite),
        passed=passed,
        severity=AssetCheckSeverity.ERROR if blocked and rejected_too_many else AssetCheckSeverity.WARN,
        metadata=display.rounded(found),
    )


def _row(finding: Finding) -> dict[str, str]:
    """A missed expectation, and the first events that do not meet the expectation."""
    return {
        "expectation": finding.words,
        "severity": finding.severity,
        "found": _said(finding),
        "first of them": ", ".join(finding.listed[:3]),
    }


def _said(finding: Finding) -> str:
    """What an expectation found, in words."""
    if finding.suite != ROUND:
        return f"missed by {finding.failing} of {finding.rows} events"
    if finding.figure is None:
        return "too little to compare with"
    bounds = [
        f"{word} {bound:.4g}"
        for word, bound in (("at least", finding.low), ("at most", finding.high))
        if bound is not None
    ]
    return f"{finding.figure:.4g}, expected {' and '.join(bounds)}"


def _figures(gate: GateResult, round_: Round, warehouse: WarehouseResource) -> display.Metadata:
    return {
        display.ROW_COUNT: len(gate.findings),
        "events": gate.events,
        "valid": gate.accepted,
        "rejected": gate.rejected.height,
        "rejected_share": gate.rejected_share,
        "kinds": display.table(gate.kinds.filter(pl.col("events") > 0)),
        "quality_so_far": display.plot(_trend(round_, warehouse)),
    }


def _trend(round_: Round, warehouse: WarehouseResource) -> bytes:
    """Over the rounds so far, the share of events rejected, and of expectations that were missed."""
    trend = warehouse.query(
        "SELECT round_no, rejected::float8 / greatest(accepted + rejected, 1) AS events, "
        "(SELECT count(*) FILTER (WHERE failing > 0)::float8 / greatest(count(*), 1) FROM quality_findings f WHERE f.round_no = v.round_no) AS expectations "
        "FROM quality_verdicts v WHERE round_no <= $n ORDER BY round_no",
        {"n": round_.round_no},
    )
    rounds = trend["round_no"].to_list()
    return display.lines(
        {
            "events rejected": (rounds, trend["events"].to_list()),
            "expectations missed": (rounds, trend["expectations"].to_list()),
        },
        x="round",
        y="share",
    )


def _findings(gate: GateResult) -> MarkdownMetadataValue:
    rows = [
        {
            "suite": finding.suite,
            "expectation": finding.words,
            "severity": finding.severity,
            "met": finding.success,
            "found": _said(finding),
        }
        for finding in gate.findings
        if finding.rows
    ]
    return display.table(pl.DataFrame(rows))


def _reasons(gate: GateResult) -> MarkdownMetadataValue:
    # No text of contributors: what is in Dagster's event log cannot be erased. The quality page and the table have it.
    shown = gate.rejected.select("source", "line", "kind", "contributor_id", "event_id", "reason")
    return display.table(shown.head(REASONS_SHOWN))
