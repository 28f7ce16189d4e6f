"""The Dagster UI as an operator sees it, in a real browser: lineage, an asset's figures, automation, a run.

SCREENSHOTS_FOLDER keeps what the browser saw; the pictures of the README are made so.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from crowd_assets.quality.gate import all_expectations
from tests.conftest import OF_A_ROUND, UNPARTITIONED
from tests.e2e.conftest import FIRST_ROUND, RunningDagster, wait_for

pytestmark = pytest.mark.e2e

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WINDOW = {"width": 1600, "height": 1040}
SECONDS_TO_SHOW = 30


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One page of a browser of this machine; no download."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(BROWSERS)} is on the PATH")
    expect.set_options(timeout=SECONDS_TO_SHOW * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        shown = browser.new_page(viewport=WINDOW, color_scheme="light")  # type: ignore[arg-type]
        shown.set_default_timeout(SECONDS_TO_SHOW * 1000)
        yield shown
        browser.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where this test's screenshots go."""
    folder = Path(os.environ.get("SCREENSHOTS_FOLDER") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
    page.screenshot(path=screenshots / "selected-model-figures.png")
    page.get_by_role("row", name="distances").get_by_text("[Show Markdown]").click()
    plot = page.get_by_role("img", name="plot", exact=True)
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.complete && image.naturalWidth") > 300
    page.screenshot(path=screenshots / "selected-model.png", animations="disabled")


def test_what_the_gate_found_is_a_check_each(
    page: Page, dagster_dev: RunningDagster, round_by_daemon: str, screenshots: Path
) -> None:
    page.goto(f"{dagster_dev.url}/assets/validated_feedback?view=checks")
    expect(page.get_by_text(f"Checks ({len(all_expectations()) + 2})")).to_be_visible()
    for check, verdict in (("demonstration_few_copies", "Failed"), ("feedback_gate", "Passed")):
        page.get_by_text(check, exact=True).first.click()
        expect(page.get_by_text("Latest execution")).to_be_visible()
        expect(page.get_by_text(verdict, exact=True).last).to_be_visible()
        page.screenshot(path=screenshots / f"{check}.png", animations="disabled")


def test_automation_shows_that_it_runs(page: Page, dagster_dev: RunningDagster, screenshots: Path) -> None:
    page.goto(f"{dagster_dev.url}/automation")
    for name in ("inbox_sensor", "round_sensor", "failure_sensor", "nightly_schedule"):
        expect(page.get_by_role("link", name=name).first).to_be_visible()
    expect(page.locator("input[type=checkbox]:checked")).to_have_count(4)
    page.screenshot(path=screenshots / "automation.png")
    page.get_by_role("link", name="round_sensor").first.click()
    expect(page.get_by_text("Starts a round when enough feedback has arrived")).to_be_visible()
    expect(page.locator("input[type=checkbox]:checked").first).to_be_attached()
    page.screenshot(path=screenshots / "round-sensor.png")


def test_the_run_of_the_round_is_green(
    page: Page, dagster_dev: RunningDagster, round_by_daemon: str, screenshots: Path
) -> None:
    page.goto(f"{dagster_dev.url}/runs/{round_by_daemon}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(page.get_by_text(f"partition: {FIRST_ROUND}").first).to_be_visible()
    expect(page.get_by_text("Succeeded (19)")).to_be_visible()
    expect(page.get_by_text("Errored (0)")).to_be_visible()
    page.screenshot(path=screenshots / "run.png")
