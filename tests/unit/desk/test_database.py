"""Transactions of many threads at once."""

import threading

import pytest
from sqlalchemy import event, text

from crowd_assets.desk.database import Database


@pytest.fixture
def database(tmp_path):
    found = Database(f"sqlite:///{tmp_path / 'desk.sqlite'}")
    yield found
    found.close()


def _together(database: Database, works) -> list:
    """What each work returned or raised, all of them waiting while another transaction is under way."""
    results: list = [None] * len(works)

    def one(at: int) -> None:
        try:
            results[at] = database.write(works[at])
        except Exception as problem:
            results[at] = problem

    threads = [threading.Thread(target=one, args=(at,)) for at in range(len(works))]
    with database.writing():
        for thread in threads:
            thread.start()
        while len(database._queue) < len(works):
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join()
    return results


def _skip(subject: str | None):
    def work(connection) -> str | None:
        connection.execute(
            text("INSERT INTO desk_skips (name, subject, skipped_at) VALUES ('ada', :subject, '2026-01-01')"),
            {"subject": subject},
        )
        return subject

    return work


def _kept(database: Database) -> set[str]:
    with database.reading() as connection:
        return set(connection.scalars(text("SELECT subject FROM desk_skips")))


def test_whoever_waits_is_served_with_the_others_in_one_transaction(database: Database) -> None:
    commits: list[int] = []
    event.listen(database._engine, "commit", lambda connection: commits.append(1))
    names = [f"s{number}" for number in range(20)]
    assert _together(database, [_skip(name) for name in names]) == names
    assert _kept(database) == set(names)
    assert len(commits) == 2  # what they waited for, and theirs


def test_work_that_fails_takes_nobody_else_along(database: Database) -> None:
    *kept, failed = _together(database, [_skip("a"), _skip("b"), _skip(None)])
    assert kept == ["a", "b"]
    assert "NOT NULL" in str(failed)
    assert _kept(database) == {"a", "b"}


def test_what_was_refused_once_is_written_when_it_comes_again(database: Database) -> None:
    with pytest.raises(Exception, match="NOT NULL"):
        database.write(_skip(None))
    assert database.write(_skip("a")) == "a"
    assert _kept(database) == {"a"}
