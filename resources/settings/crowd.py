"""Settings: how contributors are grouped and labelers are weighted.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from typing import Annotated

from pydantic import BaseModel

from resources.common.members import MemberOf
from resources.settings.fields import setting


class Crowd(BaseModel):
    """How contributors are grouped and labelers are weighted."""

    seed: int = setting(
        default=0,
        ge=0,
        description="Seed of the simulated crowd, of experiments and, where CROWD_REPEATABLE is set, of rounds.",
        shown="yes",
    )
    repeatable: bool = setting(
        default=False,
        description="For tests and docs: a round draws by CROWD_SEED and its number alone, so that it can be repeated elsewhere, and "
        "so that whoever knows the seed predicts lots, audits, groups and evaluations. Off: by a key of the home's secret.",
        shown="yes",
        earlier=True,
    )
    groups: int = setting(
        default=6, ge=2, description="Groups of contributors, and so candidates, a round.", shown="yes", essential=True
    )
    grouping: Annotated[str, MemberOf("crowd_assets.mechanisms.groupings.table:GROUPINGS")] = setting(
        default="posterior_sampling",
        description="How contributors are split into groups: at random, by points or estimates so far with exploring "
        "rounds, dealt from the upper and lower half, by a draw from the posterior of the estimates, or nested: the best few train one "
        "candidate, these and some more the next, each with what its members sent in earlier rounds, and the rest trains none.",
        shown="yes",
    )
    planned_rounds: int = setting(
        default=4,
        ge=1,
        description="Rounds planned; epsilon_greedy and posterior_sampling explore with probability "
        "max(0.4, 1 - round/planned).",
        shown="yes",
    )
    small_groups: float = setting(
        default=1.0,
        gt=0,
        le=1,
        description="Size of all groups but one, as a share of an equal split, at least two contributors; the last group "
        "takes everybody else. Small groups tell contributors apart sooner; 1 splits equally. Not for interleaved.",
        shown="yes",
    )
    newcomer_weight: float = setting(
        default=0.5,
        gt=0,
        le=1,
        description="Weight of a new labeler, as a multiple of the mean weight. A labeler whose weight lies above this value gains "
        "nothing by taking a new name.",
        shown="yes",
    )
    aggregate: Annotated[str, MemberOf("crowd_assets.mechanisms.labelers.table:AGGREGATES")] = setting(
        default="log_odds",
        description="How labelers' reports on a comparison become one probability. Accurate first: log_odds, the best on real workers; "
        "by_agreement needs no outcomes. Truthful first: weighted_score_update_pooled for labelers who want a high weight, "
        "weighted_score_update_sampled, limited_feedback also for those who want the aggregate near their belief, fpl_elf and elf_x "
        "also for those who look ahead. Baselines: mean, median, dawid_skene.",
        shown="yes",
        earlier="weighted_score_update_pooled",
    )
    rings_count_once: bool = setting(
        default=False,
        description="Of contributors whom the detector collusion links, one report a comparison counts and one bid a lot is "
        "admitted, the first to arrive. Off by default: on easy comparisons careful labelers are alike, too.",
        shown="yes",
    )
