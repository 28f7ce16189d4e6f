"""The precision of a base is what the machine multiplies fast and has room for, and the line says why."""

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
