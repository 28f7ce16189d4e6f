"""The whole way of one person, in a browser and through real rounds: from an invitation to the payout, by way of an appeal that is answered."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from crowd_assets.report.statement import Statement, statement_of
from resources.warehouse.facts import COMPLETED
from tests.e2e.at_the_desk import RunningDesk, come_in, look_at, press, serve_desk, tab_to, write_into
from tests.e2e.conftest import Project, RunningDagster, serve_dagster, wait_for

pytestmark = pytest.mark.crash

TEXTS = (
    "Thank you all for a wonderful afternoon at the lake, I loved every minute of it.",
    "I am so grateful for the music, the cake and everybody who came.",
)


@pytest.fixture(scope="module")
def dagster(make_project: Callable[..., Project]) -> Iterator[RunningDagster]:
    """A campaign whose epochs have two rounds."""
    yield from serve_dagster(make_project("whole-way", epoch_rounds=2, desk_credit_rate="0.5", desk_currency="EUR"))


@pytest.fixture(scope="module")
def desk(dagster: RunningDagster) -> Iterator[RunningDesk]:
    yield from serve_desk(dagster)


def _round_is_over(dagster: RunningDagster, number: int) -> None:
    """The simulated crowd sends beside whoever is at the desk, and the sensors do the rest."""
    project = dagster.project
    project.crowd_sends(number)

    def over() -> bool:
        return [each.status for each in project.book.all() if each.settled] == [COMPLETED] * number

    wait_for(f"the end of round {number}", over, seconds=200, explain=dagster.explain)


def _taken_in(desk: RunningDesk, count: int) -> None:
    query = "SELECT count(*) FROM event_index WHERE contributor_id = 'ada'"
    wait_for(
        f"{count} events of ada's",
        lambda: desk.dagster.project.warehouse.query(query).item() == count,
        seconds=60,
        explain=desk.worker.tail,
    )


def _send(page: Page, said: str) -> None:
    press(page, ".acts button.first")
    expect(page.get_by_text(said)).to_be_visible()


def _mine(page: Page, desk: RunningDesk) -> Statement:
    """Look at the own page until it shows what the statement is: a round is over a moment before its snapshot is published."""
    project = desk.dagster.project
    found = statement_of("ada", project.settings, project.warehouse)
    press(page, "a[href='/mine']")

    def shown() -> bool:
        page.reload()
        figures = page.locator(".figures strong").all_inner_texts()[:2]
        return figures == [f"{found.points:,.2f}".replace("-", "−"), f"{found.credits:,.4f}"]

    wait_for("the statement on the own page", shown, seconds=30, explain=page.content)
    return found


def test_from_an_invitation_to_the_payout_by_way_of_an_answered_appeal(
    page: Page, desk: RunningDesk, screenshots: Path
) -> None:
    project = desk.dagster.project
    come_in(page, desk.invited("ada")["ada"])
    for number, text in enumerate(TEXTS, start=1):
        page.goto(f"{desk.url}/write?lot=free")
        write_into(page, "#prompt-field", f"How was summer party number {number}?")
        write_into(page, "#response", text)
        _send(page, "Your text is received.")
    _taken_in(desk, 2)
    _round_is_over(desk.dagster, 1)
    found = _mine(page, desk)
    assert found.terms["state"].to_list() == ["provisional"]
    assert found.entries.filter(unit="point").is_empty()
    expect(page.get_by_role("cell", name="provisional")).to_be_visible()

    press(page, "a[href='/compare']")
    tab_to(page, "input[name=strength]")
    page.keyboard.press("Space")
    _send(page, "Your judgement is received.")
    press(page, "a[href='/offer']")
    write_into(page, "#response", "What a lovely evening, thank you from the bottom of my heart.")
    write_into(page, "#asked_price", "0.01")
    tab_to(page, "#claimed_quality")
    page.keyboard.type("very")
    _send(page, "Your offer is received.")
    press(page, "a[href='/write']")
    write_into(page, "#response", "It was a joy to be there, thank you for everything.")
    _send(page, "Your text is received.")
    _taken_in(desk, 5)
    _round_is_over(desk.dagster, 2)

    found = _mine(page, desk)
    assert found.terms["state"].to_list() == ["posted", "posted"]
    assert found.provisional == pytest.approx(0.0, abs=1e-6)
    posted = found.entries.filter(unit="point")["amount"].sum()
    assert float(posted) == pytest.approx(float(found.terms["points"].sum()), abs=1e-5)
    look_at(page, screenshots, "whole-mine")

    write_into(page, "#text", "My second text was no copy of the first.")
    press(page, "form[action='/mine/appeal'] button")
    expect(page.get_by_text("Not answered yet.")).to_be_visible()
    press(page, "form[action='/leave'] button")
    operator = desk.invited("boss", role="operator")["boss"]
    come_in(page, operator)
    press(page, "a[href='/manage']")
    expect(page.get_by_text("My second text was no copy of the first.")).to_be_visible()
    write_into(page, "input[aria-label='Answer to ada']", "You are right: it counts in the next round.")
    press(page, "input[aria-label='Answer to ada'] + button")
    expect(page.get_by_text("The appeal is answered")).to_be_visible()
    press(page, "a[href='/manage/payouts']")
    look_at(page, screenshots, "whole-payouts")
    with page.expect_download() as download:
        page.get_by_role("link", name="As CSV").click()
    rows = [*csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8")))]
    printed = project.start("payouts", "crowd_assets", "payouts", "--out", str(project.folder / "payouts.csv")).finish(
        seconds=60
    )
    assert "payouts.csv" in printed
    assert rows == [*csv.DictReader((project.folder / "payouts.csv").open(encoding="utf-8"))]
    owed = {row["name"]: row for row in rows}
    assert sum(float(row["credits"]) for row in rows) > 0
    assert {row["currency"] for row in rows} == {"EUR"}
    assert float(owed["ada"]["credits"] if "ada" in owed else 0.0) == pytest.approx(found.credits)

    press(page, "form[action='/leave'] button")
    page.goto(desk.invited("ada")["ada"])
    press(page, "button.first")
    press(page, "a[href='/mine']")
    expect(page.get_by_text("Answer: You are right: it counts in the next round.")).to_be_visible()
    look_at(page, screenshots, "whole-answered")
