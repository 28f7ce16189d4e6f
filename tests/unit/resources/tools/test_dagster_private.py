"""What is used of Dagster's private modules stands in one module, and still is what it is taken for."""

import importlib
import re
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterInvalidConfigError, DagsterRunStatus, job, op
from dagster_graphql.schema.partition_sets import GraphenePartitionDefinition, GraphenePartitionDefinitionType

from resources.tools.dagster_private import PARTITION_TAG, log_file_of, offer_no_partitions_by_hand, read_instance
from sensors.rounds import ACTIVE
from tests import PROJECT

permissions = importlib.import_module("dagster._core.workspace.permissions")
partitions = importlib.import_module("dagster._core.remote_representation.external_data")
PRIVATE = re.compile(r"^\s*(from|import) dagster\._core", re.MULTILINE)


def test_private_modules_of_dagster_are_imported_in_one_module() -> None:
    folders = ("crowd_assets", "resources", "sensors", "tests", "benchmarks", "docs")
    sources = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    assert len(sources) > 200
    found = [path for path in sources if PRIVATE.search(path.read_text(encoding="utf-8"))]
    assert [str(path.relative_to(PROJECT)) for path in found] == ["resources/tools/dagster_private.py"]


def test_a_run_is_found_by_its_partition() -> None:
    assert PARTITION_TAG == "dagster/partition"


def test_the_file_of_a_runs_events_is_known_where_there_is_one(tmp_path: Path) -> None:
    @op
    def nothing() -> None:
        return None

    @job
    def of_nothing() -> None:
        nothing()

    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = of_nothing.execute_in_process(instance=instance)
        log = log_file_of(instance, run.run_id)
        assert log is not None
        assert log.is_file()
        assert run.run_id in log.name
    with DagsterInstance.ephemeral() as instance:
        assert log_file_of(instance, run.run_id) is None


def test_an_instance_is_read_as_dagster_would_and_refused_as_by_it(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert read_instance(tmp_path).settings["telemetry"] == {"enabled": False}
    (tmp_path / "dagster.yaml").write_text("no_such_part: {}\n")
    with pytest.raises(DagsterInvalidConfigError, match="no_such_part"):
        read_instance(tmp_path)


def test_a_run_that_has_not_ended_is_active() -> None:
    ended = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
    assert set(ACTIVE) == set(DagsterRunStatus) - ended
    assert {DagsterRunStatus.QUEUED, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING} <= set(ACTIVE)


def test_nobody_is_offered_a_partition_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions, "EDITOR_PERMISSIONS", dict(permissions.EDITOR_PERMISSIONS))
    for name in ("from_partition_def_data", "snap_type_str"):
        monkeypatch.setattr(GraphenePartitionDefinitionType, name, getattr(GraphenePartitionDefinitionType, name))
    offer_no_partitions_by_hand()
    of_a_location = permissions.get_location_scoped_user_permissions(False)
    assert not of_a_location[permissions.Permissions.EDIT_DYNAMIC_PARTITIONS].enabled
    assert of_a_location[permissions.Permissions.LAUNCH_PIPELINE_EXECUTION].enabled
    rounds = GraphenePartitionDefinition(partitions.DynamicPartitionsSnap(name="rounds"))
    dimensions = rounds.resolve_dimensionTypes(None)
    assert [each.type for each in (rounds, *dimensions)] == [GraphenePartitionDefinitionType.STATIC] * 2
    assert "DYNAMIC" not in str(
        GraphenePartitionDefinition.to_manifest_dict(partitions.DynamicPartitionsSnap(name="rounds"))
    )
