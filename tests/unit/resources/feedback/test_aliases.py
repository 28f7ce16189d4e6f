"""Two names of a person are one from the day on which somebody says so, and the audit knows since when."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crowd_assets.commands.people import app
from crowd_assets.operations.audit_intake import intake_differences
from crowd_assets.operations.erasure import erase
from resources.build import Resources, build_resources
from resources.feedback.aliases import AliasBook, AliasError, person_of
from resources.settings.resource import CrowdSettings

KEY = "a key that is long enough"


def drop(resources: Resources, name: str, *people: str) -> None:
    lines = [
        {
            "kind": "demonstration",
            "contributor_id": who,
            "prompt": "p",
            "response": f"{name} {who}",
            "submitted_at": "2026-01-01T00:00:00Z",
        }
        for who in people
    ]
    root = Path(resources.inbox.root)
    root.mkdir(exist_ok=True)
    (root / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    resources.inbox.ingest()


def people(resources: Resources) -> list[str]:
    return resources.inbox.events(1, 100)["contributor_id"].to_list()


def differences(resources: Resources) -> list[str]:
    found = intake_differences(resources.warehouse, resources.inbox, [], lambda *_: None)
    return [f"{each.where} {each.column}" for each in found]


@pytest.fixture(params=["", KEY])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CrowdSettings:
    monkeypatch.setenv("CROWD_PSEUDONYM_KEY", request.param)
    return CrowdSettings(home=str(tmp_path))


def test_what_arrives_under_an_alias_is_the_person_s_from_then_on(settings: CrowdSettings) -> None:
    resources = build_resources(settings)
    book = AliasBook(resources.inbox)
    drop(resources, "a", "argilla-1")
    alias = book.add("argilla-1", "label-studio-7", by="the manager")
    drop(resources, "b", "argilla-1", "label-studio-7")
    drop(resources, "a", "argilla-1")  # the same event again is known, whoever it belongs to now
    first, *later = people(resources)
    assert [first, *set(later)] == [alias.name, alias.person]
    assert len(later) == 2
    assert person_of(resources.warehouse, "argilla-1") == alias.person
    assert differences(resources) == []
    book.remove("argilla-1")
    drop(resources, "c", "argilla-1")
    assert people(resources)[-1] == alias.name
    assert (book.all(), differences(resources)) == ([], [])


def test_the_audit_sees_an_alias_that_nobody_recorded_and_one_that_was_not_kept_to(tmp_path: Path) -> None:
    resources = build_resources(CrowdSettings(home=str(tmp_path)))
    AliasBook(resources.inbox).add("x", "y", by="m")
    drop(resources, "a", "x")
    with resources.warehouse.transaction() as connection:
        connection.execute("UPDATE aliases SET person = 'z'")
    assert differences(resources) == ["aliases person"]


def test_chains_end_at_the_person_and_circles_are_refused(settings: CrowdSettings) -> None:
    book = AliasBook(build_resources(settings).inbox)
    book.add("a", "b", by="m")
    book.add("b", "c", by="m")
    person = {each.person for each in book.all()}
    assert len(person) == 1
    assert len(book.all()) == 2
    book.add("a", "b", by="m")  # says the same
    for name, other, words in (
        ("c", "a", "already"),
        ("a", "d", "remove the alias first"),
        ("x y", "a", "no contributor"),
    ):
        with pytest.raises(AliasError, match=words):
            book.add(name, other, by="m")
    with pytest.raises(AliasError, match="--by"):
        book.add("d", "c", by=" ")
    with pytest.raises(AliasError, match="is no alias"):
        book.remove("nobody")


def test_a_person_s_texts_go_under_all_of_their_names(settings: CrowdSettings) -> None:
    resources = build_resources(settings)
    drop(resources, "a", "argilla-1", "somebody")
    AliasBook(resources.inbox).add("argilla-1", "label-studio-7", by="m")
    drop(resources, "b", "argilla-1", "label-studio-7")
    done = erase("argilla-1", "asked for", settings, resources)
    assert done.events == 3
    kept = {path: path.read_bytes() for path in Path(settings.home).rglob("*.jsonl")}
    kept |= {path: path.read_bytes() for path in Path(settings.home).rglob("*.parquet")}
    assert not any(b"b argilla-1" in data or b"a argilla-1" in data for data in kept.values())
    assert erase("label-studio-7", "asked for", settings, resources).erasure_id == ""


def test_the_command_says_lists_and_takes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWD_HOME", str(tmp_path))
    run = CliRunner().invoke
    assert "a is b" in run(app, ["alias", "a", "b", "--by", "m"]).output
    assert "a  is  b  since" in run(app, ["alias"]).output
    assert run(app, ["alias", "a"]).exit_code == 2
    assert "no more" in run(app, ["alias", "a", "--remove"]).output
    assert run(app, ["alias"]).output == ""
