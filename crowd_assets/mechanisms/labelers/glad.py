"""GLAD: how able a labeler is and how easy a slot, found together.

Belongs here: this consensus. Does not belong here: others that need no outcome (see ``mace``, ``m_msr``, ``score_update``).
"""

import numpy as np

from crowd_assets.mechanisms.labelers.votes import Consensus, Floats, Ints, checked, expit, share_of_a

STEPS = 10
"""Scoring steps of each maximisation; more change nothing that the next expectation would not."""
LARGEST_STEP = 0.5


def glad(
    slot: Ints,
    labeler: Ints,
    report: Floats,
    *,
    slots: int,
    labelers: int,
    iterations: int = 50,
    tolerance: float = 1e-4,
) -> Consensus:
    """Consensus by expectation maximisation where labeler i is right on slot t with probability sigma(alpha_i exp(b_t)).

    A report r counts as r of a vote for A and 1 - r of a vote for B. alpha and b have normal priors of mean 1 and variance 1, and
    are found by Fisher scoring. Starts from the plain mean.

    Args:
        slot, labeler, report: as in ``votes.checked``.
        slots: T; ``labelers``: N.
        iterations: most iterations of EM; ``tolerance``: largest change of a probability at which it has converged.

    Returns:
        the consensus; ``accuracy`` is sigma(alpha_i e), on a slot of the mean ease.

    Raises:
        ValueError: see ``votes.checked``.

    Source: Whitehill, Wu, Bergsma, Movellan & Ruvolo, "Whose vote should count more" (NeurIPS 2009).

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
        >>> report = np.array([1.0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1])
        >>> found = glad(slot, labeler, report, slots=4, labelers=3)
        >>> found.probability_a.round().tolist(), bool(found.accuracy[0] > found.accuracy[2])
        ([1.0, 0.0, 1.0, 0.0], True)
    """
    slot, labeler, report = checked(slot, labeler, report, slots, labelers)
    heard = np.bincount(slot, minlength=slots) > 0
    answer = share_of_a(slot, report, slots)
    ability, ease = np.ones(labelers), np.ones(slots)
    done, converged = 0, not heard.any()
    while done < iterations and not converged:
        done += 1
        right = answer[slot] * report + (1 - answer[slot]) * (1 - report)
        for _ in range(STEPS):
            scale = np.exp(ease[slot])
            chance = expit(ability[labeler] * scale)
            spread = chance * (1 - chance)
            slope = np.bincount(labeler, (right - chance) * scale, minlength=labelers) - (ability - 1)
            bend = np.bincount(labeler, spread * np.square(scale), minlength=labelers) + 1
            ability = ability + np.clip(slope / bend, -LARGEST_STEP, LARGEST_STEP)
            reach = ability[labeler] * scale
            chance = expit(reach)
            slope = np.bincount(slot, (right - chance) * reach, minlength=slots) - (ease - 1)
            bend = np.bincount(slot, chance * (1 - chance) * np.square(reach), minlength=slots) + 1
            ease = ease + np.clip(slope / bend, -LARGEST_STEP, LARGEST_STEP)
        odds = np.bincount(slot, (2 * report - 1) * ability[labeler] * np.exp(ease[slot]), minlength=slots)
        revised = np.where(heard, expit(odds), answer)
        converged = bool(np.abs(revised - answer).max() <= tolerance)
        answer = revised
    known = np.bincount(labeler, minlength=labelers) > 0
    return Consensus(np.where(heard, answer, np.nan), np.where(known, expit(ability * np.e), 0.5), done, converged)
