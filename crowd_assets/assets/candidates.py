"""Stage 3, candidates: contributors are split into groups, and each group fine-tunes a candidate.

Belongs here: the grouping and the map over passes. Does not belong here: training (see ``resources.models.trainer``).
"""

from collections.abc import Iterator
from dataclasses import asdict
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

from crowd_assets.assets import OWNERS
from crowd_assets.assets.feedback import validated_feedback
from crowd_assets.assets.seed import Target, find_target, target
from crowd_assets.jobs import generator_for, rounds_partition, seed_for
from crowd_assets.mechanisms.grouping import assign_groups, group_sizes
from crowd_assets.quality.gate import passed_round
from crowd_assets.report import display
from crowd_assets.round.tournament import standing, tournament
from resources.common.progress import throttled
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round, RoundBook
from resources.settings.settings import CrowdSettings
from resources.training.candidates import CandidateConfig, Demonstrations
from resources.training.supervised import AdapterConfig
from resources.training.valuation import Valuation
from resources.warehouse.duckdb import WarehouseResource


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
    what the rounds before say about each (points or estimates), by a draw from its posterior, or interleaved."""
    round_ = passed_round(warehouse, context.partition_key)
    grouped = groups_of(round_, settings, warehouse, frames, find_target(settings, embedder, frames))
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


def groups_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, aim: Target
) -> pl.DataFrame:
    """The groups of a round: ``contributor_id``, ``demonstrations``, ``group_index`` and the ``key`` that groups are formed
    by, by contributor."""
    contributors = (
        frames.read("validated_feedback", round_.round_id)
        .filter(pl.col("kind") == "demonstration")
        .group_by("contributor_id")
        .agg(demonstrations=pl.len().cast(pl.Int64))
        .sort("contributor_id")
    )
    keys, deviation = _what_is_known(contributors["contributor_id"], round_, settings, warehouse, frames, aim)
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
    return contributors.with_columns(key=pl.Series(keys), group_index=pl.Series(group).cast(pl.Int32))


@op(ins={"contributor_groups": In(Nothing), "seed_language_model": In(Nothing)}, out=DynamicOut(list[int]))
def plan_candidates(
    context: OpExecutionContext, settings: CrowdSettings, warehouse: WarehouseResource
) -> Iterator[DynamicOutput[list[int]]]:
    """One output for each pass over the base: the groups whose candidates it trains. On Ray one for all, whose passes the
    trainer makes, side by side."""
    round_ = passed_round(warehouse, context.partition_key)
    groups = warehouse.read_round("contributor_groups", round_.round_no)["group_index"].unique().sort().to_list()
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
        frames.read("validated_feedback", round_.round_id)
        .filter(pl.col("kind") == "demonstration")
        .join(warehouse.read_round("contributor_groups", round_.round_no), on="contributor_id")
        .sort("seq")
    )
    of_groups = [demonstrations.filter(pl.col("group_index") == group) for group in groups]
    contributors = [rows["contributor_id"].n_unique() for rows in of_groups]
    trained = trainer.train_candidates(
        RoundBook(warehouse).base_model(round_.round_no),
        [
            Demonstrations(list(rows.select("prompt", "response").iter_rows()), rows["contributor_id"].to_list())
            for rows in of_groups
        ],
        config=_candidate_config(settings),
        seed=seed_for(round_, "candidate"),
        valuation=_valuation(round_, demonstrations, settings, embedder, frames),
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
    found = []
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
        found.append({**described, **candidate.figures, "values": list(candidate.values)})
    return found


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
        ),
    )
    seconds = sum(max(each["seconds"] for each in of_pass) for of_pass in passes)
    context.add_output_metadata(
        {
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


def _candidate_config(settings: CrowdSettings) -> CandidateConfig:
    return CandidateConfig(
        **asdict(adapter_config(settings, settings.learning_rate, settings.epochs)),
        held_out=settings.held_out_demonstrations,
        patience=settings.patience,
        tokens_per_pass=settings.tokens_per_pass,
        gradient_checkpointing=settings.gradient_checkpointing,
        compile=settings.compile,
    )


def _valuation(
    round_: Round,
    demonstrations: pl.DataFrame,
    settings: CrowdSettings,
    embedder: EmbedderResource,
    frames: FramesResource,
) -> Valuation | None:
    """The target's texts as answers to their own prompts, or the round's: what contributors are worth something for making
    likelier."""
    if settings.shapley_method != "in_run":
        return None
    found = find_target(settings, embedder, frames)
    asked = evaluation_prompts(round_, "valuation", len(found.texts), demonstrations)
    return Valuation(
        [(own or drawn, text) for own, drawn, text in zip(found.prompts, asked, found.texts, strict=True)],
        seeds=settings.value_seeds,
        rows=settings.value_rows,
        every=settings.value_every,
        order=settings.value_order,
    )


def evaluation_prompts(round_: Round, purpose: str, samples: int, demonstrations: pl.DataFrame) -> list[str]:
    """``samples`` prompts of the round's demonstrations for one purpose, drawn so that every distinct prompt is as
    likely as any other, however often a contributor repeats one."""
    distinct = demonstrations["prompt"].unique().sort()
    chosen = generator_for(round_, f"{purpose} prompts").integers(len(distinct), size=samples)
    return [distinct[int(index)] for index in chosen]


def _what_is_known(
    contributors: pl.Series,
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    aim: Target,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What groups are formed by, (n,), and a draw from its posterior less its mean, (n,): points so far where points go by
    rank, else the estimates from the rounds before, with newcomers at the mean of those known."""
    if settings.points_scheme == "rank":
        points = _points_before(warehouse, round_.round_no)
        return np.array([points.get(contributor, 0.0) for contributor in contributors]), np.zeros(len(contributors))
    found = tournament(warehouse, frames, round_.round_no, including=False, memory=settings.memory_rounds)
    if found is None:
        return np.zeros(len(contributors)), np.zeros(len(contributors))
    rng = generator_for(round_, "posterior draw")
    known = standing(found, settings.points_scheme, aim.vector, rng)
    drawn = known.draw(rng)
    place = {contributor: index for index, contributor in enumerate(found.contributors)}
    spread = float(drawn.std())
    keys, deviation = np.full(len(contributors), known.keys.mean()), rng.normal(scale=spread, size=len(contributors))
    for row, contributor in enumerate(contributors):
        if contributor in place:
            keys[row], deviation[row] = known.keys[place[contributor]], drawn[place[contributor]]
    return keys, deviation


def _points_before(warehouse: WarehouseResource, round_no: int) -> dict[str, float]:
    """Points of each contributor from the settled rounds before ``round_no``, deposits counted."""
    return dict(
        warehouse.query(
            "SELECT substr(account, strpos(account, ':') + 1), sum(amount)::float8 AS points FROM ledger JOIN rounds r USING (round_no) "
            "WHERE unit = 'point' AND account <> 'treasury' AND round_no < $n AND r.status IN ('settled', 'completed') "
            "GROUP BY 1",
            {"n": round_no},
        ).iter_rows()
    )
