"""How a prompt and a response become tokens: one place, so that training, generation and scoring agree.

Belongs here: the template, tokenising, padding. Does not belong here: losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label that transformers' and torch's cross-entropy leave out


@dataclass(frozen=True)
class Tokens:
    """Token ids of one prompt and response, and how many of them belong to the prompt."""

    ids: list[int]
    prompt_length: int


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    """Token ids after which the response begins: the chat template where there is one, else ``prompt`` and a newline."""
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(str(text), add_special_tokens=False, verbose=False)["input_ids"])
    return list(tokenizer(prompt + "\n", verbose=False)["input_ids"])


def tokenise(tokenizer: "PreTrainedTokenizerBase", prompt: str, response: str, longest: int) -> Tokens:
    """Prompt, response and end of sequence, at most ``longest`` tokens: a long prompt loses its beginning,
    a long response its end; the response keeps at least half."""
    before = prompt_ids(tokenizer, prompt)
    after = list(tokenizer(response, add_special_tokens=False, verbose=False)["input_ids"])
    if tokenizer.eos_token_id is not None:
        after.append(int(tokenizer.eos_token_id))
    after = after[: max(longest - len(before), longest // 2)]
    before = before[-(longest - len(after)) :]
    return Tokens(before + after, len(before))


def batch(rows: Sequence[Tokens], pad: int, device: Any) -> dict[str, "torch.Tensor"]:
    """Right-padded tensors (n, longest): ``input_ids``, ``attention_mask``, ``labels`` (prompt and padding ignored)."""
    import torch

    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED)
    for index, row in enumerate(rows):
        length = len(row.ids)
        ids[index, :length] = torch.tensor(row.ids)
        mask[index, :length] = 1
        labels[index, row.prompt_length : length] = ids[index, row.prompt_length : length]
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}
