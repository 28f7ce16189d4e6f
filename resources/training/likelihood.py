"""How likely a model finds responses, token by token.

Belongs here: scoring responses. Does not belong here: what a likelihood says of a response (see
``crowd_assets.mechanisms.guard``).
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from resources.training.loading import LanguageModel
from resources.training.prompting import IGNORED, Prompt, batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCORED_TOGETHER = 32


def token_likelihoods(
    language_model: LanguageModel,
    pairs: Sequence[tuple[Prompt, str]],
    *,
    max_tokens: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> "list[NDArray[np.float64]]":
    """Log-likelihood of every token of each response, its end of sequence counted, after its prompt.

    Args:
        pairs: Prompts and responses.
        max_tokens: Longest prompt and response that are read, see ``prompting.TextFormat.row``.
        progress: Called with responses done and in all.

    Returns:
        one array a response, in nats, at most 0; empty for a response without a token.
    """
    import torch

    from resources.training.losses import token_losses

    rows = [language_model.texts.row(prompt, response, max_tokens) for prompt, response in pairs]
    pad = language_model.texts.pad
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    scores: list[NDArray[np.float64]] = [np.zeros(0)] * len(rows)
    language_model.model.eval()
    done = 0
    for _, part in groupby(enumerate(order), key=lambda numbered: numbered[0] // SCORED_TOGETHER):
        chosen = [index for _, index in part]
        with torch.inference_mode():
            tensors = batch([rows[index] for index in chosen], pad, language_model.device)
            kept = tensors["labels"][:, 1:] != IGNORED
            if kept.any():
                found = -token_losses(language_model.model, tensors["input_ids"], kept, torch.float32).cpu()
                for index, of_row in zip(chosen, found.split(kept.sum(1).tolist()), strict=True):
                    scores[index] = of_row.double().numpy()
        done += len(chosen)
        progress(done, len(rows))
    return scores
