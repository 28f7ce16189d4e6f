"""The quality report: one self-contained page on what the gate found, over all rounds; and a server for it.

Belongs here: gathering what the page shows, serving it beside the Data Docs on this machine. Does not belong here: how
it looks (see ``quality.html.jinja``), what was found (see ``gate``).
"""

import json
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import polars as pl
from upath import UPath

from crowd_assets.quality import drift
from crowd_assets.quality.gate import all_expectations
from crowd_assets.report import charts
from crowd_assets.report.agreement import Figures
from crowd_assets.report.charts import Chart
from crowd_assets.report.page import render
from crowd_assets.report.places import INDEX, QUALITY, REPORTS, campaign_path, shared_links
from resources.common.errors import OperatorError
from resources.files.storage import is_local, write_text_atomically
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource
from resources.warehouse.base import WarehouseResource

ROWS_SHOWN = 40
LINES_SHOWN = 8
AGREEMENT = "agreement.json"  # beside the page
EVERY_EVENT = "event_id_unique"  # an expectation of every kind: its rows are the kind's events


def quality_page(settings: CrowdSettings) -> UPath:
    """Where the page lies."""
    return settings.reports_path / QUALITY


def write_quality_page(
    settings: CrowdSettings,
    warehouse: WarehouseResource,
    data_quality: DataQualityResource,
    figures: Figures | None = None,
) -> UPath:
    """Write the page on all rounds that the gate has seen.

    Args:
        figures: How far judges agree and what judging takes (``report.agreement.shared_figures``), kept beside the page; None: those
            that were kept.
    """
    kept = settings.reports_path / AGREEMENT
    if figures is None:
        figures = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    else:
        write_text_atomically(kept, json.dumps(figures, indent=1, ensure_ascii=False))
    with warehouse.session():
        verdicts = warehouse.query(
            "SELECT round_no, round_id, passed, v.reason, accepted, rejected FROM quality_verdicts v "
            "JOIN rounds USING (round_no) ORDER BY round_no"
        )
        findings = warehouse.query("SELECT * FROM quality_findings ORDER BY round_no, suite, expectation")
        last = verdicts.row(-1, named=True)
        rejected = warehouse.query(
            "SELECT source, line, kind, contributor_id, reason, excerpt FROM rejected_feedback "
            "WHERE round_no = $n AND stage <> 'ingestion' ORDER BY source, line LIMIT $most",
            {"n": last["round_no"], "most": ROWS_SHOWN},
        )
        flagged = warehouse.query(
            "SELECT CASE WHEN detector = 'collusion' THEN '(not named here)' ELSE contributor_id END AS contributor_id, detector, value, n, "
            "p_value, detail FROM quality_contributors "
            "WHERE round_no = $n AND flagged ORDER BY detector, p_value, contributor_id LIMIT $most",
            {"n": last["round_no"], "most": ROWS_SHOWN},
        )
        at_ingestion = warehouse.query(
            "SELECT reason, count(*) AS lines FROM rejected_feedback WHERE stage = 'ingestion' "
            "GROUP BY reason ORDER BY lines DESC, reason LIMIT $most",
            {"most": ROWS_SHOWN},
        )
        agreed = warehouse.query("SELECT * FROM agreement_figures ORDER BY round_no, figure")
    links = shared_links(settings, data_quality)
    del links["Feedback quality"]
    if not (settings.reports_path / INDEX).exists():  # the gate of the first round writes before any round has ended
        del links["Home"]
    drawn = _charts(verdicts, findings)
    judging = _judging_charts(agreed)
    page = render(
        "quality.html.jinja",
        charts=[*drawn.values(), *judging.values()],
        judging=judging,
        figures=figures,
        single=_single(figures),
        links=links,
        last=last,
        rounds=verdicts.height,
        findings=_table(findings.filter(pl.col("round_no") == last["round_no"])),
        rejected=rejected.rows(named=True),
        flagged=flagged.rows(named=True),
        rows_shown=ROWS_SHOWN,
        at_ingestion=at_ingestion.rows(named=True),
        drawn=drawn,
    )
    path = quality_page(settings)
    write_text_atomically(path, page)
    return path


def _table(findings: pl.DataFrame) -> list[dict[str, object]]:
    """The last round's findings in the order of the suites, with their words; what failed and is critical first."""
    words = {(suite, name): text for suite, name, text, _ in all_expectations()}
    order = {key: place for place, key in enumerate(words)}
    rows = [row | {"words": words.get(_key(row), row["expectation"])} for row in findings.rows(named=True)]
    shown = [row for row in rows if row["rows"] and (row["suite"] != drift.ROUND or row["figure"] is not None)]
    return sorted(
        shown, key=lambda row: (not row["failing"], row["severity"] != "critical", order.get(_key(row), len(order)))
    )


def _key(row: dict[str, object]) -> tuple[str, str]:
    return str(row["suite"]), str(row["expectation"])


def _charts(verdicts: pl.DataFrame, findings: pl.DataFrame) -> dict[str, Chart]:
    """Trends over the rounds, by title."""
    share = pl.col("rejected") / (pl.col("accepted") + pl.col("rejected"))
    rejected = verdicts.select("round_no", series=pl.lit("rejected"), value=share.fill_nan(0))
    kinds = findings.filter((pl.col("expectation") == EVERY_EVENT) & (pl.col("rows") > 0))
    of_rows = findings.filter(pl.col("suite") != drift.ROUND)
    distances = findings.filter(
        (pl.col("suite") == drift.ROUND)
        & pl.col("expectation").str.ends_with("_drift")
        & pl.col("figure").is_not_null()
    )
    shares = findings.filter(pl.col("expectation").str.ends_with("_largest_share") & pl.col("figure").is_not_null())
    charts_of = {
        "Events by kind": _lines("kinds", _most(kinds, ["suite"], "rows"), "events", "d"),
        "Rejected share": _lines("rejected", rejected, "share", ".1%"),
    }
    if of_rows["failing"].sum():
        failing = _most(of_rows, ["suite", "expectation"], "failing")
        charts_of["Events that do not meet an expectation"] = _lines("failing", failing, "events", "d")
    if distances.height:
        moved = _most(distances, ["expectation"], "figure")
        charts_of["Distance from the rounds before"] = _lines("drift", moved, "distance, 0 to 1", ".2f")
    if shares.height:
        largest = _most(shares, ["expectation"], "figure")
        charts_of["Largest share of one contributor"] = _lines("shares", largest, "share", ".0%")
    return charts_of


def _judging_charts(agreed: pl.DataFrame) -> dict[str, Chart]:
    """How far judges agreed, how often and how fast they judged, over the rounds."""
    wanted = {
        "Agreement of judges": (
            "agreement",
            ("alpha_nominal", "alpha_ordinal", "alpha_interval", "fleiss_kappa", "gwet_ac1"),
            "coefficient",
            ".2f",
        ),
        "Judgements a comparison": ("overlap", ("judgements_an_item",), "judgements", ".1f"),
        "Time a judgement takes": ("seconds", ("median_seconds_an_item",), "seconds, median", ".0f"),
    }
    found = {}
    for title, (name, figures, axis, form) in wanted.items():
        rows = agreed.filter(pl.col("figure").is_in(figures))
        if rows.height:
            series = rows.select("round_no", series=pl.col("figure").str.replace_all("_", " "), value="value")
            found[title] = _lines(f"judging_{name}", series, axis, form)
    return found


def _single(figures: Figures) -> list[tuple[str, str]]:
    """Figures of their own, with their names in words."""
    parts = {name: value for part in ("pace", "cost", "power") for name, value in figures.get(part, {}).items()}
    if "agreement" in figures:
        parts["more_items_until_alpha_is_known"] = figures["agreement"]["more_items_until_alpha_is_known"]
    return [(name.replace("_", " "), "–" if value is None else f"{value:,.4g}") for name, value in parts.items()]


def _most(frame: pl.DataFrame, names: list[str], value: str) -> pl.DataFrame:
    """A series for each name, of those that come to most: ``round_no``, ``series``, ``value``."""
    rows = frame.select(
        "round_no",
        series=pl.concat_str(names, separator=" ").str.replace_all("_", " "),
        value=pl.col(value).cast(pl.Float64),
    )
    most = rows.group_by("series").agg(total=pl.col("value").sum()).filter(pl.col("total") > 0)
    shown = most.sort("total", "series", descending=[True, False]).head(LINES_SHOWN)
    return shown.join(rows, on="series", maintain_order="left").select(rows.columns)


def _lines(name: str, rows: pl.DataFrame, axis: str, form: str) -> Chart:
    drawn = rows.sort("round_no", maintain_order=True).rename({"round_no": "round"})
    colours = dict(zip(rows["series"].unique(maintain_order=True), charts.COLOURS, strict=False))
    return charts.lines(name, drawn.rows(named=True), axis=axis, colours=colours, form=form, zero=True, height=180)


class NoReportError(OperatorError, FileNotFoundError):
    """There is nothing to serve yet."""


class PortTakenError(OperatorError, OSError):
    """The server could not have its port."""


class _TwoFolders(SimpleHTTPRequestHandler):
    """Files of the reports, and of the Data Docs by the path that they have in the home; nothing else of it. The root leads to
    ``first``."""

    def __init__(
        self, *arguments: object, home: Path, docs: PurePosixPath, reports: Path, first: str, **options: object
    ) -> None:
        self._docs, self._reports, self._first = docs, reports, first
        super().__init__(*arguments, directory=str(home), **options)  # type: ignore[arg-type]

    def send_head(self) -> Any:
        if self.path != "/":
            return super().send_head()
        self.send_response(HTTPStatus.FOUND)
        self.send_header("Location", self._first)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def parse_request(self) -> bool:
        """Refuse names that somebody else made lead here: a stranger's page in a browser could read what it asks by them."""
        if not super().parse_request():
            return False
        if self.headers.get("Host", "").partition(":")[0] in ("127.0.0.1", "localhost"):
            return True
        self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        return False

    def translate_path(self, path: str) -> str:
        asked = PurePosixPath(unquote(urlsplit(path).path).lstrip("/"))
        if ".." not in asked.parts and asked.is_relative_to(self._docs):
            return super().translate_path(path)
        below = asked.parts[1:] if ".." not in asked.parts and asked.is_relative_to(REPORTS) else ("no such page",)
        return str(self._reports.joinpath(*below))


class QualityServer(ThreadingHTTPServer):
    """All reports and the Data Docs on 127.0.0.1; ``serve_forever`` runs it. ``campaign_url`` is empty while no round is reported.
    Reports of an object store are those that lie there when it starts.

    Args:
        port: 0 takes any that is free.

    Raises:
        NoReportError: no round has been through the gate.
        PortTakenError: something else listens there.
    """

    def __init__(self, settings: CrowdSettings, data_quality: DataQualityResource, port: int) -> None:
        page = quality_page(settings)
        if not page.exists():
            raise NoReportError(
                f"{page} is not there yet: the gate of a round writes this page. Run a round with make round."
            )
        home = Path(settings.home).resolve()
        docs = PurePosixPath(data_quality.data_docs.resolve().relative_to(home).as_posix())
        campaign = campaign_path(settings)
        first = f"/{REPORTS}/{(campaign if campaign.exists() else page).name}"
        reports = settings.reports_path
        if not is_local(reports):
            self._fetched = TemporaryDirectory(prefix="crowd-reports-")
            reports.fs.get(reports.path, self._fetched.name, recursive=True)
            reports = UPath(self._fetched.name) / reports.name
        handler = partial(_TwoFolders, home=home, docs=docs.parent, reports=Path(str(reports)), first=first)
        try:
            super().__init__(("127.0.0.1", port), handler)
        except OSError as problem:
            raise PortTakenError(
                f"port {port} of 127.0.0.1: {problem.strerror}. Choose another: --port 0 takes any."
            ) from None
        self.page_url = f"http://127.0.0.1:{self.server_port}/{REPORTS}/{page.name}"
        self.campaign_url = f"http://127.0.0.1:{self.server_port}{first}" if campaign.exists() else ""
        self.data_docs_url = f"http://127.0.0.1:{self.server_port}/{docs}"
