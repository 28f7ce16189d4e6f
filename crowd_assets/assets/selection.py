"""Stage 4, selection: the candidate nearest to the target wins, is aligned with the crowd's preferences, and is kept
if it is better for it.

Belongs here: generating, measuring and deciding. Does not belong here: how a model is trained or read.
"""

import json
from collections.abc import Sequence

import numpy as np
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
from crowd_assets.assets.candidates import candidate_models
from crowd_assets.assets.labelers import aggregated_preferences
from crowd_assets.assets.seed import target
from crowd_assets.jobs import rounds_partition
from crowd_assets.mechanisms.payouts import rank_of
from crowd_assets.quality.verdict import passed_round
from crowd_assets.report import display
from crowd_assets.round.groups import learnt_from
from crowd_assets.round.guard import Guard, Verdict, guard_of, kept_texts, verdict_rows, with_block
from crowd_assets.round.judgement_values import PAIRS, PAIRS_SCHEMA, VALUES, pairs_of, values_of
from crowd_assets.round.preference_rates import preference_rate_of
from crowd_assets.round.promotion import blocked_by_command
from crowd_assets.round.randomness import seed_for
from crowd_assets.round.selection import (
    Measure,
    Measured,
    contest_of,
    is_better,
    preference_pairs,
    selection_row,
    why_not,
)
from crowd_assets.round.target import find_target
from crowd_assets.round.tournament import EMBEDDED_CANDIDATES
from crowd_assets.round.training import adapter_config, evaluation_prompts, last_turn, sampling_of
from resources.common.progress import throttled
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.models.store import ModelStoreResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.training.prompting import Prompt
from resources.warehouse.base import WarehouseResource


@asset(
    group_name="4_selection",
    kinds={"pytorch", "duckdb"},
    owners=OWNERS,
    deps=[candidate_models, target],
    partitions_def=rounds_partition,
    check_specs=[
        AssetCheckSpec(
            "writes_language",
            asset="selected_model",
            description="No candidate that came nearer to the target than the base was refused for how it writes.",
        )
    ],
)
def selected_model(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    trainer: TrainerResource,
    embedder: EmbedderResource,
    model_store: ModelStoreResource,
) -> MaterializeResult:
    """The candidate whose generations lie closest to the target, if it improves on the base; else the base. Chosen on
    one sample of generations and reported on a fresh one, as the least of several noisy means is biased low."""
    round_ = passed_round(warehouse, context.partition_key)
    trainer = trainer.on(round_.claimed_at.date())
    base = RoundBook(warehouse).base_model(round_.round_no)
    candidates = warehouse.read_round("candidates", round_.round_no)
    measure = _measure(context, round_, settings, frames, trainer, embedder)

    contest = contest_of([base, *candidates["model"]], measure, settings)
    before, *measured = contest.measured
    base_distance, of_candidates = before.distance, [each.distance for each in measured]
    ranks = rank_of(np.array([distance.mean for distance in of_candidates]))
    guard: Guard | None = None
    verdicts: list[Verdict] = []
    for best in np.argsort(ranks).tolist():
        confidence = measured[best].confidence_ahead(before)
        improved = confidence >= settings.selection_confidence
        if not improved:
            break
        group = candidates["group_index"][best]
        if settings.guard and not verdicts:
            guard = guard_of(round_, settings, frames, trainer)
            verdicts += [guard.base(before.texts)] if guard else []
        if guard is not None:
            members = warehouse.read_round("candidate_members", round_.round_no).filter(pl.col("group_index") == group)
            learnt = learnt_from(round_, settings, warehouse, frames).join(members, on="contributor_id", how="semi")
            verdicts.append(
                guard.candidate(group, candidates["model"][best], measured[best].texts, learnt["response"].to_list())
            )
        if not (verdicts and verdicts[-1]["refused"]):
            model = candidates["model"][best]
            blocked = blocked_by_command(
                settings, model_store.path, base=base, candidate=model, root=str(trainer.base_model)
            )
            if not blocked:
                break
            verdicts = with_block(verdicts, group, blocked)
        improved = False  # the next best may be ahead of the base as well
    warehouse.replace_round("guard_verdicts", round_.round_no, verdict_rows(verdicts))
    winner = candidates["model"][best] if improved else base
    winner_name = f"group {candidates['group_index'][best]}" if improved else "base"

    reported = measure([base, winner] if improved else [base], "report", settings.samples["report"])
    report_base, report_winner = reported[0], reported[-1]
    fresh_base, fresh_winner = report_base.distance, report_winner.distance
    rows = [selection_row("base", -1, base, base_distance, None, not improved, fresh_base)]
    for index, (group, model) in enumerate(candidates.select("group_index", "model").iter_rows()):
        chosen = improved and index == best
        fresh = fresh_winner if chosen else None
        rows.append(selection_row("candidate", group, model, of_candidates[index], int(ranks[index]), chosen, fresh))
    frame = pl.DataFrame(
        rows,
        schema_overrides={"group_index": pl.Int32, "rank": pl.Int32, "model": pl.String, "fresh_distance": pl.Float64},
    )
    warehouse.replace_round("selections", round_.round_no, frame)
    prompts = _prompts(round_, "report", settings.samples["report"], frames, settings)
    frames.write(
        "generations",
        round_.round_id,
        pl.DataFrame(
            {
                "prompt": [last_turn(prompt) for prompt in prompts],
                "messages": [None if isinstance(prompt, str) else json.dumps(prompt) for prompt in prompts],
                "base": report_base.texts,
                "winner": report_winner.texts,
            },
            schema_overrides={"messages": pl.String},
        ),
        settled=round_.settled,
    )
    frames.write(
        EMBEDDED_CANDIDATES,
        round_.round_id,
        pl.DataFrame(
            {
                "group_index": [-1, *candidates["group_index"]],
                "vector": [each.vectors.mean(axis=0).tolist() for each in contest.measured],
            }
        ),
        settled=round_.settled,
    )
    refused = [verdict for verdict in verdicts if verdict["refused"]]
    for model, distance, rank in zip(candidates["model"], of_candidates, ranks, strict=True):
        card = model_store.card(model) | {"target_distance": distance.mean, "rank": int(rank)}
        card |= {"groups": candidates.height, "selected": model == winner}
        model_store.write_card(model, card)
    return MaterializeResult(
        metadata=display.rounded(
            {
                display.ROW_COUNT: frame.height,
                "selected": f"{winner_name} ({winner or 'root'})",
                "improved": improved,
                "refused_by_the_guard": len(refused),
                "confidence_over_base": confidence,
                "confidence_over_runner_up": contest.confidence,
                "selection_generations": sum(len(each.texts) for each in contest.measured),
                "fresh_distance_base": fresh_base.mean,
                "fresh_distance_selected": fresh_winner.mean,
                "fresh_standard_error": fresh_winner.standard_error,
                "reduction": 1 - fresh_winner.mean / fresh_base.mean,
                "selection_distances": display.plot(
                    display.intervals(
                        ["base", *(f"group {group}" for group in candidates["group_index"])],
                        [base_distance.mean, *(distance.mean for distance in of_candidates)],
                        [base_distance.standard_error, *(distance.standard_error for distance in of_candidates)],
                        axis="target distance, selection sample (standard errors)",
                        highlighted=lambda name: name == winner_name,
                    )
                ),
                "groups_and_ranks": display.table(_ranked(frame, candidates)),
                "samples": display.table(
                    pl.DataFrame({"base": report_base.texts[:6], "selected": report_winner.texts[:6]})
                ),
            }
        ),
        check_results=[
            AssetCheckResult(
                check_name="writes_language",
                passed=not refused,
                severity=AssetCheckSeverity.WARN,
                metadata={f"group {verdict['group_index']}": verdict["refused"] for verdict in refused},
            )
        ],
    )


@asset(
    group_name="4_selection",
    kinds={"huggingface", "pytorch"},
    owners=OWNERS,
    deps=[selected_model, aggregated_preferences],
    partitions_def=rounds_partition,
    check_specs=[
        AssetCheckSpec(
            "distance_fell",
            asset="aligned_model",
            description="The next base writes closer to the target than this one, on a fresh sample.",
        )
    ],
)
def aligned_model(
    context: AssetExecutionContext,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    trainer: TrainerResource,
    embedder: EmbedderResource,
    model_store: ModelStoreResource,
) -> MaterializeResult:
    """The selected model after QA-DPO on the crowd's preferences (VickreyFeedback, arXiv 2409.18417). It becomes the
    next base only if it ranks held-out pairs better than before and its target distance is no worse."""
    round_ = passed_round(warehouse, context.partition_key)
    trainer = trainer.on(round_.claimed_at.date())
    selection = warehouse.read_round("selections", round_.round_no)
    parent = selection.filter("selected")["model"].item()
    training, held_out = preference_pairs(frames.read("aggregated_preferences", round_.round_id), round_, settings)
    training_figures: display.Metadata = {}
    of_pairs = pl.DataFrame(schema=PAIRS_SCHEMA)
    row: display.Metadata = {"pairs": len(training), "held_out": len(held_out), "model": None, "kept": False}
    if len(training) < settings.alignment_min_pairs or not held_out:
        row["reason"] = (
            f"{len(training)} decided pairs to train on and {len(held_out)} to measure on; "
            f"CROWD_ALIGNMENT_MIN_PAIRS asks for {settings.alignment_min_pairs} and 1"
        )
        next_model = parent
    else:
        rate = preference_rate_of(round_, training, parent, settings, warehouse, frames, trainer, context.log.info)
        aligned = trainer.align(
            parent,
            training,
            config=adapter_config(settings, rate, settings.alignment_epochs),
            beta=settings.alignment_beta,
            seed=seed_for(round_, "alignment"),
            card={"role": "aligned", "round_id": round_.round_id, "pairs": len(training)},
            progress=throttled("alignment", context.log.info),
        )
        training_figures = {
            "learning_rate": rate,
            "training_tokens_per_second": aligned.figures["tokens"] / aligned.figures["seconds"],
            **{name: aligned.figures[name] for name in ("first_loss", "last_loss", "peak_memory_mib")},
        }
        if settings.judgement_values:
            of_pairs, losses = pairs_of(round_, settings, frames, trainer, parent, aligned.model)
            training_figures |= losses
        measure = _measure(context, round_, settings, frames, trainer, embedder)
        measured = measure([parent, aligned.model], "alignment", settings.samples["selection"])
        before, after = (each.distance for each in measured)
        accuracy_before = trainer.preference_accuracy(parent, held_out, settings.max_tokens)
        accuracy_after = trainer.preference_accuracy(aligned.model, held_out, settings.max_tokens)
        kept = is_better(accuracy_before, accuracy_after, before.mean, after.mean)
        reason = None if kept else why_not(accuracy_before, accuracy_after, before.mean, after.mean)
        if kept:
            reason = (
                (kept_texts(round_, settings, frames, trainer).forgotten(aligned.model) if settings.guard else "")
                or blocked_by_command(
                    settings, model_store.path, base=parent, candidate=aligned.model, root=str(trainer.base_model)
                )
                or None
            )
            kept = reason is None
        row |= {
            "model": aligned.model,
            "kept": kept,
            "accuracy_before": accuracy_before,
            "accuracy_after": accuracy_after,
            "distance_before": before.mean,
            "distance_after": after.mean,
            "reason": reason,
        }
        model_store.write_card(
            aligned.model,
            model_store.card(aligned.model) | {"target_distance": after.mean, "accuracy": accuracy_after, "kept": kept},
        )
        next_model = aligned.model if kept else parent
        if kept:
            (fresh,) = measure([aligned.model], "report", settings.samples["report"])
            row |= {
                "fresh_distance": fresh.distance.mean,
                "fresh_standard_error": fresh.distance.standard_error,
            }
            frames.write(
                "aligned_generations", round_.round_id, pl.DataFrame({"aligned": fresh.texts}), settled=round_.settled
            )
    frame = pl.DataFrame([row], schema_overrides={"model": pl.String, "reason": pl.String})
    warehouse.replace_round("alignments", round_.round_no, frame)
    warehouse.replace_round(PAIRS, round_.round_no, of_pairs)
    of_labelers = values_of(round_, settings, warehouse, frames)
    warehouse.replace_round(VALUES, round_.round_no, of_labelers)
    base_distance = selection.filter(pl.col("role") == "base")["fresh_distance"].item()
    next_distance = row.get("fresh_distance", selection.filter("selected")["fresh_distance"].item())
    figures = {"distance": next_distance, "reduction": 1 - next_distance / base_distance}
    fell = AssetCheckResult(
        check_name="distance_fell",
        passed=next_distance < base_distance,
        severity=AssetCheckSeverity.WARN,
        metadata={"distance_of_base": base_distance, "distance_of_next_base": next_distance},
    )
    shown = {name: value for name, value in (row | training_figures | figures).items() if value is not None}
    return MaterializeResult(
        metadata=display.rounded(shown)
        | _values_shown(of_labelers)
        | {display.ROW_COUNT: frame.height, "next_model": next_model or "root"},
        check_results=[fell],
    )


def _values_shown(of_labelers: pl.DataFrame) -> display.Metadata:
    """What judgements added to the aligned model, as metadata."""
    if of_labelers.is_empty():
        return {}
    most = of_labelers.sort("value", "labeler_id", descending=[True, False])
    shown = most if most.height <= display.MOST_BARS else pl.concat([most.head(20), most.tail(20)])
    worth = dict(shown.select("labeler_id", "value").iter_rows())
    return {
        "value_of_judgements": round(float(of_labelers["value"].sum()), 6),
        "labelers_valued": of_labelers.height,
        "judgement_values": display.plot(
            display.bars(
                list(worth),
                list(worth.values()),
                axis="what judgements added to the aligned model, nats of held-out pairs",
                highlighted=lambda name: worth[name] > 0,
            )
        ),
    }


def _ranked(selection: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
    """The candidates as ranked: who they were trained by, how far from the target they write, and which won."""
    members = candidates.select("group_index", "contributors", "demonstrations")
    return (
        selection.filter(pl.col("role") == "candidate")
        .join(members, on="group_index")
        .sort("rank")
        .select(
            pl.col("rank") + 1,
            "group_index",
            "contributors",
            "demonstrations",
            "distance",
            "standard_error",
            "fresh_distance",
            result=pl.when("selected").then(pl.lit("winner")).otherwise(pl.lit("")),
        )
    )


def _prompts(
    round_: Round, purpose: str, samples: int, frames: FramesResource, settings: CrowdSettings
) -> list[Prompt]:
    valid = frames.read("validated_feedback", round_.round_id)
    demonstrations = valid.filter(pl.col("kind") == "demonstration")
    return evaluation_prompts(round_, purpose, samples, demonstrations, by=settings.exam)


def _measure(
    context: AssetExecutionContext,
    round_: Round,
    settings: CrowdSettings,
    frames: FramesResource,
    trainer: TrainerResource,
    embedder: EmbedderResource,
) -> Measure:
    """A function (models, purpose, samples) to what came of measuring each model: the same prompts and random numbers for
    every model, others for every purpose."""
    aim = find_target(settings, embedder, frames)

    def measure(models: Sequence[str | None], purpose: str, samples: int) -> list[Measured]:
        written = trainer.generate(
            models,
            _prompts(round_, purpose, samples, frames, settings),
            **sampling_of(settings),
            seed=seed_for(round_, purpose),
            progress=throttled(f"generations of {len(models)} models for {purpose}", context.log.info),
        )
        return [Measured(texts, embedder.embed(texts), aim.vector) for texts in written]

    return measure
