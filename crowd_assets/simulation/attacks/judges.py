"""Attacks on labelers' weights, and on pay for judgements.

Belongs here: crowds of judges, honest and not, their influence and their pay. Does not belong here: what is reported of them (see
``payoffs``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.judging import earned_by_outcome, paid_out
from crowd_assets.mechanisms.labelers.alike import alikeness
from crowd_assets.mechanisms.labelers.base import CountsParts, nobody_known, with_newcomers
from crowd_assets.mechanisms.labelers.score_update import counted_reports
from crowd_assets.mechanisms.labelers.table import AGGREGATES
from crowd_assets.quality.detectors.base import CONTRIBUTORS, FLAGGED_EVENTS, Detection
from crowd_assets.quality.detectors.groups import collusion
from crowd_assets.round.judging import USUAL
from crowd_assets.simulation.attacks.writers import SHIPPED

LABELERS, BIASED = 12, 3


LABELING_ROUNDS = 6


WITH_OUTCOME, WITHOUT_OUTCOME = 32, 12  # comparisons a round


BELIEF_NOISE, BIAS = 0.15, 0.3


LATE_FROM = LABELING_ROUNDS - LABELING_ROUNDS // 3


SURE, EASY, NO_VIEW = 0.4, 0.35, 0.05  # distance of a report, or of the others' mean, from one half


DISGUISE = 0.1  # sd by which a careful sybil's reports differ from one another


@dataclass(frozen=True, slots=True)
class LabelRules:
    """How judgements are pooled; the defaults are the plain average. ``aggregate``: a member of the family; ``alike_once``: reports count
    for what is their labelers' own, over ``memory`` rounds, ``by_difficulty``, see ``labelers.alike``; ``rings_once``: one report a comparison of those that
    the detector ``collusion`` links; ``entry``: see ``labelers.base.with_newcomers``; ``audited``: share of the comparisons
    without an outcome that get one in the end, drawn when all have judged; ``stake``: no report counts of a name without a
    deposit; ``paid_by_mean``: pay goes by the mean score of what one answered; ``dues``: points of score that are not paid."""

    aggregate: str = "mean"
    alike_once: bool = False
    by_difficulty: bool = SHIPPED.alike_by_difficulty
    memory: int = SHIPPED.memory_rounds
    rings_once: bool = False
    entry: float = 1.0
    audited: float = 0.0
    stake: bool = False
    paid_by_mean: bool = False
    dues: float = SHIPPED.judging_dues


LABEL_RULES = {
    "plain": LabelRules(paid_by_mean=True),
    "as_shipped": LabelRules(
        aggregate=SHIPPED.aggregate,
        alike_once=SHIPPED.alike_count_once,
        by_difficulty=SHIPPED.alike_by_difficulty,
        rings_once=SHIPPED.rings_count_once,
        entry=SHIPPED.newcomer_weight,
        audited=SHIPPED.audit_share,
        stake=SHIPPED.labeler_stake,
    ),
    "hardened": LabelRules(SHIPPED.aggregate, alike_once=True, rings_once=True, entry=0.5, audited=0.25, stake=True),
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


def opposed_reports(judges: Judges, rng: np.random.Generator, names: int = 4) -> Judges:
    """Sybils whose noises sum to zero and hide that one labeler judges: no two of them share an error."""
    noise = rng.normal(size=(*judges.outcomes.shape, names))
    noise = (noise - noise.mean(axis=-1, keepdims=True)) * BELIEF_NOISE * np.sqrt(names)
    own = np.clip(judges.reports[..., :1] + noise, 0.0, 1.0)
    further = np.ones(names - 1, dtype=bool)
    return replace(
        judges,
        reports=np.concatenate([own, judges.reports[..., 1:]], axis=-1),
        attacker=np.concatenate([judges.attacker[:1], further, judges.attacker[1:]]),
        staked=np.concatenate([judges.staked[:1], further, judges.staked[1:]]),
    )


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


def last_third(judges: Judges) -> Judges:
    return replace(judges, counted=np.arange(LABELING_ROUNDS) >= LATE_FROM)


def _answers(judges: Judges, which: NDArray[np.bool_], until: int) -> Judges:
    """The same, where the attacker answers ``which`` (R, S) alone in the first rounds."""
    reports = judges.reports.copy()
    early = np.arange(LABELING_ROUNDS)[:, None] < until
    reports[..., 0] = np.where(early & ~which, np.nan, reports[..., 0])
    return replace(judges, reports=reports)


def selective(judges: Judges, rng: np.random.Generator) -> Judges:
    """Selective answering: for two thirds of the rounds only what it is sure of, so that its record is good; then everything."""
    return _answers(judges, np.abs(judges.reports[..., 0] - 0.5) >= SURE, LATE_FROM)


def cherry_picked(judges: Judges, rng: np.random.Generator) -> Judges:
    """Cherry-picking: the same with what is easy for everybody."""
    return _answers(judges, np.abs(judges.reports[..., 1:].mean(axis=-1) - 0.5) >= EASY, LATE_FROM)


def lied_once(judges: Judges, rng: np.random.Generator) -> Judges:
    """The opposite of the belief in the first round, the belief from then on."""
    reports = judges.reports.copy()
    reports[0, :, 0] = 1.0 - reports[0, :, 0]
    return replace(judges, reports=reports)


def stayed_away(judges: Judges, rng: np.random.Generator) -> Judges:
    """Staying away: a bad record, then nothing until it is forgotten; honest play is the same record and honest work since."""
    reports = lied_once(judges, rng).reports
    reports[1:LATE_FROM, :, 0] = np.nan
    return replace(judges, reports=reports)


def answers_what_pays(judges: Judges, rng: np.random.Generator) -> Judges:
    """Selective answering for pay: nothing that it has no view of, as each judgement less is a larger part of the budget for the others."""
    return _answers(judges, np.abs(judges.reports[..., 0] - 0.5) >= NO_VIEW, LABELING_ROUNDS)


def answers_what_is_sure(judges: Judges, rng: np.random.Generator) -> Judges:
    """Only what it is sure of, in all rounds."""
    return _answers(judges, np.abs(judges.reports[..., 0] - 0.5) >= SURE, LABELING_ROUNDS)


def answers_what_is_easy(judges: Judges, rng: np.random.Generator) -> Judges:
    """Only what is easy for everybody, in all rounds."""
    return _answers(judges, np.abs(judges.reports[..., 1:].mean(axis=-1) - 0.5) >= EASY, LABELING_ROUNDS)


@dataclass(frozen=True, slots=True)
class JudgesAttack:
    """``cheat`` instead of ``honest`` play, where that is not what all did; ``late``: the last third of the rounds counts alone; ``pay``:
    the payoff is credits and not influence."""

    cheat: Callable[[Judges, np.random.Generator], Judges]
    late: bool = False
    honest: Callable[[Judges, np.random.Generator], Judges] | None = None
    pay: bool = False


JUDGES_ATTACKS: dict[str, JudgesAttack] = {
    "labeler_sybils": JudgesAttack(same_reports),
    "labeler_sybils_disguised": JudgesAttack(disguised_reports),
    "labeler_sybils_funded": JudgesAttack(funded_reports),
    "labeler_sybils_opposed": JudgesAttack(opposed_reports),
    "labeler_fresh_names": JudgesAttack(fresh_names),
    "labeler_milking": JudgesAttack(turned, late=True),
    "labeler_milking_unseen": JudgesAttack(turned_unseen, late=True),
    "labeler_selective": JudgesAttack(selective, late=True),
    "labeler_cherry_picks": JudgesAttack(cherry_picked, late=True),
    "labeler_stays_away": JudgesAttack(stayed_away, late=True, honest=lied_once),
    "paid_judge_selective": JudgesAttack(answers_what_pays, pay=True),
    "paid_judge_sure_only": JudgesAttack(answers_what_is_sure, pay=True),
    "paid_judge_cherry_picks": JudgesAttack(answers_what_is_easy, pay=True),
    "paid_judge_stays_away": JudgesAttack(stayed_away, honest=lied_once, pay=True),
}


def pay(judges: Judges, rules: LabelRules) -> float:
    """Credits of the attacker in all rounds, of a budget of 1 in each: of everybody by the score of each judgement whose outcome is
    realised; under plain rules an equal part each, times the mean score of what one answered."""
    names = judges.reports.shape[-1]
    balance, credits = np.full(names, -rules.dues), 0.0
    for reports, outcomes in zip(judges.reports[:, :WITH_OUTCOME], judges.outcomes[:, :WITH_OUTCOME], strict=True):
        slot, name, report = _rows(reports)
        others = (0.5 * USUAL + outcomes.sum() - outcomes) / (USUAL + outcomes.size - 1)
        earned = earned_by_outcome(name, report, outcomes[slot], labelers=names, budget=1.0, baseline=others[slot])
        if rules.paid_by_mean:
            mean = earned.score / np.maximum(earned.scored, 1)
            credits += float(np.maximum(mean, 0.0)[judges.attacker].sum()) / names
            continue
        done = paid_out(balance, earned.score)
        balance = done.balance
        credits += float(done.paid[judges.attacker].sum()) * earned.rate
    return credits


def influence(judges: Judges, rules: LabelRules, rng: np.random.Generator) -> float:
    """Mean share of the attacker's reports in the aggregates without an outcome, over the rounds that count."""
    held = np.stack([of_round for of_round, _ in pooled_rounds(judges, rules, rng)])
    shares = held[..., judges.attacker].sum(axis=-1) / held.sum(axis=-1)
    return float(shares.mean(axis=1)[judges.counted].mean())


def pooled_rounds(
    judges: Judges, rules: LabelRules, rng: np.random.Generator
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Of each round what every report counts for in the aggregates without an outcome (S, N), and these aggregates (S,)."""
    names = judges.reports.shape[-1]
    order: list[int] = []  # names as the rounds brought them
    known = None
    aggregate = AGGREGATES[rules.aggregate]
    remembered: list[NDArray[np.float64]] = []
    found = []
    for reports, outcomes in zip(judges.reports, judges.outcomes, strict=True):
        if rules.stake:
            reports = np.where(judges.staked, reports, np.nan)
        remembered = [*remembered, reports][-rules.memory :]
        present = ~np.isnan(reports).all(axis=0)
        if rules.rings_once:
            reports = _once(reports)
        new = [name for name in np.flatnonzero(present).tolist() if name not in order]
        known = nobody_known(len(new)) if known is None else with_newcomers(known, len(new), entry=rules.entry)
        order += new
        open_ = np.arange(outcomes.size) >= WITH_OUTCOME
        seen = ~open_ | (rng.random(outcomes.size) < rules.audited)
        known = aggregate.run(known, *_rows(reports[seen][:, order]), outcomes[seen], entry=rules.entry, rng=rng).known
        asked = _rows(reports[open_][:, order])
        parts, pooling = np.ones(asked[0].size), aggregate
        if rules.alike_once and isinstance(aggregate, CountsParts):
            every = _rows(np.concatenate(remembered)[:, order])
            alike = alikeness(*every, labelers=len(order), by_difficulty=rules.by_difficulty)
            parts = alike.parts(*asked[:2])
            pooling = aggregate.with_parts(parts)
        nothing = np.full(int(open_.sum()), np.nan)
        pooled = pooling.run(known, *asked, nothing, entry=rules.entry, rng=rng).aggregates
        held = np.zeros((nothing.size, names))
        held[asked[0], np.array(order)[asked[1]]] = known.weights[asked[1]] * parts
        found.append((held, pooled))
    return found


def _rows(reports: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Slot, labeler and report of what was reported in (S, N)."""
    slot, name = np.nonzero(~np.isnan(reports))
    return slot, name, reports[slot, name]


def _once(reports: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reports (S, N) of a round, one a comparison of each ring that the detector finds in them."""
    slot, name, _ = _rows(reports)
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
    rings = collusion(events, nothing, nothing).rings
    ring = np.arange(reports.shape[1]) + 1_000_000
    ring[rings["contributor_id"].cast(pl.Int64).to_numpy()] = rings["ring"].to_numpy()
    return ring
