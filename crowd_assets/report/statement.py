"""A contributor's own page: every entry of the ledger, each traceable to its round, and what was done in that round.

No text of anybody is on it, so it stays when texts are erased.

Belongs here: gathering what the page shows. Does not belong here: how it looks (see ``statement.html.jinja``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import Any
from urllib.parse import quote

import polars as pl
from upath import UPath

from crowd_assets.mechanisms.payouts import TERMS
from crowd_assets.report import charts
from crowd_assets.report.campaign import NothingToReportError
from crowd_assets.report.charts import Chart
from crowd_assets.report.figures import general_reason, record_of
from crowd_assets.report.page import Column, Headline, number, render, table
from crowd_assets.report.people import people_of
from crowd_assets.report.places import STATEMENTS, round_link, shared_links, statement_path
from crowd_assets.round.tournament import points_so_far
from resources.common.progress import throttled
from resources.feedback.aliases import person_of
from resources.files.storage import write_text_atomically
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings
from resources.settings.settings import Settings
from resources.tools.data_quality import DataQualityResource
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import PEOPLES_LEDGER, round_id_of, round_no_of


@dataclass(frozen=True)
class Statement:
    """What a contributor has earned.

    Attributes:
        contributor_id: as the home knows the contributor.
        rounds: those that the contributor took part in: ``round``, ``points`` so far and their ``change`` as that round
            stated them, ``credits`` earned in it, ``why``.
        entries: of the ledger, on the contributor's account and on its deposit: ``round``, ``account`` (which of the two),
            ``unit``, ``amount``, ``reason``, ``reference``, ``entry_id``.
        terms: what the points are the sum of: a row for each round in which points were earned (``round``), with the ``state`` (posted or
            provisional), the columns of ``payouts.TERMS``, and their sum ``points``.
        rejected: events that the gate rejected: ``round``, ``kind``, ``reason``, ``event_id``.
        findings: of detectors that flagged the contributor: ``round``, ``detector``, ``event_id`` (empty for the figure itself) and ``why``.
        points: posted and provisional; ``provisional`` of these, and ``held_back`` as a deposit.
        credits: paid.
    """

    contributor_id: str
    rounds: pl.DataFrame
    entries: pl.DataFrame
    terms: pl.DataFrame
    rejected: pl.DataFrame
    findings: pl.DataFrame
    points: float
    provisional: float
    held_back: float
    credits: float

    def terms_shown(self) -> dict[str, str]:
        """The terms that are not zero in every round, with what each means."""
        return {name: words for name, words in TERMS.items() if self.terms[name].abs().max()}


@dataclass(frozen=True)
class _Sources:
    """What statements are made of, of everybody or of one, each frame with the column ``contributor_id``."""

    rounds: pl.DataFrame
    entries: pl.DataFrame
    terms: pl.DataFrame
    rejected: pl.DataFrame
    findings: pl.DataFrame
    points: pl.DataFrame

    def of(self, name: str) -> Statement:
        """The statement of one."""
        return _statement(
            name, {what: frame.filter(pl.col("contributor_id") == name) for what, frame in vars(self).items()}
        )

    def names(self) -> list[str]:
        """Everybody, in order."""
        return sorted({name for frame in vars(self).values() for name in frame["contributor_id"].unique() if name})

    def each(self) -> Iterator[Statement]:
        """The statement of everybody, by name."""
        parts = {what: frame.partition_by("contributor_id", as_dict=True) for what, frame in vars(self).items()}
        empty = {what: frame.clear() for what, frame in vars(self).items()}
        for name in self.names():
            yield _statement(name, {what: part.get((name,), empty[what]) for what, part in parts.items()})


def _statement(name: str, frames: Mapping[str, pl.DataFrame]) -> Statement:
    """The statement that somebody's rows of ``_Sources`` make."""
    own = {what: frame.drop("contributor_id") for what, frame in frames.items()}
    now, sums = float(own.pop("points")["points"].sum()), dict.fromkeys(("point", "deposit", "credit"), Decimal())
    for account, unit, amount in own["entries"].select("account", "unit", "amount").iter_rows():
        sums[unit] += amount
        if account == "deposit":
            sums["deposit"] += amount
    return Statement(
        name,
        **own,
        points=now,
        provisional=now - float(sums["point"]),
        held_back=float(sums["deposit"]),
        credits=float(sums["credit"]),
    )


@dataclass(frozen=True)
class Standing:
    """What the pages of everybody share: the ``last`` settled round, its ``record``, and ``links``."""

    last: Round
    record: Mapping[str, Any]
    links: Any


def standing_of(settings: CrowdSettings, warehouse: WarehouseResource, data_quality: DataQualityResource) -> Standing:
    """What it is now; a round must be settled."""
    last = RoundBook(warehouse).settled()[-1]
    return Standing(last, record_of(warehouse, last.round_no), shared_links(settings, data_quality, up=1))


TERMS_OF = f"""
SELECT contributor_id, earned_in_round AS round, CASE WHEN closes THEN 'posted' ELSE 'provisional' END AS state,
    {", ".join(TERMS)}, points
FROM contributor_points p JOIN epochs USING (round_no)
WHERE (CAST($who AS VARCHAR) = '' OR contributor_id = $who) AND round_no = (
    SELECT max(later.round_no) FROM contributor_points later
    WHERE later.earned_in_round = p.earned_in_round AND later.round_no <= $last)
ORDER BY earned_in_round
"""
"""What points are the sum of, as the last settled round that stated them says."""


def statement_of(contributor: str, settings: Settings, warehouse: WarehouseResource) -> Statement:
    """What a contributor has earned, by name or pseudonym.

    Raises:
        NothingToReportError: nobody of that name has sent anything, or no round is settled.
        PseudonymKeyError: the home was begun with another key.
    """
    name = person_of(warehouse, contributor)
    settled = RoundBook(warehouse).settled()
    known = warehouse.query("SELECT count(*) FROM event_index WHERE contributor_id = $who", {"who": name}).item()
    if not known or not settled:
        raise NothingToReportError(
            f"{contributor} has sent nothing to this home ({settings.home}), or no round is settled yet. With a key in "
            "CROWD_PSEUDONYM_KEY give the name as tools send it, or the pseudonym."
        )
    return _sources(warehouse, settled, name).of(name)


def statements(settings: Settings, warehouse: WarehouseResource) -> Iterator[Statement]:
    """What everybody has earned, by name: as :func:`statement_of` says of each, from as many queries as for one.

    Raises:
        NothingToReportError: no round is settled.
    """
    return _sources_of_all(settings, warehouse).each()


def _sources_of_all(settings: Settings, warehouse: WarehouseResource) -> _Sources:
    settled = RoundBook(warehouse).settled()
    if not settled:
        raise NothingToReportError(f"no round of this home ({settings.home}) is settled yet.")
    return _sources(warehouse, settled)


def _sources(warehouse: WarehouseResource, settled: Sequence[Round], only: str = "") -> _Sources:
    who = {"who": only}
    entries = warehouse.query(
        "SELECT contributor_id, round_id AS round, split_part(account, ':', 1) AS account, unit, amount, reason, reference, entry_id "
        f"FROM {PEOPLES_LEDGER} entries WHERE CAST($who AS VARCHAR) = '' OR contributor_id = $who "
        "ORDER BY round_no, unit, reference, account",
        who,
    )
    rejected = warehouse.query(
        "SELECT contributor_id, round_id AS round, kind, f.reason, event_id FROM rejected_feedback f JOIN rounds USING (round_no) "
        "WHERE stage = 'gate' AND (CAST($who AS VARCHAR) = '' OR contributor_id = $who) ORDER BY round_no, kind, event_id",
        who,
    )
    took_part = [
        people_of(warehouse, each.round_no, only=only or None, private=True).select(
            "contributor_id", pl.lit(each.round_id).alias("round"), "points", "change", "credits", "why"
        )
        for each in settled
    ]
    return _Sources(
        pl.concat(took_part),
        entries,
        warehouse.query(TERMS_OF, {**who, "last": settled[-1].round_no}).with_columns(
            pl.col("round").map_elements(round_id_of, return_dtype=pl.String)
        ),
        rejected.with_columns(pl.col("reason").map_elements(general_reason, return_dtype=pl.String)),
        _findings(warehouse, who),
        points_so_far(warehouse, settled[-1].round_no).select("contributor_id", "points"),
    )


def _findings(warehouse: WarehouseResource, who: Mapping[str, str]) -> pl.DataFrame:
    """What detectors flagged: a row for the figure, and one for each text found, where the round was settled since the texts are kept."""
    return warehouse.query(
        "SELECT contributor_id, round_id AS round, replace(detector, '_', ' ') AS detector, event_id, why FROM ("
        "SELECT round_no, contributor_id, detector, '' AS event_id, replace(detail, '_', ' ') AS why FROM quality_contributors WHERE flagged "
        "UNION ALL SELECT round_no, contributor_id, detector, event_id, why FROM flagged_texts) found JOIN rounds USING (round_no) WHERE CAST($who AS VARCHAR) = '' OR contributor_id = $who "
        "ORDER BY round_no, detector, event_id",
        who,
    )


def write_statement(
    statement: Statement, settings: CrowdSettings, warehouse: WarehouseResource, data_quality: DataQualityResource
) -> UPath:
    """Write a contributor's page.

    Returns:
        where it lies.
    """
    path = statement_path(settings, statement.contributor_id)
    write_text_atomically(path, statement_page(statement, standing_of(settings, warehouse, data_quality)))
    return path


def write_statements(
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    data_quality: DataQualityResource,
    say: Callable[[str], None] = print,
) -> tuple[UPath, int]:
    """Write the page of everybody, without plots, and an index of the pages, which is the operator's alone.

    Args:
        say: Where lines of progress go.

    Returns:
        where the index lies, and how many pages.
    """
    sources, rows = _sources_of_all(settings, warehouse), []
    names = sources.names()
    progress = throttled("statements", say, "people")
    standing = standing_of(settings, warehouse, data_quality)
    for count, found in enumerate(sources.each(), start=1):
        path = statement_path(settings, found.contributor_id)
        write_text_atomically(path, statement_page(found, standing, plots=False))
        rows.append((found.contributor_id, found.points, found.provisional, found.credits, path.name))
        progress(count, len(names))
    index = settings.reports_path / f"{STATEMENTS}.html"
    links = {name: f"{STATEMENTS}/{quote(file)}" for name, *_, file in rows}
    frame = pl.DataFrame(rows, schema=["contributor", "points", "provisional", "credits", "file"], orient="row")
    people = table(
        "people",
        frame,
        {
            "contributor": Column("contributor", link=links.get),
            "points": Column("points", 2),
            "provisional": Column("of them provisional", 2),
            "credits": Column("credits", 4),
        },
        most=frame.height + 1,
    )
    page = render(
        "statements.html.jinja", people=people, links=shared_links(settings, data_quality), last=standing.last
    )
    write_text_atomically(index, page)
    return index, len(rows)


def statement_page(statement: Statement, standing: Standing, *, plots: bool = True) -> str:
    """A contributor's page, as HTML.

    Args:
        plots: Whether the page has plots, and the library that draws them.
    """

    def to_round(round_id: str) -> str:
        return round_link(round_id, up=1)

    parts = {"points": _points(statement) if plots else None, "credits": _credits(statement) if plots else None}
    return render(
        "statement.html.jinja",
        charts=[part for part in parts.values() if part],
        statement=statement,
        links=standing.links,
        last=standing.last,
        record=standing.record,
        headlines=[
            Headline(
                number(statement.points, 2),
                f"points, {number(statement.provisional, 2)} provisional"
                + (f" and {number(statement.held_back, 2)} held back" if statement.held_back else ""),
            ),
            Headline(number(statement.credits, 4), "credits paid"),
            Headline(f"{statement.rounds.height:,}", "rounds that this contributor took part in"),
            Headline(f"{statement.entries.height:,}", "entries in the ledger"),
            Headline(f"{statement.rejected.height:,}", "events rejected"),
        ],
        rounds=table(
            "rounds",
            statement.rounds.reverse(),
            {
                "round": Column("round", link=to_round),
                "points": Column("points so far", 2),
                "change": Column("change since the round before", 2),
                "credits": Column("credits", 4),
                "why": Column("reasons"),
            },
        ),
        entries=table(
            "entries",
            statement.entries,
            {
                "round": Column("round", link=to_round),
                "account": Column("account"),
                "unit": Column("unit"),
                "amount": Column("amount", 6),
                "reason": Column("reason"),
                "reference": Column("reference"),
                "entry_id": Column("entry"),
            },
            most=statement.entries.height + 1,
        ),
        terms=table(
            "terms",
            statement.terms,
            {
                "round": Column("earned in", link=to_round),
                **{name: Column(words, 4) for name, words in statement.terms_shown().items()},
                "points": Column("points", 4),
                "state": Column("state"),
            },
        ),
        rejected=table(
            "rejected",
            statement.rejected,
            {
                "round": Column("round", link=to_round),
                "kind": Column("kind"),
                "reason": Column("reason"),
                "event_id": Column("event"),
            },
        ),
        findings=table(
            "findings",
            statement.findings,
            {
                "round": Column("round", link=to_round),
                "detector": Column("detector"),
                "event_id": Column("event"),
                "why": Column("what was found"),
            },
        ),
        **parts,
    )


def _points(statement: Statement) -> Chart | None:
    rows = [
        {"round": round_no_of(round_id), "series": "points", "value": points}
        for round_id, points in statement.rounds.filter(pl.col("points").is_not_null())
        .select("round", "points")
        .iter_rows()
    ]
    return (
        charts.lines("points", rows, axis="points so far", colours={"points": "var(--good)"}, zero=True)
        if rows
        else None
    )


def _credits(statement: Statement) -> Chart | None:
    paid = (
        statement.entries.filter(pl.col("unit") == "credit")
        .group_by("round", maintain_order=True)
        .agg(pl.col("amount").sum())
    )
    sums = accumulate(float(amount) for amount in paid["amount"])
    rows = [
        {"round": round_no_of(round_id), "series": "credits", "value": total}
        for round_id, total in zip(paid["round"], sums, strict=True)
    ]
    return (
        charts.lines("credits", rows, axis="credits so far", colours={"credits": "var(--c1)"}, zero=True)
        if rows
        else None
    )
