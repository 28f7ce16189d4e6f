"""Stage 6, contributions: what each contributor's part was worth, and the ledger that pays for it.

Belongs here: Shapley estimates, estimates from the tournament, and the settlement of a round. Does not belong here: their mathematics
(see ``crowd_assets.mechanisms``) and the transaction (see ``resources.rounds.book``).
"""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain

import polars as pl
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    MaterializeResult,
    asset,
)

from crowd_assets.assets import OWNERS
from crowd_assets.assets.procurement import auction_clearing
from crowd_assets.assets.selection import aligned_model, selected_model
from crowd_assets.jobs import rounds_partition
from crowd_assets.mechanisms.ledger import (
    DEPOSITS,
    TREASURY,
    totals,
    unbalanced,
)
from crowd_assets.quality.verdict import passed_round
from crowd_assets.report import display
from crowd_assets.round.contributions import embedded, values_of
from crowd_assets.round.guard import RANGE, range_key
from crowd_assets.round.points import estimates_of
from crowd_assets.round.settlement import as_frame, correlation_of, entries_of, models_of, points_and_values
from crowd_assets.round.target import TARGET, find_target
from crowd_assets.round.tournament import (
    EMBEDDED_CONTRIBUTORS,
    points_so_far,
)
from resources.feedback.inbox import InboxResource
from resources.files.frames import FramesResource
from resources.home.identity import note_last_record
from resources.home.names import CREDITS_TAG
from resources.models.embedder import EmbedderResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import RoundBook
from resources.rounds.corrections import CorrectionBook
from resources.rounds.records import surroundings
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource

SHOWN = 5
LEAST_CORRELATION = 0.5  # what points by rank reach at worst in the paper's own simulation


@asset(
    group_name="6_contributions",
    kinds={"numpy", "duckdb"},
    owners=OWNERS,
    deps=[selected_model],
    partitions_def=rounds_partition,
)
def shapley_estimates(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
) -> MaterializeResult[None]:
    """What each contributor's demonstrations were worth in this round: by how much they lowered the loss on the target's texts
    while their candidate trained (In-Run Data Shapley, arXiv 2406.11011), or Shapley values of the game in which a coalition
    is as good as its mean point in Φ is close to the target (CROWD_SHAPLEY_METHOD)."""
    round_ = passed_round(warehouse, context.partition_key)
    written = embedded(frames.read("validated_feedback", round_.round_id), embedder)
    frame, about = values_of(
        round_, settings, warehouse, frames, embedder, find_target(settings, embedder, frames), written
    )
    warehouse.replace_round("contributions", round_.round_no, frame)
    frames.write(EMBEDDED_CONTRIBUTORS, round_.round_id, written, settled=round_.settled)
    shown = frame.sort("shapley_value", descending=True)
    worth = dict(frame.select("contributor_id", "shapley_value").iter_rows())
    in_run = settings.shapley_method == "in_run"
    unit = "nats a token of the target's texts" if in_run else "target distance"
    return MaterializeResult(
        metadata=display.rounded({"contributors": frame.height, "method": frame["method"][0], **about})
        | {
            display.ROW_COUNT: frame.height,
            "value_of_everybody": frame["shapley_value"].sum(),
            "values": display.plot(
                display.bars(
                    list(shown["contributor_id"]),
                    list(shown["shapley_value"]),
                    errors=list(shown["standard_error"].fill_null(0.0)),
                    axis=f"Shapley value, in {unit}",
                    highlighted=lambda name: worth[name] > 0,
                )
            ),
        }
    )


@asset(
    group_name="6_contributions",
    kinds={"numpy", "duckdb"},
    owners=OWNERS,
    deps=[shapley_estimates],
    partitions_def=rounds_partition,
)
def contributor_estimates(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
) -> MaterializeResult[None]:
    """What each contributor adds, estimated from every candidate so far and who trained it, and the points that the open
    epoch would pay by that. Each round restates them; they are posted when the epoch closes."""
    round_ = passed_round(warehouse, context.partition_key)
    so_far = estimates_of(round_, settings, warehouse, frames, find_target(settings, embedder, frames))
    frame, epoch = so_far.estimates, so_far.epoch
    warehouse.replace_round("contributor_estimates", round_.round_no, frame)
    warehouse.replace_round("contributor_points", round_.round_no, so_far.points)
    warehouse.replace_round("epochs", round_.round_no, epoch)
    shown = frame.sort("estimate", descending=True)
    estimated = dict(frame.select("contributor_id", "estimate").iter_rows())
    about = {"scheme": frame["scheme"][0], "contributors": frame.height}
    return MaterializeResult(
        metadata=display.rounded(about | epoch.row(0, named=True))
        | {
            display.ROW_COUNT: frame.height,
            "estimates": display.plot(
                display.intervals(
                    list(shown["contributor_id"]),
                    list(shown["estimate"]),
                    list(shown["standard_error"]),
                    axis="estimated contribution, in target distance (standard errors)",
                    highlighted=lambda name: estimated[name] > 0,
                )
            ),
        }
    )


@asset(
    group_name="6_contributions",
    kinds={"duckdb"},
    owners=OWNERS,
    deps=[selected_model, aligned_model, contributor_estimates, auction_clearing],
    partitions_def=rounds_partition,
    check_specs=[
        AssetCheckSpec("ledger_balances", asset="point_ledger", description="Every unit of the ledger sums to zero."),
        AssetCheckSpec(
            "points_track_shapley",
            asset="point_ledger",
            description=f"Points so far correlate with Shapley values so far by {LEAST_CORRELATION} or more, where there are "
            "enough of both to say.",
        ),
        AssetCheckSpec(
            "within_budget",
            asset="point_ledger",
            description="The round's payments are at least what the awarded sellers asked and at most its budget.",
        ),
    ],
)
def point_ledger(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
    inbox: InboxResource,
    trainer: TrainerResource,
) -> MaterializeResult:
    """The settlement of a round, in one transaction: the points of the epoch's rounds where the round closes it, what is held
    back of them as deposits, payments to the sellers, the next base model, and the record that audits start from. Double entry:
    what a contributor receives, the treasury gives. A settled round is never rewritten; a second run posts nothing."""
    round_ = passed_round(warehouse, context.partition_key)
    awards = warehouse.read_round("awards", round_.round_no).filter("awarded")
    epoch = warehouse.read_round("epochs", round_.round_no).row(0, named=True)
    aim = find_target(settings, embedder, frames)
    due = warehouse.read_round("contributor_points", round_.round_no)
    entries = entries_of(round_, settings, warehouse, due, CorrectionBook(warehouse).taken_by(round_.round_no))
    base_model, next_model = models_of(round_, warehouse)
    trained = (warehouse.read_round(table, round_.round_no)["model"] for table in ("candidates", "alignments"))
    made = {*chain.from_iterable(trained), next_model} - {base_model, None}
    of_round = frames.of_round(round_.round_id) | {TARGET: frames.path(TARGET, aim.key)}
    likelihood_range = range_key(settings, trainer)
    if likelihood_range is not None and (path := frames.path(RANGE, likelihood_range)).exists():
        of_round[RANGE] = path
    about = surroundings(
        settings.model_dump(),
        seed=round_.seed,
        key=round_.key,
        next_commitment=round_.next_commitment,
        phi=embedder.identity,
        target=aim.key,
        root=trainer.root_identity(),
        models=[base_model, next_model, *made],
        cards={model: trainer.store.card_hash(model) for model in made},
        likelihood_range=likelihood_range,
        frames=of_round,
        segments=inbox.segment_paths(round_.from_seq, round_.to_seq),
    )
    posted = RoundBook(warehouse).settle(
        round_,
        as_frame(entries),
        base_model=base_model,
        next_model=next_model,
        now=datetime.now(UTC),
        about=about,
    )
    note_last_record(settings, warehouse)
    points = points_so_far(warehouse, round_.round_no)
    if unknown := set(settings.forfeited_names) - set(points["contributor_id"]):
        context.log.warning("CROWD_FORFEITED names who wrote no demonstration here: %s", ", ".join(sorted(unknown)))
    paid = awards["payment"].sum() or Decimal(0)
    budget = Decimal(settings.budget)
    uneven = unbalanced(entries)
    below = awards.filter(pl.col("payment") < pl.col("asked_price"))
    earned = points_and_values(points, warehouse, round_.round_no)
    correlation = correlation_of(earned)
    context.instance.add_run_tags(context.run.run_id, {CREDITS_TAG: str(paid)})
    tracked: display.Metadata = {}
    if correlation is not None:
        tracked = {
            "correlation_with_shapley": round(correlation, 4),
            "points_and_shapley": display.plot(
                display.scatter(
                    earned["shapley_value"].to_list(),
                    earned["points"].to_list(),
                    x="Shapley values so far",
                    y="points so far",
                    title=f"correlation {correlation:.2f} over {earned.height} contributors",
                )
            ),
        }
    # Checks that a tuple returns beside the result are dropped by Dagster 1.13 without a word.
    return MaterializeResult(
        metadata={
            display.ROW_COUNT: len(entries),
            "entries": len(entries),
            "posted_now": posted,
            "points_posted": float(-totals(entries).get((TREASURY, "point"), Decimal(0))),
            "points_held_back": float(sum(entry.amount for entry in entries if entry.account.startswith(DEPOSITS))),
            "epoch_closes": epoch["closes"],
            "reliability_of_values": round(epoch["reliability"], 4),
            "credits_paid": float(paid),
            "next_model": next_model or "root",
            **tracked,
            "top": display.table(points.head(SHOWN)),
            "bottom": display.table(points.tail(SHOWN)),
        },
        check_results=[
            AssetCheckResult(
                check_name="ledger_balances",
                passed=not uneven,
                severity=AssetCheckSeverity.ERROR,
                metadata={unit: str(amount) for unit, amount in uneven.items()},
            ),
            AssetCheckResult(
                check_name="points_track_shapley",
                passed=correlation is None or correlation >= LEAST_CORRELATION,
                severity=AssetCheckSeverity.WARN,
                metadata={"correlation": "too little to say" if correlation is None else correlation},
            ),
            AssetCheckResult(
                check_name="within_budget",
                passed=paid <= budget and below.is_empty(),
                severity=AssetCheckSeverity.ERROR,
                metadata={"paid": str(paid), "budget": str(budget), "awards_below_asked_price": below.height},
            ),
        ],
    )
