"""The points schemes, the default first.

Belongs here: the table. Does not belong here: a scheme.
"""

from crowd_assets.mechanisms.families import Family
from crowd_assets.mechanisms.points_schemes.base import PointsScheme
from crowd_assets.mechanisms.points_schemes.evidence import Evidence, Proven
from crowd_assets.mechanisms.points_schemes.rank import Rank
from crowd_assets.mechanisms.points_schemes.regression import Regression
from crowd_assets.mechanisms.points_schemes.surrogate import Surrogate

POINTS_SCHEMES: Family[PointsScheme] = Family(
    "points scheme", "points_scheme", Proven(), Evidence(), Surrogate(), Regression(), Rank()
)
