"""Where the pages lie, and how they lead to one another.

Belongs here: paths and links between pages. Does not belong here: what the pages show.
"""

import os
from urllib.parse import quote

from upath import UPath

from resources.files.storage import is_local
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource

REPORTS = "reports"
INDEX = "index.html"
CAMPAIGN = "campaign.html"
QUALITY = "quality.html"
ROUNDS, STATEMENTS = "rounds", "statements"


def report_path(settings: CrowdSettings, round_id: str) -> UPath:
    """Where a round's page lies."""
    return settings.reports_path / ROUNDS / f"{round_id}.html"


def campaign_path(settings: CrowdSettings) -> UPath:
    """Where the page on all rounds lies."""
    return settings.reports_path / CAMPAIGN


def statement_path(settings: CrowdSettings, contributor_id: str) -> UPath:
    """Where a contributor's page lies; the name is a file's on every system."""
    return settings.reports_path / STATEMENTS / f"{quote(contributor_id, safe='')}.html"


def round_link(round_id: str, *, up: int = 0) -> str:
    """The address of a round's page as a page ``up`` folders below the reports writes it."""
    return f"{'../' * up}{ROUNDS}/{quote(round_id)}.html"


def shared_links(settings: CrowdSettings, data_quality: DataQualityResource, *, up: int = 0) -> dict[str, str]:
    """What every page leads to, by words: the home's index, the campaign, the quality report and the Data Docs of the same home, where
    they lie on one disk with the pages."""
    above = "../" * up
    links = {"Home": f"{above}{INDEX}", "Campaign": f"{above}{CAMPAIGN}", "Feedback quality": f"{above}{QUALITY}"}
    if is_local(settings.reports_path):
        docs = os.path.relpath(data_quality.data_docs, str(settings.reports_path))
        links["Data Docs"] = f"{above}{quote(docs.replace(os.sep, '/'))}"
    return links
