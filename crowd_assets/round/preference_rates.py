"""The learning rate of QA-DPO, found as that of the candidates is: a few are tried once a home, on pairs of which some are kept out.

Belongs here: which rates are tried and by what one is chosen, where the curve is kept. Does not belong here: training (see
``resources.training.alignment``), rates of candidates (see ``rates``), whether the aligned model is kept (see ``selection``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from crowd_assets.round.randomness import generator_for, seed_for
from crowd_assets.round.rates import GENERAL, chosen_before, found_learning_rate, highest_general_loss, keep_curve
from crowd_assets.round.target import ordinary_texts
from crowd_assets.round.training import adapter_config
from resources.common.progress import throttled
from resources.files.frames import FramesResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round
from resources.settings.resource import CrowdSettings
from resources.training.alignment import PreferencePair, mean_loss
from resources.training.prompting import Prompt
from resources.warehouse.base import WarehouseResource

CURVE = "preference_rates"
SHARES = (1 / 3, 1 / 10, 1 / 30, 1 / 100, 1 / 300)  # of the candidates' rate
HELD_OUT = 0.33  # of the pairs that QA-DPO trains on; those that judge the aligned model have no part in trials
LEAST_HELD_OUT, MOST_HELD_OUT, MOST_TRAINED = 2, 32, 64


@dataclass(frozen=True)
class PreferenceTrial:
    """What a rate came to; the model that it began with has the rate 0.

    Attributes:
        preference_loss: Mean QA-DPO loss of the pairs that were kept out, nats.
        accuracy: Share of these pairs that the model ranks as the crowd does, after the model that it began with.
        general_loss: Of reference texts, nats a token.
    """

    learning_rate: float
    preference_loss: float
    accuracy: float
    general_loss: float


def best_of(base: PreferenceTrial, trials: Sequence[PreferenceTrial], limit: float) -> float:
    """The rate with the least loss of pairs kept out, of those that learnt and forgot little: that loss is below the base's, and the
    loss of reference texts no higher than ``highest_general_loss``. The least rate where there is no such.

    Raises:
        ValueError: no rate was tried.
    """
    if not trials:
        raise ValueError("no rate was tried.")
    most = highest_general_loss(base.general_loss, limit)
    sound = [each for each in trials if each.preference_loss < base.preference_loss and each.general_loss <= most]
    if not sound:
        return min(each.learning_rate for each in trials)
    return min(sound, key=lambda each: (each.preference_loss, each.learning_rate)).learning_rate


def preference_rate_of(
    round_: Round,
    pairs: Sequence[PreferencePair],
    parent: str | None,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    trainer: TrainerResource,
    said: Callable[[str], None],
) -> float:
    """The peak rate of a round's QA-DPO: what is set, what an earlier round of the home found, or what trials on ``pairs`` find now.

    Args:
        pairs: What the aligned model will be trained on; pairs that judge it are not among them.
        parent: The stored model that is aligned; None: the root.
        trainer: Trains and measures the trials.
        said: Is told of each trial in a line.

    Returns:
        A positive rate. What trials find is written to the frame ``preference_rates`` of the round.
    """
    of_candidates = found_learning_rate(round_, settings, warehouse, frames)
    if (known := settings.alignment_rate(of_candidates)) is not None:
        return known
    if (chosen := chosen_before(CURVE, round_, warehouse, frames)) is not None:
        return chosen
    rates = [of_candidates * share for share in SHARES[: settings.alignment_trials]]
    base, trials = _tried(round_, pairs, parent, rates, settings, trainer, said)
    found = best_of(base, trials, settings.forgetting_limit)
    keep_curve(CURVE, (base, *trials), found, round_, frames)
    for each in trials:
        said(
            f"QA-DPO at {each.learning_rate:.2g}: loss of pairs kept out {each.preference_loss:.3f} (base {base.preference_loss:.3f}), "
            f"general loss {each.general_loss:.3f} ({base.general_loss:.3f})"
            f"{' — chosen' if each.learning_rate == found else ''}"
        )
    return found


def _tried(
    round_: Round,
    pairs: Sequence[PreferencePair],
    parent: str | None,
    rates: Sequence[float],
    settings: CrowdSettings,
    trainer: TrainerResource,
    said: Callable[[str], None],
) -> tuple[PreferenceTrial, list[PreferenceTrial]]:
    """What the base and each rate come to."""
    order = generator_for(round_, "preference rates").permutation(len(pairs)).tolist()
    measuring = min(max(LEAST_HELD_OUT, round(HELD_OUT * len(pairs))), MOST_HELD_OUT, len(pairs) - 1)
    held_out = [pairs[index] for index in order[:measuring]]
    trained = [pairs[index] for index in sorted(order[measuring : measuring + MOST_TRAINED])]
    said(f"rates of QA-DPO {', '.join(f'{rate:.2g}' for rate in rates)} are tried on {len(trained)} pairs, once a home")
    general = list(zip(cycle(pair.prompt for pair in held_out), ordinary_texts(settings)[:GENERAL], strict=False))
    models = [
        trainer.align(
            parent,
            trained,
            config=adapter_config(settings, rate, settings.alignment_epochs),
            beta=settings.alignment_beta,
            seed=seed_for(round_, "alignment"),
            card={"role": "trial", "round_id": round_.round_id, "learning_rate": rate, "pairs": len(trained)},
            progress=throttled(f"alignment at {rate:.2g}", said),
        ).model
        for rate in rates
    ]
    margins, losses = zip(
        *(_read(trainer, model, held_out, general, settings.max_tokens) for model in (parent, *models)), strict=True
    )
    found = [
        PreferenceTrial(
            rate,
            mean_loss(held_out, of_model, margins[0], settings.alignment_beta),
            float(np.mean(of_model > 0) + np.mean(of_model == 0) / 2),
            loss,
        )
        for rate, of_model, loss in zip((0.0, *rates), margins, losses, strict=True)
    ]
    return found[0], found[1:]


def _read(
    trainer: TrainerResource,
    model: str | None,
    pairs: Sequence[PreferencePair],
    general: Sequence[tuple[Prompt, str]],
    max_tokens: int,
) -> tuple[NDArray[np.float64], float]:
    """Of a model, in one reading: log-probabilities of accepted answers minus those of rejected ones, nats, (pairs,); and the mean loss
    of general texts, nats a token."""
    answers = [(pair.prompt, each) for pair in pairs for each in (pair.accepted, pair.rejected)]
    likelihoods = trainer.likelihoods(model, [*answers, *general], max_tokens)
    sums = np.array([each.sum() for each in likelihoods[: len(answers)]]).reshape(-1, 2)
    return sums[:, 0] - sums[:, 1], -float(np.concatenate(likelihoods[len(answers) :]).mean())
