"""Learning rates that are found: the first round of a home tries a few on one group, and later rounds keep what it found.

Belongs here: which rates are tried and by what one is chosen, where the curve is kept. Does not belong here: training (see
``resources.training``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
import polars as pl

from crowd_assets.mechanisms.target import mean_distance
from crowd_assets.round.randomness import generator_for, seed_for
from crowd_assets.round.target import find_target, ordinary_texts
from crowd_assets.round.training import candidate_config, evaluation_prompts, prompts_of, sampling_of
from resources.common.progress import throttled
from resources.files.frames import FramesResource
from resources.models.embedder import EmbedderResource
from resources.models.trainer import TrainerResource
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.training.candidate_runs import Demonstrations
from resources.training.prompting import Prompt
from resources.warehouse.base import WarehouseResource

CURVE = "learning_rates"
RATES = (2e-4, 5e-4, 1e-3, 2e-3, 5e-3)
HELD_OUT = 0.25  # of the group's demonstrations
LEAST_HELD_OUT, MOST_HELD_OUT = 2, 64
GENERAL, TEXTS = 48, 48  # reference texts whose loss is looked at, and texts that each trial writes
OF_A_TRIAL = 0.25  # of CROWD_FORGETTING_LIMIT: a candidate takes more steps than a trial, and rounds add up
SMALL = 0.02  # rise of a loss that tells nothing


@dataclass(frozen=True)
class Trial:
    """What a rate came to; the model it began with has the rate 0.

    Attributes:
        held_out_loss: Of the group's demonstrations that were kept out, nats a token.
        general_loss: Of reference texts, nats a token.
        distance: Mean target distance of what it writes.
    """

    learning_rate: float
    held_out_loss: float
    general_loss: float
    distance: float


def highest_general_loss(of_base: float, limit: float) -> float:
    """The loss of reference texts up to which a trial forgot little: the base's and a quarter of ``limit``, CROWD_FORGETTING_LIMIT, or
    2 % where there is no limit."""
    return of_base * (1 + (OF_A_TRIAL * limit or SMALL))


def best_of(base: Trial, trials: Sequence[Trial], limit: float) -> float:
    """The rate whose model writes nearest to the target, of those that learnt and forgot little: the loss of texts kept out is no
    higher than the base's, and that of reference texts no higher than :func:`highest_general_loss`. The least rate where there is
    no such.

    Raises:
        ValueError: no rate was tried.
    """
    if not trials:
        raise ValueError("no rate was tried.")
    most = highest_general_loss(base.general_loss, limit)
    sound = [each for each in trials if each.held_out_loss <= base.held_out_loss and each.general_loss <= most]
    if not sound:
        return min(each.learning_rate for each in trials)
    return min(sound, key=lambda each: (each.distance, each.learning_rate)).learning_rate


def learning_rate_of(
    round_: Round,
    learnt: pl.DataFrame,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    trainer: TrainerResource,
    embedder: EmbedderResource,
    said: Callable[[str], None],
) -> float:
    """The peak rate of a round's candidates: what is set, what an earlier round of the home found, or what trials on ``learnt``, the
    demonstrations of one group, find now.

    Args:
        learnt: Rows of ``validated_feedback``, demonstrations alone; read where trials are made.
        trainer, embedder: Train and measure the trials.
        said: Is told of each trial in a line.

    Returns:
        A positive rate, of the optimiser's step after warm-up. What trials find is written to the frame ``learning_rates`` of the round.
    """
    try:
        return found_learning_rate(round_, settings, warehouse, frames)
    except LookupError:
        pass
    base, trials = _tried(round_, learnt, settings, warehouse, frames, trainer, embedder, said)
    found = best_of(base, trials, settings.forgetting_limit)
    keep_curve(CURVE, (base, *trials), found, round_, frames)
    for each in trials:
        said(
            f"learning rate {each.learning_rate:g}: held-out loss {each.held_out_loss:.3f} (base {base.held_out_loss:.3f}), general "
            f"loss {each.general_loss:.3f} ({base.general_loss:.3f}), target distance {each.distance:.3f} ({base.distance:.3f})"
            f"{' — chosen' if each.learning_rate == found else ''}"
        )
    return found


def found_learning_rate(
    round_: Round, settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource
) -> float:
    """The peak rate of a round's candidates that is set or was found.

    Raises:
        LookupError: none was found yet.
    """
    if (known := settings.known_learning_rate) is not None:
        return known
    if (chosen := chosen_before(CURVE, round_, warehouse, frames)) is not None:
        return chosen
    raise LookupError(f"no round through {round_.round_id} found a learning rate.")


def chosen_before(curve: str, round_: Round, warehouse: WarehouseResource, frames: FramesResource) -> float | None:
    """The rate that this round chose from a curve of trials, or the latest settled round before that kept one; None where none did."""
    earlier = [each for each in RoundBook(warehouse).all() if each.settled and each.round_no < round_.round_no]
    for round_id in (round_.round_id, *(each.round_id for each in reversed(earlier))):
        if frames.path(curve, round_id).exists():
            return float(frames.read(curve, round_id).filter("chosen")["learning_rate"].item())
    return None


def keep_curve(curve: str, trials: Sequence[object], chosen: float, round_: Round, frames: FramesResource) -> None:
    """Write what each rate came to, a row a trial, and which was chosen, as a frame of the round."""
    rows = pl.DataFrame([vars(each) for each in trials]).with_columns(chosen=pl.col("learning_rate") == chosen)
    frames.write(curve, round_.round_id, rows, settled=round_.settled)


def _tried(
    round_: Round,
    learnt: pl.DataFrame,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    trainer: TrainerResource,
    embedder: EmbedderResource,
    said: Callable[[str], None],
) -> tuple[Trial, list[Trial]]:
    """What the base and each rate come to, the rates as adapters of one pass."""
    pairs = list(zip(prompts_of(learnt), learnt["response"], strict=True))
    order = generator_for(round_, "learning rates").permutation(len(pairs))
    measuring = min(max(LEAST_HELD_OUT, min(round(HELD_OUT * len(pairs)), MOST_HELD_OUT)), len(pairs) - 1)
    held_out, kept = order[:measuring].tolist(), sorted(order[measuring:].tolist())
    writers = learnt["contributor_id"].to_list()
    group = Demonstrations([pairs[row] for row in kept], [writers[row] for row in kept])
    parent = RoundBook(warehouse).base_model(round_.round_no)
    said(
        f"learning rates {', '.join(f'{rate:g}' for rate in RATES)} are tried on {len(kept)} demonstrations, once a home"
    )
    trained = trainer.train_candidates(
        parent,
        [replace(group, learning_rate=rate) for rate in RATES],
        config=candidate_config(settings, RATES[0]),
        seed=seed_for(round_, "candidate"),
        valuation=None,
        cards=[{"role": "trial", "round_id": round_.round_id, "learning_rate": rate} for rate in RATES],
        progress=throttled("trials of learning rates", said),
    )
    models = [parent, *(each.model for each in trained)]
    asked = evaluation_prompts(round_, "learning rates", TEXTS, learnt, by="prompts")
    written = trainer.generate(
        models,
        asked,
        seed=seed_for(round_, "learning rates"),
        progress=throttled("generations of the trials", said),
        **sampling_of(settings),
    )
    target = find_target(settings, embedder, frames).vector
    general = list(zip(asked, ordinary_texts(settings)[:GENERAL], strict=False))
    kept_out = [pairs[row] for row in held_out]
    found, progress = [], throttled("losses of the trials", said)
    for number, (rate, model, texts) in enumerate(zip((0.0, *RATES), models, written, strict=True)):
        losses = losses_of(trainer, model, {"held out": kept_out, "general": general}, settings.max_tokens)
        distance = mean_distance(embedder.embed(texts), target).mean
        found.append(Trial(rate, losses["held out"], losses["general"], distance))
        progress(number + 1, len(models))
    return found[0], found[1:]


def losses_of(
    trainer: TrainerResource, model: str | None, sets: Mapping[str, Sequence[tuple[Prompt, str]]], max_tokens: int
) -> dict[str, float]:
    """Mean loss of a model on the responses of each set, nats a token; the model is loaded once."""
    if not sets:
        return {}
    likelihoods = iter(trainer.likelihoods(model, list(chain.from_iterable(sets.values())), max_tokens))
    return {name: -float(np.concatenate(list(islice(likelihoods, len(pairs)))).mean()) for name, pairs in sets.items()}
