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
        description="Seed of the simulated crowd and of experiments, and of rounds where CROWD_REPEATABLE is set.",
        shown="yes",
    )
    repeatable: bool = setting(
        default=False,
        description="Whether rounds draw by CROWD_SEED and their number alone, for tests and docs. A round then comes out the "
        "same on another machine, and whoever knows the seed can predict lots, audits, groups and evaluations. "
        "Off, rounds draw by a key of the home's secret.",
        shown="yes",
        earlier=True,
    )
    groups: int = setting(
        default=6,
        ge=2,
        description="Number of groups that contributors are split into, and so of candidates that a round trains. More groups "
        "tell contributors apart sooner and take longer to train.",
        shown="yes",
        essential=True,
    )
    grouping: Annotated[str, MemberOf("crowd_assets.mechanisms.groupings.table:GROUPINGS")] = setting(
        default="posterior_sampling",
        description="How contributors are split into groups. random: at random. epsilon_greedy: by points or estimates so far,"
        " with exploring rounds. interleaved: dealt in turn from the upper and the lower half. posterior_sampling:"
        " by a draw from the posterior of the estimates. nested: the best few train one candidate, the best few "
        "and some more the next, each with the demonstrations that the members sent in earlier rounds, and the "
        "rest trains none.",
        shown="yes",
    )
    planned_rounds: int = setting(
        default=4,
        ge=1,
        description="Number of rounds planned. The groupings epsilon_greedy and posterior_sampling explore with probability "
        "max(0.4, 1 - round/planned), so that a longer plan explores for longer.",
        shown="yes",
    )
    small_groups: float = setting(
        default=1.0,
        gt=0,
        le=1,
        description="Size of every group but the last, as a share of an equal split; at least two contributors. The last group"
        " takes everybody else. Small groups tell contributors apart sooner; 1 splits equally. The grouping "
        "interleaved always splits equally.",
        shown="yes",
    )
    newcomer_weight: float = setting(
        default=0.5,
        gt=0,
        le=1,
        description="Weight of a new labeler, as a multiple of the mean weight of labelers. A labeler whose weight lies above "
        "this value gains nothing by taking a new name.",
        shown="yes",
    )
    aggregate: Annotated[str, MemberOf("crowd_assets.mechanisms.labelers.table:AGGREGATES")] = setting(
        default="log_odds",
        description="How labelers' reports on a comparison become one probability. log_odds is the most accurate on real "
        "workers; by_agreement needs no outcomes. weighted_score_update_pooled makes truth-telling optimal for "
        "labelers who want a high weight, weighted_score_update_sampled and limited_feedback also for labelers who"
        " want the aggregate near their belief, fpl_elf and elf_x also for labelers who look ahead. mean, median "
        "and dawid_skene are baselines.",
        shown="yes",
        earlier="weighted_score_update_pooled",
    )
    judgement_shares: bool = setting(
        default=True,
        description="A report with a judgement_share is paid that part of a judgement: who ranks K answers is paid for one judgement, and "
        "not for K(K-1)/2 reports.",
        shown="yes",
        earlier=False,
    )
    alike_count_once: bool = setting(
        default=True,
        description="Whether reports of labelers whose errors go together share a weight, by how much each report adds to the others, "
        "and reports of labelers with large errors weigh less. Errors are those of the last CROWD_MEMORY_ROUNDS rounds: one judgement "
        "under several names, with or without noise, counts about as much as under one name. Read by the aggregates log_odds and "
        "by_agreement. Weights stay.",
        shown="yes",
        earlier=False,
    )
    alike_by_difficulty: bool = setting(
        default=True,
        earlier=False,
        description="Whether CROWD_ALIKE_COUNT_ONCE measures errors against those that are usual where the crowd is as sure: else who answers "
        "only what is easy counts for more.",
        shown="yes",
    )
    rings_count_once: bool = setting(
        default=True,
        description="Whether contributors whom the detector collusion links count as one person: the first report on a "
        "comparison counts, and the first bid in a lot is admitted. Off, one person judges under as many names as "
        "the person has.",
        shown="yes",
        earlier=False,
    )
