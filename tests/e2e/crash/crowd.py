"""A crowd small enough that a round of it takes seconds.

Belongs here: how many of each kind. Does not belong here: what they do (see ``crowd_assets.simulation.crowd``).
"""

from collections.abc import Callable
from typing import Any

from crowd_assets.simulation import crowd

SMALLER: dict[str, Any] = {
    "DEMONSTRATORS": {"careful": 5, "sloppy": 1, "off_topic": 1, "spammer": 1, "adversary": 1},
    "LABELERS": {"accurate": 3, "biased": 1, "strategic": 1, "absent": 1},
    "SELLERS": {"honest": 3, "overclaiming": 1},
    "DEMONSTRATIONS": 6,
    "GOLD_COMPARISONS": 16,
    "LOTS": 4,
}


def make_crowd_smaller(set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """For the rest of this process, or for as long as what ``set_attribute`` sets stays."""
    for name, value in SMALLER.items():
        set_attribute(crowd, name, value)
