"""Hashes of records: the same text for the same record, and another hash for another place in the chain."""

from hypothesis import given
from hypothesis import strategies as st

from resources.common.hashes import canonical, chained, file_hash

RECORDS = st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=4)


@given(record=RECORDS)
def test_a_record_is_one_text_in_whatever_order_its_keys_stand(record: dict[str, object]) -> None:
    assert canonical(dict(reversed(record.items()))) == canonical(record)


def test_hashes_are_those_that_homes_hold() -> None:
    assert canonical({"b": [1, None], "a": "é"}) == '{"a":"\\u00e9","b":[1,null]}'
    assert chained("", "{}") == "3a4ee56c6abe187e1920334008cc14a25a2bf6bdcebe2ac3ae776601f3065377"
    assert file_hash(b"") == "cae66941d9efbd404e4d88758ea67670"


@given(one=st.text(max_size=5), other=st.text(max_size=5))
def test_a_hash_depends_on_what_stands_before(one: str, other: str) -> None:
    same = chained(chained("", one), "record") == chained(chained("", other), "record")
    assert same == (one == other)
