"""What a round with this base model takes, from one timed step: whether it works at all, what was chosen, hours and memory.

Belongs here: estimates of a round's stages. Does not belong here: looking at a model (see ``resources.training.preflight``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crowd_assets.round.fit import RATE_TO_LOOK_WITH, refuse
from crowd_assets.round.training import candidate_config
from resources.models.trainer import TrainerResource
from resources.settings.resource import CrowdSettings
from resources.training.memory import cache_bytes_a_token
from resources.training.preflight import Seen, Speed, UnfitModelError, look_at_model, look_at_texts

TRIED = 5  # rates of the first round
SECOND_ORDER = 1.3  # what a step with values along the path takes, times one without
OPTIMISER_BYTES = 16  # of an adapter's parameter: itself, its gradient and AdamW's two moments, in single precision


@dataclass(frozen=True)
class Stage:
    """A stage of a round: tokens through the model, and seconds."""

    name: str
    tokens: float
    seconds: float


def plan(settings: CrowdSettings, trainer: TrainerResource, texts: int, tokens: int) -> Iterator[str]:
    """Lines that say what was chosen, what a round takes, stage by stage, and what is wrong.

    Args:
        texts: Demonstrations of a round.
        tokens: Of a prompt and its response, on average.

    Raises:
        UnfitModelError: the model does not fit; the lines before say what was seen.
    """
    yield from _choices(settings, trainer)
    seen: list[Seen] = []
    speed: Speed | None = None
    looks: list[Iterator[Any]] = [
        iter(look_at_texts(trainer.texts, settings.max_tokens, settings.max_new_tokens)),
        iter(look_at_model(lambda: trainer.lent(None), candidate_config(settings, RATE_TO_LOOK_WITH))),
    ]
    for look in looks:
        for each in look:
            if isinstance(each, Speed):
                speed = each
                continue
            seen.append(each)
            yield f"{'well ' if each.well else 'WRONG'}  {each.name}: {each.words}"
        refuse(seen, settings.base_model)
    if speed is None:
        raise UnfitModelError(f"CROWD_BASE_MODEL={settings.base_model!r} was not timed: see the lines above.")
    stages = stages_of(settings, speed, texts, tokens)
    for stage in stages:
        yield f"{_time(stage.seconds):>9}  {stage.name}, {stage.tokens:,.0f} tokens"
    yield f"{_time(sum(each.seconds for each in stages)):>9}  in all, for {texts} demonstrations of {tokens} tokens"
    yield from _memory(settings, trainer, speed)


def stages_of(settings: CrowdSettings, speed: Speed, texts: int, tokens: int) -> list[Stage]:
    """The stages of a round in which the base model works."""
    shown = texts * tokens * settings.epochs
    stages: list[Stage] = []

    def add(name: str, count: float, rate: float) -> None:
        if count:
            stages.append(Stage(name, count, count / rate))

    models = settings.groups + 1
    if settings.known_learning_rate is None:
        add("learning rates, in the first round alone", TRIED * shown / settings.groups, speed.trained)
        add("what trials write", (TRIED + 1) * 48 * settings.max_new_tokens, speed.written)
    in_run = settings.shapley_method == "in_run"
    seeds = settings.values["seeds"] if in_run else 1
    factor = SECOND_ORDER if in_run and settings.values["order"] == 2 else 1.0
    add("candidates", shown * seeds * factor, speed.trained)
    if in_run:
        steps = max(1, shown // tokens // settings.batch_size)
        gradients = (steps // settings.values["every"] + settings.groups) * seeds
        add("gradients of contributors' values", gradients * settings.values["rows"] * tokens, speed.trained)
    add("selection, at least", models * settings.samples["selection"] * settings.max_new_tokens, speed.written)
    add("report", 2 * settings.samples["report"] * settings.max_new_tokens, speed.written)
    return stages


def _choices(settings: CrowdSettings, trainer: TrainerResource) -> Iterator[str]:
    import torch

    device = torch.device(settings.device_map if settings.device_map not in ("", "auto") else _first_device())
    why = "as CROWD_DTYPE asks"
    dtype: Any = settings.dtype
    if settings.dtype == "auto":
        dtype, why = trainer.precision(device)
    yield f"precision   {why if str(dtype).removeprefix('torch.') in why else f'{dtype}, {why}'}"
    yield f"device      {device}, {settings.threads} thread{'s' * (settings.threads > 1)} on the CPU"
    rate = settings.known_learning_rate
    yield f"rates       candidates {f'{rate:g}' if rate else 'found by the first round, which tries five on one group'}"
    of_preferences = settings.alignment_rate(rate) if rate else settings.alignment_learning_rate or None
    if of_preferences is None and not settings.alignment_trials:
        found = "a twentieth of the candidates'"
    else:
        found = f"found by the first round with enough pairs, which tries {settings.alignment_trials}"
    yield f"            QA-DPO {f'{of_preferences:g}' if of_preferences else found}"
    yield f"values      {', '.join(f'{name} {value}' for name, value in settings.values.items())}"
    yield f"samples     {', '.join(f'{name} {value}' for name, value in settings.samples.items())}"


def _memory(settings: CrowdSettings, trainer: TrainerResource, speed: Speed) -> Iterator[str]:
    with trainer.lent(None) as loaded:
        model = loaded.model
        weights = sum(each.numel() * each.element_size() for each in model.parameters())
        adapters = settings.lora_rank * sum(sum(each.shape) for each in model.parameters() if each.dim() == 2)
    adapters *= min(settings.fused_candidates, settings.groups) * settings.values["seeds"]
    terms = {
        "weights": weights,
        "adapters with their optimiser, at most": adapters * OPTIMISER_BYTES,
        "cache of 32 texts": 32 * (settings.max_tokens + settings.max_new_tokens) * cache_bytes_a_token(model),
    }
    for name, size in terms.items():
        yield f"{size / 2**30:8.2f} GiB  {name}"
    yield f"{speed.peak_mib / 2**10:8.2f} GiB  in use at most in the step just timed"


def _first_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _time(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 3600
        else f"{seconds / 60:.1f} min"
        if seconds >= 60
        else f"{seconds:.0f} s"
    )
