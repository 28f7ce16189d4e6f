"""What the gate decided about a round, which later runs obey: too few demonstrations skip a round, and no stage works for a round that
did not pass.

Belongs here: when a round is skipped, and asking for the verdict. Does not belong here: which rows pass (see ``gate``).
"""

from resources.rounds.book import Round, RoundBook
from resources.warehouse.base import WarehouseResource


class GateClosedError(RuntimeError):
    """A stage was started for a round whose feedback did not pass the gate."""


def too_few(demonstrations: int, contributors: int, groups: int, min_demonstrations: int) -> str | None:
    """Why the valid feedback does not carry a round, in words; None when it does.

    Args:
        demonstrations: Valid ones; ``contributors``, of how many people.
    """
    if demonstrations < min_demonstrations:
        return f"{demonstrations} valid demonstrations; CROWD_MIN_DEMONSTRATIONS asks for {min_demonstrations}"
    if contributors < groups:
        return f"{contributors} contributors with a valid demonstration; CROWD_GROUPS asks for {groups} groups"
    return None


def passed_round(warehouse: WarehouseResource, round_id: str) -> Round:
    """The round of a partition key, if its feedback passed the gate: also in a run that the gate was not part of.

    Raises:
        GateClosedError: it did not pass, or was not checked yet.
    """
    with warehouse.session():
        round_ = RoundBook(warehouse).get(round_id)
        verdict = warehouse.read_round("quality_verdicts", round_.round_no)
    if verdict.is_empty():
        raise GateClosedError(f"{round_id} has not been through the gate: materialise validated_feedback first.")
    if not verdict["passed"].item():
        raise GateClosedError(f"{round_id} did not pass the gate: {verdict['reason'].item()}.")
    return round_
