"""The quality page: trends and reasons on one page that needs no other file, and a server that shows nothing else."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import polars as pl
import pytest

from crowd_assets.quality.gate import FINDINGS
from crowd_assets.report import charts
from crowd_assets.report.agreement import campaign_figures
from crowd_assets.report.quality import NoReportError, PortTakenError, QualityServer, quality_page, write_quality_page
from resources.build import build_resources
from resources.feedback.events import rejection
from resources.settings.resource import CrowdSettings

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def settings(tmp_path: Path) -> CrowdSettings:
    return CrowdSettings(home=str(tmp_path))


@pytest.fixture
def page(settings: CrowdSettings) -> str:
    """The page after two rounds, the second with rejected rows."""
    resources = build_resources(settings)
    warehouse = resources.warehouse
    with warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO rounds (round_no, round_id, to_seq) VALUES (1, 'r000001', 1), (2, 'r000002', 2)"
        )
        rows = [
            rejection(
                stage="gate", source=f"{HOSTILE}.jsonl", line=1, reason="not met: x", excerpt=HOSTILE, round_no=2
            ),
            rejection(stage="ingestion", source="f.jsonl", line=2, reason=f"unknown kind {HOSTILE}"),
        ]
        warehouse.append(connection, "rejected_feedback", pl.DataFrame(rows, schema_overrides={"round_no": pl.Int32}))
    for number, failing in ((1, 0), (2, 7)):
        found = [
            ("demonstration", "event_id_unique", "critical", 40, 0, None, None, None),
            ("demonstration", "answered_once", "critical", 40, failing, None, None, None),
            ("round", "demonstration_length_drift", "warning", 1, failing // 7, 0.1 * number, None, 0.15),
        ]
        warehouse.replace_round("quality_findings", number, pl.DataFrame(found, schema=FINDINGS, orient="row"))
        verdict = {"passed": [not failing], "reason": [HOSTILE], "accepted": [40 - failing], "rejected": [failing]}
        people = {
            "contributor_id": [HOSTILE, "c2"],
            "detector": ["collusion", "copies"],
            "flagged": [number == 2, False],
        }
        people |= {"value": [1.0, 0.0], "n": [9, 9], "p_value": [None, 0.5], "detail": [HOSTILE, "0 of 9: copies"]}
        warehouse.replace_round("quality_contributors", number, pl.DataFrame(people))
        warehouse.replace_round("quality_verdicts", number, pl.DataFrame(verdict))
    write_quality_page(settings, warehouse, resources.data_quality)
    return quality_page(settings).read_text(encoding="utf-8")


def test_the_page_is_one_file_and_shows_what_failed_first(page: str) -> None:
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") == 5
    assert "0 of 9: copies" not in page
    shown = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL).replace("url(#clip", "")
    for outside in ('src="http', 'href="http', "<link", "url(", "@import"):
        assert outside not in shown, outside
    assert page.count("<script>") == 3  # ours, which the policy names; the rest is data
    assert page.count('<script type="application/json">') == page.count('<figure class="chart">') == 4
    assert page.count("<svg") == 4
    assert "data:image" not in page
    assert page.index("same response to the same prompt once") < page.index("demonstrations are as long")
    assert page.index("demonstrations are as long") < page.index("1 met") < page.index("event_id is unique")
    assert "17.50 %" in page


def test_how_far_judges_agree_is_on_the_page_and_nobody_is_named(page: str, settings: CrowdSettings) -> None:
    resources = build_resources(settings)
    rows = [
        {"contributor_id": who, "comparison_id": f"c{at}", "prompt": HOSTILE, "probability_a": 0.9 if at % 2 else 0.1}
        for at in range(12)
        for who in ("ann-of-the-crowd", "bob-of-the-crowd")
    ]
    empty = {
        "submitted_at": datetime(2026, 1, 1, tzinfo=UTC),
        "seconds": 12.0,
        "outcome": None,
        "judgement_share": None,
    }
    numbers = {"outcome": pl.Float64, "judgement_share": pl.Float64}
    judged = pl.DataFrame([row | empty for row in rows], schema_overrides=numbers)
    figures = campaign_figures(judged, resources.warehouse, resamples=20)
    history = pl.DataFrame({"figure": ["alpha_nominal", "judgements_an_item"], "value": [0.5, 2.0]})
    resources.warehouse.replace_round("agreement_figures", 1, history)
    write_quality_page(settings, resources.warehouse, resources.data_quality, figures)
    first = quality_page(settings).read_text(encoding="utf-8")
    write_quality_page(settings, resources.warehouse, resources.data_quality)  # the next round's gate
    assert quality_page(settings).read_text(encoding="utf-8") == first
    assert "24 judgements of 2 people on 12 comparisons" in first
    assert ">1.000<" in first
    assert "weights of labelers rest on agreement with peers" in first
    assert "Agreement of judges" in first
    assert HOSTILE not in first
    assert "-of-the-crowd" not in first


@pytest.mark.parametrize("rounds", [[1], [1, 2], list(range(3, 43))])
def test_an_axis_of_rounds_has_whole_numbers(rounds: list[int]) -> None:
    rows = [{"round": each, "value": 0.1, "series": "rejected"} for each in rounds]
    drawn = charts.lines("rejected", rows, axis="share", colours={"rejected": "var(--c1)"}).svg
    axis = drawn[drawn.index("X-axis titled 'round'") :]
    labels = re.findall(r">([^<>]+)</text>", axis[: axis.index("role-axis-title")])
    assert 0 < len(labels) <= 16
    assert {int(label) for label in labels} <= set(rounds)


@pytest.fixture
def server(settings: CrowdSettings, page: str) -> Iterator[QualityServer]:
    with QualityServer(settings, build_resources(settings).data_quality, 0) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_only_the_reports_and_the_data_docs_are_served_and_only_here(
    server: QualityServer, settings: CrowdSettings
) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert b"Feedback quality" in urlopen(server.page_url).read()
    docs = Path(settings.home, *server.data_docs_url.split("/")[3:])
    docs.parent.mkdir(parents=True)
    docs.write_text("pages a round")
    assert urlopen(server.data_docs_url).read() == b"pages a round"
    root = server.page_url.removesuffix("/reports/quality.html")
    assert server.campaign_url == ""
    of_round = Path(settings.home, "reports", "rounds", "r000001.html")
    of_round.parent.mkdir()
    of_round.write_text("a round")
    assert urlopen(f"{root}/reports/rounds/r000001.html").read() == b"a round"
    assert urlopen(f"{root}/").url == server.page_url
    for path in (
        "/warehouse.duckdb",
        "/reports/../warehouse.duckdb",
        "/reports/%2e%2e/warehouse.duckdb",
        "/quality/",
    ):
        with pytest.raises(HTTPError) as refused:
            urlopen(root + path)
        assert refused.value.code == 404


def test_the_server_leads_to_the_campaign_where_there_is_one(settings: CrowdSettings, page: str) -> None:
    Path(settings.home, "reports", "campaign.html").write_text("all rounds")
    with QualityServer(settings, build_resources(settings).data_quality, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert urlopen(f"http://127.0.0.1:{server.server_port}/").url == server.campaign_url
            assert urlopen(server.campaign_url).read() == b"all rounds"
        finally:
            server.shutdown()
            thread.join()


def test_what_cannot_be_served_says_why(server: QualityServer, settings: CrowdSettings, tmp_path: Path) -> None:
    data_quality = build_resources(settings).data_quality
    with pytest.raises(PortTakenError, match="--port 0"):
        QualityServer(settings, data_quality, server.server_port)
    with pytest.raises(NoReportError, match="make round"):
        QualityServer(CrowdSettings(home=str(tmp_path / "new")), data_quality, 0)
