"""Settings: what `crowd-rounds compact` keeps.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from pydantic import BaseModel

from resources.settings.fields import setting


class Retention(BaseModel):
    """What `crowd-rounds compact` keeps."""

    keep_runs: int = setting(
        default=100,
        ge=0,
        description="Number of settled rounds, the last ones, whose runs, logs and steps' results Dagster keeps after `crowd-"
        "rounds compact`. 0: every round.",
        shown="yes",
    )
    keep_data_docs: int = setting(
        default=100,
        ge=0,
        description="Number of settled rounds, the last ones, whose pages of the Data Docs `crowd-rounds compact` keeps. 0: "
        "every round.",
        shown="yes",
    )
    keep_losing_models: int = setting(
        default=100,
        ge=0,
        description="Number of settled rounds, the last ones, of which `crowd-rounds compact` also keeps candidates and "
        "aligned models that became no base. 0: every round.",
        shown="yes",
    )
    keep_archive: int = setting(
        default=0,
        ge=0,
        description="Number of settled rounds, the last ones, whose feedback files `crowd-rounds compact` keeps in the archive"
        " as the files arrived. Events are kept in any case. 0, the default: every round.",
        shown="yes",
    )
    keep_unfinished_hours: float = setting(
        default=24.0,
        gt=0,
        description="Hours after which `crowd-rounds compact` removes files that a killed process left half written. Writing a"
        " file never takes as long as the default.",
        shown="yes",
    )
