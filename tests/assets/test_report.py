"""The page of a round is one file, and every statement of a campaign adds up."""

import pytest

from crowd_assets.mechanisms.ledger import TREASURY
from crowd_assets.mechanisms.payouts import TERMS
from crowd_assets.report.places import campaign_path, report_path
from crowd_assets.report.statement import statements
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


def test_every_statement_is_the_sum_that_was_posted(two_rounds: Platform) -> None:
    ledger = two_rounds.warehouse.query(
        "SELECT split_part(account, ':', 2) AS name, unit, sum(amount)::float8 AS posted FROM ledger WHERE account <> $treasury "
        "GROUP BY ALL",
        {"treasury": TREASURY},
    )
    posted = {(name, unit): amount for name, unit, amount in ledger.iter_rows()}
    found = list(statements(two_rounds.settings, two_rounds.warehouse))
    assert {name for name, _ in posted} <= {each.contributor_id for each in found}
    for each in found:
        rows = each.terms.filter(state="posted")
        terms = sum(float(rows[name].sum()) for name in TERMS)
        assert terms == pytest.approx(posted.get((each.contributor_id, "point"), 0.0), abs=1e-4), each.contributor_id
        assert float(rows["points"].sum()) == pytest.approx(terms, abs=1e-9), each.contributor_id
        assert each.credits == pytest.approx(posted.get((each.contributor_id, "credit"), 0.0)), each.contributor_id
        assert each.points == pytest.approx(
            terms + float(each.terms.filter(state="provisional")["points"].sum()), abs=1e-4
        )
    assert sum(abs(amount) for (_, unit), amount in posted.items() if unit == "point") > 0
