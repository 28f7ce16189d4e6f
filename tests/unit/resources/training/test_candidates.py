"""Candidates trained in one pass: each as it would be alone, by PEFT; and what contributors are worth while they train."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.training.candidate_runs import CandidateConfig, Demonstrations, length_bucketed
from resources.training.candidates import _Trainer, train_candidates
from resources.training.generation import generate
from resources.training.loading import LanguageModel
from resources.training.prompting import Tokens, batch, tokenise
from resources.training.supervised import new_adapter
from resources.training.valuation import Valuation

CONFIG = CandidateConfig(learning_rate=5e-3, epochs=2, batch_size=4, rank=4, alpha=8, max_tokens=48)
GROUPS = [
    Demonstrations(
        [(f"What about thing {row}?", f"Group {group} likes it {'very ' * (row % 4)}much.") for row in range(rows)],
        [f"contributor-{group}-{row % 3}" for row in range(rows)],
    )
    for group, rows in enumerate((10, 3, 7))
]
VALIDATION = [(f"What about thing {row}?", "Group 0 likes it much.") for row in range(40, 44)]
ARCHITECTURES = ("llama", "gpt2", "qwen2", "gemma2")


def language_model(seed_folder: Path, architecture: str = "llama") -> LanguageModel:
    """A base of two layers in double precision, so that only mistakes can make two ways of training differ."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(seed_folder / "language_model")
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 64,
        "head_dim": 16,
    }
    if architecture == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), **sizes)
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    model = AutoModelForCausalLM.from_config(config).double().eval()
    return LanguageModel(model, tokenizer, torch.device("cpu"))


def trained(
    base: LanguageModel,
    groups: Sequence[Demonstrations],
    tmp_path: Path,
    config: CandidateConfig = CONFIG,
    **options: Any,
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Weights of the checkpoints of candidates trained in one pass, and their results."""
    from safetensors.torch import load_file

    directories = [tmp_path / str(number) for number in range(len(groups))]
    results = train_candidates(base, groups, directories, parent="root", config=config, seed=3, **options)
    return [load_file(directory / "adapter_model.safetensors") for directory in directories], results


def trained_by_peft(base: LanguageModel, group: Demonstrations, config: CandidateConfig = CONFIG) -> dict[str, Any]:
    """Weights of one candidate, trained alone by PEFT's own layers, torch's AdamW and transformers' loss."""
    import torch
    from peft import get_peft_model_state_dict

    pad = int(base.tokenizer.pad_token_id)
    rows = [tokenise(base.tokenizer, *pair, config.max_tokens) for pair in group.pairs]
    plan = length_bucketed([len(row.ids) for row in rows], config.batch_size, config.epochs, 3)
    model = new_adapter(base, config)
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if "default" in getattr(module, "lora_A", {}):
            weight = module.lora_A["default"].weight
            bound = 1 / math.sqrt(weight.shape[1])
            weight.data = torch.rand(weight.shape, generator=generator).mul_(2 * bound).sub_(bound).double()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0)
    warm_up = max(1, round(0.1 * len(plan)))
    for step, chosen in enumerate(plan, start=1):
        done = max(0.0, (step - warm_up) / (len(plan) + 1 - warm_up))
        rate = config.learning_rate * min(step / warm_up, 0.5 * (1 + math.cos(math.pi * done)))
        optimizer.param_groups[0]["lr"] = rate
        model(**batch([rows[row] for row in chosen], pad, base.device)).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return get_peft_model_state_dict(model)


def largest_difference(weights: dict[str, Any], others: dict[str, Any]) -> float:
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_candidates_of_one_pass_end_as_peft_trains_each_alone(
    architecture: str, seed_folder: Path, tmp_path: Path
) -> None:
    together, _ = trained(language_model(seed_folder, architecture), GROUPS, tmp_path)
    for weights, group in zip(together, GROUPS, strict=True):
        assert largest_difference(weights, trained_by_peft(language_model(seed_folder, architecture), group)) < 1e-5
    # What would show if adapters, groups or learning rates were mixed up:
    assert largest_difference(together[0], trained_by_peft(language_model(seed_folder, architecture), GROUPS[2])) > 1e-3
    slower = replace(CONFIG, learning_rate=4e-3)
    assert (
        largest_difference(together[0], trained_by_peft(language_model(seed_folder, architecture), GROUPS[0], slower))
        > 1e-4
    )


@pytest.mark.parametrize("change", [{"tokens_per_pass": 40}, {"tokens_per_pass": 1}, {"gradient_checkpointing": True}])
def test_how_a_step_is_computed_does_not_matter(change: dict[str, Any], seed_folder: Path, tmp_path: Path) -> None:
    valuation = Valuation(VALIDATION, seeds=1, rows=3)
    plain, results = trained(language_model(seed_folder), GROUPS, tmp_path / "plain", valuation=valuation)
    changed, same_results = trained(
        language_model(seed_folder), GROUPS, tmp_path / "changed", replace(CONFIG, **change), valuation=valuation
    )
    for weights, others, result, same in zip(plain, changed, results, same_results, strict=True):
        assert largest_difference(weights, others) < 1e-7
        assert same.values[0] == pytest.approx(result.values[0])


def test_a_checkpoint_loads_by_peft_and_answers_as_it_did_in_the_stack(seed_folder: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel

    base = language_model(seed_folder)
    trainer = _Trainer(base, GROUPS, CONFIG, [3], None)
    trainer.run(lambda *_: None)
    prompt = torch.tensor([tokenise(base.tokenizer, "What about it?", "", 48).ids] * len(GROUPS))
    trainer.stack.use(range(len(GROUPS)))
    trainer.stack.expected_rows = (len(GROUPS),)
    with torch.inference_mode():
        expected = base.model.generate(prompt, max_new_tokens=12, do_sample=False).tolist()  # type: ignore[operator]
    trained(language_model(seed_folder), GROUPS, tmp_path)
    for number, answer in enumerate(expected):
        loaded = PeftModel.from_pretrained(language_model(seed_folder).model, str(tmp_path / str(number)))
        assert loaded.generate(input_ids=prompt[:1], max_new_tokens=12, do_sample=False).tolist() == [answer]
    assert len({tuple(answer) for answer in expected}) > 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stored_candidates_write_together_what_peft_writes_alone(
    architecture: str, seed_folder: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    trained(language_model(seed_folder, architecture), GROUPS, tmp_path, replace(CONFIG, learning_rate=0.05, epochs=8))
    prompts = [f"What about {'very ' * (number % 4)}old thing {number}?" for number in range(9)]
    options: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.0, "seed": 5}
    chains = [[], [tmp_path / "0"], [tmp_path / "1"], [tmp_path / "0", tmp_path / "2"]]
    written = generate(language_model(seed_folder, architecture), prompts, lineages=chains, **options)
    for chain, texts in zip(chains, written, strict=True):
        alone = language_model(seed_folder, architecture)
        for directory in chain:
            merged = PeftModel.from_pretrained(alone.model, str(directory)).merge_and_unload()
            alone = replace(alone, model=merged)
        assert generate(alone, prompts, **options) == [texts]
    assert len({tuple(texts) for texts in written}) == len(chains)


def test_a_rows_product_is_that_of_its_own_gradient(seed_folder: Path) -> None:
    import torch

    base = language_model(seed_folder)
    trainer = _Trainer(base, GROUPS, CONFIG, [3], None)
    torch.nn.init.normal_(trainer.stack.parameters, std=0.1)
    direction = torch.randn(trainer.stack.parameters.shape, dtype=torch.float64)
    rows = [run.rows[:3] for run in trainer.runs]
    trainer.stack.use(range(3))
    _, products = trainer._passes(rows, direction)
    together = trainer.stack.gradients.clone()
    assert products is not None
    total = torch.zeros_like(together)
    for row in range(3):
        trainer.stack.use(range(3))
        counts = [sum(len(each.ids) - each.prompt_length for each in of_adapter) for of_adapter in rows]
        own = [len(of_adapter[row].ids) - of_adapter[row].prompt_length for of_adapter in rows]
        trainer._passes([[of_adapter[row]] for of_adapter in rows])
        share = torch.tensor([mine / count for mine, count in zip(own, counts, strict=True)], dtype=torch.float64)
        gradient = trainer.stack.gradients * share[:, None]
        total += gradient
        expected = (gradient * direction).sum(1).tolist()
        assert [of_adapter[row] for of_adapter in products] == pytest.approx(
            expected, rel=1e-4
        )  # norms are in single precision
    assert torch.allclose(total, together)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_values_change_nothing_and_a_contributor_without_gradient_is_worth_nothing(
    optimizer: Any, seed_folder: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, optimizer=optimizer)
    plain, _ = trained(language_model(seed_folder), GROUPS, tmp_path / "plain", config)
    valued, results = trained(
        language_model(seed_folder), GROUPS, tmp_path / "valued", config, valuation=Valuation(VALIDATION, seeds=2)
    )
    assert max(map(largest_difference, plain, valued)) < 1e-12
    assert [len(result.values) for result in results] == [2, 2, 2]
    assert results[0].values[0].keys() == set(GROUPS[0].contributors)
    assert results[0].values[0] != results[0].values[1]


@pytest.mark.parametrize("order", [1, 2])
def test_what_contributors_are_worth_depends_on_no_other_group(order: int, seed_folder: Path, tmp_path: Path) -> None:
    """Groups of other sizes have their validation gradients at other steps."""
    valuation = Valuation(VALIDATION, seeds=2, rows=3, every=2, order=order)
    _, together = trained(language_model(seed_folder), GROUPS, tmp_path / "together", valuation=valuation)
    for number, group in enumerate(GROUPS):
        _, (alone,) = trained(language_model(seed_folder), [group], tmp_path / str(number), valuation=valuation)
        for values, expected in zip(alone.values, together[number].values, strict=True):
            assert values == pytest.approx(expected, rel=1e-6)


def test_values_of_small_steps_add_up_to_the_fall_of_the_validation_loss(seed_folder: Path) -> None:
    config = replace(CONFIG, optimizer="sgd", learning_rate=0.3, epochs=1)
    errors = {}
    for order in (1, 2):
        valuation = Valuation(VALIDATION, seeds=1, rows=len(VALIDATION), every=1, order=order)
        trainer = _Trainer(language_model(seed_folder), GROUPS, config, [3], valuation)
        before = validation_loss(trainer)
        trainer.run(lambda *_: None)
        fall = before - validation_loss(trainer)
        values = np.array([sum(sum(epoch.values()) for epoch in run.values) for run in trainer.runs])
        assert (np.abs(fall) > 1e-4).all()
        errors[order] = np.abs(values / fall - 1).max()
    assert errors[1] < 0.2
    assert errors[2] < errors[1] / 4


def validation_loss(trainer: _Trainer) -> np.ndarray:
    trainer.stack.use(range(len(trainer.runs)))
    losses, _ = trainer._passes([trainer.validation] * len(trainer.runs), learn=False)
    return np.array([of_adapter.sum() for of_adapter in losses])


def test_a_twin_is_worth_the_same_and_who_writes_what_is_wanted_is_worth_most(
    seed_folder: Path, tmp_path: Path
) -> None:
    wanted = VALIDATION[0]
    pairs = [wanted, wanted, ("What about thing 7?", "Nobody 1234 asked ? for that, and it broke.")] * 2
    group = Demonstrations(pairs, ["one", "twin", "other"] * 2)
    config = replace(CONFIG, batch_size=6, learning_rate=1e-3)
    _, (result,) = trained(
        language_model(seed_folder), [group], tmp_path, config, valuation=Valuation(VALIDATION, seeds=1)
    )
    values = result.values[0]
    assert values["one"] == pytest.approx(values["twin"])
    assert values["one"] > values["other"]


def test_an_adapter_ends_as_it_was_at_its_lowest_held_out_loss(seed_folder: Path) -> None:
    letters = np.random.default_rng(0).choice(list("abcdefghijklmnop"), size=(10, 12))
    noise = Demonstrations([("Why?", " ".join(row)) for row in letters], ["somebody"] * 10)
    config = replace(CONFIG, epochs=60, learning_rate=0.05, held_out=0.3, patience=2)
    trainer = _Trainer(language_model(seed_folder), [noise, GROUPS[1]], config, [3], Valuation(VALIDATION, seeds=1))
    trainer.run(lambda *_: None)
    run = trainer.runs[0]
    assert run.stopped
    assert run.best_epoch < len(run.losses) // run.steps_an_epoch < config.epochs
    trainer.stack.use([0])
    losses, _ = trainer._passes([run.held_out], learn=False)
    assert losses[0].sum() == pytest.approx(run.best)
    assert len(run.held_out) == 3
    assert len(run.rows) == 7


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_a_base_in_half_precision_gets_adapters_in_single_precision(
    gradient_checkpointing: bool, seed_folder: Path, tmp_path: Path
) -> None:
    import torch

    base = language_model(seed_folder)
    base.model.bfloat16()
    (weights,), (result,) = trained(
        base,
        GROUPS[:1],
        tmp_path,
        replace(CONFIG, epochs=8, learning_rate=2e-2, gradient_checkpointing=gradient_checkpointing),
        valuation=Valuation(VALIDATION, seeds=1),
    )
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert result.last_loss < result.first_loss - 0.2
    assert np.isfinite(list(result.values[0].values())).all()


def test_an_empty_group_is_named() -> None:
    with pytest.raises(ValueError, match="group 1 has no demonstration"):
        train_candidates(
            LanguageModel(None, None, None),  # type: ignore[arg-type]
            [GROUPS[0], Demonstrations([], [])],
            [],
            parent="root",
            config=CONFIG,
            seed=0,
        )


def test_padding_rows_count_nothing() -> None:
    from resources.training.stacked import stacked_batch

    made = stacked_batch([[Tokens([5, 6, 7], 1)], [Tokens([5, 6], 1)] * 2], [[0.5], [0.25] * 2], pad=0, device="cpu")
    assert made.ids.tolist() == [[5, 6, 7], [5, 6, 7], [5, 6, 0], [5, 6, 0]]
    assert made.weights.tolist() == [0.5, 0.0, 0.25, 0.25]
    assert made.labelled.sum(1).tolist() == [2, 0, 1, 1]


def test_where_memory_runs_out_passes_get_smaller_and_candidates_stay_the_same(
    tmp_path: Path, seed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from resources.training.memory import OutOfMemoryError
    from resources.training.stacked import AdapterStack

    whole, _ = trained(language_model(seed_folder), GROUPS, tmp_path / "whole")
    loss, room = AdapterStack.loss, 150
    sizes: list[int] = []

    def scarce(stack: AdapterStack, data: Any) -> Any:
        sizes.append(data.ids.numel())
        if data.ids.numel() > room:
            loss(stack, data).sum().backward()  # it fails late, with gradients half added up
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(stack, data)

    monkeypatch.setattr(AdapterStack, "loss", scarce)
    split, _ = trained(language_model(seed_folder), GROUPS, tmp_path / "split")
    assert max(sizes) > room
    assert sum(size > room for size in sizes) < 5  # what did not fit once is not tried at every step
    for one, other in zip(whole, split, strict=True):
        for name, weights in one.items():
            torch.testing.assert_close(weights, other[name], atol=1e-9, rtol=1e-6)
    room = 0
    with pytest.raises(OutOfMemoryError, match=r"CROWD_FUSED_CANDIDATES.*CROWD_GRADIENT_CHECKPOINTING"):
        trained(language_model(seed_folder), GROUPS, tmp_path / "none")
