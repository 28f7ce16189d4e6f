"""Groups of a round's contributors, by what is known of each.

Belongs here: reading what is known, calling the grouping. Does not belong here: groupings (see ``mechanisms.grouping``).
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.grouping import assign_groups, group_sizes
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.target import Target
from crowd_assets.round.tournament import standing, tournament
from resources.files.frames import FramesResource
from resources.rounds.book import Round
from resources.settings.settings import CrowdSettings
from resources.warehouse.base import WarehouseResource


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
