"""Names end at the border: nothing behind it holds them, and one key goes with one home."""

import json
from pathlib import Path

import duckdb
import polars as pl
import pytest

from resources.build import build_resources
from resources.feedback.inbox import InboxResource
from resources.feedback.pseudonyms import HomePseudonyms, PseudonymKeyError, Pseudonyms
from resources.settings.resource import CrowdSettings

KEY, OTHER_KEY = "a key that is long enough", "another key, as long as that"
NAME = "ada.lovelace@example.org"


def event(name: object = NAME, **other: object) -> dict[str, object]:
    return {
        "kind": "demonstration",
        "contributor_id": name,
        "prompt": "p",
        "response": "r",
        "submitted_at": "2026-01-01T00:00:00Z",
        **other,
    }


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InboxResource:
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", KEY)
    inbox: InboxResource = build_resources(CrowdSettings(home=str(tmp_path))).inbox
    Path(inbox.root).mkdir()
    return inbox


def drop(inbox: InboxResource, name: str, *lines: object) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    Path(inbox.root, name).write_text(text)


def test_a_pseudonym_depends_on_the_name_and_the_key_and_is_made_once() -> None:
    mine, other = Pseudonyms(KEY), Pseudonyms(OTHER_KEY)
    found = mine.of(NAME)
    assert found == Pseudonyms(KEY).of(NAME) != mine.of("ada")
    assert found != other.of(NAME)
    assert mine.of(found) == found
    assert other.of(found) != found
    forged = found[:-1] + ("1" if found.endswith("0") else "0")
    assert mine.of(forged) != forged
    assert mine.of("") == ""
    assert Pseudonyms().of(NAME) == NAME
    assert mine.fingerprint != other.fingerprint
    assert Pseudonyms().fingerprint is None


def test_a_short_key_is_refused() -> None:
    with pytest.raises(PseudonymKeyError, match="at least 16"):
        Pseudonyms("short")


def test_no_file_of_the_home_holds_a_name_or_the_key(inbox: InboxResource, tmp_path: Path) -> None:
    cut_off = json.dumps(event(response="x" * 400))[:-9]
    in_a_reason = event(name=f"{NAME} is no identifier")
    drop(inbox, "a.jsonl", event(), cut_off, in_a_reason, event(response=""), '{"contributor_id": "ada.lovelace')
    pl.DataFrame([event(response="of a table"), event(response="")]).write_parquet(Path(inbox.root, "b.parquet"))
    done = inbox.ingest()
    assert [(file.accepted, file.rejected) for file in done] == [(1, 4), (1, 1)]
    rows = inbox.events(1, 2)
    pseudonym = HomePseudonyms.of_home(inbox.warehouse).of(NAME)
    assert rows["contributor_id"].to_list() == [pseudonym] * 2
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        tables = [table for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        held = "".join(str(connection.execute(f"FROM {table}").fetchall()) for table in tables)
    held += str(rows.rows()) + "".join(
        path.read_bytes().decode("latin-1") for path in sorted(tmp_path.rglob("*")) if path.is_file()
    )
    assert pseudonym in held
    assert Pseudonyms(KEY).of(NAME) not in held
    assert "lovelace" not in held
    assert KEY not in held


def test_the_id_of_an_event_does_not_give_the_name_away(inbox: InboxResource, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(inbox, "a.jsonl", event())
    inbox.ingest()
    (keyed,) = inbox.events(1, 1)["event_id"]
    monkeypatch.delenv("CROWD_PSEUDONYM_KEY")
    unkeyed: InboxResource = build_resources(CrowdSettings(home=inbox.root)).inbox
    Path(unkeyed.root).mkdir()
    drop(unkeyed, "a.jsonl", event())
    unkeyed.ingest()
    assert unkeyed.events(1, 1)["event_id"].to_list() != [keyed]


def test_a_home_keeps_to_the_key_that_it_was_begun_with(inbox: InboxResource, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(inbox, "a.jsonl", event())
    inbox.ingest()
    for key in (OTHER_KEY, ""):
        monkeypatch.setenv("CROWD_PSEUDONYM_KEY", key)
        drop(inbox, "b.jsonl", event(response="later"))
        with pytest.raises(PseudonymKeyError, match="begun with"):
            inbox.ingest()
        assert [path.name for path in inbox.complete_files()] == ["b.jsonl"]
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", KEY)
    assert [file.accepted for file in inbox.ingest()] == [1]


def test_names_and_pseudonyms_do_not_mix(inbox: InboxResource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROWD_PSEUDONYM_KEY")
    drop(inbox, "a.jsonl", event())
    inbox.ingest()
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", KEY)
    drop(inbox, "b.jsonl", event(response="later"))
    with pytest.raises(PseudonymKeyError, match="begin another home"):
        inbox.ingest()


def test_a_home_of_an_earlier_version_gets_its_tables(inbox: InboxResource, tmp_path: Path) -> None:
    drop(inbox, "a.jsonl", event())
    inbox.ingest()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("DROP TABLE pseudonym_key")
    assert inbox.warehouse.query("FROM pseudonym_key").is_empty()


def test_a_home_draws_one_pseudonym_for_a_name_however_the_name_comes_in(inbox: InboxResource) -> None:
    drop(inbox, "a.jsonl", event(), event(name=Pseudonyms(KEY).of(NAME), response="by way of an importer"))
    inbox.ingest()
    inbox.deliver("label-studio-1", [event(response="by way of a tool")])
    assert "lovelace" not in Path(inbox.root, "label-studio-1.jsonl").read_text()
    inbox.ingest()
    (drawn,) = set(inbox.events(1, 9)["contributor_id"])
    drop(inbox, "b.jsonl", event(name=drawn, response="by the pseudonym itself"), event(name="bo"))
    inbox.ingest()
    assert inbox.events(1, 9)["contributor_id"].to_list().count(drawn) == 4
    assert drawn != Pseudonyms(KEY).of(NAME)


def test_two_processes_that_meet_a_name_at_once_give_it_one_pseudonym(
    inbox: InboxResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(inbox, "a.jsonl", event())
    read = HomePseudonyms.of_home

    def meanwhile(warehouse: object) -> HomePseudonyms:
        found = read(inbox.warehouse)
        monkeypatch.setattr(HomePseudonyms, "of_home", read)
        other: InboxResource = build_resources(
            CrowdSettings(home=str(Path(inbox.root).parent), inbox=f"{inbox.root}-2")
        ).inbox
        Path(other.root).mkdir()
        drop(other, "b.jsonl", event(response="at the same moment"))
        other.ingest()
        return found

    monkeypatch.setattr(HomePseudonyms, "of_home", meanwhile)
    assert [each.accepted for each in inbox.ingest()] == [1]
    assert len(set(inbox.events(1, 9)["contributor_id"])) == 1
    assert inbox.warehouse.query("SELECT count(*) FROM pseudonyms WHERE slot <> ''").item() == 1


def test_a_home_that_was_begun_before_pseudonyms_were_drawn_keeps_the_hashes(inbox: InboxResource) -> None:
    drop(inbox, "a.jsonl", event())
    inbox.ingest()
    with inbox.warehouse.transaction() as connection:
        connection.execute("DELETE FROM pseudonyms")
    assert HomePseudonyms.of_home(inbox.warehouse).of(NAME) == Pseudonyms(KEY).of(NAME)
