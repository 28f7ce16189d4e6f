"""Attacks on writers' points, and the rounds that they are played in.

Belongs here: crowds of writers, honest and not, and their pay. Does not belong here: what is reported of them (see ``payoffs``).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.groupings.base import Entrants
from crowd_assets.mechanisms.groupings.table import GROUPINGS
from crowd_assets.mechanisms.payouts import PayRules, rank_points, weight_shares
from crowd_assets.mechanisms.points_schemes.base import Standing, Tournament, Withheld
from crowd_assets.mechanisms.points_schemes.table import POINTS_SCHEMES
from crowd_assets.round.points import rules_of
from resources.settings.settings import Settings

ROUNDS = 9


EPOCH = 3


LONG = 24  # of a campaign in which there is a reputation to milk


GROUPS = 6


DIMENSIONS = 12


STEP = 0.2


START = 5.0


TEXT_NOISE = 0.8  # sd of a text's coordinates about its author's place


MODEL_NOISE = 0.05  # sd of what is observed of a model's


GAIN_NOISE = 0.05  # sd of what is observed of a round's gain, on a fresh sample


CAREFUL, SLOPPY, OFF_TOPIC, ADVERSARIES = 16, 3, 3, 2  # 24 people, as many as the demo asks for in all


TYPICAL, BEST = 1.0, 0.3  # distances from the target of an attacker's honest work and of the best contributor's


DEMONSTRATIONS = 16


EFFORT = 0.5  # what work costs, in what a careful contributor is paid for it


SWAP = 0.05  # of Crowd-SFT's simulation


@dataclass(frozen=True, slots=True)
class Rules:
    """Under what points are paid; the defaults are the papers' plain ones.

    Attributes:
        scheme: One of the points schemes.
        grouping: One of the groupings that partition.
        pay: The rule of pay.
        memory: Rounds that estimates go back; 0: all.
        deposit: What is held back of each name's first points, in what a careful contributor earns in a round.
        read: Share of the names whose texts somebody reads when an epoch closes, drawn at random.
    """

    scheme: str = "rank"
    grouping: str = "epsilon_greedy"
    pay: PayRules = field(default_factory=PayRules)
    memory: int = 0
    deposit: float = 0.0
    read: float = 0.0


PLAIN = Rules()


OURS = Rules("surrogate", "posterior_sampling")


SHIPPED = Settings()
"""The settings of somebody who sets nothing."""


def shipped(settings: Settings) -> Rules:
    """The rules of a round with ``settings``. A deposit of so many points is none in units of pay: only 0 is known here.

    Raises:
        ValueError: a deposit is shipped, whose worth in rounds of pay this game has to be told.
    """
    if Decimal(settings.deposit):
        raise ValueError("a deposit in points has no fixed worth in rounds of a careful contributor's pay: say it here")
    pay = replace(rules_of(settings, ROUNDS), points_per_distance=1.0)
    return Rules(settings.points_scheme, settings.grouping, pay, settings.memory_rounds)


AS_SHIPPED = shipped(SHIPPED)


DEFENDED = replace(AS_SHIPPED, memory=6, deposit=1.0, read=0.5)


RULES = {"plain": PLAIN, "as_shipped": AS_SHIPPED, "hardened": DEFENDED}


@dataclass(frozen=True, slots=True)
class Writers:
    """N names that write in T rounds: ``place`` (T, N, d), NaN for what the base itself would write; ``sent`` (T, N)
    demonstrations; ``thought`` (T, N) of them that cost work; ``copied`` (T, N) share that detectors call copies;
    ``attacker`` (N,), whose pay counts; ``shown`` (T, N, d), where Φ sees texts that take a model elsewhere, NaN where it sees where
    they take it."""

    place: NDArray[np.float64]
    sent: NDArray[np.float64]
    thought: NDArray[np.float64]
    copied: NDArray[np.float64]
    attacker: NDArray[np.bool_]
    shown: NDArray[np.float64]


def honest_writers(rng: np.random.Generator, attackers: int = 1, rounds: int = ROUNDS) -> Writers:
    """The crowd when nobody cheats; the first ``attackers`` are those who would, the next is the best of all."""
    careful = [TYPICAL] * attackers + [BEST, *rng.uniform(0.5, 1.5, CAREFUL - attackers - 1)]
    others = [0.5] * SLOPPY + [1.0] * OFF_TOPIC + [1.5] * ADVERSARIES
    places = np.stack([*(_about(0.0, away, rng) for away in careful), *(_about(of, 1.0, rng) for of in others)])
    sent = np.full((rounds, len(places)), float(DEMONSTRATIONS))
    return Writers(
        place=np.tile(places, (rounds, 1, 1)),
        sent=sent,
        thought=sent.copy(),
        copied=np.zeros(sent.shape),
        attacker=np.arange(len(places)) < attackers,
        shown=np.full((rounds, *places.shape), np.nan),
    )


def _about(share: float, away: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A place ``away`` from a point ``share`` of the way from the target (0) to ordinary texts (1)."""
    direction = rng.normal(size=DIMENSIONS)
    place = away * direction / np.linalg.norm(direction)
    place[0] += share * START
    return place


def _with_names(writers: Writers, count: int) -> Writers:
    """The same with ``count`` more names of the attacker's, each like its first."""

    def grown(of: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([of, np.repeat(of[:, :1], count, axis=1)], axis=1)

    return Writers(
        grown(writers.place),
        grown(writers.sent),
        grown(writers.thought),
        grown(writers.copied),
        np.append(writers.attacker, np.ones(count, dtype=bool)),
        grown(writers.shown),
    )


def split_work(writers: Writers, rng: np.random.Generator, names: int = 4) -> Writers:
    """Sybils: one person's demonstrations sent under ``names`` names."""
    cheating = _with_names(writers, names - 1)
    for of in (cheating.sent, cheating.thought):
        of[:, cheating.attacker] /= names
    return cheating


def repeated_work(writers: Writers, rng: np.random.Generator, names: int = 4) -> Writers:
    """Sybils that each send the same demonstrations, reworded as little as it takes not to be word for word."""
    cheating = _with_names(writers, names - 1)
    cheating.thought[:, -(names - 1) :] = 0.0
    cheating.copied[:, -(names - 1) :] = 1.0
    return cheating


def scapegoat(writers: Writers, rng: np.random.Generator) -> Writers:
    """Collusion: three who write honestly, and a fourth name whose texts pull away from the target, so that the mean that
    all are measured against falls. Its debt is left behind."""
    cheating = _with_names(writers, 1)
    cheating.place[:, -1] = _about(1.5, 1.0, rng)
    cheating.thought[:, -1] = 0.0
    return cheating


def copycat(writers: Writers, rng: np.random.Generator, *, detected: float = 1.0) -> Writers:
    """Sends the best contributor's texts, reworded, in place of own work; detectors call a share of them copies."""
    best = int(writers.attacker.sum())
    writers.place[:, 0] = writers.place[:, best]
    writers.thought[:, 0] = 0.0
    writers.copied[:, 0] = detected
    return writers


def paraphraser(writers: Writers, rng: np.random.Generator) -> Writers:
    """A copy-cat whose rewording no detector sees through."""
    return copycat(writers, rng, detected=0.0)


def one_demonstration(writers: Writers, rng: np.random.Generator) -> Writers:
    """Free rider: one demonstration a round where others send sixteen."""
    writers.sent[:, 0] = writers.thought[:, 0] = 1.0
    return writers


def generated_work(writers: Writers, rng: np.random.Generator) -> Writers:
    """Free rider: sends what the base itself writes."""
    writers.place[:, 0] = np.nan
    writers.thought[:, 0] = 0.0
    return writers


def flood(writers: Writers, rng: np.random.Generator) -> Writers:
    """Free rider: sixteen times as many demonstrations as others, all of them what the base itself writes."""
    writers = generated_work(writers, rng)
    writers.sent[:, 0] *= 16
    return writers


def inflated(writers: Writers, rng: np.random.Generator) -> Writers:
    """Inflates its own attribution: texts without work that Φ sees on the target itself and that move no model."""
    writers = generated_work(writers, rng)
    writers.shown[:, 0] = 0.0
    return writers


def last_rounds_only(writers: Writers, rng: np.random.Generator) -> Writers:
    """Who takes part in the last round of each epoch, honestly."""
    absent = np.arange(len(writers.sent)) % EPOCH != EPOCH - 1
    for of in (writers.sent, writers.thought):
        of[absent, 0] = 0.0
    return writers


def hit_and_run(writers: Writers, rng: np.random.Generator) -> Writers:
    """Late joining: a new name in the last round of every epoch, ordinary texts at no cost, gone before it is known."""
    cheating = _with_names(writers, len(writers.sent) // EPOCH - 1)
    cheating.place[:, cheating.attacker] = _about(1.0, 1.0, rng)
    cheating.sent[:, cheating.attacker] = 0.0
    cheating.thought[:, cheating.attacker] = 0.0
    for epoch, name in enumerate(np.flatnonzero(cheating.attacker)):
        cheating.sent[EPOCH * (epoch + 1) - 1, name] = DEMONSTRATIONS
    return cheating


def milked(writers: Writers, rng: np.random.Generator) -> Writers:
    """Reputation milking: honest until the last epoch, then ordinary texts at no cost."""
    writers.place[-EPOCH:, 0] = _about(1.0, 1.0, rng)
    writers.thought[-EPOCH:, 0] = 0.0
    return writers


Attack = Callable[[Writers, np.random.Generator], Writers]


@dataclass(frozen=True, slots=True)
class WritersAttack:
    """An attack by ``attackers`` people in a campaign of ``rounds``, beside what they would do honestly. Gains are in units
    of what they are paid for ``unit_rounds`` of honest work. ``readable``: whoever reads the texts beside others' finds it out."""

    cheat: Attack
    attackers: int = 1
    honest: Attack | None = None
    rounds: int = ROUNDS
    unit_rounds: int = ROUNDS
    readable: bool = False


WRITERS_ATTACKS = {
    "sybils_split_work": WritersAttack(split_work),
    "sybils_repeat_work": WritersAttack(repeated_work),
    "collusion_scapegoat": WritersAttack(scapegoat, attackers=3),
    "copycat": WritersAttack(copycat),
    "copycat_paraphrase": WritersAttack(paraphraser, readable=True),
    "free_rider_one_demonstration": WritersAttack(one_demonstration),
    "free_rider_generated": WritersAttack(generated_work),
    "free_rider_flood": WritersAttack(flood),
    "inflated_attribution": WritersAttack(inflated),
    "late_joiner_hit_and_run": WritersAttack(hit_and_run, honest=last_rounds_only, unit_rounds=ROUNDS // EPOCH),
    "reputation_milking": WritersAttack(milked, rounds=LONG, unit_rounds=EPOCH),
}


def play(writers: Writers, rules: Rules, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points of every name in every epoch (E, N), in target distance; by rank, those of all rounds (1, N), in ranks."""
    names = writers.sent.shape[1]
    target = np.zeros(DIMENSIONS)
    base = np.zeros(DIMENSIONS)
    base[0] = START
    ranked = np.ones(names)
    points: list[NDArray[np.float64]] = []
    history: list[_Round] = []
    known: Standing | None = None
    by_rank = POINTS_SCHEMES[rules.scheme].every_round
    start = base
    for t in range(len(writers.sent)):
        base = start if t % EPOCH == 0 else base
        here = np.flatnonzero(writers.sent[t] > 0)
        keys, deviation = _keys(ranked, known, history, here, rules, rng)
        group = np.full(names, -1)
        entrants = Entrants(keys, GROUPS, round_no=t + 1, rounds=len(writers.sent), deviation=deviation)
        group[here] = GROUPINGS[rules.grouping].assign(entrants, rng)
        texts = np.where(np.isnan(writers.place[t]), base, writers.place[t])
        texts = texts + rng.normal(size=texts.shape) * TEXT_NOISE / np.sqrt(np.maximum(writers.sent[t], 1))[:, None]
        said = np.where(np.isnan(writers.shown[t]), texts, writers.shown[t])
        held = np.square(ranked) if by_rank else np.maximum(writers.sent[t], 1.0)
        shares = weight_shares(group, GROUPS, held)
        candidates = base + STEP * (shares @ texts - base)
        seen = np.concatenate([candidates, base[None]]) + rng.normal(scale=MODEL_NOISE, size=(GROUPS + 1, DIMENSIONS))
        distance = np.linalg.norm(seen, axis=1)
        best = int(np.argmin(distance[:-1]))
        improved = bool(distance[best] < distance[-1])
        if by_rank and improved:
            ranking = distance[:-1].copy()
            if rng.random() < SWAP:
                other = int(rng.integers(GROUPS - 1))
                other += other >= best
                ranking[[best, other]] = ranking[[other, best]]
                best = other
            ranked[here] += rank_points(ranking, group[here])
        gain = 0.0
        if improved:
            gain = float(np.linalg.norm(base) - np.linalg.norm(candidates[best]) + rng.normal(scale=GAIN_NOISE))
        history.append(_Round(shares, -distance[:-1], seen[:-1], seen[-1], gain, said, writers.sent[t]))
        base = candidates[best] if improved else base
        if not by_rank:
            seen_so_far = _tournament(history, rules.memory)
            known = POINTS_SCHEMES[rules.scheme].standing(seen_so_far, target, rng)
            if (t + 1) % EPOCH == 0:
                points.append(_epoch_pay(seen_so_far, known, writers, rules, t))
    return ranked[None] - 1.0 if by_rank else np.stack(points)


@dataclass(frozen=True, slots=True)
class _Round:
    shares: NDArray[np.float64]
    values: NDArray[np.float64]
    candidates: NDArray[np.float64]
    base: NDArray[np.float64]
    gain: float
    texts: NDArray[np.float64]
    sent: NDArray[np.float64]


def _keys(
    ranked: NDArray[np.float64],
    known: Standing | None,
    history: list[_Round],
    here: NDArray[np.int64],
    rules: Rules,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What groups are formed by, of those present; newcomers at the mean of who is known, as the graph has it."""
    if POINTS_SCHEMES[rules.scheme].every_round:
        return ranked[here], np.zeros(here.size)
    if known is None:
        return np.zeros(here.size), np.zeros(here.size)
    drawn = known.draw(rng)
    new = np.sum([of.sent for of in history], axis=0)[here] == 0
    keys = np.where(new, known.keys.mean(), known.keys[here])
    return keys, np.where(new, rng.normal(scale=drawn.std(), size=here.size), drawn[here])


def _tournament(history: list[_Round], memory: int) -> Tournament:
    """The rounds so far, or the last ``memory`` of them, as the graph would read them."""
    kept = history[-memory:] if memory else history
    sent = np.stack([of.sent for of in kept])
    written = np.einsum("tn,tnd->nd", sent, np.stack([of.texts for of in kept]))
    return Tournament(
        contributors=tuple(str(name) for name in range(sent.shape[1])),
        round_ids=tuple(str(number) for number in range(len(kept))),
        shares=np.concatenate([of.shares for of in kept]),
        values=np.concatenate([of.values for of in kept]),
        standard_errors=np.full(len(kept) * GROUPS, MODEL_NOISE),
        embeddings=np.concatenate([of.candidates for of in kept]),
        round_index=np.repeat(np.arange(len(kept)), GROUPS),
        bases=np.stack([of.base for of in kept]),
        gains=np.array([of.gain for of in kept]),
        gain_errors=np.where([of.gain != 0 for of in kept], GAIN_NOISE, 0.0),
        improved=np.array([of.gain != 0 for of in kept]),
        written=written / np.maximum(sent.sum(axis=0), 1.0)[:, None],
        demonstrations=sent,
    )


def _epoch_pay(seen: Tournament, known: Standing, writers: Writers, rules: Rules, last: int) -> NDArray[np.float64]:
    """Points (N,) of the epoch that ends with round ``last``, by the rule that rounds pay by."""
    withheld = Withheld(writers.copied[last + 1 - EPOCH : last + 1], np.zeros(len(seen.contributors), dtype=bool))
    pay = replace(rules.pay, least_rounds=min(rules.pay.least_rounds, len(seen.round_ids)))
    scheme = POINTS_SCHEMES[rules.scheme]
    return scheme.payouts(seen, known, len(seen.round_ids) - EPOCH, withheld, pay).points.sum(axis=0)
