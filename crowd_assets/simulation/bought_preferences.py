"""Models trained on judgements that were bought: real workers' prices and accuracies, pairs of the embedded forum.

Belongs here: the pairs, who judges them, one training run. Does not belong here: who buys what (see ``market``).

Two comments are on one topic, the better one in the mood that is wanted, the other in any other mood; the model has to learn
from judgements which mood that is. Workers judge as accurately as in UKPConvArg1, for the seconds they took there.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from crowd_assets.forum import comments as forum
from crowd_assets.mechanisms.preferences import quality_gap_weights
from crowd_assets.simulation.market import learn, population, purchase
from resources.common.progress import throttled

WANTED = "gratitude"
OFFERS = 400
HELD_OUT = 300
COMMENTS = 10_000
MOST_CERTAIN = 0.98


def train_forum_model(folder: Path, *, seed: int, say: Callable[[str], None]) -> None:
    """A small language model of the forum, for ``folder``: the root that every training run starts from."""
    from resources.training.seed.common import train_seed_language_model

    comments = forum.write_comments(COMMENTS, np.random.default_rng(seed))
    train_seed_language_model(
        [(comment.prompt, comment.response) for comment in comments],
        folder,
        seed=seed,
        progress=throttled("language model of the forum", say),
        threads=1,
    )


def pairs(count: int, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """``count`` of (title, better comment, worse comment)."""
    chosen = []
    others = [mood for mood in forum.MOODS if mood != WANTED]
    for _ in range(count):
        topic = forum.TOPICS[int(rng.integers(len(forum.TOPICS)))]
        better = forum.write_comment(WANTED, topic, rng)
        worse = forum.write_comment(others[int(rng.integers(len(others)))], topic, rng)
        chosen.append((better.prompt, better.response, worse.response))
    return chosen


def training_cell(
    *, data: str, model: str, mechanism: str, weighted: Sequence[bool], share: float, seed: int, epochs: int = 6
) -> Any:
    """Accuracy on held-out pairs after DPO and QA-DPO on the judgements that ``mechanism`` bought.

    Args:
        weighted: Weightings to train with: False is DPO (every pair weighs the same), True QA-DPO, in which a pair weighs
            0.5 + σ(gap), its gap the log odds of the judging worker's verified accuracy.
        share: Budget as a share of the cost of all 400 judgements on sale.
        seed: Of the market, the pairs and the judgements: the same for every mechanism and share.
    """
    import tempfile

    from resources.training.alignment import PreferencePair, align, preference_accuracy
    from resources.training.loading import load, use_threads
    from resources.training.supervised import AdapterConfig

    use_threads(1)
    rng = np.random.default_rng([seed, 0])
    sellers = population("real", data, rng)
    market = sellers.draw(OFFERS, rng)
    on_sale = pairs(OFFERS, rng)
    luck = rng.random(OFFERS)
    held_out = [PreferencePair(*pair, 1.0) for pair in pairs(HELD_OUT, rng)]
    budget = int(share * OFFERS * sellers.cost.mean())
    buying = np.random.default_rng([seed, 1])
    bought = purchase(mechanism, market, budget, _learned(data, budget), buying)
    judged = np.flatnonzero(bought.awarded)
    right = luck[judged] < (1.0 + market.quality[judged]) / 2.0
    verified = np.minimum((1.0 + market.value[judged] / 1_000_000) / 2.0, MOST_CERTAIN)
    odds = np.log(verified / (1.0 - verified))
    accuracies = []
    for quality_aware in weighted:
        weights = quality_gap_weights(odds / 2.0, -odds / 2.0) if quality_aware else np.ones(judged.size)
        rows = [
            PreferencePair(title, *((better, worse) if correct else (worse, better)), float(weight))
            for (title, better, worse), correct, weight in zip(
                (on_sale[index] for index in judged), right, weights, strict=True
            )
        ]
        start = load(model, [])
        if rows:
            config = AdapterConfig(learning_rate=5e-3, epochs=epochs, batch_size=16, rank=8, alpha=16, max_tokens=64)
            with tempfile.TemporaryDirectory() as folder:
                align(start, rows, Path(folder), parent="forum", config=config, beta=0.1, seed=seed)
                trained = load(model, [Path(folder)])
        else:
            trained = start
        accuracies.append(preference_accuracy(trained, held_out, 64))
    return {
        "spent": bought.spent / 1_000_000,
        "budget": budget / 1_000_000,
        "bought": int(judged.size),
        "right": float(right.mean()) if judged.size else 0.0,
        "accuracies": accuracies,
    }


@lru_cache(maxsize=16)
def _learned(data: str, budget: int) -> Any:
    rng = np.random.default_rng(7)
    return learn(population("real", data, rng), OFFERS, budget, rng)
