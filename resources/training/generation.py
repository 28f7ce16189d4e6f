"""What models write: sampling with a KV cache, all models of one base in one pass, on random numbers that they share.

Belongs here: generation. Does not belong here: judging what was generated.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.training.loading import LanguageModel
from resources.training.prompting import prompt_ids

if TYPE_CHECKING:
    import torch

    from resources.training.stacked import AdapterStack

Progress = Callable[[int, int], None]
PROMPTS = 32  # prompts that share a generator, so that what they draw depends on no other
ROWS_PER_PASS = {"cpu": 512, "cuda": 1024}


def generate(
    language_model: LanguageModel,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    lineages: Sequence[Sequence[Path]] = ((),),
    progress: Progress = lambda done, total: None,
) -> list[list[str]]:
    """One sampled response to each prompt of each model, in their order.

    A token is the largest of its log-probabilities plus Gumbel noise, which is a sample from them. All models add the same
    noise to their answers to the same prompt, so that differences between models are as little as possible due to chance.

    Args:
        language_model: The base of all models; it is consumed where one of them has adapters.
        temperature: Above 0; 1 samples from the model's own distribution.
        seed: Of the noise. That of a prompt depends on the prompts of its own 32 and no others.
        lineages: The adapters of each model on top of the base: none for the base itself.
        progress: Called with responses done and in all after each pass.

    Raises:
        UnstackableModelError: the base's rows cannot be shared by several models.
    """
    import torch

    from resources.training.stacked import AdapterStack

    tokenizer, device = language_model.tokenizer, language_model.device
    stack = AdapterStack.of_stored(language_model, lineages) if any(lineages) else None
    model: Any = stack.model if stack else language_model.model
    models = len(lineages) if stack else 1
    rows = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    chunks = [range(start, min(start + PROMPTS, len(rows))) for start in range(0, len(rows), PROMPTS)]
    together = prompts_a_pass(models, device.type) // PROMPTS
    responses: list[list[str]] = [[] for _ in lineages]
    for first in range(0, len(chunks), together):
        of_pass = chunks[first : first + together]
        chosen = [rows[row] for chunk in of_pass for row in chunk]
        noise = _SharedNoise([(seed, chunk.start, len(chunk)) for chunk in of_pass], temperature, device)
        with torch.inference_mode():
            tokens = _sampled(model, chosen, stack, noise, max_new_tokens, int(tokenizer.pad_token_id), device)
        written = [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]
        for index in range(models):
            responses[index] += written[index * len(chosen) : (index + 1) * len(chosen)]
        progress(models * len(responses[0]), models * len(rows))
    return responses


def prompts_a_pass(models: int, device: str) -> int:
    """Prompts that so many models answer in one pass, on a ``cpu`` or a ``cuda`` device: a multiple of 32. What a slice of prompts
    that begins with a pass gets is the same on its own, with the seed raised by where it begins."""
    return PROMPTS * max(1, ROWS_PER_PASS[device] // (models * PROMPTS))


def _sampled(
    model: Any,
    prompts: list[list[int]],
    stack: "AdapterStack | None",
    noise: "_SharedNoise",
    most: int,
    pad: int,
    device: Any,
) -> "torch.Tensor":
    """New tokens (models n, at most ``most``), model-major, padded after each row's end.

    Whenever half of the rows have ended, the others go on without them: lengths vary, and a row that waits costs as much as
    one that writes. Every model keeps as many rows as the one with the most to write.
    """
    import torch
    from transformers import GenerationConfig

    models = len(stack.parameters) if stack else 1
    width, rows = max(map(len, prompts)), models * len(prompts)
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device).repeat(models, 1)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    mask = mask.repeat(models, 1)
    ends = torch.tensor(model.generation_config.eos_token_id, device=device).reshape(-1)
    written = torch.full((rows, most), pad, device=device)
    place = torch.arange(rows, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    cache, done = None, 0
    while done < most:
        noise.prompts = place % len(prompts)
        half = _HalfEnded(ended, ends, models)
        if stack:
            stack.expected_rows = (len(ids),)
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=GenerationConfig(
                max_new_tokens=most - done,
                do_sample=False,
                pad_token_id=pad,
                eos_token_id=ends.tolist(),
                return_dict_in_generate=True,
            ),
            logits_processor=[noise],
            stopping_criteria=[half],
        )
        new = output.sequences[:, ids.shape[1] :]
        written[place, done : done + new.shape[1]] = torch.where(ended[:, None], pad, new)
        done += new.shape[1]
        writing = (~half.ended).view(models, -1)
        wanted = int(writing.sum(1).max())
        if not wanted:
            break
        first = writing.int().argsort(dim=1, descending=True, stable=True)[:, :wanted]
        kept = (first + torch.arange(models, device=device)[:, None] * writing.shape[1]).flatten()
        mask = torch.cat([mask, mask.new_ones(new.shape)], dim=1)[kept]
        ids, place, ended, cache = output.sequences[kept], place[kept], half.ended[kept], output.past_key_values
        cache.batch_select_indices(kept)
    return written


class _HalfEnded:
    """Stops all rows once no model has more than half of its rows, as there were at first, left to write."""

    def __init__(self, ended: "torch.Tensor", ends: "torch.Tensor", models: int) -> None:
        self.ended, self.ends, self.models = ended.clone(), ends, models

    def __call__(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        import torch

        self.ended |= torch.isin(ids[:, -1], self.ends)
        writing = (~self.ended).view(self.models, -1)
        return torch.full_like(self.ended, 2 * int(writing.sum(1).max()) <= writing.shape[1])


class _SharedNoise:
    """Log-probabilities over the temperature, plus Gumbel noise that is the same for every model's answer to a prompt.

    Attributes:
        prompts: Number of the prompt that each row answers.
    """

    prompts: "torch.Tensor"

    def __init__(self, chunks: Sequence[tuple[int, int, int]], temperature: float, device: Any) -> None:
        import torch

        self.temperature = temperature
        self.chunks = [
            (torch.Generator(device).manual_seed((seed + start) % 2**63), count) for seed, start, count in chunks
        ]

    def __call__(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        import torch

        drawn = [
            torch.rand((count, scores.shape[-1]), generator=generator, device=scores.device)
            for generator, count in self.chunks
        ]
        gumbel = torch.cat(drawn).log_().neg_().log_().neg_()
        return scores.float().div(self.temperature).add_(gumbel[self.prompts])
