"""Two small models of real comments: a language model that writes them and Φ, a classifier of their emotions.

Belongs here: reading GoEmotions and what the models are made from. Does not belong here: who trains them further.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from resources.common.progress import throttled

PROMPT = "comment:"
FILES = ("goemotions/train.tsv", "goemotions/emotions.txt")
LONGEST = 200  # characters, of what the language model learns from


def read_comments(data: str) -> tuple[list[str], list[tuple[str, ...]], tuple[str, ...]]:
    """Training comments of GoEmotions, the emotions that people found in each, and the names of all 28."""
    emotions = tuple(Path(data, FILES[1]).read_text(encoding="utf-8").split())
    texts, labels = [], []
    for line in Path(data, FILES[0]).read_text(encoding="utf-8").splitlines():
        text, numbers, _ = line.split("\t")
        texts.append(text)
        labels.append(tuple(emotions[int(number)] for number in numbers.split(",")))
    return texts, labels, emotions


def train_comment_models(
    folder: Path, *, data: str, seed: int, epochs: int, share: float, threads: int, say: Callable[[str], None]
) -> None:
    """Train both models into ``folder/language_model`` and ``folder/classifier``; ``folder/vectors.npy`` (n, 28) is
    what the second makes of all comments.

    Args:
        epochs: Passes over the comments, of each model.
        share: Share of the comments that the models see, in (0, 1].
        threads: torch's threads.
    """
    import json

    import numpy as np

    from resources.training.embedding import load_embedder
    from resources.training.seed.common import train_seed_classifier, train_seed_language_model

    texts, labels, emotions = read_comments(data)
    seen = round(share * len(texts))
    figures: dict[str, Any] = {
        "classifier": train_seed_classifier(
            texts[:seen],
            labels[:seen],
            emotions,
            folder / "classifier",
            seed=seed,
            progress=throttled("classifier of emotions", say),
            epochs=epochs,
            vocabulary_size=4096,
            hidden_size=128,
            threads=threads,
        ),
        "language_model": train_seed_language_model(
            [(PROMPT, text[:LONGEST]) for text in texts[:seen]],
            folder / "language_model",
            seed=seed,
            progress=throttled("language model of comments", say),
            epochs=epochs,
            vocabulary_size=4096,
            hidden_size=192,
            layers=4,
            threads=threads,
        ),
    }
    embedder = load_embedder(str(folder / "classifier"))
    np.save(folder / "vectors.npy", embedder.embed(texts).astype(np.float32), allow_pickle=False)
    (folder / "figures.json").write_text(json.dumps(figures))
