"""Groups of contributors whose feedback is suspiciously alike: one person behind several names, or several who agreed.

Belongs here: likeness of pairs of contributors, and the groups they form. Does not belong here: the likeness of two
texts (see ``duplicates``).
"""

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowd_assets.quality.detectors.base import (
    Detection,
    binomial_tail,
    detection_of,
    discoveries,
    judgements,
)

FEWEST_SHARED = 8
MOST_PAIRS = 20_000_000
SMALLEST_EXCESS = 0.5
"""Part of the way from the agreement expected to full agreement, from which two are too much alike."""
SAME_NUMBERS = 0.9
"""Share of equal numbers below which two may be two who see well: their numbers are near the truth, and so near each other."""
SKILL_STEPS = 30
OWN_WEIGHT = 5.0
PARTNERS = 0.01
FEWEST_TEXTS = 3


def collusion(events: pl.DataFrame, near_duplicates: Detection, copies: Detection) -> Detection:
    """Groups of labelers who judge alike beyond what the crowd's agreement explains, or write alike.

    Unit: the highest agreement of the contributor with another one on comparisons that both judged, 0 to 1. Two
    labelers with at least 8 such comparisons are linked if they agree far more than either does with everybody else, and far more
    than two people of their skill who judge by themselves would on comparisons as easy or hard as these: on
    the side (A, B, tie) or to the hundredth of the probability, by the binomial tail over all pairs, and at least
    halfway from there to full agreement. Two contributors are linked, too, where one has three or more responses that
    are near duplicates or copies of the other's. Linked contributors form a group; who else is in it stands in the
    table ``rings``, which the operator reads, and in no detail that others see.

    A ring whose members are most of those who judged their comparisons agrees with the crowd, as it is the crowd, and
    passes. Where comparisons have so many labelers that pairs exceed 20 million, comparisons are drawn until that many.

    An honest person trips it by working with somebody else on the same tasks, or with two accounts of one person.
    """
    rows = judgements(events)
    pairs = _agreements(rows)
    linked = pairs.filter("linked").select("one", "other")
    written = _alike_in_writing(events, near_duplicates, copies)
    group = _components(pl.concat([linked, written]))
    both = pl.concat([pairs, pairs.rename({"one": "other", "other": "one"})], how="diagonal")
    strongest = (
        both.sort(["linked", "p_value", "agreement", "one", "other"], descending=[True, False, True, False, False])
        .unique("one", keep="first", maintain_order=True)
        .select(
            contributor_id="one",
            value="agreement",
            n="shared",
            p_value="p_value",
            why=pl.format(
                "{}% of {} judgements like another's, {}% expected",
                (100 * pl.col("agreement")).round(0).cast(pl.Int64),
                "shared",
                (100 * pl.col("expected")).round(0).cast(pl.Int64),
            ),
        )
    )
    sizes = group.group_by("group").agg(size=pl.len())
    contributors = (
        strongest.join(group, on="contributor_id", how="full", coalesce=True)
        .join(sizes, on="group", how="left")
        .with_columns(
            flagged=pl.col("group").is_not_null(),
            value=pl.col("value").fill_null(1.0),
            n=pl.col("n").fill_null(0),
            detail=pl.when(pl.col("group").is_null())
            .then("why")
            .otherwise(pl.format("{}, in a group of {}", pl.col("why").fill_null("responses like another's"), "size")),
        )
        .sort("contributor_id")
    )
    own = pl.concat([rows.select("event_id", "contributor_id"), _writing(events)])
    rings = group.select("contributor_id", ring="group").sort("contributor_id")
    return replace(detection_of("collusion", own, contributors), rings=rings)


def _agreements(rows: pl.DataFrame) -> pl.DataFrame:
    """Each two labelers who judged enough comparisons together: ``one``, ``other``, ``shared``, ``agreement``,
    ``expected``, ``p_value`` and whether that links them."""
    answers = rows.unique(["contributor_id", "comparison_id"], keep="first", maintain_order=True).select(
        labeler=pl.col("contributor_id").rank("dense").cast(pl.Int64) - 1,
        comparison=pl.col("comparison_id"),
        side="side",
        value=(100 * pl.col("probability_a")).round(0).cast(pl.Int16),
    )
    answers = _affordable(answers)
    shared = answers.join(answers, on="comparison", suffix="_other").filter(pl.col("labeler") < pl.col("labeler_other"))
    pairs = (
        shared.group_by("labeler", "labeler_other")
        .agg(
            shared=pl.len().cast(pl.Int64),
            side=(pl.col("side") == pl.col("side_other")).sum().cast(pl.Int64),
            decided=((pl.col("side") != 0) & (pl.col("side_other") != 0)).sum().cast(pl.Int64),
            same=((pl.col("side") != 0) & (pl.col("side") == pl.col("side_other"))).sum().cast(pl.Int64),
            value=(pl.col("value") == pl.col("value_other")).sum().cast(pl.Int64),
        )
        .sort("labeler", "labeler_other")
    )
    names = rows["contributor_id"].unique().sort()
    one, other, n = (pairs[column].to_numpy() for column in ("labeler", "labeler_other", "shared"))
    enough = n >= FEWEST_SHARED
    people = len(names)
    decided, same = pairs["decided"].to_numpy(), pairs["same"].to_numpy()
    ties = np.divide(pairs["side"].to_numpy() - same, n, out=np.zeros(n.size), where=n > 0)
    by_side = _likeness(one, other, decided, same, people, enough)
    # Numbers can agree only where sides do: beyond that counts how alike the numbers of two people on one side are.
    on_one_side = ties + (1.0 - ties) * _alone(one, other, decided, same, people)
    by_value = _likeness(one, other, n, pairs["value"].to_numpy(), people, enough, on_one_side * _repeated(pairs))
    tests = [by_side, by_value]
    (side_p, side_share, side_expected), (value_p, value_share, value_expected) = tests
    stronger = value_p < side_p
    p_value = np.minimum(2 * np.minimum(side_p, value_p), 1.0)
    agreement = np.where(stronger, value_share, side_share)
    expected = np.where(stronger, value_expected, side_expected)
    excess = (agreement - expected) / np.maximum(1 - expected, 1e-9)
    return pl.DataFrame(
        {
            "one": names.gather(one[enough]),
            "other": names.gather(other[enough]),
            "shared": n[enough],
            "agreement": agreement,
            "expected": expected,
            "p_value": p_value,
            "linked": discoveries(p_value) & (excess >= SMALLEST_EXCESS) & (~stronger | (agreement >= SAME_NUMBERS)),
        }
    )


def _likeness(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    shared: NDArray[np.int64],
    same: NDArray[np.int64],
    labelers: int,
    enough: NDArray[np.bool_],
    alone: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """p-value, agreement and expected agreement of the pairs in ``enough``: expected is the highest of what two who judge by themselves
    reach (``alone``, fitted to sides where it is None) and of the two labelers' agreement with all others but those who look like partners in a first pass, so that a
    ring is not its own excuse."""
    agreement = same[enough] / np.maximum(shared[enough], 1)
    pooled = same.sum() / max(shared.sum(), 1)
    alike = np.zeros(one.size, dtype=bool)
    for _ in range(2):
        n, k = np.where(alike, 0, shared), np.where(alike, 0, same)
        met = np.bincount(one, n, labelers) + np.bincount(other, n, labelers)
        agreed = np.bincount(one, k, labelers) + np.bincount(other, k, labelers)
        with_others = [
            (agreed[labeler] - k + OWN_WEIGHT * pooled) / (met[labeler] - n + OWN_WEIGHT) for labeler in (one, other)
        ]
        expected = np.maximum(*with_others)[enough]
        reached = _alone(one, other, n, k, labelers) if alone is None else alone
        expected = np.maximum(expected, reached[enough])
        p_value = binomial_tail(same[enough], shared[enough], expected)
        alike[enough] = (p_value < PARTNERS) & (agreement - expected >= SMALLEST_EXCESS * (1 - expected))
    return p_value, agreement, expected


def _alone(
    one: NDArray[np.int64], other: NDArray[np.int64], n: NDArray[np.int64], k: NDArray[np.int64], labelers: int
) -> NDArray[np.float64]:
    """How often each pair would give the same side if each of the two judged by itself: (1 + s s') / 2.

    Skills s are those of labelers whose errors are independent, fitted to all pairs' agreements by alternating least squares, where
    E[2 k / n - 1] = s s'; how hard a comparison is enters as a factor of all skills and so of all s. The fit is of rank one, so a few
    pairs who agree because they are one are too few to bend it.
    """
    correlation = 2.0 * k / np.maximum(n, 1) - 1.0
    skill = np.full(labelers, 0.5)
    for _ in range(SKILL_STEPS):
        weighted, square = n * correlation, n.astype(np.float64)
        above = np.bincount(one, weighted * skill[other], labelers) + np.bincount(
            other, weighted * skill[one], labelers
        )
        below = np.bincount(one, square * skill[other] ** 2, labelers) + np.bincount(
            other, square * skill[one] ** 2, labelers
        )
        fitted = np.clip((above + OWN_WEIGHT * 0.25) / (below + OWN_WEIGHT * 0.5), -1.0, 1.0)
        skill = (skill + fitted) / 2
    expected: NDArray[np.float64] = (1.0 + skill[one] * skill[other]) / 2.0
    return expected


def _repeated(pairs: pl.DataFrame) -> NDArray[np.float64]:
    """Of each pair, how often two people on one side give one number: the higher of what the two share with everybody else."""
    one, other = pairs["labeler"].to_numpy(), pairs["labeler_other"].to_numpy()
    side, value = pairs["side"].to_numpy(), pairs["value"].to_numpy()
    labelers = int(max(one.max(), other.max())) + 1 if one.size else 0
    met = np.bincount(one, side, labelers) + np.bincount(other, side, labelers)
    repeated = np.bincount(one, value, labelers) + np.bincount(other, value, labelers)
    usual = value.sum() / max(side.sum(), 1)
    of_both = [(repeated[who] - value + OWN_WEIGHT * usual) / (met[who] - side + OWN_WEIGHT) for who in (one, other)]
    return np.minimum(np.maximum(*of_both), 1.0)


def _affordable(answers: pl.DataFrame) -> pl.DataFrame:
    """The answers to as many comparisons as make no more than ``MOST_PAIRS`` pairs, drawn by a hash of their ids."""
    sizes = (
        answers.group_by("comparison")
        .len()
        .filter(pl.col("len") > 1)
        .sort(pl.col("comparison").hash(seed=0), "comparison")
        .filter((pl.col("len").cast(pl.Int64) * (pl.col("len").cast(pl.Int64) - 1) // 2).cum_sum() <= MOST_PAIRS)
    )
    return answers.join(sizes.select("comparison"), on="comparison", how="semi", maintain_order="left")


def _writing(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter(pl.col("kind").is_in(["demonstration", "bid"])).select("event_id", "contributor_id")


def _alike_in_writing(events: pl.DataFrame, *found: Detection) -> pl.DataFrame:
    """Pairs of contributors of whom one has several responses like the other's."""
    author = _writing(events)
    return (
        pl.concat([detection.events for detection in found])
        .drop_nulls("source")
        .unique("event_id")
        .join(author, on="event_id")
        .join(author.rename({"contributor_id": "other"}), left_on="source", right_on="event_id")
        .group_by(one=pl.col("contributor_id"), other=pl.col("other"))
        .len()
        .filter(pl.col("len") >= FEWEST_TEXTS, pl.col("one") != pl.col("other"))
        .select("one", "other")
    )


def _components(links: pl.DataFrame) -> pl.DataFrame:
    """The group, a number, of each linked contributor."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names = pl.concat([links["one"], links["other"]]).unique().sort()
    if names.is_empty():
        return pl.DataFrame(schema={"contributor_id": pl.String, "group": pl.Int64})
    ends = [names.search_sorted(links[column]).to_numpy() for column in ("one", "other")]
    graph = coo_array((np.ones(links.height), ends), shape=(len(names), len(names)))
    _, group = connected_components(graph, directed=False)
    return pl.DataFrame({"contributor_id": names, "group": group.astype(np.int64)})
