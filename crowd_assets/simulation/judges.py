"""What judgements earn: of real workers, of who does not look, and of strategies that look for more than the truth earns.

Belongs here: cells of the experiment on judges' pay. Does not belong here: the contract (see ``mechanisms.judging``), figures (see
``experiments.judges``).
"""

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.judging import earned_by_outcome, outcome_scores, paid_out
from crowd_assets.simulation.labelers import real_stream

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROUND = 20
"""Judgements of a worker that one round pays."""
CAREFUL_SHARE = 0.5
"""The better half of the workers is called careful."""
LONG = 100
BELIEFS = (0.5, 0.505, 0.51, 0.52, 0.55, 0.6, 0.65, 0.7)
MOST_STEPS = 200
KINDS = ("misreport", "overstate", "shirk", "copy", "split")


def real_pay(least: int, splits: int, seed: int, data: str) -> list[dict[str, float]]:
    """Pay of real workers with ``least`` judgements or more on pairs whose gold is a or b, against what they get right elsewhere.

    In each split every judgement is paid or held out, by a coin. Figures of a split: correlation of the score a judgement with held-out
    accuracy (``correlation``), of the accuracy on what is paid with it (``of_accuracy``), of the whole pay with how many held-out
    judgements are right (``of_totals``); and ``reliability``, which part of the variance of held-out accuracy is not the noise of so few
    judgements: no pay correlates more than its root with it.
    """
    slot, worker, report, outcomes = real_stream(data)
    gold = outcomes[slot]
    clear = ~np.isnan(gold) & (gold != 0.5)
    worker, report, gold = worker[clear], report[clear], gold[clear]
    workers = int(worker.max()) + 1
    judged = np.bincount(worker, minlength=workers)
    score = outcome_scores(report, gold, float(gold.mean()))
    right = np.where(report == 0.5, 0.5, (report > 0.5) == (gold > 0.5)).astype(np.float64)
    rng = np.random.default_rng([seed, least])
    found = []
    for _ in range(splits):
        held = rng.random(worker.size) < 0.5
        out = np.bincount(worker[held], minlength=workers)
        paid = judged - out
        who = (judged >= least) & (out > 1) & (paid > 1)
        pay = np.bincount(worker[~held], score[~held], minlength=workers)[who]
        same = np.bincount(worker[~held], right[~held], minlength=workers)[who] / paid[who]
        correct = np.bincount(worker[held], right[held], minlength=workers)[who]
        accuracy = correct / out[who]
        noise = (accuracy * (1 - accuracy) / (out[who] - 1)).mean()
        found.append(
            {
                "correlation": float(np.corrcoef(pay / paid[who], accuracy)[0, 1]),
                "of_accuracy": float(np.corrcoef(same, accuracy)[0, 1]),
                "of_totals": float(np.corrcoef(pay, correct)[0, 1]),
                "reliability": float(max(1 - noise / accuracy.var(), 0.0)),
                "workers": int(who.sum()),
            }
        )
    return found


def coin_flipper_share(dues: float, repeats: int, seed: int, data: str) -> list[float]:
    """Pay of somebody who flips a coin on the pairs of a careful worker, as a share of that worker's pay, over all careful workers with
    ``LONG`` judgements or more; in rounds of ``ROUND`` judgements, what was lost being made up for first."""
    slot, worker, report, outcomes = real_stream(data)
    gold = outcomes[slot]
    clear = ~np.isnan(gold) & (gold != 0.5)
    worker, report, gold = worker[clear], report[clear], gold[clear]
    right = np.where(report == 0.5, 0.5, (report > 0.5) == (gold > 0.5)).astype(np.float64)
    judged = np.bincount(worker)
    accuracy = np.bincount(worker, right) / np.maximum(judged, 1)
    many = np.flatnonzero(judged >= LONG)
    careful = many[accuracy[many] >= np.quantile(accuracy[many], 1 - CAREFUL_SHARE)]
    base = float(gold.mean())
    rng = np.random.default_rng([seed, 1])
    shares = []
    for _ in range(repeats):
        pay = {"worker": 0.0, "coin": 0.0}
        for who in careful:
            own = worker == who
            coins = rng.integers(0, 2, int(own.sum())).astype(np.float64)
            pay["worker"] += _paid(outcome_scores(report[own], gold[own], base), dues)
            pay["coin"] += _paid(outcome_scores(coins, gold[own], base), dues)
        shares.append(pay["coin"] / pay["worker"])
    return shares


def _paid(scores: Floats, dues: float) -> float:
    balance, paid = np.array([-dues]), 0.0
    for first in range(0, scores.size, ROUND):
        done = paid_out(balance, scores[first : first + ROUND].sum(keepdims=True))
        balance, paid = done.balance, paid + float(done.paid[0])
    return paid


def judgement_gains(instances: int, checked: float, seed: int, batch: int) -> dict[str, float]:
    """Largest gain, over random instances, of each way to earn more than the truth earns, in points of score a judgement.

    An instance is a belief, the mean outcome of other pairs, and a lie; a pair gets an outcome with chance ``checked``, drawn after the
    judgements are in. *misreport*: any number. *overstate*: the sure answer. *shirk*: the mean outcome, without a look. *copy*: the
    report of somebody who is right no more often. *split*: the same judgements under several names. Expectations over outcomes are
    exact.
    """
    rng = np.random.default_rng([seed, batch])
    belief, base, lie = rng.random(instances), rng.uniform(0.05, 0.95, instances), rng.random(instances)
    ones, zeros = np.ones(instances), np.zeros(instances)

    def worth(report: Floats) -> Floats:
        of_one, of_zero = (outcome_scores(report, outcome, base) for outcome in (ones, zeros))
        worth: Floats = checked * (belief * of_one + (1 - belief) * of_zero)
        return worth

    truth = worth(belief)
    # A peer's report is drawn from the same chance and less sure: belief is what makes the own report calibrated.
    peer = np.clip(belief + rng.normal(0, 0.2, instances), 0, 1)
    gains = {
        "misreport": worth(lie) - truth,
        "overstate": worth((belief >= 0.5).astype(np.float64)) - truth,
        "shirk": worth(base) - truth,
        "copy": worth(peer) - truth,
    }
    rows = min(instances, 100_000)
    name, drawn = rng.integers(0, 5, rows), (rng.random(rows) < belief[:rows]).astype(np.float64)
    paid = {
        names: earned_by_outcome(
            name if names > 1 else np.zeros(rows, dtype=np.int64),
            belief[:rows],
            drawn,
            labelers=5,
            budget=float(rows),
            baseline=base[:rows],
        ).earned.sum()
        for names in (1, 5)
    }
    return {kind: float(value.max()) for kind, value in gains.items()} | {"split": float(paid[5] - paid[1]) / rows}


def fresh_name_gains(dues: int, checked: float) -> dict[str, float]:
    """Gain a judgement of sure answers under names that are left as soon as that is best, over staying and telling a calibrated belief.

    The largest over beliefs from 1/2 on, with that ``belief``; a share ``checked`` of the judgements gets an outcome, and each outcome
    is known before the next judgement, which is the best that can happen to who leaves. Exact: the rate of optimal stopping.
    """
    best = {"gain": -np.inf}
    for belief in BELIEFS:
        low, high = 0.0, min(float(_worth_of_a_name(dues, belief, np.zeros(1))[0]), 1.0)  # a name judges at least once
        for _ in range(2):
            rates = np.linspace(low, high, 65)
            pays = int((_worth_of_a_name(dues, belief, rates) > 0).sum())
            low, high = float(rates[max(pays - 1, 0)]), float(rates[min(pays, 64)])
        gain = checked * (high - (belief - 0.5) ** 2 / 0.25)
        if gain > best["gain"]:
            best = {"gain": gain, "belief": belief}
    return best


def _worth_of_a_name(dues: int, belief: float, rate: Floats) -> Floats:
    """What a new name earns at most where every judgement costs ``rate``, the shape of it: a right answer scores 1, a wrong one -3, and
    only what is above the dues and all losses is paid. Value iteration over what is owed, 0 to ``dues``; a name that owes more is left."""
    worth = np.zeros((dues + 4, rate.size))
    for _ in range(MOST_STEPS):
        right = np.concatenate([1.0 + worth[:1], worth[:dues]])
        here = np.maximum(belief * right + (1 - belief) * worth[3:] - rate, 0.0)
        moved = np.abs(here - worth[: dues + 1]).max()
        worth[: dues + 1] = here
        if moved < 1e-12:
            break
    found: Floats = worth[dues]
    return found
