"""A model is looked at before anybody is paid: what fits passes, and each thing that does not is a line with the way out."""

import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from resources.training.candidate_runs import CandidateConfig
from resources.training.loading import load
from resources.training.preflight import Seen, Speed, look_at_model, look_at_texts
from resources.training.prompting import TextFormat
from tests.unit.resources.training.zoo import FAMILIES, build, tokenizer

CONFIG = CandidateConfig(learning_rate=1e-4, epochs=1, batch_size=4, rank=2, alpha=4, max_tokens=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("model") / "qwen2", "qwen2")


def test_a_model_that_fits_is_timed(folder: Path) -> None:
    *seen, speed = look_at_model(lambda: nullcontext(load(str(folder), [])), CONFIG)
    assert [each.name for each in seen if isinstance(each, Seen) and each.well] == [
        "a step on two adapters",
        "generated tokens",
    ]
    assert isinstance(speed, Speed)
    assert min(speed.trained, speed.written, speed.peak_mib) > 0


def test_what_keeps_a_model_from_training_is_a_line(folder: Path) -> None:
    (seen,) = look_at_model(lambda: nullcontext(load(str(folder), [])), replace(CONFIG, max_tokens=2))
    assert isinstance(seen, Seen)
    assert not seen.well
    assert "CROWD_MAX_TOKENS" in seen.words


def test_a_model_that_reads_what_comes_is_no_base(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "bert", ("bert", sizes | {"max_position_embeddings": 128}, "gpt"))
        folder = build(tmp_path / "bert", "bert")
    *_, seen = look_at_model(lambda: nullcontext(load(str(folder), [])), CONFIG)
    assert isinstance(seen, Seen)
    assert (seen.name, seen.well) == ("order of reading", False)


def test_texts_are_looked_at_without_the_model() -> None:
    texts = TextFormat.of(tokenizer("chatml"))
    assert all(each.well for each in look_at_texts(texts, 64, 8))
    short = {each.name: each for each in look_at_texts(texts, 8, 8)}
    assert "raise CROWD_MAX_TOKENS" in short["positions"].way_out
    endless = {each.name: each for each in look_at_texts(TextFormat.of(tokenizer("endless")), 64, 8)}
    assert "CROWD_MAX_NEW_TOKENS=8" in endless["ends"].words


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("reformer", r"reversible layers.*no adapter can learn"),
        ("rwkv", r"a state of a kind of its own.*not hand on from token to token"),
        ("xlm", r"writes other than it reads"),
        ("xlstm", r"the state that xLSTMForCausalLM keeps does not fit a pass of several rows"),
    ],
)
def test_what_is_no_base_is_refused_with_a_reason_of_its_own(family: str, reason: str, tmp_path: Path) -> None:
    folder = build(tmp_path, family)
    *_, seen = look_at_model(lambda: nullcontext(load(str(folder), [])), CONFIG)
    assert isinstance(seen, Seen)
    assert not seen.well
    assert re.search(reason, seen.words)
    assert "name a" in seen.words + seen.way_out
