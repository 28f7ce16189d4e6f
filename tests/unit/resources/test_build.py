"""One factory makes every resource and chooses members of families, which do not know one another."""

import subprocess
import sys
from pathlib import Path

from dagster import Definitions

from crowd_assets.definitions import build_definitions
from resources.build import Resources, build_resources
from resources.home.names import ROUND_JOB
from resources.models.embedder import EmbedderResource
from resources.models.local import LocalEmbedder, LocalTrainer
from resources.models.trainer import TrainerResource
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.postgres import PostgresWarehouse

APART = """
import sys
import resources.warehouse.duckdb
assert "resources.warehouse.postgres" not in sys.modules
del sys.modules["resources.warehouse.duckdb"]
import resources.warehouse.postgres
assert "resources.warehouse.duckdb" not in sys.modules
import resources.ray_compute.tasks
assert "resources.ray_compute.trainer" not in sys.modules
import crowd_assets.exporters.cli, crowd_assets.operations.audit, crowd_assets.operations.retention, resources.build
assert "crowd_assets.definitions" not in sys.modules
assert not [name for name in sys.modules if name.startswith(("crowd_assets.assets", "matplotlib"))]
"""


def test_siblings_import_none_of_the_others_and_commands_no_graph() -> None:
    done = subprocess.run([sys.executable, "-c", APART], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_tables_are_where_the_setting_says(tmp_path: Path) -> None:
    here = build_resources(CrowdSettings(home=str(tmp_path)))
    url = "postgresql://ann@db/crowd"
    there = build_resources(CrowdSettings(home=str(tmp_path), warehouse=url, lock_timeout_s=7))
    assert type(here.warehouse) is DuckDBWarehouse
    assert type(there.warehouse) is PostgresWarehouse
    assert (there.warehouse.url, there.warehouse.lock_timeout_s) == (url, 7)
    assert there.warehouse.snapshot_path == here.warehouse.snapshot_path
    assert there.inbox.warehouse is there.warehouse
    assert not list(tmp_path.iterdir())  # nothing is made before it is used


def test_members_of_a_family_are_siblings(tmp_path: Path) -> None:
    made = build_resources(CrowdSettings(home=str(tmp_path)))
    assert type(made.trainer) is LocalTrainer
    assert type(made.embedder) is LocalEmbedder
    for base, members in (
        (WarehouseResource, {DuckDBWarehouse, PostgresWarehouse}),
        (TrainerResource, {LocalTrainer}),
        (EmbedderResource, {LocalEmbedder}),
    ):
        assert base.__abstractmethods__
        assert members <= set(base.__subclasses__())


def test_what_the_graph_asks_for_is_made(tmp_path: Path) -> None:
    settings = CrowdSettings(home=str(tmp_path))
    made = build_resources(settings).as_dict()
    assert set(made) == set(Resources.__dataclass_fields__)
    definitions = build_definitions(settings)
    Definitions.validate_loadable(definitions)
    asked = set().union(
        *(each.required_resource_keys for each in definitions.get_repository_def().assets_defs_by_key.values())
    )
    assert asked - {"io_manager"} <= set(made)
    assert {"settings", "warehouse", "frames", "trainer", "embedder"} <= asked


def test_the_launchpad_offers_settings_and_nothing_else_to_change(tmp_path: Path) -> None:
    job = build_definitions(CrowdSettings(home=str(tmp_path))).resolve_job_def(ROUND_JOB)
    fields = job.run_config_schema.config_type.fields["resources"].config_type.fields
    taken = {name: field.config_type.fields["config"].config_type for name, field in fields.items()}
    changeable = {name for name, config in taken.items() if getattr(config, "fields", {})}
    assert changeable == {"settings"}
