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
        description="Settled rounds, the last ones, whose runs Dagster still knows after `crowd-rounds compact`, with their logs and "
        "what their steps handed on. 0: all.",
        shown="yes",
    )
    keep_data_docs: int = setting(
        default=100,
        ge=0,
        description="Settled rounds whose pages of the Data Docs are kept by `crowd-rounds compact`. 0: all.",
        shown="yes",
    )
    keep_losing_models: int = setting(
        default=100,
        ge=0,
        description="Settled rounds whose candidates and aligned models are kept by `crowd-rounds compact` though no round chose them. 0: all.",
        shown="yes",
    )
    keep_archive: int = setting(
        default=0,
        ge=0,
        description="Settled rounds whose files, as they arrived, are kept in the archive by `crowd-rounds compact`. 0: all. Events are kept in any case.",
        shown="yes",
    )
    keep_unfinished_hours: float = setting(
        default=24.0,
        gt=0,
        description="Hours after which `crowd-rounds compact` removes files that a killed process left half written. No file takes that long to write.",
        shown="yes",
    )
