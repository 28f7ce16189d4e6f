"""Stage 3, candidates: contributors are split into groups, and each group fine-tunes a candidate.

Belongs here: the grouping and the map over groups. Does not belong here: training (see ``resources.trainer``).
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
from numpy.typing import NDArray

from crowd_assets import display
from crowd_assets.assets import OWNERS
from crowd_assets.assets.feedback import validated_feedback
from crowd_assets.assets.seed import find_target, target
from crowd_assets.mechanisms.grouping import assign_groups, group_sizes
from crowd_assets.mechanisms.ledger import contributor_account
from crowd_assets.quality.gate import passed_round
from crowd_assets.rounds import generator_for, rounds_partition, seed_for
from crowd_assets.tournament import standing, tournament
from resources.embedder import EmbedderResource
from resources.frames import FramesResource
from resources.progress import throttled
from resources.rounds import Round, RoundBook
from resources.settings import CrowdSettings
from resources.trainer import TrainerResource
from resources.training.supervised import AdapterConfig
from resources.warehouse import WarehouseResource


@asset(
    group_name="candidates",
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
    what the rounds before say about each (points or estimates), by a draw from its posterior, or interleaved."""
    round_ = passed_round(warehouse, context.partition_key)
    contributors = (
        frames.read("validated_feedback", round_.round_id)
        .filter(pl.col("kind") == "demonstration")
        .group_by("contributor_id")
        .agg(demonstrations=pl.len().cast(pl.Int64))
        .sort("contributor_id")
    )
    keys, deviation = _what_is_known(contributors["contributor_id"], round_, settings, warehouse, frames, embedder)
    contributors = contributors.with_columns(key=pl.Series(keys))
    equal = settings.small_groups == 1.0 or settings.grouping == "interleaved"
    group = assign_groups(
        settings.grouping,
        keys,
        settings.groups,
        round_no=round_.round_no,
        rounds=settings.planned_rounds,
        rng=generator_for(round_, "grouping"),
        sizes=None if equal else group_sizes(contributors.height, settings.groups, small=settings.small_groups),
        deviation=deviation,
    )
    grouped = contributors.with_columns(group_index=pl.Series(group).cast(pl.Int32))
    warehouse.replace_round(
        "contributor_groups", round_.round_no, grouped.select("contributor_id", "group_index", "demonstrations")
    )
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
            "grouping": settings.grouping,
            "contributors": grouped.height,
            "groups": settings.groups,
            "members": display.table(members),
        }
    )


@op(ins={"contributor_groups": In(Nothing), "seed_language_model": In(Nothing)}, out=DynamicOut(int))
def plan_candidates(context: OpExecutionContext, warehouse: WarehouseResource) -> Iterator[DynamicOutput[int]]:
    """One output for each group of the round."""
    round_ = passed_round(warehouse, context.partition_key)
    groups = warehouse.read_round("contributor_groups", round_.round_no)["group_index"].unique().sort()
    for group in groups:
        yield DynamicOutput(group, mapping_key=f"group_{group}")


@op(pool="training", retry_policy=RetryPolicy(max_retries=1))
def train_candidate(
    context: OpExecutionContext,
    group: int,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    trainer: TrainerResource,
) -> dict[str, Any]:
    """Fine-tune one LoRA adapter on the demonstrations of one group, on top of the last round's model."""
    round_ = passed_round(warehouse, context.partition_key)
    members = warehouse.read_round("contributor_groups", round_.round_no).filter(pl.col("group_index") == group)
    demonstrations = (
        frames.read("validated_feedback", round_.round_id)
        .filter(pl.col("kind") == "demonstration")
        .join(members.select("contributor_id"), on="contributor_id", how="semi")
        .sort("seq")
    )
    trained = trainer.train_candidate(
        RoundBook(warehouse).base_model(round_.round_no),
        list(demonstrations.select("prompt", "response").iter_rows()),
        config=adapter_config(settings, settings.learning_rate, settings.epochs),
        seed=seed_for(round_, "candidate"),
        card={
            "role": "candidate",
            "round_id": round_.round_id,
            "group": group,
            "contributors": members.height,
            "demonstrations": demonstrations.height,
        },
        progress=throttled(f"candidate of group {group}", context.log.info),
    )
    context.log.info(
        f"candidate of group {group}: {members.height} contributors, {demonstrations.height} demonstrations, "
        f"loss {trained.figures['first_loss']:.3f} to {trained.figures['last_loss']:.3f}"
        f"{' (trained before)' if trained.reused else ''}"
    )
    return {
        "group_index": group,
        "model": trained.model,
        "contributors": members.height,
        "demonstrations": demonstrations.height,
        **trained.figures,
    }


@op
def collect_candidates(
    context: OpExecutionContext, warehouse: WarehouseResource, candidates: list[dict[str, Any]]
) -> None:
    """Write the round's candidates into the warehouse."""
    round_ = passed_round(warehouse, context.partition_key)
    frame = pl.DataFrame(candidates).sort("group_index")
    warehouse.replace_round(
        "candidates",
        round_.round_no,
        frame.select(pl.col("group_index").cast(pl.Int32), "model", "contributors", "demonstrations"),
    )
    context.add_output_metadata(
        {
            "candidates": frame.height,
            "mean_last_loss": float(np.mean(frame["last_loss"].to_numpy())),
            "tokens": int(frame["tokens"].sum()),
            "training": display.table(frame),
        }
    )


@graph_asset(
    group_name="candidates",
    kinds={"huggingface", "torch"},
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
    return collect_candidates(groups.map(train_candidate).collect())


def adapter_config(settings: CrowdSettings, learning_rate: float, epochs: int) -> AdapterConfig:
    """How the adapters of a round are trained: candidates and alignment differ in learning rate and epochs alone."""
    return AdapterConfig(
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=settings.batch_size,
        rank=settings.lora_rank,
        alpha=settings.lora_alpha,
        max_tokens=settings.max_tokens,
    )


def _what_is_known(
    contributors: pl.Series,
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    embedder: EmbedderResource,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What groups are formed by, (n,), and a draw from its posterior less its mean, (n,): points so far where points go by
    rank, else the estimates from the rounds before, with newcomers at the mean of those known."""
    if settings.points_scheme == "rank":
        points = _points_before(warehouse, round_.round_no)
        accounts = [points.get(contributor_account(contributor), 0.0) for contributor in contributors]
        return np.array(accounts), np.zeros(len(contributors))
    found = tournament(warehouse, frames, round_.round_no, including=False)
    if found is None:
        return np.zeros(len(contributors)), np.zeros(len(contributors))
    rng = generator_for(round_, "posterior draw")
    aim = find_target(settings, embedder, frames).vector
    known = standing(found, settings.points_scheme, aim, rng)
    drawn = known.draw(rng)
    place = {contributor: index for index, contributor in enumerate(found.contributors)}
    spread = float(drawn.std())
    keys, deviation = np.full(len(contributors), known.keys.mean()), rng.normal(scale=spread, size=len(contributors))
    for row, contributor in enumerate(contributors):
        if contributor in place:
            keys[row], deviation[row] = known.keys[place[contributor]], drawn[place[contributor]]
    return keys, deviation


def _points_before(warehouse: WarehouseResource, round_no: int) -> dict[str, float]:
    """Points of each account from the settled rounds before ``round_no``."""
    entries = warehouse.read_before("ledger", round_no).filter(pl.col("unit") == "point")
    return dict(entries.group_by("account").agg(pl.col("amount").sum().cast(pl.Float64)).iter_rows())
