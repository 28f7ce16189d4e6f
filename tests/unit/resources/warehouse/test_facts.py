"""Facts of a round: what SQL says of rounds and accounts is what Python says, and nobody says so a second time."""

import re
from datetime import UTC, datetime

import pytest

from crowd_assets.mechanisms import ledger
from resources.rounds.book import RoundBook
from resources.warehouse import facts
from resources.warehouse.base import as_stored
from resources.warehouse.duckdb import DuckDBWarehouse
from tests import PROJECT

ELSEWHERE = {
    "whether a round is settled": r"status\b[^\n]*\(\s*['\"]settled['\"],\s*['\"]completed['\"]",
    "whether a round is open": r"status\b[^\n]*\(\s*['\"]claimed['\"],\s*['\"]settled['\"]",
    "the number of a round": r"int\(\w*round_id\w*\[1:\]\)|removeprefix\(\"r\"\)",
    "the id of a round": r"f\"r\{[^}\"]*:06d\}",
    "whose an account is": r"strpos\(account|account LIKE|split\(account|starts_with\(account",
    "the treasury's account": r"(<>|=)\s*['\"]treasury['\"]",
}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> DuckDBWarehouse:
    """A round of each status, and an entry on an account of each kind."""
    made = DuckDBWarehouse(path=str(tmp_path_factory.mktemp("home") / "warehouse.duckdb"))
    with made.transaction() as connection:
        for number, status in enumerate(facts.STATUSES, 1):
            connection.execute(
                "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, seed, settings, claimed_at, next_model) "
                "VALUES ($n, $id, $n, $n, $status, 1, 0, '{}', $now, $id)",
                {
                    "n": number,
                    "id": facts.round_id_of(number),
                    "status": status,
                    "now": as_stored(datetime(2026, 1, 1, tzinfo=UTC)),
                },
            )
        accounts = (ledger.TREASURY, ledger.contributor_account("ann: b"), ledger.deposit_account("ann: b"))
        for account in accounts:
            connection.execute(
                "INSERT INTO ledger VALUES ($account, 2, 'r000002', $account, 'point', 1, '', '')", {"account": account}
            )
    return made


def test_sql_and_python_say_the_same_of_each_status(warehouse: DuckDBWarehouse) -> None:
    rounds = RoundBook(warehouse).all()
    assert {each.status for each in rounds} == set(facts.STATUSES)
    found = warehouse.query(f"SELECT round_no FROM {facts.SETTLED_ROUNDS} r")["round_no"].to_list()
    assert found == [each.round_no for each in rounds if each.settled] == [2, 3]
    assert found == [each.round_no for each in RoundBook(warehouse).settled()]
    assert [each.round_no for each in RoundBook(warehouse).settled(2)] == [2]
    found = warehouse.query(f"SELECT round_no FROM rounds WHERE {facts.IS_OPEN} ORDER BY 1")["round_no"].to_list()
    assert found == [each.round_no for each in rounds if facts.is_open(each.status)] == [1, 2]


def test_prior_state_is_of_settled_rounds_alone(warehouse: DuckDBWarehouse) -> None:
    book = RoundBook(warehouse)
    assert book.base_model(5) == "r000003"  # r000004 was skipped
    assert book.base_model(2) is None  # r000001 is claimed
    assert book.rounds_through(4) == ["r000002", "r000003", "r000004"]


def test_an_account_is_its_contributors_whatever_the_id_has_in_it(warehouse: DuckDBWarehouse) -> None:
    found = warehouse.query(
        f"SELECT account, contributor_id, held_back FROM {facts.PEOPLES_LEDGER} entries ORDER BY account"
    )
    assert facts.TREASURY == ledger.TREASURY
    assert (
        found["contributor_id"].to_list()
        == [ledger.contributor_of(each) for each in found["account"]]
        == ["ann: b"] * 2
    )
    assert (
        found["held_back"].to_list() == [each.startswith(ledger.DEPOSITS) for each in found["account"]] == [False, True]
    )


@pytest.mark.parametrize("number", [1, 42, 999_999, 1_000_000])
def test_a_rounds_id_has_its_number(number: int) -> None:
    assert facts.round_no_of(facts.round_id_of(number)) == number


@pytest.mark.parametrize("fact", ELSEWHERE)
def test_a_fact_is_asked_in_one_place(fact: str) -> None:
    pattern = re.compile(ELSEWHERE[fact])
    places = [
        str(path.relative_to(PROJECT))
        for package in ("crowd_assets", "resources", "sensors")
        for path in sorted((PROJECT / package).rglob("*.py"))
        if pattern.search(path.read_text(encoding="utf-8"))
    ]
    allowed = {"resources/warehouse/facts.py"}
    if fact == "the treasury's account":
        allowed.add("crowd_assets/mechanisms/ledger.py")  # which imports nothing; a test above compares them
    assert set(places) <= allowed


def test_the_search_finds_what_it_must() -> None:
    wrong = (
        "WHERE r.status IN ('settled', 'completed')",
        'if status in ("claimed", "settled"):',
        "int(round_id[1:])",
        'f"r{number:06d}"',
        "substr(account, strpos(account, ':') + 1)",
        "account <> 'treasury'",
    )
    for pattern, line in zip(ELSEWHERE.values(), wrong, strict=True):
        assert re.search(pattern, line)
