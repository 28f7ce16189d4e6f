"""The best lie that labelers find: a search for a misreport that pays, against others who tell the truth.

Belongs here: random instances, what each motive is worth under each rule, the search. Does not belong here: the mechanisms
themselves (see ``mechanisms``), sellers (see ``misreports_of_sellers``), figures (see ``experiments.truthfulness``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.labelers.baselines import dawid_skene, mean_aggregate, median_aggregate
from crowd_assets.mechanisms.labelers.dense import updated_weights
from crowd_assets.mechanisms.labelers.limited_feedback import (
    PairedState,
    limited_feedback_step,
    paired_feedback_step,
    update_paired,
)
from crowd_assets.mechanisms.labelers.log_odds import ReliabilityState, reliabilities, run_log_odds
from crowd_assets.mechanisms.labelers.lottery import lottery_chances

Floats = NDArray[np.float64]
Value = Callable[[Floats], Floats]
"""Utilities (m,) of m courses of reports (m, slots) of labeler 0."""

GRID = 101
RANDOM = 200
REFINED = (0.1, 0.03, 0.01, 0.001)
REFINEMENTS = 40
EM_ITERATIONS = 30


@dataclass(frozen=True, slots=True)
class Instance:
    """Labeler 0's situation: ``beliefs`` (slots,) of outcomes, ``reports`` (slots, N) of the others (column 0 unused),
    ``weights`` (N,), ``step``, and a generator for what else a rule needs."""

    beliefs: Floats
    reports: Floats
    weights: Floats
    step: float
    rng: np.random.Generator


def labeler_gains(rule: str, motive: str, instances: int, seed: int, batch: int) -> list[float]:
    """Gain of the best misreport found in each instance, zero where truth is best.

    As a share of the truthful utility for ``myopic`` (expected reputation after the slot) and ``forward_looking`` (its
    expected sum over the next slots, all reports chosen now), in squared probability for ``steering`` (expected squared
    distance of the aggregate from the labeler's belief). Expectations are exact, over outcomes and over every draw.
    """
    worth, most_labelers, slots = MOTIVES[rule][motive]
    rng = np.random.default_rng([seed, batch, sorted(MOTIVES).index(rule), sorted(ALL_MOTIVES).index(motive)])
    gains = []
    for _ in range(instances):
        labelers = int(rng.integers(2, most_labelers + 1))
        instance = Instance(
            beliefs=rng.random(slots),
            reports=rng.random((slots, labelers)),
            weights=rng.dirichlet(np.ones(labelers)),
            step=float(rng.uniform(0.05, 0.5)),
            rng=rng,
        )
        gained, truthful = best_misreport(worth(instance), instance.beliefs, rng)
        share = gained / truthful if truthful > 0 else 0.0 if gained == 0 else np.inf
        gains.append(gained if motive == "steering" else share)
    return gains


def best_misreport(value: Value, truth: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """How much the best reports found gain over ``truth`` (slots,), and what truth is worth.

    Tries a grid for the first report, extreme and random courses of reports, then ever smaller steps from the best.
    """
    grid = np.tile(truth, (GRID, 1))
    grid[:, 0] = np.linspace(0.0, 1.0, GRID)
    extremes = rng.integers(0, 2, (8, truth.size)).astype(np.float64)
    tried = np.concatenate([truth[None], grid, extremes, rng.random((RANDOM, truth.size))])
    payoff = value(tried)
    truthful, best, at = float(payoff[0]), float(payoff.max()), tried[int(payoff.argmax())]
    for width in REFINED:
        tried = np.clip(at + width * rng.standard_normal((REFINEMENTS, truth.size)), 0.0, 1.0)
        payoff = value(tried)
        if payoff.max() > best:
            best, at = float(payoff.max()), tried[int(payoff.argmax())]
    return best - truthful, truthful


def _futures(beliefs: Floats) -> tuple[tuple[float, float], ...]:
    """Outcome and its chance, of the first slot."""
    return ((1.0, float(beliefs[0])), (0.0, 1.0 - float(beliefs[0])))


def _given(instance: Instance, courses: Floats, slot: int) -> Floats:
    """Everybody's reports (m, N) in a slot."""
    given = np.tile(instance.reports[slot], (len(courses), 1))
    given[:, 0] = courses[:, slot]
    return given


def _sum_of_weights(instance: Instance) -> Value:
    """Weighted score update: expected sum of weights after each slot."""

    def gained(courses: Floats, weights: Floats, slot: int) -> Floats:
        total = np.zeros(len(courses))
        for outcome, chance in _futures(instance.beliefs[slot:]):
            losses = np.square(_given(instance, courses, slot) - outcome)
            after = updated_weights(weights, losses, step=instance.step)
            total += chance * after[:, 0]
            if slot + 1 < instance.beliefs.size:
                total += chance * gained(courses, after, slot + 1)
        return total

    return lambda courses: gained(courses, np.tile(instance.weights, (len(courses), 1)), 0)


def _sum_of_known_horizon_weights(instance: Instance) -> Value:
    """Limited feedback of the paper: the same, over who is drawn to be learned from."""
    labelers = instance.weights.size
    step = min(instance.step / labelers, limited_feedback_step(labelers, 1))

    def gained(courses: Floats, weights: Floats, slot: int) -> Floats:
        total = np.zeros(len(courses))
        for outcome, chance in _futures(instance.beliefs[slot:]):
            losses = np.square(_given(instance, courses, slot) - outcome)
            for teacher in range(labelers):
                estimated = np.zeros_like(losses)
                estimated[:, teacher] = labelers * losses[:, teacher]
                after = updated_weights(weights, estimated, step=step)
                here = after[:, 0]
                if slot + 1 < instance.beliefs.size:
                    here = here + gained(courses, after, slot + 1)
                total += chance / labelers * here
        return total

    return lambda courses: gained(courses, np.tile(instance.weights, (len(courses), 1)), 0)


def _sum_of_paired_weights(instance: Instance) -> Value:
    """Paired feedback: the same, over who is drawn for the aggregate and who is compared."""
    labelers = instance.weights.size
    squares = instance.rng.uniform(0, 50, labelers)

    def gained(courses: Floats, state: PairedState, slot: int) -> Floats:
        total = np.zeros(len(courses))
        for outcome, chance in _futures(instance.beliefs[slot:]):
            losses = np.square(_given(instance, courses, slot) - outcome)
            for asked in range(labelers):
                for compared in range(labelers):
                    one, other = np.full(len(courses), asked), np.full(len(courses), compared)
                    after = update_paired(state, one, other, losses[:, asked], losses[:, compared])
                    here = after.weights[:, 0]
                    if slot + 1 < instance.beliefs.size:
                        here = here + gained(courses, after, slot + 1)
                    total += chance * state.weights[:, asked] / labelers * here
        return total

    def value(courses: Floats) -> Floats:
        start = PairedState(
            np.tile(instance.weights, (len(courses), 1)),
            np.tile(squares, (len(courses), 1)),
            np.tile(paired_feedback_step(0.9 * squares), (len(courses), 1)),
        )
        return gained(courses, start, 0)

    return value


def _times_followed(instance: Instance) -> Value:
    """ELF-X: expected number of slots, after the first, in which the labeler is followed; ties share."""
    labelers = instance.weights.size
    start = instance.rng.integers(0, 3, labelers)

    def gained(courses: Floats, won: NDArray[np.int64], slot: int) -> Floats:
        total = np.zeros(len(courses))
        for outcome, chance in _futures(instance.beliefs[slot:]):
            losses = np.square(_given(instance, courses, slot) - outcome)
            chances = np.apply_along_axis(lottery_chances, 1, losses)
            for winner in range(labelers):
                after = won.copy()
                after[winner] += 1
                lead = after == after.max()
                here = np.full(len(courses), lead[0] / lead.sum())
                if slot + 1 < instance.beliefs.size:
                    here = here + gained(courses, after, slot + 1)
                total += chance * chances[:, winner] * here
        return total

    return lambda courses: gained(courses, start, 0)


def _sum_of_reliabilities(instance: Instance) -> Value:
    """Log-odds pooling: expected sum of reliabilities after each slot."""
    everybody = np.arange(instance.weights.size)
    start = _known(instance)

    def after(state: ReliabilityState, reports: Floats, outcome: float) -> ReliabilityState:
        slot = np.zeros(everybody.size, dtype=np.int64)
        return run_log_odds(state, slot, everybody, reports, np.array([outcome])).state

    def gained(course: Floats, state: ReliabilityState, slot: int) -> float:
        total = 0.0
        for outcome, chance in _futures(instance.beliefs[slot:]):
            reports = instance.reports[slot].copy()
            reports[0] = course[slot]
            learned = after(state, reports, outcome)
            total += chance * float(reliabilities(learned)[0])
            if slot + 1 < instance.beliefs.size:
                total += chance * gained(course, learned, slot + 1)
        return total

    return lambda courses: np.array([gained(course, start, 0) for course in courses])


def _known(instance: Instance) -> ReliabilityState:
    """Labelers with a past of up to 20 judgements each."""
    seen = instance.rng.integers(0, 20, instance.weights.size)
    score = seen * instance.rng.uniform(0.5, 0.95, seen.size)
    return ReliabilityState(score, seen, float((score**2 / np.maximum(seen, 1)).sum()) + 0.05 * seen.sum(), 25, 8.0)


def _accuracy_in_consensus(instance: Instance) -> Value:
    """Dawid-Skene: the accuracy that EM gives the labeler, over twenty slots of which it misreports one."""
    return _with_em(instance, lambda found: float(found.accuracy[0]))


def _with_em(instance: Instance, worth: Callable[[Any], float]) -> Value:
    slots, labelers = 20, instance.weights.size
    theta = instance.rng.beta(0.5, 0.5, (slots, 1))
    reports = np.clip(theta + 0.2 * instance.rng.standard_normal((slots, labelers)), 0.0, 1.0)
    reports[0] = instance.reports[0]
    slot, labeler = np.repeat(np.arange(slots), labelers), np.tile(np.arange(labelers), slots)

    def value(courses: Floats) -> Floats:
        worths = np.empty(len(courses))
        for course, report in enumerate(courses[:, 0]):
            reports[0, 0] = report
            worths[course] = worth(
                dawid_skene(slot, labeler, reports.ravel(), slots=slots, labelers=labelers, iterations=EM_ITERATIONS)
            )
        return worths

    return value


def _near(aggregates: Callable[[Instance, Floats], Floats]) -> Callable[[Instance], Value]:
    """Minus the squared distance of the aggregate of reports (m, N) from the labeler's belief."""

    def worth(instance: Instance) -> Value:
        return lambda courses: -np.square(aggregates(instance, _given(instance, courses, 0)) - instance.beliefs[0])

    return worth


def _drawn_near(instance: Instance) -> Value:
    """The same where the aggregate is the report of a labeler drawn by weight, in expectation."""
    return lambda courses: -(np.square(_given(instance, courses, 0) - instance.beliefs[0]) @ instance.weights)


def _leader_near(instance: Instance) -> Value:
    """The same where the aggregate is the report of who won most lotteries, ties shared."""
    won = instance.rng.integers(0, 3, instance.weights.size)
    lead = (won == won.max()).astype(np.float64)
    return _drawn_near(replace(instance, weights=lead / lead.sum()))


def _consensus_near(instance: Instance) -> Value:
    return _with_em(instance, lambda found: -float((found.probability_a[0] - instance.beliefs[0]) ** 2))


def _log_odds_near(instance: Instance) -> Value:
    state, labelers = _known(instance), instance.weights.size

    def pool(_: Instance, reports: Floats) -> Floats:
        slot, labeler = np.repeat(np.arange(len(reports)), labelers), np.tile(np.arange(labelers), len(reports))
        return run_log_odds(state, slot, labeler, reports.ravel(), np.full(len(reports), np.nan)).aggregates

    return _near(pool)(instance)


Worth = tuple[Callable[[Instance], Value], int, int]
"""What a motive is worth in an instance, the largest crowd it is weighed in, and over how many slots."""

ALL_MOTIVES = ("myopic", "forward_looking", "steering")

MOTIVES: dict[str, dict[str, Worth]] = {
    "mean": {"steering": (_near(lambda _, reports: mean_aggregate(reports)), 8, 1)},
    "median": {"steering": (_near(lambda _, reports: median_aggregate(reports)), 8, 1)},
    "dawid_skene": {"myopic": (_accuracy_in_consensus, 5, 1), "steering": (_consensus_near, 5, 1)},
    "weighted_score_update_pooled": {
        "myopic": (_sum_of_weights, 8, 1),
        "forward_looking": (_sum_of_weights, 5, 6),
        "steering": (_near(lambda instance, reports: reports @ instance.weights), 8, 1),
    },
    "weighted_score_update_sampled": {
        "myopic": (_sum_of_weights, 8, 1),
        "forward_looking": (_sum_of_weights, 5, 6),
        "steering": (_drawn_near, 8, 1),
    },
    "elf_x": {
        "myopic": (_times_followed, 5, 1),
        "forward_looking": (_times_followed, 3, 3),
        "steering": (_leader_near, 8, 1),
    },
    "limited_feedback": {
        "myopic": (_sum_of_paired_weights, 5, 1),
        "forward_looking": (_sum_of_paired_weights, 3, 2),
        "steering": (_drawn_near, 8, 1),
    },
    "limited_feedback_known_horizon": {
        "myopic": (_sum_of_known_horizon_weights, 5, 1),
        "forward_looking": (_sum_of_known_horizon_weights, 4, 2),
        "steering": (_drawn_near, 8, 1),
    },
    "log_odds": {
        "myopic": (_sum_of_reliabilities, 5, 1),
        "forward_looking": (_sum_of_reliabilities, 3, 2),
        "steering": (_log_odds_near, 5, 1),
    },
}
"""By rule and motive. The average and the median give nobody a reputation to work for."""

SLOW = frozenset({"dawid_skene", "log_odds"})
"""Rules that weigh one misreport at a time."""
