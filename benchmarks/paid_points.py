"""What is paid, against exact Shapley values of the target distance from retrained coalitions, with the real trainer.

Contributors of the forum (two on target, one half so, one of any mood, one of the opposite mood, one off topic; in the full run a spammer
and one more on target) write sixteen demonstrations each. Every coalition trains a candidate as a round would, and is worth by how much
its generations come closer to the target than the root's: the exact Shapley values of these worths are the reference. An epoch of
three rounds splits the contributors into groups of two at random and starts from the root each time, so that the reference holds for
all three; its candidates are trained and measured anew, with other seeds and prompts.

``pearson`` and ``spearman`` correlate the reference with what the default scheme pays less what a whole deposit answers for
(``harm``), mean over seeds; ``pearson_without_deposits`` with the points alone, which end at 0; ``by_scheme`` has the first for every
scheme. ``coverage`` is how often a contributor's estimate, less the mean, lies within 1.96 standard errors of its Shapley value, less the
mean, both in units of their spread over contributors.

Goal: Pearson at least 0.9.

Belongs here: retraining and correlating. Does not belong here: schemes (see ``crowd_assets.mechanisms.points_schemes``).
"""

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import finish, options, say
from benchmarks.train_candidates import seed_language_model
from crowd_assets.forum import comments as forum
from crowd_assets.forum.words import OPPOSITE
from crowd_assets.mechanisms.payouts import PayRules
from crowd_assets.mechanisms.points_schemes.base import Tournament, Withheld
from crowd_assets.mechanisms.points_schemes.table import POINTS_SCHEMES
from crowd_assets.mechanisms.shapley import exact_shapley
from crowd_assets.mechanisms.target import distances, nearest_centroid
from resources.settings.resource import CrowdSettings
from resources.training.candidate_runs import CandidateConfig, Demonstrations
from resources.training.candidates import train_candidates
from resources.training.embedding import Embedder, load_embedder
from resources.training.generation import generate
from resources.training.loading import load, use_threads

MOOD, NEIGHBOURS, REFERENCE = "gratitude", 100, 1_200
DEMONSTRATIONS, ROUNDS, GROUP = 16, 3, 2
TOGETHER = 16
CONFIG = CandidateConfig(learning_rate=5e-3, epochs=4, batch_size=16, rank=8, alpha=16, max_tokens=128)

Values = NDArray[np.float64]
Pairs = list[tuple[str, str]]


def crowd(players: int, rng: np.random.Generator) -> list[Pairs]:
    """What each of at most eight contributors writes."""

    def of(mood: str, count: int = DEMONSTRATIONS) -> Pairs:
        return [(c.prompt, c.response) for c in forum.write_comments(count, rng, moods=(mood,))]

    any_mood = [(c.prompt, c.response) for c in forum.write_comments(DEMONSTRATIONS, rng)]
    found = [
        of(MOOD),
        of(MOOD),
        of(MOOD, DEMONSTRATIONS // 2) + of("anger", DEMONSTRATIONS // 2),
        any_mood,
        of(OPPOSITE[MOOD]),
        [(prompt, forum.off_topic_text(rng)) for prompt, _ in of(MOOD)],
        [(prompt, forum.spam_text(rng)) for prompt, _ in of(MOOD)],
        of(MOOD),
    ]
    return found[:players]


@cache
def _target() -> tuple[Embedder, Values]:
    """Φ and the target in it, the same for every crowd."""
    embedder = load_embedder(str(CrowdSettings.from_environment().seed_classifier_path))
    vectors = embedder.embed([c.response for c in forum.write_comments(REFERENCE, np.random.default_rng(1))])
    return embedder, nearest_centroid(vectors, vectors[:, list(embedder.labels).index(MOOD)], NEIGHBOURS)[0]


class Game:
    """One crowd, the root and the target."""

    def __init__(self, players: int, seed: int, samples: int) -> None:
        rng = np.random.default_rng([seed, 77])
        self.seed, self.samples, self.players = seed, samples, players
        self.root = seed_language_model()
        self.embedder, self.target = _target()
        self.written = crowd(players, rng)
        self.prompts = sorted({prompt for pairs in self.written for prompt, _ in pairs})

    def measured(self, coalitions: Sequence[Sequence[int]], purpose: int) -> tuple[Values, Values]:
        """Φ (m, samples, d) of what candidates of coalitions write, and (samples, d) of what the root writes, to the same prompts."""
        rng = np.random.default_rng([self.seed, purpose])
        asked = [self.prompts[int(index)] for index in rng.integers(len(self.prompts), size=self.samples)]
        found: list[Values] = []
        base: Values = np.zeros(0)
        for first in range(0, len(coalitions), TOGETHER):
            part = coalitions[first : first + TOGETHER]
            groups = [
                Demonstrations(
                    [pair for who in members for pair in self.written[who]],
                    [f"{who}" for who in members for _ in self.written[who]],
                )
                for members in part
            ]
            with tempfile.TemporaryDirectory() as folder:
                places = [Path(folder, str(number)) for number in range(len(part))]
                train_candidates(
                    load(self.root, []),
                    groups,
                    places,
                    parent="root",
                    config=CONFIG,
                    seed=self.seed * 100 + purpose,
                    valuation=None,
                )
                texts = generate(
                    load(self.root, []),
                    asked,
                    max_new_tokens=40,
                    temperature=1.0,
                    seed=self.seed * 100 + purpose,
                    lineages=[[], *([place] for place in places)],
                )
            vectors = [np.asarray(self.embedder.embed(written), dtype=np.float64) for written in texts]
            base = vectors[0]
            found += vectors[1:]
            say(f"seed {self.seed}, purpose {purpose}: {first + len(part)} of {len(coalitions)} candidates")
        return np.array(found), base

    def shapley(self) -> Values:
        """Exact values (N,) of the retrained game."""
        everybody = 2**self.players
        coalitions = [[who for who in range(self.players) if mask >> who & 1] for mask in range(1, everybody)]
        vectors, base = self.measured(coalitions, 5)
        away = np.array([distances(each, self.target).mean() for each in vectors])
        worths = np.concatenate([[0.0], distances(base, self.target).mean() - away])
        bits = 1 << np.arange(self.players)
        return exact_shapley(lambda masks: worths[masks @ bits], self.players).values

    def tournament(self) -> Tournament:
        """An epoch of rounds that all start from the root."""
        rng = np.random.default_rng([self.seed, 9])
        shares, values, errors, embeddings, bases, gains, gain_errors = [], [], [], [], [], [], []
        for number in range(ROUNDS):
            order = rng.permutation(self.players)
            groups = [order[at : at + GROUP].tolist() for at in range(0, self.players, GROUP)]
            vectors, base = self.measured(groups, 10 + number)
            away = np.array([distances(each, self.target) for each in vectors])
            here = distances(base, self.target)
            for members, found, off in zip(groups, vectors, away, strict=True):
                row = np.zeros(self.players)
                row[members] = 1 / len(members)
                shares.append(row)
                values.append(-off.mean())
                errors.append(off.std(ddof=1) / np.sqrt(off.size))
                embeddings.append(found.mean(axis=0))
            bases.append(base.mean(axis=0))
            gain = here - away[int(away.mean(axis=1).argmin())]
            gains.append(max(float(gain.mean()), 0.0))
            gain_errors.append(float(gain.std(ddof=1) / np.sqrt(gain.size)))
        written = [self.embedder.embed([text for _, text in pairs]).mean(axis=0) for pairs in self.written]
        return Tournament(
            tuple(str(who) for who in range(self.players)),
            tuple(f"r{number:06d}" for number in range(ROUNDS)),
            np.array(shares),
            np.array(values),
            np.array(errors),
            np.array(embeddings),
            np.repeat(np.arange(ROUNDS), len(values) // ROUNDS),
            np.array(bases),
            np.array(gains),
            np.array(gain_errors),
            np.array(gains) > 0,
            np.array(written, dtype=np.float64),
            np.full((ROUNDS, self.players), float(DEMONSTRATIONS)),
        )


def played(players: int, seed: int, samples: int) -> tuple[dict[str, dict[str, float]], float]:
    """Of every scheme the correlations of what it pays with the reference, and the default's coverage."""
    game = Game(players, seed, samples)
    reference, seen = game.shapley(), game.tournament()
    found: dict[str, dict[str, float]] = {}
    coverage = 0.0
    for name, scheme in POINTS_SCHEMES.items():
        known = scheme.standing(seen, game.target, np.random.default_rng(seed))
        withheld = Withheld(np.zeros(seen.demonstrations.shape), np.zeros(players, dtype=bool))
        paid = scheme.payouts(seen, known, 0, withheld, PayRules(by_work=True, conserved=True))
        points, harm = paid.points.sum(axis=0), paid.harm.sum(axis=0)
        found[name] = {
            "pearson": _pearson(points - harm, reference),
            "spearman": _pearson(_ranks(points - harm), _ranks(reference)),
            "without_deposits": _pearson(points, reference),
        }
        if name == CrowdSettings().points_scheme:
            spread = float(known.estimates.std())
            off = (known.estimates - known.estimates.mean()) / spread
            true = (reference - reference.mean()) / float(reference.std())
            coverage = float(np.mean(np.abs(off - true) <= 1.96 * known.standard_errors / spread))
    say(f"seed {seed}: " + ", ".join(f"{name} {figures['pearson']:.2f}" for name, figures in found.items()))
    return found, coverage


def _ranks(values: Values) -> Values:
    return np.argsort(np.argsort(values)).astype(np.float64)


def _pearson(values: Values, others: Values) -> float:
    """Correlation; 0 where either does not vary."""
    if not values.std() or not others.std():
        return 0.0
    return float(np.corrcoef(values, others)[0, 1])


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(
        __doc__,
        argv,
        players=(6, "contributors, at most 8"),
        seeds=(3, "crowds"),
        samples=(256, "generations a candidate"),
    )
    players, seeds, samples = (3, 1, 32) if chosen.quick else (chosen.players, chosen.seeds, chosen.samples)
    use_threads(1)
    games = [played(players, chosen.seed + number, samples) for number in range(seeds)]

    def mean(scheme: str, figure: str) -> float:
        return round(float(np.mean([found[scheme][figure] for found, _ in games])), 4)

    default = CrowdSettings().points_scheme
    finish(
        {
            "pearson": mean(default, "pearson"),
            "spearman": mean(default, "spearman"),
            "coverage": round(float(np.mean([coverage for _, coverage in games])), 4),
            "players": players,
            "pearson_without_deposits": mean(default, "without_deposits"),
            "by_scheme": {name: mean(name, "pearson") for name in POINTS_SCHEMES},
        },
        {"seeds": seeds, "coalitions": 2**players, "samples": samples, "seed": chosen.seed},
        "torch",
        "transformers",
        "peft",
    )


if __name__ == "__main__":
    main()
