"""The table of aggregates that a round may pool labelers' reports by.

Belongs here: the table. Does not belong here: any rule (see the member's module).
"""

from crowd_assets.mechanisms.families import Family
from crowd_assets.mechanisms.labelers.base import Aggregate
from crowd_assets.mechanisms.labelers.by_agreement import ByAgreement
from crowd_assets.mechanisms.labelers.by_limited_feedback import LimitedFeedback
from crowd_assets.mechanisms.labelers.by_log_odds import LogOdds
from crowd_assets.mechanisms.labelers.by_lottery import ElfX, FplElf
from crowd_assets.mechanisms.labelers.by_score_update import WeightedScoreUpdatePooled, WeightedScoreUpdateSampled
from crowd_assets.mechanisms.labelers.plain import DawidSkeneOfRound, Mean, Median

AGGREGATES: Family[Aggregate] = Family(
    "aggregate",
    "aggregate",
    LogOdds(),
    WeightedScoreUpdatePooled(),
    WeightedScoreUpdateSampled(),
    LimitedFeedback(),
    FplElf(),
    ElfX(),
    ByAgreement(),
    DawidSkeneOfRound(),
    Mean(),
    Median(),
)
"""Aggregates by name: accurate first, truthful first, without outcomes, baselines."""

WITHOUT_OUTCOMES = "by_agreement"
"""What pools in a home in which nothing was realised yet, for members that say ``else_by_agreement``."""
