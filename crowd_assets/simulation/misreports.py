"""The best lie found: labelers and sellers search for a misreport that pays, against others who tell the truth.

Belongs here: random instances, what each motive is worth under each rule, the search. Does not belong here: the mechanisms
themselves (see ``mechanisms``), figures (see ``experiments.truthfulness``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.auctions import baselines, budget, money
from crowd_assets.mechanisms.auctions import lots as auction
from crowd_assets.mechanisms.auctions.base import WHOLE, Offers, Terms
from crowd_assets.mechanisms.auctions.table import AUCTIONS
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
from resources.settings.settings import Settings

Floats = NDArray[np.float64]
Money = NDArray[np.int64]
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

SCALE = 1_000_000
LEAST_COST = SCALE // 20
PRICES = 60


@dataclass(frozen=True, slots=True)
class Market:
    """True ``values`` and ``costs`` (n,) in quanta, ``claims`` (n,) of value (truthful unless changed), the terms."""

    values: Money
    costs: Money
    winners: int
    reserve: int
    budget: int
    tie_break: Money
    lot: Money
    seed: int


LOTS = 2
SHIPPED = Settings()
UNSELLABLE = 1_000 * SCALE

Outcome = tuple[NDArray[np.bool_], Money]


def seller_gains(mechanism: str, instances: int, seed: int, batch: int) -> list[float]:
    """Gain of the best misreport that one seller finds in each instance, as a share of its true cost.

    A seller asks any price, and where the mechanism reads what it claims its answer is worth, claims any value as well,
    against others who ask their costs and claim true values. Money in whole quanta of 1e-6: gains are exact.
    """
    outcome, reads_claims = SELLERS[mechanism]
    rng = np.random.default_rng([seed, batch, sorted(SELLERS).index(mechanism)])
    gains = []
    for _ in range(instances):
        bids = int(rng.integers(3, 9))
        values, costs = rng.integers(SCALE // 10, SCALE, bids), rng.integers(LEAST_COST, SCALE, bids)
        market = Market(
            values=values,
            costs=costs,
            winners=int(rng.integers(1, 4)),
            reserve=int(rng.integers(SCALE // 4, SCALE)),
            budget=int(costs.sum() * rng.uniform(0.1, 0.9)),
            tie_break=rng.permutation(bids),
            lot=rng.integers(0, 2, bids),
            seed=int(rng.integers(1 << 31)),
        )
        seller = int(rng.integers(bids))
        if mechanism == "as_shipped":
            market = replace(market, costs=costs // 4)  # answers that cost as much as they are worth are not sold
        gain = _best_bid(partial(outcome, market), market, seller, reads_claims, rng)
        if mechanism == "as_shipped":
            gain = max(gain, _best_company(market, seller, rng))
        gains.append(gain / int(market.costs[seller]))
    return gains


def _shipped(market: Market, asked: Money, company: Sequence[tuple[int, int]] = ()) -> Outcome:
    """What a round as shipped buys of published lots, and ``company`` (lot, value): bids of further names at prices that nobody pays."""
    lots, values = np.array(company, dtype=np.int64).reshape(-1, 2).T
    names = np.arange(market.values.size + lots.size, dtype=np.int64)
    published = np.append(np.ones(market.values.size, dtype=bool), lots < LOTS)
    bids = Offers(
        np.append(market.lot, lots)[published],
        names[published],
        np.append(market.values, values)[published],
        np.append(asked, np.full(lots.size, UNSELLABLE))[published],
        np.zeros(int(published.sum()), dtype=np.int64),
        np.arange(LOTS),
    )
    terms = Terms(market.budget, SHIPPED.answers_per_lot, round(SHIPPED.reserve * WHOLE), SCALE)
    found = AUCTIONS[SHIPPED.auction].clear(bids, terms, np.random.default_rng(market.seed))
    own = slice(market.values.size)
    return found.awarded[own], found.payments[own]


def _best_company(market: Market, seller: int, rng: np.random.Generator) -> int:
    """Most quanta that ``seller`` gains by bids of further names in its own lot, in others and in lots that it invents, at its cost or
    another price."""

    def utility(asked: Money, company: Sequence[tuple[int, int]]) -> int:
        awarded, payments = _shipped(market, asked, company)
        return int(payments[seller] - market.costs[seller]) if awarded[seller] else 0

    truthful = best = utility(market.costs, ())
    for _ in range(REFINEMENTS):
        many = int(rng.integers(1, 6))
        company = list(
            zip(rng.integers(LOTS + 1, size=many).tolist(), rng.integers(2 * SCALE, size=many).tolist(), strict=True)
        )
        asked = market.costs.copy()
        if rng.random() < 0.5:
            asked[seller] = int(rng.integers(2 * SCALE))
        best = max(best, utility(asked, company))
    return best - truthful


def _best_bid(
    outcome: Callable[[Money, Money], Outcome],
    market: Market,
    seller: int,
    reads_claims: bool,
    rng: np.random.Generator,
) -> int:
    """Most quanta that ``seller`` gains by a price, a claim or both."""
    cost, value = int(market.costs[seller]), int(market.values[seller])

    def utility(price: int, claim: int) -> int:
        asked, claims = market.costs.copy(), market.values.copy()
        asked[seller], claims[seller] = price, claim
        awarded, payments = outcome(claims, asked)
        return int(payments[seller]) - cost if awarded[seller] else 0

    truthful = best = utility(cost, value)
    at = (cost, value)
    for price, claim in _bids_to_try(market, cost, value, reads_claims, rng):
        payoff = utility(price, claim)
        if payoff > best:
            best, at = payoff, (price, claim)
    for width in (SCALE // 10, SCALE // 100, SCALE // 1000, 10, 1):
        for _ in range(REFINEMENTS // 4):
            price = max(int(at[0] + rng.normal(0, width)), 0)
            claim = max(int(at[1] + rng.normal(0, width)), 0) if reads_claims else value
            payoff = utility(price, claim)
            if payoff > best:
                best, at = payoff, (price, claim)
    return best - truthful


def _bids_to_try(
    market: Market, cost: int, value: int, reads_claims: bool, rng: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """A grid, a quantum to either side of every number in sight, and random ones: of prices, claims, and both."""
    landmarks = [*market.costs.tolist(), *market.values.tolist(), market.reserve, market.budget]
    amounts = [*np.linspace(0, 2 * SCALE, PRICES).astype(int).tolist(), *rng.integers(0, 2 * SCALE, PRICES).tolist()]
    amounts += [max(landmark + off, 0) for landmark in landmarks for off in (-1, 0, 1)]
    for amount in amounts:
        yield amount, value
    if reads_claims:
        for amount in amounts:
            yield cost, amount
            yield int(rng.choice(amounts)), amount


def _of(purchase: money.Purchase | auction.Clearing | auction.LotClearing) -> Outcome:
    return purchase.awarded, purchase.payments


def _highest_claim(market: Market, claims: Money, asked: Money) -> Outcome:
    """A posted price for the k highest claims among those who ask no more."""
    accepting = asked <= market.reserve
    best_first = np.lexsort((market.tie_break, -np.where(accepting, claims, -1)))
    awarded = np.zeros(claims.size, dtype=bool)
    awarded[best_first[: market.winners]] = True
    awarded &= accepting
    return awarded, np.where(awarded, market.reserve, 0)


SELLERS: dict[str, tuple[Callable[[Market, Money, Money], Outcome], bool]] = {
    "as_shipped": (lambda m, claims, asked: _shipped(m, asked), False),
    "uniform_price": (
        lambda m, claims, asked: _of(
            baselines.uniform_price(asked, m.winners, reserve=m.reserve, tie_break=m.tie_break)
        ),
        False,
    ),
    "scoring_vcg": (
        lambda m, claims, asked: _of(auction.scoring_vcg(m.values, asked, m.winners, tie_break=m.tie_break)),
        False,
    ),
    "clear_lots": (
        lambda m, claims, asked: _of(
            auction.clear_lots(m.lot, m.values, asked, budget=4 * m.budget, rng=np.random.default_rng(m.seed))
        ),
        False,
    ),
    "proportional_share": (
        lambda m, claims, asked: _of(
            budget.proportional_share(m.values, asked, budget=m.budget, tie_break=m.tie_break)
        ),
        False,
    ),
    "constant_factor_share": (
        lambda m, claims, asked: _of(
            budget.constant_factor_share(m.values, asked, budget=m.budget, tie_break=m.tie_break)
        ),
        False,
    ),
    "fixed_price": (
        lambda m, claims, asked: _of(
            baselines.fixed_price(asked, price=m.reserve, budget=2 * m.budget, tie_break=m.tie_break)
        ),
        False,
    ),
    "vickrey_feedback": (
        lambda m, claims, asked: _of(baselines.vickrey_feedback(asked, tie_break=m.tie_break)),
        False,
    ),
    "pay_as_bid": (
        lambda m, claims, asked: _of(baselines.pay_as_bid(m.values, asked, m.winners, tie_break=m.tie_break)),
        False,
    ),
    "random_purchase": (
        lambda m, claims, asked: _of(baselines.random_purchase(asked, budget=m.budget, tie_break=m.tie_break)),
        False,
    ),
    "highest_claimed_quality": (_highest_claim, True),
    "scoring_vcg_on_claims": (
        lambda m, claims, asked: _of(auction.scoring_vcg(claims, asked, m.winners, tie_break=m.tie_break)),
        True,
    ),
}
"""By mechanism: awards and payments from a market, claims and asked prices; and whether claims are read."""
