"""Every family of models trains, writes as a plain loop does, starts QA-DPO where policy and reference agree, and exports.

Belongs here: families, and bases that are unusual in what they say of themselves. Does not belong here: tokens (see
``test_prompting``).
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from resources.models.local import LocalTrainer
from resources.models.trainer import TrainedModel
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.layers import UnadaptableModelError, adaptable_layers
from resources.training.loading import load, merge, read_adapter
from resources.training.supervised import AdapterConfig, NotFiniteError
from resources.training.valuation import Valuation
from tests.unit.resources.training.zoo import FAMILIES, build, plain_loop, trainer

GROUPS = [
    Demonstrations(
        [(f"What about thing {row}?", f"Group {group} likes it {'very ' * (row % 4)}much.") for row in range(rows)],
        [f"contributor-{group}-{row % 3}" for row in range(rows)],
    )
    for group, rows in enumerate((6, 3))
]
VALIDATION = [(f"What about thing {row}?", "Group 0 likes it much.") for row in range(40, 43)]
CONFIG = CandidateConfig(learning_rate=1e-2, epochs=2, batch_size=4, rank=4, alpha=8, max_tokens=48)
PROMPTS = [f"What about {'very ' * (number % 4)}old thing {number}?" for number in range(6)]
PAIRS = [PreferencePair(prompt, response, "Nobody asked for that.", 1.2, 0.9) for prompt, response in GROUPS[0].pairs]
# Each does something that was once wrong: rows regrouped, views changed in place, wrappers of experts, a state in the model itself.
QUICK = ("gpt2", "falcon", "mixtral", "opt", "recurrent_gemma", "jamba", "granite")


def candidates(
    here: LocalTrainer, groups: list[Demonstrations] = GROUPS, config: CandidateConfig = CONFIG, **options: Any
) -> list[TrainedModel]:
    options = {"seed": 3, "valuation": None, "cards": [{}] * len(groups), "progress": lambda *_: None, **options}
    return here.train_candidates(options.pop("parent", None), groups, config=config, **options)


def check_family(family: str, folder: Path) -> None:
    here = trainer(folder, build(folder / "base", family))
    trained = candidates(here, valuation=Valuation(VALIDATION, seeds=2, rows=3))
    assert all(each.figures["last_loss"] < each.figures["first_loss"] for each in trained)
    assert all(math.isfinite(value) and value for each in trained for value in each.values[0].values())

    models = [None, *(each.model for each in trained)]
    together = here.generate(models, PROMPTS, max_new_tokens=8, temperature=1.0, seed=5)
    for model, texts in zip(models, together, strict=True):
        assert texts == plain_loop(here.load(model), PROMPTS, 8, 1.0, 5)

    config = AdapterConfig(learning_rate=5e-3, epochs=4, batch_size=3, rank=4, alpha=8, max_tokens=48)
    aligned = here.align(trained[0].model, PAIRS, config=config, beta=0.1, seed=1, card={}, progress=lambda *_: None)
    start = here.align(
        trained[0].model,
        PAIRS,
        config=replace(config, learning_rate=1e-9, epochs=1, batch_size=6),
        beta=0.1,
        seed=1,
        card={},
        progress=lambda *_: None,
    )
    assert start.figures["first_loss"] == pytest.approx(1.2 * math.log(2), abs=1e-4)
    assert aligned.figures["last_loss"] < aligned.figures["first_loss"]

    from transformers import AutoModelForCausalLM

    here.export(aligned.model, folder / "export")
    ours, exported = here.load(aligned.model), AutoModelForCausalLM.from_pretrained(folder / "export")
    ids = torch.tensor([ours.texts.prompt(PROMPTS[0])])
    with torch.inference_mode():
        torch.testing.assert_close(exported(ids).logits, ours.model(ids).logits)
    assert set(exported.generation_config.eos_token_id) == set(ours.texts.ends)


@pytest.mark.parametrize("family", QUICK)
def test_a_family_trains_writes_aligns_and_exports(family: str, tmp_path: Path) -> None:
    check_family(family, tmp_path)


@pytest.mark.crash
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(QUICK)))
def test_every_family_trains_writes_aligns_and_exports(family: str, tmp_path: Path) -> None:
    check_family(family, tmp_path)


def test_alignment_drops_out_nothing_of_the_base(tmp_path: Path) -> None:
    """GPT-2's own dropout is 0.1: a policy that drops out starts away from its reference, at 1.138 instead of 0.832."""
    from resources.training import alignment

    config = AdapterConfig(learning_rate=1e-9, epochs=1, batch_size=6, rank=4, alpha=8, max_tokens=48)
    for number, checkpointing in enumerate((False, True)):
        base = load(str(build(tmp_path / "base", "gpt2", embd_pdrop=0.3, resid_pdrop=0.3)), [])
        result = alignment.align(
            base,
            PAIRS,
            tmp_path / str(number),
            parent="root",
            config=config,
            beta=0.1,
            seed=1,
            gradient_checkpointing=checkpointing,
        )
        assert result.losses == pytest.approx([1.2 * math.log(2)], abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "falcon", "bloom"])
def test_recomputed_blocks_drop_out_nothing(family: str, tmp_path: Path) -> None:
    dropout = {"resid_pdrop": 0.3} if family == "gpt2" else {"hidden_dropout": 0.3}
    here = trainer(tmp_path, build(tmp_path / "base", family, **dropout))
    plain, again = (
        candidates(here, config=replace(CONFIG, gradient_checkpointing=checkpointing))
        for checkpointing in (False, True)
    )
    assert [each.figures["first_loss"] for each in plain] == pytest.approx(
        [each.figures["first_loss"] for each in again]
    )


def test_adapters_lie_on_layers_that_are_given_rows_and_nowhere_else(tmp_path: Path) -> None:
    mixture = adaptable_layers(load(str(build(tmp_path / "mixture", "mixtral")), []).model)
    assert mixture == [f"model.layers.{layer}.self_attn.{part}_proj" for layer in (0, 1) for part in "koqv"]
    state = adaptable_layers(load(str(build(tmp_path / "state", "mamba")), []).model)
    assert {name.rpartition(".")[2] for name in state} == {"in_proj", "x_proj"}
    plain = adaptable_layers(load(str(build(tmp_path / "plain", "llama")), []).model)
    assert len(plain) == 14
    assert "lm_head" not in plain


def test_a_model_whose_positions_count_padding_gets_rows_of_one_length(tmp_path: Path) -> None:
    from resources.training.generation import reads_padding

    here = trainer(tmp_path, build(tmp_path / "base", "bart"))
    (texts,) = here.generate([None], PROMPTS, max_new_tokens=8, temperature=1.0, seed=5)
    assert texts == plain_loop(here.load(None), PROMPTS, 8, 1.0, 5)
    assert reads_padding(here.load(None))
    assert not reads_padding(load(str(build(tmp_path / "other", "gpt2")), []))


def test_a_candidate_with_fewer_rows_than_another_gets_no_row_of_nothing_but_padding() -> None:
    from resources.training.prompting import Tokens
    from resources.training.stacked import stacked_batch

    rows = [[Tokens([5, 6, 7], 1), Tokens([8, 9], 1)], [Tokens([3, 4], 1)]]
    batch = stacked_batch(rows, [[0.5, 0.5], [1.0]], 0, torch.device("cpu"))
    assert batch.ids.tolist() == [[5, 6, 7], [8, 9, 0], [3, 4, 0], [3, 4, 0]]
    assert batch.labelled.sum(1).tolist() == [2, 1, 1, 0]
    assert batch.weights.tolist() == [0.5, 0.5, 1.0, 0.0]


def test_a_layer_whose_weight_others_read_gets_no_adapter(tmp_path: Path) -> None:
    found = adaptable_layers(load(str(build(tmp_path, "hunyuan_v1_moe")), []).model)
    assert found
    assert not any("wg" in name for name in found)


def test_a_base_without_layers_for_adapters_is_refused_in_a_sentence(tmp_path: Path) -> None:
    base = load(str(build(tmp_path / "base", "llama")), [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resources.training.layers._is_row_wise", lambda *_: False)
        with pytest.raises(UnadaptableModelError, match=r"no linear layer.*CROWD_BASE_MODEL"):
            adaptable_layers(base.model)


@pytest.mark.parametrize(
    "said",
    [
        {"repetition_penalty": 1.3},
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"num_beams": 2},
        {"stop_strings": ["a"]},
        {"no_repeat_ngram_size": 2},
        {"num_return_sequences": 2},
        {"min_new_tokens": 6},
        {"suppress_tokens": [5]},
        {"temperature": 0.0},
        {"max_length": 20},
    ],
    ids=lambda said: next(iter(said)),
)
def test_nothing_of_a_generation_config_leaks_into_what_is_written(said: dict[str, Any], tmp_path: Path) -> None:
    family = "gemma2" if "cache_implementation" in said else "llama"
    plain = trainer(tmp_path, build(tmp_path / "plain", family))
    here = trainer(tmp_path, build(tmp_path / "base", family, generation=said))
    options: dict[str, Any] = {"max_new_tokens": 8, "temperature": 1.0, "seed": 5}
    assert here.generate([None], PROMPTS, **options) == plain.generate([None], PROMPTS, **options)
    here.export(None, tmp_path / "export")


def test_a_configuration_without_a_cache_writes_all_the_same(tmp_path: Path) -> None:
    here = trainer(tmp_path, build(tmp_path / "base", "llama", use_cache=False))
    (texts,) = here.generate([None], PROMPTS, max_new_tokens=8, temperature=1.0, seed=5)
    assert texts == plain_loop(here.load(None), PROMPTS, 8, 1.0, 5)


def test_a_base_without_pad_and_end_trains_and_writes_to_the_full_length(tmp_path: Path) -> None:
    here = trainer(tmp_path, build(tmp_path / "base", "llama", kind="endless"))
    first, _ = candidates(here)
    assert here.load(None).texts.ends == ()
    written = here.generate([None, first.model], PROMPTS, max_new_tokens=8, temperature=1.0, seed=5)
    assert written[0] == plain_loop(here.load(None), PROMPTS, 8, 1.0, 5)


def test_a_pad_token_outside_the_embedding_is_not_used(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = build(tmp_path / "base", "llama")
    added = AutoTokenizer.from_pretrained(folder)
    added.add_special_tokens({"pad_token": "[PAD]"})
    added.save_pretrained(folder)
    here = trainer(tmp_path, folder)
    assert here.load(None).texts.pad < len(added) - 1
    candidates(here)
    (texts,) = here.generate([None], PROMPTS, max_new_tokens=8, temperature=1.0, seed=5)
    assert texts == plain_loop(here.load(None), PROMPTS, 8, 1.0, 5)


def test_one_long_prompt_makes_no_other_row_longer_and_changes_no_other_text(tmp_path: Path) -> None:
    from resources.training.generation import _portions

    rows = [[1] * 10] * 40 + [[1] * 2000] + [[1] * 12] * 40
    portions = list(_portions(range(len(rows)), rows, 2, 8, 4096, alike=False))
    assert sorted(row for portion in portions for row in portion) == list(range(len(rows)))
    for portion in portions:
        assert len(portion) == 1 or 2 * len(portion) * (max(len(rows[row]) for row in portion) + 8) <= 4096
    here = trainer(tmp_path, build(tmp_path / "base", "gpt2"))
    options: dict[str, Any] = {"max_new_tokens": 6, "temperature": 1.0, "seed": 5}
    (alone,) = here.generate([None], [*PROMPTS, "short"], **options)
    (beside,) = here.generate([None], [*PROMPTS, "very " * 5000], **options)
    assert beside[:-1] == alone[:-1]


def test_a_pass_that_runs_out_of_memory_is_halved_and_otherwise_names_the_settings() -> None:
    from resources.training.memory import OutOfMemoryError, halving

    tried = []

    def attempt(size: int) -> str:
        tried.append(size)
        if size > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return "done"

    assert halving(attempt, 16, "lower CROWD_MAX_TOKENS") == ("done", 2)
    assert tried == [16, 8, 4, 2]

    def never(size: int) -> str:
        raise MemoryError(f"{size}")

    with pytest.raises(OutOfMemoryError, match="lower CROWD_MAX_TOKENS"):
        halving(never, 4, "lower CROWD_MAX_TOKENS")

    def mistaken(size: int) -> str:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        halving(mistaken, 4, "")


def test_logits_in_parts_are_logits_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of plain heads, capped ones (Gemma), scaled ones (Granite, Cohere): losses and what is learnt from them."""
    from resources.training import losses

    for family in ("llama", "gemma2", "granite", "cohere"):
        here = trainer(tmp_path / family, build(tmp_path / "base", family))
        whole = candidates(here, valuation=Valuation(VALIDATION, seeds=1, rows=3))
        monkeypatch.setattr(losses, "LOGITS_AT_ONCE", 3 * 340)
        parts = candidates(
            trainer(tmp_path / f"{family}-parts", tmp_path / "base"), valuation=Valuation(VALIDATION, seeds=1, rows=3)
        )
        monkeypatch.undo()
        for one, other in zip(whole, parts, strict=True):
            assert one.figures["last_loss"] == pytest.approx(other.figures["last_loss"], rel=1e-4)
            assert one.values[0] == pytest.approx(other.values[0], rel=1e-2, abs=1e-4)


def test_a_head_that_does_what_no_configuration_says_has_its_logits_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resources.training import losses

    base = load(str(build(tmp_path / "base", "granite")), [])
    ids = torch.arange(3, 43).view(2, 20)
    predicted = torch.ones((2, 19), dtype=torch.bool)
    expected = losses.token_losses(base.model, ids, predicted, torch.float32)
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", 340)
    monkeypatch.setattr(losses, "_logits_of", lambda model, head: head)
    torch.testing.assert_close(losses.token_losses(base.model, ids, predicted, torch.float32), expected)


def test_a_lineage_in_bfloat16_is_summed_up_in_single_precision_and_rounded_once(tmp_path: Path) -> None:
    here = trainer(tmp_path, build(tmp_path / "base", "llama", spread=0.05), dtype="bfloat16")
    chain: list[str] = []
    for number in range(4):
        (step,) = candidates(
            here,
            GROUPS[:1],
            replace(CONFIG, learning_rate=2e-4, epochs=3),
            parent=chain[-1] if chain else None,
            seed=number,
        )
        chain.append(step.model)
    adapters = [read_adapter(here.store.path(model)) for model in chain]
    wide = here.load(None).model.float()
    merge(wide, adapters)
    loaded = dict(here.load(chain[-1]).model.named_parameters())
    for layer in adapters[0].layers:
        name = f"{layer}.weight"
        assert torch.equal(loaded[name], dict(wide.named_parameters())[name].to(torch.bfloat16))


def test_merging_is_what_peft_does(tmp_path: Path) -> None:
    from peft import PeftModel

    for family in ("llama", "gpt2"):
        here = trainer(tmp_path / family, build(tmp_path / "base", family))
        model = candidates(here)[0].model
        by_peft = PeftModel.from_pretrained(
            load(here.base_model, []).model, str(here.store.path(model))
        ).merge_and_unload()
        ours = dict(here.load(model).model.named_parameters())
        assert all(torch.equal(ours[name], weight) for name, weight in by_peft.named_parameters())


def test_a_candidate_whose_loss_is_not_finite_is_stopped_alone_and_by_name(tmp_path: Path) -> None:
    from resources.training import candidates as module

    here = trainer(tmp_path, build(tmp_path / "base", "llama"))
    alone = candidates(here, [GROUPS[1]])[0].figures
    original = module._Trainer._passes

    def poisoned(self: Any, parts: Any, *args: Any, **options: Any) -> Any:
        losses, products = original(self, parts, *args, **options)
        if len(parts) == 2 and options.get("learn", True):
            self.stack.gradients[0] = math.inf
        return losses, products

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._Trainer, "_passes", poisoned)
        first, second = candidates(trainer(tmp_path / "again", tmp_path / "base"))
    assert first.figures["stopped"] == "step 1 of 4 has a gradient that is not finite"
    assert first.figures["steps"] == 0
    assert second.figures["stopped"] is None
    assert second.figures["last_loss"] == pytest.approx(alone["last_loss"], rel=1e-4)


def test_training_that_is_finite_nowhere_ends_with_the_settings_that_help(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = build(tmp_path / "base", "llama")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= math.inf
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    here = trainer(tmp_path, folder)
    with pytest.raises(NotFiniteError, match=r"candidate \d of 2: step 1 of 2 has a loss of nan.*CROWD_DTYPE"):
        candidates(here)
    config = AdapterConfig(learning_rate=5e-3, epochs=1, batch_size=6, rank=4, alpha=8, max_tokens=48)
    with pytest.raises(NotFiniteError, match="loss of nan"):
        here.align(None, PAIRS, config=config, beta=0.1, seed=1, card={}, progress=lambda *_: None)


def test_a_note_beside_a_model_does_not_make_it_another(tmp_path: Path) -> None:
    folder = build(tmp_path / "base", "llama")
    here = trainer(tmp_path, folder)
    model = candidates(here)[0].model
    (folder / "trainer_state.json").write_text(json.dumps({"epoch": 3}))
    (folder / "all_results.json").write_text("{}")
    here.load(model)


def test_a_home_whose_root_had_a_note_beside_it_from_the_beginning_goes_on(tmp_path: Path) -> None:
    from resources.training import embedding

    folder = build(tmp_path / "base", "llama")
    (folder / "trainer_state.json").write_text(json.dumps({"epoch": 3}))
    here = trainer(tmp_path, folder)
    model = candidates(here)[0].model
    here.store.write_card(model, here.store.card(model) | {"root_identity": embedding.earlier_identity(str(folder))})
    here.load(model)
