"""The loss of QA-DPO: its form, and training step by step against TRL's DPOTrainer."""

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from resources.training import loading
from resources.training.alignment import PreferencePair, align, qa_dpo_loss
from resources.training.prompting import tokenise
from resources.training.supervised import AdapterConfig, new_adapter, shuffled_batches

CONFIG = AdapterConfig(learning_rate=5e-3, epochs=1, batch_size=1, rank=4, alpha=8, max_tokens=64)


PAIRS = [
    PreferencePair(f"What about {thing}?", f"Thank you so much for {thing}.", f"Nobody asked: {thing} broke.", 1.0)
    for thing in ("soup", "the old bridge", "my bicycle", "rain", "a game of chess", "the news", "tea", "this town")
]


BETA, SEED = 0.1, 3


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def loss_at(gap: torch.Tensor, probability: float, weight: float = 1.0, beta: float = 1.0) -> torch.Tensor:
    constant = torch.ones_like(gap)
    return qa_dpo_loss(gap + 2.0, 2.0 * constant, weight * constant, probability * constant, beta)


GAPS = torch.linspace(-6.0, 6.0, 1201, dtype=torch.float64)


@pytest.mark.parametrize("probability", [0.5, 0.7, 0.98])
def test_the_loss_is_least_where_the_odds_are_those_of_the_pair(probability: float) -> None:
    best = float(GAPS[loss_at(GAPS, probability).argmin()])
    assert best == pytest.approx(math.log(probability / (1 - probability)), abs=0.0051)
    entropy = -probability * math.log(probability) - (1 - probability) * math.log(1 - probability)
    assert float(loss_at(GAPS, probability).min()) == pytest.approx(entropy, abs=1e-5)


def test_a_certain_pair_has_the_plain_loss_and_no_other_gradient() -> None:
    ours, plain = GAPS.clone().requires_grad_(), GAPS.clone().requires_grad_()
    loss = loss_at(ours, 1.0, weight=1.3, beta=0.2)
    expected = -1.3 * torch.nn.functional.logsigmoid(0.2 * plain)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-12, atol=1e-12)


def test_weights_scale_each_pair_on_its_own() -> None:
    gaps, ones, probabilities = (torch.tensor(row) for row in ([1.0, -2.0], [1.0, 1.0], [0.6, 0.9]))
    reference, weights = torch.zeros(2), torch.tensor([0.5, 1.5])
    plain = qa_dpo_loss(gaps, reference, ones, probabilities, BETA)
    torch.testing.assert_close(qa_dpo_loss(gaps, reference, weights, probabilities, BETA), weights * plain)


def test_a_gap_that_is_too_large_costs_a_finite_amount() -> None:
    assert loss_at(one(1e4), 0.7).item() == pytest.approx(3e3)
    assert loss_at(one(1e4), 1.0).item() == 0.0


@pytest.mark.parametrize("probability", [0.49, 1.01, math.nan])
def test_a_pair_is_accepted_with_at_least_even_odds(probability: float) -> None:
    with pytest.raises(ValueError, match=r"0\.5 to 1"):
        PreferencePair("prompt", "accepted", "rejected", 1.0, probability)


def losses_of_ours(folder: Path, seed_folder: Path, config: AdapterConfig, beta: float = BETA, **fields: float) -> Any:
    """Loss of every step of ``align`` on ``PAIRS`` with these fields of theirs."""
    return align(
        loading.load(str(seed_folder / "language_model"), []),
        [replace(pair, **fields) for pair in PAIRS],  # type: ignore[arg-type]
        folder / "adapter",
        parent="root",
        config=config,
        beta=beta,
        seed=SEED,
    ).losses


def test_pairs_of_even_odds_teach_nothing(tmp_path: Path, seed_folder: Path) -> None:
    """Where both orders are as likely, the policy that agrees with its reference is the best one. Adam makes whole steps of
    the rounding in a gradient of 0, and the next gradients take them back: hence the tolerance."""
    losses = losses_of_ours(tmp_path, seed_folder, CONFIG, weight=1.2, probability=0.5)
    assert losses == pytest.approx([1.2 * math.log(2)] * len(PAIRS), abs=0.02)
    assert losses_of_ours(tmp_path, seed_folder, CONFIG, weight=1.2)[-1] < losses[-1] - 0.1


@pytest.fixture(scope="module")
def trl() -> ModuleType:
    return pytest.importorskip("trl", reason="trl is in the extra 'test'")


def losses_of_trl(trl: ModuleType, folder: Path, seed_folder: Path, config: AdapterConfig, **loss: Any) -> Any:
    """Loss of every step of TRL's DPOTrainer: the same adapter, optimiser and order of pairs, tokens of its own."""
    from datasets import Dataset

    losses: list[float] = []

    class Recording(trl.DPOTrainer):  # type: ignore[misc, name-defined]
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            found = super().compute_loss(*args, **kwargs)
            losses.append(float(found.detach()))
            return found

    start = loading.load(str(seed_folder / "language_model"), [])
    order = [row for step in shuffled_batches(len(PAIRS), config, torch.Generator().manual_seed(SEED)) for row in step]
    with loading.seeded(SEED):
        trainer = Recording(
            model=new_adapter(start, config),
            processing_class=start.tokenizer,
            train_dataset=Dataset.from_list(
                [
                    {"prompt": pair.prompt + "\n", "chosen": pair.accepted, "rejected": pair.rejected}
                    for pair in (PAIRS[row] for row in order)
                ]
            ),
            args=trl.DPOConfig(
                output_dir=str(folder / "trl"),
                beta=BETA,
                num_train_epochs=config.epochs,
                per_device_train_batch_size=config.batch_size,
                train_sampling_strategy="sequential",
                learning_rate=config.learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=1,
                optim="adamw_torch",
                bf16=False,
                gradient_checkpointing=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
                **loss,
            ),
        )
        for row, found in zip(order, trainer.train_dataset, strict=True):
            for answer, column in ((PAIRS[row].accepted, "chosen_ids"), (PAIRS[row].rejected, "rejected_ids")):
                tokens = tokenise(start.tokenizer, PAIRS[row].prompt, answer, config.max_tokens)
                assert found["prompt_ids"] == tokens.ids[: tokens.prompt_length]
                assert found[column] == tokens.ids[tokens.prompt_length :]
        trainer.train()
    return losses


def test_training_is_that_of_trl(trl: ModuleType, tmp_path: Path, seed_folder: Path) -> None:
    config = replace(CONFIG, batch_size=2)
    theirs = losses_of_trl(trl, tmp_path, seed_folder, config, loss_type=["sigmoid"], label_smoothing=0.0)
    assert max(theirs) - min(theirs) > 0.01  # the policy has moved, so that agreeing is more than ln 2 at the start
    assert losses_of_ours(tmp_path, seed_folder, config) == pytest.approx(theirs, abs=1e-5)
    for other in ({"beta": 0.2}, {"weight": 1.1}, {"probability": 0.9}):
        assert losses_of_ours(tmp_path, seed_folder, config, **other) != pytest.approx(theirs, abs=1e-3)


def test_training_on_noisy_pairs_is_that_of_trl_with_label_smoothing(
    trl: ModuleType, tmp_path: Path, seed_folder: Path
) -> None:
    """Since TRL's loss ``sigmoid`` leaves label smoothing out, this is its ``aot``, which on batches of one pair sorts
    nothing and so is the conservative form."""
    theirs = losses_of_trl(trl, tmp_path, seed_folder, CONFIG, loss_type=["aot"], label_smoothing=0.3)
    assert losses_of_ours(tmp_path, seed_folder, CONFIG, probability=0.7) == pytest.approx(theirs, abs=1e-5)
    for other in (1.0, 0.8):
        assert losses_of_ours(tmp_path, seed_folder, CONFIG, probability=other) != pytest.approx(theirs, abs=1e-3)
