"""A home's index leads to the pages that are there, and to no other."""

import re
from pathlib import Path
from typing import Any

from crowd_assets.report.index import write_index_page
from resources.build import build_resources
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings


def test_the_index_of_a_home_without_a_round_and_of_one_whose_round_was_skipped(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path / "our <home>"))
    resources: Any = build_resources(settings)
    made_from = (settings, resources.warehouse, resources.data_quality)
    page = Path(str(write_index_page(*made_from))).read_text(encoding="utf-8")
    assert "0 of 0 rounds settled" in page
    assert "our &lt;home&gt;" in page
    with resources.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, reason, seed, claimed_at) "
            "VALUES (1, 'r000001', 1, 2, 'skipped', 1, '<b>2</b> contributors', 0, TIMESTAMP '2026-01-01')"
        )
    assert [each.status for each in RoundBook(resources.warehouse).all()] == ["skipped"]
    (settings.reports_path / "statements.html").write_text("x")
    page = Path(str(write_index_page(*made_from))).read_text(encoding="utf-8")
    assert "1 skipped" in page
    assert "&lt;b&gt;2&lt;/b&gt; contributors" in page
    assert "rounds/r000001.html" not in page, "nothing was written of a round that was skipped"
    assert "statements.html" in re.findall(r'href="([^"]+)"', page)
