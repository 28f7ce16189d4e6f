"""Who may judge: what checks, outcomes and repeats say of each labeler, and what was decided by hand.

Belongs here: rows of ``labeler_standings`` from frames and tables. Does not belong here: the test on checks (see
``mechanisms.assignment``), who is asked what (see ``round.assignment``), the weight of reports (see ``round.labelers``).
"""

import numpy as np
import polars as pl

from crowd_assets.mechanisms.assignment import CHECK, FEWEST_CHECKS, REPEAT, checked_people, pauses_lifted
from crowd_assets.round.asked import asked_of
from crowd_assets.round.labelers import Learnt
from resources.feedback.events import completed
from resources.files.frames import FramesResource
from resources.rounds.book import Round, RoundBook
from resources.rounds.decisions import APPEALED, PAUSED, UNPAUSED, Decision, DecisionBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource

STANDINGS = "labeler_standings"  # the table
ACTIVE, ON_APPEAL = "active", "on appeal"
STANDINGS_SCHEMA = {
    "labeler_id": pl.String(),
    "outcomes": pl.Int64(),
    "correct": pl.Float64(),
    "checks": pl.Int64(),
    "checks_correct": pl.Float64(),
    "repeats": pl.Int64(),
    "repeats_same": pl.Int64(),
    "log_ratio": pl.Float64(),
    "counted_checks": pl.Int64(),
    "counted_correct": pl.Float64(),
    "state": pl.String(),
    "since_round": pl.Int32(),
    "reason": pl.String(),
}
COUNTS = ("outcomes", "correct", "checks", "checks_correct", "repeats", "repeats_same")
MOST_ON_APPEAL = 3 * FEWEST_CHECKS
"""Checks after which an appeal that did not lift the pause is over."""


def standings_after(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    learnt: Learnt | None,
) -> pl.DataFrame:
    """Rows of ``labeler_standings`` after a round: by labeler the ``outcomes`` that it reported on in time and how many were ``correct``
    (1/2 for a tie), the ``checks`` and ``repeats`` among what it was assigned and how those went, the ``log_ratio`` of carelessness
    against care by the checks since the last decision (``counted_checks``), and its ``state``: active, paused or on appeal.

    Args:
        learnt: what the round taught about labelers.
    """
    if settings.assignments == "off":
        return pl.DataFrame(schema=STANDINGS_SCHEMA)
    before = warehouse.read_last_before(STANDINGS, round_.round_no).select(*STANDINGS_SCHEMA)
    answered = _answered(round_, warehouse, frames)
    decisions = DecisionBook(warehouse).of_round(round_.round_no)
    decided = pl.DataFrame({"labeler_id": [each.labeler_id for each in decisions]}, schema={"labeler_id": pl.String})
    outcomes, labelers = _realised(learnt)
    people = pl.concat([before["labeler_id"], labelers, answered["labeler_id"], decided["labeler_id"]]).unique()
    figures = _counted(before, outcomes, answered, people.sort())
    states = _states(round_, figures, decisions)
    checks = answered.filter(pl.col("purpose") == CHECK).sort("seq")
    return _judged(round_, settings, states, checks).select(*STANDINGS_SCHEMA).cast(pl.Schema(STANDINGS_SCHEMA))


def paused_before(warehouse: WarehouseResource, round_no: int) -> list[str]:
    """Labelers whom the last settled round before ``round_no`` left paused."""
    rows = warehouse.read_last_before(STANDINGS, round_no)
    return rows.filter(pl.col("state") == PAUSED)["labeler_id"].to_list()


def how_right(report: pl.Expr, outcome: pl.Expr) -> pl.Expr:
    """1 for a report on the side of the outcome, 0 for one on the other side, 1/2 where either takes none."""
    sides = (report - 0.5).sign() * (outcome - 0.5).sign()
    return (sides + 1) / 2


def _realised(learnt: Learnt | None) -> tuple[pl.DataFrame, pl.Series]:
    """By report on something realised in a round ``labeler_id`` and how ``right`` it was; and all labelers."""
    if learnt is None:
        return pl.DataFrame(schema={"labeler_id": pl.String, "right": pl.Float64}), pl.Series([], dtype=pl.String)
    labelers = pl.Series(learnt.labelers, dtype=pl.String)
    reports = pl.DataFrame(
        {
            "labeler_id": labelers.gather(learnt.labeler),
            "report": learnt.report,
            "outcome": learnt.outcomes["preferred_a"].gather(learnt.slot),
        }
    )
    return reports.select("labeler_id", right=how_right(pl.col("report"), pl.col("outcome"))), labelers


def _answered(round_: Round, warehouse: WarehouseResource, frames: FramesResource) -> pl.DataFrame:
    """Checks and repeats that a round answered: ``labeler_id``, ``purpose``, ``right`` and ``seq``, in order of ``seq``. A repeat is
    right where it takes the side of the labeler's first report."""
    reports = completed(frames.read("validated_feedback", round_.round_id)).filter(pl.col("kind") == "preference")
    known = asked_of(reports["comparison_id"].unique().to_list(), round_.round_no, warehouse)
    hidden = reports.join(known.filter(pl.col("purpose").is_in([CHECK, REPEAT])), on="comparison_id").select(
        "seq", "purpose", "asked", "outcome", "probability_a", labeler_id="contributor_id"
    )
    first = _first_reports(round_, warehouse, frames, hidden.filter(pl.col("purpose") == REPEAT))
    report, compared = pl.col("probability_a"), pl.coalesce("outcome", "before")
    return (
        hidden.join(first, on=["labeler_id", "asked"], how="left", maintain_order="left")
        .filter(compared.is_not_null())
        .select("labeler_id", "purpose", "seq", right=how_right(report, compared))
        .sort("seq")
    )


def _first_reports(
    round_: Round, warehouse: WarehouseResource, frames: FramesResource, repeats: pl.DataFrame
) -> pl.DataFrame:
    """What each labeler reported first on the comparisons that it was asked again: ``labeler_id``, ``asked``, ``before``."""
    if repeats.is_empty():
        return pl.DataFrame(schema={"labeler_id": pl.String, "asked": pl.String, "before": pl.Float64})
    return (
        frames.scan("validated_feedback", RoundBook(warehouse).rounds_through(round_.round_no))
        .filter(pl.col("kind") == "preference", pl.col("comparison_id").is_in(repeats["asked"].unique().implode()))
        .select("seq", before="probability_a", asked="comparison_id", labeler_id="contributor_id")
        .collect()
        .sort("seq")
        .unique(("labeler_id", "asked"), keep="first")
        .drop("seq")
    )


def _counted(before: pl.DataFrame, outcomes: pl.DataFrame, answered: pl.DataFrame, people: pl.Series) -> pl.DataFrame:
    """The counts of ``before`` with those of the round on top, for all ``people``."""
    check, repeat = (pl.col("purpose") == purpose for purpose in (CHECK, REPEAT))
    new = [
        outcomes.group_by("labeler_id").agg(outcomes=pl.len(), correct=pl.col("right").sum()),
        answered.group_by("labeler_id").agg(
            checks=check.sum(),
            checks_correct=pl.col("right").filter(check).sum(),
            repeats=repeat.sum(),
            repeats_same=(pl.col("right").filter(repeat) == 1).sum(),
        ),
    ]
    parts = [before.select("labeler_id", *COUNTS), *new]
    summed = pl.concat(parts, how="diagonal_relaxed").group_by("labeler_id").agg(pl.col(COUNTS).sum())
    rest = before.drop(COUNTS)
    return (
        people.to_frame("labeler_id")
        .join(summed, on="labeler_id", how="left", maintain_order="left")
        .join(rest, on="labeler_id", how="left", maintain_order="left")
        .with_columns(
            pl.col(COUNTS).fill_null(0),
            pl.col("log_ratio", "counted_correct").fill_null(0.0),
            pl.col("counted_checks").fill_null(0),
            pl.col("state").fill_null(ACTIVE),
        )
    )


def _states(round_: Round, figures: pl.DataFrame, decisions: list[Decision]) -> pl.DataFrame:
    """The standing of each labeler with what was decided by hand since the round before: each decision begins a new count of checks."""
    rows = {row["labeler_id"]: row for row in figures.iter_rows(named=True)}
    for each in decisions:
        row = rows[each.labeler_id]
        state = {PAUSED: PAUSED, UNPAUSED: ACTIVE, APPEALED: ON_APPEAL}[each.decision]
        if each.decision == APPEALED and row["state"] == ACTIVE:
            continue
        row |= {"state": state, "since_round": round_.round_no, "reason": f"{each.reason} ({each.decided_by})"}
        row |= {"log_ratio": 0.0, "counted_checks": 0, "counted_correct": 0.0}
    schema = {name: STANDINGS_SCHEMA[name] for name in figures.columns}
    return pl.DataFrame(list(rows.values()), schema=schema)


def _judged(round_: Round, settings: CrowdSettings, states: pl.DataFrame, checks: pl.DataFrame) -> pl.DataFrame:
    """The standings with a round's ``checks`` on top: who is paused by them, and whose pause is lifted."""
    names = states["labeler_id"]
    person = names.search_sorted(checks["labeler_id"]).cast(pl.Int64).to_numpy()
    right = checks["right"].to_numpy()
    sums, numbers = states["log_ratio"].to_numpy(), states["counted_checks"].to_numpy()
    found = checked_people(
        person, right, people=len(names), qualification=settings.qualification, before=(sums, numbers)
    )
    correct = states["counted_correct"].to_numpy() + np.bincount(person, right, minlength=len(names))
    state = states["state"].to_numpy()
    active, appealed = state == ACTIVE, state == ON_APPEAL
    caught = found.paused & active
    lifted = pauses_lifted(appealed, appealed, np.floor(correct).astype(np.int64), found.checks)
    over = appealed & ~lifted & (found.checks >= MOST_ON_APPEAL)
    words = pl.Series(
        [f"{done:g} of {number} checks right" for done, number in zip(correct, found.checks, strict=True)]
    )
    fresh = caught | lifted | over
    return states.with_columns(
        log_ratio=pl.Series(np.where(lifted, 0.0, found.log_ratio)),
        counted_checks=pl.Series(found.checks),
        counted_correct=pl.Series(correct),
        state=pl.Series(np.where(caught | over, PAUSED, np.where(lifted, ACTIVE, state)).tolist(), dtype=pl.String),
        since_round=pl.when(pl.Series(fresh)).then(round_.round_no).otherwise("since_round"),
        reason=pl.when(pl.Series(fresh)).then(words).otherwise("reason"),
    )
