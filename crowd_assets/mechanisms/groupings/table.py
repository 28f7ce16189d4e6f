"""The groupings, the default first.

Belongs here: the table. Does not belong here: a grouping.
"""

from crowd_assets.mechanisms.families import Family
from crowd_assets.mechanisms.groupings.base import Grouping
from crowd_assets.mechanisms.groupings.epsilon_greedy import EpsilonGreedy
from crowd_assets.mechanisms.groupings.interleaved import Interleaved
from crowd_assets.mechanisms.groupings.nested import Nested
from crowd_assets.mechanisms.groupings.posterior_sampling import PosteriorSampling
from crowd_assets.mechanisms.groupings.random_split import Random

GROUPINGS: Family[Grouping] = Family(
    "grouping", "grouping", PosteriorSampling(), Random(), EpsilonGreedy(), Interleaved(), Nested()
)
