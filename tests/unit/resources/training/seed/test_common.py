"""Seed models: they load, learn, come out the same by their seed, and a build that was killed goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from resources.training.seed.common import train_seed_classifier, train_seed_language_model

TINY: dict[str, Any] = {"vocabulary_size": 400, "hidden_size": 32, "layers": 1, "batch_size": 16, "threads": 1}


PAIRS = [
    (f"What about {noun} {n}?", f"The {noun} is fine, said number {n}.") for noun in ("tea", "rain") for n in range(40)
]


TEXTS = [f"{start} {n}." for start in ("Thank you for number", "I am furious about number", "Train") for n in range(60)]


LABELS = [labels for labels in (("gratitude",), ("anger",), ()) for _ in range(60)]


AWKWARD = "naïve 😀🏳️‍🌈  two  spaces\n\ttab 漢字 . , can 't\x00"


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[tuple[int, int, str]]]:
    directory = tmp_path_factory.mktemp("seed") / "language_model"
    calls: list[tuple[int, int, str]] = []
    figures = train_seed_language_model(
        PAIRS, directory, seed=1, progress=lambda *call: calls.append(call), epochs=2, **TINY
    )
    return directory, figures, calls


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("seed") / "classifier"
    figures = train_seed_classifier(
        TEXTS, LABELS, ["anger", "gratitude"], directory, seed=1, epochs=4, held_out=0.2, **TINY
    )
    return directory, figures


def test_language_model_loads_and_generates(language_model: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory, figures, _ = language_model
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    assert sum(parameter.numel() for parameter in model.parameters()) == figures["parameters"] < 5_000_000
    assert len(tokenizer) == figures["vocabulary_size"] == model.config.vocab_size
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    out = model.generate(**tokenizer("What about tea?\n", return_tensors="pt"), max_new_tokens=5)
    assert out.shape[1] > len(tokenizer("What about tea?\n").input_ids)


def test_tokenizers_are_lossless_after_loading(language_model: Any, classifier: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model[0])
    assert tokenizer.decode(tokenizer(AWKWARD).input_ids) == AWKWARD
    assert None not in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    of_classifier = AutoTokenizer.from_pretrained(classifier[0])
    assert of_classifier.decode(of_classifier(AWKWARD).input_ids, skip_special_tokens=True) == AWKWARD


def test_a_prompt_has_the_same_tokens_alone_and_before_its_response(language_model: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model[0])
    for prompt, response in (PAIRS[0], ("Ends in spaces  ", "😀 first"), ("", "'quoted'")):
        alone = tokenizer(prompt + "\n").input_ids
        assert tokenizer(f"{prompt}\n{response}").input_ids == alone + tokenizer(response).input_ids


def test_language_model_figures_and_progress(language_model: Any) -> None:
    _, figures, calls = language_model
    assert [done for done, _, _ in calls] == list(range(1, figures["steps"] + 1))
    assert {(total, what) for _, total, what in calls} == {(figures["steps"], "language model")}
    assert figures["held_out_perplexity"] == pytest.approx(np.exp(figures["held_out_loss"]))
    assert figures["final_loss"] < 0.9 * np.log(figures["vocabulary_size"])  # better than guessing tokens at random
    assert figures["tokens"] > 0 < figures["tokens_per_second"]


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_random_state_and_threads(
    language_model: Any, tmp_path: Path
) -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    train_seed_language_model(PAIRS, tmp_path / "same", seed=1, epochs=2, **TINY)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    train_seed_language_model(PAIRS, tmp_path / "other", seed=2, epochs=2, **TINY)

    first, same, other = (
        load_file(directory / "model.safetensors")
        for directory in (language_model[0], tmp_path / "same", tmp_path / "other")
    )
    assert all(np.array_equal(first[name], same[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)
    tokenizers = [(directory / "tokenizer.json").read_text() for directory in (language_model[0], tmp_path / "same")]
    assert tokenizers[0] == tokenizers[1]


def test_classifier_loads_with_named_labels_and_separate_probabilities(classifier: Any) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    directory, figures = classifier
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    assert model.config.id2label == {0: "anger", 1: "gratitude"}
    assert model.config.problem_type == "multi_label_classification"
    inputs = tokenizer(["Thank you for number 3.", "word " * 1000], padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        assert model(**inputs).logits.shape == (2, 2)
    assert set(figures["accuracy_by_label"]) == {"anger", "gratitude"}


def test_classifier_tells_labelled_texts_apart_and_unlabelled_from_both(classifier: Any) -> None:
    _, figures = classifier
    assert figures["accuracy"] > 0.9
    assert figures["true_label_probability"] > 0.7 > 0.3 > figures["other_label_probability"]
    assert figures["unlabelled_probability"] < 0.5


def test_a_failed_training_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_seed_language_model(PAIRS, tmp_path / "model", seed=1, progress=stop, **TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="delete the folder"):
        train_seed_language_model(PAIRS, tmp_path, seed=1, **TINY)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_directory_filled_during_training_is_not_overwritten(tmp_path: Path) -> None:
    directory = tmp_path / "model"

    def somebody_else(done: int, total: int, what: str) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "theirs").touch()

    with pytest.raises(FileExistsError, match="while its model was being trained"):
        train_seed_language_model(PAIRS, directory, seed=1, progress=somebody_else, **TINY)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "theirs"]


def test_unusable_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least two"):
        train_seed_language_model(PAIRS[:1], tmp_path / "m", seed=1)
    with pytest.raises(ValueError, match="hidden_size"):
        train_seed_language_model(PAIRS, tmp_path / "m", seed=1, hidden_size=100)
    with pytest.raises(ValueError, match="vocabulary_size"):
        train_seed_language_model(PAIRS, tmp_path / "m", seed=1, vocabulary_size=100)
    with pytest.raises(ValueError, match="epochs"):
        train_seed_language_model(PAIRS, tmp_path / "m", seed=1, epochs=0)
    with pytest.raises(ValueError, match="held_out"):
        train_seed_language_model(PAIRS, tmp_path / "m", seed=1, held_out=1)
    with pytest.raises(ValueError, match="belong together"):
        train_seed_classifier(["a", "b"], [("joy",)], ["joy"], tmp_path / "m", seed=1)
    with pytest.raises(ValueError, match="not in label_names"):
        train_seed_classifier(["a", "b"], [("joy",), ("joy", "fear")], ["joy"], tmp_path / "m", seed=1)


class StoppedError(Exception):
    """A build that is killed, as far as a test goes."""


@pytest.mark.parametrize("which", ["language model", "classifier"])
def test_a_build_that_was_killed_goes_on_and_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr("resources.training.seed.optimiser.SECONDS_BETWEEN_CHECKPOINTS", -1.0)

    def build(directory: Path, stop_at: int = 0, pairs: list[tuple[str, str]] = PAIRS) -> list[int]:
        steps: list[int] = []

        def progress(done: int, total: int, what: str) -> None:
            steps.append(done)
            if done == stop_at:
                raise StoppedError

        if which == "classifier":
            train_seed_classifier(
                TEXTS, LABELS, ["anger", "gratitude"], directory, seed=1, progress=progress, epochs=2, **TINY
            )
        else:
            train_seed_language_model(pairs, directory, seed=1, progress=progress, epochs=3, **TINY)
        return steps

    undisturbed = build(tmp_path / "undisturbed")
    for stop in (3, 6):
        with pytest.raises(StoppedError):
            build(tmp_path / "killed", stop)
    assert build(tmp_path / "killed")[0] == 6  # the step that was not kept comes again
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("undisturbed", "killed"))
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert undisturbed[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "undisturbed"]  # nothing is left beside


def test_what_was_kept_of_other_texts_is_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.training.seed.optimiser.SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    steps: list[int] = []

    def progress(done: int, total: int, what: str) -> None:
        steps.append(done)
        if done == 3:
            raise StoppedError

    for pairs in (PAIRS, PAIRS[::-1]):
        with pytest.raises(StoppedError):
            train_seed_language_model(pairs, tmp_path / "model", seed=1, progress=progress, **TINY)
    assert steps == [1, 2, 3] * 2
