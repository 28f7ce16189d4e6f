"""Groups of a round's contributors, by what is known of each.

Belongs here: reading what is known, calling the grouping. Does not belong here: groupings (see ``mechanisms.groupings``).
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.groupings.base import Entrants, members_of
from crowd_assets.mechanisms.groupings.table import GROUPINGS
from crowd_assets.mechanisms.points_schemes.table import POINTS_SCHEMES
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.target import Target
from crowd_assets.round.tournament import tournament
from resources.feedback.events import ERASED
from resources.files.frames import FramesResource
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import PEOPLES_LEDGER, SETTLED_ROUNDS


def groups_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, aim: Target
) -> pl.DataFrame:
    """The groups of a round: ``contributor_id``, ``demonstrations``, ``group_index`` of the first candidate that each trains (-1:
    none) and the ``key`` that groups are formed by, by contributor."""
    contributors = (
        frames.read("validated_feedback", round_.round_id)
        .filter(pl.col("kind") == "demonstration")
        .group_by("contributor_id")
        .agg(demonstrations=pl.len().cast(pl.Int64))
        .sort("contributor_id")
    )
    keys, deviation = _what_is_known(contributors["contributor_id"], round_, settings, warehouse, frames, aim)
    entrants = Entrants(
        keys,
        settings.groups,
        round_no=round_.round_no,
        rounds=settings.planned_rounds,
        deviation=deviation,
        small=settings.small_groups,
        centre=_last_winners_share(warehouse, round_.round_no),
    )
    group = GROUPINGS[settings.grouping].assign(entrants, generator_for(round_, "grouping"))
    return contributors.with_columns(key=pl.Series(keys), group_index=pl.Series(group).cast(pl.Int32))


def members_of_candidates(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, groups: pl.DataFrame
) -> pl.DataFrame:
    """Rows of ``candidate_members``: ``group_index``, ``contributor_id`` and how many ``demonstrations`` each candidate learns from
    each of its members.

    Args:
        groups: Rows of ``contributor_groups``.
    """
    grouping = GROUPINGS[settings.grouping]
    member = members_of(groups["group_index"].to_numpy(), partition=grouping.partition)
    candidate, contributor = np.nonzero(member)
    members = pl.DataFrame(
        {
            "group_index": pl.Series(candidate).cast(pl.Int32),
            "contributor_id": groups["contributor_id"].gather(contributor),
            "demonstrations": groups["demonstrations"].gather(contributor),
        }
    )
    if not grouping.remembers:
        return members
    learnt = learnt_from(round_, settings, warehouse, frames).group_by("contributor_id").agg(all_of_them=pl.len())
    return members.join(learnt, on="contributor_id", how="left", maintain_order="left").select(
        "group_index", "contributor_id", demonstrations=pl.col("all_of_them").fill_null(0).cast(pl.Int64)
    )


def learnt_from(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    *,
    erased: bool = False,
) -> pl.DataFrame:
    """The demonstrations that candidates may learn from, in the order in which they came: those of this round and, where the
    grouping remembers, of as many rounds as estimates go back, but for what was ``erased`` since, or these alone."""
    round_ids = RoundBook(warehouse).rounds_through(round_.round_no)
    kept = settings.memory_rounds if settings.memory_rounds else len(round_ids)
    chosen = round_ids[-kept:] if GROUPINGS[settings.grouping].remembers else round_ids[-1:]
    return (
        frames.read_through("validated_feedback", chosen)
        .filter(pl.col("kind") == "demonstration", (pl.col("response") == ERASED) == erased)
        .sort("seq")
    )


def _last_winners_share(warehouse: WarehouseResource, round_no: int) -> float:
    """Share of a round's contributors who trained its winner, in the last round before that had one; a half without any."""
    winners = warehouse.read_before("selections", round_no).filter("selected", pl.col("role") == "candidate")
    if winners.is_empty():
        return 0.5
    last, group = winners.sort("round_no").select("round_no", "group_index").row(-1)
    trained = warehouse.read_round("candidate_members", last).filter(pl.col("group_index") == group)
    crowd = warehouse.read_round("contributor_groups", last)
    return trained.height / crowd.height if trained.height else 0.5


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
    if POINTS_SCHEMES[settings.points_scheme].every_round:
        points = _points_before(warehouse, round_.round_no)
        return np.array([points.get(contributor, 0.0) for contributor in contributors]), np.zeros(len(contributors))
    seen = tournament(warehouse, frames, round_.round_no, including=False, memory=settings.memory_rounds)
    if seen is None:
        return np.zeros(len(contributors)), np.zeros(len(contributors))
    rng = generator_for(round_, "posterior draw")
    known = POINTS_SCHEMES[settings.points_scheme].standing(seen, aim.vector, rng)
    drawn = known.draw(rng)
    place = {contributor: index for index, contributor in enumerate(seen.contributors)}
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
            f"SELECT contributor_id, sum(amount)::float8 AS points FROM {PEOPLES_LEDGER} posted JOIN {SETTLED_ROUNDS} r USING (round_no) "
            "WHERE unit = 'point' AND round_no < $n GROUP BY 1",
            {"n": round_no},
        ).iter_rows()
    )
