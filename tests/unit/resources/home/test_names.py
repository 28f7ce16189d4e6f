"""Names of a home: two homes that share Dagster's storage share none of them."""

from resources.home import names


def test_homes_have_partitions_tags_and_keys_of_their_own() -> None:
    one, other = "a" * 32, "b" * 32
    assert names.partition_set(one) != names.partition_set(other)
    assert names.home_tags(one) != names.home_tags(other)
    assert names.run_key(one, "r000001", 2) != names.run_key(other, "r000001", 2)


def test_a_home_that_nobody_has_begun_has_the_plain_names() -> None:
    assert names.partition_set("") == names.ROUNDS_PARTITION
    assert names.home_tags("") == {}
    assert names.run_key("", "r000001", 2) == "r000001:2"
