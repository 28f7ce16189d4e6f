"""What assignment of judgements saves, how long its decisions take, and whom its checks and the detector of collusion accuse.

* ``judgements_ratio_at_equal_accuracy``: a preference model (logistic, on features of a pair) reaches the held-out accuracy that it has
  from three judgements of every pair, by people drawn at random, with this share of them, where pairs are chosen by what they teach
  the model, judged until their answer is sure (posterior 0.9, at most 5), and given to the ablest people who have room. People's
  skills are known as log-odds by difficulty would know them after twenty outcomes each. Goal: at most 0.25. Median of the runs.
* ``accuracy_by_choice``: held-out accuracy after 180 of 900 pairs were judged once each, by which are asked: drawn at random, near ties, large
  gaps (of the model so far), or what teaches the model most. Beside the figures.
* ``decision_ms``: choosing ten pairs for one person among 10^5 open ones, 5,000 of which it has judged. Goal: at most 50.
* ``alpha_seconds_1m``: Krippendorff's alpha of 10^6 judgements with its bootstrap interval, the slowest of three metrics
  (of fewer with ``--quick``). Goal: at most 5.
* ``spammers_paused_after``: checks that a coin-flipper answers on average before it is paused (goal: at most 12), and
  ``honest_paused_share``: people of accuracy 0.92 on checks who are ever paused within 200 (goal: at most 0.01).
* ``collusion_false_flags``: share of people linked by the detector in crowds without a ring, five of sixteen of them accurate.
  Goal: at most 0.01.

Belongs here: these figures. Does not belong here: pay (see ``crowd_assets.experiments``).
"""

import statistics

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks import WALL, finish, options, say, seconds
from crowd_assets.mechanisms.agreement import with_interval
from crowd_assets.mechanisms.assignment import CAREFUL, asking_value, assigned, checked_people, is_open, vote_evidence
from crowd_assets.quality.detectors.base import CONTRIBUTORS, FLAGGED_EVENTS, Detection
from crowd_assets.quality.detectors.groups import collusion

FEATURES, PAIRS, HELD_OUT, PEOPLE = 12, 900, 4_000, 20
SHARPNESS = 2.5
BATCH, LOAD = 15, 3
"""Pairs that are asked at once, and how many of them one person is asked."""
ASKED = 180
"""Pairs that are judged once each where choices of pairs are compared."""
CHOICES = ("random", "near_ties", "large_gaps", "teaches")
RIDGE = 1.0
Floats = NDArray[np.float64]


def fitted(features: Floats, target: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Coefficients of a logistic model by Newton steps, and the inverse of its information."""
    beta = np.zeros(features.shape[1])
    for _ in range(8):
        chance = 1 / (1 + np.exp(-features @ beta))
        slope = features.T @ (weight * (target - chance)) - RIDGE * beta
        bend = (features * (weight * chance * (1 - chance))[:, None]).T @ features + RIDGE * np.eye(beta.size)
        beta = beta + np.linalg.solve(bend, slope)
    return beta, np.linalg.inv(bend)


def _pairs(rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_], Floats, NDArray[np.bool_]]:
    """Features (PAIRS, FEATURES) of pairs that may be asked about and their answers, and of pairs held out and the right ones."""
    truth = rng.normal(size=FEATURES)
    truth *= SHARPNESS / np.linalg.norm(truth)
    pool, fresh = rng.normal(size=(PAIRS, FEATURES)), rng.normal(size=(HELD_OUT, FEATURES))
    answer = rng.random(PAIRS) < 1 / (1 + np.exp(-pool @ truth))
    right = (fresh @ truth) > 0
    return pool, answer, fresh, right


def ratio(seed: int) -> float:
    """Judgements that active assignment needs, over three of every pair, to be as accurate on held-out pairs."""
    rng = np.random.default_rng(seed)
    pool, answer, fresh, right = _pairs(rng)
    accuracy = rng.uniform(0.6, 0.95, PEOPLE)
    known = np.clip((20 * rng.binomial(20, accuracy) / 20 + 5 * 0.775) / 25, 0.5, 0.98)

    def judged(people: NDArray[np.int64], pairs: NDArray[np.int64]) -> Floats:
        agrees = rng.random(people.size) < accuracy[people]
        return np.where(agrees, answer[pairs], ~answer[pairs]).astype(np.float64)

    def score(beta: Floats) -> float:
        return float(((fresh @ beta > 0) == right).mean())

    everybody = np.stack([rng.permutation(PEOPLE)[:3] for _ in range(PAIRS)]).ravel()
    each = np.repeat(np.arange(PAIRS), 3)
    mean = np.bincount(each, judged(everybody, each)) / 3
    goal = score(fitted(pool, mean, np.ones(PAIRS))[0])
    evidence, count, spent = np.zeros(PAIRS), np.zeros(PAIRS, dtype=np.int64), 0
    seen_people, seen_pairs = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    beta, spread = np.zeros(FEATURES), np.eye(FEATURES) / RIDGE
    while spent < 3 * PAIRS:
        chance = 1 / (1 + np.exp(-pool @ beta))
        teaches = np.einsum("ij,jk,ik->i", pool, spread, pool) * chance * (1 - chance)
        still = is_open(evidence, count, confidence=0.9, least=1, most=5)
        value = np.where(still, asking_value(evidence, count, teaches), 0.0)
        top = np.argsort(-value)[:BATCH]
        wanted = np.zeros(PAIRS, dtype=np.int64)
        wanted[top] = value[top] > 0
        load = np.full(PEOPLE, LOAD)
        found = assigned(value, wanted, known, load, excluded=(seen_people, seen_pairs), rng=rng)
        if not found.person.size:
            break
        report = judged(found.person, found.pair)
        evidence += np.bincount(found.pair, vote_evidence(report, known[found.person]), minlength=PAIRS)
        count += np.bincount(found.pair, minlength=PAIRS)
        spent += found.person.size
        seen_people, seen_pairs = np.append(seen_people, found.person), np.append(seen_pairs, found.pair)
        asked = count > 0
        beta, spread = fitted(pool[asked], 1 / (1 + np.exp(-evidence[asked])), np.ones(int(asked.sum())))
        if score(beta) >= goal:
            break
    return spent / (3 * PAIRS)


def accuracies_by_choice(seed: int) -> dict[str, float]:
    """Held-out accuracy from as many judgements, by which pairs are asked first: drawn at random, near ties or large gaps by the model so far,
    or what teaches most by the information on the model."""
    found = {}
    for choice in CHOICES:
        rng = np.random.default_rng(seed)
        pool, answer, fresh, right = _pairs(rng)
        judged = np.where(rng.random(PAIRS) < 0.775, answer, ~answer).astype(np.float64)
        asked = rng.permutation(PAIRS)[:BATCH]
        while asked.size < ASKED:
            beta, spread = fitted(pool[asked], judged[asked], np.ones(asked.size))
            gap = np.abs(pool @ beta)
            chance = 1 / (1 + np.exp(-gap))
            worth = {
                "random": rng.random(PAIRS),
                "near_ties": -gap,
                "large_gaps": gap,
                "teaches": np.einsum("ij,jk,ik->i", pool, spread, pool) * chance * (1 - chance),
            }[choice]
            worth[asked] = -np.inf
            asked = np.append(asked, np.argsort(-worth)[:BATCH])
        beta, _ = fitted(pool[asked], judged[asked], np.ones(asked.size))
        found[choice] = float(((fresh @ beta > 0) == right).mean())
    return found


def decision_ms(seed: int, pairs: int = 100_000) -> float:
    """Milliseconds for one person's next ten pairs, the median of nine decisions."""
    rng = np.random.default_rng(seed)
    evidence, count = rng.normal(0, 2, pairs), rng.integers(0, 4, pairs)
    own = np.zeros(5_000, dtype=np.int64), rng.choice(pairs, 5_000, replace=False)

    def decide() -> int:
        still = is_open(evidence, count, confidence=0.9, least=1, most=5)
        value = np.where(still, asking_value(evidence, count), 0.0)
        return assigned(value, still.astype(np.int64), np.ones(1), np.array([10]), excluded=own, rng=rng).pair.size

    return 1_000 * statistics.median(seconds(WALL, decide)[0] for _ in range(9))


def alpha_seconds(seed: int, judgements: int) -> dict[str, float]:
    """Seconds by metric of alpha and its interval over ``judgements`` judgements in a fifth as many items."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, judgements // 5, judgements)
    side, number = rng.choice([0.0, 0.5, 1.0], judgements), rng.random(judgements).round(2)
    values = {"alpha_nominal": side, "alpha_ordinal": side, "alpha_interval": number}
    return {
        name: seconds(WALL, lambda name=name, value=value: with_interval(name, item, value, rng=rng))[0]
        for name, value in values.items()
    }


def checks(seed: int, people: int) -> tuple[float, float]:
    """Checks until a coin-flipper is paused, on average, and the share of careful people ever paused within 200."""
    rng = np.random.default_rng(seed)
    most = 200
    coin = (rng.random((most, people)) < 0.5).astype(np.float64)
    needed = np.full(people, most)
    for number in range(80, 3, -1):
        paused = checked_people(np.tile(np.arange(people), number), coin[:number].ravel(), people=people).paused
        needed[paused] = number
    careful = (rng.random(people * most) < CAREFUL).astype(np.float64)
    honest = checked_people(np.tile(np.arange(people), most), careful, people=people).paused.mean()
    return float(needed.mean()), float(honest)


def false_flags(seed: int, crowds: int) -> float:
    """Share of people linked in crowds of independent people, of whom five see well."""
    rng = np.random.default_rng(seed)
    nothing = Detection("", pl.DataFrame(schema=FLAGGED_EVENTS), pl.DataFrame(schema=CONTRIBUTORS))
    linked, pairs, people = 0, 80, 16
    for crowd in range(crowds):
        if crowd % 2:
            noise = np.r_[np.full(5, 0.04), np.full(people - 5, 0.3)]
            chance = rng.beta(0.5, 0.5, (pairs, 1))
            reports = np.clip(chance + noise * rng.standard_normal((pairs, people)), 0, 1).round(1)
        else:
            accuracy = np.r_[np.full(5, 0.97), np.full(people - 5, 0.65)]
            answer = rng.random((pairs, 1)) < 0.5
            reports = np.where(rng.random((pairs, people)) < accuracy, answer, ~answer) * 0.8 + 0.1
        pair, person = np.nonzero(rng.random(reports.shape) < 0.7)
        events = pl.DataFrame(
            {
                "event_id": [f"{one}-{other}" for one, other in zip(pair, person, strict=True)],
                "seq": np.arange(pair.size),
                "kind": ["preference"] * pair.size,
                "contributor_id": [str(number) for number in person],
                "comparison_id": [str(number) for number in pair],
                "probability_a": reports[pair, person],
            }
        )
        linked += collusion(events, nothing, nothing).rings.height
    return linked / (crowds * people)


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its JSON line."""
    given = options(__doc__, argv)
    runs, judgements, people, crowds = (3, 50_000, 300, 4) if given.quick else (25, 1_000_000, 4_000, 200)
    say("judgements at equal accuracy")
    ratios = [ratio(given.seed + run) for run in range(runs)]
    say("decisions, alpha, checks, collusion")
    by_choice = [accuracies_by_choice(given.seed + run) for run in range(runs)]
    alphas = alpha_seconds(given.seed, judgements)
    paused_after, honest = checks(given.seed, people)
    finish(
        {
            "judgements_ratio_at_equal_accuracy": statistics.median(ratios),
            "decision_ms": decision_ms(given.seed),
            "alpha_seconds_1m": max(alphas.values()),
            "spammers_paused_after": paused_after,
            "honest_paused_share": honest,
            "collusion_false_flags": false_flags(given.seed, crowds),
        },
        {
            "runs": runs,
            "accuracy_by_choice": {
                choice: round(statistics.fmean(each[choice] for each in by_choice), 4) for choice in CHOICES
            },
            "ratios": [round(each, 3) for each in ratios],
            "alpha_seconds": alphas,
            "judgements": judgements,
            "crowds": crowds,
            "seed": given.seed,
        },
        "polars",
    )


if __name__ == "__main__":
    main()
