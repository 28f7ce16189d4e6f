"""A released row reaches the next round exactly once, whatever became of the round that rejected it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from crowd_assets.__main__ import app
from resources.build import build_resources
from resources.feedback import events as feedback
from resources.feedback.inbox import InboxResource
from resources.rounds.book import Quorum, Round, RoundBook
from resources.rounds.releases import NoReleaseError, ReleaseBook
from resources.settings.resource import CrowdSettings

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ANY = Quorum(events=1, contributors=1, longest_wait=timedelta(0))
WRONG = "not met: a labeler judges a comparison once"


@pytest.fixture
def inbox(tmp_path: Path) -> InboxResource:
    inbox: InboxResource = build_resources(CrowdSettings(home=str(tmp_path))).inbox
    Path(inbox.root).mkdir()
    return inbox


def arrive(inbox: InboxResource, *names: str) -> None:
    common = {"kind": "demonstration", "contributor_id": "c", "prompt": "p", "submitted_at": "2026-01-01T00:00:00Z"}
    lines = [json.dumps({**common, "response": name, "event_id": name}) for name in names]
    Path(inbox.root, f"{names[0]}.jsonl").write_text("\n".join(lines))
    inbox.ingest()


def claim(inbox: InboxResource) -> Round:
    round_, why = RoundBook(inbox.warehouse).claim(ANY, CrowdSettings(), NOW)
    assert round_ is not None, why
    return round_


def reject(inbox: InboxResource, round_: Round, event_id: str, reason: str = WRONG) -> str:
    row = feedback.rejection(
        stage="gate", source="f", line=1, reason=reason, round_no=round_.round_no, event_id=event_id
    )
    with inbox.warehouse.transaction() as connection:
        inbox.warehouse.append(connection, "rejected_feedback", pl.DataFrame([row], schema=feedback.REJECTION_SCHEMA))
    return str(row["rejection_id"])


def settle(inbox: InboxResource, round_: Round) -> None:
    with inbox.warehouse.transaction() as connection:
        connection.execute("UPDATE rounds SET status = 'completed' WHERE round_no = $n", {"n": round_.round_no})


def taken(inbox: InboxResource, round_: Round) -> list[str]:
    return inbox.events(round_.from_seq, round_.to_seq)["event_id"].to_list()


def test_a_row_of_a_settled_round_arrives_again_once(inbox: InboxResource) -> None:
    arrive(inbox, "a", "b")
    first, book = claim(inbox), ReleaseBook(inbox)
    reject(inbox, first, "b")
    settle(inbox, first)
    release = book.release("b", by="Ada", why="two tabs", now=NOW)
    again = book.release("b", by="Bo", why="another", now=NOW + timedelta(days=1))
    assert again == release
    assert (release.released_by, release.released_why, release.released_at) == ("Ada", "two tabs", NOW)
    second = claim(inbox)
    assert taken(inbox, second) == ["b"]
    assert book.released(second) == {"b": {WRONG}}
    # The round that rejected it is as it was, and gives the same again.
    assert taken(inbox, first) == ["a", "b"]
    assert book.released(first) == {}
    settle(inbox, second)
    assert RoundBook(inbox.warehouse).pending().events == 0


def test_a_row_of_a_skipped_round_waits_already(inbox: InboxResource) -> None:
    arrive(inbox, "a", "b")
    first, book = claim(inbox), ReleaseBook(inbox)
    rejection_id = reject(inbox, first, "b")
    RoundBook(inbox.warehouse).skip(first.round_no, "too many rejected")
    book.release(rejection_id, by="Ada", why="fine", now=NOW)
    arrive(inbox, "c")
    second = claim(inbox)
    assert taken(inbox, second) == ["a", "b", "c"]
    assert set(book.released(second)) == {"b"}


def test_released_again_after_another_rejection(inbox: InboxResource) -> None:
    arrive(inbox, "a")
    book, rounds = ReleaseBook(inbox), []
    for reason in (WRONG, "gibberish: 7 bits a letter"):
        rounds.append(claim(inbox))
        reject(inbox, rounds[-1], "a", reason)
        settle(inbox, rounds[-1])
        book.release("a", by="Ada", why="fine", now=NOW)
    third = claim(inbox)
    assert [taken(inbox, round_) for round_ in (*rounds, third)] == [["a"]] * 3
    assert book.released(third) == {"a": {"gibberish"}}


def test_what_cannot_be_released_is_said(inbox: InboxResource) -> None:
    arrive(inbox, "a")
    Path(inbox.root, "bad.jsonl").write_text("broken\n")
    inbox.ingest()
    first, book = claim(inbox), ReleaseBook(inbox)
    rejection_id = reject(inbox, first, "a")
    line = inbox.warehouse.query("SELECT rejection_id FROM rejected_feedback WHERE stage = 'ingestion'").item()
    for reference, words in (("nothing", "neither"), (line, "no event"), ("a", "is not over")):
        with pytest.raises(NoReleaseError, match=words):
            book.release(reference, by="Ada", why="fine", now=NOW)
    with pytest.raises(NoReleaseError, match="--by"):
        book.release("a", by=" ", why="fine", now=NOW)
    RoundBook(inbox.warehouse).skip(first.round_no, "too few")
    arrive(inbox, "b")
    settle(inbox, claim(inbox))  # took the event along, and did not reject it
    with pytest.raises(NoReleaseError, match="is in r000002"):
        book.release(rejection_id, by="Ada", why="fine", now=NOW)


def test_the_command_records_who_and_why(inbox: InboxResource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrive(inbox, "a")
    first = claim(inbox)
    reject(inbox, first, "a")
    settle(inbox, first)
    monkeypatch.setenv("CROWD_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["release", "a", "--by", "Ada", "--reason", "two tabs"])
    assert result.exit_code == 0, result.output
    assert "by Ada: two tabs" in result.output
    assert inbox.warehouse.query("SELECT released_by, released_why FROM releases").row(0) == ("Ada", "two tabs")


def test_a_warehouse_of_an_earlier_version_gets_the_new_table(inbox: InboxResource) -> None:
    inbox.warehouse.query("SELECT 1")
    with duckdb.connect(inbox.warehouse.path) as connection:
        connection.execute("DROP TABLE releases")
    assert inbox.warehouse.query("SELECT count(*) AS n FROM releases").item() == 0
