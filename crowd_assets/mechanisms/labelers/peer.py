"""What agreement with peers says of a labeler where nothing is realised: peer prediction over several tasks.

Belongs here: scores that need no outcome, and weights made from them. Does not belong here: pay (see ``mechanisms.judging``), a
consensus (see ``mace`` and others).
"""

from dataclasses import dataclass

import numpy as np

from crowd_assets.mechanisms.labelers.votes import Floats, Ints, checked, shares_of

FEWEST_TASKS = 2
"""Tasks that a labeler and peers have in common, below which correlated agreement says nothing."""


@dataclass(frozen=True, slots=True)
class PeerScores:
    """Correlated agreement of each labeler with its peers.

    ``score`` (N,) in [-1, 1], 0 where there is too little to say; ``tasks`` (N,) that a labeler shared with peers; ``error`` (N,) standard
    error of the score, NaN where there is none; ``judgements`` (N,) the sum of the tasks' shares, their number where each is one.
    """

    score: Floats
    tasks: Ints
    error: Floats
    judgements: Floats


def correlated_agreement(
    slot: Ints,
    labeler: Ints,
    report: Floats,
    *,
    slots: int,
    labelers: int,
    ring: Ints | None = None,
    share: Floats | None = None,
) -> PeerScores:
    """How much more a labeler agrees with peers on the same slot than on different ones.

    With x the side of a report (1 for A, 0 for B, 1/2 for a tie) and q the mean side of the others on the slot, over the n slots of a
    labeler that others judged:
        score = 4 * (sum of x q - (sum of x) (sum of q) / n) / (n - 1),
    four times their covariance, which is the mean agreement (2 x - 1)(2 q - 1) on a slot less that on two different slots, of all
    pairs of slots. Constant and random reports score 0 in expectation, inverted ones below 0, and the more accurate a labeler is, the
    higher it scores.

    Args:
        slot, labeler, report: as in ``votes.checked``, nobody twice in a slot.
        slots: T; ``labelers``: N.
        ring: shape (N,), who acts as one; nobody is a peer of its own ring. None: everybody for itself.
        share: shape (m,), in (0, 1], which part of one judgement a report is; means and covariance are weighted by it, with
            W - (sum of share^2) / W for n - 1, W the sum of share. None: 1 each.

    Guarantees: where peers tell the truth, signals of different people are positively correlated given the slot and slots are alike,
    truth is a best reply, and no strategy that ignores the slot earns more than 0 in expectation. Only the side counts: how sure a
    report is changes nothing.

    Raises:
        ValueError: see ``votes.checked``, a ring for each labeler is missing, or a share for each report that lies in (0, 1].

    Source: Shnayder, Agarwal, Frongillo & Parkes, "Informed truthfulness in multi-task peer prediction" (EC 2016); Dasgupta & Ghosh,
    "Crowdsourced judgement elicitation with endogenous proficiency" (WWW 2013).

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
        >>> report = np.array([1.0, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1])
        >>> correlated_agreement(slot, labeler, report, slots=4, labelers=3).score.round(3).tolist()
        [0.667, 0.667, 0.0]
    """
    slot, labeler, report = checked(slot, labeler, report, slots, labelers)
    ring = np.arange(labelers) if ring is None else np.asarray(ring, dtype=np.int64)
    if ring.shape != (labelers,):
        raise ValueError(f"expected a ring for each of {labelers} labelers, got shape {ring.shape}")
    share = shares_of(share, report)
    side = (1.0 + np.sign(report - 0.5)) / 2.0
    key = slot * (int(ring.max()) + 1 if ring.size else 1) + ring[labeler]
    _, own = np.unique(key, return_inverse=True)
    of_own, n_own = np.bincount(own, side), np.bincount(own)
    total, n = np.bincount(slot, side, minlength=slots), np.bincount(slot, minlength=slots)
    others = n[slot] - n_own[own] if slot.size else np.zeros(0, dtype=np.int64)
    with_peers = others > 0
    peers = (total[slot] - of_own[own])[with_peers] / others[with_peers] if slot.size else np.zeros(0)
    who, x, part = labeler[with_peers], side[with_peers], share[with_peers]
    tasks = np.bincount(who, minlength=labelers)
    judgements = np.bincount(who, part, minlength=labelers).astype(np.float64)
    whole = np.where(tasks > 0, judgements, 1.0)
    away_x = x - (np.bincount(who, part * x, minlength=labelers) / whole)[who]
    away_q = peers - (np.bincount(who, part * peers, minlength=labelers) / whole)[who]
    product = 4.0 * away_x * away_q
    enough = tasks >= FEWEST_TASKS
    free = np.where(enough, whole - np.bincount(who, np.square(part), minlength=labelers) / whole, 1.0)
    score = np.where(enough, np.bincount(who, part * product, minlength=labelers) / free, 0.0)
    spread = np.bincount(
        who,
        part * np.square(product - (np.bincount(who, part * product, minlength=labelers) / whole)[who]),
        minlength=labelers,
    )
    error = np.where(tasks > FEWEST_TASKS, np.sqrt(spread / whole / free), np.nan)
    return PeerScores(np.clip(score, -1.0, 1.0), tasks.astype(np.int64), error, judgements)


def accuracy_by_agreement(scores: PeerScores, *, prior: float = 10.0) -> Floats:
    """Accuracy of each labeler, as agreement with peers tells it, where answers are as often A as B.

    With skills s = 2 a - 1 the score of labeler i is s_i times the mean skill of its peers, so s_i = score_i / m with m the root of the
    mean score; ``prior`` tasks of the crowd's mean are added to each.

    Args:
        scores: of a crowd; ``prior``: positive.

    Returns:
        shape (N,), in [0.01, 0.99]; 1/2 for everybody where the crowd does not agree at all.

    Raises:
        ValueError: a prior that is not positive.

    Example:
        >>> import numpy as np
        >>> scores = PeerScores(np.array([0.5, 0.3]), np.array([50, 50]), np.full(2, 0.1), np.full(2, 50.0))
        >>> accuracy_by_agreement(scores).round(3).tolist()
        [0.882, 0.75]
    """
    if not prior > 0:
        raise ValueError(f"prior must be positive, got {prior}")
    tasks = np.where(scores.tasks >= FEWEST_TASKS, scores.tasks, 0)
    total = int(tasks.sum())
    mean = float(tasks @ scores.score) / total if total else 0.0
    if mean <= 0:
        return np.full(scores.score.size, 0.5)
    shrunk = (tasks * scores.score + prior * mean) / (tasks + prior)
    accuracy: Floats = np.clip((1.0 + shrunk / np.sqrt(mean)) / 2.0, 0.01, 0.99)
    return accuracy
