"""Who judges what next: the assignments of a round, and the lines that the outbox has of them.

Belongs here: rows of ``assignments`` from tables and frames, texts for the outbox. Does not belong here: how pairs are shared out (see
``mechanisms.assignment``), who may judge (see ``round.standing``), what comes back (see ``round.asked``).
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.assignment import (
    ASK,
    CHECK,
    REPEAT,
    asking_value,
    assigned,
    hidden_places,
    is_open,
    vote_evidence,
)
from crowd_assets.round.randomness import generator_for
from crowd_assets.round.rings import with_rings
from crowd_assets.round.standing import ACTIVE, ON_APPEAL, STANDINGS
from resources.feedback.events import ERASED, EVENT_SCHEMA
from resources.feedback.generated import ANSWERS, generated_answers
from resources.feedback.inbox import ASSIGNMENTS as ASSIGNMENTS
from resources.files.frames import FramesResource
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import WITHDRAWN, round_id_of

ASSIGNMENTS_SCHEMA = {
    "assignment_id": pl.String(),
    "labeler_id": pl.String(),
    "seat": pl.Int32(),
    "place": pl.Int32(),
    "comparison_id": pl.String(),
    "purpose": pl.String(),
    "outcome": pl.Float64(),
}
ROUNDS_ASKED = 8
"""A comparison is asked in so many rounds at most: a base model's answers grow old."""
ROUNDS_CHECKED = 32
"""Comparisons whose outcome came in so many rounds are checks."""
USUAL_SKILL, USUAL_OUTCOMES = 0.75, 4.0
"""Accuracy of somebody unknown, and how many outcomes it counts for."""
LEAST_SKILL, MOST_SKILL = 0.52, 0.97
CLEAR = 0.25
"""An outcome this far from one half has a right answer."""


@dataclass(frozen=True)
class _Known:
    """What is known when assignments are made: ``people`` (labeler_id, skill, load, checks: how many checks are due first), ``tasks`` (comparison_id, by
    age), ``reports`` (labeler_id, comparison_id, probability_a), one of each labeler on each comparison, ``outcomes`` (comparison_id,
    outcome) and ``owners`` (labeler_id, comparison_id): who has an interest in one."""

    people: pl.DataFrame
    tasks: pl.DataFrame
    reports: pl.DataFrame
    outcomes: pl.DataFrame
    owners: pl.DataFrame


def assignments_of(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> pl.DataFrame:
    """Rows of ``assignments``: what every labeler is asked after a round, in the order of ``place``, each under a name that says nothing;
    ``labeler_id`` is null in a newcomer's ``seat``. ``purpose`` and ``outcome`` stay in the home.

    A comparison is open until it is known (``CROWD_KNOWN_AT``). Nobody is asked what it judged, sold, or has judged for it by somebody
    whom it is linked with. A newcomer answers checks first, whoever appeals nothing but checks, whoever is paused nothing.
    """
    if settings.assignments == "off":
        return pl.DataFrame(schema=ASSIGNMENTS_SCHEMA)
    known = _known(round_, settings, warehouse, frames)
    rng = generator_for(round_, "assignments")
    comparisons = known.tasks["comparison_id"]
    evidence, judgements = _judged_so_far(known)
    wanted = _wanted(settings, evidence, judgements, known)
    people = known.people
    hidden = [
        hidden_places(load, checks=settings.check_share, repeats=settings.repeat_share, rng=rng)
        for load in people["load"].to_list()
    ]
    gold = known.outcomes.filter((pl.col("outcome") - 0.5).abs() >= CLEAR).sort("comparison_id")
    due, seats = people["checks"].to_numpy(), people["seat"].is_not_null().to_numpy()
    done = known.reports.select("labeler_id", "comparison_id").vstack(known.owners)
    left = _left_of(gold, done, people)
    waiting = people["appealed"].to_numpy() | ((due > 0) & (left >= due))
    asks = np.array([int((places == ASK).sum()) for places in hidden], dtype=np.int64)
    # Nobody is asked more than an equal share: a crowd whose best do everything learns nothing of the others.
    share = math.ceil(wanted.sum() / max(int((~waiting & ~seats).sum()), 1))
    asks = np.where(waiting, 0, np.where(seats, asks, np.minimum(asks, share)))
    names, position = people["labeler_id"], {name: at for at, name in enumerate(comparisons)}
    barred, value, skill = (
        _pairs(known, names, position),
        asking_value(evidence, judgements),
        people["skill"].to_numpy(),
    )
    # A seat may stay empty: what is asked there is asked of somebody known as well.
    pairs = [
        assigned(value, wanted, skill, np.where(which, asks, 0), excluded=barred, rng=rng) for which in (~seats, seats)
    ]
    asked_of_person = {
        at: pair for found in pairs for at, pair in zip(*_by_person(found.person, found.pair), strict=True)
    }
    avoided: dict[str, set[str]] = {
        str(who): set(of_one["comparison_id"]) for (who,), of_one in done.group_by("labeler_id")
    }
    own = {
        str(who): of_one["comparison_id"].sort().to_list() for (who,), of_one in known.reports.group_by("labeler_id")
    }
    rows = []
    for at, name in enumerate(names):
        asked = [(comparisons[pair], ASK, None) for pair in asked_of_person.get(at, [])]
        places = _up_to(hidden[at], len(asked))
        checks = int(due[at]) if waiting[at] else int((places == CHECK).sum())
        repeats = 0 if waiting[at] else int((places == REPEAT).sum())
        checked = _drawn(gold, avoided.get(name, set()), checks, rng)
        again = [(each, REPEAT, None) for each in rng.permutation(own.get(name, []))[:repeats].tolist()]
        tasks = [*asked, *checked, *again]
        seat = people["seat"][at]
        for place, which in enumerate(rng.permutation(len(tasks)).tolist(), start=1):
            comparison, purpose, outcome = tasks[which]
            alias = f"{round_.round_id}-{int(rng.integers(2**63)) << 1 | int(rng.integers(2)):016x}"
            rows.append((alias, None if seat else name, seat, place, comparison, purpose, outcome))
    return pl.DataFrame(rows, schema=ASSIGNMENTS_SCHEMA, orient="row")


def lines_of(
    plan: pl.DataFrame, round_: Round, warehouse: WarehouseResource, frames: FramesResource
) -> list[dict[str, Any]]:
    """What the outbox has of assignments, in their order: nothing that tells a check or a repeat from the rest, and none of a comparison
    whose texts were erased."""
    texts = _texts_of(plan["comparison_id"].unique().to_list(), round_, warehouse, frames)
    gone = set(warehouse.query(WITHDRAWN)["comparison_id"])
    lines = []
    columns = ("assignment_id", "labeler_id", "seat", "place", "comparison_id")
    for assignment_id, labeler_id, seat, place, comparison_id in plan.select(columns).iter_rows():
        shown = texts.get(comparison_id)
        if comparison_id in gone or shown is None or any(ERASED in (text or "") for text in shown.values()):
            continue
        line = {"comparison_id": assignment_id, "contributor_id": labeler_id, "seat": seat, "place": place, **shown}
        if line["messages"] is None:
            del line["messages"]
        else:
            line["messages"] = json.loads(line["messages"])
        lines.append(line)
    return lines


def _known(round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource) -> _Known:
    number = round_.round_no
    every = pl.concat(
        [warehouse.read_before("comparison_tasks", number), warehouse.read_round("comparison_tasks", number)]
    )
    tasks = every.filter(pl.col("round_no") > number - ROUNDS_ASKED).sort("round_no", "comparison_id")
    rounds = RoundBook(warehouse).rounds_through(number)
    events = frames.scan("validated_feedback", rounds, {"seq": pl.Int64(), **EVENT_SCHEMA})
    oldest = round_id_of(max(number - ROUNDS_CHECKED + 1, 1))
    outcomes = (
        events.filter(pl.col("kind") == "outcome")
        .select("seq", "comparison_id", "round_id", outcome="preferred_a")
        .collect()
        .sort("seq")
        .unique("comparison_id", keep="first")
    )
    recent = outcomes.filter(pl.col("round_id") >= oldest)
    concerned = pl.concat([tasks["comparison_id"], recent["comparison_id"]]).unique()
    reports = (
        events.filter(pl.col("kind") == "preference")
        .select("seq", "comparison_id", "probability_a", labeler_id="contributor_id")
        .collect()
        .sort("seq")
    )
    hidden = warehouse.query(
        "SELECT assignment_id AS comparison_id, comparison_id AS asked FROM assignments WHERE round_no < $n AND purpose <> 'ask'",
        {"n": number},
    )
    reports = (
        reports.join(hidden, on="comparison_id", how="left", maintain_order="left")
        .with_columns(comparison_id=pl.coalesce("asked", "comparison_id"))
        .filter(pl.col("comparison_id").is_in(concerned.implode()))
        .unique(("labeler_id", "comparison_id"), keep="first", maintain_order=True)
        .select("labeler_id", "comparison_id", "probability_a")
    )
    people = _people(round_, settings, warehouse)
    return _Known(people, tasks, reports, recent.select("comparison_id", "outcome"), _owners(round_, warehouse, every))


def _people(round_: Round, settings: CrowdSettings, warehouse: WarehouseResource) -> pl.DataFrame:
    """Labelers who may be asked something, and newcomers' seats: ``skill``, ``load``, checks that are due before anything else."""
    standings = warehouse.read_round(STANDINGS, round_.round_no).filter(pl.col("state").is_in([ACTIVE, ON_APPEAL]))
    skill = (pl.col("correct") + USUAL_SKILL * USUAL_OUTCOMES) / (pl.col("outcomes") + USUAL_OUTCOMES)
    appealed = pl.col("state") == ON_APPEAL
    due = (settings.qualification - pl.col("outcomes")).clip(lower_bound=0)
    load = pl.lit(settings.judgements_a_person, pl.Int64)
    known = standings.sort("labeler_id").select(
        "labeler_id",
        skill=skill.clip(LEAST_SKILL, MOST_SKILL),
        load=load,
        appealed=appealed,
        # The pause of whoever appeals is lifted by FEWEST_CHECKS right ones; some of them may go wrong.
        checks=pl.when(appealed).then(load.clip(upper_bound=8)).otherwise(due).cast(pl.Int64),
        seat=pl.lit(None, pl.Int32),
    )
    seats = range(1, settings.newcomer_seats + 1)
    newcomers = pl.DataFrame(
        {
            "labeler_id": [f"seat {seat}" for seat in seats],  # no contributor's name: those hold no spaces
            "skill": [USUAL_SKILL] * len(seats),
            "load": [settings.judgements_a_person] * len(seats),
            "appealed": [False] * len(seats),
            "checks": [settings.qualification] * len(seats),
            "seat": list(seats),
        },
        schema=known.schema,
    )
    return pl.concat([known, newcomers])


def _owners(round_: Round, warehouse: WarehouseResource, tasks: pl.DataFrame) -> pl.DataFrame:
    """Who sold an answer of a comparison, and all who are linked with the seller: ``labeler_id`` and ``comparison_id``."""
    sold = tasks.unpivot(["event_id_a", "event_id_b"], index="comparison_id", value_name="event_id")
    awards = pl.concat(
        [warehouse.read_before("awards", round_.round_no), warehouse.read_round("awards", round_.round_no)]
    ).select("event_id", "contributor_id")
    sellers = sold.join(awards, on="event_id").select("comparison_id", "contributor_id")
    ringed = with_rings(sellers, warehouse, round_.round_no)
    members = warehouse.read_round("rings", round_.round_no).select("contributor_id")
    linked = with_rings(members, warehouse, round_.round_no).rename({"contributor_id": "labeler_id"})
    others = ringed.join(linked, on="ring").select("labeler_id", "comparison_id")
    own = ringed.select("comparison_id", labeler_id="contributor_id").select("labeler_id", "comparison_id")
    return pl.concat([own, others]).unique().sort("labeler_id", "comparison_id")


def _judged_so_far(known: _Known) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log-odds of A of each task by the reports on it, and how many those are; shapes (P,)."""
    skill = known.people.select("labeler_id", "skill")
    reports = known.reports.join(skill, on="labeler_id", how="left").with_columns(
        pl.col("skill").fill_null(LEAST_SKILL)
    )
    told = reports.with_columns(
        evidence=pl.Series(vote_evidence(reports["probability_a"].to_numpy(), reports["skill"].to_numpy()))
    )
    summed = told.sort("comparison_id", "labeler_id").group_by("comparison_id", maintain_order=True)
    by_task = known.tasks.select("comparison_id").join(
        summed.agg(pl.col("evidence").sum(), judgements=pl.len().cast(pl.Int64)),
        on="comparison_id",
        how="left",
        maintain_order="left",
    )
    return by_task["evidence"].fill_null(0.0).to_numpy(), by_task["judgements"].fill_null(0).to_numpy()


def _wanted(
    settings: CrowdSettings, evidence: NDArray[np.float64], judgements: NDArray[np.int64], known: _Known
) -> NDArray[np.int64]:
    """How many more judgements each task wants; shape (P,)."""
    least, most = settings.judgements_least, max(settings.judgements_least, settings.judgements_most)
    realised = known.tasks["comparison_id"].is_in(known.outcomes["comparison_id"].implode()).to_numpy()
    if settings.overlap == "fixed":
        return np.where(realised, 0, np.maximum(least - judgements, 0))
    still = is_open(evidence, judgements, confidence=settings.known_at, least=least, most=most) & ~realised
    usual = float(known.people["skill"].mean() or USUAL_SKILL)  # type: ignore[arg-type]
    lacking = math.log(settings.known_at / (1 - settings.known_at)) - np.abs(evidence)
    until_known = np.ceil(lacking / math.log(usual / (1 - usual))).astype(np.int64)
    more = np.clip(until_known, np.maximum(least - judgements, 1), np.maximum(most - judgements, 1))
    return np.where(still, more, 0)


def _left_of(gold: pl.DataFrame, done: pl.DataFrame, people: pl.DataFrame) -> NDArray[np.int64]:
    """How many comparisons with a known answer each person can still be checked by; shape (N,)."""
    used = done.unique().join(gold, on="comparison_id", how="semi").group_by("labeler_id").len("used")
    left = people.select("labeler_id").join(used, on="labeler_id", how="left", maintain_order="left")
    return gold.height - left["used"].fill_null(0).cast(pl.Int64).to_numpy()


def _pairs(known: _Known, names: pl.Series, position: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Persons and tasks, as positions, that must not come together: what somebody judged, or has an interest in."""
    barred = pl.concat([known.reports.select("labeler_id", "comparison_id"), known.owners]).unique()
    who = {name: at for at, name in enumerate(names)}
    at = [
        (who[labeler], position[comparison])
        for labeler, comparison in barred.sort("labeler_id", "comparison_id").iter_rows()
        if labeler in who and comparison in position
    ]
    pairs = np.array(at, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _by_person(person: NDArray[np.int64], pair: NDArray[np.int64]) -> tuple[list[int], list[list[int]]]:
    """Persons, and the pairs of each."""
    order = np.argsort(person, kind="stable")
    names, starts = np.unique(person[order], return_index=True)
    return names.tolist(), [each.tolist() for each in np.split(pair[order], starts[1:])] if names.size else []


def _up_to(places: NDArray[np.str_], asked: int) -> NDArray[np.str_]:
    """Places until as many of them ask as there is something to ask."""
    before = np.cumsum(places == ASK)
    return places[before <= asked] if asked else places[:0]


def _drawn(
    gold: pl.DataFrame, avoided: set[str], number: int, rng: np.random.Generator
) -> list[tuple[str, str, float]]:
    """So many checks that somebody has not judged and has no interest in."""
    found: list[tuple[str, str, float]] = []
    if not number:
        return found
    for at in rng.permutation(gold.height).tolist():
        comparison, outcome = gold.row(at)
        if comparison not in avoided:
            found.append((comparison, CHECK, outcome))
            if len(found) == number:
                break
    return found


def _texts_of(
    comparisons: list[str], round_: Round, warehouse: WarehouseResource, frames: FramesResource
) -> dict[str, dict[str, Any]]:
    """Texts of comparisons: of the platform's those that were bought, of others those that their first report has."""
    names = pl.Series(comparisons, dtype=pl.String)
    rounds = RoundBook(warehouse).rounds_through(round_.round_no)
    events = frames.scan("validated_feedback", rounds, {"seq": pl.Int64(), **EVENT_SCHEMA})
    tasks = warehouse.query(
        "SELECT comparison_id, event_id_a, event_id_b FROM comparison_tasks WHERE comparison_id = ANY($names)",
        {"names": comparisons},
    )
    sold = pl.concat([tasks["event_id_a"], tasks["event_id_b"]]).unique()
    bids = events.filter(pl.col("event_id").is_in(sold.implode())).select(*ANSWERS).collect()
    bids = pl.concat([bids, generated_answers(sold, frames)])
    bought = tasks.join(bids, left_on="event_id_a", right_on="event_id").join(
        bids.select("event_id", response_b="response"), left_on="event_id_b", right_on="event_id"
    )
    judged = (
        events.filter(pl.col("kind") == "preference", pl.col("comparison_id").is_in(names.implode()))
        .select("seq", "comparison_id", "prompt", "messages", "response_a", "response_b")
        .collect()
        .sort("seq")
        .unique("comparison_id", keep="first")
    )
    shown = ("comparison_id", "prompt", "messages", "response_a", "response_b")
    both = pl.concat([bought.rename({"response": "response_a"}).select(shown), judged.select(shown)])
    return {
        row.pop("comparison_id"): row
        for row in both.unique("comparison_id", keep="first", maintain_order=True).iter_rows(named=True)
    }
