"""The chain begins at ingestion: whatever is changed of what was taken in, the audit says so."""

import json
import random
import shutil
from pathlib import Path

import duckdb
import pytest

from crowd_assets.operations.audit import audit
from resources.build import build_resources
from resources.settings.resource import CrowdSettings

CHANGES = 60


def lines(name: str, count: int) -> str:
    good = [
        json.dumps(
            {
                "kind": "demonstration",
                "contributor_id": f"c{number % 3}",
                "prompt": f"{name} {number}",
                "response": f"response {number}",
                "submitted_at": "2026-01-01T00:00:00Z",
            }
        )
        for number in range(count)
    ]
    return "\n".join([*good, good[0], "no JSON", "{}"])


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that has taken in three files, each with events, a duplicate and two bad lines."""
    home = tmp_path_factory.mktemp("intake")
    (home / "inbox").mkdir()
    for name in ("a", "b", "c"):
        (home / "inbox" / f"{name}.jsonl").write_text(lines(name, 4))
        build_resources(CrowdSettings(home=str(home))).inbox.ingest()
    return home


@pytest.fixture
def home(taken_in: Path, tmp_path: Path) -> CrowdSettings:
    shutil.copytree(taken_in, tmp_path / "home")
    return CrowdSettings(home=str(tmp_path / "home"))


def found(settings: CrowdSettings) -> str:
    result = audit(settings)
    assert result.clean == (result.chain is None)
    return str(result.chain or "")


def execute(settings: CrowdSettings, *statements: str) -> None:
    with duckdb.connect(str(Path(settings.home, "warehouse.duckdb"))) as connection:
        for statement in statements:
            connection.execute(statement)


def test_what_nobody_changed_is_clean_and_every_line_is_accounted_for(home: CrowdSettings) -> None:
    assert found(home) == ""
    files = build_resources(home).warehouse.query("SELECT accepted, duplicates, rejected FROM ingested_files")
    assert files.rows() == [(4, 1, 2)] * 3


TAMPERINGS: dict[str, tuple[str, ...]] = {
    "a file may be paid for twice": ("DELETE FROM ingested_files WHERE uri LIKE '%b.jsonl'",),
    "a file more": ("INSERT INTO ingested_files VALUES ('x', 'x.jsonl', 1, 0, 0, 0, '2026-01-01')",),
    "an event may be paid for twice": ("DELETE FROM event_index WHERE seq = 6",),
    "the same, with the segment's row": (
        "DELETE FROM event_index WHERE seq BETWEEN 5 AND 8",
        "DELETE FROM feedback_segments WHERE first_seq = 5",
    ),
    "a whole ingestion, with its record": (
        "DELETE FROM event_index WHERE seq BETWEEN 5 AND 8",
        "DELETE FROM feedback_segments WHERE first_seq = 5",
        "DELETE FROM ingested_files WHERE uri LIKE '%b.jsonl'",
        "DELETE FROM ingestions WHERE number = 2",
    ),
    "whose events they are": ("UPDATE event_index SET contributor_id = 'c9'",),
    "what kind an event is": ("UPDATE event_index SET kind = 'bid' WHERE seq = 3",),
    "counts of a file": ("UPDATE ingested_files SET duplicates = 0 WHERE uri LIKE '%a.jsonl'",),
    "a rejected line": ("DELETE FROM rejected_feedback WHERE source LIKE '%a.jsonl' AND line = 6",),
    "whose rejected line": ("UPDATE rejected_feedback SET line = 99 WHERE source LIKE '%a.jsonl' AND line = 6",),
    "a record": (
        "UPDATE ingestions SET record = replace(record, '\"accepted\":4', '\"accepted\":5') WHERE number = 1",
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_a_change_of_the_tables_is_found(home: CrowdSettings, tampering: str) -> None:
    execute(home, *TAMPERINGS[tampering])
    assert found(home) != ""


def test_contributors_of_waiting_events_rewritten_in_tables_and_files_are_found(home: CrowdSettings) -> None:
    import polars as pl

    execute(home, "UPDATE event_index SET contributor_id = 'c9'")
    for path in Path(home.home, "frames", "raw_feedback").glob("*.parquet"):
        pl.read_parquet(path).with_columns(contributor_id=pl.lit("c9")).write_parquet(path)
    assert "segment" in found(home)


def test_a_home_of_a_version_without_the_chain_begins_one(home: CrowdSettings) -> None:
    execute(home, "DROP TABLE ingestions")
    assert found(home) == ""
    Path(home.home, "inbox", "d.jsonl").write_text(lines("d", 2))
    build_resources(home).inbox.ingest()
    assert build_resources(home).warehouse.query("SELECT count(*) FROM ingestions").item() == 2
    assert found(home) == ""
    execute(home, "DELETE FROM event_index WHERE seq = 1")
    assert found(home) != ""


def test_any_row_and_any_byte_that_is_changed_is_found(taken_in: Path, tmp_path: Path) -> None:
    draws = random.Random(1)
    missed = []
    for number in range(CHANGES):
        folder = tmp_path / str(number)
        shutil.copytree(taken_in, folder)
        settings = CrowdSettings(home=str(folder))
        said = draws.choice([_change_a_row, _change_a_byte])(settings, draws)
        if found(settings) == "":
            missed.append(said)
        shutil.rmtree(folder)
    assert missed == []


VOUCHED = {
    "ingested_files": ("digest", "bytes", "accepted", "duplicates", "rejected"),
    "feedback_segments": ("uri", "first_seq", "last_seq"),
    "event_index": ("event_id", "seq", "kind", "contributor_id"),
    "ingestions": ("number", "record", "previous_hash", "hash"),
    "rejected_feedback": ("rejection_id", "source", "line", "contributor_id"),
}


def _change_a_row(settings: CrowdSettings, draws: random.Random) -> str:
    table = draws.choice(sorted(VOUCHED))
    with duckdb.connect(str(Path(settings.home, "warehouse.duckdb"))) as connection:
        rows = connection.execute(f"SELECT rowid FROM {table} ORDER BY rowid").fetchall()
        (row,) = draws.choice(rows)
        column = draws.choice([*VOUCHED[table], "the row"])
        if column == "the row":
            connection.execute(f"DELETE FROM {table} WHERE rowid = {row}")
        else:
            kind = connection.execute(f"SELECT typeof({column}) FROM {table} LIMIT 1").fetchone()
            assert kind is not None
            value = f"{column} + 1000" if kind[0] == "BIGINT" else f"coalesce({column}, '') || 'x'"
            connection.execute(f"UPDATE {table} SET {column} = {value} WHERE rowid = {row}")
    return f"{table} {row} {column}"


def _change_a_byte(settings: CrowdSettings, draws: random.Random) -> str:
    files = sorted(
        [*Path(settings.home, "frames").rglob("*.parquet"), *Path(settings.home, "archive").rglob("*.jsonl")]
    )
    path = draws.choice(files)
    data = bytearray(path.read_bytes())
    at = draws.randrange(len(data))
    data[at] ^= 1 << draws.randrange(8)
    path.write_bytes(data)
    return f"{path.name} byte {at}"
