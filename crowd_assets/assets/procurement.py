"""Stage 5, procurement: answers are bought in an auction, and the pairs bought become comparison tasks.

Belongs here: verified qualities, the clearing of the round's lots, publication of what labelers are asked next.
Does not belong here: the auction itself (see ``crowd_assets.mechanisms.auctions``).
"""

import json
from decimal import Decimal

import polars as pl
from dagster import AssetExecutionContext, MaterializeResult, asset

from crowd_assets.assets import OWNERS
from crowd_assets.assets.feedback import validated_feedback
from crowd_assets.assets.seed import target
from crowd_assets.jobs import rounds_partition
from crowd_assets.mechanisms.assignment import ASK
from crowd_assets.mechanisms.target import distances
from crowd_assets.quality.verdict import passed_round
from crowd_assets.report import display
from crowd_assets.round.assignment import ASSIGNMENTS, assignments_of, lines_of
from crowd_assets.round.generated import generated_tasks
from crowd_assets.round.lots import publish_lots, worst_prompts
from crowd_assets.round.procurement import audited_of, awards_of, bids_of, tasks_of, verified_quality
from crowd_assets.round.randomness import KEYS, generator_for, shown_keys
from crowd_assets.round.target import find_target
from resources.feedback.events import completed, says_erased
from resources.feedback.generated import ANSWERS, generated_answers
from resources.feedback.inbox import AUDITS, COMPARISON_TASKS, OutboxResource
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource

LOTS_SHOWN = 40


@asset(
    group_name="5_procurement",
    kinds={"numpy", "duckdb"},
    owners=OWNERS,
    deps=[validated_feedback, target],
    partitions_def=rounds_partition,
)
def auction_clearing(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
) -> MaterializeResult[None]:
    """Who sells which answer at what price: the lots of a round cleared by CROWD_AUCTION within its budget. Quality is what
    the buyer verifies, closeness to the target in Φ, never what the seller claims."""
    round_ = passed_round(warehouse, context.partition_key)
    bids = bids_of(round_, settings, warehouse, frames)
    quality = verified_quality(list(bids["response"]), find_target(settings, embedder, frames), embedder)
    frame = awards_of(round_, settings, bids, quality)
    warehouse.replace_round("awards", round_.round_no, frame)
    awarded = frame.filter("awarded")
    spent = awarded["payment"].sum() or Decimal(0)
    by_lot = awarded.group_by("lot_id").agg(paid=pl.col("payment").sum(), answers=pl.len()).sort("lot_id")
    metadata: display.Metadata = {
        "lots": frame["lot_id"].n_unique(),
        "lots_cleared": by_lot.height,
        "bids": frame.height,
        "answers_bought": awarded.height,
        "spent": float(spent),
        "budget": float(Decimal(settings.budget)),
        "awards": display.table(
            awarded.select("lot_id", "contributor_id", "quality", "asked_price", "payment").sort("lot_id").head(40)
        ),
    }
    if awarded.height:
        metadata["mean_price"] = float(spent) / awarded.height
        metadata["mean_quality"] = awarded["quality"].mean()
        metadata["cost_per_pair"] = float(spent) / by_lot.height
        money = pl.col("value", "asked_price", "payment").cast(pl.Float64)
        shown = frame.with_columns(money)
        metadata["supply_and_demand"] = display.plot(
            display.supply_and_demand(
                shown["asked_price"].to_list(),
                shown["value"].to_list(),
                shown["awarded"].to_list(),
                float(spent) / awarded.height,
            )
        )
        shown = shown.filter(pl.col("lot_id").is_in(by_lot["lot_id"].head(LOTS_SHOWN).implode()))
        metadata["prices_by_lot"] = display.plot(
            display.lots(
                shown["lot_id"].to_list(),
                shown["asked_price"].to_list(),
                shown["payment"].to_list(),
                shown["awarded"].to_list(),
            )
        )
    metadata[display.ROW_COUNT] = frame.height
    return MaterializeResult(metadata=display.rounded(metadata))


@asset(
    group_name="5_procurement",
    kinds={"json", "duckdb"},
    owners=OWNERS,
    deps=["point_ledger"],
    partitions_def=rounds_partition,
)
def comparison_tasks(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    outbox: OutboxResource,
    embedder: EmbedderResource,
) -> MaterializeResult[None]:
    """What labelers are asked next: the answers bought in each lot two by two, in an order drawn by lot, published in the
    outbox once the ledger has paid for them; and what the base and the next base wrote, as many as CROWD_GENERATED_PAIRS says.
    Judgements come back as preferences with the same comparison_id. Those drawn for an audit are listed apart, for somebody trusted to
    send an outcome for; labelers must not see which. Who judges which of them (CROWD_ASSIGNMENTS) is published beside them, with checks
    and repeats that look alike. What sellers are asked next: the lots of the next round, each with its prompt."""
    round_ = passed_round(warehouse, context.partition_key)
    bought = tasks_of(round_, warehouse.read_round("awards", round_.round_no))
    tasks = pl.concat([bought, generated_tasks(round_, settings, frames)])
    texts = pl.concat(
        [
            completed(frames.read("validated_feedback", round_.round_id)).select(*ANSWERS),
            generated_answers(pl.concat([tasks["event_id_a"], tasks["event_id_b"]]), frames),
        ]
    )
    answers = {event_id: tuple(rest) for event_id, *rest in texts.iter_rows()}
    published = []
    for comparison_id, first, second in tasks.select("comparison_id", "event_id_a", "event_id_b").iter_rows():
        prompt, messages, response_a = answers[first]
        if says_erased(prompt, messages, response_a, answers[second][2]):
            continue
        task = {
            "comparison_id": comparison_id,
            "prompt": prompt,
            "response_a": response_a,
            "response_b": answers[second][2],
        }
        if messages is not None:
            task["messages"] = json.loads(messages)
        published.append(task)
    warehouse.replace_round("comparison_tasks", round_.round_no, tasks)
    path = outbox.publish(COMPARISON_TASKS, round_.round_id, published)
    plan = assignments_of(round_, settings, warehouse, frames)
    warehouse.replace_round(ASSIGNMENTS, round_.round_no, plan)
    assigned = lines_of(plan, round_, warehouse, frames)
    if settings.assignments != "off":
        outbox.publish(ASSIGNMENTS, round_.round_id, assigned)
    audited = audited_of(published, settings.audit_share, generator_for(round_, "audits"))
    if audited:
        outbox.publish(AUDITS, round_.round_id, [{"comparison_id": task["comparison_id"]} for task in audited])

    def worst() -> list[str]:
        generations = frames.read("generations", round_.round_id)
        aim = find_target(settings, embedder, frames)
        return worst_prompts(
            round_, generations, distances(embedder.embed(generations["winner"].to_list()), aim.vector).tolist()
        )

    keys = shown_keys(round_, RoundBook(warehouse).all())
    if keys:
        outbox.publish(KEYS, round_.round_id, keys)
    lots = publish_lots(round_.round_no + 1, settings, warehouse, outbox, worst)
    return MaterializeResult(
        metadata={
            display.ROW_COUNT: tasks.height,
            "tasks": len(published),
            "audits": len(audited),
            "lots_published": lots,
            "assignments": len(assigned),
            "assigned_to": plan["labeler_id"].drop_nulls().n_unique(),
            "comparisons_assigned": plan.filter(pl.col("purpose") == ASK)["comparison_id"].n_unique(),
            "path": str(path),
            # No text of contributors: what is in Dagster's event log cannot be erased.
            "comparisons": display.table(tasks.head(5)),
        }
    )
