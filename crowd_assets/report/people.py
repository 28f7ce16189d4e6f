"""Who took part in a round, what each did, and why it earned what it did, in plain words.

Belongs here: gathering it by contributor, the words. Does not belong here: how points and prices come about.
"""

from typing import Any

import polars as pl

from crowd_assets.mechanisms.judging import OUTCOME
from crowd_assets.report.page import number, ordinal, plural, share
from crowd_assets.round.tournament import points_so_far
from resources.rounds.book import RoundBook
from resources.rounds.decisions import PAUSED
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import round_id_of

Person = dict[str, Any]

TOOK_PART = """
WITH demonstrating AS (
    SELECT contributor_id, group_index, demonstrations FROM contributor_groups WHERE round_no = $n),
ranked AS (
    SELECT group_index, rank, selected, count(*) OVER () AS groups FROM selections
    WHERE round_no = $n AND role = 'candidate'),
judging AS (
    SELECT labeler_id AS contributor_id, reports, weight, slots_seen,
        cumulative_loss / nullif(slots_seen, 0) AS mean_loss, avg(weight) OVER () AS mean_weight
    FROM labeler_weights WHERE round_no = $n),
selling AS (
    SELECT contributor_id, count(*) AS offered, count(*) FILTER (WHERE awarded) AS sold,
        sum(payment) FILTER (WHERE awarded) AS sales, sum(asked_price) FILTER (WHERE awarded) AS asked
    FROM awards WHERE round_no = $n GROUP BY contributor_id),
scoring AS (
    SELECT labeler_id AS contributor_id, basis, scored, score, balance, paid FROM judgement_pay WHERE round_no = $n AND scored > 0),
adding AS (
    SELECT labeler_id AS contributor_id, judgements AS valued, value AS added, sum(value) OVER () AS added_by_all
    FROM judgement_values WHERE round_no = $n),
rejecting AS (
    SELECT contributor_id, count(*) AS rejected FROM rejected_feedback
    WHERE round_no = $n AND stage = 'gate' AND contributor_id <> '' GROUP BY contributor_id),
standing AS (
    SELECT labeler_id AS contributor_id, state, since_round, s.reason AS standing_reason FROM labeler_standings s
    WHERE round_no = $n AND state <> 'active' AND $private),
flagging AS (
    SELECT contributor_id, string_agg(replace(detector, '_', ' '), ', ' ORDER BY detector) AS flags
    FROM quality_contributors WHERE round_no = $n AND flagged AND (detector <> 'collusion' OR $private)
    GROUP BY contributor_id),
everybody AS (
    SELECT contributor_id FROM demonstrating UNION SELECT contributor_id FROM judging WHERE reports > 0
    UNION SELECT contributor_id FROM selling UNION SELECT contributor_id FROM scoring UNION SELECT contributor_id FROM rejecting
    UNION SELECT contributor_id FROM standing)
SELECT everybody.contributor_id, group_index, rank, groups, selected, demonstrations, shapley_value,
    v.standard_error AS shapley_error, estimate, e.standard_error AS estimate_error,
    CASE WHEN reports > 0 THEN reports END AS reports, weight / mean_weight AS relative_weight, mean_loss,
    valued, added, added_by_all, offered, sold, sales, asked, basis, scored, score, balance, paid, rejected, flags, state, since_round, standing_reason,
    CASE WHEN sold > 0 OR paid > 0 THEN coalesce(sales, 0) + coalesce(paid, 0) END AS credits
FROM everybody LEFT JOIN demonstrating USING (contributor_id) LEFT JOIN ranked USING (group_index)
    LEFT JOIN judging USING (contributor_id) LEFT JOIN selling USING (contributor_id)
    LEFT JOIN scoring USING (contributor_id)
    LEFT JOIN standing USING (contributor_id) LEFT JOIN adding USING (contributor_id)
    LEFT JOIN rejecting USING (contributor_id) LEFT JOIN flagging USING (contributor_id)
    LEFT JOIN (SELECT * FROM contributions WHERE round_no = $n) v USING (contributor_id)
    LEFT JOIN (SELECT * FROM contributor_estimates WHERE round_no = $n) e USING (contributor_id)
ORDER BY everybody.contributor_id
"""


def people_of(
    warehouse: WarehouseResource, round_no: int, *, only: str | None = None, private: bool = False
) -> pl.DataFrame:
    """Everybody who took part in a settled round, or ``only`` one, most points first: what each did, ``points`` so far, their
    ``change`` since the settled round before, ``credits`` earned in the round, and ``why``. Who is suspected of acting with others reads so
    where ``only`` they are shown, or where pages are ``private``: each for the one that the page is about."""
    found = warehouse.query(TOOK_PART, {"n": round_no, "private": private or only is not None})
    if only is not None:
        found = found.filter(pl.col("contributor_id") == only)
    before = RoundBook(warehouse).settled(round_no - 1)
    points = points_so_far(warehouse, round_no).select("contributor_id", "points")
    if before:
        earlier = points_so_far(warehouse, before[-1].round_no).select("contributor_id", points_before="points")
        points = points.join(earlier, on="contributor_id", how="left")
    else:
        points = points.with_columns(points_before=0.0)
    points = points.with_columns(change=pl.col("points") - pl.col("points_before").fill_null(0.0)).drop("points_before")
    joined = found.join(points, on="contributor_id", how="left").with_columns(pl.col("credits").cast(pl.Float64))
    words = pl.Series([why(person) for person in joined.iter_rows(named=True)], dtype=pl.String)
    return joined.with_columns(why=words).sort(
        "points", "credits", "contributor_id", descending=[True, True, False], nulls_last=True
    )


def why(person: Person) -> str:
    """What a contributor did in a round and what came of it, in plain words."""
    said = [*_demonstrated(person), *_judged(person), *_paid(person), *_added(person), *_sold(person)]
    if person.get("state"):
        heard = "" if person["state"] != PAUSED else " Whoever runs the campaign hears appeals."
        said.append(
            f"As a judge {person['state']} since {round_id_of(person['since_round'])}: {person['standing_reason']}.{heard}"
        )
    if person["rejected"]:
        said.append(f"{plural(person['rejected'], 'event was', 'events were')} rejected at the gate.")
    if person["flags"]:
        said.append(f"Flagged by detectors: {person['flags']}.")
    return " ".join(said)


def _demonstrated(person: Person) -> list[str]:
    if person["demonstrations"] is None:
        return []
    wrote = f"Wrote {plural(person['demonstrations'], 'demonstration')}"
    wrote += f" in group {person['group_index']}" if person["group_index"] >= 0 else ", which trained no candidate"
    if person["rank"] is not None:
        won = " and won" if person["selected"] else ""
        wrote += f", whose candidate came {ordinal(person['rank'] + 1)} of {person['groups']}{won}"
    said = [f"{wrote}."]
    if person["estimate"] is not None:
        direction = "closer to" if person["estimate"] >= 0 else "farther from"
        by, unsure = number(abs(person["estimate"]), 3), ""
        if person["estimate_error"]:
            by += f" ± {number(person['estimate_error'], 3)}"
        else:
            unsure = ", and not yet how sure that is"
        said.append(f"All rounds so far say that the demonstrations bring a model {by} {direction} the target{unsure}.")
    return said


def _judged(person: Person) -> list[str]:
    if person["reports"] is None:
        return []
    judged = f"Judged {plural(person['reports'], 'comparison')}"
    if person["mean_loss"] is None:
        return [f"{judged}; no outcome has scored these judgements yet."]
    off = share(person["mean_loss"] ** 0.5)
    return [
        f"{judged}. Reports so far were off by {off} (root mean square), so that a report counts "
        f"{number(person['relative_weight'], 2)} times the mean."
    ]


def _paid(person: Person) -> list[str]:
    if not person["scored"]:
        return []
    by = "outcomes" if person["basis"] == OUTCOME else "agreement with others"
    said = f"{plural(person['scored'], 'judgement was', 'judgements were')} scored by {by}: {number(person['score'], 2)} points"
    if person["paid"]:
        return [f"{said}, paid {number(person['paid'], 4)} credits."]
    if person["balance"] < 0:
        return [f"{said}; {number(-person['balance'], 2)} points are missing before judgements are paid again."]
    return [f"{said}."]


def _added(person: Person) -> list[str]:
    if not person.get("valued"):
        return []
    effect = "lowered" if person["added"] >= 0 else "raised"
    return [
        f"{plural(person['valued'], 'judgement')} on pairs that the aligned model learnt from {effect} the loss of the pairs held out by "
        f"{number(abs(person['added']), 4)} nats (all judgements: {number(person['added_by_all'], 4)}); no pay depends on this value."
    ]


def _sold(person: Person) -> list[str]:
    if person["offered"] is None:
        return []
    if not person["sold"]:
        return [f"Offered {plural(person['offered'], 'answer')}; none was bought."]
    return [
        f"Sold {person['sold']} of {plural(person['offered'], 'answer')} for {number(person['sales'], 3)} credits "
        f"(asked {number(person['asked'], 3)})."
    ]
