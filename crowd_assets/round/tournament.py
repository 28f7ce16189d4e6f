"""What the rounds so far say about each contributor: the tables of many rounds as the arrays that mechanisms take.

Belongs here: reading them. Does not belong here: what they say of each (see ``crowd_assets.mechanisms.points_schemes``), postings.
"""

from decimal import Decimal

import numpy as np
import polars as pl

from crowd_assets.mechanisms.points_schemes.base import Tournament
from resources.files.frames import FramesResource
from resources.rounds.book import RoundBook
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import PEOPLES_LEDGER, SETTLED_ROUNDS, round_no_of

EMBEDDED_CANDIDATES = "candidate_embeddings"
EMBEDDED_CONTRIBUTORS = "contributor_embeddings"


def tournament(
    warehouse: WarehouseResource, frames: FramesResource, round_no: int, *, including: bool, memory: int = 0
) -> Tournament | None:
    """The tournament of the settled rounds before ``round_no`` and, where ``including``, of that round as well; None where
    there is no round yet. With ``memory`` of the last so many rounds only, and all of the open epoch. Prior state is never
    "the latest": a round run again reads what it read before.

    Args:
        round_no: From 1.
        memory: Rounds to look back on, 0 for all.
    """
    with warehouse.session():
        round_ids = RoundBook(warehouse).rounds_through(round_no)[: None if including else -1]
        if memory:
            closed = warehouse.read_before("epochs", round_no).filter("closes")["round_no"].max()
            unpaid = sum(closed is None or round_no_of(round_id) > int(str(closed)) for round_id in round_ids)
            round_ids = round_ids[-max(memory, unpaid) :]
        if not round_ids:
            return None
        numbers = [round_no_of(round_id) for round_id in round_ids]
        groups, trained, selections = (
            warehouse.read_rounds(table, numbers) for table in ("contributor_groups", "candidate_members", "selections")
        )
    # Rounds from before there was that table are partitions, and what was sent was what was trained on.
    plain = groups.join(trained, on="round_no", how="anti").select(
        "round_no", "group_index", "contributor_id", "demonstrations"
    )
    members = pl.concat([plain, trained.select(plain.columns)]).with_columns(
        share=pl.col("demonstrations") / pl.col("demonstrations").sum().over("round_no", "group_index")
    )
    contributors = groups["contributor_id"].unique().sort()
    members = members.filter(pl.col("contributor_id").is_in(contributors.implode()))
    candidates = selections.filter(pl.col("role") == "candidate").sort("round_no", "group_index")
    embedded = frames.read_through(EMBEDDED_CANDIDATES, round_ids).sort("round_id", "group_index")
    wrote = frames.read_through(EMBEDDED_CONTRIBUTORS, round_ids)
    demonstrations = wrote["demonstrations"].to_numpy().astype(np.float64)
    vectors = np.array(wrote["vector"].to_list())
    written, counted = np.zeros((len(contributors), vectors.shape[1])), np.zeros(len(contributors))
    owner = contributors.search_sorted(wrote["contributor_id"]).to_numpy()
    np.add.at(written, owner, demonstrations[:, None] * vectors)
    np.add.at(counted, owner, demonstrations)
    shares = np.zeros((candidates.height, len(contributors)))
    places = {key: row for row, key in enumerate(candidates.select("round_no", "group_index").iter_rows())}
    rows = [places[key] for key in members.select("round_no", "group_index").iter_rows()]
    shares[rows, contributors.search_sorted(members["contributor_id"]).to_numpy()] = members["share"].to_numpy()
    member = contributors.search_sorted(groups["contributor_id"]).to_numpy()
    sent = np.zeros((len(numbers), len(contributors)))
    sent[np.searchsorted(numbers, groups["round_no"].to_numpy()), member] = groups["demonstrations"].to_numpy()
    bases = selections.filter(pl.col("role") == "base").sort("round_no")
    chosen = selections.filter("selected").sort("round_no")
    improved = (chosen["role"] == "candidate").to_numpy()
    return Tournament(
        contributors=tuple(contributors),
        round_ids=tuple(round_ids),
        shares=shares,
        values=-candidates["distance"].to_numpy(),
        standard_errors=candidates["standard_error"].to_numpy(),
        embeddings=np.array(embedded.filter(pl.col("group_index") >= 0)["vector"].to_list()),
        round_index=np.array([numbers.index(number) for number in candidates["round_no"]], dtype=np.int64),
        bases=np.array(embedded.filter(pl.col("group_index") < 0)["vector"].to_list()),
        gains=bases["fresh_distance"].to_numpy() - chosen["fresh_distance"].to_numpy(),
        gain_errors=np.where(
            improved, np.hypot(bases["fresh_standard_error"].to_numpy(), chosen["fresh_standard_error"].to_numpy()), 0.0
        ),
        improved=improved,
        written=written / counted[:, None],
        demonstrations=sent,
    )


def deposits_before(warehouse: WarehouseResource, round_no: int) -> dict[str, Decimal]:
    """What deposits hold from the settled rounds before ``round_no``, by contributor."""
    return dict(
        warehouse.query(
            f"SELECT contributor_id, sum(amount) AS held FROM {PEOPLES_LEDGER} posted JOIN {SETTLED_ROUNDS} r USING (round_no) "
            "WHERE held_back AND round_no < $n GROUP BY contributor_id HAVING sum(amount) <> 0",
            {"n": round_no},
        ).iter_rows()
    )


NOT_YET_SURE = pl.col("standard_error").replace(0.0, None)
"""For tables that people read: an error of 0 is one of which candidates say nothing yet, and no certainty."""


def points_so_far(warehouse: WarehouseResource, round_no: int) -> pl.DataFrame:
    """Points through ``round_no`` of everybody who took part, most first: those posted, deposits counted, and while the epoch
    is open the provisional ones; beside them the last estimate and its standard error. Columns contributor_id, points, estimate,
    standard_error."""
    return warehouse.query(
        "SELECT people.contributor_id, coalesce(posted.points, 0) + CASE WHEN epoch.closes THEN 0 "
        "ELSE coalesce(e.provisional_points, 0) END AS points, e.estimate, e.standard_error FROM "
        "(SELECT DISTINCT contributor_id FROM contributor_groups WHERE round_no <= $n) people "
        "CROSS JOIN (SELECT closes FROM epochs WHERE round_no = $n) epoch "
        "LEFT JOIN contributor_estimates e ON e.round_no = $n AND e.contributor_id = people.contributor_id "
        f"LEFT JOIN (SELECT contributor_id, sum(amount)::float8 AS points FROM {PEOPLES_LEDGER} entries "
        "WHERE unit = 'point' AND round_no <= $n GROUP BY 1) posted "
        "ON posted.contributor_id = people.contributor_id ORDER BY points DESC, people.contributor_id",
        {"n": round_no},
    )
