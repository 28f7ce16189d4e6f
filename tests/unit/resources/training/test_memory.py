"""The precision of a base is what the machine multiplies fast and has room for, and the line says why; bytes of a pass are counted."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from resources.training import memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("own", "instructions", "free", "expected"),
    [
        (torch.bfloat16, False, 2**34, torch.float32),
        (torch.bfloat16, True, 2**34, torch.bfloat16),
        (torch.bfloat16, False, 2**30, torch.bfloat16),
        (torch.float16, True, 2**34, torch.float32),
        (torch.float32, False, 2**30, torch.float32),
    ],
)
def test_the_precision_goes_by_the_machine(
    own: torch.dtype, instructions: bool, free: int, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "has_bfloat16", lambda device: instructions)
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    found, why = memory.precision(own, 2**30, CPU)
    assert found == expected
    assert str(expected).removeprefix("torch.") in why


def test_what_a_container_may_use_is_all_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    of_machine = memory.total_bytes(CPU)
    for name, said in {"max": "1000000", "current": "600000", "stat": "anon 500000\ninactive_file 100000"}.items():
        (tmp_path / f"memory.{name}").write_text(f"{said}\n")
    assert memory.total_bytes(CPU) == 1_000_000
    assert memory.free_bytes(CPU) == 500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.total_bytes(CPU) == of_machine


class OneBigHead:
    """A configuration of layers of different widths, of which none is true of all, and a head of many words."""

    dtype = torch.float32

    class Config:
        hidden_size, num_hidden_layers, num_key_value_heads, intermediate_size = 32, 2, 1, [64, 256]
        per_layer_config = (SimpleNamespace(head_dim=8), SimpleNamespace(head_dim=16))

        @property
        def head_dim(self) -> int:
            raise RuntimeError("layers differ")

        def get_text_config(self) -> "OneBigHead.Config":
            return self

    config = Config()

    def get_output_embeddings(self) -> Any:
        return torch.nn.Linear(1, 50_000)


def test_a_pass_of_generation_counts_keys_and_values_a_block_and_the_logits_of_a_row() -> None:
    cache = 2 * 2 * 1 * 16 * 4
    assert memory.cache_bytes_a_token(OneBigHead()) == cache
    assert memory.writing_bytes_a_token(OneBigHead(), 10) == cache + 3 * 256 * 4 + 4 * 4 * 50_000 // 10
