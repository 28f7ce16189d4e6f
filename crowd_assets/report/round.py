"""The page of a round: what it came to, who earned what and why, what was bought at what price, what was rejected.

A page depends on the round and those before it alone, so a later call writes the same bytes.

Belongs here: gathering what the page shows. Does not belong here: its charts (see
``round_charts``), how it looks (see ``round.html.jinja``).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import polars as pl
from upath import UPath

from crowd_assets.mechanisms.auctions.table import AUCTIONS
from crowd_assets.quality.gate import all_expectations
from crowd_assets.report.charts import Chart
from crowd_assets.report.figures import (
    record_of,
    rejections,
    round_figures,
    settled_settings,
)
from crowd_assets.report.found import preference_rates_table, rates_table, why_the_base_stayed
from crowd_assets.report.page import (
    Cell,
    Column,
    Headline,
    Table,
    mood_of,
    number,
    plural,
    render,
    share,
    table,
)
from crowd_assets.report.people import people_of
from crowd_assets.report.places import report_path, round_link, shared_links
from crowd_assets.report.round_charts import (
    BASE,
    candidates_chart,
    labeler_charts,
    lots_chart,
    shapley_chart,
    standings_chart,
)
from crowd_assets.round.tournament import deposits_before
from resources.files.frames import FramesResource
from resources.files.storage import write_text_atomically
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import PEOPLES_LEDGER

SAMPLES_SHOWN = 60
MEMBERS_NAMED = 12


def write_round_page(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    data_quality: DataQualityResource,
) -> UPath:
    """Write the page of a settled round.

    Returns:
        where it lies.
    """
    path = report_path(settings, round_.round_id)
    write_text_atomically(path, round_page(round_, settings, warehouse, frames, data_quality))
    return path


def round_page(
    round_: Round,
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    frames: FramesResource,
    data_quality: DataQualityResource,
) -> str:
    """The page of a settled round, as HTML."""
    figures = round_figures(round_, warehouse)
    then = settled_settings(warehouse, round_.round_no, settings)
    people = people_of(warehouse, round_.round_no)
    before = RoundBook(warehouse).settled(round_.round_no - 1)
    links = shared_links(settings, data_quality, up=1)
    if before:
        links[f"Round {before[-1].round_no}"] = round_link(before[-1].round_id, up=1)
    parts = {
        "candidates": candidates_chart(figures),
        "standings": standings_chart(warehouse, round_.round_no),
        **shapley_chart(warehouse, round_.round_no),
        **labeler_charts(warehouse, frames, round_.round_no),
        **lots_chart(warehouse, round_.round_no),
    }
    return render(
        "round.html.jinja",
        charts=[part for part in parts.values() if isinstance(part, Chart)],
        round=round_,
        settings=then,
        figures=figures,
        headlines=_headlines(figures, people.height, then, warehouse, round_.round_no),
        said=_said(
            figures,
            people.height,
            then,
            sum(deposits_before(warehouse, round_.round_no + 1).values(), Decimal(0)),
            [said for said in warehouse.read_round("guard_verdicts", round_.round_no)["refused"] if said],
        ),
        links=links,
        record=record_of(warehouse, round_.round_no),
        auction=AUCTIONS[then.auction].summary,
        chosen=_chosen(then),
        settled_at=warehouse.query("SELECT settled_at FROM rounds WHERE round_no = $n", {"n": round_.round_no}).item(),
        groups=_groups(warehouse, figures, round_.round_no),
        rates=rates_table(round_, frames),
        preference_rates=preference_rates_table(round_, frames),
        people=_people(people),
        labelers=_labelers(warehouse, round_.round_no),
        lots=_lots(warehouse, round_.round_no),
        samples=_samples(round_, frames),
        rejections=table(
            "rejections",
            rejections(warehouse, round_.round_no),
            {
                "kind": Column("kind"),
                "reason": Column("reason"),
                "events": Column("events"),
                "contributors": Column("contributors"),
            },
        ),
        findings=_findings(warehouse, round_.round_no),
        **parts,
    )


def _chosen(settings: CrowdSettings) -> dict[str, Any]:
    """The settings of a round that differ from their defaults, by the name of the variable."""
    return {
        f"CROWD_{name.upper()}": getattr(settings, name)
        for name, field in sorted(CrowdSettings.model_fields.items())
        if name != "home" and getattr(settings, name) != field.default
    }


def _headlines(
    figures: dict[str, Any], people: int, settings: CrowdSettings, warehouse: WarehouseResource, round_no: int
) -> list[Headline]:
    posted = warehouse.query(
        f"SELECT coalesce(sum(amount), 0)::float8 FROM {PEOPLES_LEDGER} entries WHERE round_no = $n AND unit = 'point'",
        {"n": round_no},
    ).item()
    epoch = figures["epoch"]
    points = (
        Headline(number(posted, 1), "points posted: the epoch closed")
        if epoch["closes"]
        else Headline("provisional", f"points, since round {epoch['first_round_no']}")
    )
    lots = figures["pairs_bought"]
    price = f", {number(float(figures['spent']) / lots, 3)} a lot" if lots else ""
    return [
        Headline(
            f"{number(figures['distance_before'], 3)} → {number(figures['distance_after'], 3)}",
            f"target distance, ± {number(figures['error_before'], 3)} and ± {number(figures['error_after'], 3)}, fresh sample",
        ),
        Headline(share(figures["reduction"], 1), "less target distance", mood_of(figures["reduction"])),
        Headline(
            figures["winner"], "won the round" if figures["winner"] != BASE else "stayed: no candidate was better"
        ),
        Headline(f"{people:,}", "contributors took part"),
        Headline(f"{figures['accepted']:,}", f"events accepted, {plural(figures['rejected'], 'rejected', 'rejected')}"),
        Headline(
            f"{number(figures['spent'], 2)} of {settings.budget}",
            f"credits for answers in {plural(lots, 'lot')}{price}",
        ),
        points,
    ]


def _said(
    figures: dict[str, Any], people: int, settings: CrowdSettings, held: Decimal, refused: Sequence[str] = ()
) -> list[str]:
    """The round in sentences; ``held`` points lie in deposits after the round, and ``refused`` is what the guard said of candidates."""
    candidates = figures["candidates"].height
    if figures["winner"] == BASE:
        won = why_the_base_stayed(figures["candidates"], figures["base_selection_distance"], refused)
    else:
        won = (
            f"The candidate of {figures['winner']}, the closest of {candidates} to the target, replaced the base. On a fresh sample "
            f"the candidate's distance is {number(figures['distance_selected'], 3)}, the base's "
            f"{number(figures['distance_before'], 3)}."
        )
    alignment = figures["alignment"]
    if alignment["kept"]:
        aligned = (
            f"Alignment with the crowd's preferences was kept: the aligned model ranks {share(alignment['accuracy_after'])} of the "
            f"held-out pairs as the crowd does, the winner {share(alignment['accuracy_before'])}."
        )
    else:
        aligned = f"Alignment with the crowd's preferences was left out: {alignment['reason']}."
    epoch = figures["epoch"]
    points = (
        "The epoch closed, and the epoch's points were posted."
        if epoch["closes"]
        else f"Points are provisional: the epoch began with round {epoch['first_round_no']} and closes after "
        f"{plural(settings.epoch_rounds, 'settled round')}."
    )
    said = [
        f"{plural(people, 'contributor')} took part. {won}",
        aligned,
        f"{points} Of the differences between candidates, {share(epoch['reliability'])} are more than noise of measuring.",
    ]
    if Decimal(settings.deposit) or held:
        said.append(
            f"Of the points posted so far, {number(held, 2)} are held back. The first {settings.deposit} points of every name are the "
            "name's deposit, so that taking several names does not pay."
            + (" Only judgements of names whose deposit was whole before the round count." * settings.labeler_stake)
        )
    return said


def _groups(warehouse: WarehouseResource, figures: dict[str, Any], round_no: int) -> Table:
    members = (
        warehouse.read_round("contributor_groups", round_no)
        .sort("demonstrations", "contributor_id", descending=[True, False])
        .group_by("group_index")
        .agg(
            contributors=pl.len(),
            demonstrations=pl.col("demonstrations").sum(),
            named=pl.col("contributor_id").head(MEMBERS_NAMED).str.join(", "),
        )
        .with_columns(
            members=pl.when(pl.col("contributors") > MEMBERS_NAMED)
            .then(pl.format("{} and {} more", "named", pl.col("contributors") - MEMBERS_NAMED))
            .otherwise("named")
        )
    )
    joined = (
        figures["candidates"]
        .join(members, on="group_index", how="left")
        .with_columns(place=pl.col("rank") + 1, ahead=figures["base_selection_distance"] - pl.col("distance"))
        .sort("rank")
    )
    return table(
        "groups",
        joined,
        {
            "place": Column("place"),
            "group_index": Column("group"),
            "distance": Column("distance", 3),
            "standard_error": Column("± standard error", 3),
            "ahead": Column("closer than the base by", 3),
            "contributors": Column("contributors"),
            "demonstrations": Column("demonstrations"),
            "members": Column("members"),
        },
    )


def _people(people: pl.DataFrame) -> Table:
    return table(
        "people",
        people,
        {
            "contributor_id": Column("contributor"),
            "points": Column("points so far", 2),
            "change": Column("change since the last round", 2),
            "credits": Column("credits", 3),
            "why": Column("reasons"),
        },
        size=25,
    )


def _labelers(warehouse: WarehouseResource, round_no: int) -> Table:
    weights = warehouse.query(
        "SELECT labeler_id, weight * count(*) OVER () AS relative, reports, slots_seen, "
        "cumulative_loss / nullif(slots_seen, 0) AS mean_loss, value FROM labeler_weights LEFT JOIN judgement_values USING "
        "(round_no, labeler_id) WHERE round_no = $n ORDER BY weight DESC NULLS LAST, labeler_id",
        {"n": round_no},
    )
    return table(
        "labelers",
        weights,
        {
            "labeler_id": Column("labeler"),
            "relative": Column("weight, times the mean", 2),
            "reports": Column("comparisons judged in this round"),
            "slots_seen": Column("outcomes so far"),
            "mean_loss": Column("mean quadratic loss", 4),
            "value": Column("added to the aligned model, nats (not paid)", 4),
        },
        size=12,
    )


def _lots(warehouse: WarehouseResource, round_no: int) -> Table:
    lots = warehouse.query(
        "SELECT lot_id, count(*) AS bids, count(*) FILTER (WHERE awarded) AS bought, "
        "sum(payment) FILTER (WHERE awarded)::float8 AS paid, sum(asked_price) FILTER (WHERE awarded)::float8 AS asked, "
        "avg(quality) FILTER (WHERE awarded) AS quality, min(asked_price)::float8 AS cheapest, "
        "string_agg(contributor_id, ', ' ORDER BY contributor_id) FILTER (WHERE awarded) AS sellers "
        "FROM awards WHERE round_no = $n GROUP BY lot_id ORDER BY paid DESC NULLS LAST, lot_id",
        {"n": round_no},
    )
    return table(
        "lots",
        lots,
        {
            "lot_id": Column("lot"),
            "bids": Column("bids"),
            "bought": Column("bought"),
            "paid": Column("paid", 4),
            "asked": Column("asked for the answers bought", 4),
            "cheapest": Column("cheapest bid", 4),
            "quality": Column("mean quality bought", 3),
            "sellers": Column("sellers"),
        },
        size=12,
    )


def _samples(round_: Round, frames: FramesResource) -> Table:
    written = frames.read("generations", round_.round_id)
    if frames.path("aligned_generations", round_.round_id).exists():
        aligned = frames.read("aligned_generations", round_.round_id)
        written = pl.concat([written, aligned], how="horizontal")
    titles = {"prompt": "prompt", "base": "base", "winner": "winner", "aligned": "aligned"}
    shown = {name: Column(titles[name]) for name in written.columns if name in titles}
    rows = tuple(
        tuple(Cell(str(text)) for text in row) for row in written.head(SAMPLES_SHOWN).select(list(shown)).rows()
    )
    return Table(
        "samples", tuple(shown.values()), (False,) * len(shown), rows, 6, max(0, written.height - SAMPLES_SHOWN)
    )


def _findings(warehouse: WarehouseResource, round_no: int) -> Table:
    words = {(suite, name): text for suite, name, text, _ in all_expectations()}
    missed = warehouse.query(
        "SELECT suite, expectation, severity, rows, failing, failing::float8 / nullif(rows, 0) AS share FROM quality_findings "
        "WHERE round_no = $n AND failing > 0 ORDER BY severity, share DESC NULLS LAST, suite, expectation",
        {"n": round_no},
    )
    described = missed.with_columns(
        expected=pl.Series(
            [words.get((suite, name), name) for suite, name in missed.select("suite", "expectation").iter_rows()],
            dtype=pl.String,
        )
    )
    return table(
        "findings",
        described,
        {
            "suite": Column("events of"),
            "expected": Column("expectation"),
            "severity": Column("severity"),
            "failing": Column("failing"),
            "rows": Column("events"),
            "share": Column("share, %", 1, 100),
        },
    )
