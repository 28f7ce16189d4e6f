"""A model that is lent is what loading gives, to the last bit, whatever was done with it before; files are read once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from resources.models.local import LocalTrainer
from resources.training import lending, memory
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.supervised import AdapterConfig
from tests.unit.resources.training import zoo

ADAPTER = {"learning_rate": 1e-2, "epochs": 1, "batch_size": 4, "rank": 2, "alpha": 4, "max_tokens": 48}
CONFIG = CandidateConfig(**ADAPTER, gradient_checkpointing=True)
PAIRS = [("what about the thing", "thank you so much"), ("how much do you like it", "nobody asked for that")]
PREFERENCES = [PreferencePair(prompt, "yes, very much", "no one asked", 1.2, 0.9) for prompt, _ in PAIRS]


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    lending.forget()
    yield
    lending.forget()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    known = AutoModelForCausalLM.from_pretrained

    def counting(folder: str, **options: Any) -> Any:
        read.append(folder)
        return known(folder, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counting)
    return read


def what_a_round_does(trainer: LocalTrainer) -> list[Any]:
    """Names of what was trained, texts, likelihoods and accuracies, in the order in which a round asks for them."""
    groups = [Demonstrations(PAIRS, ["one", "other"]), Demonstrations(PAIRS[:1], ["one"])]
    writing = {"max_new_tokens": 6, "temperature": 1.0, "seed": 3}
    prompts = [prompt for prompt, _ in PAIRS]
    quiet: dict[str, Any] = {"progress": lambda *_: None}
    found: list[Any] = []

    trained = trainer.train_candidates(None, groups, config=CONFIG, seed=1, valuation=None, cards=[{}, {}], **quiet)
    first, second = (each.model for each in trained)
    found.extend([first, second, trainer.generate([None, first, second], prompts, **writing)])
    found.extend(each.tolist() for model in (None, second) for each in trainer.likelihoods(model, PAIRS, 48))
    found.append(trainer.generate([None, second], prompts, **writing))
    aligned = trainer.align(
        second, PREFERENCES, config=AdapterConfig(**ADAPTER), beta=0.1, seed=2, card={}, **quiet
    ).model
    found.extend([aligned, trainer.generate([second, aligned], prompts, **writing)])
    found.extend(trainer.preference_accuracy(model, PREFERENCES, 48) for model in (second, aligned))
    return found


def test_a_round_reads_its_root_once_and_comes_to_what_fresh_models_come_to(tmp_path: Path, reads: list[str]) -> None:
    base = zoo.build(tmp_path / "base", "llama")
    kept = what_a_round_does(zoo.trainer(tmp_path / "kept", base))
    assert len(reads) == 1
    fresh = what_a_round_does(zoo.trainer(tmp_path / "fresh", base, keeps=False))
    assert len(reads) == 1 + 9
    assert kept == fresh


def test_where_memory_is_short_models_are_read_again_and_come_to_the_same(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = zoo.build(tmp_path / "base", "gpt2")
    fresh = what_a_round_does(zoo.trainer(tmp_path / "fresh", base, keeps=False))
    before = len(reads)
    monkeypatch.setattr(memory, "total_bytes", lambda _: 1)
    assert what_a_round_does(zoo.trainer(tmp_path / "kept", base)) == fresh
    assert 1 < len(reads) - before < before
    assert len(lending._kept) == 1


def break_one_of(trainer: LocalTrainer) -> None:
    with trainer.lent(None) as model:
        model.model.lm_head = None
        raise ZeroDivisionError


def test_after_an_error_nobody_gets_the_model_again(tmp_path: Path, reads: list[str]) -> None:
    trainer = zoo.trainer(tmp_path, zoo.build(tmp_path / "base", "llama"))
    with pytest.raises(ZeroDivisionError):
        break_one_of(trainer)
    with trainer.lent(None) as model:
        assert model.model.lm_head is not None
    assert len(reads) == 2
