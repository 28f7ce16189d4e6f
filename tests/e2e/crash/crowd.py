"""A crowd small enough that a round of it takes seconds.

Belongs here: how many of each kind. Does not belong here: what they do (see ``crowd_assets.simulation.crowd``).
"""

from crowd_assets.simulation import crowd


def make_crowd_smaller() -> None:
    """For the rest of this process."""
    crowd.DEMONSTRATORS = {"careful": 5, "sloppy": 1, "off_topic": 1, "spammer": 1, "adversary": 1}
    crowd.LABELERS = {"accurate": 3, "biased": 1, "strategic": 1, "absent": 1}
    crowd.SELLERS = {"honest": 3, "overclaiming": 1}
    crowd.DEMONSTRATIONS = 6
    crowd.GOLD_COMPARISONS = 16
    crowd.LOTS = 4
