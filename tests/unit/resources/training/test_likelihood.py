"""Likelihoods are the model's own, token by token, however rows are put together."""

from pathlib import Path

import numpy as np
import pytest
import torch

from resources.training import losses
from resources.training.likelihood import token_likelihoods
from resources.training.loading import load
from tests.unit.resources.training.zoo import build

PAIRS = [(f"What about {'very ' * (row % 5)}old thing {row}?", f"It is {'so ' * (row % 3)}much.") for row in range(40)]


@pytest.mark.parametrize("at_once", [losses.LOGITS_AT_ONCE, 1_000])
def test_each_token_is_as_likely_as_in_its_row_alone(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", at_once)
    model = load(str(build(tmp_path / "base", "granite")), [])
    seen: list[tuple[int, int]] = []
    found = token_likelihoods(model, PAIRS, max_tokens=64, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(32, 40), (40, 40)]
    for (prompt, response), scores in zip(PAIRS, found, strict=True):
        row = model.texts.row(prompt, response, 64)
        with torch.inference_mode():
            logits = model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        alone = [float(logits[place - 1, row.ids[place]]) for place in range(row.prompt_length, len(row.ids))]
        np.testing.assert_allclose(scores, alone, atol=1e-4)
