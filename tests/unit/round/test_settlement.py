"""Deposits: filled from the first points of a name over settlements, once, paid back and forfeited; who judges by one."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from crowd_assets.mechanisms.ledger import TREASURY, Entry, contributor_account, transfer
from crowd_assets.monitoring.leaderboard import leaderboard
from crowd_assets.round.labelers import that_count
from crowd_assets.round.settlement import as_frame, deposit_entries
from crowd_assets.round.tournament import deposits_before, points_so_far
from resources.rounds.book import Round, RoundBook
from resources.settings.fields import SettingError
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import SettledRoundError, as_stored
from resources.warehouse.duckdb import DuckDBWarehouse

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Campaign:
    """Rounds that post what they are told, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.settings = CrowdSettings(home=str(folder), deposit="5")
        self.warehouse = DuckDBWarehouse(path=str(folder / "warehouse.duckdb"))
        self.rounds = 0

    def entries(self, number: int, **points: str) -> list[Entry]:
        due: list[Entry] = []
        for name, amount in points.items():
            accounts = (TREASURY, contributor_account(name))
            debit, credit = accounts if Decimal(amount) > 0 else accounts[::-1]
            due += transfer(
                round_id=f"r{number:06d}",
                debit_account=debit,
                credit_account=credit,
                unit="point",
                amount=abs(Decimal(amount)),
                reason="contribution",
                reference=f"earned in r{number:06d}, {name}",
            )
        held = deposits_before(self.warehouse, number)
        return due + deposit_entries(self.round(number), self.settings, due, held)

    def round(self, number: int) -> Round:
        return Round(number, f"r{number:06d}", number, number, "claimed", 1, None, 0, None, None, NOW)

    def settle(self, **points: str) -> int:
        """The next round posts points; returns its number."""
        self.rounds += 1
        number = self.rounds
        with self.warehouse.transaction() as connection:
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, settings, claimed_at) "
                "VALUES ($n, $id, $n, $n, 'claimed', 1, 0, '{}', $now)",
                {"n": number, "id": f"r{number:06d}", "now": as_stored(NOW)},
            )
        groups = pl.DataFrame({"contributor_id": list(points), "group_index": 0, "demonstrations": 1})
        self.warehouse.replace_round("contributor_groups", number, groups)
        self.warehouse.replace_round("epochs", number, pl.DataFrame({"first_round_no": [number], "closes": [True]}))
        assert self.post(number, **points)
        RoundBook(self.warehouse).complete(number)
        return number

    def post(self, number: int, **points: str) -> int:
        found = as_frame(self.entries(number, **points))
        return RoundBook(self.warehouse).settle(
            self.round(number), found, base_model=None, next_model=None, now=NOW, about={}
        )

    def balances(self) -> dict[str, Decimal]:
        found = self.warehouse.query("SELECT account, sum(amount) AS b FROM ledger GROUP BY account")
        return {account: balance for account, balance in found.iter_rows() if account != TREASURY}


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


def test_a_deposit_fills_over_two_epochs_and_never_twice(campaign: Campaign) -> None:
    first = campaign.settle(ann="3", bo="7.5", cy="-2")
    assert campaign.balances() == {
        "contributor:ann": 0,
        "deposit:ann": 3,
        "contributor:bo": Decimal("2.5"),
        "deposit:bo": 5,
        "contributor:cy": -2,
    }
    second = campaign.settle(ann="4", bo="1", cy="1")
    expected = {
        "contributor:ann": 2,
        "deposit:ann": 5,
        "contributor:bo": Decimal("3.5"),
        "deposit:bo": 5,
        "contributor:cy": -2,
        "deposit:cy": 1,
    }
    assert campaign.balances() == expected
    assert campaign.post(first, ann="3", bo="7.5", cy="-2") == campaign.post(second, ann="4", bo="1", cy="1") == 0
    assert campaign.balances() == expected
    assert campaign.warehouse.query("SELECT sum(amount) AS s FROM ledger GROUP BY round_no")["s"].to_list() == [0, 0]
    campaign.settings = campaign.settings.changed(deposit="6")
    with pytest.raises(SettledRoundError):
        campaign.post(second, ann="4", bo="1", cy="1")


def test_points_stand_with_what_is_held_back_of_them(campaign: Campaign) -> None:
    number = campaign.settle(ann="3", bo="7.5")
    points = dict(points_so_far(campaign.warehouse, number).select("contributor_id", "points").iter_rows())
    assert points == {"ann": 3, "bo": 7.5}
    places = {place.contributor_id: place for place in leaderboard(campaign.settings).places}
    assert (places["bo"].points_posted, places["bo"].points_held_back) == (7.5, 5)


def test_no_deposit_posts_what_was_posted_before_there_were_any(campaign: Campaign) -> None:
    campaign.settings = campaign.settings.changed(deposit="0")
    campaign.settle(ann="3", bo="-1")
    assert campaign.balances() == {"contributor:ann": 3, "contributor:bo": -1}


def test_a_deposit_that_is_no_longer_asked_for_comes_back(campaign: Campaign) -> None:
    campaign.settle(ann="3", bo="7.5")
    campaign.settings = campaign.settings.changed(deposit="0")
    campaign.settle(bo="1")
    balances = campaign.balances()
    assert (balances["contributor:ann"], balances["contributor:bo"]) == (3, Decimal("8.5"))
    assert balances["deposit:ann"] == balances["deposit:bo"] == 0


def test_who_is_found_cheating_forfeits_the_deposit_and_nobody_else(campaign: Campaign) -> None:
    campaign.settle(ann="3", bo="7.5")
    campaign.settings = campaign.settings.changed(forfeited="bo, dan")
    campaign.settle(ann="1")
    balances = campaign.balances()
    assert (balances["deposit:bo"], balances["contributor:bo"], balances["deposit:ann"]) == (0, Decimal("2.5"), 4)
    assert "deposit:dan" not in balances


def test_judgements_count_of_names_with_a_whole_deposit_where_settings_say_so(campaign: Campaign) -> None:
    campaign.settle(ann="3", bo="7.5")
    reports = pl.DataFrame({"contributor_id": ["ann", "bo", "eve"], "comparison_id": "c"})

    def counting(before: int, **changes: object) -> list[str]:
        settings = campaign.settings.changed(**changes)
        return that_count(reports, campaign.round(before), settings, campaign.warehouse)["contributor_id"].to_list()

    assert counting(2) == ["ann", "bo", "eve"]
    assert counting(2, labeler_stake=True) == ["bo"]
    assert counting(2, labeler_stake=True, deposit="3") == ["ann", "bo"]
    assert counting(1, labeler_stake=True) == []  # what the round itself posts is no stake yet


def test_a_stake_needs_a_deposit() -> None:
    with pytest.raises(SettingError, match=r"CROWD_LABELER_STAKE.*CROWD_DEPOSIT is 0"):
        CrowdSettings.from_environment({"CROWD_LABELER_STAKE": "true"})
    assert CrowdSettings.from_environment({"CROWD_LABELER_STAKE": "true", "CROWD_DEPOSIT": "0.5"}).labeler_stake
