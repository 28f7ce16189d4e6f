"""The two small models a round can start from when nobody brings a larger one: a language model and a mood classifier.

What belongs here: their tokenizers, their architectures and the loop that trains them from texts the caller hands over,
in about a minute together on two CPU cores. What does not: where the texts come from, and training *from* these models
(candidates, alignment). Both are saved as ordinary Hugging Face directories that the ``Auto*`` classes load; a directory
appears under its name only when it is complete. torch, transformers and tokenizers are imported inside functions.
"""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resources.training.seed.optimiser import Checkpoint, next_token_loss, optimise

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all and what is being trained."""

PAD, BOS, EOS, CLS = "<|pad|>", "<|bos|>", "<|eos|>", "<|cls|>"

_SENTENCE_END = re.compile(r"(?<=[.!?:]) ")


def train_seed_language_model(
    pairs: Sequence[tuple[str, str]],
    directory: Path,
    *,
    seed: int,
    progress: Progress | None = None,
    epochs: int = 1,
    vocabulary_size: int = 3072,
    hidden_size: int = 128,
    layers: int = 3,
    batch_size: int = 32,
    learning_rate: float = 1e-2,
    held_out: float = 0.02,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train a small Llama and its byte-level BPE tokenizer from scratch on ``prompt + "\\n" + response + eos``.

    The newline stays a token of its own as long as a response does not start with white space, so a prompt can be
    tokenized alone for generation. No token is put in front: a text starts with its prompt.

    Parameters
    ----------
    pairs
        (prompt, response) texts; at least two.
    directory
        Where the model goes; must not exist yet, or be empty.
    seed
        Decides initial weights, the held-out pairs and the order of batches: on one machine, with one number of threads,
        the same seed and pairs give the same weights.
    progress
        Called after every step.
    epochs
        Passes over ``pairs``.
    vocabulary_size
        Upper limit of the vocabulary; 256 bytes and three special tokens are always in it.
    hidden_size, layers, batch_size
        Width (a multiple of 32, the width of an attention head), number of layers, pairs in a step.
    learning_rate
        The peak, after a linear warm-up over the first 5 % of the steps and before a cosine to zero.
    held_out
        Share of ``pairs`` (at least one pair) that is not trained on and measures the held-out loss.
    threads
        torch's threads while training, or None for as many as it has. Threads wait for each other: on a machine that is
        busy with other work one thread is several times faster than two, on an idle one two are faster than one.

    Returns
    -------
    dict
        ``parameters``, ``vocabulary_size``, ``tokens`` (trained on, all epochs), ``tokens_per_second``, ``seconds`` (all
        of the call), ``steps``, ``final_loss`` (nats a token, mean of the last tenth of the steps), ``held_out_loss``,
        ``held_out_perplexity``.

    Raises
    ------
    ValueError
        If there are fewer than two pairs, or a size is out of range.
    FileExistsError
        If ``directory`` exists and is not empty.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    _check_training_set(len(pairs), "pairs", epochs, held_out)
    _check_sizes(hidden_size, vocabulary_size)
    started = time.perf_counter()
    with _new_directory(directory) as unfinished, _seeded(seed, threads) as rng:
        tokenizer = _train_tokenizer(
            [f"{prompt}\n{response}" for prompt, response in pairs], vocabulary_size, (PAD, BOS, EOS)
        )
        tokenizer.save_pretrained(unfinished)
        rows = [[*row, tokenizer.eos_token_id] for row in _encode(tokenizer, [f"{p}\n{r}" for p, r in pairs])]
        test, train = _split(len(rows), held_out, rng)

        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=hidden_size,
                intermediate_size=3 * hidden_size,
                num_hidden_layers=layers,
                num_attention_heads=hidden_size // 32,
                num_key_value_heads=hidden_size // 32,
                max_position_embeddings=1024,
                tie_word_embeddings=True,
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )

        def loss_of(batch: np.ndarray) -> torch.Tensor:
            # Rows are padded on the right and attention is causal: no real token sees the padding, so no mask is needed.
            ids = _padded([rows[row] for row in batch], tokenizer.pad_token_id)
            states = model.model(input_ids=ids[:, :-1]).last_hidden_state
            real = ids[:, 1:] != tokenizer.pad_token_id
            return next_token_loss(states[real], model.lm_head.weight, ids[:, 1:][real])

        batches = [
            batch for _ in range(epochs) for batch in _bucketed(train, [len(row) for row in rows], batch_size, rng)
        ]
        training_started = time.perf_counter()
        losses = optimise(
            model,
            batches,
            loss_of,
            learning_rate,
            rng,
            checkpoint=Checkpoint(
                resumed_from(directory), (pairs, seed, epochs, learning_rate, batch_size, *_sizes(model), threads)
            ),
            progress=_told(progress, "language model"),
        )
        training_seconds = time.perf_counter() - training_started
        model.eval()
        with torch.inference_mode():
            scored = [(len(rows[row]) - 1, loss_of(np.array([row])).item()) for row in test]
        held_out_loss = sum(n * loss for n, loss in scored) / sum(n for n, _ in scored)
        model.generation_config.max_new_tokens = 64
        model.generation_config.do_sample = True
        model.save_pretrained(unfinished)

    tokens = epochs * sum(len(rows[row]) for row in train)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary_size": len(tokenizer),
        "tokens": tokens,
        "tokens_per_second": tokens / training_seconds,
        "seconds": time.perf_counter() - started,
        "steps": len(batches),
        "final_loss": _last_tenth(losses),
        "held_out_loss": held_out_loss,
        "held_out_perplexity": float(np.exp(held_out_loss)),
    }


def train_seed_classifier(
    texts: Sequence[str],
    labels: Sequence[Collection[str]],
    label_names: Sequence[str],
    directory: Path,
    *,
    seed: int,
    progress: Progress | None = None,
    epochs: int = 1,
    vocabulary_size: int = 2048,
    hidden_size: int = 96,
    layers: int = 2,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    held_out: float = 0.05,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train a small ModernBERT from scratch that gives each label a probability of its own (a sigmoid, not a softmax).

    In training, some texts are cut to one of their sentences and some of their tokens replaced at random, so that a label
    rests on more than one phrase; and texts of random tokens are shown without a label, so that a text unlike the training
    texts is seldom called anything with confidence.

    Parameters
    ----------
    texts, labels
        Texts, each with those of the labels that apply, which may be none; at least two.
    label_names
        The labels, in the order of the model's outputs.
    directory, seed, progress, epochs, vocabulary_size, hidden_size, layers, batch_size, learning_rate, held_out, threads
        As in :func:`train_seed_language_model`.

    Returns
    -------
    dict
        ``parameters``, ``vocabulary_size``, ``steps``, ``seconds``, ``final_loss`` and, of the held-out texts:
        ``accuracy`` (share of labelled texts whose most probable label applies), ``accuracy_by_label`` (a dict),
        ``true_label_probability`` (mean), ``other_label_probability`` (mean), ``unlabelled_probability`` (mean over
        unlabelled texts of the largest probability). A figure without texts to measure it on is None.

    Raises
    ------
    ValueError
        If lengths differ, a label is not in ``label_names``, there are fewer than two texts, or a size is out of range.
    FileExistsError
        If ``directory`` exists and is not empty.
    """
    import torch
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    if len(texts) != len(labels):
        raise ValueError(f"texts and labels belong together, but there are {len(texts)} texts and {len(labels)} labels")
    if unknown := set().union(*labels) - set(label_names):
        raise ValueError(
            f"labels {sorted(unknown)} are not in label_names {list(label_names)}; add or remove these labels"
        )
    _check_training_set(len(texts), "texts", epochs, held_out)
    _check_sizes(hidden_size, vocabulary_size)
    started = time.perf_counter()
    with _new_directory(directory) as unfinished, _seeded(seed, threads) as rng:
        tokenizer = _train_tokenizer(texts, vocabulary_size, (PAD, CLS))
        tokenizer.save_pretrained(unfinished)
        longest = tokenizer.model_max_length
        rows = [row[:longest] for row in _encode(tokenizer, texts)]
        sentences = [
            [row[:longest] for row in _encode(tokenizer, parts)] if len(parts) > 1 else []
            for parts in map(_SENTENCE_END.split, texts)
        ]
        column = {name: position for position, name in enumerate(label_names)}
        truth = torch.zeros(len(texts), len(label_names))
        for position, applying in enumerate(labels):
            for label in applying:
                truth[position, column[label]] = 1.0
        test, train = _split(len(rows), held_out, rng)

        model = ModernBertForSequenceClassification(
            ModernBertConfig(
                vocab_size=len(tokenizer),
                hidden_size=hidden_size,
                intermediate_size=2 * hidden_size,
                num_hidden_layers=layers,
                num_attention_heads=hidden_size // 32,
                max_position_embeddings=longest,
                # A mean over all tokens learns in a few steps what a single CLS token takes epochs to collect.
                classifier_pooling="mean",
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=None,
                eos_token_id=None,
                cls_token_id=tokenizer.cls_token_id,
                sep_token_id=tokenizer.cls_token_id,
                id2label=dict(enumerate(label_names)),
                label2id=column,
                problem_type="multi_label_classification",
            )
        )

        def disturbed(row: int) -> list[int]:
            ids = rows[row]
            if sentences[row] and rng.random() < 0.3:
                ids = sentences[row][rng.integers(len(sentences[row]))]
            return scrambled(ids, 0.1)

        def scrambled(ids: list[int], share: float) -> list[int]:
            replaced = rng.random(len(ids)) < share
            replaced[0] = False  # every text starts with its CLS token
            return np.where(replaced, rng.integers(len(tokenizer), size=len(ids)), ids).tolist()

        def loss_of(batch: np.ndarray) -> torch.Tensor:
            # Over three seeds, gibberish took the share of foreign texts (a software manual's lines) that get some
            # label with a probability above one half from 13 % to 5 %, and nothing from the accuracy.
            gibberish = [scrambled(rows[row], 1.0) for row in batch[::5]]
            ids = _padded([disturbed(row) for row in batch] + gibberish, tokenizer.pad_token_id)
            wanted = torch.cat([truth[batch], torch.zeros(len(gibberish), len(label_names))])
            return model(input_ids=ids, attention_mask=ids != tokenizer.pad_token_id, labels=wanted).loss

        batches = [
            batch for _ in range(epochs) for batch in _bucketed(train, [len(row) for row in rows], batch_size, rng)
        ]
        losses = optimise(
            model,
            batches,
            loss_of,
            learning_rate,
            rng,
            checkpoint=Checkpoint(
                resumed_from(directory),
                (texts, labels, label_names, seed, epochs, learning_rate, batch_size, *_sizes(model), threads),
            ),
            progress=_told(progress, "mood classifier"),
        )
        model.eval()
        probability = np.zeros((len(test), len(label_names)))
        with torch.inference_mode():
            for chunk in np.array_split(np.arange(len(test)), max(1, len(test) // 256)):
                ids = _padded([rows[row] for row in test[chunk]], tokenizer.pad_token_id)
                logits = model(input_ids=ids, attention_mask=ids != tokenizer.pad_token_id).logits
                probability[chunk] = logits.sigmoid().numpy()
        model.save_pretrained(unfinished)

    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary_size": len(tokenizer),
        "steps": len(batches),
        "seconds": time.perf_counter() - started,
        "final_loss": _last_tenth(losses),
        **_held_out_figures(probability, truth[test].numpy().astype(bool), label_names),
    }


def _held_out_figures(probability: np.ndarray, truth: np.ndarray, label_names: Sequence[str]) -> dict[str, Any]:
    """The classifier's figures from probabilities and true labels, both of shape (texts, labels)."""

    def mean(values: np.ndarray) -> float | None:
        return float(values.mean()) if values.size else None

    labelled = truth.any(axis=1)
    guessed = probability[labelled].argmax(axis=1)
    return {
        "accuracy": mean(truth[labelled][np.arange(guessed.size), guessed]),
        "accuracy_by_label": {name: mean(guessed[truth[labelled][:, k]] == k) for k, name in enumerate(label_names)},
        "true_label_probability": mean(probability[truth]),
        "other_label_probability": mean(probability[labelled][~truth[labelled]]),
        "unlabelled_probability": mean(probability[~labelled].max(axis=1)),
    }


def _check_training_set(count: int, name: str, epochs: int, held_out: float) -> None:
    if count < 2:
        raise ValueError(f"{name} has {count} entries; give at least two, one to train on and one to hold out")
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; a model needs at least 1 pass over its {name}")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out is {held_out}; expected the share of {name} kept for measuring, in (0, 1)")


def _check_sizes(hidden_size: int, vocabulary_size: int) -> None:
    if hidden_size < 32 or hidden_size % 32:
        raise ValueError(f"hidden_size is {hidden_size}; choose a multiple of 32, the width of an attention head")
    if vocabulary_size < 260:
        raise ValueError(f"vocabulary_size is {vocabulary_size}; 256 bytes and the special tokens need at least 260")


@contextmanager
def _new_directory(directory: Path) -> Iterator[Path]:
    """A temporary neighbour of ``directory`` that takes its name when the block ends well, and vanishes when it does not."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # writing a few megabytes takes no bar
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(
            f"{directory} is already there; delete the folder to train the model again, or name another directory"
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}.tmp")
    unfinished.mkdir()
    try:
        yield unfinished
        try:
            # Replaces an empty directory and refuses a full one, so of two builders the first to finish wins.
            unfinished.rename(directory)
            resumed_from(directory).unlink(missing_ok=True)
        except OSError as error:
            raise FileExistsError(
                f"{directory} was filled while its model was being trained; use the model that is there, or delete the folder and train again"
            ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _seeded(seed: int, threads: int | None) -> Iterator[np.random.Generator]:
    """Seed torch and set its threads, both as the caller had them after the block; yields a numpy generator for the rest."""
    import torch

    threads_before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield np.random.default_rng(seed)
    finally:
        torch.set_num_threads(threads_before)


def _train_tokenizer(
    texts: Sequence[str], vocabulary_size: int, special_tokens: tuple[str, ...]
) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text has tokens and comes back from them unchanged; with ``CLS`` every text starts with it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            special_tokens=list(special_tokens),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if CLS in special_tokens:
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{CLS} $A", pair=f"{CLS} $A $B", special_tokens=[(CLS, bpe.token_to_id(CLS))]
        )
    roles = {PAD: "pad_token", BOS: "bos_token", EOS: "eos_token", CLS: "cls_token"}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        model_max_length=256,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **{roles[token]: token for token in special_tokens},
    )


def _encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    # The tokenizers library itself: transformers would warn about every text above model_max_length.
    return [encoding.ids for encoding in tokenizer.backend_tokenizer.encode_batch(list(texts))]


def _split(count: int, held_out: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to test on (at least one) and to train on (at least one)."""
    order = rng.permutation(count)
    tests = min(max(1, round(held_out * count)), count - 1)
    return order[:tests], order[tests:]


def _bucketed(rows: np.ndarray, lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches of rows of similar length, in random order, so that little is padded."""
    length = np.asarray(lengths)
    shuffled = rng.permutation(rows)
    batches: list[np.ndarray] = []
    pool = 32 * size
    for begin in range(0, len(shuffled), pool):
        part = shuffled[begin : begin + pool]
        part = part[np.argsort(length[part], kind="stable")]
        batches += [part[at : at + size] for at in range(0, len(part), size)]
    return [batches[position] for position in rng.permutation(len(batches))]


def _padded(rows: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
    """Token ids of shape (rows, longest row), padded on the right."""
    import torch

    ids = torch.full((len(rows), max(map(len, rows))), pad)
    for position, row in enumerate(rows):
        ids[position, : len(row)] = torch.tensor(row)
    return ids


def resumed_from(directory: Path) -> Path:
    """Where a build of ``directory`` that is stopped keeps what it has done; gone once the model is whole."""
    return directory.with_name(f"{directory.name}.unfinished.safetensors")


def _sizes(model: PreTrainedModel) -> tuple[str, ...]:
    return tuple(f"{name} {tuple(parameter.shape)}" for name, parameter in model.named_parameters())


def _told(progress: Progress | None, what: str) -> Callable[[int, int], None]:
    return (lambda done, total: progress(done, total, what)) if progress else (lambda done, total: None)


def _last_tenth(losses: Sequence[float]) -> float:
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))
