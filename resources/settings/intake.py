"""Settings: what is taken in of feedback, and when a round starts.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from pydantic import BaseModel, field_validator

from resources.settings.fields import setting, without_credentials


class Intake(BaseModel):
    """What is taken in of feedback, and when a round starts."""

    quorum_events: int = setting(
        default=200,
        ge=1,
        description="Number of events that wait before a round starts. The default suits a crowd of a few dozen people.",
        shown="yes",
        essential=True,
    )
    quorum_contributors: int = setting(
        default=8,
        ge=1,
        description="Number of different contributors that a round needs among the events that wait.",
        shown="yes",
    )
    longest_wait_minutes: float = setting(
        default=60.0,
        ge=0,
        description="Minutes after which a round starts with fewer events than CROWD_QUORUM_EVENTS, if "
        "CROWD_QUORUM_CONTRIBUTORS is reached. 0 waits for contributors alone.",
        shown="yes",
    )
    min_demonstrations: int = setting(
        default=16,
        ge=1,
        description="Number of valid demonstrations that a round needs. A round with fewer is skipped, and its events wait for"
        " the next round.",
        shown="yes",
    )
    max_attempts: int = setting(
        default=3,
        ge=1,
        description="Number of runs that a round may take before the round is skipped. Runs that ended by a lock, a full disk "
        "or a stop from outside do not count.",
        shown="yes",
    )
    ingest_files: int = setting(
        default=1000,
        ge=0,
        description="Number of feedback files that one run of the inbox sensor takes in at most; the next run takes in further"
        " files. 0: every file that waits.",
        shown="yes",
    )
    ingest_mib: int = setting(
        default=1024,
        ge=0,
        description="MiB of feedback files, roughly, that one run of the inbox sensor takes in at most; the next run takes in "
        "further files. 0: every file that waits.",
        shown="yes",
    )
    backlog_mib: int = setting(
        default=4096,
        ge=0,
        description="MiB of waiting feedback files above which <outbox>/backlog.json tells collectors that the inbox is full. "
        "0: the inbox is never full.",
        shown="yes",
    )
    max_line_bytes: int = setting(
        default=1_000_000,
        ge=1000,
        description="Bytes that a line of a feedback file may have. A longer line is rejected; the other lines of the file are"
        " taken in.",
        shown="yes",
        per_run=False,
    )
    max_text_characters: int = setting(
        default=20_000,
        ge=1,
        description="Characters that a prompt or a response may have. An event with a longer text is rejected.",
        shown="yes",
        per_run=False,
    )
    max_parquet_mib: int = setting(
        default=2048,
        ge=1,
        description="MiB that a Parquet file of feedback may hold once decompressed, each row counted as at least 1 KiB. A "
        "file that holds more is rejected as a whole, so that a small file cannot fill the disk.",
        shown="yes",
        per_run=False,
    )
    label_studio_url: str = setting(
        default="",
        description="Address (http or https) of a Label Studio server, to which comparison tasks are sent and from which "
        "judgements are pulled. The personal access token stands in CROWD_LABEL_STUDIO_TOKEN. Empty: no server.",
        shown="no",
        per_run=False,
        place=True,
    )
    label_studio_project: str = setting(
        default="Comparison tasks",
        min_length=1,
        description="Title of the Label Studio project that comparison tasks are sent to. A project of this title is made "
        "where there is none.",
        shown="no",
        per_run=False,
        place=True,
    )
    label_studio_judgements: int = setting(
        default=3,
        ge=1,
        description="Number of judgements that Label Studio collects on each comparison, in a project that the platform makes."
        " Three judgements outvote one mistake.",
        shown="yes",
        per_run=False,
    )

    @field_validator("label_studio_url")
    @classmethod
    def _no_credentials_in_url(cls, value: str) -> str:
        return without_credentials(value)
