"""What an operator does on the desk's pages."""

import csv
import io

from resources.build import build_resources
from tests.unit.desk.conftest import Served, serve


def test_whoever_is_paused_reads_why(served: Served) -> None:
    ada, boss = served.invited("ada"), served.invited("boss", role="operator")
    for why, read in (("Please read both answers.", "Please read both answers."), (" ", "by the operator")):
        assert 'aria-label="Why ada is paused"' in boss.open("/manage")
        boss.send("/manage", do="pause", name="ada", why=why)
        assert f"paused: {read}" in boss.text
        assert read in ada.open("/compare")
        boss.send("/manage", do="unpause", name="ada")
        assert "Which answer is better?" in ada.open("/compare")


def test_payouts_say_who_is_behind_a_pseudonym(desk_settings, monkeypatch) -> None:
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key of the tests, long enough")
    served = serve(desk_settings)
    ada, boss = served.invited("ada"), served.invited("boss", role="operator")
    ada.open("/compare")
    ada.send("/compare", form=1, strength="1")
    assert len(served.delivered()) == 1
    resources = build_resources(desk_settings)
    resources.inbox.ingest()
    pseudonym = resources.warehouse.query("SELECT contributor_id FROM event_index").item()
    assert pseudonym.startswith("p-")
    with resources.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO ledger VALUES ('1', 1, 'r000001', $account, 'credit', 1.5, 'judgements', '')",
            {"account": f"contributor:{pseudonym}"},
        )
    resources.warehouse.publish_snapshot()
    for found in (boss.open("/manage/payouts"), boss.open("/manage/payouts.csv")):
        assert "ada" in found
    (row,) = csv.DictReader(io.StringIO(boss.text))
    assert (row["name"], row["credits"]) == ("ada", "1.500000")
    served.desk.store.close()
