"""The connection to PostgreSQL: parameters translated, and what a server would say again not waited for."""

import pytest

from resources.warehouse.postgres_connection import ANSWERED, translated


@pytest.mark.parametrize(
    ("query", "taken"),
    [
        ("SELECT 1", "SELECT 1"),
        (
            "SELECT a FROM t WHERE n = $n AND m BETWEEN $from AND $n",
            "SELECT a FROM t WHERE n = %(n)s AND m BETWEEN %(from)s AND %(n)s",
        ),
        ("SELECT 7 % 2", "SELECT 7 % 2"),  # without parameters nothing is read as a placeholder
        ("SELECT 7 % $n, '%', 'it''s $n'", "SELECT 7 %% %(n)s, '%%', 'it''s $n'"),
    ],
)
def test_parameters_are_translated_and_what_stands_in_quotes_is_not(query: str, taken: str) -> None:
    assert translated(query) == taken


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("connection refused", True),
        ("FATAL:  the database system is starting up", True),
        ("FATAL:  sorry, too many clients already", True),
        ("FATAL:  password authentication failed", False),
        ('FATAL:  database "x" does not exist', False),
    ],
)
def test_what_a_server_would_say_again_is_not_waited_for(said: str, again: bool) -> None:
    assert (ANSWERED.search(said) is None) == again
