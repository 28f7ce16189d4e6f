"""What the desk keeps, and what becomes of it when a home is backed up or somebody's texts are erased."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from crowd_assets.desk.database import DeskError, database_url
from crowd_assets.desk.forms import plain
from crowd_assets.desk.privacy import forget_at_desk, kept_about, kept_at_desk
from crowd_assets.desk.store import DeskStore, Sent
from crowd_assets.desk.tables import metadata
from crowd_assets.operations.backup import DESK, backup, restore
from resources.build import Resources, build_resources
from resources.feedback.aliases import AliasBook, names_of
from resources.home.identity import open_home

EVENT = {"kind": "demonstration", "prompt": "p", "response": "r", "submitted_at": "2026-01-01T00:00:00Z"}


@pytest.fixture
def store(desk_settings):
    found = DeskStore(database_url(desk_settings))
    yield found
    found.close()


def _sent(number: int, kind: str = "demonstration") -> Sent:
    event = {"kind": kind, "response": f"words of {number}", "event_id": f"e{number}"}
    return Sent(f"e{number}", kind, "free", "", event, 1.5)


def test_migrations_make_the_tables_that_the_program_knows(store, desk_settings) -> None:
    made = inspect(create_engine(database_url(desk_settings)))
    for table in metadata.sorted_tables:
        assert {column["name"] for column in made.get_columns(table.name)} == set(table.columns.keys())
        assert {tuple(index["column_names"]) for index in made.get_indexes(table.name)} == {
            tuple(index.columns.keys()) for index in table.indexes
        }


def test_tables_of_a_newer_program_are_refused_in_words(store, desk_settings) -> None:
    with create_engine(database_url(desk_settings)).begin() as connection:
        connection.execute(text("UPDATE desk_version SET version_num = '9999'"))
    with pytest.raises(DeskError, match="newer program"):
        DeskStore(database_url(desk_settings))


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "x" * 129, "ä", "'; DROP TABLE desk_people; --"])
def test_names_that_no_contributor_can_have_are_refused(store, name: str) -> None:
    with pytest.raises(DeskError, match="no name of a contributor"):
        store.invite([name])


def test_a_backup_taken_while_people_send_has_what_was_acknowledged(store, desk_settings, tmp_path) -> None:
    resources = build_resources(desk_settings)
    open_home(desk_settings, resources.warehouse)
    with resources.warehouse.connect():
        pass
    store.invite(["ada"])
    store.send("ada", _sent(1))  # still in SQLite's log, as the connection is open
    backup(desk_settings, resources.warehouse, tmp_path / "copy")
    assert not list((tmp_path / "copy").glob(f"{DESK}-*"))
    elsewhere = desk_settings.changed(home=str(tmp_path / "restored"))
    restore(elsewhere, build_resources(elsewhere).warehouse, tmp_path / "copy")
    again = DeskStore(database_url(elsewhere))
    assert (again.waiting(), again.person("ada").name) == (1, "ada")
    again.close()


def test_of_a_form_that_was_sent_in_part_the_rest_is_kept(store) -> None:
    store.invite(["ada"])
    assert store.send("ada", _sent(2, "preference"))
    assert store.send("ada", _sent(1, "preference"), _sent(2, "preference"), _sent(3, "preference"))
    assert not store.send("ada", *(_sent(number, "preference") for number in (1, 2, 3)))
    assert store.judged() == {"free": 3}


def test_what_is_refused_for_another_reason_is_no_event_sent_before(store) -> None:
    store.invite(["ada"])
    with pytest.raises(IntegrityError):
        store.send("ada", replace(_sent(1, "preference"), subject=None))  # type: ignore[arg-type]


@pytest.fixture
def known(store, desk_settings, monkeypatch: pytest.MonkeyPatch) -> Resources:
    """A home with a key that knows yvonne, under another name, too; yvonne and bo have sent, begun and asked something at the desk."""
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key of the tests, long enough")
    store.invite(["yvonne", "bo"])
    for number, name in enumerate(("yvonne", "bo")):
        store.send(name, _sent(number))
        store.save_draft(name, "bid", "lot", {"response": "half of it"})
        store.appeal(name, "", "my words", most_a_day=3)
    store.ask_erasure("yvonne")
    resources = build_resources(desk_settings)
    resources.inbox.deliver("one", [EVENT | {"contributor_id": "yvonne"}])
    resources.inbox.ingest()
    AliasBook(resources.inbox).add("argilla-1", "yvonne", by="the manager")
    return resources


def test_an_erasure_reaches_what_the_desk_still_has(store, desk_settings, known) -> None:
    names = names_of(known.warehouse, "argilla-1")
    assert forget_at_desk(desk_settings, known.warehouse, names) == 3
    kept = str(kept_about(store, "yvonne"))
    assert not any(words in kept for words in ("words of", "half of it", "my words"))
    assert "words of 1" in str(kept_about(store, "bo"))
    assert store.erasures_asked() == []


def test_what_the_desk_keeps_is_found_under_any_of_a_person_s_names(desk_settings, known) -> None:
    for given in ("yvonne", "argilla-1", names_of(known.warehouse, "yvonne")[0]):
        (kept,) = kept_at_desk(desk_settings, known.warehouse, names_of(known.warehouse, given))
        assert [row["name"] for row in kept["person"]] == ["yvonne"]
        assert all(kept[what] for what in ("drafts", "sent", "appeals", "erasures"))
    assert kept_at_desk(desk_settings, known.warehouse, ["zoe"]) == []


def test_with_the_identifier_the_desk_forgets_the_name_and_keeps_that_judgements_were_sent(
    store, desk_settings, known
) -> None:
    store.send("yvonne", _sent(7, "preference"))
    while (found := store.batch(9)) is not None:
        store.finish(found[0])
    assert store.judged()["free"] == 1
    forget_at_desk(desk_settings, known.warehouse, names_of(known.warehouse, "yvonne"), identifier=True)
    assert store.judged()["free"] == 1
    assert not any(kept_about(store, "yvonne").values())
    assert all(b"yvonne" not in path.read_bytes() for path in Path(desk_settings.home).glob(f"{DESK}*"))
    assert store.person("bo") is not None


def test_what_is_on_its_way_to_the_inbox_is_forgotten_too(store, known, desk_settings) -> None:
    name, lines = store.batch(9)
    assert len(lines) == 2
    forget_at_desk(desk_settings, known.warehouse, ["yvonne"])
    assert store.batch(9) == (name, lines[1:])


def test_a_home_without_a_desk_gets_none_by_an_erasure(desk_settings) -> None:
    warehouse = build_resources(desk_settings).warehouse
    assert forget_at_desk(desk_settings, warehouse, ["ada"]) == 0
    assert kept_at_desk(desk_settings, warehouse, ["ada"]) == []
    assert not Path(desk_settings.home, DESK).exists()


def test_appeals_of_one_person_are_limited(store) -> None:
    for _ in range(3):
        store.appeal("ada", "", "again", most_a_day=3)
    with pytest.raises(DeskError, match="24 hours"):
        store.appeal("ada", "", "again", most_a_day=3)
    store.appeal("bo", "", "first", most_a_day=3)


def test_line_ends_of_forms_become_those_of_feedback() -> None:
    assert plain(" a\r\nb\rc \n") == "a\nb\nc"
