"""Points of the open epoch: estimates of each contributor from all rounds that count, and what they pay.

Belongs here: reading the tournament, calling the scheme and the rule of pay. Does not belong here: postings (see ``settlement``).
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.payouts import kept_points, regression_points, solvent_points
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.target import Target
from crowd_assets.round.tournament import (
    Standing,
    Tournament,
    standing,
    tournament,
)
from resources.files.frames import FramesResource
from resources.rounds.book import Round
from resources.settings.settings import CrowdSettings
from resources.warehouse.base import WarehouseResource


def estimates_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, aim: Target
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of ``contributor_estimates`` and of ``epochs``."""
    found = tournament(warehouse, frames, round_.round_no, including=True, memory=settings.memory_rounds)
    assert found is not None  # this round is in it
    by_rank = settings.points_scheme == "rank"
    scheme = "surrogate" if by_rank else settings.points_scheme
    known = standing(found, scheme, aim.vector, generator_for(round_, "estimates"))
    first = _first_of_epoch(warehouse, round_.round_no, found.round_ids)
    reliability = found.reliability
    provisional = np.zeros(len(found.contributors))
    if not by_rank:
        provisional = epoch_points(found, known, first, settings, warehouse).sum(axis=0)
    frame = pl.DataFrame(
        {
            "contributor_id": found.contributors,
            "scheme": [scheme] * len(found.contributors),
            "estimate": known.estimates,
            "standard_error": known.standard_errors,
            "provisional_points": provisional,
        }
    )
    epoch = {
        "first_round_no": int(found.round_ids[first][1:]),
        "closes": by_rank or len(found.round_ids) - first >= settings.epoch_rounds,
        "reliability": reliability.reliability,
        "observed_variance": reliability.observed_variance,
        "noise_variance": reliability.noise_variance,
    }
    return frame, pl.DataFrame([epoch])


def _first_of_epoch(warehouse: WarehouseResource, round_no: int, round_ids: tuple[str, ...]) -> int:
    """Place in ``round_ids`` of the first round whose points no earlier round has posted."""
    closed = warehouse.read_before("epochs", round_no).filter("closes")["round_no"].max()
    return 0 if closed is None else sum(int(round_id[1:]) <= int(str(closed)) for round_id in round_ids)


def epoch_points(
    found: Tournament, known: Standing, first: int, settings: CrowdSettings, warehouse: WarehouseResource
) -> NDArray[np.float64]:
    """Points of each round of the open epoch, (rounds, N): what the model gained, shared by who took part and shifted
    by what each is estimated to add, less what newcomers, copyists and those found cheating are not paid. A contributor who
    holds the crowd back may end below zero."""
    gains, sent = found.gains[first:], found.demonstrations[first:]
    payouts = regression_points(
        known.estimates,
        found.participated[first:],
        gains,
        spread=known.spread,
        work=np.minimum(sent, settings.paid_demonstrations) if settings.pay_by == "demonstrations" else None,
    )
    if settings.covered_points:
        payouts = solvent_points(payouts, gains)
    payouts = kept_points(
        payouts,
        found.participated.sum(axis=0),
        _copied(found, first, warehouse),
        least_rounds=min(settings.points_after_rounds, len(found.round_ids)),
        copy_discount=settings.copy_discount,
    )
    caught = np.isin(found.contributors, settings.forfeited_names)
    payouts = np.where(caught & (payouts > 0), 0.0, payouts)
    return payouts * float(settings.points_per_distance)


def _copied(found: Tournament, first: int, warehouse: WarehouseResource) -> NDArray[np.float64]:
    """Share of near duplicates in what each sent in each round of the open epoch, (rounds, N), of those whom the detector
    flagged in that round for more of them than others have."""
    place = {contributor: index for index, contributor in enumerate(found.contributors)}
    shares = np.zeros((len(found.round_ids) - first, len(place)))
    for row, round_id in zip(shares, found.round_ids[first:], strict=True):
        flagged = warehouse.query(
            "SELECT contributor_id, value FROM quality_contributors WHERE round_no = $n AND flagged "
            "AND detector = 'near_duplicates'",
            {"n": int(round_id[1:])},
        )
        for contributor, share in flagged.iter_rows():
            if contributor in place:
                row[place[contributor]] = share
    return shares
