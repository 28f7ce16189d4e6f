"""Settings: what judges are asked, how often, and who is asked no more.

Belongs here: those fields. Does not belong here: what a setting does to a round, and what judgements earn (see ``market``).
"""

from typing import Literal

from pydantic import BaseModel

from resources.settings.fields import setting


class Judging(BaseModel):
    """What judges are asked, how often, and who is asked no more."""

    assignments: Literal["off", "offered", "required"] = setting(
        default="offered",
        description="Whether a round publishes in <outbox>/assignments who judges which comparisons. offered: judgements of other "
        "comparisons count as well. required: only judgements of assigned comparisons count, and none of a paused labeler. off: no "
        "assignments are published.",
        shown="yes",
        essential=True,
        earlier="off",
    )
    overlap: Literal["adaptive", "fixed"] = setting(
        default="adaptive",
        description="How often a comparison is judged. adaptive: until its answer is as sure as CROWD_KNOWN_AT, between "
        "CROWD_JUDGEMENTS_LEAST and CROWD_JUDGEMENTS_MOST times; fixed: CROWD_JUDGEMENTS_LEAST times.",
        shown="yes",
    )
    judgements_least: int = setting(
        default=2, ge=1, le=100, description="Number of judgements of a comparison, at least.", shown="yes"
    )
    judgements_most: int = setting(
        default=5,
        ge=1,
        le=100,
        description="Number of judgements of a comparison on which people disagree, at most; CROWD_JUDGEMENTS_LEAST where that is more.",
        shown="yes",
    )
    known_at: float = setting(
        default=0.9,
        ge=0.5,
        lt=1,
        description="Confidence, as the posterior of the likelier answer, at which a comparison is known and asked no more.",
        shown="yes",
    )
    generated_pairs: int = setting(
        default=0,
        ge=0,
        le=10_000,
        description="Number of comparisons of what the round's base wrote with what the next base wrote to the same prompt, that labelers are "
        "asked beside those of bought answers. 0: none.",
        shown="yes",
    )
    judgements_a_person: int = setting(
        default=40, ge=1, description="Number of assignments of a labeler in a round, at most.", shown="yes"
    )
    check_share: float = setting(
        default=0.1,
        ge=0,
        le=0.5,
        description="Share of a labeler's assignments that are checks: comparisons whose outcome is known, and which look like any other.",
        shown="yes",
    )
    repeat_share: float = setting(
        default=0.05,
        ge=0,
        le=0.5,
        description="Share of a labeler's assignments that the labeler judged before.",
        shown="yes",
    )
    qualification: int = setting(
        default=4,
        ge=0,
        le=100,
        description="Number of checks that a newcomer answers before anything else, where there are as many comparisons whose "
        "outcome is known.",
        shown="yes",
    )
    newcomer_seats: int = setting(
        default=4,
        ge=0,
        description="Number of sets of assignments without a name that a round publishes, each for one person who has not judged yet.",
        shown="yes",
    )
