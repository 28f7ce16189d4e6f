"""Stage 5, procurement: answers are bought in an auction, and the pairs bought become comparison tasks.

Belongs here: verified qualities, the clearing of the round's lots, publication of what labelers are asked next.
Does not belong here: the auction itself (see ``crowd_assets.mechanisms.auctions.lots``).
"""

import hashlib
from decimal import Decimal

import numpy as np
import polars as pl
from dagster import AssetExecutionContext, MaterializeResult, asset
from numpy.typing import NDArray

from crowd_assets.assets import OWNERS
from crowd_assets.assets.feedback import validated_feedback
from crowd_assets.assets.seed import Target, find_target, target
from crowd_assets.jobs import generator_for, rounds_partition
from crowd_assets.mechanisms.auctions.lots import MONEY_QUANTUM, clear_lots, to_quanta
from crowd_assets.mechanisms.target import distances
from crowd_assets.quality.gate import passed_round
from crowd_assets.report import display
from crowd_assets.round.rings import with_rings
from resources.feedback.events import ERASED
from resources.feedback.inbox import AUDITS, COMPARISON_TASKS, OutboxResource
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.rounds.book import Round
from resources.settings.settings import CrowdSettings
from resources.warehouse.duckdb import WarehouseResource

LOTS_SHOWN = 40
AWARDS_SCHEMA = {
    "lot_id": pl.String(),
    "event_id": pl.String(),
    "contributor_id": pl.String(),
    "quality": pl.Float64(),
    "value": pl.Decimal(18, 6),
    "asked_price": pl.Decimal(18, 6),
    "payment": pl.Decimal(18, 6),
    "awarded": pl.Boolean(),
    "lot_cleared": pl.Boolean(),
}
TASKS_SCHEMA = {
    "comparison_id": pl.String(),
    "lot_id": pl.String(),
    "event_id_a": pl.String(),
    "event_id_b": pl.String(),
}


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
    """Who sells which answer at what price: scoring VCG in every lot within the round's budget. Quality is what the
    buyer verifies, closeness to the target in Φ, never what the seller claims; asking one's cost is optimal."""
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
) -> MaterializeResult[None]:
    """What labelers are asked next: the two answers bought in each lot, in an order drawn by lot, published in the
    outbox once the ledger has paid for them. Judgements come back as preferences with the same comparison_id. Those drawn for
    an audit are listed apart, for somebody trusted to send an outcome for; labelers must not see which."""
    round_ = passed_round(warehouse, context.partition_key)
    tasks = tasks_of(round_, warehouse.read_round("awards", round_.round_no))
    texts = frames.read("validated_feedback", round_.round_id).select("event_id", "prompt", "response")
    answers = {event_id: (prompt, response) for event_id, prompt, response in texts.iter_rows()}
    published = []
    for comparison_id, first, second in tasks.select("comparison_id", "event_id_a", "event_id_b").iter_rows():
        prompt, response_a = answers[first]
        task = {
            "comparison_id": comparison_id,
            "prompt": prompt,
            "response_a": response_a,
            "response_b": answers[second][1],
        }
        if ERASED not in task.values():
            published.append(task)
    warehouse.replace_round("comparison_tasks", round_.round_no, tasks)
    path = outbox.publish(COMPARISON_TASKS, round_.round_id, published)
    audited = _drawn(published, settings.audit_share, generator_for(round_, "audits"))
    if audited:
        outbox.publish(AUDITS, round_.round_id, [{"comparison_id": task["comparison_id"]} for task in audited])
    return MaterializeResult(
        metadata={
            "tasks": len(published),
            "audits": len(audited),
            "path": str(path),
            # No text of contributors: what is in Dagster's event log cannot be erased.
            "comparisons": display.table(tasks.head(5)),
        }
    )


def bids_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> pl.DataFrame:
    """The bids of a round that are admitted, in order of ``seq``: those that are valid, where settings say so one of a ring in
    each lot."""
    bids = frames.read("validated_feedback", round_.round_id).filter(pl.col("kind") == "bid").sort("seq")
    if settings.rings_count_once:
        bids = with_rings(bids, warehouse, round_.round_no)
        bids = bids.unique(("ring", "lot_id"), keep="first", maintain_order=True)
    return bids


def _drawn(tasks: list[dict[str, str]], share: float, rng: np.random.Generator) -> list[dict[str, str]]:
    """Each of the tasks with probability ``share``."""
    return [task for task, drawn in zip(tasks, rng.random(len(tasks)) < share, strict=True) if drawn]


def verified_quality(responses: list[str], aim: Target, embedder: EmbedderResource) -> NDArray[np.float64]:
    """Quality in [0, 1]: 1 on the target, 0 from where an ordinary text lies; shape (n,)."""
    if not responses:
        return np.zeros(0)
    away = distances(embedder.embed(responses), aim.vector) / aim.ordinary_distance
    return np.clip(1.0 - away, 0.0, 1.0)


def awards_of(round_: Round, settings: CrowdSettings, bids: pl.DataFrame, quality: NDArray[np.float64]) -> pl.DataFrame:
    """Rows of ``awards``: the lots of a round cleared, with the ``quality`` (n,) of each bid."""
    if bids.is_empty():
        return pl.DataFrame(schema=AWARDS_SCHEMA)
    value_of_one = to_quanta(Decimal(settings.value_per_quality))
    kept = to_quanta(Decimal(settings.least_surplus))
    values = np.maximum(np.floor(quality * value_of_one).astype(np.int64) - kept, 0)
    asked = np.array([to_quanta(Decimal(price)) for price in bids["asked_price"]], dtype=np.int64)
    lots = bids["lot_id"].unique().sort()
    lot = lots.search_sorted(bids["lot_id"]).cast(pl.Int64).to_numpy()
    clearing = clear_lots(
        lot,
        values,
        asked,
        winners_per_lot=settings.answers_per_lot,
        budget=to_quanta(Decimal(settings.budget)),
        rng=generator_for(round_, "auction"),
    )
    return bids.select("lot_id", "event_id", "contributor_id").with_columns(
        quality=pl.Series(quality),
        value=_money(values),
        asked_price=_money(asked),
        payment=_money(clearing.payments),
        awarded=pl.Series(clearing.awarded),
        lot_cleared=pl.Series(clearing.lot_cleared[lot]),
    )


def tasks_of(round_: Round, awards: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``comparison_tasks``: the answers bought in each lot, in an order drawn by lot."""
    bought = awards.filter("awarded").sort("lot_id", "event_id").select("lot_id", "event_id")
    rng = generator_for(round_, "order of answers")
    rows = []
    for (lot_id,), pair in bought.group_by("lot_id", maintain_order=True):
        first, second = (pair["event_id"][int(index)] for index in rng.permutation(2))
        identity = "\0".join([round_.round_id, str(lot_id), first, second])
        comparison_id = f"{round_.round_id}-{hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()}"
        rows.append({"comparison_id": comparison_id, "lot_id": lot_id, "event_id_a": first, "event_id_b": second})
    return pl.DataFrame(rows, schema=TASKS_SCHEMA)


def _money(quanta: np.ndarray) -> pl.Series:
    """Whole money quanta as decimals."""
    return pl.Series([Decimal(int(each)) * MONEY_QUANTUM for each in quanta], dtype=pl.Decimal(18, 6))
