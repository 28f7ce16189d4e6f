"""Points of the open epoch: estimates of each contributor from all rounds that count, and what they pay.

Belongs here: reading the tournament, calling the scheme, the rows that it is posted from. Does not belong here: postings (see ``settlement``).
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.payouts import PayRules
from crowd_assets.mechanisms.points_schemes.base import Tournament, Withheld
from crowd_assets.mechanisms.points_schemes.table import POINTS_SCHEMES
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.target import Target
from crowd_assets.round.tournament import tournament
from resources.files.frames import FramesResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.settings.settings import Settings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import round_no_of


@dataclass(frozen=True)
class EpochSoFar:
    """What a round makes of the rounds so far: rows of ``contributor_estimates``, of ``epochs`` (one) and of
    ``contributor_points``."""

    estimates: pl.DataFrame
    epoch: pl.DataFrame
    points: pl.DataFrame


def rules_of(settings: Settings, rounds: int) -> PayRules:
    """The rules of pay that settings say, where ``rounds`` count."""
    return PayRules(
        by_work=settings.pay_by == "demonstrations",
        most_paid=settings.paid_demonstrations,
        conserved=settings.conserved_points,
        covered=settings.covered_points,
        copy_discount=settings.copy_discount,
        least_rounds=min(settings.points_after_rounds, rounds),
        points_per_distance=float(settings.points_per_distance),
    )


def estimates_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, aim: Target
) -> EpochSoFar:
    """What every contributor is estimated to add, and what the open epoch would pay for it, term by term."""
    seen = tournament(warehouse, frames, round_.round_no, including=True, memory=settings.memory_rounds)
    assert seen is not None  # this round is in it
    scheme = POINTS_SCHEMES[settings.points_scheme]
    known = scheme.standing(seen, aim.vector, generator_for(round_, "estimates"))
    opened = _first_of_epoch(warehouse, round_.round_no, seen.round_ids)
    first = len(seen.round_ids) - 1 if scheme.every_round else opened
    withheld = Withheld(
        _copied(seen, first, warehouse), np.isin(np.array(seen.contributors, dtype=str), settings.forfeited_names)
    )
    paid = scheme.payouts(seen, known, first, withheld, rules_of(settings, len(seen.round_ids)))
    rounds, people = paid.points.shape
    points = pl.DataFrame(
        {
            "earned_in_round": np.repeat([round_no_of(each) for each in seen.round_ids[first:]], people).astype(
                np.int32
            ),
            "contributor_id": list(seen.contributors) * rounds,
            **{name: term.ravel() for name, term in paid.terms.items()},
            "harm": paid.harm.ravel(),
            "points": paid.points.ravel(),
        }
    ).filter(pl.any_horizontal(pl.col("harm", "points", *paid.terms) != 0))
    provisional = np.zeros(people) if scheme.every_round else paid.points.sum(axis=0)
    estimates = pl.DataFrame(
        {
            "contributor_id": seen.contributors,
            "scheme": [scheme.estimates_by] * people,
            "estimate": known.estimates,
            "standard_error": known.standard_errors,
            "provisional_points": provisional,
        }
    )
    reliability = seen.reliability
    epoch = {
        "first_round_no": round_no_of(seen.round_ids[opened]),
        "closes": scheme.every_round or len(seen.round_ids) - opened >= settings.epoch_rounds,
        "reliability": reliability.reliability,
        "observed_variance": reliability.observed_variance,
        "noise_variance": reliability.noise_variance,
    }
    return EpochSoFar(estimates, pl.DataFrame([epoch]), points)


def _first_of_epoch(warehouse: WarehouseResource, round_no: int, round_ids: tuple[str, ...]) -> int:
    """Place in ``round_ids`` of the first round whose points no earlier round has posted."""
    closed = warehouse.read_before("epochs", round_no).filter("closes")["round_no"].max()
    return 0 if closed is None else sum(round_no_of(round_id) <= int(str(closed)) for round_id in round_ids)


def _copied(seen: Tournament, first: int, warehouse: WarehouseResource) -> NDArray[np.float64]:
    """Share of near duplicates in what each sent in each round of the open epoch, (rounds, N), of those whom the detector
    flagged in that round for more of them than others have."""
    place = {contributor: index for index, contributor in enumerate(seen.contributors)}
    shares = np.zeros((len(seen.round_ids) - first, len(place)))
    for row, round_id in zip(shares, seen.round_ids[first:], strict=True):
        flagged = warehouse.query(
            "SELECT contributor_id, value FROM quality_contributors WHERE round_no = $n AND flagged "
            "AND detector = 'near_duplicates'",
            {"n": round_no_of(round_id)},
        )
        for contributor, share in flagged.iter_rows():
            if contributor in place:
                row[place[contributor]] = share
    return shares
