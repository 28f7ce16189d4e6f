"""The page of a round is one file."""

from crowd_assets.report.places import campaign_path, report_path
from tests.assets.platform import Platform


def test_the_report_is_one_page_without_references_to_others(two_rounds: Platform) -> None:
    page = report_path(two_rounds.settings, "r000002").read_text(encoding="utf-8")
    assert "Round 2" in page
    assert "Content-Security-Policy" in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    campaign = campaign_path(two_rounds.settings).read_text(encoding="utf-8")
    assert 'href="rounds/r000001.html"' in campaign
    assert 'href="rounds/r000002.html"' in campaign
