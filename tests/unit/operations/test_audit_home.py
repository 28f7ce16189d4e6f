"""What a home says of itself and to others is what its tables and records say."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from crowd_assets.operations.audit import audit
from crowd_assets.operations.erasure import erase
from resources.build import build_resources
from resources.feedback.aliases import AliasBook
from resources.feedback.events import ERASED, REJECTION_SCHEMA, rejection
from resources.home.identity import FILE, open_home
from resources.settings.resource import CrowdSettings

EVENT = {"kind": "demonstration", "contributor_id": "c1", "prompt": "p", "submitted_at": "2026-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that was begun, took in a file with a bad line, and published lots."""
    settings = CrowdSettings(home=str(tmp_path_factory.mktemp("begun")))
    resources = build_resources(settings)
    open_home(settings, resources.warehouse)
    Path(resources.inbox.root).mkdir()
    Path(resources.inbox.root, "a.jsonl").write_text(
        json.dumps(EVENT | {"response": "My address: ada@example.org"}) + "\nno JSON at all\n{}"
    )
    resources.inbox.ingest()
    (event,) = resources.inbox.events(1, 1).select("event_id", "source", "line", "contributor_id").rows(named=True)
    with resources.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO published_lots VALUES (1, 'lot-1-0', 'How?'), (1, 'lot-1-1', $erased)", {"erased": ERASED}
        )
        connection.execute(
            "INSERT INTO rounds (round_no, round_id, from_seq, to_seq, status, attempt, reason, claimed_at, settings) VALUES "
            "(1, 'r000001', 1, 1, 'skipped', 3, '3 attempts ended without completing r000001', '2026-01-01', $settings)",
            {"settings": json.dumps(settings.model_dump())},
        )
        rejected = rejection(stage="gate", round_no=1, reason="by hand", excerpt="My address: [e-mail]", **event)
        warehouse = resources.warehouse
        warehouse.append(connection, "rejected_feedback", pl.DataFrame([rejected], schema=REJECTION_SCHEMA))
    resources.outbox.publish("lots", "r000001", [{"lot_id": "lot-1-0", "prompt": "How?"}])
    return Path(settings.home)


@pytest.fixture
def home(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "home"))


def found(home: Path) -> str:
    return str(audit(CrowdSettings(home=str(home))).chain or "")


def test_what_nobody_changed_is_clean(home: Path) -> None:
    assert found(home) == ""


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE home SET uuid = 'x'", "uuid"),
        ("DELETE FROM home", "no row"),
        ("UPDATE home SET begun_at = begun_at + INTERVAL 1 SECOND", "begun_at"),
        ("UPDATE rejected_feedback SET reason = 'another' WHERE line = 2", "reason"),
        ("UPDATE rejected_feedback SET excerpt = 'another' WHERE line = 2", "excerpt"),
        ("UPDATE rejected_feedback SET excerpt = 'another' WHERE stage = 'gate'", "excerpt"),
        ("UPDATE rejected_feedback SET reason = 'another' WHERE stage = 'gate'", "reason"),
        ("UPDATE event_index SET ingested_at = ingested_at + INTERVAL 1 SECOND", "ingested_at"),
        ("UPDATE feedback_segments SET digest = 'x'", "digest"),
        ("UPDATE published_lots SET prompt = 'Why?' WHERE lot_id = 'lot-1-0'", "published_lots"),
        ("DELETE FROM published_lots", "no lots of this round"),
        ("UPDATE rounds SET status = 'completed', reason = 'x', settled_at = claimed_at", "round_records"),
    ],
)
def test_a_row_that_was_changed_is_found(home: Path, statement: str, said: str) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        connection.execute(statement)
    result = audit(CrowdSettings(home=str(home)))
    assert not result.clean
    assert said in result.as_json()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a key: two people, one of them under two names, and one whose identifier was erased."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROWD_PSEUDONYM_KEY", "a key that is long enough")
        settings = CrowdSettings(home=str(tmp_path_factory.mktemp("keyed")))
        resources = build_resources(settings)
        open_home(settings, resources.warehouse)
        resources.inbox.deliver("a", [EVENT | {"contributor_id": who, "response": who} for who in ("ada", "bo", "cy")])
        resources.inbox.ingest()
        AliasBook(resources.inbox).add("argilla-1", "ada", by="the manager")
        erase("cy", "asked", settings, resources, identifier=True)
        yield Path(settings.home)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT 1", ""),
        ("DELETE FROM pseudonyms WHERE slot = ''", "pseudonyms"),
        ("DELETE FROM pseudonyms WHERE slot = (SELECT max(slot) FROM pseudonyms)", "pseudonyms"),
        ("UPDATE pseudonyms SET slot = slot || 'x' WHERE slot = (SELECT max(slot) FROM pseudonyms)", "pseudonyms"),
        ("UPDATE pseudonyms SET pseudonym = (SELECT max(pseudonym) FROM pseudonyms) WHERE slot <> ''", "pseudonyms"),
        ("DELETE FROM erased_identifiers", "pseudonyms"),
        ("UPDATE pseudonym_key SET fingerprint = reverse(fingerprint)", "pseudonym_key"),
        ("UPDATE pseudonym_key SET since = since + INTERVAL 1 SECOND", "pseudonym_key"),
        ("UPDATE aliases SET said_by = 'another'", "aliases"),
        ("UPDATE aliases SET since = since + INTERVAL 1 SECOND", "aliases"),
    ],
)
def test_who_is_who_is_held_against_what_arrived(
    keyed: Path, tmp_path: Path, statement: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key that is long enough")
    home = Path(shutil.copytree(keyed, tmp_path / "home"))
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        connection.execute(statement)
    assert found(home).startswith(said)
    assert bool(found(home)) == bool(said)


@pytest.mark.parametrize("name", [FILE, "outbox/lots/r000001.jsonl"])
def test_a_byte_of_a_file_that_was_changed_is_found(home: Path, name: str) -> None:
    data = bytearray((home / name).read_bytes())
    for at in range(0, len(data) - 1, max(len(data) // 6, 1)):
        changed = bytearray(data)
        changed[at] ^= 4
        (home / name).write_bytes(changed)
        assert found(home) != "", at


def test_words_that_were_erased_and_archives_that_are_gone_are_not_missed(home: Path) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        connection.execute(
            "UPDATE rejected_feedback SET excerpt = $erased, reason = '…' WHERE line = 2", {"erased": ERASED}
        )
    shutil.rmtree(home / "archive")
    assert found(home) == ""
