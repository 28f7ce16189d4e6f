"""Stage 3, candidates: contributors are split into groups, and each group fine-tunes a candidate.

Belongs here: the grouping and the map over passes. Does not belong here: training (see ``resources.models.trainer``).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetIn,
    DynamicOut,
    DynamicOutput,
    In,
    MaterializeResult,
    Nothing,
    OpExecutionContext,
    RetryPolicy,
    asset,
    graph_asset,
    op,
)

from crowd_assets.assets import OWNERS
from crowd_assets.assets.feedback import validated_feedback
from crowd_assets.assets.seed import target
from crowd_assets.jobs import rounds_partition
from crowd_assets.quality.verdict import passed_round
from crowd_assets.report import display
from crowd_assets.round.groups import groups_of, learnt_from, members_of_candidates
from crowd_assets.round.randomness import seed_for
from crowd_assets.round.rates import learning_rate_of
from crowd_assets.round.target import find_target
from crowd_assets.round.training import candidate_config, prompts_of, valuation_of
from resources.common.progress import throttled
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.training.candidate_runs import Demonstrations
from resources.warehouse.base import WarehouseResource


@asset(
    group_name="3_candidates",
    kinds={"numpy", "duckdb"},
    owners=OWNERS,
    deps=[validated_feedback, target],
    partitions_def=rounds_partition,
)
def contributor_groups(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
) -> MaterializeResult[None]:
    """Who fine-tunes together: everyone with a valid demonstration in this round, split into groups at random, by
    what the rounds before say about each (points or estimates), by a draw from its posterior, interleaved, or nested."""
    round_ = passed_round(warehouse, context.partition_key)
    grouped = groups_of(round_, settings, warehouse, frames, find_target(settings, embedder, frames))
    groups = grouped.select("contributor_id", "group_index", "demonstrations")
    warehouse.replace_round("contributor_groups", round_.round_no, groups)
    trained_by = members_of_candidates(round_, settings, warehouse, frames, groups)
    warehouse.replace_round("candidate_members", round_.round_no, trained_by)
    members = (
        grouped.sort("contributor_id")
        .group_by("group_index")
        .agg(
            contributors=pl.len(),
            demonstrations=pl.col("demonstrations").sum(),
            mean_key=pl.col("key").mean(),
            members=pl.col("contributor_id").str.join(" "),
        )
        .sort("group_index")
    )
    return MaterializeResult(
        metadata={
            display.ROW_COUNT: grouped.height,
            "grouping": settings.grouping,
            "contributors": grouped.height,
            "groups": settings.groups,
            "members": display.table(members),
        }
    )


@op(
    ins={"contributor_groups": In(Nothing), "seed_language_model": In(Nothing)},
    out=DynamicOut(list[int]),
    pool="training",
)
def plan_candidates(
    context: OpExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    trainer: TrainerResource,
    embedder: EmbedderResource,
) -> Iterator[DynamicOutput[list[int]]]:
    """One output for each pass over the base: the groups whose candidates it trains. On Ray one for all, whose passes the
    trainer makes, side by side. The first round of a home with a base of its own finds the learning rate before."""
    round_ = passed_round(warehouse, context.partition_key)
    if settings.known_learning_rate is None:
        members = warehouse.read_round("candidate_members", round_.round_no).filter(
            pl.col("group_index") == pl.col("group_index").min()
        )
        learnt = learnt_from(round_, settings, warehouse, frames).join(
            members, on="contributor_id", how="semi", maintain_order="left"
        )
        on_the_day = trainer.on(round_.claimed_at.date())
        learning_rate_of(round_, learnt, settings, warehouse, frames, on_the_day, embedder, context.log.info)
    groups = warehouse.read_round("candidate_members", round_.round_no)["group_index"].unique().sort().to_list()
    together = settings.fused_candidates if settings.compute == "embedded" else len(groups)
    for number, first in enumerate(range(0, len(groups), together)):
        yield DynamicOutput(groups[first : first + together], mapping_key=f"pass_{number}")


@op(pool="training", retry_policy=RetryPolicy(max_retries=1))
def train_candidates(
    context: OpExecutionContext,
    groups: list[int],
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    trainer: TrainerResource,
    embedder: EmbedderResource,
) -> list[dict[str, Any]]:
    """Fine-tune one LoRA adapter a group on its demonstrations, on top of the last round's model, all in one pass."""
    round_ = passed_round(warehouse, context.partition_key)
    demonstrations = (
        frames.read("validated_feedback", round_.round_id).filter(pl.col("kind") == "demonstration").sort("seq")
    )
    learnt = learnt_from(round_, settings, warehouse, frames)
    members_of = warehouse.read_round("candidate_members", round_.round_no).select("group_index", "contributor_id")
    of_groups = [
        learnt.join(members_of.filter(pl.col("group_index") == group), on="contributor_id", maintain_order="left")
        for group in groups
    ]
    contributors = [rows["contributor_id"].n_unique() for rows in of_groups]
    trained = trainer.on(round_.claimed_at.date()).train_candidates(
        RoundBook(warehouse).base_model(round_.round_no),
        [
            Demonstrations(list(zip(prompts_of(rows), rows["response"], strict=True)), rows["contributor_id"].to_list())
            for rows in of_groups
        ],
        config=candidate_config(
            settings, learning_rate_of(round_, learnt, settings, warehouse, frames, trainer, embedder, context.log.info)
        ),
        seed=seed_for(round_, "candidate"),
        valuation=valuation_of(round_, demonstrations, settings, embedder, frames),
        cards=[
            {
                "role": "candidate",
                "round_id": round_.round_id,
                "group": group,
                "contributors": members,
                "demonstrations": rows.height,
            }
            for group, members, rows in zip(groups, contributors, of_groups, strict=True)
        ],
        progress=throttled(f"candidates of groups {groups[0]} to {groups[-1]}", context.log.info),
    )
    stored = []
    for group, members, rows, candidate in zip(groups, contributors, of_groups, trained, strict=True):
        context.log.info(
            f"candidate of group {group}: {members} contributors, {rows.height} demonstrations, "
            f"loss {candidate.figures['first_loss']:.3f} to {candidate.figures['last_loss']:.3f}"
            f"{' (trained before)' if candidate.reused else ''}"
        )
        described = {
            "group_index": group,
            "model": candidate.model,
            "contributors": members,
            "demonstrations": rows.height,
        }
        stored.append({**described, **candidate.figures, "values": list(candidate.values)})
    return stored


@op
def collect_candidates(
    context: OpExecutionContext, warehouse: WarehouseResource, passes: list[list[dict[str, Any]]]
) -> None:
    """Write the round's candidates, and what their contributors were worth to them, into the warehouse."""
    round_ = passed_round(warehouse, context.partition_key)
    candidates = [candidate for of_pass in passes for candidate in of_pass]
    values = [
        {
            "contributor_id": contributor,
            "seed_index": seed,
            "group_index": candidate["group_index"],
            "loss_reduction": value,
        }
        for candidate in candidates
        for seed, of_seed in enumerate(candidate.pop("values"))
        for contributor, value in of_seed.items()
    ]
    frame = pl.DataFrame(candidates, schema_overrides={"held_out_loss": pl.Float64}).sort("group_index")
    warehouse.replace_round(
        "candidates",
        round_.round_no,
        frame.select(pl.col("group_index").cast(pl.Int32), "model", "contributors", "demonstrations"),
    )
    warehouse.replace_round(
        "contributor_values",
        round_.round_no,
        pl.DataFrame(
            values,
            schema={
                "contributor_id": pl.String,
                "seed_index": pl.Int32,
                "group_index": pl.Int32,
                "loss_reduction": pl.Float64,
            },
        )
        .group_by("contributor_id", "seed_index", maintain_order=True)  # of nested candidates one trains several
        .agg(pl.col("group_index").min(), pl.col("loss_reduction").mean()),
    )
    seconds = sum(max(each["seconds"] for each in of_pass) for of_pass in passes)
    context.add_output_metadata(
        {
            display.ROW_COUNT: frame.height,
            "candidates": frame.height,
            "mean_last_loss": float(np.mean(frame["last_loss"].to_numpy())),
            "response_tokens": int(frame["tokens"].sum()),
            "response_tokens_per_second": round(frame["tokens"].sum() / seconds, 1),
            "peak_memory_mib": round(max(each["peak_memory_mib"] for each in candidates), 1),
            "training": display.table(frame),
        }
    )


@graph_asset(
    group_name="3_candidates",
    kinds={"huggingface", "pytorch"},
    owners=OWNERS,
    ins={
        "contributor_groups": AssetIn(dagster_type=Nothing),
        "seed_language_model": AssetIn(dagster_type=Nothing),
    },
    partitions_def=rounds_partition,
)
def candidate_models(contributor_groups: None, seed_language_model: None) -> None:
    """One LoRA candidate a group, trained on what its contributors wrote, on top of the last round's model."""
    groups = plan_candidates(contributor_groups=contributor_groups, seed_language_model=seed_language_model)
    return collect_candidates(groups.map(train_candidates).collect())
