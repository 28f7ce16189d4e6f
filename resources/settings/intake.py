"""Settings: what is taken in of feedback, and when a round starts.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from pydantic import BaseModel, field_validator

from resources.settings.fields import setting, without_credentials


class Intake(BaseModel):
    """What is taken in of feedback, and when a round starts."""

    quorum_events: int = setting(
        default=200, ge=1, description="Pending events at which a round starts.", shown="yes", essential=True
    )
    quorum_contributors: int = setting(
        default=8, ge=1, description="Distinct contributors of pending events that a round needs.", shown="yes"
    )
    longest_wait_minutes: float = setting(
        default=60.0,
        ge=0,
        description="Minutes after which a round starts with fewer than CROWD_QUORUM_EVENTS events, if CROWD_QUORUM_CONTRIBUTORS is reached.",
        shown="yes",
    )
    min_demonstrations: int = setting(
        default=16, ge=1, description="Valid demonstrations below which a round is skipped.", shown="yes"
    )
    max_attempts: int = setting(default=3, ge=1, description="Runs a round may take before it is skipped.", shown="yes")
    ingest_files: int = setting(
        default=1000,
        ge=0,
        description="Feedback files that one run of the inbox sensor takes in at most; the next run goes on. 0: all there are.",
        shown="yes",
    )
    ingest_mib: int = setting(
        default=1024,
        ge=0,
        description="MiB of feedback files, about, that one run of the inbox sensor takes in at most. 0: all there are.",
        shown="yes",
    )
    backlog_mib: int = setting(
        default=4096,
        ge=0,
        description="MiB waiting in the inbox above which <outbox>/backlog.json tells collectors that it is full. 0: never.",
        shown="yes",
    )
    max_line_bytes: int = setting(
        default=1_000_000, ge=1000, description="Longest line of a feedback file, in bytes.", shown="yes", per_run=False
    )
    max_text_characters: int = setting(
        default=20_000, ge=1, description="Longest prompt or response, in characters.", shown="yes", per_run=False
    )
    max_parquet_mib: int = setting(
        default=2048,
        ge=1,
        description="Largest content of a Parquet file of feedback once it is decompressed, in MiB, a row "
        "counted as 1 KiB at least; a file with more is rejected as a whole. It is decompressed into a temporary file.",
        shown="yes",
        per_run=False,
    )
    label_studio_url: str = setting(
        default="",
        description="Where a Label Studio answers (http or https) that comparison tasks are sent to and judgements are "
        "pulled from, with the personal access token in CROWD_LABEL_STUDIO_TOKEN. Empty: none.",
        shown="no",
        per_run=False,
        place=True,
    )
    label_studio_project: str = setting(
        default="Comparison tasks",
        min_length=1,
        description="Title of the project there; made where there is none.",
        shown="no",
        per_run=False,
        place=True,
    )
    label_studio_judgements: int = setting(
        default=3,
        ge=1,
        description="Judgements that a comparison should get in a project that is made.",
        shown="yes",
        per_run=False,
    )

    @field_validator("label_studio_url")
    @classmethod
    def _no_credentials_in_url(cls, value: str) -> str:
        return without_credentials(value)
