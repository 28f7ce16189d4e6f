"""Settings: where a home, its tables and its files are, and how long their locks and stores are waited for.

Belongs here: those fields, and what is made of them alone. Does not belong here: what a setting does to a round.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, field_validator

from resources.settings.fields import POSTGRES, setting, without_credentials

if TYPE_CHECKING:
    from upath import UPath


class Places(BaseModel):
    """Where a home, its tables and its files are, and how long their locks and stores are waited for."""

    home: str = setting(
        default=".crowd",
        description="Folder of everything the platform keeps: warehouse, models, frames, reports. The default is a folder of "
        "the place where the command is called.",
        shown="no",
        per_run=False,
        place=True,
        essential=True,
    )
    warehouse: str = setting(
        default="",
        description="Address of the tables: postgresql://user@host/database, with the password in PGPASSWORD or PGPASSFILE. "
        "Empty, the tables are the DuckDB file <home>/warehouse.duckdb, which needs no server.",
        shown="no",
        per_run=False,
        place=True,
    )
    files: str = setting(
        default="",
        description="Folder or URI, such as s3://bucket/prefix, of inbox, outbox, frames, models, archive, steps and reports. "
        "Warehouse, locks, caches and Data Docs stay in <home>. Empty: <home>.",
        shown="no",
        per_run=False,
        place=True,
        essential=True,
    )
    inbox: str = setting(
        default="",
        description="Folder or URI where feedback files arrive. Empty: the folder inbox of CROWD_FILES.",
        shown="no",
        per_run=False,
        place=True,
    )
    outbox: str = setting(
        default="",
        description="Folder or URI where lots, comparison tasks and audits are published. Empty: the folder outbox of "
        "CROWD_FILES.",
        shown="no",
        per_run=False,
        place=True,
    )
    frames: str = setting(
        default="",
        description="Folder or URI of the Parquet frames, in which rounds keep their bulk data. Empty: the folder frames of "
        "CROWD_FILES.",
        shown="no",
        per_run=False,
        place=True,
    )
    models: str = setting(
        default="",
        description="Folder or URI of the model store, which holds each round's adapters. Empty: the folder models of "
        "CROWD_FILES.",
        shown="no",
        per_run=False,
        place=True,
    )
    store_retry_s: float = setting(
        default=60.0,
        ge=0,
        description="Seconds for which an S3 store that does not answer is asked again. After this time the run fails, and the"
        " next run repairs what the failed run left. The default outlasts a restart of the store.",
        shown="yes",
        per_run=False,
    )
    lock_timeout_s: float = setting(
        default=120.0,
        gt=0,
        description="Seconds that a process waits at most for the warehouse while another process writes. The default outlasts"
        " any transaction of a round.",
        shown="yes",
        per_run=False,
    )
    log_format: Literal["text", "json"] = setting(
        default="text",
        description="Form of log lines in a terminal and of the warnings of commands: text for people, or one JSON object a "
        "line for programs.",
        shown="yes",
        per_run=False,
    )
    traces: bool = setting(
        default=False,
        description="Whether each stage of a round sends an OpenTelemetry span to OTEL_EXPORTER_OTLP_ENDPOINT. Sending spans "
        "needs the extra cluster.",
        shown="yes",
        per_run=False,
    )
    tracking: Literal["", "mlflow", "wandb", "trackio"] = setting(
        default="",
        description="Experiment tracker that is told of each round's figures and settings, by the tracker's own client, which must be "
        "installed. Where figures are sent is what the client's own variables say. Empty: no tracker is told.",
        shown="yes",
        per_run=False,
    )
    least_free_mib: int = setting(
        default=1024,
        ge=0,
        description="MiB that must be free on the disks of the home before a round or an ingestion starts, so that no run ends"
        " on a full disk half way.",
        shown="yes",
        per_run=False,
    )

    @field_validator("home", "files", "inbox", "outbox", "frames", "models")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        return without_credentials(value)

    @field_validator("warehouse")
    @classmethod
    def _no_password(cls, value: str) -> str:
        if value and not POSTGRES.fullmatch(value):
            raise ValueError(
                "must be postgresql://user@host/database without a password, as settings are recorded with every round: give the password by PGPASSWORD or PGPASSFILE"
            )
        return value

    def path(self, *parts: str) -> "UPath":
        """A path below ``home``."""
        from upath import UPath

        return UPath(self.home, *parts)

    def _place(self, value: str, default: str) -> "UPath":
        from upath import UPath

        return UPath(value) if value else UPath(self.files or self.home, default)

    @property
    def inbox_path(self) -> "UPath":
        return self._place(self.inbox, "inbox")

    @property
    def outbox_path(self) -> "UPath":
        return self._place(self.outbox, "outbox")

    @property
    def frames_path(self) -> "UPath":
        return self._place(self.frames, "frames")

    @property
    def models_path(self) -> "UPath":
        return self._place(self.models, "models")

    @property
    def archive_path(self) -> "UPath":
        return self._place("", "archive")

    @property
    def steps_path(self) -> "UPath":
        return self._place("", "steps")

    @property
    def reports_path(self) -> "UPath":
        return self._place("", "reports")

    @property
    def file_places(self) -> "dict[str, UPath]":
        """Where files lie that are neither the warehouse nor made again from the rest, by the names of their folders."""
        return {
            "inbox": self.inbox_path,
            "outbox": self.outbox_path,
            "frames": self.frames_path,
            "models": self.models_path,
            "archive": self.archive_path,
            "steps": self.steps_path,
            "reports": self.reports_path,
        }

    @property
    def seed_language_model_path(self) -> Path:
        """Where the embedded language model lies."""
        return Path(self.home, "seed", "language_model")

    @property
    def seed_classifier_path(self) -> Path:
        """Where the embedded classifier lies."""
        return Path(self.home, "seed", "classifier")
