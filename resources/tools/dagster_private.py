"""What the project uses of Dagster's private modules, each with its reason: here alone a release of Dagster can break it.

Belongs here: names that ``dagster`` itself does not export. Does not belong here: anything that it does.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from dagster import DagsterInstance
from dagster._core.storage.tags import PARTITION_NAME_TAG as PARTITION_TAG

if TYPE_CHECKING:
    # What define_asset_job returns: jobs are annotated with it.
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob
    from dagster._core.instance.ref import InstanceRef

__all__ = ["MULTIPROCESS_EXECUTOR", "PARTITION_TAG", "AssetJob", "log_file_of", "read_instance"]

# PARTITION_TAG: runs are found by their partition through this tag alone.
MULTIPROCESS_EXECUTOR = "dagster._core.executor.multiprocess"
"""Module that every step's process imports: imported before those are forked, it is imported once."""


def log_file_of(instance: DagsterInstance, run_id: str) -> Path | None:
    """The file of a run's events, where the instance keeps one a run: Dagster deletes the events, and leaves the file."""
    from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

    events = instance.event_log_storage
    return Path(events.path_for_shard(run_id)) if isinstance(events, SqliteEventLogStorage) else None


def read_instance(base: Path, folder: Path | None = None) -> "InstanceRef":
    """What a ``dagster.yaml`` asks for, checked as Dagster checks it, without connecting to anything that it names.

    Args:
        base: ``DAGSTER_HOME``.
        folder: Where the file lies, if not there.

    Raises:
        DagsterInvalidConfigError: Dagster refuses it.
    """
    from dagster._core.instance.ref import InstanceRef

    return InstanceRef.from_dir(str(base), config_dir=str(folder or base))
