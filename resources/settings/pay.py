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
        description="What points are paid by: Shapley values of demonstrations by where candidates show that each contributor takes a "
        "model in Φ (evidence), the same of contributors with texts taken to work fully at first (surrogate), what each adds to a "
        "candidate's value (regression), or the rank of the group's candidate, the paper's (rank).",
        shown="yes",
        essential=True,
    )
    epoch_rounds: int = setting(
        default=3,
        ge=1,
        description="Settled rounds after which points are posted. Until then they are provisional, as every round "
        "restates them. Points by rank are posted in every round.",
        shown="yes",
    )
    points_per_distance: str = setting(
        default="100",
        description="Points for one unit of target distance gained, at most 6 decimal places.",
        shown="yes",
    )
    pay_by: Literal["demonstrations", "contributor"] = setting(
        default="demonstrations",
        description="What a share of a round's points goes by: valid demonstrations, so that splitting them between names pays "
        "nothing, or one share a contributor. Points by rank are the paper's, one share a contributor.",
        shown="yes",
    )
    paid_demonstrations: int = setting(
        default=64,
        ge=1,
        description="Demonstrations of one contributor in a round beyond which more are not paid for.",
        shown="yes",
    )
    points_after_rounds: int = setting(
        default=2,
        ge=1,
        description="Rounds, of those that memory_rounds reaches, in which a contributor must have taken part when an epoch "
        "closes to be paid points for it; in a campaign's first rounds, all there were. What a new name costs whoever leaves "
        "the old one.",
        shown="yes",
    )
    copy_discount: float = setting(
        default=1.0,
        ge=0,
        le=1,
        description="Share of their points that copies do not earn, where the detector near_duplicates flags a contributor for "
        "sending more of them than others.",
        shown="yes",
    )
    covered_points: bool = setting(
        default=False,
        description="Where points are not conserved: points of an epoch are scaled down so that they need nobody's debts: in all at most what the model gained. "
        "Off: who is below zero pays who is above, if the name is ever used again.",
        shown="yes",
    )
    deposit: str = setting(
        default="0",
        description="Points that are held back of each name's first, as its deposit, for as long as this says so: what every "
        "further name costs somebody who takes several. Lowered, the rest is paid with the next points. At most 6 decimal "
        "places; 0: none.",
        shown="yes",
    )
    labeler_stake: bool = setting(
        default=False,
        description="Judgements count only from names whose deposit was whole before the round. Only demonstrations earn points, so "
        "no judgement counts before the first epoch has closed, and no judgement of a labeler without demonstrations ever counts.",
        shown="yes",
    )
    forfeited: str = setting(
        default="",
        description="Contributors, separated by commas and as the home names them, whom somebody found cheating: they are paid "
        "no points above zero, and their deposits go to the treasury with the next points. Credits stay.",
        shown="people",
    )
    memory_rounds: int = setting(
        default=9,
        ge=0,
        description="Settled rounds that estimates of contributions go back, and at least the open epoch. Fewer forget old "
        "merits sooner; more tell contributors apart better. 0: all.",
        shown="yes",
    )
    shapley_method: Literal["in_run", "centroid"] = setting(
        default="in_run",
        description="What a round's Shapley values are of: by how much a contributor's demonstrations lowered the loss on the "
        "target's texts while candidates trained, or how close the mean of what a coalition wrote is to the target in Φ.",
        shown="yes",
    )
    value_seeds: int = setting(
        default=2,
        ge=1,
        description="Runs of each group, with other initial adapters and orders, over which in-run values are averaged; the "
        "first is the candidate.",
        shown="yes",
    )
    value_rows: int = setting(
        default=64, ge=1, description="Target texts in each validation gradient of in-run values.", shown="yes"
    )
    value_every: int = setting(
        default=16, ge=1, description="Training steps from one validation gradient to the next.", shown="yes"
    )
    value_order: int = setting(
        default=2,
        ge=1,
        le=2,
        description="Order of in-run values. 1 uses gradients and needs no more memory than training; 2 adds the curvature of the loss "
        "and keeps one gradient a contributor of a step.",
        shown="yes",
    )
    exact_shapley_up_to: int = setting(
        default=12,
        ge=1,
        le=15,
        description="Largest number of contributors for which Shapley values are computed exactly.",
        shown="yes",
    )
    shapley_permutations: int = setting(
        default=400,
        ge=4,
        description="Permutations that are sampled where a round has more contributors than CROWD_EXACT_SHAPLEY_UP_TO.",
        shown="yes",
    )
    conserved_points: bool = setting(
        default=True,
        description="The points of an epoch sum to what the model gained in it, less what noise of measuring explains, and nobody's "
        "fall below zero: where nothing was gained nobody is paid, and for harm a name's deposit answers. Not for points by rank.",
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
            raise ValueError("needs a deposit, and CROWD_DEPOSIT is 0: set it as well")
        return value

    @property
    def forfeited_names(self) -> tuple[str, ...]:
        """Names in ``forfeited``."""
        return parts(self.forfeited)
