"""The harness can fail: processes die where they are told, and a home that was tampered with is said to be broken."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from crowd_assets.mechanisms.ledger import TREASURY, Entry, contributor_account, transfer
from resources.build import build_resources
from resources.rounds.book import Quorum, RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from tests.e2e.crash import invariants

DYING = """
import os, sys
from pathlib import Path
from tests.e2e.crash.points import Kill, Points
os.setsid()
home = Path(sys.argv[1])
Points(home, Kill(2, sys.argv[2], "replace frames/N.parquet"), home.parent / "note", 1).install()
for number in range(3):
    (home / "part").write_text("content")
    os.replace(home / "part", home / "frames" / f"{number}.parquet")
"""
SETTLED = {
    "quality_verdicts": "(round_no) VALUES (1)",
    "selections": "(round_no, role, group_index) VALUES (1, 'base', -1)",
    "alignments": "(round_no) VALUES (1)",
    "contributions": "(round_no, contributor_id) VALUES (1, 'c0')",
    "epochs": "(round_no) VALUES (1)",
}


@pytest.mark.parametrize(("side", "left"), [("before", 1), ("after", 2)])
def test_a_process_dies_at_its_point(tmp_path: Path, side: str, left: int) -> None:
    home = tmp_path / "home"
    (home / "frames").mkdir(parents=True)
    done = subprocess.run([sys.executable, "-c", DYING, str(home), side], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert len(list((home / "frames").iterdir())) == left
    assert json.loads((tmp_path / "note").read_text()) == {
        "label": "replace frames/N.parquet",
        "number": 2,
        "side": side,
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> CrowdSettings:
    """Ten events, a round of the first five that is settled."""
    folder = tmp_path_factory.mktemp("home")
    settings = CrowdSettings(home=str(folder))
    resources = build_resources(settings)
    inbox, book = resources.inbox, RoundBook(resources.warehouse)
    Path(inbox.root).mkdir()
    quorum = Quorum(events=1, contributors=1, longest_wait=timedelta(0))
    for first in (0, 5):
        events = [
            {
                "kind": "bid",
                "contributor_id": f"c{number}",
                "lot_id": "lot",
                "prompt": "p",
                "response": f"answer {number}",
                "asked_price": "1",
                "claimed_quality": 0.5,
                "submitted_at": "2026-01-01T00:00:00Z",
            }
            for number in range(first, first + 5)
        ]
        Path(inbox.root, f"{first}.jsonl").write_text("\n".join(map(json.dumps, events)))
        inbox.ingest()
        if not first:
            claimed, _ = book.claim(quorum, settings, datetime.now(UTC))
    assert claimed is not None
    warehouse: WarehouseResource = resources.warehouse
    with warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO awards SELECT 1, 'lot', event_id, contributor_id, 0.5, 2, 1, 2, true, true FROM event_index "
            "WHERE seq = 1"
        )
        connection.execute("INSERT INTO contributor_groups VALUES (1, 'c0', 0, 1)")
        for table, row in SETTLED.items():
            connection.execute(f"INSERT INTO {table} {row}")
    posted = [*_posting("credit", 2, "lot"), *_posting("point", 3, "earned in r000001, c0")]
    book.settle(
        claimed,
        pl.DataFrame([asdict(entry) for entry in posted]),
        base_model=None,
        next_model=None,
        now=claimed.claimed_at,
        about={},
    )
    return settings


def _posting(unit: str, amount: int, reference: str) -> list[Entry]:
    return transfer(
        round_id="r000001",
        debit_account=TREASURY,
        credit_account=contributor_account("c0"),
        unit=unit,
        amount=Decimal(amount),
        reason="answer bought",
        reference=reference,
    )


def _broken(settings: CrowdSettings, statement: str = "") -> list[str]:
    """What is broken once ``statement`` was executed; it is undone."""
    warehouse: WarehouseResource = build_resources(settings).warehouse
    before = Path(warehouse.path).read_bytes()
    try:
        sent = invariants.event_ids(settings)
        if statement:
            with warehouse.transaction() as connection:
                connection.execute(statement)
        found = invariants.broken(settings, sent)
    finally:
        Path(warehouse.path).write_bytes(before)
    return [said for said in found if "No such file" not in said and "missing" not in said]  # no round wrote frames


def test_a_home_that_nobody_tampered_with_is_whole(home: CrowdSettings) -> None:
    assert _broken(home) == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM event_index WHERE seq = 3", "gaps"),
        ("UPDATE event_index SET event_id = 'stranger' WHERE seq = 3", "nobody sent"),
        ("UPDATE rounds SET from_seq = 2", "in none"),
        (
            "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, claimed_at) VALUES (2, 'r000002', 5, 9, 'claimed', TIMESTAMP '2026-01-01')",
            "two rounds",
        ),
        (
            "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, claimed_at) VALUES (2, 'r000002', 6, 9, 'claimed', TIMESTAMP '2026-01-01')",
            "though a later",
        ),
        ("UPDATE rounds SET status = 'claimed'", "the ledger has entries"),
        ("DELETE FROM alignments", "without alignments"),
        ("DELETE FROM ledger WHERE account = 'treasury' AND unit = 'point'", "points do not balance"),
        ("INSERT INTO ledger SELECT * REPLACE (entry_id || 'x' AS entry_id) FROM ledger", "twice"),
        ("UPDATE awards SET payment = 1000", "pays"),
        ("UPDATE awards SET contributor_id = 'c1'", "no bid"),
        ("DELETE FROM ledger WHERE unit = 'credit'", "awards and payments differ"),
        ("DELETE FROM contributor_groups", "points of a round without it"),
        (
            "UPDATE ledger SET account = 'deposit:c0' WHERE account = 'contributor:c0' AND unit = 'point'",
            "deposit of c0",
        ),
        ("UPDATE rounds SET next_model = 'feed'", "model feed"),
    ],
)
def test_what_was_tampered_with_is_said(home: CrowdSettings, statement: str, said: str) -> None:
    assert any(said in each for each in _broken(home, statement)), _broken(home, statement)


def test_a_home_that_differs_is_said_to() -> None:
    expected, actual = {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "x", "d": "4"}
    assert invariants.differences(expected, actual) == ["b: differs", "c: missing", "d: too much"]
