"""What strangers wrote shows as one line, in the order in which it is stored, and leads nowhere."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.common.plain_text import one_line, without_links


@given(st.text())
def test_nothing_that_moves_a_cursor_or_turns_the_direction_is_left(text: str) -> None:
    shown = one_line(text)
    assert len(shown) == len(text)
    assert not [letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [
        letter for letter in shown if unicodedata.bidirectional(letter) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI")
    ]
    assert one_line(shown) == shown


def test_line_ends_are_spaces_and_other_letters_stay() -> None:
    assert one_line("a\r\nb\tc\u2028d\u202e\x1b[2J naïve 漢字 😀") == "a  b c d\ufffd\ufffd[2J naïve 漢字 😀"


@pytest.mark.parametrize("address", ["http://a.example", "HTTPS://a.example", "ftp://a.example", "www.a.example"])
def test_an_address_is_none_any_more(address: str) -> None:
    shown = without_links(f"see {address} now")
    assert address not in shown
    assert shown.replace("\u200b", "") == f"see {address} now"
