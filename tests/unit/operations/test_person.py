"""What is kept about one is given out whole, and nothing of anybody else with it."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner
from upath import UPath

from crowd_assets.__main__ import app
from crowd_assets.desk.database import database_url
from crowd_assets.desk.store import DeskStore
from crowd_assets.operations import person
from crowd_assets.operations.person import PersonError, as_json, everything_about
from resources.build import build_resources
from resources.feedback.aliases import AliasBook
from resources.settings.resource import CrowdSettings
from tests.unit.operations.test_erasure import SECRET, SOLD, Home, demonstration


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Home.made(tmp_path_factory.mktemp("person"))
    with home.warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO quality_contributors VALUES (1, 'ann', 'copies', 1, 2, 0.1, true, 'two of two')"
        )
        connection.execute("INSERT INTO labeler_weights VALUES (2, 'ann', 0.5, 1, 0.1, 1, 1)")
        connection.execute("INSERT INTO labeler_weights VALUES (2, 'cy', 0.25, 1, 0.1, 1, 1)")
    home.warehouse.publish_snapshot()
    return home.folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(made, tmp_path / "home")))


def test_everything_of_one_and_of_nobody_else(home: Home) -> None:
    found = everything_about("ann", home.settings, home.resources)
    tables = found["tables"]
    assert len(tables["event_index"]) == 4
    assert {row["account"] for row in tables["ledger"]} == {"contributor:ann"}
    assert {row["comparison_id"] for row in tables["comparison_tasks"]} == {"r000001-1"}
    assert [row["detail"] for row in tables["quality_contributors"]] == ["two of two"]
    assert [row["weight"] for row in tables["labeler_weights"]] == [0.5]
    assert len(tables["rejected_feedback"]) == 1
    assert found["snapshot"].keys() == tables.keys()
    arrived = [line for lines in found["archive"].values() for line in lines]
    assert sum(isinstance(line, str) for line in arrived) == 1  # the broken line that names her
    assert {line.get("note") for line in arrived if isinstance(line, dict)} == {None, "my diary"}
    written = {row["response"] for rows in found["frames"].values() for row in rows if row["kind"] != "preference"}
    assert {SECRET, SOLD} <= written
    assert any(place.endswith("r000002.parquet") and "generations" in place for place in found["texts_lie_in"])
    assert any(place.endswith(".html") for place in found["texts_lie_in"])
    said = as_json(found)
    assert "I am Bo." not in said
    assert "said cy" not in said
    assert json.loads(said)["contributor_id"] == "ann"


def test_a_file_is_written_for_its_owner_alone_and_replaces_nothing(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWD_HOME", str(home.folder))
    to = tmp_path / "ann.json"
    done = CliRunner().invoke(app, ["export-person", "ann", "--to", str(to)])
    assert done.exit_code == 0, done.output
    assert json.loads(to.read_text())["tables"]["event_index"]
    assert to.stat().st_mode & 0o777 == 0o600
    assert "is there already" in str(CliRunner().invoke(app, ["export-person", "ann", "--to", str(to)]).exception)
    assert json.loads(CliRunner().invoke(app, ["export-person", "bo"]).output)["contributor_id"] == "bo"


def test_after_an_erasure_no_text_is_left_to_give_out(home: Home) -> None:
    home.erase()
    found = everything_about("ann", home.settings, home.resources)
    assert "Zebulon" not in as_json(found)
    assert found["texts_lie_in"] == {}
    assert [row["reason"] for row in found["tables"]["erasures"]] == ["letter of 3 May"]
    assert {row["comparison_id"] for row in found["tables"]["withdrawn_comparisons"]} == {"r000001-1"}


def test_all_names_of_a_person_and_what_the_desk_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_HOME", str(tmp_path))
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", "a key that is long enough")
    settings = CrowdSettings(home=str(tmp_path))
    resources = build_resources(settings)
    Path(resources.inbox.root).mkdir()
    for number, who in enumerate(("argilla-1", "ada", "bo")):
        if number == 1:
            AliasBook(resources.inbox).add("argilla-1", "ada", by="the manager")
        Path(resources.inbox.root, f"{who}.jsonl").write_text(json.dumps(demonstration(who, f"Said by {who}.")))
        resources.inbox.ingest()
    desk = DeskStore(database_url(settings))
    desk.invite(["ada", "bo", "cy"])
    for who in ("ada", "bo", "cy"):
        desk.save_draft(who, "demonstration", "lot", {"response": f"Begun by {who}."})
    desk.close()
    run = CliRunner().invoke
    for given in ("ada", "argilla-1"):
        found = json.loads(run(app, ["export-person", given]).output)
        assert len(found["tables"]["event_index"]) == 2
        assert [row["said_by"] for row in found["tables"]["aliases"]] == ["the manager"]
        assert {found["contributor_id"], *found["aliases"]} == {
            row["contributor_id"] for row in found["tables"]["event_index"]
        }
        said = str(found)
        assert all(text in said for text in ("Said by ada.", "Said by argilla-1.", "Begun by ada."))
        assert not any(text in said for text in ("Said by bo.", "Begun by bo.", "Begun by cy."))
    at_desk_alone = json.loads(run(app, ["export-person", "cy"]).output)
    assert (at_desk_alone["tables"], len(at_desk_alone["desk"])) == ({}, 1)
    gone = run(app, ["erase", "argilla-1", "--reason", "asked", "--identifier"]).output
    assert "2 events of" in gone
    assert "1 texts, drafts and appeals removed from the desk" in gone
    assert run(app, ["pseudonym", "ada", "argilla-1"]).output.count("has sent nothing") == 2
    assert isinstance(run(app, ["export-person", "ada"]).exception, PersonError)
    assert run(app, ["erase", "cy", "--reason", "asked"]).output.startswith("1 texts, drafts and appeals removed")
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    for text in (b"Said by ada.", b"Said by argilla-1.", b"Begun by ada.", b"Begun by cy."):
        assert not [path for path in kept if text in path.read_bytes()]


def test_an_archived_parquet_file_is_read_by_the_process_for_strangers_files_and_none_is_left_out_silently(
    tmp_path: Path,
) -> None:
    rows = [{"contributor_id": "ada", "response": "mine"}, {"contributor_id": "bo", "response": "not mine"}]
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and nothing else")
    found = dict(person._archived(UPath(tmp_path), ["ada"], 1 << 20))
    assert found["a.parquet"] == [rows[0]]
    assert found["b.parquet"][0].startswith("cannot be read: ")
    assert "cannot be read: " in dict(person._archived(UPath(tmp_path), ["ada"], 10))["a.parquet"][0], "a limit holds"


def test_nobody_of_that_name(home: Home) -> None:
    with pytest.raises(PersonError, match="zoe has sent nothing"):
        everything_about("zoe", home.settings, home.resources)
