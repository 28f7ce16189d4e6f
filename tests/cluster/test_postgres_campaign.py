"""Whole rounds, trained by the crash harness's stub: a home that moves to PostgreSQL, and one that was there from the beginning, end
as one that never left its DuckDB file.

Belongs here: what takes rounds. Does not belong here: what a transaction shows (see ``test_postgres``).
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crowd_assets.monitoring.leaderboard import leaderboard
from crowd_assets.monitoring.status import status
from crowd_assets.operations.audit import audit
from crowd_assets.operations.migrate_tables import migrate_tables
from resources.build import build_resources
from resources.settings.resource import CrowdSettings
from tests.cluster.postgres_server import PASSWORD, PostgresServer
from tests.e2e.crash import invariants
from tests.e2e.crash.harness import Harness, Home

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Campaigns:
    """A campaign on PostgreSQL, and what one on the DuckDB file came to: its contents, events and standings."""

    settings: CrowdSettings
    embedded: invariants.Contents
    sent: set[str]
    standings: str


@pytest.fixture(scope="module")
def campaigns(postgres: PostgresServer, seed_folder: Path) -> Iterator[Campaigns]:
    with (
        tempfile.TemporaryDirectory(prefix="campaign-") as name,
        Harness(Path(name), seed_folder, rounds=2, seed=0) as lives,
    ):
        folder = Path(name, "campaign")  # the same for both, as paths are part of settings and cards
        home = Home(folder, seed_folder)
        assert lives.live(home)["ended"] == "done", home.tail()
        found = (
            invariants.contents(home.settings),
            invariants.event_ids(home.settings),
            leaderboard(home.settings, "", 0),
        )
        shutil.rmtree(folder)
        home = Home(folder, seed_folder, postgres.place())
        assert lives.live(home)["ended"] == "done", home.tail()
        assert home.left_running() == []
        yield Campaigns(home.settings, *found[:2], found[2].as_json())


def test_a_campaign_ends_as_on_the_embedded_warehouse(campaigns: Campaigns) -> None:
    assert invariants.broken(campaigns.settings, campaigns.sent) == []
    assert invariants.differences(campaigns.embedded, invariants.contents(campaigns.settings)) == []
    assert leaderboard(campaigns.settings, "", 0).as_json() == campaigns.standings
    assert not Path(campaigns.settings.home, "warehouse.duckdb").exists()
    assert Path(campaigns.settings.home, "warehouse.snapshot.duckdb").exists()
    assert all(finding.well is not False for finding in status(campaigns.settings).health if finding.name == "ledger")


def test_the_password_is_nowhere_in_the_home(campaigns: Campaigns) -> None:
    for path in Path(campaigns.settings.home).parent.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE ledger SET amount = amount + 1 WHERE account <> 'treasury' AND round_no = 1", "ledger"),
        ("UPDATE labeler_weights SET weight = weight * 1.5 WHERE round_no = 2", "labeler_weights"),
        ("DELETE FROM round_records WHERE round_no = 2", "round_records"),
    ],
)
def test_the_audit_is_clean_and_finds_what_was_tampered_with(
    campaigns: Campaigns, postgres: PostgresServer, statement: str, said: str
) -> None:
    url = campaigns.settings.warehouse
    table = said
    postgres.execute(f"CREATE TABLE before AS SELECT * FROM {table}", url)
    assert audit(campaigns.settings).clean
    postgres.execute(statement, url)
    try:
        found = audit(campaigns.settings)
        assert not found.clean
        assert said in str([each.difference for each in found.rounds])
    finally:
        postgres.execute(f"TRUNCATE {table}; INSERT INTO {table} SELECT * FROM before; DROP TABLE before", url)


def test_a_home_that_moves_goes_on_where_it_was(
    postgres: PostgresServer, seed_folder: Path, campaigns: Campaigns
) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="campaign-") as name,
        Harness(Path(name), seed_folder, rounds=1, seed=0) as first,
        Harness(Path(name), seed_folder, rounds=2, seed=0) as second,
    ):
        home = Home(Path(name, "campaign"), seed_folder)
        assert first.live(home)["ended"] == "done", home.tail()
        embedded = build_resources(home.settings).warehouse.read_round("ledger", 1)
        home.settings = home.settings.model_copy(update={"warehouse": postgres.place()})
        done = migrate_tables(home.settings)
        assert done.audit.entries == embedded.height > 0
        assert second.live(home)["ended"] == "done", home.tail()
        assert invariants.broken(home.settings, campaigns.sent) == []
        assert build_resources(home.settings).warehouse.read_round("ledger", 1).equals(embedded)
        assert len(audit(home.settings).rounds) == 2
        assert audit(home.settings).clean
