"""Every column has its meaning, once, and a snapshot can be read with it."""

import duckdb

from crowd_assets.commands.data_dictionary import dictionary
from resources.warehouse.dictionary import EVERYWHERE, WORDS, comment, tables
from resources.warehouse.schema import SCHEMA, TABLES
from tests import PROJECT


def test_the_words_are_of_the_columns_that_are_there() -> None:
    with duckdb.connect() as connection:
        connection.execute(SCHEMA)
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() ORDER BY table_oid, column_index"
        ).fetchall()
        there = {name: [(column, kind) for table, column, kind in rows if table == name] for name in TABLES}
        found = {
            each.name: [(column.name, column.type.replace(" ", "")) for column in each.columns] for each in tables()
        }
        assert {name: [column for column, _ in columns] for name, columns in found.items()} == {
            name: [column for column, _ in columns] for name, columns in there.items()
        }
        assert all(column in dict(found[name]) for name, (_, words) in WORDS.items() for column in words)
        assert list(WORDS) == list(TABLES)
        comment(connection)
        assert connection.execute(
            "SELECT count(*) FROM duckdb_columns() WHERE comment IS NULL AND NOT internal"
        ).fetchall() == [(0,)]
        assert connection.execute(
            "SELECT count(*) FROM duckdb_tables() WHERE comment IS NULL AND NOT internal"
        ).fetchall() == [(0,)]


def test_words_are_sentences_without_repetition() -> None:
    for each in tables():
        for column in each.columns:
            assert column.words.endswith("."), (each.name, column.name)
            assert "|" not in column.words
            assert column.words != EVERYWHERE.get(column.name) or column.name not in WORDS[each.name][1]


def test_the_page_is_what_the_command_writes() -> None:
    assert (PROJECT / "docs" / "data_dictionary.md").read_text(encoding="utf-8") == dictionary()
