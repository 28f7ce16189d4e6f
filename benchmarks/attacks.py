"""Gain of attacks on pay over honest play: under the papers' plain rules, under this project's, and with every defence on.

The games are those of ``crowd_assets.simulation.attacks``. A gain is (payoff of the attack - payoff of the same people's
honest play) / honest payoff, the mean over seeds with its 95 % interval: 0 pays nothing, -1 loses all, 3 pays four times.
``docs/attacks.md`` says what each attack does and what stops it.

Belongs here: which attacks are played under which rules. Does not belong here: the games.
"""

from benchmarks import finish, options, say
from crowd_assets.simulation import attacks

SEEDS = 24
QUICK_SEEDS = 3


def gains(name: str, rules: str, seeds: int, seed: int) -> attacks.Payoffs:
    """One attack under one set of rules."""
    if name in attacks.WRITERS_ATTACKS:
        return attacks.writers_payoffs(attacks.WRITERS_ATTACKS[name], attacks.RULES[rules], seeds, seed)
    if name in attacks.JUDGES_ATTACKS:
        return attacks.judges_payoffs(name, attacks.LABEL_RULES[rules], seeds, seed)
    return attacks.market_payoffs(name, rules, seeds, seed)


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its JSON line."""
    given = options(__doc__, argv)
    seeds = QUICK_SEEDS if given.quick else SEEDS
    figures: dict[str, dict[str, list[float]]] = {}
    honest: dict[str, dict[str, float]] = {}
    for name in (*attacks.WRITERS_ATTACKS, *attacks.JUDGES_ATTACKS, *attacks.MARKET_ATTACKS):
        figures[name], honest[name] = {}, {}
        for rules in attacks.RULES:
            found = gains(name, rules, seeds, given.seed)
            figures[name][f"gain_{rules}"] = [round(figure, 4) for figure in found.gain]
            honest[name][rules] = round(found.unit, 4)
        say(f"{name}: " + ", ".join(f"{rules} {figure[0]:+.2f}" for rules, figure in figures[name].items()))
    finish(figures, {"seeds": seeds, "seed": given.seed, "honest_payoff": honest})


if __name__ == "__main__":
    main()
