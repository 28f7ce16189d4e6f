"""The centroid simulation: users are points, a group's candidate moves towards its members' centroid, one user is the target.

Belongs here: the dynamics of Crowd-SFT's second experiment, its users, its Shapley values, and the cells that are made of
them. Does not belong here: what is compared with what (see ``crowd_assets.experiments.points``).

Many runs are simulated side by side: every array has the runs as its first axis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crowd_assets.mechanisms.estimates import (
    ContributionEstimates,
    RecoveredVectors,
    contribution_estimates,
    recovered_vectors,
)
from crowd_assets.mechanisms.groupings.base import Entrants
from crowd_assets.mechanisms.groupings.table import GROUPINGS
from crowd_assets.mechanisms.payouts import PayRules, averaging_spread, epoch_payouts
from crowd_assets.mechanisms.shapley import Game, kernel_shapley
from crowd_assets.mechanisms.target import centroid_game, evaluate

RATINGS = "movielens/user_genre_mean_ratings.csv"
EVALUATIONS = {"l2_norm": "negative_l2", "l1_norm": "negative_l1", "dot_product": "dot_product"}
AUTHORS_GROUPINGS = ("random", "epsilon_greedy", "interleaved")
ROUNDS = 100
STEP = 0.1
SWAP = 0.05
HIGHEST_RATING = 5.0
ACCURATE = 20_000  # evaluations of the paired KernelSHAP with size control: correlation with the truth above 0.997
AUTHORS_EVALUATIONS = 10_000  # with which plain KernelSHAP comes out as noisy as the authors' reference
RANDOM_ROUNDS = 5
ROUNDS_BETWEEN_FITS = 2


@dataclass(frozen=True, slots=True)
class Pool:
    """What a run is drawn from: ``users`` (R, n, d), the ``expert`` (R, d) and where the model ``start`` s (R, d)."""

    users: NDArray[np.float64]
    expert: NDArray[np.float64]
    start: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Course:
    """What came of the simulation: ``distance`` (R,), L2 from the last model to the expert; ``points`` (R, n), of each user
    per round that it took part in; ``spread`` (R,), sd of the true values of a round's candidates, root mean square over
    rounds; ``value_noise`` (R,), sd of what is observed of a candidate's value about the truth."""

    distance: NDArray[np.float64]
    points: NDArray[np.float64]
    spread: NDArray[np.float64]
    value_noise: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to group and to pay.

    Attributes:
        points: ``rank``, ``regression`` or ``surrogate``.
        grouping: One of the grouping schemes, keyed on points for ``rank`` and on estimates otherwise.
        small: Size of all groups but one, in equal shares; see ``group_sizes``.
        evaluation: Of candidates, by its name in the authors' table.
    """

    points: str
    grouping: str
    small: float = 1.0
    evaluation: str = "l2_norm"


def ratings(data: str) -> NDArray[np.float64]:
    """Mean rating of every genre by every user, (610, 20), 0 where a user rated none of it."""
    return np.loadtxt(Path(data, RATINGS), delimiter=",", skiprows=1)[:, 1:]


def authors_pool(data: str, users: int, runs: int, seed: int) -> Pool:
    """The authors' users, the first ``users + 1`` of the file, of whom each run holds another one out as the expert."""
    known = ratings(data)[: users + 1]
    rng = np.random.default_rng([seed, users])
    experts = rng.integers(users + 1, size=runs)
    others = np.stack([np.delete(known, expert, axis=0) for expert in experts])
    return Pool(others, known[experts], rng.uniform(0.0, HIGHEST_RATING, (runs, known.shape[1])))


def fresh_pool(data: str, users: int, runs: int, seed: int) -> Pool:
    """``users`` of the 610 and one more as the expert, drawn anew for every run."""
    known = ratings(data)
    rng = np.random.default_rng([seed, users])
    drawn = np.stack([rng.permutation(len(known))[: users + 1] for _ in range(runs)])
    return Pool(known[drawn[:, 1:]], known[drawn[:, 0]], rng.uniform(0.0, HIGHEST_RATING, (runs, known.shape[1])))


def games(pool: Pool, evaluation: str) -> list[Game]:
    """The centroid game of each run, with nobody's model at zero."""
    empty = np.zeros(pool.expert.shape[1])
    return [
        centroid_game(users, expert, empty=empty, evaluation=EVALUATIONS[evaluation])
        for users, expert in zip(pool.users, pool.expert, strict=True)
    ]


def accurate_shapley(pool: Pool, evaluation: str, seed: int) -> NDArray[np.float64]:
    """Shapley values (R, n) by the paired KernelSHAP with size control."""
    players = pool.users.shape[1]
    return np.stack(
        [
            kernel_shapley(game, players, evaluations=ACCURATE, rng=np.random.default_rng([seed, run])).values
            for run, game in enumerate(games(pool, evaluation))
        ]
    )


def plain_kernel_shapley(game: Game, players: int, evaluations: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """KernelSHAP as ``shap.KernelExplainer`` runs it without regularisation: (N,) values.

    Sizes of coalitions are enumerated from the outside in as long as the budget covers their weight; what is left of it
    goes to coalitions drawn at random, each with its complement, equal ones counted together. Source: Lundberg & Lee (2017) and
    shap 0.51, ``explainers/_kernel.py``.
    """
    halves, paired = math.ceil((players - 1) / 2), (players - 1) // 2
    size = np.arange(1, halves + 1)
    weight = (players - 1) / (size * (players - size))
    weight[:paired] *= 2
    weight /= weight.sum()
    masks, weights = [], []
    left, remaining, full = evaluations, weight.copy(), 0
    for s in range(1, halves + 1):
        coalitions = math.comb(players, s) * (2 if s <= paired else 1)
        if left * remaining[s - 1] / coalitions < 1 - 1e-8:
            break
        rows = _all_of_size(players, s)
        rows = np.concatenate([rows, ~rows]) if s <= paired else rows
        masks.append(rows)
        weights.append(np.full(len(rows), weight[s - 1] / coalitions))
        full, left = s, left - coalitions
        if remaining[s - 1] < 1:
            remaining /= 1 - remaining[s - 1]
    if full < halves:
        chances = np.where(size <= paired, weight / 2, weight)[full:]
        drawn = rng.choice(size[full:], size=left // 2, p=chances / chances.sum())
        rows = np.argsort(np.argsort(rng.random((drawn.size, players)), axis=1), axis=1) < drawn[:, None]
        _, first, counts = np.unique(
            np.packbits(np.concatenate([rows, ~rows[drawn <= paired]]), axis=1),
            axis=0,
            return_index=True,
            return_counts=True,
        )
        masks.append(np.concatenate([rows, ~rows[drawn <= paired]])[first])
        weights.append(counts / counts.sum() * weight[full:].sum())
    z, w = np.concatenate(masks).astype(np.float64), np.concatenate(weights)
    nobody, everybody = game(np.array([[False] * players, [True] * players]))
    y = game(z.astype(bool)) - nobody - z[:, -1] * (everybody - nobody)
    x = z[:, :-1] - z[:, -1:]
    solved = np.linalg.solve(x.T @ (w[:, None] * x), x.T @ (w * y))
    return np.append(solved, everybody - nobody - solved.sum())


def _all_of_size(players: int, size: int) -> NDArray[np.bool_]:
    from itertools import combinations

    members = np.array(list(combinations(range(players), size)))
    rows = np.zeros((len(members), players), dtype=bool)
    np.put_along_axis(rows, members, True, axis=1)
    return rows


def simulate(
    pool: Pool, scheme: Scheme, groups: int, seed: int, *, noise: float = 0.0, presence: float = 1.0
) -> Course:
    """100 rounds of the paper's dynamics.

    Args:
        noise: Sd of every coordinate of what is observed of a model, a candidate or the base, in every round; the values
            that selection and points go by come from what is observed, so that their sd is about the same.
        presence: Chance of a user to take part in a round.
    """
    runs, n, d = pool.users.shape
    rngs = [np.random.default_rng([seed, run]) for run in range(runs)]
    each = np.arange(runs)
    x = pool.start.copy()
    ranked = np.ones((runs, n))
    shares = np.zeros((runs, ROUNDS * groups, n))
    seen = np.zeros((runs, ROUNDS * groups, d))
    values, true_values = np.zeros((runs, ROUNDS * groups)), np.zeros((runs, ROUNDS, groups))
    bases, gains = np.zeros((runs, ROUNDS, d)), np.zeros((runs, ROUNDS))
    present = np.stack([rng.random((ROUNDS, n)) < presence for rng in rngs])
    at = np.repeat(np.arange(ROUNDS), groups)
    known: list[Any] = [None] * runs
    for t in range(ROUNDS):
        now = slice(t * groups, (t + 1) * groups)
        if scheme.points != "rank" and t >= RANDOM_ROUNDS and t % ROUNDS_BETWEEN_FITS == 0:
            known = [
                _estimates(scheme, shares[r, : t * groups], seen[r], values[r], at, bases[r], pool.expert[r], x[r])
                for r in range(runs)
            ]
        for r, rng in enumerate(rngs):
            here = np.flatnonzero(present[r, t])
            points, deviation = (ranked[r], np.zeros(n)) if known[r] is None else known[r](rng)
            entrants = Entrants(
                points[here],
                groups,
                round_no=t + 1,
                rounds=ROUNDS,
                deviation=deviation[here],
                small=scheme.small,
                random_rounds=0 if scheme.points == "rank" else RANDOM_ROUNDS,
            )
            group = GROUPINGS[scheme.grouping].assign(entrants, rng)
            held = np.square(ranked[r][here]) if scheme.points == "rank" else np.ones(here.size)
            rows = np.where(group == np.arange(groups)[:, None], held, 0.0)
            shares[r, now, here] = (rows / rows.sum(axis=1, keepdims=True)).T
        candidates = x[:, None] + STEP * (shares[:, now] @ pool.users - x[:, None])
        observed = np.concatenate([candidates, x[:, None]], axis=1)
        if noise:
            observed = observed + noise * np.stack([rng.normal(size=(groups + 1, d)) for rng in rngs])
        evaluated = _evaluated(observed, pool.expert, scheme.evaluation)
        true_values[:, t] = _evaluated(candidates, pool.expert, scheme.evaluation) if noise else evaluated[:, :groups]
        seen[:, now], values[:, now], bases[:, t] = observed[:, :groups], evaluated[:, :groups], observed[:, groups]
        order = np.argsort(-evaluated[:, :groups], axis=1, kind="stable")
        improved = evaluated[:, :groups].max(axis=1) > evaluated[:, groups]
        for run in np.flatnonzero(improved):
            if rngs[run].random() < SWAP:
                order[run] = _swapped(order[run], int(rngs[run].integers(1, groups)))
            places = np.argsort(order[run])
            ranked[run] += np.where(
                present[run, t], ((groups - places)[:, None] * (shares[run, now] > 0)).sum(axis=0), 0.0
            )
        gains[:, t] = np.where(improved, evaluated[each, order[:, 0]] - evaluated[:, groups], 0.0)
        x = np.where(improved[:, None], candidates[each, order[:, 0]], x)
    if scheme.points == "rank":
        paid = ranked - 1.0
    else:
        paid = np.stack(
            [
                _payout(
                    scheme, shares[r], seen[r], values[r], at, bases[r], pool.expert[r], present[r], gains[r], rngs[r]
                )
                for r in range(runs)
            ]
        )
    return Course(
        distance=np.linalg.norm(x - pool.expert, axis=1),
        points=paid / np.maximum(present.sum(axis=1), 1),
        spread=np.sqrt(true_values.var(axis=2, ddof=1).mean(axis=1)),
        value_noise=(values - true_values.reshape(runs, -1)).std(axis=1),
    )


def _evaluated(models: NDArray[np.float64], experts: NDArray[np.float64], evaluation: str) -> NDArray[np.float64]:
    """Values (R, m) of models (R, m, d), each run's by its own expert."""
    return np.stack(
        [evaluate(seen, expert, EVALUATIONS[evaluation]) for seen, expert in zip(models, experts, strict=True)]
    )


def _swapped(order: NDArray[np.int64], other: int) -> NDArray[np.int64]:
    order = order.copy()
    order[[0, other]] = order[[other, 0]]
    return order


def _estimates(
    scheme: Scheme,
    shares: NDArray[np.float64],
    seen: NDArray[np.float64],
    values: NDArray[np.float64],
    at: NDArray[np.int64],
    bases: NDArray[np.float64],
    expert: NDArray[np.float64],
    base: NDArray[np.float64],
) -> Any:
    """A function of a generator to estimates (n,) and a draw from their posterior less its mean (n,)."""
    rows = len(shares)
    if scheme.points == "regression":
        fitted = contribution_estimates(shares, values[:rows], at[:rows])
        return partial(_drawn, fitted)
    recovered = recovered_vectors(shares, seen[:rows], at[:rows], bases[: at[rows - 1] + 1], step=STEP)
    towards = expert - base
    return partial(_drawn_towards, recovered, towards / max(float(np.linalg.norm(towards)), 1e-12))


def _drawn(fitted: ContributionEstimates, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return fitted.values, fitted.draw(rng) - fitted.values


def _drawn_towards(
    recovered: RecoveredVectors, towards: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    estimates = recovered.vectors @ towards
    return estimates, recovered.draw(towards, rng) - estimates


def _payout(
    scheme: Scheme,
    shares: NDArray[np.float64],
    seen: NDArray[np.float64],
    values: NDArray[np.float64],
    at: NDArray[np.int64],
    bases: NDArray[np.float64],
    expert: NDArray[np.float64],
    present: NDArray[np.bool_],
    gains: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Points (n,) of all rounds, settled at their end."""
    if scheme.points == "regression":
        estimates, slope = contribution_estimates(shares, values, at).values, averaging_spread
    else:
        vectors = recovered_vectors(shares, seen, at, bases, step=STEP).vectors
        game = centroid_game(vectors, expert, empty=np.zeros(expert.size), evaluation=EVALUATIONS[scheme.evaluation])
        estimates = kernel_shapley(game, len(vectors), evaluations=ACCURATE // 4, rng=rng).values

        def slope(contributors: int) -> float:
            return 1.0

    exact, nothing, nobody = np.zeros(len(gains)), np.zeros(present.shape), np.zeros(present.shape[1], dtype=bool)
    return epoch_payouts(
        estimates,
        slope,
        present,
        gains,
        exact,
        np.where(present, 1.0, 0.0),
        PayRules(),
        copied=nothing,
        rounds_taken_part=present.sum(axis=0),
        caught=nobody,
    ).points.sum(axis=0)


def pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation along the last axis; 0 where either does not vary."""
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    scale = np.sqrt(np.square(a).sum(axis=-1) * np.square(b).sum(axis=-1))
    return np.divide((a * b).sum(axis=-1), scale, out=np.zeros(scale.shape), where=scale > 0)


def authors_cell(*, data: str, users: int, evaluation: str, groups: Sequence[int], runs: int, seed: int) -> Any:
    """The authors' sweep for one number of users and one evaluation: for every grouping and number of groups the final
    distance of each run, and Pearson of its points with accurate values and with plain KernelSHAP's."""
    pool = authors_pool(data, users, runs, seed)
    accurate = accurate_shapley(pool, evaluation, seed)
    theirs = np.stack(
        [
            plain_kernel_shapley(game, users, AUTHORS_EVALUATIONS, np.random.default_rng([seed, run, 1]))
            for run, game in enumerate(games(pool, evaluation))
        ]
    )
    cells = []
    for grouping in AUTHORS_GROUPINGS:
        for count in groups:
            course = simulate(pool, Scheme("rank", grouping, evaluation=evaluation), count, seed)
            cells.append(
                {
                    "grouping": grouping,
                    "evaluation": evaluation,
                    "users": users,
                    "groups": count,
                    "distance": course.distance.tolist(),
                    "pearson": pearson(course.points, theirs).tolist(),
                    "pearson_accurate": pearson(course.points, accurate).tolist(),
                }
            )
    return {"cells": cells, "reference_correlation": pearson(theirs, accurate).tolist()}


def fresh_cell(
    *,
    data: str,
    users: int,
    groups: int,
    schemes: Sequence[dict[str, Any]],
    runs: int,
    seed: int,
    noise: float = 0.0,
    presence: float = 1.0,
) -> Any:
    """Several schemes on the same fresh pools: final distance, Pearson with accurate values, spread of candidates and noise
    of their values of each run, and the points and Shapley values of the first."""
    pool = fresh_pool(data, users, runs, seed)
    accurate: dict[str, NDArray[np.float64]] = {}
    cells = []
    for given in schemes:
        scheme = Scheme(**given)
        if scheme.evaluation not in accurate:
            accurate[scheme.evaluation] = accurate_shapley(pool, scheme.evaluation, seed)
        truth = accurate[scheme.evaluation]
        course = simulate(pool, scheme, groups, seed, noise=noise, presence=presence)
        cells.append(
            {
                "distance": course.distance.tolist(),
                "pearson": pearson(course.points, truth).tolist(),
                "spread": course.spread.tolist(),
                "value_noise": course.value_noise.tolist(),
                "points": course.points[0].tolist(),
                "shapley": truth[0].tolist(),
            }
        )
    return cells
