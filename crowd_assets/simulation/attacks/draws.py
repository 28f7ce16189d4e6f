"""Attacks on what a round draws: which comparisons are audited, who trains with whom, which prompts models are compared on.

Belongs here: what somebody who knows the code makes of a draw, with and without the home's secret. Does not belong here: what is
reported of it (see ``payoffs``).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl

from crowd_assets.mechanisms.groupings.base import Entrants
from crowd_assets.mechanisms.groupings.table import GROUPINGS
from crowd_assets.round.procurement import audited_of
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.training import evaluation_prompts, last_turn
from resources.rounds.claims import Round
from resources.rounds.secret import round_key
from resources.settings.settings import Settings

ASKED = 400  # comparisons of a round, of which a quarter is audited

CROWD, GROUPS = 24, 6

IDS = 40  # that a writer tries before it enters with one

ENTERED = 24  # rounds that it enters, each with a new name

OWN_PROMPTS, FLOOD = 16, 2_000  # of an honest contributor, and of one who writes the exam

SAMPLES = 256

SETTINGS = {"plain": Settings(repeatable=True, exam="prompts"), "as_shipped": Settings(), "hardened": Settings()}
"""*Plain* is a home without a secret, before every contributor had the same share of an exam."""


def drawn_round(column: str, number: int) -> Round:
    """A round by the settings of a column: with a key, unless rounds are repeatable."""
    key = None if SETTINGS[column].repeatable else round_key(f"a secret of seed {number}".encode(), number)
    return Round(number + 1, "", 0, 0, "", 1, None, number + 1, None, None, datetime(2026, 1, 1, tzinfo=UTC), key)


def guessed(round_: Round) -> Round:
    """The round as somebody outside sees it, who knows the code and its seed."""
    return replace(round_, key=None)


def guessed_audits(column: str, cheat: bool, run: int) -> float:
    """Share of a round's audited comparisons that somebody guesses: cheating, by drawing as a round without a key does; honest, by
    chance."""
    asked = [{"comparison_id": str(number)} for number in range(ASKED)]
    round_ = drawn_round(column, run)
    by_chance = generator_for(guessed(round_), "audits") if cheat else np.random.default_rng([run, 3])
    truth, guess = (
        {task["comparison_id"] for task in audited_of(asked, 0.25, rng)}
        for rng in (generator_for(round_, "audits"), by_chance)
    )
    return len(truth & guess) / max(len(truth), 1)


def guessed_group(column: str, cheat: bool, run: int) -> float:
    """Share of rounds in which a new name trains with the best contributor: cheating, it takes the first of ``IDS`` names that would
    by the draw of a round without a key."""
    settings = SETTINGS[column]
    met = 0
    for number in range(run * ENTERED, (run + 1) * ENTERED):
        rng = np.random.default_rng([number, 5])
        keys = rng.normal(size=CROWD)
        round_ = drawn_round(column, number)
        places = rng.integers(CROWD, size=IDS).tolist()  # of each id, in the order of names

        def together(place: int, seen: Round, keys: np.ndarray = keys) -> bool:
            entrants = Entrants(np.insert(keys, place, keys.mean()), GROUPS, deviation=np.zeros(CROWD + 1))
            group = GROUPINGS[settings.grouping].assign(entrants, generator_for(seen, "grouping"))
            best = int(np.argmax(entrants.keys))
            return bool(group[place] == group[best])

        place = next((each for each in places if together(each, guessed(round_))), places[0]) if cheat else places[0]
        met += together(place, round_)
    return met / ENTERED


def exam_written(column: str, cheat: bool, run: int) -> float:
    """Share of the prompts that models are compared on that one contributor wrote, who sends many more than others."""
    own = FLOOD if cheat else OWN_PROMPTS
    sent = [(f"writer {who}", f"{who}: prompt {number}") for who in range(CROWD) for number in range(OWN_PROMPTS)]
    sent += [("writer 0", f"0: prompt {number}") for number in range(OWN_PROMPTS, own)]
    demonstrations = pl.DataFrame(sent, schema=["contributor_id", "prompt"], orient="row")
    asked = evaluation_prompts(drawn_round(column, run), "selection", SAMPLES, demonstrations, by=SETTINGS[column].exam)
    return float(np.mean([last_turn(prompt).startswith("0:") for prompt in asked]))


DRAW_ATTACKS: dict[str, Callable[[str, bool, int], float]] = {
    "guessed_audit": guessed_audits,
    "guessed_group": guessed_group,
    "exam_writing": exam_written,
}
