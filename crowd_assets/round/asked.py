"""What was asked under the name of an assignment: names of assignments tell nobody which comparison they are.

Belongs here: from the names of assignments to comparisons, and what of that the gate looks at. Does not belong here: making
assignments (see ``round.assignment``), rejecting judgements (see ``quality``).
"""

import polars as pl

from crowd_assets.mechanisms.assignment import ASK
from resources.feedback.assigned import ASKED, ASSIGNED, FOR_THEM, NOT_PAUSED, PUBLISHED_NAME
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource


def asked_of(names: list[str], round_no: int, warehouse: WarehouseResource) -> pl.DataFrame:
    """Those of ``names`` that are assignments published before round ``round_no``: ``comparison_id`` (the name), the comparison ``asked``,
    ``purpose``, ``outcome`` of a check, and ``assignee``, null for a newcomer's seat."""
    return warehouse.query(
        "SELECT assignment_id AS comparison_id, comparison_id AS asked, purpose, outcome, labeler_id AS assignee, round_no "
        "FROM assignments WHERE round_no < $n AND assignment_id = ANY($names)",
        {"n": round_no, "names": names},
    )


def with_asked(
    events: pl.DataFrame, round_no: int, settings: CrowdSettings, warehouse: WarehouseResource, paused: list[str]
) -> pl.DataFrame:
    """Events with reports and outcomes under the comparison that was asked, and in columns of their own what the gate looks at: the
    comparison asked, whether it was assigned to whoever judged it, and whether its contributor may judge.

    A check and a repeat keep their names: they are no further report on their comparison.
    """
    named = pl.col("comparison_id").str.contains(PUBLISHED_NAME).fill_null(False)
    names = events.filter(named)["comparison_id"].unique()
    known = asked_of(names.to_list(), round_no, warehouse) if len(names) else None
    required = settings.assignments == "required" and _published(round_no, warehouse)
    if known is None or known.is_empty():
        return events.with_columns(
            pl.col("comparison_id").alias(ASKED),
            pl.lit(True).alias(FOR_THEM),
            pl.lit(not required).alias(ASSIGNED),
            (pl.lit(not required) | ~pl.col("contributor_id").is_in(paused)).alias(NOT_PAUSED),
        )
    is_one = pl.col("asked").is_not_null()
    newcomer = pl.col("first_known").is_null() | (pl.col("first_known") > pl.col("round_no"))
    own = pl.when(pl.col("assignee").is_null()).then(newcomer).otherwise(pl.col("assignee") == pl.col("contributor_id"))
    judged = pl.col("kind") == "preference"
    return (
        events.join(known.drop("outcome"), on="comparison_id", how="left", maintain_order="left")
        .join(_first_known(events, round_no, warehouse), on="contributor_id", how="left", maintain_order="left")
        .with_columns(
            pl.coalesce("asked", "comparison_id").alias(ASKED),
            (~is_one | own | ~judged).alias(FOR_THEM),
            (pl.lit(not required) | is_one).alias(ASSIGNED),
            (pl.lit(not required) | ~pl.col("contributor_id").is_in(paused)).alias(NOT_PAUSED),
            comparison_id=pl.when(pl.col("purpose") == ASK).then("asked").otherwise("comparison_id"),
        )
        .drop("asked", "purpose", "assignee", "round_no", "first_known")
    )


def _published(round_no: int, warehouse: WarehouseResource) -> bool:
    """Whether anything was assigned before a round: nothing is required of those who could not be asked."""
    return bool(warehouse.query("SELECT 1 FROM assignments WHERE round_no < $n LIMIT 1", {"n": round_no}).height)


def _first_known(events: pl.DataFrame, round_no: int, warehouse: WarehouseResource) -> pl.DataFrame:
    """Contributors of ``events`` who had judged before, and the round from which on they have assignments of their own."""
    return warehouse.query(
        "SELECT labeler_id AS contributor_id, min(round_no) AS first_known FROM labeler_standings "
        "WHERE round_no < $n AND labeler_id = ANY($names) GROUP BY labeler_id",
        {"n": round_no, "names": events["contributor_id"].unique().to_list()},
    )
