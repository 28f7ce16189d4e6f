"""What each Φ tells apart, and what keeping its vectors saves.

Φ: the embedded classifier, the embedded language model's own states (``base_model``), and CROWD_EMBEDDER where it is set.

* ``auc``: probability that a text of the wanted kind lies closer to the target, the centroid of 100 others of its kind, than
  another text; means over kinds. Of the embedded forum the kinds are moods, of GoEmotions (CROWD_REFERENCE_DATA) the emotions of
  comments that have one only; ``kinds`` compares one with the others, ``off_topic`` and ``spam`` with such texts of the forum's.
  ``centred``: against the target less the mean of all, which takes out what texts have in common.
* ``seconds``: 256 comments embedded in one call ``fresh``, with an empty cache (``cold``) and out of the cache (``warm``, a file
  of 20,000 vectors); medians of five.

Belongs here: measuring. Does not belong here: whether vectors are right (see the tests).
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks import WALL, finish, options, say, seconds
from benchmarks.train_candidates import seed_language_model
from crowd_assets.experiments.study import reference_folder
from crowd_assets.forum import comments as forum
from crowd_assets.mechanisms.target import distances
from crowd_assets.simulation.comment_models import FILES, read_comments
from resources.build import build_resources
from resources.models.embedder import EmbedderResource
from resources.models.embedding_cache import EmbeddingCache
from resources.settings.models import BASE_MODEL
from resources.settings.resource import CrowdSettings

IN_A_TARGET = 100
TIMED_TEXTS = 256
TEXTS_IN_CACHE = 20_000
REPETITIONS = 5


def auc(near: NDArray[np.float64], far: NDArray[np.float64]) -> float:
    """Probability that one of ``near`` is below one of ``far``, ties counted half."""
    ranks = rankdata(np.concatenate([near, far]))[: near.size]
    return float(1 - (ranks.sum() - near.size * (near.size + 1) / 2) / (near.size * far.size))


def told_apart(
    vectors: NDArray[np.float64], kinds: NDArray[np.str_], others: dict[str, NDArray[np.float64]], *, centred: bool
) -> dict[str, float]:
    """Mean AUC over all kinds with texts enough: of a kind against the other kinds, and against each of ``others``."""
    found: dict[str, list[float]] = {name: [] for name in ("kinds", *others)}
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        if len(rows) < 1.5 * IN_A_TARGET:
            continue
        target = vectors[rows[:IN_A_TARGET]].mean(axis=0) - (vectors.mean(axis=0) if centred else 0)
        near = distances(vectors[rows[IN_A_TARGET:]], target)
        found["kinds"].append(auc(near, distances(vectors[kinds != kind], target)))
        for name, of_others in others.items():
            found[name].append(auc(near, distances(of_others, target)))
    return {name: round(float(np.mean(values)), 3) for name, values in found.items()}


def both(
    vectors: NDArray[np.float64], kinds: Sequence[str], others: dict[str, NDArray[np.float64]]
) -> dict[str, object]:
    """As a target is, and less what ordinary texts have in common."""
    plain, centred = (told_apart(vectors, np.array(kinds), others, centred=centred) for centred in (False, True))
    return {**plain, "centred": centred}


def timed(embedder: EmbedderResource, texts: list[str], folder: Path) -> dict[str, float]:
    """Seconds of one call: without a cache, with an empty one, and out of a full one."""
    taken: dict[str, list[float]] = {"fresh": [], "cold": [], "warm": []}
    with_cache = embedder.model_copy(update={"cache": str(folder / "embeddings.sqlite")})
    dimensions = embedder.embed(texts).shape[1]  # loads the model, too
    for _ in range(REPETITIONS):
        Path(with_cache.cache).unlink(missing_ok=True)
        taken["fresh"].append(seconds(WALL, lambda: embedder.embed(texts))[0])
        taken["cold"].append(seconds(WALL, lambda: with_cache.embed(texts))[0])
    cache = EmbeddingCache(Path(with_cache.cache), embedder.identity, 2**40)
    cache.embed([str(number) for number in range(TEXTS_IN_CACHE)], lambda rows: np.zeros((len(rows), dimensions)))
    taken["warm"] = [seconds(WALL, lambda: with_cache.embed(texts))[0] for _ in range(REPETITIONS)]
    return {name: round(statistics.median(values), 4) for name, values in taken.items()}


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its JSON line."""
    given = options(__doc__, argv)
    seed_language_model()
    settings = CrowdSettings.from_environment()
    rng = np.random.default_rng(given.seed)
    comments = forum.write_comments(2_000 if given.quick else 3_000, rng)
    off_topic, spam = ([write(rng) for _ in range(300)] for write in (forum.off_topic_text, forum.spam_text))
    real: list[tuple[str, str]] = []
    if not given.quick and all((reference_folder() / name).exists() for name in FILES):
        texts, emotions, _ = read_comments(str(reference_folder()))
        single = [(text, labels[0]) for text, labels in zip(texts, emotions, strict=True) if len(labels) == 1]
        real = [single[index] for index in rng.permutation(len(single))[:6_000]]
    figures: dict[str, object] = {}
    for name in dict.fromkeys(("", BASE_MODEL, settings.embedder)):
        embedder: EmbedderResource = build_resources(settings.changed(embedder=name)).embedder
        embedder = embedder.model_copy(update={"cache": ""})
        with tempfile.TemporaryDirectory() as folder:
            taken = timed(embedder, [comment.response for comment in comments[:TIMED_TEXTS]], Path(folder))
        others = {"off_topic": embedder.embed(off_topic), "spam": embedder.embed(spam)}
        vectors = embedder.embed([comment.response for comment in comments])
        found = {"seconds": taken, "auc_forum": both(vectors, [comment.mood for comment in comments], others)}
        if real:
            vectors = embedder.embed([text for text, _ in real])
            found["auc_goemotions"] = both(vectors, [emotion for _, emotion in real], others)
        shown = {"": "seed_classifier", BASE_MODEL: BASE_MODEL}.get(name, "embedder")
        figures[shown] = found
        say(f"{shown}: {found}")
    finish(
        figures,
        {"embedder": settings.embedder, "texts": TIMED_TEXTS, "real_comments": len(real), "seed": given.seed},
        "torch",
        "transformers",
    )


if __name__ == "__main__":
    main()
