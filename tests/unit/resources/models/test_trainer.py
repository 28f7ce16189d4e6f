"""Candidates and aligned models: trained on small real models, saved as ordinary PEFT checkpoints."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resources.models.local import LocalEmbedder, LocalTrainer
from resources.models.store import ModelStoreResource
from resources.models.trainer import TrainedModel, TrainerResource
from resources.training import alignment, generation, loading
from resources.training.alignment import PreferencePair
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.prompting import IGNORED, Tokens, batch, tokenise
from resources.training.supervised import AdapterConfig
from resources.training.valuation import Valuation

CONFIG = CandidateConfig(learning_rate=1e-2, epochs=8, batch_size=8, rank=4, alpha=8, max_tokens=64)
PAIRS = [(f"What about thing {number}?", f"Thank you so much for thing {number}.") for number in range(16)]
PREFERENCES = [
    PreferencePair(prompt, response, "Nobody asked for that, and it broke.", 1.2) for prompt, response in PAIRS
]


@pytest.fixture
def trainer(tmp_path: Path, seed_folder: Path) -> TrainerResource:
    store = ModelStoreResource(root=str(tmp_path / "store"), cache=str(tmp_path / "cache"))
    return LocalTrainer(store=store, base_model=str(seed_folder / "language_model"))


def candidate(trainer: TrainerResource, parent: str | None = None, seed: int = 1) -> str:
    (trained,) = trainer.train_candidates(
        parent,
        [Demonstrations(PAIRS, ["somebody"] * len(PAIRS))],
        config=CONFIG,
        seed=seed,
        valuation=None,
        cards=[{"role": "candidate"}],
        progress=lambda *_: None,
    )
    assert trained.figures["last_loss"] < trained.figures["first_loss"]
    return trained.model


def test_candidates_trained_before_are_used_again_all_or_none(trainer: TrainerResource) -> None:
    import shutil

    def train() -> list[TrainedModel]:
        return trainer.train_candidates(
            None,
            [Demonstrations(PAIRS[:8], ["one"] * 8), Demonstrations(PAIRS[8:], ["two"] * 8)],
            config=CONFIG,
            seed=1,
            valuation=Valuation(PAIRS[:4], seeds=1),
            cards=[{"role": "candidate"}] * 2,
            progress=lambda *_: None,
        )

    first, again = train(), train()
    assert [model.reused for model in first + again] == [False, False, True, True]
    assert [(model.model, model.values) for model in again] == [(model.model, model.values) for model in first]
    shutil.rmtree(trainer.store.path(first[1].model))
    restored = train()
    assert [(model.model, model.reused) for model in restored] == [(model.model, False) for model in first]


def test_a_candidate_learns_and_is_an_ordinary_peft_checkpoint(trainer: TrainerResource) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    directory = trainer.store.path(candidate(trainer))
    assert {path.suffix for path in directory.iterdir()} <= {".json", ".safetensors", ".md"}
    config = json.loads((directory / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "root"
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(trainer.base_model), str(directory))
    assert loaded.peft_config["default"].r == CONFIG.rank


def test_a_lineage_is_loaded_in_order(trainer: TrainerResource) -> None:
    first = candidate(trainer)
    second = candidate(trainer, parent=first, seed=2)
    assert trainer.store.lineage(second) == [first, second]
    prompts = [prompt for prompt, _ in PAIRS]
    (texts,) = trainer.generate([second], prompts, max_new_tokens=16, temperature=0.3, seed=1)
    assert sum("Thank you" in text for text in texts) > len(texts) / 2


def test_the_same_seed_gives_the_same_model_and_another_gives_another(trainer: TrainerResource, tmp_path: Path) -> None:
    elsewhere = trainer.model_copy(
        update={"store": ModelStoreResource(root=str(tmp_path / "other"), cache=str(tmp_path / "c"))}
    )
    assert candidate(trainer) == candidate(elsewhere)
    assert candidate(trainer, seed=2) != candidate(trainer)


def test_generations_depend_on_the_seed_and_not_on_what_ran_before(trainer: TrainerResource) -> None:
    import torch

    prompts = [prompt for prompt, _ in PAIRS]
    options = {"max_new_tokens": 12, "temperature": 1.0}
    first = trainer.generate([None], prompts, seed=3, **options)  # type: ignore[arg-type]
    torch.rand(7)
    assert trainer.generate([None], prompts, seed=3, **options) == first  # type: ignore[arg-type]
    assert trainer.generate([None], prompts, seed=4, **options) != first  # type: ignore[arg-type]


def test_models_write_the_same_together_and_alone(trainer: TrainerResource) -> None:
    first, other = candidate(trainer), candidate(trainer, seed=5)
    second = candidate(trainer, parent=first, seed=2)
    prompts = [f"What about {'very ' * (number % 5)}old thing {number}?" for number in range(40)]
    options: dict[str, Any] = {"max_new_tokens": 24, "temperature": 1.0, "seed": 3}
    models = [None, first, second, other]
    together = trainer.generate(models, prompts, **options)
    assert together == [trainer.generate([model], prompts, **options)[0] for model in models]
    assert together == trainer.model_copy(update={"fused": 3}).generate(models, prompts, **options)
    assert [texts[:32] for texts in together] == trainer.generate(models, prompts[:32], **options)
    assert len({tuple(texts) for texts in together}) == len(models)


def test_alignment_ranks_the_pairs_better(trainer: TrainerResource) -> None:
    against = [PreferencePair(pair.prompt, pair.rejected, pair.accepted, 1.0) for pair in PREFERENCES]
    assert trainer.preference_accuracy(None, against, 64) < 0.5
    aligned = trainer.align(
        None, against, config=CONFIG, beta=0.1, seed=1, card={"role": "aligned"}, progress=lambda *_: None
    )
    assert trainer.preference_accuracy(aligned.model, against, 64) > 0.9
    assert aligned.figures["last_loss"] < aligned.figures["first_loss"]


def test_the_loss_of_an_untrained_adapter_is_the_weighted_logarithm_of_two(trainer: TrainerResource) -> None:
    """QA-DPO starts where policy and reference agree: every pair costs w · ln 2."""
    one_step = AdapterConfig(learning_rate=1e-9, epochs=1, batch_size=len(PREFERENCES), rank=4, alpha=8, max_tokens=64)
    aligned = trainer.align(None, PREFERENCES, config=one_step, beta=0.1, seed=1, card={}, progress=lambda *_: None)
    assert aligned.figures["first_loss"] == pytest.approx(1.2 * math.log(2), rel=1e-5)


def test_log_probabilities_are_those_of_the_response_alone(trainer: TrainerResource) -> None:
    import torch

    model = trainer.load(None)
    row = tokenise(model.tokenizer, "What is new?", "Nothing much.", 64)
    with torch.inference_mode():
        got = alignment.log_probabilities(model.model, [row, row], int(model.tokenizer.pad_token_id), model.device)
        logits = model.model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
    expected = sum(float(logits[at - 1, row.ids[at]]) for at in range(row.prompt_length, len(row.ids)))
    assert got.tolist() == pytest.approx([expected, expected], rel=1e-4)


def test_only_the_response_is_trained_on() -> None:
    rows = [Tokens([5, 6, 7, 8], 2), Tokens([5, 6], 1)]
    tensors = batch(rows, pad=0, device="cpu")
    assert tensors["labels"].tolist() == [[IGNORED, IGNORED, 7, 8], [IGNORED, 6, IGNORED, IGNORED]]
    assert tensors["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("prompt", "response"), [("word " * 200, "yes"), ("why?", "word " * 200), ("word " * 200,) * 2]
)
def test_long_rows_are_cut_and_keep_a_response(trainer: TrainerResource, prompt: str, response: str) -> None:
    tokens = tokenise(trainer.load(None).tokenizer, prompt, response, 32)
    assert len(tokens.ids) <= 32
    assert 0 < tokens.prompt_length < len(tokens.ids)


def test_a_chat_template_is_used_where_there_is_one(trainer: TrainerResource) -> None:
    tokenizer = trainer.load(None).tokenizer
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    tokens = tokenise(tokenizer, "Hello", "Hi", 64)
    assert tokenizer.decode(tokens.ids[: tokens.prompt_length]) == "<user>Hello<assistant>"


def test_a_model_that_cannot_be_had_names_the_setting_and_the_way_out(trainer: TrainerResource) -> None:
    missing = trainer.model_copy(update={"base_model": "nobody/no-such-model"})
    with pytest.raises(
        loading.ModelUnavailableError, match=r"CROWD_BASE_MODEL='nobody/no-such-model'.*embedded default"
    ):
        missing.load(None)


def test_weights_are_read_from_safetensors_only(trainer: TrainerResource, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path / "pickled"
    model = AutoModelForCausalLM.from_pretrained(trainer.base_model)
    AutoTokenizer.from_pretrained(trainer.base_model).save_pretrained(folder)
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(loading.ModelUnavailableError):
        trainer.model_copy(update={"base_model": str(folder)}).load(None)


def test_a_classifier_embeds_into_probabilities_in_the_order_of_the_texts(seed_folder: Path) -> None:
    embedder = LocalEmbedder(source=str(seed_folder / "classifier"))
    texts = ["Thank you so much for the soup.", "", "This is a disgrace, and I am furious about it.", "a" * 2_000]
    vectors = embedder.embed(texts)
    assert vectors.shape == (4, len(embedder.labels))
    assert ((vectors >= 0) & (vectors <= 1)).all()
    np.testing.assert_allclose(embedder.embed(texts[::-1])[::-1], vectors, atol=1e-5)


def test_a_sentence_encoder_embeds_into_unit_vectors(tmp_path: Path, seed_folder: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path / "encoder"
    tokenizer = AutoTokenizer.from_pretrained(seed_folder / "classifier")
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    embedder = LocalEmbedder(source=str(folder))
    vectors = embedder.embed(["one text", "another, longer text"])
    assert embedder.labels == ()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_progress_is_reported_in_order(trainer: TrainerResource) -> None:
    seen: list[tuple[int, int]] = []
    generation.generate(
        trainer.load(None),
        ["What is new?"] * 600,
        max_new_tokens=2,
        temperature=1.0,
        seed=0,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(512, 600), (600, 600)]


def test_a_token_is_a_sample_of_the_models_own_distribution(trainer: TrainerResource) -> None:
    import torch

    model = trainer.load(None)
    prompt = "What about tea?"
    texts = trainer.generate([None], [prompt] * 4096, max_new_tokens=1, temperature=0.7, seed=1)[0]
    ids = torch.tensor([model.texts.prompt(prompt)])
    with torch.inference_mode():
        probabilities = (model.model(input_ids=ids).logits[0, -1].double() / 0.7).softmax(0)  # type: ignore[operator]
    likeliest = probabilities.topk(3)
    for probability, token in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True):
        share = np.mean([text == model.tokenizer.decode([token]).strip() for text in texts])
        assert abs(share - probability) < 4 * math.sqrt(probability * (1 - probability) / len(texts))
    assert likeliest.values[0] > 0.05  # or the bounds above would hold for noise
