"""Three rounds with the real trainer, in which a third of all names play the attacks on pay at once, against the same rounds without them.

The attackers (``crowd_assets.simulation.attacks.crowd``): salads of words, insults with salads, copies, repeated work under further names, a
flood of other texts, an exam written by one name, invented lots, bids that cannot be sold, a second name with poor answers in every lot, one labeler's
judgements under further names, and a coin. Honest people are the careful and sloppy writers, accurate labelers and honest sellers. Everybody
who is not an attacker sends the same in both campaigns, at the default settings, but that draws come from the seed (``CROWD_REPEATABLE``), so that chance
differs as little as it can. Figures:

* ``honest_points``, ``honest_credits``: what honest people end with under attack over what they end with in peace; goal at least 0.95 each.
* ``model``: target distance that the last base has under attack over the one in peace, on samples of their own.
* ``attackers_points``, ``attackers_credits``: share of all that is paid which goes to attackers; ``by_attack``: points and credits of each.

Belongs here: both campaigns and their figures. Does not belong here: games in which each attack is played alone (see ``attacks``).
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks import finish, options, say
from crowd_assets.commands.campaign import campaign
from crowd_assets.report.figures import round_figures
from crowd_assets.round.tournament import points_so_far
from crowd_assets.simulation.attacks.crowd import ATTACKERS, HONEST, AttackedCrowd
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.feedback.pseudonyms import HomePseudonyms
from resources.settings.resource import CrowdSettings
from resources.warehouse.facts import PEOPLES_LEDGER


def played(settings: CrowdSettings, crowd: SimulatedCrowd, rounds: int) -> dict[str, Any]:
    """Points and credits of each kind of person after ``rounds`` rounds, and the last target distance on a fresh sample."""
    with campaign(settings) as here:
        here.build_seeds()
        here.simulate(rounds, crowd)
        last = here.book.settled()[-1]
        pseudonyms = HomePseudonyms.of_home(here.warehouse)
        kinds = pl.DataFrame(
            {
                "contributor_id": [pseudonyms.of(name) for name in crowd.truth()],
                "kind": [person["kind"] for person in crowd.truth().values()],
            }
        )
        credits_of = here.warehouse.query(
            f"SELECT contributor_id, sum(amount)::float8 AS credits FROM {PEOPLES_LEDGER} posted WHERE unit = 'credit' GROUP BY 1"
        )
        points = points_so_far(here.warehouse, last.round_no).select("contributor_id", "points")
        earned = (
            kinds.join(points, on="contributor_id", how="left")
            .join(credits_of, on="contributor_id", how="left")
            .group_by("kind")
            .agg(pl.col("points").fill_null(0.0).sum(), pl.col("credits").fill_null(0.0).sum())
        )
        return {
            "earned": {kind: (points, credits) for kind, points, credits in earned.iter_rows()},
            "distance": round_figures(last, here.warehouse)["distance_after"],
        }


def total(earned: dict[str, tuple[float, float]], kinds: tuple[str, ...]) -> tuple[float, float]:
    """Points and credits of some kinds of people together."""
    points, credits_of = zip(*(earned[kind] for kind in kinds if kind in earned), strict=True)
    return sum(points), sum(credits_of)


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(__doc__, argv, rounds=(3, "rounds"))
    rounds = 1 if chosen.quick else chosen.rounds
    found = {}
    seeds = Path(
        CrowdSettings.from_environment().home, "seed"
    )  # of a home that has them, so that they are not trained again
    for name, crowd_of in (("in peace", SimulatedCrowd), ("under attack", AttackedCrowd)):
        with tempfile.TemporaryDirectory() as folder:
            if seeds.is_dir():
                shutil.copytree(seeds, Path(folder, "seed"))
            settings = CrowdSettings.from_environment(home=folder, seed=chosen.seed, repeatable=True)
            say(f"{rounds} rounds {name}")
            found[name] = played(settings, crowd_of(settings.target_attribute, chosen.seed), rounds)
    peace, attack = found["in peace"]["earned"], found["under attack"]["earned"]
    before, after = total(peace, HONEST), total(attack, HONEST)
    theirs, everybody = total(attack, tuple(ATTACKERS)), total(attack, tuple(attack))
    finish(
        {
            "honest_points": round(after[0] / before[0], 3) if before[0] else None,
            "honest_credits": round(after[1] / before[1], 3),
            "model": round(found["under attack"]["distance"] / found["in peace"]["distance"], 3),
            "attackers_points": round(theirs[0] / everybody[0], 3) if everybody[0] else 0.0,
            "attackers_credits": round(theirs[1] / everybody[1], 3),
            "by_attack": {kind: [round(amount, 3) for amount in attack[kind]] for kind in ATTACKERS if kind in attack},
            "honest": {kind: [[round(x, 3) for x in earned[kind]] for earned in (peace, attack)] for kind in HONEST},
        },
        {"rounds": rounds, "names": sum(ATTACKERS.values()), "seed": chosen.seed},
        "torch",
        "dagster",
    )


if __name__ == "__main__":
    main()
