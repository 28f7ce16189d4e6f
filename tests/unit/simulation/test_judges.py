"""What judgements earn in the experiment: truth earns most, and a new name for every few judgements gains next to nothing."""

from crowd_assets.simulation.judges import KINDS, fresh_name_gains, judgement_gains


def test_no_strategy_earns_more_than_the_truth() -> None:
    found = judgement_gains(20_000, 0.1, 0, 0)
    assert set(found) == set(KINDS)
    assert max(found.values()) <= 1e-9
    assert found["misreport"] > -1e-6  # small lies are among those tried


def test_dues_keep_a_new_name_for_every_few_judgements_from_paying() -> None:
    without, small, shipped = (fresh_name_gains(dues)["gain"] for dues in (0.0, 2.0, 8.0))
    assert without > 0.4
    assert small > 0.04
    assert 0 < shipped < 3e-4
