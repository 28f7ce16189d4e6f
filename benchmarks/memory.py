"""What a base of half a billion parameters with a vocabulary of 152,000 takes, in bytes: a training step of six candidates, an alignment,
and a pass of generation; and what one of eight billion takes on paper.

The body has random weights and the shape of Qwen2.5-0.5B (Qwen3-8B on paper); its tokenizer has as many words. Bytes are what torch's
tensors hold at once at most, weights included, counted storage by storage, in single precision; a GPU's allocator would hold as much, in
bfloat16 about half. All is measured at 2 and at 4 layers, and taken to 24 by a straight line, as every layer holds the same:

* ``train_gib``, ``align_gib``, ``write_gib``: a step of six candidates of four rows each with in-run values, in passes of a CPU's
  tokens; a step of QA-DPO; a pass of generation. Goal of the first two: 8.
* ``process_gib``: the largest of them and what the process held beside tensors, Python and its libraries. Goal: 6.
* ``paper_8b``: terms of a base in nf4 on one GPU, GiB, and their sums. Goal: 24.

Belongs here: bytes. Does not belong here: tokens a second (see ``train_candidates``).
"""

import gc
import tempfile
import weakref
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks import finish, options, say
from benchmarks.weights import peak_mib
from resources.training.alignment import PreferencePair, align
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.candidates import train_candidates
from resources.training.generation import generate
from resources.training.loading import LanguageModel
from resources.training.memory import LOGITS_AT_ONCE
from resources.training.supervised import AdapterConfig
from resources.training.valuation import Valuation

GIB = 2**30
CANDIDATES, ROWS, WORDS = 6, 4, 18  # of a step: candidates, rows of each, words of a prompt and of a response
WRITING = 128  # rows of a pass of generation
RANK = 8
HALF = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4_864,
    "tie_word_embeddings": True,
}
EIGHT = {"vocabulary": 151_936, "hidden": 4_096, "layers": 36, "heads": 32, "of_keys": 8, "head": 128, "inner": 12_288}
TOKENS_8B, ROWS_8B, LENGTH_8B = 4_096, 64, 512  # of a training pass with recomputed blocks; of a pass of generation


class Counter(TorchDispatchMode):
    """Bytes of the storages that are alive, and the most there were at once."""

    def __init__(self, *models: Any) -> None:
        super().__init__()
        self.live: set[int] = set()
        self.now = self.most = 0
        for model in models:
            for each in [*model.parameters(), *model.buffers()]:
                self.see(each)

    def see(self, tensor: Any) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.live or not size:
            return
        self.live.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self.live.discard(key)
        self.now -= size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for each in tree_leaves(found):
            if isinstance(each, torch.Tensor):
                self.see(each)
        return found


def base(layers: int) -> LanguageModel:
    """A body of random weights with so many layers and a tokenizer of as many words as it has rows."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
    from transformers.initialization import no_init_weights

    words = {"<end>": 0, **{f"w{number}": number for number in range(1, HALF["vocab_size"])}}
    made = Tokenizer(models.WordLevel(words, unk_token="<end>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<end>")
    config = Qwen2Config(**{**HALF, "num_hidden_layers": layers, "eos_token_id": 0})
    with no_init_weights():
        model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for name, each in model.named_parameters():
            each.fill_(1.0) if "norm" in name else each.uniform_(-0.03, 0.03)
    model.tie_weights()
    return LanguageModel(model.eval(), tokenizer, torch.device("cpu"))


def texts(rows: int, seed: int, words: int = WORDS) -> list[tuple[str, str]]:
    drawn = torch.randint(1, HALF["vocab_size"], (rows, 2, words), generator=torch.Generator().manual_seed(seed))
    return [tuple(" ".join(f"w{word}" for word in side) for side in row) for row in drawn.tolist()]  # type: ignore[misc]


def measured(layers: int) -> dict[str, float]:
    """Bytes that each kind of work holds at most with so many layers, and what the process held beside them."""
    how: dict[str, Any] = {"epochs": 1, "batch_size": ROWS, "rank": RANK, "alpha": 2 * RANK, "max_tokens": 96}
    groups = [Demonstrations(texts(ROWS, number), ["a", "b"] * (ROWS // 2)) for number in range(CANDIDATES)]
    values = Valuation(texts(16, 99), seeds=1, order=1, rows=16)
    pairs = [PreferencePair(asked, said, other, 1.0) for asked, said, (_, other) in zipped(ROWS)]
    asked = [asked for asked, _ in texts(WRITING, 3, 8)]

    def train(model: LanguageModel, folder: Path) -> None:
        places = [folder / str(number) for number in range(CANDIDATES)]
        config = CandidateConfig(learning_rate=1e-3, **how)
        train_candidates(model, groups, places, parent="root", config=config, seed=0, valuation=values)

    def align_(model: LanguageModel, folder: Path) -> None:
        align(model, pairs, folder, parent="root", config=AdapterConfig(learning_rate=1e-5, **how), beta=0.1, seed=0)

    def write(model: LanguageModel, _: Path) -> None:
        generate(model, asked, max_new_tokens=2, temperature=1.0, seed=0, longest=96)

    found: dict[str, float] = {}
    for name, work in (("train", train), ("align", align_), ("write", write)):
        model = base(layers)
        with tempfile.TemporaryDirectory() as folder, Counter(model.model) as counter:
            work(model, Path(folder))
        found[name] = counter.most
        say(f"{name}, {layers} layers: {counter.most / GIB:.2f} GiB in tensors, {peak_mib() / 1024:.2f} in the process")
        found.setdefault("beside", peak_mib() * 2**20 - counter.most)
        del model
        gc.collect()  # adapters and their layers know one another
    return found


def zipped(rows: int) -> list[tuple[str, str, tuple[str, str]]]:
    return [(*first, second) for first, second in zip(texts(rows, 1), texts(rows, 2), strict=True)]


def on_paper() -> dict[str, float]:
    """Terms of eight billion parameters in nf4 that train six candidates with recomputed blocks in bfloat16, and write, GiB."""
    hidden, inner, head = EIGHT["hidden"], EIGHT["inner"], EIGHT["head"]
    sides = (
        [(hidden, EIGHT["heads"] * head), (EIGHT["heads"] * head, hidden)]
        + [(hidden, EIGHT["of_keys"] * head)] * 2
        + [(hidden, inner)] * 2
        + [(inner, hidden)]
    )
    linear = EIGHT["layers"] * sum(first * second for first, second in sides)
    adapters = CANDIDATES * EIGHT["layers"] * RANK * sum(map(sum, sides))
    keys = 2 * 2 * EIGHT["layers"] * EIGHT["of_keys"] * head
    block = TOKENS_8B * (12 * hidden + 5 * inner) * 2  # what one block keeps for its backward pass
    shares = {
        "linear layers, 4 bits and a scale of 4 bytes for 64": linear * (1 / 2 + 4 / 64),
        "embedding and head, bfloat16": 2 * EIGHT["vocabulary"] * hidden * 2,
        "one layer as the pass reads it, bfloat16": hidden * inner * 2,
        "six adapters with gradients and AdamW, single precision": 16 * adapters,
        "values of order one: a gradient of the target": 4 * adapters,
        f"what goes into each block, of {TOKENS_8B:,} tokens": EIGHT["layers"] * TOKENS_8B * hidden * 2,
        "one block computed again, with its gradients": 2 * block,
        "logits of a part, with gradients": 3 * 4 * LOGITS_AT_ONCE,
    }
    found = {name: round(size / GIB, 2) for name, size in shares.items()}
    written = found["linear layers, 4 bits and a scale of 4 bytes for 64"] + found["embedding and head, bfloat16"]
    cache = ROWS_8B * (LENGTH_8B * keys + 4 * 4 * EIGHT["vocabulary"]) / GIB
    return {
        **found,
        "training in all": round(sum(found.values()), 2),
        f"writing in all, {ROWS_8B} rows of {LENGTH_8B} tokens": round(written + cache, 2),
    }


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(__doc__, argv)
    few, more = (1, 2) if chosen.quick else (2, 4)
    first, second = measured(few), measured(more)
    whole = {
        name: (first[name] + (second[name] - first[name]) * (HALF["num_hidden_layers"] - few) / (more - few)) / GIB
        for name in ("train", "align", "write")
    }
    finish(
        {
            **{f"{name}_gib": round(size, 2) for name, size in whole.items()},
            "process_gib": round(max(whole.values()) + first["beside"] / GIB, 2),
            "measured": {
                str(layers): {name: round(size / GIB, 3) for name, size in found.items()}
                for layers, found in ((few, first), (more, second))
            },
            "paper_8b": on_paper(),
        },
        {"candidates": CANDIDATES, "rows": ROWS, "words": 2 * WORDS, "written_together": WRITING},
        "torch",
        "transformers",
    )


if __name__ == "__main__":
    main()
