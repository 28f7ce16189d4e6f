"""The page of a whole campaign: what all rounds came to, what the money bought, who stands where.

Belongs here: gathering what the page shows. Does not belong here: how it looks (see ``campaign.html.jinja``).
"""

from itertools import accumulate
from typing import Any

import polars as pl
from upath import UPath

from crowd_assets.report import charts
from crowd_assets.report.charts import Chart
from crowd_assets.report.figures import figures_of, record_of
from crowd_assets.report.page import Column, Headline, Table, mood_of, number, plural, render, share, table
from crowd_assets.report.places import campaign_path, round_link, shared_links
from crowd_assets.report.round_charts import regret_chart
from crowd_assets.round.labelers import regret_so_far
from crowd_assets.round.tournament import NOT_YET_SURE, points_so_far
from resources.common.errors import OperatorError
from resources.files.frames import FramesResource
from resources.files.storage import write_text_atomically
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import PEOPLES_LEDGER, SKIPPED, round_id_of

LEADERS_DRAWN = 6
ROUNDS_DRAWN = 40


class NothingToReportError(OperatorError, LookupError):
    """No round is settled yet, or none of that name."""


def write_campaign_page(
    settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, data_quality: DataQualityResource
) -> UPath:
    """Write the page on all settled rounds.

    Returns:
        where it lies.

    Raises:
        NothingToReportError: no round is settled.
    """
    path = campaign_path(settings)
    write_text_atomically(path, campaign_page(settings, warehouse, frames, data_quality))
    return path


def campaign_page(
    settings: CrowdSettings, warehouse: WarehouseResource, frames: FramesResource, data_quality: DataQualityResource
) -> str:
    """The page on all settled rounds, as HTML.

    Raises:
        NothingToReportError: no round is settled.
    """
    rounds = RoundBook(warehouse).settled()
    if not rounds:
        raise NothingToReportError(f"{settings.home}: no round is settled yet. Run one with make round.")
    figures = figures_of(rounds, warehouse)
    last = rounds[-1]
    links = shared_links(settings, data_quality)
    del links["Campaign"]
    parts = {
        "distances": _distances(figures),
        "spending": _spending(figures),
        "prices": _prices(figures),
        "quality": _quality(figures),
        "accuracy": _accuracy(figures),
        "regret": regret_chart(regret_so_far(warehouse, frames, last.round_no)),
        "leaders": _leaders(warehouse, list(figures)),
    }
    return render(
        "campaign.html.jinja",
        charts=[part for part in parts.values() if part],
        links={**links, f"Round {last.round_no}": round_link(last.round_id)},
        headlines=_headlines(figures, warehouse),
        rounds=_rounds(figures),
        standings=_standings(warehouse, last.round_no),
        skipped=[each for each in RoundBook(warehouse).all() if each.status == SKIPPED],
        record=record_of(warehouse, last.round_no),
        first=rounds[0],
        last=last,
        settings=settings,
        **parts,
    )


def _headlines(figures: dict[int, dict[str, Any]], warehouse: WarehouseResource) -> list[Headline]:
    every = list(figures.values())
    first, last = every[0]["distance_before"], every[-1]["distance_after"]
    spent = float(sum(each["spent"] for each in every))
    lots = sum(each["pairs_bought"] for each in every)
    people = warehouse.query("SELECT count(DISTINCT nullif(contributor_id, '')) FROM event_index").item()
    rejected = sum(each["rejected"] for each in every)
    events = rejected + sum(each["accepted"] for each in every)
    return [
        Headline(
            f"{number(first, 3)} → {number(last, 3)}",
            f"target distance over {plural(len(every), 'round')}, ± {number(every[0]['error_before'], 3)} and "
            f"± {number(every[-1]['error_after'], 3)}",
        ),
        Headline(share(1 - last / first, 1), "less distance", mood_of(first - last)),
        Headline(f"{people:,}", "contributors"),
        Headline(f"{events:,}", f"events, {share(rejected / max(events, 1), 1)} rejected"),
        Headline(number(spent, 2), "credits spent"),
        Headline(f"{lots:,}", f"lots bought{f', {number(spent / lots, 3)} credits a lot' if lots else ''}"),
        Headline(number(spent / (first - last) / 10 if last < first else None, 2), "credits for 0.1 of distance"),
    ]


def _distances(figures: dict[int, dict[str, Any]]) -> Chart:
    rows = []
    for number_, each in figures.items():
        for series, mean, error in (
            ("base", each["distance_before"], each["error_before"]),
            ("next base", each["distance_after"], each["error_after"]),
        ):
            rows.append({"round": number_, "series": series, "value": mean, "low": mean - error, "high": mean + error})
    colours = {"base": "var(--c8)", "next base": "var(--good)"}
    return charts.lines("distances", rows, axis="target distance, fresh sample", colours=colours, height=280)


def _spending(figures: dict[int, dict[str, Any]]) -> Chart:
    spent = accumulate(float(each["spent"]) for each in figures.values())
    rows = [
        {"round": round_no, "series": "credits", "value": sum_} for round_no, sum_ in zip(figures, spent, strict=True)
    ]
    return charts.lines("spending", rows, axis="credits spent so far", colours={"credits": "var(--c1)"}, zero=True)


def _prices(figures: dict[int, dict[str, Any]]) -> Chart | None:
    rows = [
        {
            "round": round_no,
            "value": price,
            "note": f"{number(price, 4)} credits a lot, {plural(each['pairs_bought'], 'lot')}",
        }
        for round_no, each in figures.items()
        if each["pairs_bought"]
        for price in [float(each["spent"]) / each["pairs_bought"]]
    ]
    return charts.columns("prices", rows, axis="credits a lot") if rows else None


def _quality(figures: dict[int, dict[str, Any]]) -> Chart:
    rows = []
    for round_no, each in figures.items():
        rows.append({"round": round_no, "series": "rejected events", "value": each["rejected_share"]})
        if each["quality_bought"] is not None:
            rows.append({"round": round_no, "series": "quality of answers bought", "value": each["quality_bought"]})
    colours = {"rejected events": "var(--bad)", "quality of answers bought": "var(--c3)"}
    return charts.lines("quality", rows, axis="share; quality from 0 to 1", colours=colours, form=".0%", zero=True)


def _accuracy(figures: dict[int, dict[str, Any]]) -> Chart | None:
    rows = [
        {"round": round_no, "series": series, "value": each["alignment"][column]}
        for round_no, each in figures.items()
        for series, column in (("before alignment", "accuracy_before"), ("after", "accuracy_after"))
        if each["alignment"][column] is not None
    ]
    colours = {"before alignment": "var(--c8)", "after": "var(--c4)"}
    return (
        charts.lines("accuracy", rows, axis="held-out pairs ranked as the crowd does", colours=colours, form=".0%")
        if rows
        else None
    )


def _leaders(warehouse: WarehouseResource, rounds: list[int]) -> Chart:
    """Points over the rounds of the contributors with the most and the fewest points now; of many rounds, an even choice and the last."""
    rounds = sorted({*rounds[:: 1 + len(rounds) // ROUNDS_DRAWN], rounds[-1]})
    now = points_so_far(warehouse, rounds[-1])
    shown = now if now.height <= 2 * LEADERS_DRAWN else pl.concat([now.head(LEADERS_DRAWN), now.tail(LEADERS_DRAWN)])
    place = {name: index for index, name in enumerate(shown["contributor_id"])}
    kinds = {"most points": "var(--good)", "fewest": "var(--bad)"}
    rows = []
    for round_no in rounds:
        then = points_so_far(warehouse, round_no).filter(pl.col("contributor_id").is_in(list(place)))
        for name, points in then.select("contributor_id", "points").iter_rows():
            kind = "most points" if place[name] < max(1, shown.height // 2) else "fewest"
            rows.append({"round": round_no, "value": points, "series": kind, "name": name})
    return charts.many_lines("leaders", rows, axis="points so far", colours=kinds)


def _rounds(figures: dict[int, dict[str, Any]]) -> Table:
    rows = pl.DataFrame(
        [
            {
                "round": round_id_of(round_no),
                "winner": each["winner"],
                "before": each["distance_before"],
                "after": each["distance_after"],
                "error": each["error_after"],
                "reduction": each["reduction"],
                "aligned": "kept" if each["alignment"]["kept"] else "left out",
                "events": each["accepted"] + each["rejected"],
                "rejected": each["rejected_share"],
                "spent": float(each["spent"]),
                "pairs": each["pairs_bought"],
                "price": float(each["spent"]) / each["pairs_bought"] if each["pairs_bought"] else None,
                "price_of_distance": float(each["spent"]) / gained / 10 if gained > 0 else None,
            }
            for round_no, each in figures.items()
            for gained in [each["distance_before"] - each["distance_after"]]
        ],
        schema_overrides={"price": pl.Float64, "price_of_distance": pl.Float64},
        infer_schema_length=None,
    ).reverse()
    return table(
        "rounds",
        rows,
        {
            "round": Column("round", link=round_link),
            "winner": Column("winner"),
            "before": Column("base", 3),
            "after": Column("next base", 3),
            "error": Column("± standard error", 3),
            "reduction": Column("less distance, %", 1, 100),
            "aligned": Column("alignment"),
            "events": Column("events"),
            "rejected": Column("rejected, %", 1, 100),
            "spent": Column("credits", 3),
            "pairs": Column("lots bought"),
            "price": Column("credits a lot", 3),
            "price_of_distance": Column("credits for 0.1 of distance", 3),
        },
    )


def _standings(warehouse: WarehouseResource, round_no: int) -> Table:
    earned = warehouse.query(
        "SELECT contributor_id, sum(amount) FILTER (WHERE unit = 'credit')::float8 AS credits, "
        "sum(amount) FILTER (WHERE unit = 'point')::float8 AS posted, "
        f"sum(amount) FILTER (WHERE held_back)::float8 AS held FROM {PEOPLES_LEDGER} entries WHERE round_no <= $n GROUP BY 1",
        {"n": round_no},
    )
    everybody = (
        points_so_far(warehouse, round_no)
        .join(earned, on="contributor_id", how="full", coalesce=True)
        .sort("points", "credits", "contributor_id", descending=[True, True, False], nulls_last=True)
        .with_columns(NOT_YET_SURE)
    )
    return table(
        "standings",
        everybody,
        {
            "contributor_id": Column("contributor"),
            "points": Column("points so far", 2),
            "posted": Column("points posted", 2),
            **({"held": Column("points held back as deposit", 2)} if everybody["held"].sum() else {}),
            "estimate": Column("estimated to bring a model closer by", 4),
            "standard_error": Column("± standard error", 4),
            "credits": Column("credits", 4),
        },
        size=25,
    )
