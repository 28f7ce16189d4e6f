"""Φ of any kind: a language model's own states are the mean over a text's own tokens, classifiers of every kind and encoders of few
positions work."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.training.embedding import Embedder, load_embedder
from tests.unit.resources.models.texts import TEXTS
from tests.unit.resources.training import zoo
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


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
T5 = {"d_model": 32, "d_ff": 64, "num_layers": 1, "num_heads": 2, "d_kv": 16}
SEVERAL = ["one", "two words here", f"a text of {'very ' * 400}many words"]


def encoder(folder: Path, kind: str, *, classifier: bool = False, pad: bool = True, **sizes: Any) -> Embedder:
    """A Φ of random weights, as its owner would publish it."""
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    words = zoo.tokenizer("gpt")
    config = AutoConfig.for_model(kind, vocab_size=len(words), **{**(T5 if kind == "t5" else SMALL), **sizes})
    if not pad:
        config.pad_token_id = None
    loader: Any = AutoModelForSequenceClassification if classifier else AutoModel
    loader.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return load_embedder(str(folder))


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2"])
def test_a_causal_classifier_without_a_pad_token_says_the_same_of_a_text_beside_others(
    kind: str, tmp_path: Path
) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2} if kind == "gpt2" else {}
    phi = encoder(tmp_path, kind, classifier=True, pad=False, num_labels=3, **sizes)
    alone = np.concatenate([phi.embed([text]) for text in SEVERAL])
    np.testing.assert_allclose(phi.embed(SEVERAL), alone, atol=1e-6)
    assert len(phi.labels) == 3


def test_a_classifier_of_one_label_a_text_gives_shares_of_one(tmp_path: Path) -> None:
    phi = encoder(tmp_path, "electra", classifier=True, num_labels=3, problem_type="single_label_classification")
    np.testing.assert_allclose(phi.embed(SEVERAL).sum(axis=1), 1.0, atol=1e-6)


def test_a_classifier_that_does_not_say_how_many_labels_a_text_has_is_taken_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    phi = encoder(tmp_path, "electra", classifier=True, num_labels=3)
    assert not phi.exclusive
    assert '"problem_type": "single_label_classification"' in caplog.text


@pytest.mark.parametrize(
    ("kind", "positions", "longest"), [("bert", 40, 40), ("roberta", 66, 64), ("mpnet", 40, 38), ("t5", 512, 256)]
)
def test_a_text_longer_than_the_positions_is_cut(kind: str, positions: int, longest: int, tmp_path: Path) -> None:
    """T5 has no bound of positions, and its encoder alone reads a text."""
    phi = encoder(tmp_path, kind, **({} if kind == "t5" else {"max_position_embeddings": positions}))
    vectors = phi.embed(SEVERAL)
    assert phi.longest == longest
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
