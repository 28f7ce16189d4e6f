"""Groups and candidates of a settled round are those of its settings."""

from resources.home.names import ROUND_JOB
from resources.warehouse.base import SettledRoundError
from tests.assets.platform import Platform


def test_a_settled_round_refuses_other_settings(two_rounds: Platform) -> None:
    before = two_rounds.contents()
    changed = {"resources": {"settings": {"config": {"seed": 0, "groups": 4}}}}
    result = two_rounds.run(ROUND_JOB, "r000002", run_config=changed)
    assert not result.success
    failure = result.failure_data_for_node("contributor_groups")
    assert failure is not None
    assert failure.error is not None
    assert SettledRoundError.__name__ in failure.error.to_string()
    assert two_rounds.contents() == before
