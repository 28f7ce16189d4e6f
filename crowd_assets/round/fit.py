"""Whether a home's base model can be trained and can write here: looked at once, before a round is paid for.

Belongs here: when that is looked at, and refusing. Does not belong here: looking (see ``resources.training.preflight``), what a
round takes (see ``crowd_assets.operations.plan``).
"""

from collections.abc import Sequence
from typing import Any

from crowd_assets.round.training import candidate_config
from resources.models.store import fingerprint
from resources.models.trainer import TrainerResource
from resources.settings.resource import CrowdSettings
from resources.training.preflight import Seen, UnfitModelError, look_at_model, look_at_texts

RATE_TO_LOOK_WITH = 1e-4


def check_model(settings: CrowdSettings, trainer: TrainerResource) -> None:
    """Look at the base model once a home, before a round is paid for: a base of one's own alone, as the embedded one is tested.

    Raises:
        UnfitModelError: a line for each reason, with the way out.
    """
    if not settings.base_model:
        return
    texts = trainer.texts
    config = candidate_config(settings, RATE_TO_LOOK_WITH)
    key = fingerprint(
        preflight=trainer.root_identity(),
        texts=texts.options,
        config=config,
        dtype=trainer.dtype,
        bits=trainer.quantization,
    )

    def look() -> str:
        seen: list[Any] = list(look_at_texts(texts, settings.max_tokens, settings.max_new_tokens))
        if all(each.well for each in seen):
            seen += look_at_model(lambda: trainer.lent(None), config)
        refuse([each for each in seen if isinstance(each, Seen)], settings.base_model)
        return "well"

    trainer.store.pinned(key, look)


def refuse(seen: Sequence[Seen], base_model: str) -> None:
    """Say what is not as it must be.

    Raises:
        UnfitModelError: something is not.
    """
    if wrong := [each for each in seen if not each.well]:
        lines = "\n".join(f"  {each.name}: {each.words}. Way out: {each.way_out}." for each in wrong)
        raise UnfitModelError(f"CROWD_BASE_MODEL={base_model!r} does not fit:\n{lines}")
