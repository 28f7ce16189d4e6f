"""The Dagster UI as an operator sees it, in a real browser: lineage, an asset's figures, automation, a run.

With SCREENSHOTS_FOLDER=docs/images it keeps what the browser saw: the pictures of the README and the docs.
"""

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Page, expect

from crowd_assets.report.campaign import write_campaign_page
from crowd_assets.report.quality import write_quality_page
from crowd_assets.report.round import write_round_page
from resources.build import build_resources
from resources.home.names import INGESTION_JOB, ROUND_JOB
from resources.rounds.book import RoundBook
from tests.conftest import OF_A_ROUND, UNPARTITIONED
from tests.e2e.conftest import FIRST_ROUND, SECONDS_TO_SHOW, RunningDagster, wait_for
from tests.project.test_hostile import HOSTILE_TEXTS, SCRIPT

pytestmark = pytest.mark.e2e

ADD = """mutation Add($name: String!, $key: String!) { addDynamicPartition(partitionsDefName: $name, partitionKey: $key,
  repositorySelector: {repositoryLocationName: "crowd_assets", repositoryName: "__repository__"}) { __typename } }"""


def _names_shown(page: Page) -> set[str]:
    """The assets whose nodes are shown; the graph cuts the middle out of a long name."""
    assets = UNPARTITIONED | OF_A_ROUND
    ends = [text.split("…") for text in page.locator("[class*=AssetNode_assetName]").all_inner_texts()]
    return {name for name in assets for parts in ends if name.startswith(parts[0]) and name.endswith(parts[-1])}


def test_lineage_leads_to_an_asset_and_its_plot(
    page: Page, dagster_dev: RunningDagster, round_by_daemon: str, screenshots: Path
) -> None:
    page.goto(f"{dagster_dev.url}/asset-groups~not%20group%3Aexperiments/")
    page.get_by_text("Hide navigation").click()
    page.locator("input[placeholder^='Jump to']").locator("xpath=following::button[1]").click()
    canvas = page.locator("[class*=SVGViewport]").first
    canvas.click(button="right", position={"x": 20, "y": 20})
    page.get_by_role("menuitem", name="Expand all groups").click()
    wait_for(
        "every asset in the graph",
        lambda: _names_shown(page) >= UNPARTITIONED | OF_A_ROUND,
        seconds=SECONDS_TO_SHOW,
        explain=lambda: f"shown: {_names_shown(page)}",
    )
    materialised = page.locator("[class*=AssetNode_minimalAssetNodeBox][style*='accent-green']")
    expect(materialised).to_have_count(len(UNPARTITIONED | OF_A_ROUND))
    page.screenshot(path=screenshots / "asset-graph.png", animations="disabled")

    page.locator("[class*=AssetNode_assetName]").get_by_text("selected_model", exact=True).click()
    page.get_by_role("link", name="View in Asset Catalog").click()
    expect(page).to_have_url(re.compile(r"/assets/selected_model"))
    expect(page.get_by_text("The candidate whose generations lie closest to the target")).to_be_visible()
    expect(page.get_by_text(FIRST_ROUND).first).to_be_visible()
    page.get_by_role("row", name="distances").get_by_text("[Show Markdown]").click()
    plot = page.get_by_role("img", name="plot", exact=True)
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.complete && image.naturalWidth") > 300
    page.screenshot(path=screenshots / "selected-model.png", animations="disabled")


def test_nobody_is_offered_to_add_or_delete_a_round(
    page: Page, dagster_dev: RunningDagster, round_by_daemon: str
) -> None:
    by_hand = re.compile("(add|delete|new) .*partition", re.IGNORECASE)
    page.goto(f"{dagster_dev.url}/assets/candidate_models?view=partitions")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_placeholder("Select a partition").or_(page.get_by_text("Select a partition")).first.click()
    expect(page.get_by_role("menuitem", name=FIRST_ROUND)).to_be_visible()
    expect(page.get_by_text(by_hand)).to_have_count(0)
    page.goto(f"{dagster_dev.url}/locations/crowd_assets/jobs/{ROUND_JOB}/playground")
    expect(page.get_by_placeholder("Partition")).to_be_visible()
    expect(page.get_by_text(by_hand)).to_have_count(0)
    answer = dagster_dev.ask(ADD, name="rounds", key="r000099")["addDynamicPartition"]
    assert answer["__typename"] == "UnauthorizedError"


def test_what_the_gate_found_is_a_check_a_suite(page: Page, dagster_dev: RunningDagster, round_by_daemon: str) -> None:
    page.goto(f"{dagster_dev.url}/assets/validated_feedback?view=checks")
    expect(page.get_by_text("Checks (6)")).to_be_visible()
    for check in ("feedback_gate", "outcomes_as_expected"):
        page.goto(f"{dagster_dev.url}/assets/validated_feedback?view=checks&checkDetail={check}")
        expect(page.get_by_text("Latest execution")).to_be_visible()
        expect(page.get_by_text("Passed", exact=True).last).to_be_visible()


def test_automation_shows_that_it_runs(page: Page, dagster_dev: RunningDagster, screenshots: Path) -> None:
    page.goto(f"{dagster_dev.url}/automation")
    for name in ("inbox_sensor", "round_sensor", "failure_sensor", "waiting_sensor", "nightly_schedule"):
        expect(page.get_by_role("link", name=name).first).to_be_visible()
    expect(page.locator("input[type=checkbox]:checked")).to_have_count(5)
    page.get_by_role("link", name="round_sensor").first.click()
    expect(page.get_by_text("Starts a round when enough feedback has arrived")).to_be_visible()
    expect(page.locator("input[type=checkbox]:checked").first).to_be_attached()
    page.screenshot(path=screenshots / "round-sensor.png")


def test_the_run_of_the_round_is_green(page: Page, dagster_dev: RunningDagster, round_by_daemon: str) -> None:
    page.goto(f"{dagster_dev.url}/runs/{round_by_daemon}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(page.get_by_text(f"partition: {FIRST_ROUND}").first).to_be_visible()
    expect(page.get_by_text(re.compile(r"Succeeded \(\d\d\)"))).to_be_visible()
    expect(page.get_by_text("Errored (0)")).to_be_visible()


def test_every_stage_shows_its_plots(page: Page, dagster_dev: RunningDagster, round_by_daemon: str) -> None:
    for asset, row in (
        ("labeler_weights", "weights_over_rounds"),
        ("contributor_estimates", "estimates"),
        ("auction_clearing", "supply_and_demand"),
        ("point_ledger", "points_and_shapley"),
    ):
        page.goto(f"{dagster_dev.url}/assets/{asset}")
        page.get_by_role("row", name=row).first.get_by_text("[Show Markdown]").click()
        plot = page.get_by_role("img", name="plot", exact=True)
        expect(plot).to_be_visible()
        assert plot.evaluate("image => image.complete && image.naturalWidth") > 300, asset


def test_the_report_leads_from_the_ui_to_its_docs_and_says_how_fresh_it_is(
    page: Page, dagster_dev: RunningDagster, round_by_daemon: str
) -> None:
    passing = page.get_by_text("Passing").first
    for _ in range(6):  # the daemon looks at freshness now and then, and a page that is open is not told
        page.goto(f"{dagster_dev.url}/assets/round_report")
        page.wait_for_timeout(5_000)
        if passing.is_visible():
            break
    expect(passing).to_be_visible()
    expect(page.get_by_text("Fails if more than 7 days")).to_be_visible()
    for source in ("docs/report.md", "report.py"):
        expect(page.get_by_text(source, exact=True).first).to_be_visible()
    expect(page.get_by_role("row", name=f"reports/rounds/{FIRST_ROUND}.html").first).to_be_visible()


def test_the_report_is_read_offline_sorted_in_the_dark_and_on_a_phone(
    watched: tuple[Page, list[str]], dagster_dev: RunningDagster, round_by_daemon: str, screenshots: Path
) -> None:
    shown, asked = watched
    reports = Path(dagster_dev.project.settings.home, "reports")
    shown.goto((reports / "rounds" / f"{FIRST_ROUND}.html").as_uri())
    shown.screenshot(path=screenshots / "round-report.png", animations="disabled")
    shown.get_by_role("link", name="Data Docs").click()
    shown.locator("a[href*='feedback-demonstration']").first.click()
    expect(shown.get_by_role("heading", name="Validation result")).to_be_visible()
    shown.screenshot(path=screenshots / "data-docs.png")
    shown.get_by_role("link", name="Feedback quality").click()
    shown.get_by_role("link", name="Campaign").click()
    expect(shown).to_have_url((reports / "campaign.html").as_uri())
    shown.get_by_role("link", name=FIRST_ROUND).first.click()
    expect(shown.locator(".drawing svg").first).to_be_visible()
    points = shown.get_by_role("table").filter(has=shown.get_by_role("columnheader", name="points")).first
    header = points.get_by_role("columnheader", name="points").first
    orders = []
    for _ in range(2):
        header.get_by_role("button").click()
        orders.append(points.locator("tbody tr").all_inner_texts())
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    light = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    shown.emulate_media(color_scheme="dark")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") != light
    shown.set_viewport_size({"width": 390, "height": 844})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    assert _outside(asked) == []


# Nothing that a contributor wrote runs

INERT = "script, iframe, object, svg, form, [onerror], [onload], a[href^='javascript'], img:not([src^='data:'])"
OWNED = "owned"


def _outside(asked: list[str], *allowed: str) -> list[str]:
    return [url for url in asked if not url.startswith(("file://", "data:", "blob:", *allowed))]


def test_this_browser_would_run_it(watched: tuple[Page, list[str]]) -> None:
    shown, asked = watched
    shown.set_content(f"{SCRIPT}<img src='http://203.0.113.9/pixel.png'>")
    assert shown.title() == OWNED
    assert _outside(asked)
    assert shown.locator(INERT).count() == 3


def test_no_page_of_a_round_runs_what_contributors_wrote(
    watched: tuple[Page, list[str]], dagster_dev: RunningDagster, round_by_daemon: str, tmp_path: Path
) -> None:
    """A real round whose every name and text was replaced by hostile ones: report, quality page, cards of models."""
    home = tmp_path / "home"
    shutil.copytree(dagster_dev.project.settings.home, home, symlinks=True)
    settings = dagster_dev.project.settings.changed(home=str(home))
    resources = build_resources(settings)
    warehouse, frames, store = resources.warehouse, resources.frames, resources.model_store
    everything = " ".join(HOSTILE_TEXTS[:12])
    columns = warehouse.query(
        "SELECT table_name, column_name FROM information_schema.columns WHERE data_type = 'VARCHAR' AND "
        "column_name IN ('contributor_id', 'labeler_id', 'lot_id', 'reason', 'excerpt', 'detail', 'source', 'kind') AND "
        "table_name IN ('contributor_groups', 'contributions', 'labeler_weights', 'awards', 'rejected_feedback', "
        "'quality_contributors', 'alignments', 'quality_verdicts')"
    )
    with warehouse.transaction() as connection:
        for table, column in columns.iter_rows():
            connection.execute(f"UPDATE {table} SET {column} = {column} || $text", {"text": everything})
        connection.execute("UPDATE quality_contributors SET flagged = true")
    generations = frames.read("generations", FIRST_ROUND)
    texts = [name for name, dtype in generations.schema.items() if dtype == pl.String]
    frames.write("generations", FIRST_ROUND, generations.with_columns(pl.lit(everything).alias(name) for name in texts))
    round_ = RoundBook(warehouse).get(FIRST_ROUND)
    made_from = (settings, warehouse, frames, resources.data_quality)
    report, campaign = Path(write_round_page(round_, *made_from)), Path(write_campaign_page(*made_from))
    quality = Path(write_quality_page(settings, warehouse, resources.data_quality))
    model = store.lineage(round_.next_model)[-1]
    store.write_card(model, store.card(model) | dict(zip("abcdefghijkl", HOSTILE_TEXTS, strict=False)))
    card = tmp_path / "card.html"
    markdown = MarkdownIt("commonmark").enable("table").render((store.path(model) / "README.md").read_text())
    card.write_text(f"<!doctype html><meta charset='utf-8'>{markdown}", encoding="utf-8")
    shown, asked = watched
    for path, ours in ((report, 3), (campaign, 3), (quality, 3), (card, 0)):
        shown.goto(path.as_uri())
        expect(shown.get_by_text("onerror").first).to_be_attached()  # it is there, as text
        assert shown.title() != OWNED, path
        assert shown.locator("script:not([type='application/json'])").count() == ours, path
        assert shown.locator(INERT.removeprefix("script, ").replace("svg", "svg:not(.drawing svg)")).count() == 0, path
        assert shown.locator("a[href^='http']").count() == 0, path
    assert _outside(asked) == []


def test_the_ui_shows_hostile_feedback_and_does_not_run_it(
    watched: tuple[Page, list[str]], dagster_dev: RunningDagster, round_by_daemon: str
) -> None:
    project = dagster_dev.project
    kinds = (  # as long as a reason quotes
        f"<img src=x onerror=document.title='{OWNED}'>",
        "![x](http://203.0.113.9/pixel.png)",
        "[pay](javascript:alert(1)) <http://203.0.113.9/>",
        "http://203.0.113.9/ www.evil.example",
        "|a|b|\n|---|\n<iframe src='javascript:alert(1)'>",
    )
    lines = [json.dumps({"kind": text}) for text in kinds]
    hostile = project.folder / "hostile.jsonl"
    hostile.write_text("\n".join(lines), encoding="utf-8")
    hostile.rename(project.inbox / "hostile.jsonl")

    def shown_by_dagster() -> bool:
        there = project.warehouse.query("SELECT count(*) FROM rejected_feedback WHERE source = 'hostile.jsonl'").item()
        runs = dagster_dev.runs(INGESTION_JOB)
        return bool(there == len(lines) and all(run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in runs))

    wait_for("a hostile file taken in", shown_by_dagster, seconds=120, explain=dagster_dev.explain)
    shown, asked = watched
    shown.goto(f"{dagster_dev.url}/assets/raw_feedback")
    reasons = shown.locator("table", has_text="onerror").last
    expect(reasons).to_be_visible()
    for text in ("document.title='owned'>", "pixel.png", "javascript:alert(1)", "evil.example", "iframe"):
        expect(reasons.get_by_text(text).first).to_be_visible()
    assert reasons.locator(f"{INERT}, img, a").count() == 0
    assert shown.title() != OWNED
    assert _outside(asked, dagster_dev.url, dagster_dev.url.replace("http", "ws")) == []
