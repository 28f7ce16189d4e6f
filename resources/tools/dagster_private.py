"""What the project uses of Dagster's private modules, each with its reason: here alone a release of Dagster can break it.

Belongs here: names that ``dagster`` itself does not export. Does not belong here: anything that it does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import DagsterInstance, ExecutorDefinition
from dagster._core.storage.tags import PARTITION_NAME_TAG as PARTITION_TAG

if TYPE_CHECKING:
    # What define_asset_job returns: jobs are annotated with it.
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob
    from dagster._core.instance.ref import InstanceRef

__all__ = [
    "MULTIPROCESS_EXECUTOR",
    "PARTITION_TAG",
    "AssetJob",
    "log_file_of",
    "read_instance",
    "requirements_of",
    "run_dev_server",
]

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


def requirements_of(executor: ExecutorDefinition) -> Any:
    """What an executor asks of its run: an executor around another one asks for the same."""
    return executor._requirements_fn


def offer_no_partitions_by_hand() -> None:
    """Let this process's webserver offer nobody to add or delete a partition: a round's is made by its claim, and one without a claim has no
    events. The webserver refuses whoever asks; its pages, which ask nobody's permission for that, show rounds as a list that is given."""
    from dagster._core.workspace.permissions import EDITOR_PERMISSIONS, Permissions
    from dagster_graphql.schema.partition_sets import GraphenePartitionDefinitionType as Kind

    EDITOR_PERMISSIONS[Permissions.EDIT_DYNAMIC_PARTITIONS] = False
    of_kind, named = Kind.from_partition_def_data, Kind.snap_type_str

    def given(partitions: Any) -> Any:
        found = of_kind(partitions)
        return Kind.STATIC if found == Kind.DYNAMIC else found

    def given_name(partitions: Any) -> str:
        return str(named(partitions)).replace("DYNAMIC", "STATIC")

    for name, answer in (("from_partition_def_data", given), ("snap_type_str", given_name)):
        setattr(Kind, name, staticmethod(answer))


def run_dev_server(port: int, workspace: Path, *, webserver: str) -> None:
    """Run what ``dagster dev`` runs, until interrupted: code server, daemon and webserver on 127.0.0.1.

    Args:
        workspace: File that names the code locations.
        webserver: Module that takes the place of Dagster's own webserver, which ``dagster dev`` lets nobody choose.
    """
    from dagster._cli import dev
    from dagster._cli.workspace.cli_target import WorkspaceOpts

    launch = dev.open_ipc_subprocess

    def ours(parts: Sequence[str], **options: Any) -> Any:
        return launch([webserver if part == "dagster_webserver" else part for part in parts], **options)

    dev.open_ipc_subprocess = ours
    dev.dev_command_impl(
        code_server_log_level="warning",
        log_level="info",
        log_format="colored",
        port=str(port),
        host="127.0.0.1",
        use_legacy_code_server_behavior=False,
        shutdown_pipe=None,
        verbose=False,
        workspace_opts=WorkspaceOpts(workspace=[str(workspace)]),
    )
