"""Gain of attacks on pay over honest play: under the papers' plain rules, as shipped, and with every defence on.

``{"as_shipped": {"<attack>": {"gain", "low", "high"}}, "hardened": …, "plain": …}``: *as shipped* are exactly the default
settings, *hardened* every defence at the settings that ``docs/attacks.md`` names, *plain* the rules of the papers.

The games are those of ``crowd_assets.simulation.attacks.payoffs``. A gain is (payoff of the attack - payoff of the same people's
honest play) / honest payoff, the mean over seeds with its 95 % interval: 0 pays nothing, -1 loses all, 3 pays four times.
``docs/attacks.md`` says what each attack does and what stops it.

``by_…`` are gains of single attacks as one or two settings change, everything else hardened.

Belongs here: which attacks are played under which rules. Does not belong here: the games.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks import finish, options, say
from crowd_assets.mechanisms.auctions.lots import scoring_vcg
from crowd_assets.simulation.attacks import draws, judges, sellers, texts, writers
from crowd_assets.simulation.attacks import payoffs as attacks

COLUMNS = ("plain", "as_shipped", "hardened")
SEEDS = 24
QUICK_SEEDS = 3
SWEEP_SEEDS = 8


def gains(name: str, rules: str, seeds: int, seed: int) -> attacks.Payoffs:
    """One attack under one set of rules."""
    if name in writers.WRITERS_ATTACKS:
        return attacks.writers_payoffs(writers.WRITERS_ATTACKS[name], writers.RULES[rules], seeds, seed)
    if name in judges.JUDGES_ATTACKS:
        return attacks.judges_payoffs(name, judges.LABEL_RULES[rules], seeds, seed)
    if name in draws.DRAW_ATTACKS:
        return attacks.draws_payoffs(name, rules, seeds)
    if name in texts.TEXT_ATTACKS:
        return attacks.texts_payoffs(name, rules, seeds)
    return attacks.market_payoffs(name, rules, seeds, seed)


def by_names_and_deposit(seeds: int, seed: int) -> dict[str, list[float]]:
    """Gain of splitting one person's work, by number of names and by deposit, in rounds of a careful contributor's pay."""
    found = {}
    for rounds, names in (*((writers.ROUNDS, count) for count in (2, 4, 8, 16)), (writers.LONG, 4)):
        attack = writers.WritersAttack(partial(writers.split_work, names=names), rounds=rounds, unit_rounds=rounds)
        for deposit in (0.0, 0.5, 1.0, 2.0):
            rules = replace(writers.DEFENDED, deposit=deposit)
            found[f"{rounds} rounds, {names} names, {deposit}"] = rounded(attack, rules, seeds, seed)
        say(f"{names} names, {rounds} rounds")
    return found


def by_share_read(seeds: int, seed: int) -> dict[str, list[float]]:
    """Gain of paraphrasing somebody's texts, by the share of names that is read in an epoch, and by deposit."""
    found = {}
    for rounds, deposits in ((writers.ROUNDS, (0.0, 1.0)), (writers.LONG, (0.0, 3.0))):
        attack = replace(writers.WRITERS_ATTACKS["copycat_paraphrase"], rounds=rounds, unit_rounds=rounds)
        for deposit in deposits:
            for read in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6):
                rules = replace(writers.DEFENDED, deposit=deposit, read=read)
                found[f"{rounds} rounds, {deposit}, {read} read"] = rounded(attack, rules, seeds, seed)
        say(f"names read, {rounds} rounds")
    return found


def by_memory(seeds: int, seed: int) -> dict[str, list[float]]:
    """Gain of milking a reputation, by the rounds that estimates look back on."""
    found = {}
    for memory in (writers.LONG, 12, 6, 3):
        rules = replace(writers.DEFENDED, memory=memory)
        found[str(memory)] = rounded(writers.WRITERS_ATTACKS["reputation_milking"], rules, seeds, seed)
        say(f"memory of {memory} rounds")
    return found


SWEEPS = (by_names_and_deposit, by_share_read, by_memory)


def by_surplus(seeds: int, seed: int) -> dict[str, dict[str, object]]:
    """Gain of a ring of bidders and its bound in units of its honest payoff, and the share of lots that are bought."""
    found: dict[str, dict[str, object]] = {}
    ring, order = np.arange(sellers.RING), np.arange(sellers.SELLERS)
    for surplus in (0.0, 0.4, 0.5, 0.55, 0.6):
        honest, cheating, bound = np.zeros(seeds), np.zeros(seeds), np.zeros(seeds)
        bought = 0
        for run in range(seeds):
            market = sellers.sellers(np.random.default_rng([seed, run, 0]))
            for cost, quality in zip(market.cost, market.quality, strict=True):
                values = sellers.worth(quality, surplus)
                honest[run] += sellers.earned(values, cost, cost, ring)
                cheating[run] += sellers.best_ring(values, cost, ring)
                cleared = scoring_vcg(values, cost, 2, tie_break=order)
                if cleared.awarded.sum() == 2:
                    bought += 1
                    bound[run] += cleared.awarded[ring].sum() * cleared.cutoff  # what the third-best answer leaves
        unit = float(honest.mean())
        found[str(surplus)] = {
            "gain": [round(figure, 4) for figure in attacks.Payoffs(honest, cheating, unit).gain],
            "bound": round(float(bound.mean()) / unit, 4),
            "lots_bought": round(bought / (seeds * sellers.LOTS), 4),
        }
    say("surplus of a lot")
    return found


def rounded(attack: writers.WritersAttack, rules: writers.Rules, seeds: int, seed: int) -> list[float]:
    """Mean gain and its 95 % interval."""
    return [round(figure, 4) for figure in attacks.writers_payoffs(attack, rules, seeds, seed).gain]


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its JSON line."""
    given = options(__doc__, argv, seeds=(SEEDS, "number of seeds of each game"))
    seeds = QUICK_SEEDS if given.quick else given.seeds
    figures: dict[str, dict[str, dict[str, float]]] = {column: {} for column in COLUMNS}
    honest: dict[str, dict[str, float]] = {column: {} for column in COLUMNS}
    played = (
        *writers.WRITERS_ATTACKS,
        *judges.JUDGES_ATTACKS,
        *sellers.MARKET_ATTACKS,
        *draws.DRAW_ATTACKS,
        *texts.TEXT_ATTACKS,
    )
    for name in played:
        for column in COLUMNS:
            found = gains(name, column, seeds, given.seed)
            figures[column][name] = dict(
                zip(("gain", "low", "high"), (round(each, 4) for each in found.gain), strict=True)
            )
            honest[column][name] = round(found.unit, 4)
        say(f"{name}: " + ", ".join(f"{column} {figures[column][name]['gain']:+.2f}" for column in COLUMNS))
    sweeps = {each.__name__: each(min(seeds, SWEEP_SEEDS), given.seed) for each in SWEEPS}
    finish(
        figures | sweeps | {"by_surplus": by_surplus(seeds, given.seed)},
        {"seeds": seeds, "seed": given.seed, "honest_payoff": honest},
    )


if __name__ == "__main__":
    main()
