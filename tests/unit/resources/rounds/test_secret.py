"""A round's key is an HMAC of the home's secret, committed to before and refused where it is another's."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resources.build import build_resources
from resources.rounds.book import Quorum, Round, RoundBook
from resources.rounds.records import surroundings
from resources.rounds.secret import SecretError, commitment, home_secret, round_key
from resources.settings.resource import CrowdSettings
from tests.unit.resources.rounds.test_book import entries, send

NOW = datetime(2026, 2, 1, tzinfo=UTC)
QUORUM = Quorum(events=2, contributors=1, longest_wait=timedelta(hours=1))


@pytest.fixture(autouse=True)
def no_secret_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROWD_SECRET", raising=False)


def claimed(settings: CrowdSettings, number: int) -> Round:
    send(settings, f"file-{number}", 2, first=10 * number)
    found, reason = RoundBook(build_resources(settings).warehouse).claim(QUORUM, settings, NOW)
    assert found is not None, reason
    return found


def settle(settings: CrowdSettings, round_: Round) -> dict[str, object]:
    warehouse = build_resources(settings).warehouse
    about = surroundings(
        {},
        seed=round_.seed,
        key=round_.key,
        next_commitment=round_.next_commitment,
        phi="",
        target="",
        root="",
        models=[],
        frames={},
        segments={},
    )
    book = RoundBook(warehouse)
    book.settle(round_, entries(round_), base_model=None, next_model=None, now=NOW, about=about)
    book.complete(round_.round_no)
    record: dict[str, object] = json.loads(
        warehouse.query("SELECT record FROM round_records ORDER BY round_no DESC LIMIT 1").item()
    )
    return record


def test_a_home_makes_a_secret_that_its_owner_alone_reads_and_keeps_it(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path))
    assert home_secret(settings) == home_secret(settings)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert home_secret(CrowdSettings(home=str(tmp_path / "other"))) != home_secret(settings)


def test_a_record_shows_the_key_and_speaks_of_the_next_one_and_a_skipped_round_hands_its_own_on(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path))
    first = claimed(settings, 1)
    secret = home_secret(settings)
    assert first.key == round_key(secret, 0)
    assert str(first.key) not in repr(first)
    record = settle(settings, first)
    assert (record["key"], record["next_commitment"]) == (first.key, commitment(round_key(secret, 1)))
    second = claimed(settings, 2)
    RoundBook(build_resources(settings).warehouse).skip(second.round_no, "too little")
    third = claimed(settings, 3)
    assert second.key == third.key == round_key(secret, 1)
    assert record["next_commitment"] == commitment(str(third.key))


def test_another_secret_than_the_one_spoken_of_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = CrowdSettings(home=str(tmp_path))
    settle(settings, claimed(settings, 1))
    monkeypatch.setenv("CROWD_SECRET", "another")
    send(settings, "file-2", 2, first=20)
    with pytest.raises(SecretError, match="Restore the secret from a backup"):
        RoundBook(build_resources(settings).warehouse).claim(QUORUM, settings, NOW)
    repeatable = settings.changed(repeatable=True)
    assert claimed(repeatable, 3).key is None
