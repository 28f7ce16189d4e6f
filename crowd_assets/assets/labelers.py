"""Stage 2, labelers: whose reports have been right, and what the crowd prefers by that.

Belongs here: the assets of weights and aggregates. Does not belong here: what they compute (see ``crowd_assets.round.labelers``).
"""

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
from crowd_assets.assets.feedback import validated_feedback
from crowd_assets.jobs import rounds_partition
from crowd_assets.quality.verdict import passed_round
from crowd_assets.report import display
from crowd_assets.report.agreement import figures_of_round
from crowd_assets.round.judging import PAY, pay_of
from crowd_assets.round.labelers import (
    REGRETS,
    STATES,
    aggregated,
    plain_loss,
    regret_so_far,
    regrets_after,
    states_after,
    weights_after,
)
from crowd_assets.round.standing import STANDINGS, standings_after
from resources.files.frames import FramesResource
from resources.rounds.book import Round
from resources.rounds.decisions import PAUSED, DecisionBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import IS_SETTLED

ROUNDING = 1e-9  # of a single labeler, whose regret and its bound are 0


@asset(
    group_name="2_labelers",
    kinds={"numpy", "duckdb"},
    owners=OWNERS,
    deps=[validated_feedback],
    partitions_def=rounds_partition,
    check_specs=[
        AssetCheckSpec(
            "regret_within_bound",
            asset="labeler_weights",
            description="The aggregate lost no more than the best labeler and what the update may lose at most, 3√(T ln N) "
            "over T outcomes and N labelers, where the aggregate promises that.",
        )
    ],
)
def labeler_weights(
    context: AssetExecutionContext, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> MaterializeResult:
    """How much each labeler's report counts, by the aggregate that is set (CROWD_AGGREGATE): it learns from every comparison whose outcome
    this round brought, in order of the outcomes, or from agreement with peers where nothing was realised yet."""
    round_ = passed_round(warehouse, context.partition_key)
    frame, learnt = weights_after(round_, settings, warehouse, frames)
    warehouse.replace_round("labeler_weights", round_.round_no, frame)
    warehouse.replace_round(STATES, round_.round_no, states_after(learnt))
    DecisionBook(warehouse).taken_by(round_.round_no)
    standings = standings_after(round_, settings, warehouse, frames, learnt)
    warehouse.replace_round(STANDINGS, round_.round_no, standings)
    pay = pay_of(round_, settings, warehouse, frames, learnt)
    warehouse.replace_round(PAY, round_.round_no, pay)
    regrets = regrets_after(round_, warehouse, frames, learnt)
    frames.write(REGRETS, round_.round_id, regrets, settled=round_.settled)
    past = regret_so_far(warehouse, frames, round_.round_no)
    _, regret, bound = past.row(-1) if past.height else (round_.round_no, 0.0, 0.0)
    metadata: display.Metadata = {"labelers": frame.height, "regret": regret, "regret_bound": bound}
    if learnt:
        losses, newcomers = learnt.results.losses, learnt.newcomers
        shown = frame.sort("weight", "labeler_id", descending=[True, False]).head(40)
        metadata |= {
            "aggregate": learnt.aggregate.name,
            "weights_rest_on": learnt.aggregate.learns_from,
            "slots": learnt.known.slots,
            "new_slots": learnt.outcomes.height,
            "mean_weight": 1 / frame.height,
            "mean_loss": float(np.nanmean(losses)) if np.isfinite(losses).any() else None,
            "mean_loss_of_the_plain_mean": plain_loss(learnt.slot, learnt.report, learnt.outcomes),
            "weights": display.plot(
                display.bars(
                    list(shown["labeler_id"]),
                    list(shown["weight"]),
                    axis="weight",
                    highlighted=lambda name: name in newcomers,
                )
            ),
            "weights_over_rounds": display.plot(_weights_plot(round_, frame, warehouse)),
        }
    if standings.height:
        metadata |= {
            "paused": int((standings["state"] == PAUSED).sum()),
            "checks_answered": int(standings["checks"].sum()),
            "checks_right": float(standings["checks_correct"].sum()),
        }
    if pay.height:
        metadata |= {
            "judgements_paid_by": pay["basis"][0],
            "judgements_scored": int(pay["scored"].sum()),
            "credits_for_judgements": float(pay["paid"].sum() or 0),
        }
    bounded = learnt is None or learnt.aggregate.name == "weighted_score_update_pooled"
    if past.height:
        rounds, so_far, at_most = (past[name].to_list() for name in past.columns)
        series: dict[str, tuple[Sequence[float], Sequence[float]]] = {
            "regret against the best labeler": (rounds, so_far)
        }
        if bounded:
            series["at most"] = (rounds, at_most)
        metadata["regret_so_far"] = display.plot(
            display.lines(series, x="round", y="quadratic loss", dashed={"at most"})
        )
    within = AssetCheckResult(
        check_name="regret_within_bound",
        passed=regret <= bound + ROUNDING or not bounded,
        severity=AssetCheckSeverity.WARN,
        metadata={"regret": regret, "bound": bound if bounded else "this aggregate promises none"},
    )
    metadata[display.ROW_COUNT] = frame.height
    return MaterializeResult(metadata=display.rounded(metadata), check_results=[within])


@asset(
    group_name="2_labelers",
    kinds={"numpy", "polars"},
    owners=OWNERS,
    deps=[labeler_weights],
    partitions_def=rounds_partition,
)
def aggregated_preferences(
    context: AssetExecutionContext, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> MaterializeResult[None]:
    """What the crowd prefers: for every comparison judged in this round the weighted mean of its labelers' reports.
    A comparison is aggregated with weights that its own outcome had no part in. How far judges agree is shown on the quality page."""
    round_ = passed_round(warehouse, context.partition_key)
    frame = aggregated(round_, settings, warehouse, frames)
    frames.write("aggregated_preferences", round_.round_id, frame, settled=round_.settled)
    decided = frame.filter((pl.col("probability_a") - 0.5).abs() > 0)
    figures = figures_of_round(round_, warehouse, frames)
    warehouse.replace_round("agreement_figures", round_.round_no, figures)
    agreement: display.Metadata = dict(figures.iter_rows())
    return MaterializeResult(
        metadata={
            display.ROW_COUNT: figures.height,
            "comparisons": frame.height,
            "decided": decided.height,
            "reports": int(frame["reports"].sum()),
            "with_outcome": frame["outcome"].count(),
            **display.rounded(agreement),
            "sample": display.table(
                frame.select("comparison_id", "probability_a", "mean_report", "reports", "outcome").head(10)
            ),
        }
    )


def _weights_plot(round_: Round, frame: pl.DataFrame, warehouse: WarehouseResource) -> bytes:
    """The weight after each round, as a multiple of the mean weight, of every labeler in ``frame``; of many those with most and
    with least now."""
    names = frame.sort("weight", "labeler_id")["labeler_id"]
    half = display.MOST_BARS // 2
    shown = names if len(names) <= display.MOST_BARS else pl.concat([names.head(half), names.tail(half)])
    table = warehouse.query(
        "SELECT round_no, labeler_id, weight / mean AS weight FROM labeler_weights JOIN "
        "(SELECT round_no, avg(weight) AS mean FROM labeler_weights JOIN rounds USING (round_no) WHERE round_no = $n "
        f"OR (round_no < $n AND {IS_SETTLED}) GROUP BY round_no) means "
        "USING (round_no) WHERE labeler_id = ANY($shown) ORDER BY round_no, labeler_id",
        {"n": round_.round_no, "shown": shown.to_list()},
    ).pivot("labeler_id", index="round_no", values="weight")
    return display.trajectories(
        table["round_no"].to_list(),
        {name: table[name].to_list() for name in table.columns[1:]},
        x="round",
        y="weight, as a multiple of the mean",
        level=1.0,
    )
