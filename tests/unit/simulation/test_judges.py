"""What judgements earn in the experiment: truth earns most, and names that are left when luck turns gain next to nothing."""

from crowd_assets.simulation.judges import KINDS, fresh_name_gains, judgement_gains


def test_no_strategy_earns_more_than_the_truth() -> None:
    found = judgement_gains(20_000, 0.1, 0, 0)
    assert set(found) == set(KINDS)
    assert max(found.values()) <= 1e-9
    assert found["misreport"] > -1e-6  # small lies are among those tried


def test_dues_keep_names_that_are_left_when_luck_turns_from_paying() -> None:
    without, shipped, strict = (fresh_name_gains(dues, 0.1)["gain"] for dues in (0, 8, 18))
    assert without > 0.04
    assert 0 < shipped < 4e-4
    assert 0 < strict <= 1e-6, "docs/mechanisms/labelers.md names this setting"
