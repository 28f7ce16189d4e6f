"""What can be known of a base model before anybody is paid for training it: a text, a step and two tokens, in seconds.

Belongs here: looking at one model. Does not belong here: what a round will take (see ``crowd_assets.operations.plan``), inputs
(see ``crowd_assets.operations.preflight``).
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from resources.common.errors import OperatorError
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.candidates import train_candidates
from resources.training.generation import Sampling, generate, generate_tokens
from resources.training.layers import FURTHEST
from resources.training.loading import LanguageModel, peak_memory
from resources.training.prompting import TextFormat

ASKED = (
    "What do you think of the new bridge?",
    "Please tell me in a sentence or two what I should have for lunch today, and why that.",
)
SAID = "Something warm would be nice, thank you for asking me about it."
ALMOST = 0.05  # logits by which the token of a pass of two rows may lie behind the best of its row alone
GREEDY = 1e-4  # temperature at which the likeliest token wins over any noise
LOOKED_AT = 6  # generated tokens that are compared
WRITTEN, ROWS = 8, 16  # tokens and rows of the timed generation


@dataclass(frozen=True)
class Seen:
    """One look: what was looked at, what was seen, and the way out where it is not as it must be."""

    name: str
    words: str
    way_out: str = ""

    @property
    def well(self) -> bool:
        return not self.way_out


@dataclass(frozen=True)
class Speed:
    """What a step and a pass of generation took here: tokens a second, and MiB in use at most."""

    trained: float
    written: float
    peak_mib: float


class UnfitModelError(OperatorError, RuntimeError):
    """The base model cannot be trained or cannot write as it is; the message has a line for each reason."""


def look_at_texts(texts: TextFormat, max_tokens: int, max_new_tokens: int) -> Iterator[Seen]:
    """Template, ends, positions and pad, from tokenizer and configuration alone."""
    try:
        bare = texts.length("")
        opened = [texts.prompt(asked) for asked in ASKED]
    except OperatorError as problem:
        yield Seen("template", str(problem), "set CROWD_CHAT_TEMPLATE to a file of another template")
        return
    kind = "no chat template: a prompt and a newline" if texts.around(("user",)) == (0, "\n") else "a chat template"
    date = ", which prints the date of the round's claim" if texts.reads_the_clock else ""
    yield Seen("template", f"{kind}{date}; {len(opened[0])} tokens for a prompt of {len(ASKED[0].split())} words")
    ends = ", ".join(repr(texts.tokenizer.decode([end])) for end in texts.ends)
    yield Seen("ends", ends or f"none is known: every text is as long as CROWD_MAX_NEW_TOKENS={max_new_tokens} allows")
    least = bare + 2 * max(1, min(max_new_tokens, max_tokens // 2))
    longest = min(max_tokens, texts.positions or max_tokens)
    positions = f"{texts.positions:,} positions" if texts.positions else "no bound of positions"
    yield Seen(
        "positions",
        f"{positions}, {longest:,} tokens are used, {bare} of them by the template",
        "" if longest > bare + 2 else f"raise CROWD_MAX_TOKENS to {least} or more, or name another base",
    )
    yield Seen("pad", f"token {texts.pad}, {texts.tokenizer.decode([texts.pad])!r}")


def look_at_model(
    lent: Callable[[], AbstractContextManager[LanguageModel]], config: CandidateConfig
) -> Iterator[Seen | Speed]:
    """One step on two adapters, and two tokens of rows of unequal length against a plain loop; ends with the speed of both.

    Args:
        lent: Lends the model as it was loaded.
    """
    step = CandidateConfig(**{**vars(config), "epochs": 1, "held_out": 0.0, "compile": False})
    try:
        with lent() as model:
            seconds, tokens = _step(model, step)
            peak = peak_memory(model.device)
    except OperatorError as problem:
        yield Seen("a step on two adapters", str(problem), "see docs/own_model.md for what helps")
        return
    except Exception as problem:  # whatever a family's own code raises
        yield Seen(
            "a step on two adapters",
            f"{type(problem).__name__}: {problem}",
            "set CROWD_FUSED_CANDIDATES=1, or name another base",
        )
        return
    yield Seen("a step on two adapters", f"{seconds:.1f} s, loss and gradient are finite, {peak:,.0f} MiB in use")
    with lent() as model:
        yield from _look_at_writing(model, config, tokens / seconds, peak)


def _look_at_writing(
    model: LanguageModel, config: CandidateConfig, trained: float, peak: float
) -> Iterator[Seen | Speed]:
    """Whether a model reads in order and writes as a plain loop does."""
    if not _is_causal(model):
        yield Seen(
            "order of reading",
            f"what {type(model.model).__name__} makes of a token depends on the tokens behind it, so it writes no texts",
            "name a causal language model as base",
        )
        return
    try:
        if not _hands_on_its_state(model):
            yield Seen(
                "state",
                f"{type(model.model).__name__} keeps what it has read in a state of a kind of its own, which transformers' generation does not "
                "hand on from token to token",
                "name a base with a cache of keys and values, or one of the families of docs/training.md",
            )
            return
        behind = _behind_a_plain_loop(model, ASKED)
        alone = behind if behind <= ALMOST else _behind_a_plain_loop(model, ASKED[:1])
        started = time.perf_counter()
        generate(model, [ASKED[0]] * ROWS, max_new_tokens=WRITTEN, temperature=1.0, seed=1, longest=config.max_tokens)
        writing = time.perf_counter() - started
    except Exception as problem:  # whatever a family's own code raises
        said = f"{type(problem).__name__}: {problem}"
        if getattr(model.model, "_is_stateful", False):
            said = f"the state that {type(model.model).__name__} keeps does not fit a pass of several rows ({said})"
        yield Seen("generated tokens", said, "name another base")
        return
    if alone > ALMOST:
        yield Seen(
            "generated tokens",
            f"transformers' generation shows {type(model.model).__name__} other tokens than the text so far, so the model writes other than "
            f"it reads, logits {alone:.3f} apart",
            "name a base that was made to continue texts",
        )
        return
    yield Seen(
        "generated tokens",
        f"{'as' if behind <= ALMOST else 'other than'} a plain loop writes them, logits {behind:.3f} apart",
        "" if behind <= ALMOST else "set CROWD_DTYPE=float32, or name another base: rows of a pass change one another",
    )
    yield Speed(trained, ROWS * WRITTEN / writing, max(peak, peak_memory(model.device)))


def _is_causal(model: LanguageModel) -> bool:
    """Whether the logits of a row's first half stay as they are without its second half."""
    import torch

    row = torch.tensor([model.texts.prompt(ASKED[1])], device=model.device)
    half = row.shape[1] // 2
    with torch.inference_mode():
        whole, alone = (
            model.model(input_ids=ids, use_cache=False).logits[0, :half].float() for ids in (row, row[:, :half])
        )
    return bool((whole - alone).norm() <= FURTHEST * whole.norm() + 1e-6)


def _hands_on_its_state(model: LanguageModel) -> bool:
    """Whether a model that keeps a state gives it out where generation looks for it; models without one read all again."""
    import torch

    if not getattr(model.model, "_is_stateful", False):
        return True
    row = torch.tensor([model.texts.prompt(ASKED[0])], device=model.device)
    with torch.inference_mode():
        found = model.model(input_ids=row, use_cache=True)
    return any(getattr(found, name, None) is not None for name in ("past_key_values", "cache_params"))


def _step(model: LanguageModel, config: CandidateConfig) -> tuple[float, int]:
    """Seconds of a step of two adapters, and the tokens it saw."""
    rows = min(config.batch_size, 4)
    pairs = [(ASKED[row % 2], SAID) for row in range(rows)]
    tokens = 2 * sum(len(model.texts.row(*pair, config.max_tokens).ids) for pair in pairs)
    groups = [Demonstrations(pairs, ["somebody"] * rows) for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        directories = [Path(folder, str(number)) for number in range(2)]
        results = train_candidates(model, groups, directories, parent="root", config=config, seed=0)
    if not all(math.isfinite(each.last_loss) for each in results):
        raise UnfitModelError("the loss is no finite number: set CROWD_DTYPE=float32.")
    return results[0].seconds, tokens


def _behind_a_plain_loop(model: LanguageModel, prompts: Sequence[str]) -> float:
    """By how many logits, at most, the first tokens that a pass over unequal rows writes lie behind the best ones of each row alone."""
    import torch

    (together,) = generate_tokens(model, prompts, max_new_tokens=LOOKED_AT, sampling=Sampling(GREEDY), seed=0)
    furthest = 0.0
    for asked, new in zip(prompts, together, strict=True):
        ids = model.texts.prompt(asked)
        for token in new:
            with torch.inference_mode():
                logits = model.model(input_ids=torch.tensor([ids], device=model.device)).logits[0, -1].float()
            furthest = max(furthest, float(logits.max() - logits[token]))
            ids = [*ids, token]
            if token in model.texts.ends:
                break
    return furthest
