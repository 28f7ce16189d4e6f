"""Weights of labelers after a round, and the crowd's preferences by them.

Belongs here: frames from frames, by the aggregate that is set. Does not belong here: the aggregates (see ``mechanisms.labelers``).
"""

from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.assignment import ASK, CHECK
from crowd_assets.mechanisms.labelers import regret
from crowd_assets.mechanisms.labelers.alike import Alikeness, alikeness
from crowd_assets.mechanisms.labelers.base import (
    AGREEMENT,
    Aggregate,
    CountsParts,
    Known,
    Pooled,
    nobody_known,
    with_newcomers,
)
from crowd_assets.mechanisms.labelers.score_update import counted_reports
from crowd_assets.mechanisms.labelers.table import AGGREGATES, WITHOUT_OUTCOMES
from crowd_assets.round.asked import asked_of
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.rings import with_rings
from crowd_assets.round.tournament import deposits_before
from resources.feedback.events import completed
from resources.files.frames import FramesResource
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import SETTLED_ROUNDS

AGGREGATED_SCHEMA = {
    "comparison_id": pl.String(),
    "prompt": pl.String(),
    "response_a": pl.String(),
    "response_b": pl.String(),
    "probability_a": pl.Float64(),
    "mean_report": pl.Float64(),
    "reports": pl.Int64(),
    "outcome": pl.Float64(),
    "messages": pl.String(),
    "both_bad": pl.Float64(),
}


REGRETS = "labeler_regrets"  # the frame


REGRETS_SCHEMA = {"labeler_id": pl.String(), "excess_loss": pl.Float64(), "slots": pl.Int64()}


JUDGED = (
    "round_id",
    "seq",
    "kind",
    "contributor_id",
    "comparison_id",
    "probability_a",
    "preferred_a",
    "submitted_at",
    "judgement_share",
)
"""What is looked at of all rounds."""


WEIGHTS_SCHEMA = {
    "labeler_id": pl.String(),
    "weight": pl.Float64(),
    "slots_seen": pl.Int64(),
    "cumulative_loss": pl.Float64(),
    "slots": pl.Int64(),
    "reports": pl.Int64(),
}


STATES = "labeler_states"  # the table


STATES_SCHEMA = {"labeler_id": pl.String(), "figure": pl.String(), "value": pl.Float64()}


EVERYBODY = ""
"""Labeler of the figures that a rule has of nobody in particular; no contributor's name is empty."""


@dataclass(frozen=True)
class Learnt:
    """What a round taught about labelers: the aggregate's results on its outcomes, the outcomes (a slot each), the reports on them as
    positions ``slot`` and ``labeler``, values ``report`` and their ``share`` of a judgement (n,), all labelers, those that the round brought, the member that pooled,
    what it knew ``before``, what is ``known`` now, and what labelers have in common where that counts (``alike``)."""

    results: Pooled
    outcomes: pl.DataFrame
    slot: NDArray[np.int64]
    labeler: NDArray[np.int64]
    report: NDArray[np.float64]
    share: NDArray[np.float64]
    labelers: list[str]
    newcomers: list[str]
    aggregate: Aggregate
    before: Known
    known: Known
    alike: Alikeness | None


def weights_after(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> tuple[pl.DataFrame, Learnt | None]:
    """Rows of ``labeler_weights`` as a round leaves them, and how they came about; None while there is no labeler."""
    preferences, outcomes = _slots(round_, settings, warehouse, frames)
    learnt = _learn(round_, settings, warehouse, frames, preferences, outcomes)
    if learnt is None:
        return pl.DataFrame(schema=WEIGHTS_SCHEMA), None
    arrived = preferences.filter(pl.col("round_id") == round_.round_id)
    labelers, state = learnt.labelers, learnt.known
    frame = (
        pl.DataFrame(
            {
                "labeler_id": labelers,
                "weight": state.weights,
                "slots_seen": state.slots_seen,
                "cumulative_loss": state.cumulative_loss,
                "slots": np.full(len(labelers), state.slots),
            }
        )
        .join(
            arrived.group_by("contributor_id").len("reports"),
            left_on="labeler_id",
            right_on="contributor_id",
            how="left",
            maintain_order="left",
        )
        .with_columns(pl.col("reports").fill_null(0))
        .cast(pl.Schema(WEIGHTS_SCHEMA))
    )
    return frame, learnt


def states_after(learnt: Learnt | None) -> pl.DataFrame:
    """Rows of ``labeler_states``: what the aggregate has to remember besides weights and losses."""
    if learnt is None:
        return pl.DataFrame(schema=STATES_SCHEMA)
    parts = [pl.DataFrame(schema=STATES_SCHEMA)]
    for name, figure in learnt.known.figures.items():
        who = learnt.labelers if isinstance(figure, np.ndarray) else [EVERYBODY]
        values = figure if isinstance(figure, np.ndarray) else [figure]
        parts.append(pl.DataFrame({"labeler_id": who, "figure": [name] * len(who), "value": values}))
    return pl.concat([part.cast(pl.Schema(STATES_SCHEMA)) for part in parts]).filter(
        (pl.col("value") != 0) | (pl.col("labeler_id") == EVERYBODY)
    )


def regrets_after(
    round_: Round, warehouse: WarehouseResource, frames: FramesResource, learnt: Learnt | None
) -> pl.DataFrame:
    """By labeler, what the aggregate lost more than it over the outcomes that it reported on so far, and how many those are.
    A home of an earlier version counts from the first round that kept them."""
    before = RoundBook(warehouse).rounds_through(round_.round_no)[:-1][-1:]
    known = [frames.read(REGRETS, name) for name in before if frames.path(REGRETS, name).exists()]
    if learnt:
        excess, slots = regret.excess_losses(
            learnt.results.aggregates,
            learnt.outcomes["preferred_a"].to_numpy(),
            learnt.slot,
            learnt.labeler,
            learnt.report,
            len(learnt.labelers),
        )
        known.append(pl.DataFrame({"labeler_id": learnt.labelers, "excess_loss": excess, "slots": slots}))
    both = pl.concat([pl.DataFrame(schema=REGRETS_SCHEMA), *known])
    return both.group_by("labeler_id").agg(pl.col("excess_loss").sum(), pl.col("slots").sum()).sort("labeler_id")


def regret_so_far(warehouse: WarehouseResource, frames: FramesResource, through: int) -> pl.DataFrame:
    """By settled round, and the round ``through``: ``round_no``, the ``regret`` against the best labeler until then and the
    ``bound`` on it, in units of quadratic loss. Without rounds before the first outcome."""
    round_ids = [name for name in RoundBook(warehouse).rounds_through(through) if frames.path(REGRETS, name).exists()]
    if not round_ids:
        return pl.DataFrame(schema={"round_no": pl.Int32(), "regret": pl.Float64(), "bound": pl.Float64()})
    regrets = frames.scan(REGRETS, round_ids)
    slots = warehouse.query(
        "SELECT DISTINCT round_no, slots AS all_slots FROM labeler_weights WHERE round_no <= $n", {"n": through}
    )
    so_far = (
        regrets.group_by(round_no=pl.col("round_id").str.slice(1).cast(pl.Int32))
        .agg(regret=pl.col("excess_loss").filter(pl.col("slots") > 0).max(), labelers=pl.len())
        .collect()
        .drop_nulls("regret")
        .join(slots, on="round_no")
        .sort("round_no")
    )
    bounds = [regret.anytime_regret_bound(*each) for each in so_far.select("labelers", "all_slots").iter_rows()]
    return so_far.select("round_no", "regret").with_columns(bound=pl.Series(bounds, dtype=pl.Float64))


def aggregated(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> pl.DataFrame:
    """The frame ``aggregated_preferences`` of a round."""
    preferences, outcomes = _slots(round_, settings, warehouse, frames)
    judged = without_hidden(preferences).filter(pl.col("round_id") == round_.round_id)
    if judged.is_empty():
        return pl.DataFrame(schema=AGGREGATED_SCHEMA)
    learnt = _learn(round_, settings, warehouse, frames, preferences, outcomes)
    assert learnt is not None  # somebody judged
    scored = outcomes.select("comparison_id", outcome="preferred_a").with_columns(
        online=pl.Series(learnt.results.aggregates, dtype=pl.Float64)
    )
    comparisons = judged.group_by("comparison_id", maintain_order=True).agg(
        pl.col("prompt", "response_a", "response_b", "messages").first(),
        both_bad=pl.col("both_bad").drop_nulls().sum() / pl.when(pl.col("both_bad").any()).then(pl.len()),
    )
    counted = _that_are_heard(preferences, judged, settings)
    reports = counted.group_by("comparison_id").agg(
        mean_report=pl.col("probability_a").mean(), reports=pl.len().cast(pl.Int64)
    )
    comparisons = comparisons.join(reports, on="comparison_id", how="left", maintain_order="left")
    heard = _heard(round_, settings, learnt, counted, comparisons["comparison_id"].to_list())
    pooled = heard.pooled(heard.slot, heard.labeler, heard.report, comparisons.height)
    return (
        comparisons.with_columns(pooled=pl.Series(pooled, dtype=pl.Float64))
        .join(scored, on="comparison_id", how="left", maintain_order="left")
        .with_columns(probability_a=pl.col("online").fill_nan(None).fill_null(pl.col("pooled")))
        .select(*AGGREGATED_SCHEMA)
        .cast(pl.Schema(AGGREGATED_SCHEMA))
    )


@dataclass(frozen=True)
class Heard:
    """The reports that aggregates of some comparisons are made of, as positions ``slot`` (of the comparison) and ``labeler``, values
    ``report`` (n,), and all ``labelers``; and how these are pooled."""

    slot: NDArray[np.int64]
    labeler: NDArray[np.int64]
    report: NDArray[np.float64]
    labelers: list[str]
    _round: Round
    _entry: float
    _learnt: Learnt

    def pooled(
        self,
        slot: NDArray[np.int64],
        labeler: NDArray[np.int64],
        report: NDArray[np.float64],
        slots: int | None = None,
    ) -> NDArray[np.float64]:
        """The aggregate of each of ``slots`` sets of reports by the weights that the round left, shape (slots,), NaN for an empty one."""
        learnt = self._learnt
        before = learnt.before if learnt.aggregate.learns_from == AGREEMENT else learnt.known
        number = int(slot[-1]) + 1 if slots is None else slots
        nothing = np.full(number, np.nan)  # nothing of it was realised
        rng = generator_for(self._round, "pooled reports")
        return (
            _counting(learnt.aggregate, learnt.alike, slot, labeler)
            .run(before, slot, labeler, report, nothing, entry=self._entry, rng=rng)
            .aggregates
        )


def heard_on(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    comparisons: list[str],
) -> Heard | None:
    """The reports that the round's aggregates of ``comparisons`` are made of; None where there is no labeler."""
    preferences, outcomes = _slots(round_, settings, warehouse, frames)
    learnt = _learn(round_, settings, warehouse, frames, preferences, outcomes)
    if learnt is None:
        return None
    judged = without_hidden(preferences).filter(pl.col("round_id") == round_.round_id)
    return _heard(round_, settings, learnt, _that_are_heard(preferences, judged, settings), comparisons)


def _heard(
    round_: Round, settings: CrowdSettings, learnt: Learnt, counted: pl.DataFrame, comparisons: list[str]
) -> Heard:
    slot, labeler, report, _ = _rows(counted, comparisons, learnt.labelers)
    return Heard(slot, labeler, report, learnt.labelers, round_, settings.newcomer_weight, learnt)


def _that_are_heard(preferences: pl.DataFrame, judged: pl.DataFrame, settings: CrowdSettings) -> pl.DataFrame:
    """Where a comparison is asked until it is known, reports of earlier rounds on it count as much as the round's own, ``judged``."""
    return judged if settings.assignments == "off" else preferences


def _slots(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Preferences of this round and those before it on comparisons that this round judges or brings the outcome of, and those
    outcomes in their order. Texts are those of this round alone.

    A comparison's first outcome counts, and a report that came after it teaches nothing: it is left out. A check is a slot of its own
    whose outcome was known, under the name that it was assigned by; ``hidden`` marks checks and repeats.
    """
    here = completed(frames.read("validated_feedback", round_.round_id))
    reported = pl.col("kind").is_in(["preference", "outcome"])
    concerned = here.filter(reported)["comparison_id"].unique()
    valid = (
        frames.scan("validated_feedback", RoundBook(warehouse).rounds_through(round_.round_no), here.schema)
        .filter(reported, pl.col("comparison_id").is_in(concerned.implode()))
        .select(JUDGED)
        .collect()
    )
    realised = (
        valid.filter(pl.col("kind") == "outcome")
        .sort("seq")
        .unique("comparison_id", keep="first", maintain_order=True)
        .select("round_id", "comparison_id", "preferred_a", "submitted_at", "seq")
    )
    preferences = (
        valid.filter(pl.col("kind") == "preference")
        .join(realised.select("comparison_id", realised_at="submitted_at"), on="comparison_id", how="left")
        .with_columns(in_time=pl.col("realised_at").is_null() | (pl.col("submitted_at") <= pl.col("realised_at")))
        .sort("seq")
        .unique(("contributor_id", "comparison_id"), keep="first", maintain_order=True)
    )
    hidden = asked_of(concerned.to_list(), round_.round_no, warehouse).filter(pl.col("purpose") != ASK)
    of_round = pl.col("round_id") == round_.round_id
    preferences = preferences.with_columns(hidden=pl.col("comparison_id").is_in(hidden["comparison_id"].implode()))
    preferences = preferences.filter(~pl.col("hidden") | of_round)
    checked = (
        preferences.join(hidden.filter(pl.col("purpose") == CHECK), on="comparison_id")
        .group_by("round_id", "comparison_id")
        .agg(pl.col("outcome").first().alias("preferred_a"), pl.col("submitted_at", "seq").max())
    )
    outcomes = pl.concat([realised.filter(of_round), checked.select(realised.columns)]).sort("submitted_at", "seq")
    counted = that_count(preferences, round_, settings, warehouse)
    shown = here.select("seq", "prompt", "response_a", "response_b", "messages", "both_bad")
    return counted.join(shown, on="seq", how="left", maintain_order="left"), outcomes


def without_hidden(preferences: pl.DataFrame) -> pl.DataFrame:
    """Without checks and repeats: those say something of their labeler, and nothing new of a comparison."""
    return preferences.filter(~pl.col("hidden"))


def that_count(
    preferences: pl.DataFrame, round_: Round, settings: CrowdSettings, warehouse: WarehouseResource
) -> pl.DataFrame:
    """Without the reports of who sold one of the two answers, or is linked with who did; and where settings say so without
    those of names that have no whole deposit, and with one report of a ring on each comparison, the first to arrive."""
    if settings.labeler_stake:
        held, whole = deposits_before(warehouse, round_.round_no), Decimal(settings.deposit)
        staked = [name for name, amount in held.items() if amount >= whole]
        preferences = preferences.filter(pl.col("contributor_id").is_in(staked))
    sellers = warehouse.query(
        "SELECT comparison_id, contributor_id FROM (SELECT round_no, comparison_id, unnest(ARRAY[event_id_a, event_id_b]) AS event_id "
        "FROM comparison_tasks WHERE comparison_id = ANY($comparisons)) asked JOIN awards USING (round_no, event_id) "
        f"JOIN {SETTLED_ROUNDS} r USING (round_no) WHERE round_no < $n",
        {"comparisons": preferences["comparison_id"].unique().to_list(), "n": round_.round_no},
    )
    people = pl.concat([preferences.select("comparison_id", "contributor_id"), sellers])
    numbered = with_rings(people, warehouse, round_.round_no).select(
        pl.col("comparison_id", "ring").rank("dense").cast(pl.Int64)
    )
    reports, sales = numbered.head(preferences.height), numbered.slice(preferences.height)
    counts = counted_reports(
        reports["comparison_id"].to_numpy(),
        reports["ring"].to_numpy(),
        interested=(sales["comparison_id"].to_numpy(), sales["ring"].to_numpy()),
        once=settings.rings_count_once,
    )
    return preferences.filter(pl.Series(counts))


def _known_before(round_: Round, warehouse: WarehouseResource) -> tuple[list[str], Known | None]:
    """Labelers, and what is known of them, as the last settled round before this one left them; None before the first."""
    rows = warehouse.read_last_before("labeler_weights", round_.round_no).sort("labeler_id")
    if rows.is_empty():
        return [], None
    names = rows["labeler_id"]
    figures: dict[str, float | NDArray[np.float64]] = {}
    stored = warehouse.read_last_before(STATES, round_.round_no)
    if stored.height and stored["round_no"][0] == rows["round_no"][0]:
        for (figure,), of_figure in stored.group_by("figure", maintain_order=True):
            if EVERYBODY in of_figure["labeler_id"]:
                figures[str(figure)] = float(of_figure["value"][0])
                continue
            values = np.zeros(len(names))
            values[names.search_sorted(of_figure["labeler_id"]).to_numpy()] = of_figure["value"].to_numpy()
            figures[str(figure)] = values
    return names.to_list(), Known(
        weights=rows["weight"].to_numpy(),
        cumulative_loss=rows["cumulative_loss"].to_numpy(),
        slots_seen=rows["slots_seen"].to_numpy(),
        slots=int(rows["slots"][0]),
        figures=figures,
    )


def _learn(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    preferences: pl.DataFrame,
    outcomes: pl.DataFrame,
) -> Learnt | None:
    """Run the aggregate that is set over a round's outcomes, in their order; None while there is no labeler.

    One that learns from agreement learns from all that the round judged instead. It stands in for a member that says so while nothing
    was ever realised.
    """
    names, known = _known_before(round_, warehouse)
    judged = preferences.filter(pl.col("round_id") == round_.round_id)
    newcomers = sorted(set(judged["contributor_id"]) - set(names))
    labelers = [*names, *newcomers]
    if not labelers:
        return None
    entry = settings.newcomer_weight
    before = nobody_known(len(newcomers)) if known is None else with_newcomers(known, len(newcomers), entry=entry)
    aggregate = AGGREGATES[settings.aggregate]
    if aggregate.else_by_agreement and not before.slots and outcomes.is_empty():
        aggregate = AGGREGATES[WITHOUT_OUTCOMES]
    rng = generator_for(round_, "aggregate")
    slot, labeler, report, share = _rows(preferences.filter("in_time"), outcomes["comparison_id"].to_list(), labelers)
    alike = _alike(round_, settings, warehouse, frames, labelers) if isinstance(aggregate, CountsParts) else None
    results = _counting(aggregate, alike, slot, labeler).run(
        before, slot, labeler, report, outcomes["preferred_a"].to_numpy(), entry=entry, rng=rng
    )
    known = results.known
    if aggregate.learns_from == AGREEMENT:
        judged = without_hidden(judged)
        comparisons = judged["comparison_id"].unique(maintain_order=True).to_list()
        rows = _rows(judged, comparisons, labelers)[:3]
        agreed = aggregate.run(before, *rows, np.full(len(comparisons), np.nan), entry=entry, rng=rng).known
        known = replace(known, weights=agreed.weights, figures=agreed.figures)
    return Learnt(results, outcomes, slot, labeler, report, share, labelers, newcomers, aggregate, before, known, alike)


def _alike(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, labelers: list[str]
) -> Alikeness | None:
    """What labelers have in common, from all that they reported in the rounds that are remembered; None where it does not count."""
    if not settings.alike_count_once:
        return None
    here = frames.scan("validated_feedback", [round_.round_id]).drop("round_id").collect_schema()
    remembered = RoundBook(warehouse).rounds_through(round_.round_no)[-settings.memory_rounds :]  # 0: all
    reports = (
        frames.scan("validated_feedback", remembered, here)
        .filter(pl.col("kind") == "preference")
        .select("seq", "contributor_id", "comparison_id", "probability_a", judgement_share=pl.lit(1.0))
        .collect()
        .sort("seq")
        .unique(("contributor_id", "comparison_id"), keep="first", maintain_order=True)
    )
    rows = _rows(reports, reports["comparison_id"].unique(maintain_order=True).to_list(), labelers)
    return alikeness(*rows[:3], labelers=len(labelers), by_difficulty=settings.alike_by_difficulty)


def _counting(
    aggregate: Aggregate, alike: Alikeness | None, slot: NDArray[np.int64], labeler: NDArray[np.int64]
) -> Aggregate:
    """The aggregate in which these reports count for what is their labelers' own, where that is wanted."""
    if alike is None or not isinstance(aggregate, CountsParts):
        return aggregate
    return aggregate.with_parts(alike.parts(slot, labeler))


def judged_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, labelers: list[str]
) -> tuple[int, NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """What a round judges: how many comparisons, and the reports on them that count as positions ``slot``, ``labeler`` (in
    ``labelers``), values ``report`` and ``share`` of one judgement."""
    preferences, _ = _slots(round_, settings, warehouse, frames)
    judged = without_hidden(preferences).filter(pl.col("round_id") == round_.round_id)
    comparisons = judged["comparison_id"].unique(maintain_order=True).to_list()
    return len(comparisons), *_rows(judged, comparisons, labelers)


def _rows(
    preferences: pl.DataFrame, comparisons: list[str], labelers: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Reports on ``comparisons`` as (slot, labeler, report, share), sorted by slot: positions in the two lists."""
    slots = pl.DataFrame(
        {"comparison_id": comparisons, "slot": range(len(comparisons))}, schema_overrides={"comparison_id": pl.String}
    )
    people = pl.DataFrame(
        {"contributor_id": labelers, "labeler": range(len(labelers))}, schema_overrides={"contributor_id": pl.String}
    )
    rows = (
        preferences.join(slots, on="comparison_id", how="inner")
        .join(people, on="contributor_id", how="inner")
        .sort("slot", "labeler")
    )
    return (
        rows["slot"].cast(pl.Int64).to_numpy(),
        rows["labeler"].cast(pl.Int64).to_numpy(),
        rows["probability_a"].to_numpy(),
        rows["judgement_share"].fill_null(1.0).to_numpy(),
    )


def plain_loss(slot: NDArray[np.int64], report: NDArray[np.float64], outcomes: pl.DataFrame) -> float | None:
    """Mean quadratic loss of the plain mean of reports on the same slots, for comparison."""
    if not slot.size:
        return None
    means = pl.DataFrame({"slot": slot, "report": report}).group_by("slot").agg(pl.col("report").mean()).sort("slot")
    truth = outcomes["preferred_a"].to_numpy()[means["slot"].to_numpy()]
    return float(np.square(means["report"].to_numpy() - truth).mean())
