"""CROWDLAB: labelers and a model vote together, each as far as it agrees with the labelers.

Belongs here: this consensus, which has a model beside the crowd. Does not belong here: the model.
"""

import numpy as np

from crowd_assets.mechanisms.labelers.votes import Consensus, Floats, Ints, checked, share_of_a


def crowdlab(slot: Ints, labeler: Ints, report: Floats, model: Floats, *, slots: int, labelers: int) -> Consensus:
    """Consensus of labelers and of a model's probabilities.

    A labeler's quality is its agreement with the majority of the others on slots that others judged; P, the mean of these, is how
    good a vote of nobody in particular is. A vote for A counts as a probability of A of P, for B of 1 - P. Weights of who votes:
    1 - (1 - quality) / (1 - that of the commonest answer), as far as positive, for labelers and for the model, whose weight is
    multiplied by the square root of the mean number of judgements a slot. The consensus is the weighted mean.

    Args:
        slot, labeler, report: as in ``votes.checked``, nobody twice in a slot.
        model: shape (T,), in [0, 1], a probability of A that was made without a slot's own judgements.
        slots: T; ``labelers``: N.

    Returns:
        the consensus; ``accuracy`` is the quality, the mean one for who judged nothing that others judged.

    Raises:
        ValueError: see ``votes.checked``, or a model that has not one probability a slot.

    Source: Goh, Tkachenko & Mueller, "CROWDLAB: supervised learning to infer consensus labels and quality scores for data with multiple
    annotators" (2022).

    Example:
        >>> import numpy as np
        >>> slot, labeler = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
        >>> report = np.array([1.0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1])
        >>> found = crowdlab(slot, labeler, report, np.array([0.9, 0.1, 0.9, 0.1]), slots=4, labelers=3)
        >>> found.probability_a.round(2).tolist(), found.accuracy.tolist()
        ([0.81, 0.19, 0.81, 0.19], [0.75, 0.75, 0.5])
    """
    slot, labeler, report = checked(slot, labeler, report, slots, labelers)
    model = np.asarray(model, dtype=np.float64)
    if model.shape != (slots,) or not ((model >= 0) & (model <= 1)).all():
        raise ValueError(f"expected one probability in [0, 1] a slot from the model, got shape {model.shape}")
    votes = np.bincount(slot, minlength=slots)
    total = np.bincount(slot, report, minlength=slots)
    shared = votes[slot] > 1
    others = np.divide(total[slot] - report, votes[slot] - 1, out=np.full(slot.size, 0.5), where=shared)
    majority = (1 + np.sign(others - 0.5)) / 2
    agreed = 1 - np.abs(report - majority)
    judged = np.bincount(labeler[shared], minlength=labelers)
    mean = float(agreed[shared].mean()) if shared.any() else 0.75
    quality = np.where(
        judged > 0, np.bincount(labeler[shared], agreed[shared], minlength=labelers) / np.maximum(judged, 1), mean
    )
    heard = votes > 0
    consensus = share_of_a(slot, report, slots)
    decided = heard & (consensus != 0.5)
    commonest = max(float((consensus[decided] > 0.5).mean()), 0.5) if decided.any() else 0.5
    right = float(((model > 0.5) == (consensus > 0.5))[decided].mean()) if decided.any() else 0.5
    commonest = min(max(commonest, 1 - commonest), 0.99)

    def weight(accuracy: Floats) -> Floats:
        worth: Floats = np.maximum(1 - (1 - accuracy) / (1 - commonest), 1e-3)
        return worth

    of_labeler = weight(quality)
    of_model = float(weight(np.array([right]))[0]) * float(np.sqrt(votes[heard].mean())) if heard.any() else 1.0
    chance = report * mean + (1 - report) * (1 - mean)
    mass = np.bincount(slot, of_labeler[labeler], minlength=slots) + of_model
    summed = np.bincount(slot, of_labeler[labeler] * chance, minlength=slots) + of_model * model
    return Consensus(np.where(heard, summed / mass, np.nan), quality, 1, True)
