"""What models write: sampling with a KV cache, all models of one base in one pass, on random numbers that they share.

Belongs here: generation. Does not belong here: judging what was generated.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from resources.training import memory
from resources.training.loading import LanguageModel
from resources.training.prompting import Prompt

if TYPE_CHECKING:
    import torch

    from resources.training.stacked import AdapterStack

Progress = Callable[[int, int], None]
PROMPTS = 32  # prompts that share a generator, so that what they draw depends on no other
ROWS_PER_PASS = {"cpu": 512, "cuda": 1024}
TOKENS_PER_PASS = {"cpu": 2**17, "cuda": 2**20}  # rows times their longest, where memory allows as many
PADDED = 0.03  # how far, as a share of their norm, logits after padding may lie from those without
WAYS_OUT = (
    "lower CROWD_MAX_TOKENS, CROWD_MAX_NEW_TOKENS or CROWD_FUSED_CANDIDATES, or keep the base in CROWD_DTYPE=bfloat16"
)

_tried: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()  # what reads_padding said of models


@dataclass(frozen=True)
class Sampling:
    """Which tokens may be drawn, and how evenly.

    Attributes:
        temperature: Above 0; 1 samples from the model's own distribution.
        top_k: Only so many of the likeliest tokens; 0: all.
        top_p: Only the likeliest tokens that together have this probability; 1: all.
        min_p: Only tokens at least this times as likely as the likeliest; 0: all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def warpers(self) -> list[Any]:
        """What leaves out tokens, in transformers' order."""
        from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        return [
            *([TopKLogitsWarper(self.top_k)] if self.top_k else []),
            *([TopPLogitsWarper(self.top_p)] if self.top_p < 1 else []),
            *([MinPLogitsWarper(self.min_p)] if self.min_p > 0 else []),
        ]


def generate(
    language_model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    longest: int | None = None,
    lineages: Sequence[Sequence[Path]] = ((),),
    progress: Progress = lambda done, total: None,
) -> list[list[str]]:
    """One sampled response to each prompt of each model, in their order.

    A token is the largest of its log-probabilities plus Gumbel noise, which is a sample from them. All models add the same
    noise to their answers to the same prompt, so that differences between models are as little as possible due to chance.
    Nothing of a model's own ``generation_config`` has a part in it but its ends.

    Args:
        language_model: The base of all models; it is consumed where one of them has adapters.
        temperature, top_k, top_p, min_p: See :class:`Sampling`.
        seed: Of the noise. That of a prompt depends on the prompts of its own 32 and no others.
        longest: Most tokens of a prompt and its response, as in training; None: as many as the model has positions for.
        lineages: The adapters of each model on top of the base: none for the base itself.
        progress: Called with responses done and in all after each pass.

    Raises:
        UnstackableModelError: the base's rows cannot be shared by several models.
        TextTooLongError: the template leaves no room for a prompt.
        OutOfMemoryError: not even one prompt fits into memory.
    """
    tokens = generate_tokens(
        language_model,
        prompts,
        max_new_tokens=max_new_tokens,
        sampling=Sampling(temperature, top_k, top_p, min_p),
        seed=seed,
        longest=longest,
        lineages=lineages,
        progress=progress,
    )
    return [language_model.texts.written(of_model) for of_model in tokens]


def generate_tokens(
    language_model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    sampling: Sampling,
    seed: int,
    longest: int | None = None,
    lineages: Sequence[Sequence[Path]] = ((),),
    progress: Progress = lambda done, total: None,
) -> list[list[list[int]]]:
    """:func:`generate` before tokens become text: of each model, a row a prompt, padded after its end."""
    import torch

    from resources.training.stacked import AdapterStack

    texts, device = language_model.texts, language_model.device
    room = min((each for each in (longest, texts.positions) if each is not None), default=None)
    new = max_new_tokens if room is None else min(max_new_tokens, max(1, room // 2))
    rows = [texts.prompt(prompt, None if room is None else room - new) for prompt in prompts]
    alike = _has_a_state(language_model.model) or (len(set(map(len, rows))) > 1 and _padding_is_read(language_model))
    stack = AdapterStack.of_stored(language_model, lineages) if any(lineages) else None
    model: Any = stack.model if stack else language_model.model
    models = len(lineages) if stack else 1
    responses: list[list[list[int]]] = [[[] for _ in rows] for _ in lineages]
    together = prompts_a_pass(models, device.type)
    budget = max(
        1,
        min(
            TOKENS_PER_PASS[device.type],
            int(memory.SHARE * memory.free_bytes(device))
            // memory.writing_bytes_a_token(model, new + min(map(len, rows), default=0)),
        ),
    )
    done = 0

    def write(chosen: list[int]) -> "torch.Tensor":
        noise = _SharedNoise(chosen, len(rows), seed, sampling, device)
        with torch.inference_mode(), _own_generation_config(model):
            return _sampled(model, [rows[row] for row in chosen], stack, noise, new, texts.pad, texts.ends, device)

    def in_parts(chosen: list[int]) -> Callable[[int], list["torch.Tensor"]]:
        return lambda size: [write(chosen[at : at + size]) for at in range(0, len(chosen), size)]

    with torch.inference_mode():
        for first in range(0, len(rows), together):
            of_pass = range(first, min(first + together, len(rows)))
            for chosen in _portions(of_pass, rows, models, new, budget, alike=alike):
                parts, size = memory.halving(in_parts(chosen), len(chosen), WAYS_OUT)
                for number, tokens in enumerate(parts):
                    of_part = chosen[number * size : (number + 1) * size]
                    written = tokens.tolist()
                    for index in range(models):
                        for row, ids in zip(of_part, written[index * len(of_part) :], strict=False):
                            responses[index][row] = ids
                done += models * len(chosen)
                progress(done, models * len(rows))
    return responses


def prompts_a_pass(models: int, device: str) -> int:
    """Prompts that so many models answer in one pass, on a ``cpu`` or a ``cuda`` device: a multiple of 32. What a slice of prompts
    that begins with a pass gets is the same on its own, with the seed raised by where it begins."""
    return PROMPTS * max(1, ROWS_PER_PASS[device] // (models * PROMPTS))


def _portions(
    of_pass: range, rows: Sequence[list[int]], models: int, new: int, budget: int, *, alike: bool
) -> Iterator[list[int]]:
    """Rows of each pass through the models: all of them where their rectangle is within the budget, else those of like length
    together, so that one long prompt makes no other row longer.

    Args:
        alike: Whether rows of a pass must have the same length, as padding before them would change what a model makes of them.
    """
    if not alike and models * len(of_pass) * (max(len(rows[row]) for row in of_pass) + new) <= budget:
        yield list(of_pass)
        return
    ordered = sorted(of_pass, key=lambda row: (len(rows[row]), row))
    for _, group in groupby(ordered, key=lambda row: len(rows[row]) if alike else 0):
        portion: list[int] = []
        for row in group:
            if portion and models * (len(portion) + 1) * (len(rows[row]) + new) > budget:
                yield portion
                portion = []
            portion.append(row)
        yield portion


def _has_a_state(model: Any) -> bool:
    """Whether a model keeps a state that rows cannot be taken out of, or that padding changes, as recurrent ones do, and layers of
    linear attention or convolution among others."""
    from transformers.cache_utils import DynamicCache, LinearAttentionCacheLayerMixin

    if getattr(model, "_is_stateful", False):
        return True
    return any(isinstance(each, LinearAttentionCacheLayerMixin) for each in DynamicCache(config=model.config).layers)


def _padding_is_read(language_model: LanguageModel) -> bool:
    """:func:`reads_padding`, tried once a model."""
    model: Any = language_model.model
    if model not in _tried:
        _tried[model] = reads_padding(language_model)
    return _tried[model]


def reads_padding(language_model: LanguageModel) -> bool:
    """Whether a model takes padding before a text for a part of the text, as models do whose positions count padding: decoders of BART
    and RoBERTa among others. Seen in a trial of two short texts beside a longer one."""
    import torch
    from transformers import GenerationConfig

    model: Any = language_model.model
    pad, device = language_model.texts.pad, language_model.device
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    texts = [[(7 * (place + 5 * row) + 3) % vocabulary for place in range(9 - 2 * row)] for row in range(3)]
    once = GenerationConfig(max_new_tokens=1, do_sample=False, pad_token_id=pad, return_dict_in_generate=True)
    once.output_logits = True

    def next_of(rows: list[list[int]]) -> "torch.Tensor":
        width = max(map(len, rows))
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
        with torch.inference_mode(), _own_generation_config(model):
            found = model.generate(input_ids=ids, attention_mask=mask, generation_config=once)
        logits: torch.Tensor = found.logits[0]
        return logits.float()

    together = next_of(texts)
    apart = [(together[row] - alone).norm() / alone.norm() for row in (1, 2) for alone in next_of([texts[row]])]
    return bool(min(apart) > PADDED)


@contextmanager
def _own_generation_config(model: Any) -> Iterator[None]:
    """Nothing of the model's own generation configuration, which transformers' ``generate`` would fill gaps from."""
    from transformers import GenerationConfig

    before = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = before


def _sampled(
    model: Any,
    prompts: list[list[int]],
    stack: "AdapterStack | None",
    noise: "_SharedNoise",
    most: int,
    pad: int,
    ends: Sequence[int],
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
    ending = torch.tensor(ends, dtype=torch.long, device=device)
    # What stands after an end is never read: an end there lets a row without a next token be one that has ended.
    filler = ends[0] if ends else pad
    written = torch.full((rows, most), filler, device=device)
    place = torch.arange(rows, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    cache, done, stays = None, 0, _has_a_state(model)
    while done < most:
        noise.rows = place % len(prompts)
        half = _HalfEnded(ended, ending, models, whole=stays)
        if stack:
            stack.expected_rows = (len(ids), len(ids) * ids.shape[1])
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=GenerationConfig(
                max_new_tokens=most - done,
                do_sample=False,
                use_cache=True,
                pad_token_id=pad,
                eos_token_id=list(ends) or None,
                return_dict_in_generate=True,
            ),
            logits_processor=[noise],
            stopping_criteria=[half],
        )
        new = output.sequences[:, ids.shape[1] :]
        written[place, done : done + new.shape[1]] = torch.where(ended[:, None], filler, new)
        done += new.shape[1]
        writing = (~half.ended).view(models, -1)
        wanted = int(writing.sum(1).max())
        if not wanted or stays:
            break
        first = writing.int().argsort(dim=1, descending=True, stable=True)[:, :wanted]
        kept = (first + torch.arange(models, device=device)[:, None] * writing.shape[1]).flatten()
        mask = torch.cat([mask, mask.new_ones(new.shape)], dim=1)[kept]
        ids, place, ended, cache = output.sequences[kept], place[kept], half.ended[kept], output.past_key_values
        cache.reorder_cache(kept)
    return written


class _HalfEnded:
    """Stops all rows once no model has more than half of its rows, as there were at first, left to write; or, where it waits for the
    ``whole`` pass, once all have ended."""

    def __init__(self, ended: "torch.Tensor", ends: "torch.Tensor", models: int, *, whole: bool) -> None:
        self.ended, self.ends, self.models, self.whole = ended.clone(), ends, models, whole

    def __call__(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        import torch

        self.ended |= torch.isin(ids[:, -1], self.ends)
        writing = (~self.ended).view(self.models, -1)
        left = int(writing.sum(1).max())
        return torch.full_like(self.ended, left == 0 if self.whole else 2 * left <= writing.shape[1])


class _SharedNoise:
    """Log-probabilities over the temperature, plus Gumbel noise that is the same for every model's answer to a prompt.

    Attributes:
        rows: Number, among the prompts of the pass, of the one that each row answers.
    """

    rows: "torch.Tensor"

    def __init__(self, chosen: Sequence[int], prompts: int, seed: int, sampling: Sampling, device: Any) -> None:
        """Noise for the ``chosen`` of so many prompts: each has its place in what is drawn for its 32."""
        import torch

        starts = sorted({row - row % PROMPTS for row in chosen})
        self.temperature, self.warpers = sampling.temperature, sampling.warpers()
        self.chunks = [
            (torch.Generator(device).manual_seed((seed + start) % 2**63), min(PROMPTS, prompts - start))
            for start in starts
        ]
        before = {start: number * PROMPTS for number, start in enumerate(starts)}
        self.places = torch.tensor([before[row - row % PROMPTS] + row % PROMPTS for row in chosen], device=device)

    def __call__(self, ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        import torch

        drawn = [
            torch.rand((count, scores.shape[-1]), generator=generator, device=scores.device)
            for generator, count in self.chunks
        ]
        gumbel = torch.cat(drawn).log_().neg_().log_().neg_()
        scores = scores.float().div(self.temperature)
        for warper in self.warpers:
            scores = warper(ids, scores)
        return scores.add_(gumbel[self.places[self.rows]])
