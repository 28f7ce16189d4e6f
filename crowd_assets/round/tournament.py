"""What the rounds so far say about each contributor: the tables of many rounds as the arrays that mechanisms take.

Belongs here: reading them, and the estimates that groups are formed by and points are paid by.
Does not belong here: the estimators (see ``crowd_assets.mechanisms.estimates``), postings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.mechanisms.estimates import Reliability, contribution_estimates, recovered_vectors, value_reliability
from crowd_assets.mechanisms.ledger import DEPOSITS
from crowd_assets.mechanisms.payouts import averaging_spread
from crowd_assets.mechanisms.shapley import distance_shapley, estimate_shapley
from crowd_assets.mechanisms.target import centroid_game
from resources.files.frames import FramesResource
from resources.rounds.book import RoundBook
from resources.warehouse.base import WarehouseResource

EMBEDDED_CANDIDATES = "candidate_embeddings"
EMBEDDED_CONTRIBUTORS = "contributor_embeddings"
SHAPLEY_PERMUTATIONS = 400
MOST_COALITIONS = 40_000  # of a larger crowd
LARGE_CROWD = 1_000  # contributors, above whom a regression on coalitions takes minutes and gigabytes


@dataclass(frozen=True)
class Tournament:
    """T rounds of candidates and who trained them. M candidates, N contributors, d dimensions of Φ.

    Attributes:
        contributors: (N,) ids, sorted.
        round_ids: (T,), in order.
        shares: (M, N): a member's share of its group's demonstrations, as a candidate learns from each of them alike.
        values: (M,), minus the target distance, with ``standard_errors`` (M,).
        embeddings: (M, d), mean of what each candidate wrote.
        round_index: (M,), values 0..T-1.
        bases: (T, d), mean of what each round's base wrote.
        gains: (T,), by how much the round's model came closer to the target, on a fresh sample.
        written: (N, d), mean of what each contributor wrote.
        demonstrations: (T, N), how many valid ones each contributor sent in each round.
    """

    contributors: tuple[str, ...]
    round_ids: tuple[str, ...]
    shares: NDArray[np.float64]
    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    embeddings: NDArray[np.float64]
    round_index: NDArray[np.int64]
    bases: NDArray[np.float64]
    gains: NDArray[np.float64]
    written: NDArray[np.float64]
    demonstrations: NDArray[np.float64]

    @property
    def participated(self) -> NDArray[np.bool_]:
        """(T, N): who had a share in a candidate of which round."""
        return np.stack(
            [(self.shares[self.round_index == index] > 0).any(axis=0) for index in range(len(self.round_ids))]
        )

    @property
    def reliability(self) -> Reliability:
        """How much of the difference between candidates is more than noise of their evaluation."""
        return value_reliability(self.values, self.standard_errors, self.round_index)


@dataclass(frozen=True)
class Standing:
    """What each contributor is estimated to add: ``estimates`` (N,) and ``standard_errors`` (N,) in target distance;
    ``spread`` as :func:`regression_points` takes it; ``draw`` gives a draw (N,) from the posterior of what groups are formed
    by, less its mean, which is ``keys`` (N,)."""

    estimates: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    spread: float | None
    keys: NDArray[np.float64]
    draw: Callable[[np.random.Generator], NDArray[np.float64]]


def tournament(
    warehouse: WarehouseResource, frames: FramesResource, round_no: int, *, including: bool, memory: int = 0
) -> Tournament | None:
    """The tournament of the settled rounds before ``round_no`` and, where ``including``, of that round as well; None where
    there is no round yet. With ``memory`` of the last so many rounds only, and all of the open epoch. Prior state is never
    "the latest": a round run again reads what it read before."""
    with warehouse.session():
        round_ids = RoundBook(warehouse).rounds_through(round_no)[: None if including else -1]
        if memory:
            closed = warehouse.read_before("epochs", round_no).filter("closes")["round_no"].max()
            unpaid = sum(closed is None or int(round_id[1:]) > int(str(closed)) for round_id in round_ids)
            round_ids = round_ids[-max(memory, unpaid) :]
        if not round_ids:
            return None
        numbers = [int(round_id[1:]) for round_id in round_ids]
        groups, selections = (warehouse.read_rounds(table, numbers) for table in ("contributor_groups", "selections"))
    groups = groups.with_columns(
        share=pl.col("demonstrations") / pl.col("demonstrations").sum().over("round_no", "group_index")
    )
    contributors = groups["contributor_id"].unique().sort()
    candidates = selections.filter(pl.col("role") == "candidate").sort("round_no", "group_index")
    embedded = frames.read_through(EMBEDDED_CANDIDATES, round_ids).sort("round_id", "group_index")
    wrote = frames.read_through(EMBEDDED_CONTRIBUTORS, round_ids)
    demonstrations = wrote["demonstrations"].to_numpy().astype(np.float64)
    vectors = np.array(wrote["vector"].to_list())
    written, counted = np.zeros((len(contributors), vectors.shape[1])), np.zeros(len(contributors))
    owner = contributors.search_sorted(wrote["contributor_id"]).to_numpy()
    np.add.at(written, owner, demonstrations[:, None] * vectors)
    np.add.at(counted, owner, demonstrations)
    shares = np.zeros((candidates.height, len(contributors)))
    places = {key: row for row, key in enumerate(candidates.select("round_no", "group_index").iter_rows())}
    member = contributors.search_sorted(groups["contributor_id"]).to_numpy()
    rows = [places[key] for key in groups.select("round_no", "group_index").iter_rows()]
    shares[rows, member] = groups["share"].to_numpy()
    sent = np.zeros((len(numbers), len(contributors)))
    sent[np.searchsorted(numbers, groups["round_no"].to_numpy()), member] = groups["demonstrations"].to_numpy()
    bases = selections.filter(pl.col("role") == "base").sort("round_no")
    chosen = selections.filter("selected").sort("round_no")
    return Tournament(
        contributors=tuple(contributors),
        round_ids=tuple(round_ids),
        shares=shares,
        values=-candidates["distance"].to_numpy(),
        standard_errors=candidates["standard_error"].to_numpy(),
        embeddings=np.array(embedded.filter(pl.col("group_index") >= 0)["vector"].to_list()),
        round_index=np.array([numbers.index(number) for number in candidates["round_no"]], dtype=np.int64),
        bases=np.array(embedded.filter(pl.col("group_index") < 0)["vector"].to_list()),
        gains=bases["fresh_distance"].to_numpy() - chosen["fresh_distance"].to_numpy(),
        written=written / counted[:, None],
        demonstrations=sent,
    )


def standing(found: Tournament, scheme: str, target: NDArray[np.float64], rng: np.random.Generator) -> Standing:
    """Estimates by ``surrogate`` (where each contributor takes a candidate in Φ, then Shapley values) or ``regression`` (what
    each adds to a candidate's value). What contributors wrote is where the surrogate expects them to be, as far as the
    candidates bear it out."""
    if scheme == "regression":
        fitted = contribution_estimates(found.shares, found.values, found.round_index)
        return Standing(
            fitted.values,
            fitted.standard_errors,
            None,
            fitted.values,
            lambda generator: fitted.draw(generator) - fitted.values,
        )
    recovered = recovered_vectors(found.shares, found.embeddings, found.round_index, found.bases, prior=found.written)
    base = found.bases[-1]
    game = centroid_game(recovered.vectors, target, empty=base)
    crowd = len(found.contributors)
    if crowd > LARGE_CROWD:
        shapley = distance_shapley(recovered.vectors, target, empty=base, rng=rng)
    else:
        permutations = min(SHAPLEY_PERMUTATIONS, max(4, MOST_COALITIONS // crowd))
        shapley = estimate_shapley(game, crowd, permutations=permutations, rng=rng)
    towards = (target - base) / max(float(np.linalg.norm(target - base)), 1e-12)
    keys = recovered.vectors @ towards
    return Standing(
        shapley.values,
        np.hypot(shapley.standard_errors, averaging_spread(crowd) * recovered.standard_errors),
        1.0,
        keys,
        lambda generator: recovered.draw(towards, generator) - keys,
    )


def deposits_before(warehouse: WarehouseResource, round_no: int) -> dict[str, Decimal]:
    """What deposits hold from the settled rounds before ``round_no``, by contributor."""
    return dict(
        warehouse.query(
            "SELECT substr(account, $length + 1), sum(amount) AS held FROM ledger JOIN rounds r USING (round_no) WHERE "
            "starts_with(account, $deposits) AND round_no < $n AND r.status IN ('settled', 'completed') "
            "GROUP BY account HAVING sum(amount) <> 0",
            {"deposits": DEPOSITS, "length": len(DEPOSITS), "n": round_no},
        ).iter_rows()
    )


def standings(warehouse: WarehouseResource, round_no: int) -> pl.DataFrame:
    """Points through ``round_no`` of everybody who took part, most first: those posted, deposits counted, and while the epoch
    is open the provisional ones; beside them the last estimate and its standard error. Columns contributor_id, points, estimate,
    standard_error."""
    return warehouse.query(
        "SELECT people.contributor_id, coalesce(posted.points, 0) + CASE WHEN epoch.closes THEN 0 "
        "ELSE coalesce(e.provisional_points, 0) END AS points, e.estimate, e.standard_error FROM "
        "(SELECT DISTINCT contributor_id FROM contributor_groups WHERE round_no <= $n) people "
        "CROSS JOIN (SELECT closes FROM epochs WHERE round_no = $n) epoch "
        "LEFT JOIN contributor_estimates e ON e.round_no = $n AND e.contributor_id = people.contributor_id "
        "LEFT JOIN (SELECT substr(account, strpos(account, ':') + 1) AS contributor_id, sum(amount)::float8 AS points FROM ledger "
        "WHERE unit = 'point' AND round_no <= $n AND account <> 'treasury' GROUP BY 1) posted "
        "ON posted.contributor_id = people.contributor_id ORDER BY points DESC, people.contributor_id",
        {"n": round_no},
    )
