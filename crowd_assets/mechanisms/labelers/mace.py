"""MACE: a labeler either knows the answer or reports at random with a habit of its own.

Belongs here: this consensus. Does not belong here: others that need no outcome (see ``glad``, ``m_msr``, ``score_update``).
"""

import numpy as np

from crowd_assets.mechanisms.labelers.votes import Consensus, Floats, Ints, checked, expit, share_of_a

SMOOTHING = 0.005
"""Added to every expected count; MACE's default of 0.01 over the number of labels."""
LEAST = 1e-9


def mace(
    slot: Ints,
    labeler: Ints,
    report: Floats,
    *,
    slots: int,
    labelers: int,
    iterations: int = 50,
    tolerance: float = 1e-6,
) -> Consensus:
    """Consensus by expectation maximisation over who was spamming when.

    Labeler i spams with probability theta_i, then says A with probability xi_i whatever the answer, else says the answer. A report r
    counts as r of a vote for A and 1 - r of a vote for B:
        P(A | answer A) = 1 - theta + theta xi,   P(A | answer B) = theta xi,   and B alike with 1 - xi.
    Starts from the plain mean, with every labeler as the mean finds it.

    Args:
        slot, labeler, report: as in ``votes.checked``.
        slots: T; ``labelers``: N.
        iterations: most iterations of EM; ``tolerance``: largest change of a probability at which it has converged.

    Returns:
        the consensus; ``accuracy`` is 1 - theta / 2, a labeler's with a fair habit.

    Raises:
        ValueError: see ``votes.checked``.

    Source: Hovy, Berg-Kirkpatrick, Vaswani & Hovy, "Learning whom to trust with MACE" (NAACL 2013).

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
        >>> report = np.array([1.0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1])
        >>> found = mace(slot, labeler, report, slots=4, labelers=3)
        >>> found.probability_a.round().tolist(), bool(found.accuracy[0] > found.accuracy[2])
        ([1.0, 0.0, 1.0, 0.0], True)
    """
    slot, labeler, report = checked(slot, labeler, report, slots, labelers)
    heard = np.bincount(slot, minlength=slots) > 0
    answer = share_of_a(slot, report, slots)
    votes = np.bincount(labeler, minlength=labelers).astype(np.float64)
    for_a = np.bincount(labeler, report, minlength=labelers)
    agreed = np.bincount(labeler, answer[slot] * report + (1 - answer[slot]) * (1 - report), minlength=labelers)
    knows = np.clip((2 * agreed + SMOOTHING) / (votes + 2 * SMOOTHING) - 1, 0.1, 0.99)
    habit = (for_a + SMOOTHING) / (votes + 2 * SMOOTHING)
    done, converged = 0, not heard.any()
    while done < iterations and not converged:
        done += 1
        spam_a, spam_b = (1 - knows) * habit, (1 - knows) * (1 - habit)
        if_right, if_wrong = np.maximum(knows + spam_a, LEAST), np.maximum(spam_a, LEAST)
        b_right, b_wrong = np.maximum(knows + spam_b, LEAST), np.maximum(spam_b, LEAST)
        says_a, says_b = np.log(if_right / if_wrong), np.log(b_right / b_wrong)
        odds = np.bincount(slot, report * says_a[labeler] - (1 - report) * says_b[labeler], minlength=slots)
        revised = np.where(heard, expit(odds), answer)
        # How much of each vote was a habit: all of a vote against the answer, a part of one with it.
        belief = revised[slot]
        habitual_a = report * (1 - belief + belief * (spam_a / if_right)[labeler])
        habitual_b = (1 - report) * (belief + (1 - belief) * (spam_b / b_right)[labeler])
        of_a = np.bincount(labeler, habitual_a, minlength=labelers)
        of_b = np.bincount(labeler, habitual_b, minlength=labelers)
        knows = (votes - of_a - of_b + SMOOTHING) / (votes + 2 * SMOOTHING)
        habit = (of_a + SMOOTHING) / (of_a + of_b + 2 * SMOOTHING)
        converged = bool(np.abs(revised - answer).max() <= tolerance)
        answer = revised
    accuracy = np.where(votes > 0, (1 + np.clip(knows, 0, 1)) / 2, 0.5)
    return Consensus(np.where(heard, answer, np.nan), accuracy, done, converged)
