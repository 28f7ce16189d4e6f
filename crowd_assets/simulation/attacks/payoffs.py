"""Attacks on pay: what somebody who cheats earns beside what the same people would have earned honestly.

Belongs here: the three games in which attacks are played, the attacks, the mechanisms they are played under. Does not
belong here: the mechanisms' mathematics (see ``crowd_assets.mechanisms``), how figures are shown (``benchmarks.attacks``).

*Demonstrations.* A contributor writes texts that lie about one place in Φ; the target is at 0. In every round a group's
candidate goes ``STEP`` of the way from the base to the mean of its members' texts; the closest becomes the next base. What is
observed of a model is its place with noise. Pay is computed by the functions that the asset graph calls. Texts that somebody
thought about cost work: half of what a careful contributor earns on average under the same mechanism; copied and generated
ones cost nothing. A balance below zero is left behind with the name, and so is its deposit. Who is found out by a reader is
not paid for the epoch and comes back at once as a new name that is paid as well, the most that it can hope for. The payoff is
points less the cost of work.

*Judgements.* Labelers report the chance that A is preferred; of some comparisons the outcome is realised. The payoff is
influence: the share of the aggregate that the attacker's reports are, on comparisons without an outcome. Everybody's work has
filled one deposit before the first round; a further name's is work done for it.

*Bids.* Sellers offer answers in lots, each at its own cost. The payoff is credits less cost.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions.lots import scoring_vcg, vickrey_feedback
from crowd_assets.mechanisms.estimates import kept_points, rank_points, regression_points, solvent_points, weight_shares
from crowd_assets.mechanisms.grouping import assign_groups
from crowd_assets.mechanisms.labelers.score_update import (
    counted_reports,
    initial_state,
    pooled,
    run_slots,
    with_newcomers,
)
from crowd_assets.mechanisms.ledger import held_back
from crowd_assets.quality.detectors.base import CONTRIBUTORS, FLAGGED_EVENTS, Detection
from crowd_assets.quality.detectors.groups import collusion
from crowd_assets.round.tournament import Standing, Tournament, standing
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
CAREFUL, SLOPPY, OFF_TOPIC, ADVERSARIES = 16, 3, 3, 2  # 24 people, as many as the demo asks for in all
TYPICAL, BEST = 1.0, 0.3  # distances from the target of an attacker's honest work and of the best contributor's
DEMONSTRATIONS = 16
EFFORT = 0.5  # what work costs, in what a careful contributor is paid for it
SWAP = 0.05  # of Crowd-SFT's simulation


@dataclass(frozen=True, slots=True)
class Rules:
    """Under what points are paid; the defaults are the papers' plain ones.

    Attributes:
        scheme: ``rank``, ``regression`` or ``surrogate``.
        by_work: Whether pay goes by demonstrations, at most ``most_paid`` a round, or by contributor.
        copy_discount, least_rounds: see ``points.kept_points``.
        solvent: see ``points.solvent_points``.
        memory: Rounds that estimates go back; 0: all.
        deposit: What is held back of each name's first points, in what a careful contributor earns in a round.
        read: Share of the names whose texts somebody reads when an epoch closes, drawn at random.
    """

    scheme: str = "rank"
    by_work: bool = False
    most_paid: int = 64
    copy_discount: float = 0.0
    least_rounds: int = 1
    solvent: bool = False
    memory: int = 0
    deposit: float = 0.0
    read: float = 0.0


PLAIN = Rules()
OURS = Rules("surrogate")
DEFENDED = Rules(
    "surrogate", by_work=True, copy_discount=1.0, least_rounds=2, solvent=True, memory=6, deposit=1.0, read=0.5
)

SHIPPED = Settings()
"""The settings of somebody who sets nothing."""


def shipped(settings: Settings) -> Rules:
    """The rules of a round with ``settings``. A deposit of so many points is none in units of pay: only 0 is known here.

    Raises:
        ValueError: a deposit is shipped, whose worth in rounds of pay this game has to be told.
    """
    if Decimal(settings.deposit):
        raise ValueError("a deposit in points has no fixed worth in rounds of a careful contributor's pay: say it here")
    return Rules(
        settings.points_scheme,
        by_work=settings.pay_by == "demonstrations",
        most_paid=settings.paid_demonstrations,
        copy_discount=settings.copy_discount,
        least_rounds=settings.points_after_rounds,
        solvent=settings.covered_points,
        memory=settings.memory_rounds,
    )


RULES = {"plain": PLAIN, "as_shipped": shipped(SHIPPED), "hardened": DEFENDED}


@dataclass(frozen=True, slots=True)
class Writers:
    """N names that write in T rounds: ``place`` (T, N, d), NaN for what the base itself would write; ``sent`` (T, N)
    demonstrations; ``thought`` (T, N) of them that cost work; ``copied`` (T, N) share that detectors call copies;
    ``attacker`` (N,), whose pay counts."""

    place: NDArray[np.float64]
    sent: NDArray[np.float64]
    thought: NDArray[np.float64]
    copied: NDArray[np.float64]
    attacker: NDArray[np.bool_]


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
    start = base
    for t in range(len(writers.sent)):
        base = start if t % EPOCH == 0 else base
        here = np.flatnonzero(writers.sent[t] > 0)
        keys, deviation = _keys(ranked, known, history, here, rules, rng)
        group = np.full(names, -1)
        group[here] = assign_groups(
            "epsilon_greedy" if rules.scheme == "rank" else "posterior_sampling",
            keys,
            GROUPS,
            round_no=t + 1,
            rounds=len(writers.sent),
            rng=rng,
            deviation=deviation,
        )
        texts = np.where(np.isnan(writers.place[t]), base, writers.place[t])
        texts = texts + rng.normal(size=texts.shape) * TEXT_NOISE / np.sqrt(np.maximum(writers.sent[t], 1))[:, None]
        held = np.square(ranked) if rules.scheme == "rank" else np.maximum(writers.sent[t], 1.0)
        shares = weight_shares(group, GROUPS, held)
        candidates = base + STEP * (shares @ texts - base)
        seen = np.concatenate([candidates, base[None]]) + rng.normal(scale=MODEL_NOISE, size=(GROUPS + 1, DIMENSIONS))
        distance = np.linalg.norm(seen, axis=1)
        best = int(np.argmin(distance[:-1]))
        improved = bool(distance[best] < distance[-1])
        if rules.scheme == "rank" and improved:
            ranking = distance[:-1].copy()
            if rng.random() < SWAP:
                other = int(rng.integers(GROUPS - 1))
                other += other >= best
                ranking[[best, other]] = ranking[[other, best]]
                best = other
            ranked[here] += rank_points(ranking, group[here])
        gain = float(np.linalg.norm(base) - np.linalg.norm(candidates[best])) if improved else 0.0
        history.append(_Round(shares, -distance[:-1], seen[:-1], seen[-1], gain, texts, writers.sent[t]))
        base = candidates[best] if improved else base
        if rules.scheme != "rank":
            known = standing(_tournament(history, rules.memory), rules.scheme, target, rng)
            if (t + 1) % EPOCH == 0:
                points.append(_epoch_pay(history[-EPOCH:], known, writers, rules, t))
    return ranked[None] - 1.0 if rules.scheme == "rank" else np.stack(points)


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
    if rules.scheme == "rank":
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
        written=written / np.maximum(sent.sum(axis=0), 1.0)[:, None],
        demonstrations=sent,
    )


def _epoch_pay(epoch: list[_Round], known: Standing, writers: Writers, rules: Rules, last: int) -> NDArray[np.float64]:
    sent, gains = np.stack([of.sent for of in epoch]), np.array([of.gain for of in epoch])
    payouts = regression_points(
        known.estimates,
        sent > 0,
        gains,
        spread=known.spread,
        work=np.minimum(np.maximum(sent, 1.0), rules.most_paid) if rules.by_work else None,
    )
    if rules.solvent:
        payouts = solvent_points(payouts, gains)
    return kept_points(
        payouts,
        (writers.sent[: last + 1] > 0).sum(axis=0),
        writers.copied[last + 1 - len(epoch) : last + 1],
        least_rounds=rules.least_rounds,
        copy_discount=rules.copy_discount,
    ).sum(axis=0)


LABELERS, BIASED = 12, 3
LABELING_ROUNDS = 6
WITH_OUTCOME, WITHOUT_OUTCOME = 32, 12  # comparisons a round
BELIEF_NOISE, BIAS = 0.15, 0.3
DISGUISE = 0.1  # sd by which a careful sybil's reports differ from one another


@dataclass(frozen=True, slots=True)
class LabelRules:
    """How judgements are pooled; the defaults are the plain average. ``rings_once``: one report a comparison of those that
    the detector ``collusion`` links; ``entry``: see ``aggregation.with_newcomers``; ``audited``: share of the comparisons
    without an outcome that get one in the end, drawn when all have judged; ``stake``: no report counts of a name without a
    deposit."""

    weighted: bool = False
    rings_once: bool = False
    entry: float = 1.0
    audited: float = 0.0
    stake: bool = False


LABEL_RULES = {
    "plain": LabelRules(),
    "as_shipped": LabelRules(
        weighted=True,
        rings_once=SHIPPED.rings_count_once,
        entry=SHIPPED.newcomer_weight,
        audited=SHIPPED.audit_share,
        stake=SHIPPED.labeler_stake,
    ),
    "hardened": LabelRules(weighted=True, rings_once=True, entry=0.5, audited=0.25, stake=True),
}


@dataclass(frozen=True, slots=True)
class Judges:
    """N names that judge in R rounds: ``reports`` (R, S, N), NaN where there is none; ``outcomes`` (R, S), of which the first
    ``WITH_OUTCOME`` of a round are realised; ``attacker`` (N,), whose influence counts, ``counted`` (R,) in which rounds; ``staked``
    (N,), whose deposits are whole."""

    reports: NDArray[np.float64]
    outcomes: NDArray[np.float64]
    attacker: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    staked: NDArray[np.bool_]


def honest_judges(rng: np.random.Generator) -> Judges:
    """Labelers who report what they believe, the attacker-to-be first; the last three lean towards A."""
    chance = rng.beta(0.5, 0.5, (LABELING_ROUNDS, WITH_OUTCOME + WITHOUT_OUTCOME))
    noise = rng.normal(scale=BELIEF_NOISE, size=(*chance.shape, LABELERS))
    noise[..., LABELERS - BIASED :] += BIAS
    return Judges(
        np.clip(chance[..., None] + noise, 0.0, 1.0),
        (rng.random(chance.shape) < chance).astype(np.float64),
        np.arange(LABELERS) == 0,
        np.ones(LABELING_ROUNDS, dtype=bool),
        np.ones(LABELERS, dtype=bool),
    )


def same_reports(judges: Judges, rng: np.random.Generator, names: int = 4, disguise: float = 0.0) -> Judges:
    """Sybils: one labeler's judgements under ``names`` names, alike but for noise of sd ``disguise``."""
    own = np.repeat(judges.reports[..., :1], names - 1, axis=-1)
    own = np.clip(own + rng.normal(scale=disguise, size=own.shape), 0.0, 1.0)
    return replace(
        judges,
        reports=np.concatenate([judges.reports, own], axis=-1),
        attacker=np.append(judges.attacker, np.ones(names - 1, dtype=bool)),
        staked=np.append(judges.staked, np.zeros(names - 1, dtype=bool)),
    )


def disguised_reports(judges: Judges, rng: np.random.Generator) -> Judges:
    """Sybils that take care to differ."""
    return same_reports(judges, rng, disguise=DISGUISE)


def funded_reports(judges: Judges, rng: np.random.Generator) -> Judges:
    """The same, each with a deposit of its own, which takes the work."""
    judges = disguised_reports(judges, rng)
    return replace(judges, staked=np.ones(judges.staked.size, dtype=bool))


def fresh_names(judges: Judges, rng: np.random.Generator) -> Judges:
    """Late joining: guesses at no cost, under a new name in every round."""
    guesses = np.full((*judges.outcomes.shape, LABELING_ROUNDS), np.nan)
    for number in range(LABELING_ROUNDS):
        guesses[number, :, number] = rng.random(judges.outcomes.shape[1])
    return replace(
        judges,
        reports=np.concatenate([guesses, judges.reports[..., 1:]], axis=-1),
        attacker=np.arange(LABELING_ROUNDS + LABELERS - 1) < LABELING_ROUNDS,
        staked=np.isin(np.arange(LABELING_ROUNDS + LABELERS - 1), np.arange(1, LABELING_ROUNDS), invert=True),
    )


def turned(judges: Judges, rng: np.random.Generator) -> Judges:
    """Reputation milking: honest for two thirds of the rounds, then the opposite of the belief."""
    reports = judges.reports.copy()
    reports[-LABELING_ROUNDS // 3 :, :, 0] = 1.0 - reports[-LABELING_ROUNDS // 3 :, :, 0]
    return replace(judges, reports=reports)


def turned_unseen(judges: Judges, rng: np.random.Generator) -> Judges:
    """The same, and only on comparisons of which it knows that no outcome will come."""
    reports = judges.reports.copy()
    reports[-LABELING_ROUNDS // 3 :, WITH_OUTCOME:, 0] = 1.0 - reports[-LABELING_ROUNDS // 3 :, WITH_OUTCOME:, 0]
    return replace(judges, reports=reports)


def _last_third(judges: Judges) -> Judges:
    return replace(judges, counted=np.arange(LABELING_ROUNDS) >= LABELING_ROUNDS - LABELING_ROUNDS // 3)


JUDGES_ATTACKS: dict[str, tuple[Callable[[Judges, np.random.Generator], Judges], bool]] = {
    "labeler_sybils": (same_reports, False),
    "labeler_sybils_disguised": (disguised_reports, False),
    "labeler_sybils_funded": (funded_reports, False),
    "labeler_fresh_names": (fresh_names, False),
    "labeler_milking": (turned, True),
    "labeler_milking_unseen": (turned_unseen, True),
}


def influence(judges: Judges, rules: LabelRules, rng: np.random.Generator) -> float:
    """Mean share of the attacker's reports in the aggregates without an outcome, over the rounds that count."""
    names = judges.reports.shape[-1]
    known: list[int] = []
    state = None
    shares = []
    for reports, outcomes in zip(judges.reports, judges.outcomes, strict=True):
        if rules.stake:
            reports = np.where(judges.staked, reports, np.nan)
        present = ~np.isnan(reports).all(axis=0)
        if rules.rings_once:
            reports = _once(reports)
        new = [name for name in np.flatnonzero(present).tolist() if name not in known]
        state = initial_state(len(new)) if state is None else with_newcomers(state, len(new), entry=rules.entry)
        known += new
        open_ = np.arange(outcomes.size) >= WITH_OUTCOME
        seen = ~open_ | (rng.random(outcomes.size) < rules.audited)
        state = run_slots(state, reports[seen][:, known], outcomes[seen]).state
        weights = np.zeros(names)
        weights[known] = state.weights if rules.weighted else 1.0
        held = np.where(np.isnan(reports[open_]), 0.0, weights)
        shares.append((held[:, judges.attacker].sum(axis=1) / held.sum(axis=1)).mean())
    return float(np.mean(np.array(shares)[judges.counted]))


def _once(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reports (S, N) of a round, one a comparison of each ring that the detector finds in them."""
    slot, name = np.nonzero(~np.isnan(reports))
    ring = _rings(reports, slot, name)
    counts = counted_reports(slot, ring[name], once=True)
    kept = np.full(reports.shape, np.nan)
    kept[slot[counts], name[counts]] = reports[slot[counts], name[counts]]
    return kept


def _rings(reports: NDArray[np.float64], slot: NDArray[np.int64], name: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ring of each name (N,), its own where the detector links it with nobody."""
    events = pl.DataFrame(
        {
            "event_id": [f"{one}-{other}" for one, other in zip(slot, name, strict=True)],
            "seq": np.arange(slot.size),
            "kind": ["preference"] * slot.size,
            "contributor_id": [f"{one:04d}" for one in name],
            "comparison_id": [str(one) for one in slot],
            "probability_a": reports[slot, name].round(4),
        }
    )
    nothing = Detection("", pl.DataFrame(schema=FLAGGED_EVENTS), pl.DataFrame(schema=CONTRIBUTORS))
    found = collusion(events, nothing, nothing).rings
    ring = np.arange(reports.shape[1]) + 1_000_000
    ring[found["contributor_id"].cast(pl.Int64).to_numpy()] = found["ring"].to_numpy()
    return ring


LOTS, SELLERS, RING = 12, 8, 3
QUANTA = 1_000_000
BUDGET = 24 * QUANTA
LEAST_SURPLUS = 0.5  # credits of an answer's value that the buyer keeps, hardened


@dataclass(frozen=True, slots=True)
class Sellers:
    """Answers on sale in L lots: ``cost`` and ``quality`` (L, n); quality in [0, 1], cost in quanta. The first are the
    attacker's."""

    cost: NDArray[np.int64]
    quality: NDArray[np.float64]


def sellers(rng: np.random.Generator) -> Sellers:
    """Sellers as the demo has them: most of their answers on target, each at its cost."""
    skill = rng.uniform(0.6, 0.95, SELLERS)
    quality = np.clip(
        np.where(rng.random((LOTS, SELLERS)) < skill, 0.75, 0.25) + rng.normal(0, 0.08, (LOTS, SELLERS)), 0, 1
    )
    cost = rng.uniform(0.1, 0.4, SELLERS) * rng.uniform(0.8, 1.2, (LOTS, SELLERS))
    return Sellers(np.rint(cost * QUANTA).astype(np.int64), quality)


def earned(
    values: NDArray[np.int64], asked: NDArray[np.int64], cost: NDArray[np.int64], whose: NDArray[np.int64]
) -> int:
    """What bids at the places ``whose`` earn in one lot over their cost, quanta."""
    cleared = scoring_vcg(values, asked, 2, tie_break=np.arange(values.size))
    if cleared.awarded.sum() < 2:
        return 0
    won = whose[cleared.awarded[whose]]
    return int((cleared.payments[won] - cost[won]).sum())


def worth(quality: NDArray[np.float64], surplus: float = 0.0) -> NDArray[np.int64]:
    """Values of answers of ``quality`` to a buyer who keeps ``surplus`` credits of each, in quanta."""
    return np.floor(np.maximum(quality - surplus, 0.0) * QUANTA).astype(np.int64)


def best_ring(
    values: NDArray[np.int64], asked: NDArray[np.int64], ring: NDArray[np.int64], most_bids: int | None = None
) -> int:
    """The most that a ring earns in one lot by keeping some of its bids back, where it knows all the others'."""
    best = 0
    for size in range(1, min(ring.size, most_bids or ring.size) + 1):
        for bidding in combinations(ring.tolist(), size):
            there = np.setdiff1d(np.arange(values.size), np.setdiff1d(ring, bidding))
            own = np.flatnonzero(np.isin(there, bidding))
            best = max(best, earned(values[there], asked[there], asked[there], own))
    return best


def ring_pay(market: Sellers, rules: str, cheat: bool) -> float:
    """Credits that three of the sellers earn over their costs, bidding as a ring or each for itself.

    Plain is the VickreyFeedback summary's rule, where bids are claims of quality: a ring claims what the budget of a lot
    bears. Hardened: the buyer keeps ``LEAST_SURPLUS`` of every answer's value.
    """
    ring, total = np.arange(RING), 0
    for cost, quality in zip(market.cost, market.quality, strict=True):
        if rules == "plain":
            bids = worth(quality)
            if cheat:
                bids[ring] = BUDGET // LOTS // 2
            bought = vickrey_feedback(bids, tie_break=np.arange(bids.size))
            total += int((bought.payments[ring] - np.where(bought.awarded[ring], cost[ring], 0)).sum())
        else:
            values = worth(quality, LEAST_SURPLUS if rules == "hardened" else 0.0)
            total += best_ring(values, cost, ring) if cheat else earned(values, cost, cost, ring)
    return total / QUANTA


def sybil_seller_pay(market: Sellers, rules: str, cheat: bool) -> float:
    """Credits of one seller with one answer a lot, or with three names that offer three: hardened, as one ring that is
    admitted with its first bid."""
    total = 0
    for cost, quality in zip(market.cost, market.quality, strict=True):
        own = cost[0]
        cost, quality = cost.copy(), quality.copy()
        cost[:RING], quality[:RING] = own, quality[0]
        names = np.arange(RING if cheat and rules != "hardened" else 1)
        there = np.concatenate([names, np.arange(RING, SELLERS)])
        if rules == "plain":
            bids = worth(quality)
            if cheat:
                bids[:RING] = BUDGET // LOTS // 2
            bought = vickrey_feedback(bids[there], tie_break=np.arange(there.size))
            total += int(bought.payments[names].sum()) - int(own) * int(bought.awarded[names].sum())
        else:
            values = worth(quality)[there]
            total += best_ring(values, cost[there], names) if cheat else earned(values, cost[there], cost[there], names)
    return total / QUANTA


def owner_pay(market: Sellers, rules: str, cheat: bool, rng: np.random.Generator) -> float:
    """Credits of a seller that a labeler owns. Plain: the buyer verifies quality by the mean of what labelers say of each
    answer; as shipped: by its place in Φ, of which no labeler is asked."""
    total = 0
    for cost, quality in zip(market.cost, market.quality, strict=True):
        said = np.clip(quality + rng.normal(scale=BELIEF_NOISE, size=(LABELERS, SELLERS)), 0.0, 1.0)
        if cheat:
            said[0] = np.arange(SELLERS) == 0
        values = worth(said.mean(axis=0) if rules == "plain" else quality)
        total += earned(values, cost, cost, np.zeros(1, dtype=np.int64))
    return total / QUANTA


def owner_say(judges: Judges, rules: str, cheat: bool) -> float:
    """How much the crowd is said to prefer the seller's answers, one of each pair without an outcome: the mean aggregate for
    them. Hardened, no report counts of who sells one of the two."""
    weights = np.full(LABELERS, 1.0 / LABELERS)
    if rules != "plain":
        reports = judges.reports[:, :WITH_OUTCOME].reshape(-1, LABELERS)
        weights = run_slots(initial_state(LABELERS), reports, judges.outcomes[:, :WITH_OUTCOME].ravel()).state.weights
    reports = judges.reports[:, WITH_OUTCOME:].reshape(-1, LABELERS).copy()
    if cheat:
        reports[:, 0] = 1.0
    if rules == "hardened":
        slot, labeler = np.divmod(np.arange(reports.size), LABELERS)
        own = counted_reports(
            slot, labeler, interested=(np.arange(len(reports)), np.zeros(len(reports), dtype=np.int64))
        )
        reports = np.where(own.reshape(reports.shape), reports, np.nan)
    return float(pooled(weights, reports).mean())


MARKET_ATTACKS = ("bid_ring", "sybil_seller", "labeler_owns_bidder", "labeler_owns_bidder_say")


@dataclass(frozen=True, slots=True)
class Payoffs:
    """Payoffs over seeds, honest and cheating, (S,) each, and the honest payoff that a gain is measured in."""

    honest: NDArray[np.float64]
    cheating: NDArray[np.float64]
    unit: float

    @property
    def gain(self) -> tuple[float, float, float]:
        """Mean gain over honest play in units of the honest payoff, and its 95 % interval."""
        gains = (self.cheating - self.honest) / self.unit
        half = 1.96 * float(gains.std(ddof=1)) / np.sqrt(gains.size)
        return float(gains.mean()), float(gains.mean() - half), float(gains.mean() + half)


def kept(earned: NDArray[np.float64], deposit: float, found: float = 0.0) -> float:
    """What somebody keeps in the end of the points ``earned`` (E,) in E epochs, as one name or, where it is found out with chance
    ``found`` in each, as one after the other; the mean."""
    total = 0.0
    for first in range(earned.size if found else 1):
        born, paid, held = found if first else 1.0, 0.0, 0.0
        for epoch, points in enumerate(earned[first:]):
            back = held_back(held, float(points), deposit)
            held += back
            paid += (1.0 - found) ** (epoch + 1) * (float(points) - back)
        total += born * paid
    return max(total, 0.0)


Played = list[tuple[NDArray[np.float64], Writers]]


@lru_cache(maxsize=16)
def _played(how: Attack | None, attackers: int, rounds: int, rules: Rules, seeds: int, seed: int) -> Played:
    """Points and what was done for them, of every seed; what honest and cheating do shares what is drawn before."""
    played = []
    for run in range(seeds):
        writers = honest_writers(np.random.default_rng([seed, run, 0]), attackers, rounds)
        if how is not None:
            writers = how(writers, np.random.default_rng([seed, run, 1]))
        played.append((play(writers, rules, np.random.default_rng([seed, run, 2])), writers))
    return played


def writers_payoffs(attack: WritersAttack, rules: Rules, seeds: int, seed: int) -> Payoffs:
    """An attack on points under ``rules``."""
    same = replace(rules, deposit=0.0, read=0.0)  # neither changes a round
    game = (attack.attackers, attack.rounds, same, seeds, seed)
    full = _played(None, *game)
    careful = np.mean([points.sum(axis=0)[:CAREFUL].mean() for points, _ in full]) / attack.rounds  # in a round

    def payoffs(played: Played, found: float = 0.0) -> NDArray[np.float64]:
        paid = [
            sum(kept(earned, rules.deposit * careful, found) for earned in points.T[of.attacker])
            for points, of in played
        ]
        work = [of.thought[:, of.attacker].sum() / DEMONSTRATIONS for _, of in played]
        return np.array(paid) - EFFORT * careful * np.array(work)

    honest = payoffs(full if attack.honest is None else _played(attack.honest, *game))
    if honest.mean() < 0:
        honest = np.zeros(seeds)  # who would work at a loss stays away
    unit = float(payoffs(full).mean()) * attack.unit_rounds / attack.rounds
    cheating = payoffs(_played(attack.cheat, *game), rules.read * attack.readable)
    return Payoffs(honest, cheating, unit)


def judges_payoffs(name: str, rules: LabelRules, seeds: int, seed: int) -> Payoffs:
    """An attack on influence."""
    cheat, late = JUDGES_ATTACKS[name]
    honest, cheating = [], []
    for run in range(seeds):
        judges = honest_judges(np.random.default_rng([seed, run, 0]))
        judges = _last_third(judges) if late else judges
        honest.append(influence(judges, rules, np.random.default_rng([seed, run, 2])))
        cheating.append(
            influence(
                cheat(judges, np.random.default_rng([seed, run, 1])), rules, np.random.default_rng([seed, run, 2])
            )
        )
    return Payoffs(np.array(honest), np.array(cheating), float(np.mean(honest)))


def market_payoffs(name: str, rules: str, seeds: int, seed: int) -> Payoffs:
    """An attack by or for sellers."""

    def paid(run: int, cheat: bool) -> float:
        if name == "labeler_owns_bidder_say":
            return owner_say(honest_judges(np.random.default_rng([seed, run, 0])), rules, cheat)
        market = sellers(np.random.default_rng([seed, run, 0]))
        if name == "bid_ring":
            return ring_pay(market, rules, cheat)
        if name == "sybil_seller":
            return sybil_seller_pay(market, rules, cheat)
        return owner_pay(market, rules, cheat, np.random.default_rng([seed, run, 1]))

    honest, cheating = (np.array([paid(run, cheat) for run in range(seeds)]) for cheat in (False, True))
    return Payoffs(honest, cheating, float(honest.mean()))
