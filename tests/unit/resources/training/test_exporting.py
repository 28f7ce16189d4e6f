"""Others load what is exported: one adapter says what a chain says, a hub's base is named with its commit, Ollama's template writes
what the tokenizer's does."""

import json
import re
from pathlib import Path

import pytest
import torch

from resources.training.exporting import combined, license_of, modelfile, save_combined
from resources.training.loading import StoredAdapter
from resources.training.prompting import TextFormat
from tests.unit.resources.training.zoo import tokenizer as made


def adapter(layers: dict[str, tuple[int, int]], rank: int, scale: float, seed: int) -> StoredAdapter:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, (out, into) in layers.items():
        weights[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, into, generator=generator)
        weights[f"base_model.model.{name}.lora_B.weight"] = torch.randn(out, rank, generator=generator)
    return StoredAdapter(weights, rank, scale)


def test_a_combined_adapter_changes_each_layer_by_the_sum() -> None:
    chain = [adapter({"a": (3, 5), "b": (4, 4)}, 2, 0.5, 1), adapter({"a": (3, 5)}, 3, 2.0, 2)]
    found = combined(chain)
    assert (found.rank, found.scale, found.layers) == (5, 1.0, ["a", "b"])
    for layer in found.layers:
        a, b = found.matrices(layer)
        expected = sum(
            (each.matrices(layer)[1] @ each.matrices(layer)[0]) * each.scale for each in chain if layer in each.layers
        )
        torch.testing.assert_close(b @ a, expected)


def test_a_base_of_a_hub_is_named_with_its_commit(tmp_path: Path) -> None:
    from peft import LoraConfig
    from safetensors.torch import save_file

    stored = tmp_path / "stored"
    LoraConfig(r=2, lora_alpha=4, target_modules=["a"], base_model_name_or_path="root").save_pretrained(str(stored))
    save_file(adapter({"a": (3, 5)}, 2, 2.0, 1).weights, stored / "adapter_model.safetensors")
    save_combined([stored, stored], tmp_path / "adapter", base="somebody/model", revision="c0ffee")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"], config["r"], config["lora_alpha"]) == (
        "somebody/model",
        "c0ffee",
        4,
        4,
    )
    # What vLLM refuses in an adapter.
    assert config["bias"] == "none"
    assert not any(config[each] for each in ("modules_to_save", "use_dora", "use_rslora"))


@pytest.mark.parametrize("kind", ["llama", "gemma", "chatml", "inst"])
def test_the_template_of_ollama_writes_what_the_tokenizers_does(kind: str) -> None:
    tokenizer = made(kind)
    texts = TextFormat.of(tokenizer)
    template = re.search('TEMPLATE """(.*)"""', modelfile(texts, 0.7), re.DOTALL)
    assert template is not None
    alone = re.sub(r"{{ if .System }}.*?{{ else }}(.*?){{ end }}", r"\1", template[1], flags=re.DOTALL)
    before, after = alone.split("{{ .Response }}")
    written = before.replace("{{ .Prompt }}", "what about cats")
    opening = [tokenizer.bos_token_id] if texts.opens_itself else []
    assert [*opening, *tokenizer(written, add_special_tokens=False)["input_ids"]] == texts.prompt("what about cats")
    assert after == tokenizer.decode(texts.closing)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlanguage: en\nlicense: Apache-2.0\n---\n# A model", "apache-2.0"),
        ("---\nlicense: <b>mine</b>\n---\n", ""),
        ("# license: mit", ""),
        (None, ""),
    ],
)
def test_the_license_is_what_the_bases_own_card_says(card: str | None, expected: str, tmp_path: Path) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert license_of(tmp_path) == expected
