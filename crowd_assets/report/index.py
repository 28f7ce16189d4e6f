"""The page of a home that leads to all others: ``reports/index.html``.

Belongs here: what there is and where it lies. Does not belong here: what the pages say.
"""

from pathlib import Path
from urllib.parse import quote

from upath import UPath

from crowd_assets.report.page import render
from crowd_assets.report.places import INDEX, REPORTS, STATEMENTS, round_link, shared_links
from resources.files.storage import write_text_atomically
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource
from resources.warehouse.base import WarehouseResource
from resources.warehouse.facts import SKIPPED

COMMANDS = {
    "crowd-rounds status": "what runs, what waits and why",
    "crowd-rounds leaderboard": "who has earned what",
    "crowd-rounds statement NAME": "a contributor's page; --all for everybody, with an index",
    "crowd-rounds audit": "every settled figure computed anew",
    "crowd-rounds ui": "the graph, its runs, schedules and sensors",
    "crowd-rounds serve": "the desk, on which people take part",
    "crowd-rounds doctor": "what is wrong with the home",
}


def write_index_page(settings: CrowdSettings, warehouse: WarehouseResource, data_quality: DataQualityResource) -> UPath:
    """Write the page that leads to all others.

    Returns:
        where it lies.
    """
    rounds = RoundBook(warehouse).all()
    links = shared_links(settings, data_quality)
    del links["Home"]
    pages = {
        "Campaign": "all rounds: distances, spending, prices, standings",
        "Feedback quality": "what the gate and the detectors found, and how far judges agree",
        "Data Docs": "Great Expectations' report of every round",
        "Statements": "a page for each contributor, with the sum that the points are",
    }
    statements = settings.reports_path / f"{STATEMENTS}.html"
    if statements.exists():
        links["Statements"] = quote(statements.name)
    places = {
        "inbox": settings.inbox_path,
        "outbox": settings.outbox_path,
        REPORTS: settings.reports_path,
        "snapshot of the tables": warehouse.snapshot_path,
    }
    page = render(
        "index.html.jinja",
        home=Path(settings.home).resolve().name,
        rounds=[(each, round_link(each.round_id) if each.settled else "") for each in reversed(rounds)],
        settled=sum(each.settled for each in rounds),
        skipped=sum(each.status == SKIPPED for each in rounds),
        pages=[(name, address, pages[name]) for name, address in links.items()],
        places=places,
        commands=COMMANDS,
    )
    path = settings.reports_path / INDEX
    write_text_atomically(path, page)
    return path
