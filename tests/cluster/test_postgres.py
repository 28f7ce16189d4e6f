"""What PostgreSQL alone can do or get wrong: types, processes at once, locks, conflicts, connections that end.

Belongs here: the warehouse on a real server. Does not belong here: what it has in common with the DuckDB file (see the modules
beside it that run those tests), whole campaigns (see ``test_postgres_campaign``).
"""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from crowd_assets.operations.migrate_tables import MigrationError, migrate_tables
from resources.build import build_resources
from resources.rounds import book as rounds
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse import postgres as postgres_warehouse
from resources.warehouse.base import WarehouseBusyError, fetch_row
from resources.warehouse.duckdb import DuckDBWarehouse, MovedWarehouseError
from resources.warehouse.look import NothingToReadError, look
from resources.warehouse.postgres import ConflictingTransactionsError, PostgresWarehouse, UnusableDatabaseError
from resources.warehouse.postgres_connection import (
    ConflictError,
    PostgresConnection,
    WarehouseLostError,
    WarehouseUnreachableError,
)
from resources.warehouse.schema import TABLES
from tests.cluster.postgres_server import PASSWORD, PostgresServer
from tests.project.test_concurrency import EVENTS, FILES, INGESTING, drop, lines, responses
from tests.unit.operations import test_erasure as erasing
from tests.unit.resources.rounds.test_book import NOW, QUORUM, claim, entries, send

pytestmark = pytest.mark.cluster

MODULES = ()
LOCK = "LOCK TABLE rounds IN SHARE ROW EXCLUSIVE MODE"


@pytest.fixture
def settings(postgres: PostgresServer, tmp_path: Path) -> CrowdSettings:
    return CrowdSettings(home=str(tmp_path), warehouse=postgres.place(), lock_timeout_s=20)


@pytest.fixture
def warehouse(settings: CrowdSettings) -> PostgresWarehouse:
    return build_resources(settings).warehouse


def impatient(warehouse: PostgresWarehouse) -> PostgresWarehouse:
    return PostgresWarehouse(path=warehouse.path, url=warehouse.url, lock_timeout_s=0.2)


def test_tables_and_values_come_back_as_from_duckdb(warehouse: PostgresWarehouse, tmp_path: Path) -> None:
    frames = {
        "erasures": pl.DataFrame(
            {
                "erasure_id": ["e1", "e2"],
                "reason": ['Ünïcode \'"\\N\t\n$n %s {a,"b"} \\', ""],
                "begun_at": [datetime(2026, 1, 1, 1, 2, 3, 456789), None],
                "events": [2**62, None],
                "trained_on": [["m,1", 'm"2', "", "\\", "NULL"], []],
            }
        ),
        "selections": pl.DataFrame(
            {
                "round_no": [1, 1, 1, 2],
                "role": ["a", "B", "ä", "b"],
                "group_index": [0, 1, 2, -1],
                "distance": [0.1 + 0.2, float("nan"), float("-inf"), -0.0],
                "standard_error": [5e-324, 1.7976931348623157e308, None, 1 / 3],
                "selected": [True, False, None, True],
            }
        ),
        "awards": pl.DataFrame(
            {
                "round_no": [1, 1],
                "event_id": ["x", "y"],
                "value": [Decimal("123456789012.123456"), Decimal("-0.000001")],
            }
        ),
    }
    embedded = DuckDBWarehouse(path=str(tmp_path / "embedded.duckdb"))
    for each in (warehouse, embedded):
        for table, frame in frames.items():
            with each.transaction() as connection:
                assert each.append(connection, table, frame) == frame.height
                assert each.append(connection, table, frame) == 0
    copy = DuckDBWarehouse(path=str(warehouse.publish_snapshot()))
    for table in TABLES:
        expected = embedded.query(f"SELECT * FROM {table} ORDER BY ALL")
        for each in (warehouse, copy):
            found = each.query(f"SELECT * FROM {table} ORDER BY ALL")
            assert found.schema == expected.schema, table
            assert repr(found.rows()) == repr(expected.rows()), table
    assert warehouse.query("SELECT role FROM selections ORDER BY role")["role"].to_list() == ["B", "a", "b", "ä"]


def test_eight_processes_ingest_one_inbox_and_every_event_is_there_once(settings: CrowdSettings) -> None:
    resources = build_resources(settings)
    inbox, warehouse = resources.inbox, resources.warehouse
    Path(inbox.root).mkdir()
    for number in range(FILES):
        drop(inbox, f"{number:02d}.jsonl", lines(20 * number, 20 * number + EVENTS) + "broken\n")
    script = INGESTING.replace(
        "from resources.warehouse.duckdb import DuckDBWarehouse",
        "from resources.warehouse.postgres import PostgresWarehouse as DuckDBWarehouse",
    ).replace('"/warehouse.duckdb")', '"/warehouse.duckdb", url=sys.argv[2])')
    done = subprocess.run(
        [sys.executable, "-c", script, settings.home, settings.warehouse], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Repeating" not in done.stderr  # they stand in line, and do not undo one another
    events = 20 * (FILES - 1) + EVENTS
    assert responses(inbox) == [f"response {number}" for number in range(events)]
    index = warehouse.query("SELECT seq FROM event_index ORDER BY seq")
    assert index["seq"].to_list() == list(range(1, events + 1))
    assert warehouse.query("SELECT count(*) AS n FROM rejected_feedback").item() == FILES
    assert len(list(Path(inbox.archive).iterdir())) == FILES


def test_of_claimers_at_once_one_claims(settings: CrowdSettings, warehouse: PostgresWarehouse) -> None:
    send(settings, "first", 5)
    book, begun = RoundBook(warehouse), threading.Barrier(4)

    def claiming(_: int) -> str:
        begun.wait()
        claimed, reason = book.claim(QUORUM, settings, NOW)
        return claimed.round_id if claimed else reason

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(claiming, range(4))) == ["r000001", *["r000001 is claimed"] * 3]


def test_without_the_lock_transactions_undo_one_another_and_are_repeated(
    warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = PostgresConnection.execute
    monkeypatch.setattr(
        PostgresConnection,
        "execute",
        lambda self, query, parameters=None, /: execute(self, "SELECT 1" if query == LOCK else query, parameters),
    )
    warehouse.query("SELECT 1")  # makes the tables
    both, calls = threading.Barrier(2), []

    def counting(name: str) -> None:
        def count(connection: Any) -> None:
            (number,) = fetch_row(connection, "SELECT count(*) FROM removed_models")
            calls.append(name)
            if len(calls) <= 2:
                both.wait()  # both have counted before either writes
            connection.execute("INSERT INTO removed_models VALUES ($name, $n, NULL)", {"name": name, "n": number})

        warehouse.atomically(count)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(counting, ["a", "b"]))
    assert len(calls) == 3
    assert warehouse.query("SELECT round_no FROM removed_models ORDER BY round_no")["round_no"].to_list() == [0, 1]


def test_a_transaction_that_is_always_undone_says_so(
    warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_warehouse, "FIRST_PAUSE_S", 0)
    calls = []

    def undone(connection: Any) -> None:
        calls.append(connection.execute("INSERT INTO removed_models VALUES ('x', 1, NULL)"))
        raise ConflictError("could not serialize access")

    with pytest.raises(
        ConflictingTransactionsError, match=r"undone 5 times .could not serialize access.*nothing was wr"
    ):
        warehouse.atomically(undone)
    assert len(calls) == postgres_warehouse.ATTEMPTS
    assert warehouse.query("SELECT * FROM removed_models").is_empty()


def test_a_writer_that_waits_in_vain_says_for_whom_and_a_reader_does_not_wait(warehouse: PostgresWarehouse) -> None:
    with warehouse.transaction() as connection:
        connection.execute("INSERT INTO removed_models VALUES ('x', 1, NULL)")
        assert impatient(warehouse).query("SELECT * FROM removed_models").is_empty()
        with (
            pytest.raises(WarehouseBusyError, match=r"locked for 0 s by crowd-rounds process \d+ on \S+ .* since 20"),
            impatient(warehouse).transaction(),
        ):
            pytest.fail("two writers at once")
    assert impatient(warehouse).query("SELECT * FROM removed_models").height == 1


def test_a_look_is_at_one_instant_and_a_session_reads_what_it_wrote(warehouse: PostgresWarehouse) -> None:
    with warehouse.session():
        with warehouse.connect() as connection:
            assert fetch_row(connection, "SELECT count(*) FROM removed_models") == (0,)
            with warehouse.transaction() as writing:
                assert writing is connection
                writing.execute("INSERT INTO removed_models VALUES ('x', 1, NULL)")
            other = impatient(warehouse)
            with ThreadPoolExecutor(1) as pool:  # another thread has no part in the session
                assert fetch_row(connection, "SELECT count(*) FROM removed_models") == (1,)
                insert = "INSERT INTO removed_models VALUES ('y', 1, NULL)"
                pool.submit(other.atomically, lambda there: there.execute(insert)).result()
            assert fetch_row(connection, "SELECT count(*) FROM removed_models") == (1,)
        assert warehouse.query("SELECT * FROM removed_models").height == 2
        with warehouse.transaction(), pytest.raises(RuntimeError, match="within"), warehouse.transaction():
            pytest.fail("the first would have been committed")


def test_a_server_that_is_started_anew_in_the_middle_of_a_posting_posts_it_once(
    postgres: PostgresServer, settings: CrowdSettings, warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(settings, "first", 5)
    book = RoundBook(warehouse)
    round_ = claim(book, settings)
    append, calls = rounds.append_record, []

    def restarted(connection: Any, *rest: Any) -> None:
        calls.append(fetch_row(connection, "SELECT count(*) FROM ledger"))
        if len(calls) == 1:
            postgres.stop()
            postgres.start()
        append(connection, *rest)

    monkeypatch.setattr(rounds, "append_record", restarted)
    assert book.settle(round_, entries(round_), base_model="a", next_model="b", now=NOW, about={}) == 2
    assert calls == [(2,), (2,)]  # of the first posting nothing was left
    assert warehouse.query("SELECT count(*) AS n, sum(amount) AS total FROM ledger").row(0) == (2, Decimal(0))
    assert warehouse.query("SELECT * FROM round_records").height == 1
    assert book.get("r000001").settled


def test_a_commit_whose_answer_is_lost_posts_once(
    settings: CrowdSettings, warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(settings, "first", 5)
    book = RoundBook(warehouse)
    round_ = claim(book, settings)
    execute, commits = PostgresConnection.execute, []

    def unanswered(self: PostgresConnection, query: str, parameters: Any = None, /) -> Any:
        found = execute(self, query, parameters)
        if query == "COMMIT" and not commits:
            commits.append(query)
            self.close()
            execute(self, query)
        return found

    monkeypatch.setattr(PostgresConnection, "execute", unanswered)
    assert book.settle(round_, entries(round_), base_model="a", next_model="b", now=NOW, about={}) == 0  # none was new
    assert commits
    assert warehouse.query("SELECT count(*) AS n, sum(amount) AS total FROM ledger").row(0) == (2, Decimal(0))
    assert warehouse.query("SELECT * FROM round_records").height == 1


def test_what_is_not_repeated_says_that_it_was_undone(postgres: PostgresServer, warehouse: PostgresWarehouse) -> None:
    def cut() -> None:
        with warehouse.transaction() as connection:
            connection.execute("INSERT INTO removed_models VALUES ('x', 1, NULL)")
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'crowd-rounds%'"
            )
            connection.execute("SELECT 1")

    with pytest.raises(WarehouseLostError, match=r"was lost .*is undone: repeat the command"):
        cut()
    assert warehouse.query("SELECT * FROM removed_models").is_empty()


def test_a_server_that_does_not_answer_or_refuses_is_named_without_the_password(
    postgres: PostgresServer, warehouse: PostgresWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = PostgresWarehouse(path=warehouse.path, url="postgresql://crowd@127.0.0.1:1/x", lock_timeout_s=0.5)
    with pytest.raises(WarehouseUnreachableError, match=r"127\.0\.0\.1:1/x cannot be had .*refused") as refused:
        nobody.query("SELECT 1")
    monkeypatch.setenv("PGPASSWORD", "another")
    with pytest.raises(WarehouseUnreachableError, match="password authentication failed") as unknown:
        warehouse.query("SELECT 1")
    assert PASSWORD not in str(refused.value) + str(unknown.value)


def test_a_database_that_cannot_hold_every_language_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    postgres.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    found = PostgresWarehouse(path=str(tmp_path / "x"), url=postgres.url.replace("/postgres", "/ascii"))
    with pytest.raises(UnusableDatabaseError, match=r"SQL_ASCII.*ENCODING 'UTF8'"):
        found.query("SELECT 1")


def test_what_was_deleted_is_gone_from_the_servers_files(
    postgres: PostgresServer, warehouse: PostgresWarehouse
) -> None:
    def files() -> bytes:
        schema = warehouse.url.rsplit("%3D", 1)[1]
        postgres.execute("CHECKPOINT")
        ((path,),) = postgres.execute(f"SELECT pg_relation_filepath('{schema}.rejected_feedback')")
        return (postgres.data / str(path)).read_bytes()

    with warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO rejected_feedback (rejection_id, excerpt) VALUES ('r', 'Zebulon the Third'), ('s', 'kept here')"
        )
    with warehouse.transaction() as connection:
        connection.execute("UPDATE rejected_feedback SET excerpt = '' WHERE rejection_id = 'r'")
    assert b"Zebulon" in files()
    warehouse.compact()
    assert b"Zebulon" not in files()
    assert b"kept here" in files()


@pytest.mark.usefixtures("on_postgres")
def test_texts_of_a_contributor_are_erased_from_every_table_and_figures_stay(tmp_path: Path) -> None:
    home = erasing.Home.made(tmp_path)

    def holding() -> list[str]:
        found = {table: str(home.warehouse.query(f"SELECT * FROM {table}").rows()) for table in TABLES}
        return [table for table, rows in found.items() if erasing.SECRET in rows or erasing.SOLD in rows]

    before = home.figures()
    assert isinstance(home.warehouse, PostgresWarehouse)
    assert holding() == ["rejected_feedback"]
    erased = home.erase()
    assert (holding(), home.figures()) == ([], before)
    assert (erased.erasure_id, home.erase().erasure_id) == ("e000001", "")
    with duckdb.connect(str(home.warehouse.snapshot_path), read_only=True) as copy:
        assert erasing.SECRET not in str(copy.execute("SELECT * FROM rejected_feedback").fetchall())
        assert copy.execute("SELECT status FROM erasures").fetchall() == [("done",)]


def test_a_look_makes_nothing_and_shows_what_is_there(settings: CrowdSettings, warehouse: PostgresWarehouse) -> None:
    with pytest.raises(NothingToReadError, match="no warehouse there yet"), look(settings):
        pytest.fail("there is nothing")
    assert not warehouse.exists()
    send(settings, "first", 5)
    with warehouse.transaction(), look(settings) as found:
        assert found.connection.execute("SELECT count(*) FROM event_index").fetchall() == [(5,)]
        assert not found.snapshot


@pytest.fixture
def embedded(tmp_path: Path) -> CrowdSettings:
    """A home with a DuckDB file: ten events, a claimed round of five."""
    settings = CrowdSettings(home=str(tmp_path))
    send(settings, "first", 5)
    claim(RoundBook(build_resources(settings).warehouse), settings)
    send(settings, "second", 5, first=5)
    return settings


def test_a_home_moves_once_and_its_file_opens_no_more(embedded: CrowdSettings, postgres: PostgresServer) -> None:
    before = build_resources(embedded).warehouse.query("SELECT * FROM event_index ORDER BY ALL")
    moved = embedded.model_copy(update={"warehouse": postgres.place()})
    done = CliRunner().invoke(app, ["migrate", "--to", moved.warehouse], env={"CROWD_HOME": embedded.home})
    assert done.exit_code == 0, done.output
    assert "        10 rows of event_index, the same there" in done.output
    assert "CROWD_WAREHOUSE=" in done.output
    assert PASSWORD not in done.output
    warehouse = build_resources(moved).warehouse
    assert warehouse.query("SELECT * FROM event_index ORDER BY ALL").equals(before)
    assert RoundBook(warehouse).open_round() is not None
    with pytest.raises(MovedWarehouseError, match="set CROWD_WAREHOUSE"):
        RoundBook(build_resources(embedded).warehouse).all()
    with pytest.raises(NothingToReadError, match="set CROWD_WAREHOUSE"), look(embedded):
        pytest.fail("it would show what was")
    Path(embedded.home, "warehouse.moved").unlink()
    with pytest.raises(MigrationError, match=r"has rows in .*Nothing was moved"):
        migrate_tables(moved)


def test_a_move_that_loses_a_row_is_undone(
    embedded: CrowdSettings, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = PostgresConnection.load
    monkeypatch.setattr(
        PostgresConnection,
        "load",
        lambda self, table, columns, rows: load(
            self, table, columns, iter(list(rows)[: 9 if "event" in table else 99])
        ),
    )
    moved = embedded.model_copy(update={"warehouse": postgres.place()})
    with pytest.raises(MigrationError, match=r"event_index: 9 rows .* of 10 .*Nothing was moved"):
        migrate_tables(moved)
    assert build_resources(moved).warehouse.query("SELECT * FROM ingested_files").is_empty()
    assert len(RoundBook(build_resources(embedded).warehouse).all()) == 1


def test_a_copy_of_the_tables_is_a_duckdb_file(settings: CrowdSettings, warehouse: PostgresWarehouse) -> None:
    send(settings, "first", 5)
    assert warehouse.query(
        "SELECT min(ingested_at) > $then AS new FROM event_index", {"then": NOW - timedelta(1)}
    ).item()
    with duckdb.connect(str(warehouse.publish_snapshot()), read_only=True) as copy:
        assert copy.execute("SELECT count(*), max(seq) FROM event_index").fetchall() == [(5, 5)]
