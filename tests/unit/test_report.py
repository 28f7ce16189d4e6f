"""Pages of rounds, of the campaign and of contributors: one file each, that shows the warehouse's figures and runs nobody's text."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from crowd_assets.mechanisms.labelers import regret
from crowd_assets.mechanisms.labelers.base import nobody_known
from crowd_assets.mechanisms.labelers.table import AGGREGATES
from crowd_assets.mechanisms.payouts import TERMS
from crowd_assets.report import charts
from crowd_assets.report.campaign import NothingToReportError, campaign_page
from crowd_assets.report.places import campaign_path, report_path, statement_path
from crowd_assets.report.round import round_page
from crowd_assets.report.statement import standing_of, statement_of, statement_page, statements, write_statements
from crowd_assets.round.labelers import REGRETS, regret_so_far, regrets_after, weights_after
from resources.build import build_resources
from resources.feedback.events import EVENT_SCHEMA
from resources.rounds.book import Round, RoundBook
from resources.settings.resource import CrowdSettings

HOSTILE = "\"'><script>alert(1)</script></svg><img src=http://203.0.113.9/ onerror=alert(2)>"


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Home:
    """Settled rounds made by hand: three write, two judge, three sell, and one of each has a hostile name."""

    def __init__(self, folder: Path) -> None:
        self.settings = CrowdSettings(home=str(folder))
        self.resources = build_resources(self.settings)
        self.warehouse, self.frames = self.resources.warehouse, self.resources.frames
        self.made_from = (self.settings, self.warehouse, self.frames, self.resources.data_quality)

    def settle(self, number: int, *, closes: bool) -> None:
        """One more round, in which the candidate of group 1 wins."""
        name, put = f"r{number:06d}", self.warehouse.replace_round
        base, winner = 1.0 / number, 0.8 / number
        self._put_votes(number)
        put("quality_verdicts", number, pl.DataFrame({"passed": [True], "accepted": [40], "rejected": [2]}))
        missed = {"suite": ["bid"], "expectation": [HOSTILE], "severity": ["critical"], "rows": [20], "failing": [2]}
        put("quality_findings", number, pl.DataFrame(missed))
        flag = {"contributor_id": ["bo"], "detector": ["copies"], "value": [1.0], "n": [9], "flagged": [True]}
        put("quality_contributors", number, pl.DataFrame(flag | {"detail": [HOSTILE]}))
        who = ["ann", "bo", HOSTILE]
        put(
            "contributor_groups",
            number,
            pl.DataFrame({"contributor_id": who, "group_index": [0, 1, 1], "demonstrations": 5}),
        )
        values = {"contributor_id": who, "shapley_value": [-0.1, 0.2, 0.0], "standard_error": [0.05, 0.05, None]}
        put("contributions", number, pl.DataFrame(values).with_columns(method=pl.lit("centroid")))
        estimates = {"contributor_id": who, "estimate": [-0.01, 0.03, 0.0], "standard_error": 0.002}
        provisional = {"provisional_points": [-1.5, 4.25, 0.5], "scheme": "surrogate"}
        put("contributor_estimates", number, pl.DataFrame(estimates | provisional))
        epoch = {"first_round_no": [1], "closes": [closes], "reliability": [0.9], "observed_variance": [0.1]}
        put("epochs", number, pl.DataFrame(epoch))
        rows = [
            ("base", -1, base, None, False),
            ("candidate", 0, base + 0.1, 1, False),
            ("candidate", 1, winner, 0, True),
        ]
        selection = pl.DataFrame(rows, schema=["role", "group_index", "distance", "rank", "selected"], orient="row")
        fresh = pl.col("distance") + 0.01
        put(
            "selections",
            number,
            selection.with_columns(standard_error=0.02, fresh_distance=fresh, fresh_standard_error=0.03),
        )
        put("alignments", number, pl.DataFrame({"kept": [False], "reason": [HOSTILE]}))
        awards = [
            ("lot", "e1", "sue", 0.9, Decimal("0.2"), Decimal("0.35"), True),
            ("lot", "e2", HOSTILE, 0.8, Decimal("0.3"), Decimal("0.4"), True),
            ("lot", "e3", "tom", 0.1, Decimal("0.5"), Decimal(0), False),
        ]
        columns = ["lot_id", "event_id", "contributor_id", "quality", "asked_price", "payment", "awarded"]
        bids = pl.DataFrame(awards, schema=columns, orient="row").with_columns(
            value=pl.col("quality").cast(pl.Decimal(18, 6))
        )
        put("awards", number, bids.with_columns(pl.col("event_id") + name, lot_cleared=pl.lit(True)))
        entries = [("contributor:sue", "credit", "0.35"), (f"contributor:{HOSTILE}", "credit", "0.4")]
        if closes:
            entries += [("contributor:ann", "point", "-1.5"), ("contributor:bo", "point", "4.25")]
        with self.warehouse.transaction() as connection:
            for account, unit, amount in entries:
                connection.execute(
                    "INSERT INTO ledger VALUES ($id, $n, $round, $account, $unit, $amount, 'earned', $reference)",
                    {
                        "id": f"{number}{account}"[:40],
                        "n": number,
                        "round": name,
                        "account": account,
                        "unit": unit,
                        "amount": Decimal(amount),
                        "reference": f"of {name}",
                    },
                )
            connection.execute(
                "INSERT INTO rejected_feedback VALUES ($id, $n, 'gate', 'f', 1, 'bid', 'tom', $id, $reason, $text)",
                {"id": f"x{number}", "n": number, "reason": f"like '{HOSTILE}' again", "text": HOSTILE},
            )
            connection.execute("INSERT OR IGNORE INTO event_index VALUES ('e', 1, 'bid', 'sue', NULL)")
            record = json.dumps({"settings": {"target_attribute": HOSTILE, "budget": "7"}})
            connection.execute(
                "INSERT INTO round_records VALUES ($n, $record, '', $hash)",
                {"n": number, "record": record, "hash": f"{number}" * 64},
            )
        texts = pl.DataFrame({"prompt": [HOSTILE] * 9, "base": ["a text"] * 9, "winner": [HOSTILE] * 9})
        self.frames.write("generations", name, texts)

    def _put_votes(self, number: int) -> None:
        """Reports of two labelers on three comparisons, one of which cy did not see, and their outcomes."""
        with self.warehouse.transaction() as connection:
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, claimed_at, settled_at) "
                "VALUES ($n, $id, $n * 10, $n * 10 + 9, 'completed', 1, 0, $now, $now)",
                {"n": number, "id": f"r{number:06d}", "now": NOON.replace(tzinfo=None)},
            )
        votes = [("cy", 0, 0.9), ("cy", 1, 0.2), (HOSTILE, 0, 0.6), (HOSTILE, 1, 0.7), (HOSTILE, 2, 0.5)]
        reports = pl.DataFrame(
            {
                "kind": "preference",
                "contributor_id": [who for who, _, _ in votes],
                "comparison_id": [f"{number}-{slot}" for _, slot, _ in votes],
                "probability_a": [report for _, _, report in votes],
                "submitted_at": NOON,
            }
        )
        outcomes = pl.DataFrame(
            {
                "kind": "outcome",
                "comparison_id": [f"{number}-{slot}" for slot in range(3)],
                "preferred_a": [1.0, 0.0, 1.0],
                "submitted_at": [NOON + timedelta(minutes=1 + slot) for slot in range(3)],
            }
        )
        schema = {"seq": pl.Int64(), **EVENT_SCHEMA}
        both = pl.concat([reports, outcomes], how="diagonal").with_row_index("seq")
        rest = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in both.columns]
        self.frames.write(
            "validated_feedback", f"r{number:06d}", both.with_columns(rest).select(list(schema)).cast(schema)
        )
        weights = {"labeler_id": ["cy", HOSTILE], "weight": [0.75, 0.25], "slots_seen": [2 * number, 3 * number]}
        weights |= {"cumulative_loss": [0.05 * number, 0.9 * number], "slots": 3 * number, "reports": [2, 3]}
        self.warehouse.replace_round("labeler_weights", number, pl.DataFrame(weights))
        _, learnt = weights_after(self.round(number), self.settings, self.warehouse, self.frames)
        learned = regrets_after(self.round(number), self.warehouse, self.frames, learnt)
        self.frames.write(REGRETS, f"r{number:06d}", learned)

    def round(self, number: int) -> Round:
        return RoundBook(self.warehouse).get(f"r{number:06d}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    found = Home(tmp_path_factory.mktemp("home"))
    found.settle(1, closes=False)
    found.first = round_page(found.round(1), *found.made_from)  # type: ignore[attr-defined]
    found.settle(2, closes=True)
    return found


@pytest.fixture(scope="module")
def pages(home: Home) -> dict[str, str]:
    sue = statement_of("sue", home.settings, home.warehouse)
    return {
        "round": round_page(home.round(2), *home.made_from),
        "campaign": campaign_page(*home.made_from),
        "statement": statement_page(sue, standing_of(home.settings, home.warehouse, home.resources.data_quality)),
    }


class _Page(HTMLParser):
    """Elements, scripts and the texts of tables' cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._inside = ""
        self._table = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "table":
            self._table = attributes.get("id") or ""
            self.tables[self._table] = []
        elif tag == "tr" and self._table:
            self.tables[self._table].append([])
        elif tag in ("td", "th") and self._table:
            self.tables[self._table][-1].append("")
            self._inside = tag
        elif tag == "script":
            self.scripts.append((attributes, ""))
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + data)
        elif self._inside and self._table:
            self.tables[self._table][-1][-1] += data

    @property
    def policy(self) -> str:
        (policy,) = [
            each["content"] for _, each in self.elements if each.get("http-equiv") == "Content-Security-Policy"
        ]
        return str(policy)

    def column(self, name: str, title: str) -> list[str]:
        head, *rows = self.tables[name]
        return [row[head.index(title)] for row in rows]


@pytest.fixture(params=["round", "campaign", "statement"])
def page(request: pytest.FixtureRequest, pages: dict[str, str]) -> Iterator[str]:
    return pages[request.param]


def test_a_page_is_one_file_that_asks_for_no_other_and_names_no_host(page: str) -> None:
    found = _Page(page)
    for tag, attributes in found.elements:
        assert tag not in ("link", "iframe", "object", "form", "base"), tag
        assert "src" not in attributes
        assert not [name for name in attributes if name.startswith("on")], attributes
        assert not (attributes.get("href") or "").lower().startswith(("http", "//", "javascript", "data"))
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in found.policy
    assert found.policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in found.policy.split(";")[1]


def test_only_scripts_of_ours_run(page: str) -> None:
    assert HOSTILE not in page
    assert "<script>alert" not in page
    found = _Page(page)
    code = [text for attributes, text in found.scripts if "type" not in attributes]
    for text in code:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in found.policy
        assert "alert(1)" not in text
    assert len(code) == 3
    data = [text for attributes, text in found.scripts if attributes.get("type") == "application/json"]
    assert data
    for text in data:
        assert json.loads(text)["marks"]
        assert "<" not in text


def test_a_drawing_is_well_formed_and_its_clip_paths_are_its_own(pages: dict[str, str]) -> None:
    drawings = re.findall(r"<svg .*?</svg>", pages["round"], re.DOTALL)
    assert len(drawings) == 6
    for drawing in drawings:
        assert {element.tag.split("}")[1] for element in ElementTree.fromstring(drawing).iter()} <= {
            *("svg", "g", "path", "line", "text", "rect", "defs", "clipPath", "tspan")
        }
    named = re.findall(r'<clipPath id="(.*?)"', pages["round"])
    assert named
    assert len(named) == len(set(named))


def test_a_name_that_no_drawing_can_hold_is_drawn_without_it() -> None:
    name = f"{''.join(map(chr, range(32)))}\x7f\x9b\u202e\u2028\ufffe\uffff{HOSTILE}"
    rows = [{"label": label, "value": 1.0, "kind": "earned", "note": label} for label in (name, "\U0001f600" * 99)]
    drawn = charts.bars("standings", rows, axis="points", kinds={"earned": "var(--good)"})
    assert "\ufffd" in "".join(ElementTree.fromstring(drawn.svg).itertext())
    lots = [{"lot": name, "place": 1, "seller": name, "asked": 0.1, "value": 0.2, "paid": None, "kind": "bought"}]
    assert "<script" not in charts.lots("supply", lots, chosen=[name]).svg


def test_a_later_call_writes_the_same_bytes(home: Home, pages: dict[str, str]) -> None:
    """Also of a round that others came after; the next test writes the other pages again."""
    assert round_page(home.round(1), *home.made_from) == home.first  # type: ignore[attr-defined]
    assert home.first != pages["round"]  # type: ignore[attr-defined]


def test_commands_write_the_pages(home: Home, pages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_HOME", home.settings.home)
    written = CliRunner().invoke(app, ["report", "--round", "2"])
    assert written.exit_code == 0, written.output
    assert report_path(home.settings, "r000002").read_text(encoding="utf-8") == pages["round"]
    assert campaign_path(home.settings).read_text(encoding="utf-8") == pages["campaign"]
    stated = CliRunner().invoke(app, ["statement", "sue"])
    assert stated.exit_code == 0, stated.output
    assert str(statement_path(home.settings, "sue")) in stated.output.replace("\n", "")
    assert statement_path(home.settings, "sue").read_text(encoding="utf-8") == pages["statement"]


def test_the_figures_are_the_warehouse_s(home: Home, pages: dict[str, str]) -> None:
    found = _Page(pages["round"])
    assert "0.510 → 0.410" in pages["round"]
    assert "19.6 %" in pages["round"]
    assert "0.75 of 7" in pages["round"]  # credits of the budget that the round was settled with
    assert found.column("groups", "place") == ["1", "2"]
    assert found.column("groups", "distance") == ["0.400", "0.600"]
    people = dict(zip(found.column("people", "contributor"), found.column("people", "credits"), strict=True))
    assert people == {"bo": "–", "ann": "–", "sue": "0.350", HOSTILE: "0.400", "cy": "–", "tom": "–"}
    points = dict(zip(found.column("people", "contributor"), found.column("people", "points so far"), strict=True))
    assert (points["bo"], points["ann"]) == ("4.25", "−1.50")
    ledger = home.warehouse.query("SELECT sum(amount) FROM ledger WHERE round_no = 2 AND unit = 'credit'").item()
    assert sum(Decimal(each) for each in people.values() if each != "–") == ledger
    assert found.column("rejections", "reason") == ["like … again"]
    assert len(found.column("samples", "winner")) == 9


def test_the_campaign_adds_up_all_rounds(pages: dict[str, str]) -> None:
    found = _Page(pages["campaign"])
    assert found.column("rounds", "round") == ["r000002", "r000001"]
    assert found.column("rounds", "credits a lot") == ["0.750", "0.750"]
    assert "1.010 → 0.410" in pages["campaign"]
    assert "2" * 64 in pages["campaign"]
    assert (
        dict(zip(*(found.column("standings", each) for each in ("contributor", "credits")), strict=True))["sue"]
        == "0.7000"
    )


def test_regret_is_that_of_the_aggregate_against_the_best_labeler(home: Home) -> None:
    outcomes = np.array([1.0, 0.0, 1.0])
    reports = np.array([[0.6, 0.9], [0.7, 0.2], [0.5, np.nan]])
    slot, labeler = np.nonzero(~np.isnan(reports))
    learnt = AGGREGATES[home.settings.aggregate].run(
        nobody_known(2), slot, labeler, reports[slot, labeler], outcomes, entry=0.5, rng=np.random.default_rng(0)
    )
    expected = regret.regret(learnt.aggregates, outcomes, reports)
    found = regret_so_far(home.warehouse, home.frames, 1)
    assert found["regret"].item() == pytest.approx(expected)
    assert found["bound"].item() == pytest.approx(3 * np.sqrt(3 * np.log(2)))
    assert home.frames.read(REGRETS, "r000001")["slots"].sum() == 5


def test_a_statement_has_every_entry_and_leads_to_its_round(home: Home, pages: dict[str, str]) -> None:
    found = statement_of("sue", home.settings, home.warehouse)
    assert (found.points, found.provisional, found.credits) == (0.0, 0.0, pytest.approx(0.7))
    assert found.entries["entry_id"].to_list() == ["1contributor:sue", "2contributor:sue"]
    shown = _Page(pages["statement"])
    assert shown.column("entries", "entry") == found.entries["entry_id"].to_list()
    assert shown.column("rounds", "reasons") == ["Sold 1 of 1 answer for 0.350 credits (asked 0.200)."] * 2
    assert [each["href"] for tag, each in shown.elements if tag == "a" and "rounds" in str(each["href"])] == [
        *("../rounds/r000002.html", "../rounds/r000001.html", "../rounds/r000001.html", "../rounds/r000002.html")
    ]
    with pytest.raises(NothingToReportError, match="nobody"):
        statement_of("nobody", home.settings, home.warehouse)
    assert statement_path(home.settings, "a/../b").name == "a%2F..%2Fb.html"


def test_a_statement_shows_what_points_are_the_sum_of_as_the_last_round_stated_them(home: Home) -> None:
    terms = {"equal_share": 3.0, "deviation": 1.5, "copies": -0.5}
    for round_no, points in ((1, 9.0), (2, 4.0)):
        row = dict.fromkeys([*TERMS, "harm"], 0.0) | terms | {"earned_in_round": 1, "contributor_id": "sue"}
        home.warehouse.replace_round("contributor_points", round_no, pl.DataFrame([row | {"points": points}]))
    found = statement_of("sue", home.settings, home.warehouse).terms
    (row,) = found.iter_rows(named=True)
    assert (row["round"], row["points"]) == ("r000001", 4.0)
    assert sum(row[name] for name in TERMS) == row["points"]


def test_a_statement_says_which_texts_a_detector_found_and_near_what(home: Home) -> None:
    assert statement_of("sue", home.settings, home.warehouse).findings.is_empty()
    with home.warehouse.transaction() as connection:
        texts = {
            "round_no": 2,
            "contributor_id": "sue",
            "detector": "copies",
            "event_id": ["e1", "e2"],
            "why": ["like e0", HOSTILE],
        }
        home.warehouse.append(connection, "flagged_texts", pl.DataFrame(texts))
    found = statement_of("sue", home.settings, home.warehouse)
    assert found.findings.select("round", "event_id", "why").rows() == [
        ("r000002", "e1", "like e0"),
        ("r000002", "e2", HOSTILE),
    ]
    shown = _Page(statement_page(found, standing_of(*home.made_from[:2], home.resources.data_quality)))
    assert shown.column("findings", "event") == ["e1", "e2"]
    everybody = {each.contributor_id: each for each in statements(home.settings, home.warehouse)}
    assert everybody["bo"].findings.select("event_id", "why").rows() == [("", HOSTILE)] * 2


def test_a_home_without_a_settled_round_says_so(tmp_path: Path) -> None:
    empty = Home(tmp_path)
    with pytest.raises(NothingToReportError, match="make round"):
        campaign_page(*empty.made_from)


def test_a_round_of_demonstrations_alone_has_a_page_too(tmp_path: Path) -> None:
    alone = Home(tmp_path)
    alone.settle(1, closes=False)
    alone.frames.write("validated_feedback", "r000001", alone.frames.read("validated_feedback", "r000001").clear())
    with alone.warehouse.transaction() as connection:
        for name in ("awards", "labeler_weights", "quality_findings", "rejected_feedback", "round_records"):
            connection.execute(f"DELETE FROM {name}")
    page = round_page(alone.round(1), *alone.made_from)
    assert "No bids came in this round." in page
    assert "No labeler has judged a comparison yet." in page
    assert "0.00 of 24" in page
    alone.frames.path(REGRETS, "r000001").unlink()
    assert regret_so_far(alone.warehouse, alone.frames, 1).is_empty()


def test_everybodys_statement_is_the_one_that_each_has_alone(home: Home) -> None:
    together = {found.contributor_id: found for found in statements(home.settings, home.warehouse)}
    assert set(together) == {"ann", "bo", "cy", "sue", "tom", HOSTILE}
    alone = statement_of("sue", home.settings, home.warehouse)
    for part in ("rounds", "entries", "terms", "rejected"):
        assert getattr(together["sue"], part).equals(getattr(alone, part)), part
    assert (together["sue"].points, together["sue"].credits) == (alone.points, alone.credits)


def test_the_index_of_statements_leads_to_a_page_each(home: Home) -> None:
    index, count = write_statements(home.settings, home.warehouse, home.resources.data_quality)
    found = _Page(index.read_text(encoding="utf-8"))
    links = [
        attributes["href"]
        for tag, attributes in found.elements
        if tag == "a" and "statements/" in (attributes.get("href") or "")
    ]
    assert len(links) == count == 6
    for link in links:
        assert (index.parent / unquote(link)).exists()
