"""Settings: what points are paid by, and what is kept back.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ValidationInfo, field_validator

from resources.common.members import MemberOf
from resources.settings.fields import decimal_text, parts, setting


class Pay(BaseModel):
    """What points are paid by, and what is kept back."""

    points_scheme: Annotated[str, MemberOf("crowd_assets.mechanisms.points_schemes.table:POINTS_SCHEMES")] = setting(
        default="evidence",
        description="What points are paid by. evidence: Shapley values of demonstrations, by where the crowd's candidates show that each "
        "contributor takes a model in Φ. proven: Shapley values of demonstrations, by where a contributor's own candidates bear the "
        "contributor's texts out. surrogate: Shapley values of contributors, with texts taken to work fully"
        " until candidates tell otherwise. regression: how much a contributor adds to a candidate's value. rank: "
        "the rank of the group's candidate, as in Crowd-SFT.",
        shown="yes",
        essential=True,
    )
    epoch_rounds: int = setting(
        default=3,
        ge=1,
        description="Number of settled rounds in an epoch. Points stay provisional until the epoch closes, as every round "
        "restates the estimates, and are then posted. The scheme rank posts points in every round.",
        shown="yes",
    )
    points_per_distance: str = setting(
        default="100",
        description="Points paid for one unit of target distance gained, with at most 6 decimal places.",
        shown="yes",
    )
    pay_by: Literal["demonstrations", "contributor"] = setting(
        default="demonstrations",
        description="Unit of the equal share of a round's points. demonstrations: each valid demonstration has one share, so "
        "that splitting demonstrations between names pays nothing. contributor: each contributor has one share, as"
        " in the scheme rank, which knows no other unit.",
        shown="yes",
    )
    paid_demonstrations: int = setting(
        default=64,
        ge=1,
        description="Number of demonstrations that one contributor is paid for in a round. Further demonstrations train and "
        "earn nothing, so that flooding does not pay.",
        shown="yes",
    )
    points_after_rounds: int = setting(
        default=2,
        ge=1,
        description="Number of rounds in which a contributor must have taken part, of the rounds that CROWD_MEMORY_ROUNDS "
        "reaches, to be paid points when an epoch closes. A campaign's first rounds ask for no more rounds than "
        "there were. Whoever leaves a name behind starts from nothing.",
        shown="yes",
    )
    copy_discount: float = setting(
        default=1.0,
        ge=0,
        le=1,
        description="Share of the points for near duplicates that is withheld from a contributor whom the detector "
        "near_duplicates flags for sending more near duplicates than others do. 1 pays copies nothing.",
        shown="yes",
    )
    covered_points: bool = setting(
        default=False,
        description="Whether points above zero are scaled down to at most the model's gain in the epoch, so that no points "
        "depend on debts being paid. Only read where CROWD_CONSERVED_POINTS is off. Off, contributors below zero "
        "owe what contributors above zero are paid beyond the gain.",
        shown="yes",
    )
    deposit: str = setting(
        default="0",
        description="Points that are held back of the first points of each name, with at most 6 decimal places, so that every "
        "further name costs a deposit. A lower value returns the difference with the next points. 0, the default, "
        "holds back nothing, as no number of points suits every target.",
        shown="yes",
    )
    labeler_stake: bool = setting(
        default=False,
        description="Whether judgements count only from names whose deposit was whole before the round; needs CROWD_DEPOSIT. "
        "Only demonstrations earn points, so that no judgement counts in the first epoch, and none ever of a "
        "labeler who writes no demonstrations. Off by default for campaigns with such labelers.",
        shown="yes",
    )
    forfeited: str = setting(
        default="",
        description="Names, as the home writes names, of contributors who were found cheating, separated by commas. A named "
        "contributor is paid no points above zero, and loses the deposit to the treasury when points are posted "
        "next. Credits stay.",
        shown="people",
    )
    memory_rounds: int = setting(
        default=9,
        ge=0,
        description="Number of settled rounds that estimates of contributions look back on, and at least the open epoch. Fewer"
        " rounds forget old merits sooner; more rounds tell contributors apart better. 0: every round.",
        shown="yes",
    )
    shapley_method: Literal["in_run", "centroid"] = setting(
        default="in_run",
        description="What a round's Shapley values measure. in_run: by how much each contributor's demonstrations lowered the "
        "loss on the target's texts while candidates trained. centroid: how close the mean of a coalition's texts "
        "lies to the target in Φ.",
        shown="yes",
    )
    value_seeds: int = setting(
        default=2,
        ge=1,
        description="Number of training runs of each group over which in-run values are averaged, each with other initial "
        "weights and another order. The first run is the candidate; two runs give a standard error.",
        shown="yes",
    )
    value_rows: int = setting(
        default=64,
        ge=1,
        description="Number of target texts in each validation gradient of in-run values. More texts make the gradient more "
        "exact and the step slower.",
        shown="yes",
    )
    value_every: int = setting(
        default=16,
        ge=1,
        description="Number of training steps from one validation gradient of in-run values to the next. Fewer steps are more "
        "exact and slower.",
        shown="yes",
    )
    value_order: int = setting(
        default=2,
        ge=1,
        le=2,
        description="Order of the expansion by which in-run values are computed. 1 reads gradients and needs no more memory "
        "than training. 2 also reads the curvature of the loss, and holds one gradient for each contributor in the"
        " steps between two validation gradients.",
        shown="yes",
    )
    exact_shapley_up_to: int = setting(
        default=12,
        ge=1,
        le=15,
        description="Number of contributors up to which Shapley values are computed exactly. Larger rounds sample "
        "CROWD_SHAPLEY_PERMUTATIONS permutations, as coalitions double with each contributor.",
        shown="yes",
    )
    shapley_permutations: int = setting(
        default=400,
        ge=4,
        description="Number of permutations sampled for Shapley values in a round with more contributors than "
        "CROWD_EXACT_SHAPLEY_UP_TO. More permutations lower the standard errors.",
        shown="yes",
    )
    conserved_points: bool = setting(
        default=True,
        description="Whether the points of an epoch sum to the model's gain less what noise of measuring explains, with "
        "nobody's points below zero. On, an epoch without a gain pays nobody, and a name's deposit answers for "
        "harm. The scheme rank ignores this setting.",
        shown="yes",
        earlier=False,
    )

    @field_validator("points_per_distance", "deposit")
    @classmethod
    def _points(cls, value: str) -> str:
        return decimal_text(value)

    @field_validator("labeler_stake")
    @classmethod
    def _a_deposit_to_stake(cls, value: bool, about: ValidationInfo) -> bool:
        if value and not Decimal(about.data.get("deposit", "1")):
            raise ValueError("needs a deposit, and CROWD_DEPOSIT is 0: set CROWD_DEPOSIT as well")
        return value

    @property
    def forfeited_names(self) -> tuple[str, ...]:
        """Names in ``forfeited``."""
        return parts(self.forfeited)
