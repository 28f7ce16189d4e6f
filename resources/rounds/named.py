"""The settled round that somebody means by ``r000003``, by ``3``, or by nothing.

Belongs here: finding it, and saying which there are. Does not belong here: what is asked of it.
"""

import re
from collections.abc import Sequence

from resources.common.errors import OperatorError
from resources.rounds.claims import Round
from resources.warehouse.facts import SKIPPED, round_id_of

ROUND = re.compile(r"r?(\d{1,9})")


class NoSuchRoundError(OperatorError, LookupError):
    """There is no settled round of that name, or none at all."""


def named_round(rounds: Sequence[Round], name: str, home: str) -> Round:
    """The settled round of a name, or the last one where it is empty.

    Args:
        rounds: Every round of the home, oldest first.
        home: ``CROWD_HOME``, for the message.

    Raises:
        NoSuchRoundError: there is none.
    """
    settled = [round_ for round_ in rounds if round_.settled]
    known = f"settled rounds of CROWD_HOME={home}: {', '.join(r.round_id for r in settled[-5:]) or 'none yet'}"
    if not name and not settled:
        raise NoSuchRoundError(f"{known}. `make round` runs rounds; CROWD_HOME names the folder of others.")
    if not name:
        return settled[-1]
    number = ROUND.fullmatch(name.strip())
    if number is None:
        raise NoSuchRoundError(f"--round {name!r} names no round: write r000003 or 3, or nothing for the last round.")
    round_id = round_id_of(int(number[1]))
    found = next((round_ for round_ in rounds if round_.round_id == round_id), None)
    if found is None:
        raise NoSuchRoundError(f"--round {name!r}: there is no {round_id}; {known}.")
    if found.status == SKIPPED:
        raise NoSuchRoundError(f"{round_id} was skipped ({found.reason}), so the round has no model; {known}.")
    if not found.settled:
        raise NoSuchRoundError(
            f"{round_id} is {found.status} and not settled yet: `make round` finishes the round; {known}."
        )
    return found
