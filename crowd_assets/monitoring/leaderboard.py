"""The leaderboard: who has earned what, by what estimate, in how many rounds.

Belongs here: that table. Does not belong here: how points come about (see ``crowd_assets.mechanisms.estimates``).
"""

import json
from dataclasses import asdict, dataclass

from crowd_assets.terminal.printing import console, print_table
from resources.rounds.claims import read_rounds
from resources.rounds.named import named_round
from resources.settings.settings import Settings
from resources.warehouse.facts import PEOPLES_LEDGER, SETTLED_ROUNDS
from resources.warehouse.look import look

PLACES = f"""
WITH settled AS (SELECT round_no FROM {SETTLED_ROUNDS} r WHERE round_no <= $n),
took_part AS (
    SELECT contributor_id, round_no FROM contributor_groups
    UNION SELECT contributor_id, round_no FROM awards
    UNION SELECT labeler_id, round_no FROM labeler_weights WHERE reports > 0),
people AS (
    SELECT contributor_id, count(DISTINCT round_no) AS rounds FROM took_part JOIN settled USING (round_no) GROUP BY contributor_id),
earned AS (
    SELECT contributor_id, coalesce(sum(amount) FILTER (WHERE unit = 'point'), 0)::float8 AS points,
    coalesce(sum(amount) FILTER (WHERE held_back), 0)::float8 AS held,
    coalesce(sum(amount) FILTER (WHERE unit = 'credit'), 0)::float8 AS credits
    FROM {PEOPLES_LEDGER} posted WHERE round_no <= $n GROUP BY 1),
estimated AS (
    SELECT e.contributor_id, e.estimate, e.standard_error,
    CASE WHEN epochs.closes THEN 0 ELSE e.provisional_points END AS provisional
    FROM contributor_estimates e JOIN epochs USING (round_no) WHERE round_no = $n)
SELECT rank() OVER (ORDER BY coalesce(earned.points, 0) + coalesce(provisional, 0) DESC) AS rank, contributor_id,
    coalesce(earned.points, 0) AS posted, coalesce(provisional, 0) AS provisional, estimate, standard_error,
    coalesce(credits, 0) AS credits, rounds, coalesce(held, 0) AS held
FROM people LEFT JOIN earned USING (contributor_id) LEFT JOIN estimated USING (contributor_id)
ORDER BY rank, credits DESC, contributor_id
"""


@dataclass(frozen=True)
class Place:
    """One contributor's place: points posted in the ledger and those that the open epoch would pay, the estimate they go by
    with its standard error (in target distance; None without a demonstration so far), credits, rounds taken part in, and what of
    the points posted is held back as a deposit."""

    rank: int
    contributor_id: str
    points_posted: float
    points_provisional: float
    estimate: float | None
    standard_error: float | None
    credits: float
    rounds: int
    points_held_back: float


@dataclass(frozen=True)
class Leaderboard:
    """The places as a round left them, most points first."""

    round_id: str
    places: list[Place]

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def leaderboard(settings: Settings, round_name: str = "", top: int = 0) -> Leaderboard:
    """The leaderboard of a home.

    Args:
        round_name: ``r000003`` or ``3``: as that round left it; empty: as the last settled one did.
        top: Places shown; 0: all.

    Raises:
        NoSuchRoundError: there is no such settled round.
    """
    with look(settings) as found:
        round_ = named_round(read_rounds(found.connection, "", {}), round_name, settings.home)
        rows = found.connection.execute(PLACES, {"n": round_.round_no}).fetchall()
    return Leaderboard(round_.round_id, [Place(*row) for row in rows[: top or None]])


def print_leaderboard(found: Leaderboard) -> None:
    """Print it for a person."""
    held = any(place.points_held_back for place in found.places)
    print_table(
        f"standings after {found.round_id}",
        [
            ("#", True),
            ("contributor", False),
            ("posted", True),
            *([("held back", True)] if held else []),
            ("provisional", True),
            ("estimate", True),
            ("credits", True),
            ("rounds", True),
        ],
        (
            (
                place.rank,
                place.contributor_id,
                f"{place.points_posted:.2f}",
                *([f"{place.points_held_back:.2f}"] if held else []),
                f"{place.points_provisional:.2f}",
                None if place.estimate is None else f"{place.estimate:+.4f} ± {place.standard_error:.4f}",
                f"{place.credits:.2f}",
                place.rounds,
            )
            for place in found.places
        ),
    )
    console.print("rank: by points posted plus the provisional points of the open epoch")
    if held:
        console.print("held back: part of the points posted that is the name's deposit (CROWD_DEPOSIT)")
    console.print("estimate: by how much the contributor lowers a candidate's target distance, with the standard error")
