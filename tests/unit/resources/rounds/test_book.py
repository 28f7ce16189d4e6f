"""A round is claimed once, settled once, and gives its events back when it is skipped."""

import json
import multiprocessing
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from resources.build import build_resources
from resources.feedback.inbox import InboxResource
from resources.rounds.book import Quorum, Round, RoundBook, SkippedRoundError, UnbalancedEntriesError, UnknownRoundError
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import SettledRoundError, WarehouseBusyError, WarehouseResource
from resources.warehouse.duckdb import DuckDBWarehouse

NOW = datetime(2026, 2, 1, tzinfo=UTC)
QUORUM = Quorum(events=4, contributors=2, longest_wait=timedelta(hours=1))


@pytest.fixture
def plain(tmp_path: Path) -> CrowdSettings:
    return CrowdSettings(home=str(tmp_path))


@pytest.fixture
def warehouse(plain: CrowdSettings) -> WarehouseResource:
    return build_resources(plain).warehouse


@pytest.fixture
def book(warehouse: WarehouseResource) -> RoundBook:
    return RoundBook(warehouse)


def send(settings: CrowdSettings, name: str, events: int, contributors: int = 2, first: int = 0) -> None:
    """Put a file of demonstrations into the inbox and ingest it."""
    inbox: InboxResource = build_resources(settings).inbox
    folder = Path(inbox.root)
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps(
            {
                "kind": "demonstration",
                "contributor_id": f"c{number % contributors}",
                "prompt": "p",
                "response": f"response {number}",
                "submitted_at": "2026-01-01T00:00:00Z",
            }
        )
        for number in range(first, first + events)
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(lines))
    inbox.ingest()


def entries(round_: Round, amount: str = "1", balanced: bool = True) -> pl.DataFrame:
    value = Decimal(amount)
    return pl.DataFrame(
        {
            "entry_id": [f"{round_.round_id}-a", f"{round_.round_id}-b"],
            "round_id": [round_.round_id] * 2,
            "account": ["treasury", "contributor:c0"],
            "unit": ["point"] * 2,
            "amount": [-value, value if balanced else value * 2],
            "reason": ["because"] * 2,
            "reference": ["c0"] * 2,
        },
        schema_overrides={"amount": pl.Decimal(18, 6)},
    )


def claim(book: RoundBook, settings: CrowdSettings) -> Round:
    claimed, reason = book.claim(QUORUM, settings, NOW)
    assert claimed is not None, reason
    return claimed


def test_a_quorum_says_what_is_missing(plain: CrowdSettings, book: RoundBook) -> None:
    assert book.claim(QUORUM, plain, NOW) == (None, "no new feedback")
    send(plain, "few", 3, contributors=1)
    assert book.claim(QUORUM, plain, NOW) == (None, "1 of 2 contributors")
    send(plain, "more", 3, contributors=2)  # only one of these is new
    now = datetime.now(UTC)
    assert Quorum(99, 2, timedelta(hours=1)).missing(book.pending(), now) == "4 of 99 events"
    assert Quorum(99, 2, timedelta(hours=1)).missing(book.pending(), now + timedelta(hours=2)) is None


def test_claims_take_every_event_once(plain: CrowdSettings, book: RoundBook) -> None:
    send(plain, "first", 5)
    first = claim(book, plain)
    assert (first.round_id, first.from_seq, first.to_seq) == ("r000001", 1, 5)
    assert book.claim(QUORUM, plain, NOW) == (None, "r000001 is claimed")
    book.settle(first, entries(first), base_model="", next_model="", now=NOW, about={})
    assert book.claim(QUORUM, plain, NOW) == (None, "r000001 is settled")
    book.complete(1)
    send(plain, "second", 4, first=5)
    second = claim(book, plain)
    assert (second.from_seq, second.to_seq) == (6, 9)


def test_a_skipped_round_gives_its_events_back_but_starts_nothing_by_them(
    plain: CrowdSettings, book: RoundBook
) -> None:
    send(plain, "first", 5)
    first = claim(book, plain)
    book.skip(first.round_no, "too few")
    assert book.claim(QUORUM, plain, NOW) == (None, "no new feedback")
    send(plain, "second", 1, first=5)
    second = claim(book, plain)
    assert (second.round_id, second.from_seq, second.to_seq) == ("r000002", 1, 6)
    with pytest.raises(SkippedRoundError, match="too few"):
        book.reopen("r000001")


def test_the_last_skipped_round_can_be_started_again(plain: CrowdSettings, book: RoundBook) -> None:
    send(plain, "first", 5)
    book.skip(claim(book, plain).round_no, "too few")
    assert book.reopen("r000001").status == "claimed"


def test_a_settled_round_is_never_skipped(plain: CrowdSettings, book: RoundBook) -> None:
    send(plain, "first", 5)
    round_ = claim(book, plain)
    book.settle(round_, entries(round_), base_model="", next_model="", now=NOW, about={})
    book.skip(round_.round_no, "the report failed")
    assert (book.get("r000001").status, book.get("r000001").reason) == ("completed", "the report failed")


def test_settling_twice_posts_once_and_never_something_else(
    plain: CrowdSettings, book: RoundBook, warehouse: WarehouseResource
) -> None:
    send(plain, "first", 5)
    round_ = claim(book, plain)
    assert book.settle(round_, entries(round_), base_model="a", next_model="b", now=NOW, about={}) == 2
    assert book.settle(round_, entries(round_), base_model="a", next_model="b", now=NOW, about={}) == 0
    with pytest.raises(SettledRoundError, match="4 ledger entries"):
        book.settle(round_, entries(round_, "3"), base_model="a", next_model="b", now=NOW, about={})
    with pytest.raises(SettledRoundError, match="its model"):
        book.settle(round_, entries(round_), base_model="a", next_model="c", now=NOW, about={})
    assert warehouse.query("SELECT count(*) AS n, sum(amount) AS total FROM ledger").row(0) == (2, Decimal(0))
    assert book.base_model(2) == "b"


def test_unbalanced_entries_are_refused_and_nothing_is_written(
    plain: CrowdSettings, book: RoundBook, warehouse: WarehouseResource
) -> None:
    send(plain, "first", 5)
    round_ = claim(book, plain)
    with pytest.raises(UnbalancedEntriesError, match="point"):
        book.settle(round_, entries(round_, balanced=False), base_model="", next_model="", now=NOW, about={})
    assert warehouse.query("SELECT count(*) AS n FROM ledger").item() == 0
    assert book.get("r000001").status == "claimed"


def test_rows_of_a_settled_round_stay_as_they_are(
    plain: CrowdSettings, book: RoundBook, warehouse: WarehouseResource
) -> None:
    send(plain, "first", 5)
    round_ = claim(book, plain)
    groups = pl.DataFrame({"contributor_id": ["a", "b"], "group_index": [0, 1], "demonstrations": [3, 4]})
    warehouse.replace_round("contributor_groups", 1, groups.head(1))
    warehouse.replace_round("contributor_groups", 1, groups)
    book.settle(round_, entries(round_), base_model="", next_model="", now=NOW, about={})
    warehouse.replace_round("contributor_groups", 1, groups.reverse())
    with pytest.raises(SettledRoundError, match="contributor_groups"):
        warehouse.replace_round("contributor_groups", 1, groups.head(1))
    assert warehouse.read_round("contributor_groups", 1).height == 2


def test_prior_state_is_that_of_settled_rounds_before(
    plain: CrowdSettings, book: RoundBook, warehouse: WarehouseResource
) -> None:
    for number in (1, 2):
        send(plain, f"file {number}", 5, first=10 * number)
        round_ = claim(book, plain)
        groups = pl.DataFrame({"contributor_id": ["a"], "group_index": [number], "demonstrations": [1]})
        warehouse.replace_round("contributor_groups", number, groups)
        if number == 1:
            book.settle(round_, entries(round_), base_model="", next_model="next", now=NOW, about={})
            book.complete(number)
    assert warehouse.read_before("contributor_groups", 1).is_empty()
    assert warehouse.read_before("contributor_groups", 2)["group_index"].to_list() == [1]
    assert warehouse.read_before("contributor_groups", 3)["group_index"].to_list() == [1]
    assert warehouse.read_last_before("contributor_groups", 1).is_empty()
    assert warehouse.read_last_before("contributor_groups", 3)["group_index"].to_list() == [1]
    assert warehouse.read_rounds("contributor_groups", [2, 1, 9])["group_index"].to_list() == [1, 2]
    assert book.base_model(1) is None
    assert book.rounds_through(2) == ["r000001", "r000002"]


def test_a_partition_that_nobody_claimed_is_unknown(book: RoundBook) -> None:
    with pytest.raises(UnknownRoundError, match="never claimed"):
        book.get("r000007")


def test_only_names_of_tables_reach_the_sql(warehouse: WarehouseResource) -> None:
    with pytest.raises(ValueError, match="no table of a round"):
        warehouse.read_round("ledger; DROP TABLE ledger", 1)


def test_a_lock_that_is_not_had_in_time_says_who_holds_it(warehouse: WarehouseResource) -> None:
    impatient = DuckDBWarehouse(path=warehouse.path, lock_timeout_s=0.1)
    with (
        warehouse.connect(),
        pytest.raises(WarehouseBusyError, match=r"process \d+ on \S+ since 20"),
        impatient.connect(),
    ):
        pytest.fail("two connections at once")


def test_a_session_is_one_connection_and_ends(warehouse: WarehouseResource) -> None:
    impatient = DuckDBWarehouse(path=warehouse.path, lock_timeout_s=0.1)
    with warehouse.session(), warehouse.session(), warehouse.connect() as one:
        with impatient.connect() as other, suppress(ZeroDivisionError), warehouse.transaction() as third:
            third.execute("INSERT INTO pseudonym_key VALUES ('undone', NULL)")
            assert one is other is third
            raise ZeroDivisionError
        assert warehouse.query("SELECT * FROM pseudonym_key").is_empty()
    with warehouse.connect(), pytest.raises(WarehouseBusyError), impatient.connect():
        pytest.fail("the session goes on")


def test_a_labeler_has_one_weight_in_a_round(warehouse: WarehouseResource) -> None:
    weights = pl.DataFrame({"labeler_id": ["a", "b"], "weight": [0.5, 0.5]})
    warehouse.replace_round("labeler_weights", 1, weights)
    with pytest.raises(ValueError, match="1 rows of labeler_weights"):
        warehouse.replace_round("labeler_weights", 1, pl.concat([weights, weights.head(1)]))
    assert warehouse.read_round("labeler_weights", 1).height == 2


def test_a_snapshot_is_readable_while_the_warehouse_is_written(warehouse: WarehouseResource) -> None:
    import duckdb

    path = warehouse.publish_snapshot()
    with warehouse.transaction():
        reader = duckdb.connect(str(path), read_only=True)
        assert reader.execute("SELECT count(*) FROM ledger").fetchall() == [(0,)]
        reader.close()


def _claim_in_a_process(home: str, results: "multiprocessing.Queue[str]") -> None:
    settings = CrowdSettings(home=home)
    claimed, reason = RoundBook(build_resources(settings).warehouse).claim(QUORUM, settings, NOW)
    results.put(claimed.round_id if claimed else reason)


def test_of_four_processes_one_claims(plain: CrowdSettings, book: RoundBook) -> None:
    send(plain, "first", 5)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_claim_in_a_process, args=(plain.home, results)) for _ in range(4)]
    for process in processes:
        process.start()
    outcomes = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert outcomes == ["r000001", *["r000001 is claimed"] * 3]
