"""M-MSR: accuracies from how far each two labelers agree, robust to labelers who lie.

Belongs here: this consensus. Does not belong here: others that need no outcome (see ``mace``, ``glad``, ``score_update``).
"""

import numpy as np

from crowd_assets.mechanisms.labelers.votes import Consensus, Floats, Ints, checked, expit, logit

MOST_PAIRS = 20_000_000
SURELY = 0.98
"""No skill is taken for more than that, of 1."""


def m_msr(
    slot: Ints,
    labeler: Ints,
    report: Floats,
    *,
    slots: int,
    labelers: int,
    liars: int = 1,
    iterations: int = 200,
    tolerance: float = 1e-6,
) -> Consensus:
    """Consensus of labelers weighted by skills that complete a matrix of rank one.

    Two labelers of skills s_i = 2 a_i - 1 who err independently agree with E[(2 r_i - 1)(2 r_j - 1)] = s_i s_j on a slot. Each
    iteration sets s_i to the mean of C_ij / s_j over partners j, of which, as far as there are enough, the ``liars`` largest and
    the ``liars`` smallest are left out. The aggregate is the posterior of independent votes with these accuracies.

    Args:
        slot, labeler, report: as in ``votes.checked``, nobody twice in a slot.
        slots: T; ``labelers``: N.
        liars: of each labeler's partners at most so many may say anything at all.
        iterations: most of them; ``tolerance``: largest change of a skill at which they have converged.

    Returns:
        the consensus; a labeler without partners is taken for the mean accuracy.

    Raises:
        ValueError: see ``votes.checked``, a negative number of liars, or more than 20 million pairs of reports.

    Source: Ma & Olshevsky, "Adversarial crowdsourcing through robust rank-one matrix completion" (NeurIPS 2020).

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
        >>> report = np.array([1.0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1])
        >>> found = m_msr(slot, labeler, report, slots=4, labelers=3)
        >>> found.probability_a.round().tolist(), bool(found.accuracy[0] > found.accuracy[2])
        ([1.0, 0.0, 1.0, 0.0], True)
    """
    slot, labeler, report = checked(slot, labeler, report, slots, labelers)
    if liars < 0:
        raise ValueError(f"the number of liars cannot be negative, got {liars}")
    size = np.bincount(slot, minlength=slots)
    if int((size * (size - 1)).sum()) > 2 * MOST_PAIRS:
        raise ValueError(f"M-MSR compares every two reports of a slot: more than {MOST_PAIRS:,} pairs")
    heard = size > 0
    order = np.lexsort((labeler, slot))
    of, who, vote = slot[order], labeler[order], 2 * report[order] - 1
    ones, others, products = [], [], []
    for apart in range(1, int(size.max()) if size.size else 0):
        both = np.flatnonzero(of[apart:] == of[:-apart])
        ones.append(who[both])
        others.append(who[both + apart])
        products.append(vote[both] * vote[both + apart])
    skill = np.full(labelers, 0.5)
    done, converged = 0, not ones
    partnered = np.zeros(labelers, dtype=bool)
    if ones:
        one, other, product = np.concatenate(ones), np.concatenate(others), np.concatenate(products)
        pair, at = np.unique(np.minimum(one, other) * labelers + np.maximum(one, other), return_inverse=True)
        shared = np.bincount(at)
        agreement = np.bincount(at, product) / shared
        row = np.concatenate([pair // labelers, pair % labelers])
        column = np.concatenate([pair % labelers, pair // labelers])
        value, weight = np.tile(agreement, 2), np.tile(shared, 2).astype(np.float64)
        partners = np.bincount(row, minlength=labelers)
        partnered = partners > 0
        trimmed = np.minimum(liars, np.maximum(partners - 1, 0) // 2)
        starts = np.concatenate([[0], np.cumsum(partners)[:-1]])
        while done < iterations and not converged:
            done += 1
            ratio = np.round(np.clip(value / np.maximum(skill[column], 0.05), -1, 1), 12)
            sorting = np.lexsort((weight * skill[column], ratio, row))  # ties go by weight, not by name
            owner = row[sorting]
            place = np.arange(row.size) - starts[owner]
            kept = (place >= trimmed[owner]) & (place < (partners - trimmed)[owner])
            owner, mass = owner[kept], (weight * np.maximum(skill[column], 0.05))[sorting][kept]
            summed = np.bincount(owner, mass, minlength=labelers)
            revised = np.bincount(owner, mass * ratio[sorting][kept], minlength=labelers) / np.maximum(summed, 1e-12)
            revised = np.where(partnered, np.clip((revised + skill) / 2, -SURELY, SURELY), skill)
            converged = bool(np.abs(revised - skill).max() <= tolerance)
            skill = revised
        usual = float(skill[partnered].mean())
        skill = np.where(partnered, skill, usual)
    accuracy = (1 + skill) / 2
    odds = np.bincount(slot, (2 * report - 1) * logit(accuracy)[labeler], minlength=slots)
    known = np.bincount(labeler, minlength=labelers) > 0
    return Consensus(np.where(heard, expit(odds), np.nan), np.where(known, accuracy, 0.5), done, converged)
