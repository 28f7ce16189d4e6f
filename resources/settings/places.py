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
        description="Folder of everything the platform keeps: warehouse, models, frames, reports.",
        shown="no",
        per_run=False,
        place=True,
        essential=True,
    )
    warehouse: str = setting(
        default="",
        description="Where the tables are: postgresql://user@host/database, with the password in PGPASSWORD or PGPASSFILE. "
        "Empty: the DuckDB file <home>/warehouse.duckdb.",
        shown="no",
        per_run=False,
        place=True,
    )
    files: str = setting(
        default="",
        description="Folder or URI, such as s3://bucket/prefix, below which inbox, outbox, frames, models, archive, steps and reports "
        "lie; warehouse, locks, caches and Data Docs stay in <home>. Empty: <home>.",
        shown="no",
        per_run=False,
        place=True,
        essential=True,
    )
    inbox: str = setting(
        default="",
        description="Folder or URI where feedback files arrive. Empty: <files>/inbox.",
        shown="no",
        per_run=False,
        place=True,
    )
    outbox: str = setting(
        default="",
        description="Folder or URI where comparison tasks are published. Empty: <files>/outbox.",
        shown="no",
        per_run=False,
        place=True,
    )
    frames: str = setting(
        default="",
        description="Folder or URI of the Parquet frames. Empty: <files>/frames.",
        shown="no",
        per_run=False,
        place=True,
    )
    models: str = setting(
        default="",
        description="Folder or URI of the model store. Empty: <files>/models.",
        shown="no",
        per_run=False,
        place=True,
    )
    store_retry_s: float = setting(
        default=60.0,
        ge=0,
        description="Seconds for which a call of an S3 store without an answer is repeated. Afterwards the run fails, and the next run "
        "repairs what the failed run left.",
        shown="yes",
        per_run=False,
    )
    lock_timeout_s: float = setting(
        default=120.0, gt=0, description="Longest wait for the warehouse, in seconds.", shown="yes", per_run=False
    )
    log_format: Literal["text", "json"] = setting(
        default="text",
        description="Lines of the log of a run in a terminal, and of what commands warn of: for people, or one JSON object each.",
        shown="yes",
        per_run=False,
    )
    traces: bool = setting(
        default=False,
        description="Send an OpenTelemetry span for each stage of a round to OTEL_EXPORTER_OTLP_ENDPOINT. It takes the extra cluster.",
        shown="yes",
        per_run=False,
    )
    least_free_mib: int = setting(
        default=1024,
        ge=0,
        description="MiB that must be free on the disks of the home for a round or an ingestion to start.",
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
                "must be postgresql://user@host/database without a password, as settings are recorded with every round: give it "
                "by PGPASSWORD or PGPASSFILE"
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
