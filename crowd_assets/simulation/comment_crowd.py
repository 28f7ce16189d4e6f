"""Crowds that fine-tune a model of real comments towards one emotion, and the arms that learn from the same comments.

Belongs here: contributors made from real comments, one arm's training from first base to last.
Does not belong here: how the two models came about (see ``comment_models``), figures (see
``crowd_assets.experiments.selection``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crowd_assets.forum.comments import spam_text
from crowd_assets.mechanisms.estimates import recovered_vectors
from crowd_assets.mechanisms.groupings.base import Entrants, members_of
from crowd_assets.mechanisms.groupings.table import GROUPINGS
from crowd_assets.mechanisms.payouts import rank_points
from crowd_assets.mechanisms.target import distances, nearest_centroid
from crowd_assets.simulation.comment_models import PROMPT, read_comments

NEIGHBOURS = 100
KINDS = ("on_target",) * 12 + ("off_topic",) * 4 + ("spam",) * 4 + ("adversarial",) * 4
FARTHEST = 2000  # comments that adversaries draw from
POOL = 36  # comments that a contributor draws from
EACH = 12  # comments of a contributor in a round
LONGEST_GENERATION = 24  # tokens
LONGEST_ROW = 40  # tokens
BATCH = 16
RANK, ALPHA = 8, 16
SETTLING = (0.5, 0.25)  # of the learning rate, in the last rounds

State = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """What a crowd works towards: the centroid of the neighbourhood of one emotion's strongest comment.

    ``vector`` (28,), ``neighbours`` (100,) numbers of comments, ``away`` (n,) distance of every comment, ``floor`` the
    neighbourhood's own mean distance.
    """

    vector: NDArray[np.float64]
    neighbours: NDArray[np.int64]
    away: NDArray[np.float64]
    floor: float


class Workshop:
    """Both models of comments in memory: trains, merges, generates and measures. Weights are a state dict."""

    def __init__(self, models: str, data: str) -> None:
        from resources.training.embedding import load_embedder
        from resources.training.loading import load, use_threads

        use_threads(1)
        self.language_model = load(str(Path(models, "language_model")), [])
        self.embedder = load_embedder(str(Path(models, "classifier")))
        self.base: State = {name: value.clone() for name, value in self.language_model.model.state_dict().items()}
        self.texts, self.labels, self.emotions = read_comments(data)
        self.vectors = np.load(Path(models, "vectors.npy"), allow_pickle=False).astype(np.float64)

    def goal(self, emotion: str) -> Goal:
        """The target of ``emotion``, with k = 100 neighbours."""
        vector, neighbours = nearest_centroid(self.vectors, self.vectors[:, self.emotions.index(emotion)], NEIGHBOURS)
        away = distances(self.vectors, vector)
        return Goal(vector, neighbours, away, float(away[neighbours].mean()))

    def train(
        self, state: State, rows: Sequence[str], *, steps: int, learning_rate: float, seed: int, batch_size: int = BATCH
    ) -> State:
        """Weights after ``steps`` steps of one LoRA adapter on ``rows``, merged into ``state``."""
        import torch

        from resources.training.loading import LanguageModel, seeded
        from resources.training.prompting import batch, tokenise
        from resources.training.supervised import AdapterConfig, new_adapter, optimise

        here = self.language_model
        here.model.load_state_dict(state)
        pad = int(here.tokenizer.pad_token_id)
        tokens = [tokenise(here.tokenizer, PROMPT, row, LONGEST_ROW) for row in rows]
        config = AdapterConfig(learning_rate, 1, batch_size, RANK, ALPHA, LONGEST_ROW)
        with seeded(seed):
            generator = torch.Generator().manual_seed(seed)
            order: list[int] = []
            while len(order) < steps * batch_size:
                order += torch.randperm(len(rows), generator=generator).tolist()
            batches = [order[at * batch_size : (at + 1) * batch_size] for at in range(steps)]
            model = new_adapter(LanguageModel(here.model, here.tokenizer, here.device), config)

            def loss_of(chosen: list[int]) -> float:
                loss = model(**batch([tokens[index] for index in chosen], pad, here.device)).loss
                loss.backward()
                return float(loss.detach())

            optimise(model, batches, loss_of, config, lambda step, of, loss: None)
            merged = model.merge_and_unload()
        return {name: value.detach().clone() for name, value in merged.state_dict().items()}

    def write(self, state: State, samples: int, seed: int) -> NDArray[np.float64]:
        """Φ of ``samples`` texts that a model writes: (samples, 28)."""
        from resources.training.generation import generate

        self.language_model.model.load_state_dict(state)
        self.language_model.model.eval()
        (texts,) = generate(
            self.language_model,
            [PROMPT] * samples,
            max_new_tokens=LONGEST_GENERATION,
            temperature=1.0,
            seed=seed,
        )
        return self.embedder.embed(texts)


@lru_cache(maxsize=1)
def workshop(models: str, data: str) -> Workshop:
    """The workshop of this process."""
    return Workshop(models, data)


@dataclass(frozen=True)
class Crowd:
    """Contributors with a stream of comments each: ``pools[i]`` is what contributor i draws from, ``kinds[i]`` the truth."""

    pools: list[list[str]]
    kinds: tuple[str, ...]
    seed: int

    def contributions(self, round_no: int) -> list[list[str]]:
        """What every contributor hands in in one round: 12 comments of its pool."""
        rng = np.random.default_rng([self.seed, round_no, 1])
        return [[pool[int(index)] for index in rng.choice(len(pool), EACH, replace=False)] for pool in self.pools]


def open_crowd(shop: Workshop, goal: Goal, emotion: str, seed: int) -> Crowd:
    """24 contributors: half draw from the target's neighbourhood, the others from another emotion each, advertising, or
    what lies farthest from the target."""
    rng = np.random.default_rng([seed, 2])
    far = np.argsort(-goal.away)[:FARTHEST]
    pools = []
    for kind in KINDS:
        if kind == "on_target":
            chosen = [shop.texts[i] for i in rng.choice(goal.neighbours, POOL, replace=False)]
        elif kind == "off_topic":
            other = rng.choice([name for name in shop.emotions if name != emotion])
            of_it = [i for i, labels in enumerate(shop.labels) if other in labels and emotion not in labels]
            chosen = [shop.texts[i] for i in rng.choice(of_it, POOL, replace=len(of_it) < POOL)]
        elif kind == "spam":
            chosen = [spam_text(rng) for _ in range(POOL)]
        else:
            chosen = [shop.texts[i] for i in rng.choice(far, POOL, replace=False)]
        pools.append(chosen)
    return Crowd(pools, KINDS, seed)


def crowd_cell(
    *,
    data: str,
    models: str,
    emotion: str,
    arm: str,
    rounds: int,
    budget: int,
    samples: int,
    report_samples: int,
    learning_rate: float,
    seed: int,
) -> Any:
    """One arm's target distance on fresh generations, and its course.

    Args:
        arm: ``single`` (one model on everybody's comments of all rounds), ``oracle`` (one model on those of contributors who
            are on target), ``rank`` (the paper's: 6 groups, ε-greedy by rank points) or ``nested`` (ours).
        budget: Training steps in all, the same for every arm.
        samples, report_samples: Generations that a model is chosen on and reported on.
    """
    shop = workshop(models, data)
    goal = shop.goal(emotion)
    crowd = open_crowd(shop, goal, emotion, seed)
    course: list[dict[str, Any]] = []
    if arm in ("single", "oracle"):
        rows = [
            row
            for round_no in range(rounds)
            for kind, mine in zip(crowd.kinds, crowd.contributions(round_no), strict=True)
            if arm == "single" or kind == "on_target"
            for row in mine
        ]
        state = shop.train(shop.base, rows, steps=budget, learning_rate=learning_rate, seed=seed)
    else:
        run = _rank if arm == "rank" else _nested
        state, course = run(shop, goal, crowd, rounds, budget // rounds, samples, learning_rate)
    away = distances(shop.write(state, report_samples, seed + 999_983), goal.vector)
    start = distances(shop.write(shop.base, report_samples, seed + 999_983), goal.vector)
    return {
        "distance": float(away.mean()),
        "standard_error": float(away.std(ddof=1) / np.sqrt(away.size)),
        "base_distance": float(start.mean()),
        "floor": goal.floor,
        "course": course,
    }


def _rank(
    shop: Workshop, goal: Goal, crowd: Crowd, rounds: int, steps: int, samples: int, learning_rate: float
) -> tuple[State, list[dict[str, Any]]]:
    """Crowd-SFT: 6 groups, ε-greedy by rank points; the best candidate is the next base if it improves on the last."""
    groups, state, points = 6, shop.base, np.ones(len(crowd.kinds))
    course = []
    for t in range(rounds):
        rng = np.random.default_rng([crowd.seed, t, 3])
        group = GROUPINGS["epsilon_greedy"].assign(Entrants(points, groups, round_no=t + 1, rounds=rounds), rng)
        rows = crowd.contributions(t)
        draws = crowd.seed * 1000 + t
        base = float(distances(shop.write(state, samples, draws), goal.vector).mean())
        states = [
            shop.train(
                state,
                [row for who in np.flatnonzero(group == j) for row in rows[who]],
                steps=steps // groups,
                learning_rate=learning_rate,
                seed=draws * 10 + j,
            )
            for j in range(groups)
        ]
        reached = np.array([distances(shop.write(found, samples, draws), goal.vector).mean() for found in states])
        if reached.min() < base:
            points = points + rank_points(reached, group)
            state = states[int(reached.argmin())]
        course.append({"base": base, "distances": reached.tolist()})
    return state, course


def _nested(
    shop: Workshop, goal: Goal, crowd: Crowd, rounds: int, steps: int, samples: int, learning_rate: float
) -> tuple[State, list[dict[str, Any]]]:
    """Ours: candidates are nested by the estimate of where each contributor takes a model in Φ.

    The estimate is that of surrogate points: candidates' embeddings regressed on who trained them, with what
    contributors wrote as the prior. In the first two rounds two candidates share the steps, one of fewer and one of more
    contributors, and the better one's size is the next centre; then one candidate has them all. Contributors below the cut are
    benched until their estimate rises. A candidate is the next base unless it is worse by more than its standard error, and
    every comment that its contributors handed in so far is trained on.
    """
    n, state = len(crowd.kinds), shop.base
    shares: list[NDArray[np.float64]] = []
    means: list[NDArray[np.float64]] = []
    bases: list[NDArray[np.float64]] = []
    at: list[int] = []
    comments: list[list[str]] = [[] for _ in range(n)]
    written: list[list[NDArray[np.float64]]] = [[] for _ in range(n)]
    size, course = n // 2, []
    for t in range(rounds):
        rng = np.random.default_rng([crowd.seed, t, 3])
        for who, rows in enumerate(crowd.contributions(t)):
            comments[who] += rows
            written[who] += list(shop.embedder.embed(rows))
        prior = np.array([np.mean(vectors, axis=0) for vectors in written])
        vectors = prior
        if at:
            vectors = recovered_vectors(
                np.array(shares), np.array(means), np.array(at), np.array(bases), prior=prior
            ).vectors
        away = distances(vectors, goal.vector)
        first = GROUPINGS["nested"].assign(Entrants(-away, groups=2 if t < 2 else 1, centre=size / n), rng)
        candidates = [
            np.flatnonzero(members)[np.argsort(away[members], kind="stable")]
            for members in members_of(first, partition=False)
        ]
        settling = t - (rounds - len(SETTLING))
        peak = learning_rate * (SETTLING[settling] if settling >= 0 else 1.0)
        draws = crowd.seed * 1000 + t
        found = shop.write(state, samples, draws)
        base = distances(found, goal.vector)
        bases.append(found.mean(axis=0))
        states, reached, errors = [], [], []
        for j, members in enumerate(candidates):
            states.append(
                shop.train(
                    state,
                    [row for who in members for row in comments[who]],
                    steps=steps // len(candidates),
                    learning_rate=peak,
                    seed=draws * 10 + j,
                )
            )
            found = shop.write(states[-1], samples, draws)
            off = distances(found, goal.vector)
            reached.append(float(off.mean()))
            errors.append(float(off.std(ddof=1) / np.sqrt(samples)))
            share = np.zeros(n)
            share[members] = 1.0 / len(members)
            shares.append(share)
            means.append(found.mean(axis=0))
            at.append(t)
        best = int(np.argmin(reached))
        if reached[best] <= base.mean() + errors[best]:
            state, size = states[best], len(candidates[best])
        trained = [crowd.kinds[who] for who in candidates[best]]
        course.append(
            {
                "base": float(base.mean()),
                "distances": reached,
                "sizes": [len(members) for members in candidates],
                "on_target": trained.count("on_target") / len(trained),
            }
        )
    return state, course


def paper_cell(
    *,
    data: str,
    models: str,
    emotion: str,
    samples: int,
    report_samples: int,
    steps: int,
    learning_rate: float,
    seed: int,
) -> Any:
    """Crowd-SFT's first experiment for one emotion: 100 neighbours, 3 iterations of 3 segments.

    *multi*: in each iteration the neighbours are split into three segments, a candidate trains on each, and the nearest to the
    target on 50 generations is the next base if it improves. *single* trains on one segment after the other; *single_same_compute*
    takes as many steps as all candidates of *multi* together.

    Args:
        steps: Training steps on a segment.

    Returns:
        for every arm the distance on the generations it was chosen on and on fresh ones.
    """
    shop = workshop(models, data)
    goal = shop.goal(emotion)
    neighbours = [shop.texts[index] for index in goal.neighbours]

    def segments(iteration: int) -> list[list[str]]:
        order = np.random.default_rng([seed, iteration, 4]).permutation(len(neighbours))
        return [[neighbours[index] for index in part] for part in np.array_split(order, 3)]

    def away(state: State, count: int, draws: int) -> float:
        return float(distances(shop.write(state, count, draws), goal.vector).mean())

    def fine_tune(state: State, rows: list[str], count: int, number: int) -> State:
        return shop.train(
            state, rows, steps=count, learning_rate=learning_rate, seed=seed * 1000 + number, batch_size=BATCH // 2
        )

    multi, single, longer = shop.base, shop.base, shop.base
    chosen_on = away(multi, samples, seed)
    for iteration in range(3):
        draws = seed * 10 + iteration
        candidates = [fine_tune(multi, rows, steps, 10 * iteration + j) for j, rows in enumerate(segments(iteration))]
        reached = [away(candidate, samples, draws) for candidate in candidates]
        base = away(multi, samples, draws)
        chosen_on = min(base, *reached)
        if min(reached) < base:
            multi = candidates[int(np.argmin(reached))]
        single = fine_tune(single, segments(0)[iteration], steps, 100 + iteration)
        longer = fine_tune(longer, segments(0)[iteration], 3 * steps, 200 + iteration)
    fresh = seed + 999_983
    return {
        "base": away(shop.base, report_samples, fresh),
        "floor": goal.floor,
        "single": away(single, report_samples, fresh),
        "single_on_selection": away(single, samples, seed * 10 + 2),
        "single_same_compute": away(longer, report_samples, fresh),
        "multi": away(multi, report_samples, fresh),
        "multi_on_selection": chosen_on,
    }
