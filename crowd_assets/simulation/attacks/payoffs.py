"""Attacks on pay: what somebody who cheats earns beside what the same people would have earned honestly.

Belongs here: the games in which attacks are played, the attacks, the mechanisms they are played under. Does not
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

*Pay for judgements.* The payoff is credits, by the functions that a round calls.

*Bids.* Sellers offer answers in lots, each at its own cost. The payoff is credits less cost.

*Texts.* Texts that a search made to score in Φ are offered in place of written ones. The payoff is their quality less the work.

*Draws.* Somebody who knows the code draws as a round does, without the home's secret. The payoff is how often that comes true, or
the share of a sample that is its own.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.ledger import held_back
from crowd_assets.simulation.attacks.draws import DRAW_ATTACKS
from crowd_assets.simulation.attacks.judges import (
    JUDGES_ATTACKS,
    LabelRules,
    honest_judges,
    influence,
    last_third,
    pay,
)
from crowd_assets.simulation.attacks.sellers import (
    LOT_ATTACKS,
    lot_pay,
    owner_pay,
    owner_say,
    ring_pay,
    sellers,
    sybil_seller_pay,
)
from crowd_assets.simulation.attacks.texts import text_pay
from crowd_assets.simulation.attacks.writers import (
    CAREFUL,
    DEMONSTRATIONS,
    EFFORT,
    Attack,
    Rules,
    Writers,
    WritersAttack,
    honest_writers,
    play,
)


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
    """An attack on influence, or on pay for judgements."""
    attack = JUDGES_ATTACKS[name]
    paid: list[list[float]] = []
    for run in range(seeds):
        peace = honest_judges(np.random.default_rng([seed, run, 0]))
        peace = last_third(peace) if attack.late else peace
        played = [
            peace if how is None else how(peace, np.random.default_rng([seed, run, 1]))
            for how in (None, attack.honest, attack.cheat)
        ]
        paid.append(
            [
                pay(judges, rules) if attack.pay else influence(judges, rules, np.random.default_rng([seed, run, 2]))
                for judges in played
            ]
        )
    full, honest, cheating = np.array(paid).T
    return Payoffs(honest, cheating, float(full.mean()))


def draws_payoffs(name: str, rules: str, seeds: int) -> Payoffs:
    """An attack on what is drawn."""
    honest, cheating = (
        np.array([DRAW_ATTACKS[name](rules, cheat, run) for run in range(seeds)]) for cheat in (False, True)
    )
    return Payoffs(honest, cheating, float(honest.mean()))


def texts_payoffs(name: str, rules: str, seeds: int) -> Payoffs:
    """An attack by texts that were made to score."""
    honest, cheating = (
        np.array([text_pay(name, rules, cheat, run) for run in range(seeds)]) for cheat in (False, True)
    )
    return Payoffs(honest, cheating, float(honest.mean()))


def market_payoffs(name: str, rules: str, seeds: int, seed: int) -> Payoffs:
    """An attack by or for sellers."""

    def paid(run: int, cheat: bool) -> float:
        if name in ("labeler_owns_bidder_say", "labeler_owns_bidder_apart"):
            judges = honest_judges(np.random.default_rng([seed, run, 0]))
            return owner_say(judges, rules, cheat, apart=name.endswith("apart"), run=run)
        market = sellers(np.random.default_rng([seed, run, 0]))
        if name == "bid_ring":
            return ring_pay(market, rules, cheat, run)
        if name == "sybil_seller":
            return sybil_seller_pay(market, rules, cheat, run)
        if name in LOT_ATTACKS:
            return lot_pay(name, market, rules, cheat, run)
        return owner_pay(market, rules, cheat, np.random.default_rng([seed, run, 1]), run)

    honest, cheating = (np.array([paid(run, cheat) for run in range(seeds)]) for cheat in (False, True))
    return Payoffs(honest, cheating, float(honest.mean()))
