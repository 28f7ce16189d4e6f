"""Any base model: from the hub at the commit of its lineage, on a device of one's own, quantised, with errors that say what to do."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from resources.models.local import LocalTrainer
from resources.models.store import ModelStoreResource
from resources.models.trainer import OtherRootError, TrainerResource
from resources.training import loading
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.loading import PlacementError
from resources.training.supervised import AdapterConfig

CONFIG = CandidateConfig(learning_rate=1e-2, epochs=1, batch_size=8, rank=4, alpha=8, max_tokens=48)
PAIRS = [(f"What about thing {row}?", f"Thank you so much for thing {row}.") for row in range(8)]
PROMPTS = [prompt for prompt, _ in PAIRS]
FIRST, SECOND = "a" * 40, "b" * 40


def trainer(folder: Path, base_model: str, **options: Any) -> TrainerResource:
    store = ModelStoreResource(root=str(folder / "store"), cache=str(folder / "cache"))
    return LocalTrainer(store=store, base_model=base_model, **options)


def candidate(trainer: TrainerResource, parent: str | None = None, config: CandidateConfig = CONFIG) -> str:
    groups = [Demonstrations(PAIRS, ["somebody"] * len(PAIRS))]
    (trained,) = trainer.train_candidates(
        parent, groups, config=config, seed=1, valuation=None, cards=[{}], progress=lambda *_: None
    )
    return trained.model


@pytest.fixture
def hub_cache(tmp_path: Path, seed_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The hub's cache with some/model, whose branch main stands at FIRST; the hub itself cannot be reached."""
    cache = tmp_path / "hub" / "models--some--model"
    for commit in (FIRST, SECOND):
        shutil.copytree(seed_folder / "language_model", cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(FIRST)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    loading.hub_folder.cache_clear()
    yield cache
    loading.hub_folder.cache_clear()


def test_a_home_keeps_to_the_commit_that_it_began_with(
    hub_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = trainer(tmp_path, "some/model")
    with caplog.at_level(logging.WARNING, logger="dagster"):
        first = candidate(here)
    assert f"CROWD_BASE_MODEL_REVISION={FIRST}" in caplog.text
    caplog.clear()
    (hub_cache / "refs" / "main").write_text(SECOND)
    loading.hub_folder.cache_clear()
    second = candidate(here, first)
    assert "CROWD_BASE_MODEL_REVISION" not in caplog.text
    assert [here.store.card(model)["root_identity"] for model in (first, second)] == [f"some/model@{FIRST}"] * 2
    elsewhere = trainer(tmp_path / "elsewhere", "some/model")
    assert elsewhere.store.card(candidate(elsewhere))["root_identity"] == f"some/model@{SECOND}"
    here.model_copy(update={"revision": FIRST}).load(second)
    with pytest.raises(OtherRootError, match=rf"some/model@{FIRST}.*CROWD_BASE_MODEL_REVISION.*{SECOND}"):
        here.model_copy(update={"revision": SECOND}).load(second)


def test_a_root_that_changed_under_its_adapters_is_refused(tmp_path: Path, seed_folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    root = tmp_path / "root"
    shutil.copytree(seed_folder / "language_model", root)
    here = trainer(tmp_path, str(root))
    model = candidate(here)
    here.load(model)
    weights = load_file(root / "model.safetensors")
    save_file({name: weight * 1.01 for name, weight in weights.items()}, root / "model.safetensors", {"format": "pt"})
    here.load(None)
    with pytest.raises(OtherRootError, match=f"model {model} was trained over"):
        here.load(model)
    with pytest.raises(OtherRootError):
        here.generate([None, model], PROMPTS[:1], max_new_tokens=1, temperature=1.0, seed=0)


def test_storing_an_adapter_asks_no_hub(tmp_path: Path, seed_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> bool:
        raise AssertionError("the hub was asked for a model of the parent's name")

    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", asked)
    candidate(trainer(tmp_path, str(seed_folder / "language_model")))


@pytest.mark.parametrize("device_map", ["cpu", "auto"])
def test_a_lineage_on_a_device_of_ones_own_is_the_same_model(
    device_map: str, tmp_path: Path, seed_folder: Path
) -> None:
    import torch

    here = trainer(tmp_path, str(seed_folder / "language_model"))
    model = candidate(here)
    plain, placed = here.load(model), here.model_copy(update={"device_map": device_map}).load(model)
    ids = torch.tensor([plain.tokenizer(PROMPTS[0]).input_ids])
    with torch.inference_mode():
        expected, got = (each.model(ids.to(each.device)).logits.cpu() for each in (plain, placed))
        torch.testing.assert_close(got, expected)
        assert not torch.allclose(got, here.load(None).model(ids.to(plain.device)).logits.cpu(), atol=1e-2)
    assert placed.model.generation_config == plain.model.generation_config


def test_a_device_that_is_not_there_and_a_spread_model_are_refused(tmp_path: Path, seed_folder: Path) -> None:
    with pytest.raises(PlacementError, match="CROWD_DEVICE_MAP=cuda:93"):
        trainer(tmp_path, str(seed_folder / "language_model"), device_map="cuda:93").load(None)
    loading.check_on_one_device(SimpleNamespace(hf_device_map={"": 0}))
    with pytest.raises(PlacementError, match=r"CROWD_DEVICE_MAP.*over 0, cpu"):
        loading.check_on_one_device(SimpleNamespace(hf_device_map={"model.layers.0": 0, "model.layers.1": "cpu"}))


def test_quantising_without_bitsandbytes_says_what_to_install(
    tmp_path: Path, seed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(PlacementError, match="CROWD_QUANTIZATION=nf4 needs bitsandbytes: pip install bitsandbytes"):
        trainer(tmp_path, str(seed_folder / "language_model"), quantization="nf4").load(None)


@pytest.mark.parametrize(("quantization", "layer"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt")])
def test_rounds_over_a_quantised_base(quantization: str, layer: str, tmp_path: Path, seed_folder: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is in the extra 'quantization'")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    here = trainer(tmp_path, str(seed_folder / "language_model"), quantization=quantization)
    longer = replace(CONFIG, epochs=6, held_out=0.2, patience=6)  # held-out rows are measured without gradients
    groups = [Demonstrations(PAIRS, ["one"] * 8), Demonstrations(PAIRS[:6], ["two"] * 6)]
    trained = here.train_candidates(
        None, groups, config=longer, seed=1, valuation=None, cards=[{}] * 2, progress=lambda *_: None
    )
    assert all(each.figures["last_loss"] < each.figures["first_loss"] / 2 for each in trained)
    adapter = here.store.path(trained[0].model)
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(here.base_model), str(adapter))

    # The adapter is merged before, not after: quantising what was merged loses nothing of it.
    loaded = here.load(trained[0].model).model
    assert type(loaded.model.layers[0].mlp.up_proj).__name__ == layer
    merged = loading.load(here.base_model, [adapter]).model
    ids = torch.tensor([here.load(None).tokenizer(PROMPTS[0]).input_ids])
    with torch.inference_mode():
        expected = loading._placed(merged, "cpu", quantization)(ids).logits
        torch.testing.assert_close(loaded(ids).logits, expected)

    against = [PreferencePair(prompt, "Nobody asked for that.", response, 1.0) for prompt, response in PAIRS]
    settings = AdapterConfig(learning_rate=1e-2, epochs=6, batch_size=8, rank=4, alpha=8, max_tokens=48)
    aligned = here.align(
        trained[0].model, against, config=settings, beta=0.1, seed=1, card={}, progress=lambda *_: None
    )
    plain = here.model_copy(update={"quantization": "none"}).align(
        trained[0].model, against, config=settings, beta=0.1, seed=1, card={}, progress=lambda *_: None
    )
    assert aligned.figures["last_loss"] == pytest.approx(plain.figures["last_loss"], abs=0.05)
    here.export(aligned.model, tmp_path / "export")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "export").dtype == torch.float32


def test_gradients_over_four_bits_are_those_over_the_weights_that_the_bits_stand_for(
    tmp_path: Path, seed_folder: Path
) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is in the extra 'quantization'")
    here = trainer(tmp_path, str(seed_folder / "language_model"), quantization="nf4")
    plain = here.load(None)
    plain.model.dequantize()
    loading.save(plain, tmp_path / "plain")
    elsewhere = trainer(tmp_path / "elsewhere", str(tmp_path / "plain"))
    longer = replace(CONFIG, epochs=4, held_out=0.2, patience=4)
    losses = [each.store.card(candidate(each, config=longer))["training"]["last_loss"] for each in (here, elsewhere)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_the_most_memory_in_use_is_noticed() -> None:
    import torch

    cpu, now = torch.device("cpu"), psutil.Process().memory_info().rss / 2**20
    before = loading.peak_memory(cpu)
    held = torch.ones(int(before - now + 60) * 2**18)  # numbers of 4 bytes
    most = loading.peak_memory(cpu)
    assert before + 40 < most < before + 80
    del held
    assert loading.peak_memory(cpu) >= most
