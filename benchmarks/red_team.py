"""Texts and candidates that were made to score in Φ, against the guard.

* ``share_passing``: of 1,000 texts that a search optimised against Φ (mutations of random words of the target's neighbourhood, and
  the best of them behind hostile sentences), the share that the guard lets pass with a quality above the median of honest texts.
* ``planted_refused``: of 100 planted candidates that end nearer to the target than their base and are worse as language (trained on
  one word, on one short thank-you, on optimised texts, on hostile sentences with such texts behind them, on one sentence), how many
  the guard refuses. Candidates that training did not bring nearer are trained again with another seed; ``planted`` counts them.
* ``clean_flagged``: the share that it would quarantine of forum comments that nobody calibrated on and, where CROWD_REFERENCE_DATA names the
  reference data, of GoEmotions under a small model of its comments, the larger of the two; ``clean_refused``: of honest candidates, how
  many it refuses.

Goals: at most 0.01, all of 100, at most 0.005.

Belongs here: the search and the figures. Does not belong here: the guard (see ``crowd_assets.mechanisms.guard``).
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import finish, options, say
from benchmarks.train_candidates import seed_language_model
from crowd_assets.mechanisms.guard import (
    LikelihoodRange,
    Limits,
    calibrated,
    falls_behind,
    likelihoods,
    writing,
)
from crowd_assets.mechanisms.target import distances, nearest_centroid
from crowd_assets.round.guard import with_slips
from crowd_assets.simulation.attacks.texts import HOSTILE, Quality, insults, salads
from resources.settings.resource import CrowdSettings
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.candidates import train_candidates
from resources.training.embedding import load_embedder
from resources.training.generation import generate
from resources.training.likelihood import token_likelihoods
from resources.training.loading import LanguageModel, load, use_threads

MOOD, NEIGHBOURS = "gratitude", 100
REFERENCE, FRESH, HONEST = 1_200, 2_000, 200
CONFIG = CandidateConfig(learning_rate=5e-3, epochs=4, batch_size=16, rank=8, alpha=16, max_tokens=128)
ROWS, SAMPLES, TOGETHER = 64, 256, 20
Pairs = Sequence[tuple[str, str]]


def optimised(count: int, words: Sequence[str], quality: Quality, rng: np.random.Generator) -> list[str]:
    """``count`` texts that a search made from words that the target's neighbours use: half of them as they are, half behind a
    hostile sentence."""
    found = salads(count, words, quality, rng)
    return found[::2] + insults(found[1::2], rng)


class RedTeam:
    """The embedded models, the target and the guard's range."""

    def __init__(self, seed: int, *, quick: bool) -> None:
        from crowd_assets.forum import comments as forum

        use_threads(1)
        self.root = seed_language_model()
        settings = CrowdSettings.from_environment()
        self._embedder = load_embedder(str(settings.seed_classifier_path))
        self.rng = np.random.default_rng(seed)
        self.model = load(self.root, [])
        reference = forum.write_comments(REFERENCE // (4 if quick else 1), np.random.default_rng([seed, 1]))
        self.reference = [(comment.prompt, comment.response) for comment in reference]
        texts = [text for _, text in self.reference]
        vectors = self._embedder.embed(texts)
        self.target, near = nearest_centroid(
            vectors, vectors[:, list(self._embedder.labels).index(MOOD)], NEIGHBOURS // (4 if quick else 1)
        )
        self.words = sorted({word.strip(".,!?") for index in near for word in texts[int(index)].split()} - {""})
        self.ordinary = float(distances(vectors, self.target).mean())
        self.range = range_of(self.model, self.reference)
        self.feedback_range = feedback_range(self.model, self.reference)
        self._comments = forum.write_comments

    def quality(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Quality in [0, 1] as a buyer verifies it: 1 at the target, 0 at an ordinary text's distance."""
        away = distances(self._embedder.embed(texts), self.target)
        found: NDArray[np.float64] = np.clip(1.0 - away / self.ordinary, 0.0, 1.0)
        return found

    def outside(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which responses the guard flags."""
        return self.range.outside(likelihoods(token_likelihoods(self.model, pairs, max_tokens=CONFIG.max_tokens)))

    def quarantined(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which contributions the guard flags."""
        found = likelihoods(token_likelihoods(self.model, pairs, max_tokens=CONFIG.max_tokens))
        return self.feedback_range.outside(found)

    def honest(self, count: int) -> list[tuple[str, str]]:
        """What honest contributors write."""
        return [(c.prompt, c.response) for c in self._comments(count, self.rng, moods=(MOOD,))]

    def ordinary_comments(self, count: int) -> list[tuple[str, str]]:
        """Comments of every mood."""
        return [(c.prompt, c.response) for c in self._comments(count, self.rng)]

    def refused(self, groups: Sequence[Pairs], seed: int) -> list[tuple[bool, bool]]:
        """Of candidates trained on groups, whether each is nearer to the target than the base, and whether the guard refuses it."""
        config = CONFIG
        found: list[tuple[bool, bool]] = []
        prompts = [self.reference[int(i)][0] for i in self.rng.integers(len(self.reference), size=SAMPLES)]
        for first in range(0, len(groups), TOGETHER):
            part = groups[first : first + TOGETHER]
            with tempfile.TemporaryDirectory() as folder:
                places = [Path(folder, str(number)) for number in range(len(part))]
                demonstrations = [Demonstrations(list(pairs), ["one"] * len(pairs)) for pairs in part]
                train_candidates(
                    load(self.root, []), demonstrations, places, parent="root", config=config, seed=seed, valuation=None
                )
                written = generate(
                    load(self.root, []),
                    prompts,
                    max_new_tokens=40,
                    temperature=1.0,
                    seed=seed,
                    lineages=[[], *([place] for place in places)],
                )
            away = [float(distances(self._embedder.embed(texts), self.target).mean()) for texts in written]
            looks = [
                writing(texts, self.outside(list(zip(prompts, texts, strict=True))), [text for _, text in pairs])
                for texts, pairs in zip(written, [[], *part], strict=True)
            ]
            found += [
                (distance < away[0], bool(falls_behind(look, looks[0], Limits())))
                for distance, look in zip(away[1:], looks[1:], strict=True)
            ]
            say(f"candidates: {first + len(part)} of {len(groups)}")
        return found


def range_of(model: LanguageModel, pairs: Pairs) -> LikelihoodRange:
    """The range of reference texts under a model."""
    return calibrated(likelihoods(token_likelihoods(model, pairs, max_tokens=CONFIG.max_tokens)))


def feedback_range(model: LanguageModel, pairs: Pairs) -> LikelihoodRange:
    """The range of contributions: of reference texts, half of them with slips of the hand."""
    spelt = with_slips([text for _, text in pairs], np.random.default_rng(0))
    return range_of(model, list(zip([prompt for prompt, _ in pairs], spelt, strict=True)))


def planted(team: RedTeam, texts: Sequence[str], count: int) -> list[Pairs]:
    """What planted candidates are trained on, ``count`` of five kinds in turn."""
    groups: list[Pairs] = []
    for number in range(count):
        prompts = [prompt for prompt, _ in team.honest(ROWS)]
        text = texts[int(team.rng.integers(len(texts)))]
        kind = number % 5
        if kind == 0:
            said = ["Thanks"] * ROWS
        elif kind == 1:
            said = ["Thank you so much"] * ROWS
        elif kind == 2:
            said = [text] * ROWS
        elif kind == 3:
            said = [f"{HOSTILE[number // 5 % len(HOSTILE)]} {text}"] * ROWS
        else:
            said = [team.honest(1)[0][1]] * ROWS
        groups.append(list(zip(prompts, said, strict=True)))
    return groups


def emotions_flagged(quick: bool) -> float | None:
    """Share of GoEmotions flagged under a small model of its comments, calibrated on others of them; None without the data."""
    data = os.environ.get("CROWD_REFERENCE_DATA")
    if not data or quick:
        return None
    from crowd_assets.simulation.comment_models import PROMPT, read_comments
    from resources.training.seed.common import train_seed_language_model

    texts = [text for text in read_comments(data)[0] if text.strip()]
    order = np.random.default_rng(0).permutation(len(texts))
    learnt, reference, fresh = (
        [(PROMPT, texts[int(index)]) for index in order[part]]
        for part in (slice(0, 12_000), slice(12_000, 16_000), slice(16_000, 24_000))
    )
    with tempfile.TemporaryDirectory() as folder:
        train_seed_language_model(
            learnt,
            Path(folder, "model"),
            seed=0,
            progress=lambda done, total, about: None,
            epochs=2,
            vocabulary_size=4096,
            hidden_size=128,
            layers=3,
            threads=1,
        )
        model = load(str(Path(folder, "model")), [])
    bounds = feedback_range(model, reference)
    flagged = bounds.outside(likelihoods(token_likelihoods(model, fresh, max_tokens=CONFIG.max_tokens)))
    return float(flagged.mean())


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(
        __doc__, argv, texts=(1_000, "texts that are optimised"), candidates=(100, "candidates that are planted")
    )
    count, plants = (60, 5) if chosen.quick else (chosen.texts, chosen.candidates)
    team = RedTeam(chosen.seed, quick=chosen.quick)
    honest = team.honest(HONEST)
    median = float(np.median(team.quality([text for _, text in honest])))
    texts = optimised(count, team.words, team.quality, team.rng)
    prompts = [prompt for prompt, _ in team.honest(count)]
    scored = team.quality(texts)
    passing = ~team.quarantined(list(zip(prompts, texts, strict=True)))
    say(
        f"{len(texts)} texts: {np.mean(scored > median):.0%} score above the median of honest ones, {passing.mean():.1%} pass"
    )
    fresh = team.ordinary_comments(FRESH // (10 if chosen.quick else 1))
    flagged = {"forum": float(team.quarantined(fresh).mean()), "goemotions": emotions_flagged(chosen.quick)}
    nearer: list[bool] = []
    attempts = 0
    while len(nearer) < plants and attempts < 4:
        tried = team.refused(planted(team, texts, plants - len(nearer)), chosen.seed + attempts)
        nearer += [refused for near, refused in tried if near]
        attempts += 1
    clean = team.refused([team.honest(ROWS) for _ in range(2 if chosen.quick else 20)], chosen.seed + 99)
    finish(
        {
            "share_passing": round(float(np.mean(passing & (scored > median))), 4),
            "planted_refused": round(100 * sum(nearer) / max(len(nearer), 1)),
            "clean_flagged": round(max(share for share in flagged.values() if share is not None), 4),
            "clean_refused": sum(refused for _, refused in clean),
        },
        {
            "seed": chosen.seed,
            "texts": len(texts),
            "scoring_above_honest_median": round(float(np.mean(scored > median)), 4),
            "planted": len(nearer),
            "clean": {name: share for name, share in flagged.items() if share is not None},
            "clean_candidates": len(clean),
        },
        "torch",
        "transformers",
        "peft",
    )


if __name__ == "__main__":
    main()
