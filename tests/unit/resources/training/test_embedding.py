"""A language model's own states: the mean over a text's own tokens."""

import json
from pathlib import Path

import numpy as np
import pytest

from resources.training.embedding import load_embedder
from tests.unit.resources.models.texts import TEXTS
from tests.unit.resources.training.test_candidates import ARCHITECTURES, language_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_the_mean_over_a_texts_own_tokens(architecture: str, seed_folder: Path, tmp_path: Path) -> None:
    import torch

    base = language_model(seed_folder, architecture)
    base.tokenizer.pad_token = None
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    of_tokenizer = tmp_path / "tokenizer_config.json"
    of_tokenizer.write_text(json.dumps(json.loads(of_tokenizer.read_text()) | {"padding_side": "left"}))
    embedder = load_embedder(str(tmp_path))
    vectors = embedder.embed(TEXTS)
    assert embedder.labels == ()
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.inference_mode():
            ids = base.tokenizer(text or " ", return_tensors="pt")["input_ids"]
            states = base.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        of_mean, of_last = (torch.nn.functional.normalize(state, dim=0) for state in (states.mean(0), states[-1]))
        np.testing.assert_allclose(vector, of_mean.numpy(), atol=1e-6)
        assert len(states) == 1 or np.abs(vector - of_last.numpy()).max() > 1e-2
