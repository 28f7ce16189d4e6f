"""Dagster's own storage on PostgreSQL, by the lines that docs/cluster.md has of it.

Belongs here: that they work. Does not belong here: the warehouse (see ``test_postgres``).
"""

from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance, job, op

from resources.tools.run_history import read_history
from tests import PROJECT
from tests.cluster.postgres_server import PostgresServer

pytestmark = pytest.mark.cluster


@op
def nothing() -> None:
    """Does nothing."""


@job
def of_nothing() -> None:
    """One step."""
    nothing()


def test_runs_and_partitions_are_kept_there(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (PROJECT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (block,) = (each for each in page.split("```")[1::2] if each.startswith("yaml\nstorage:"))
    embedded = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    configuration = embedded | yaml.safe_load(block.removeprefix("yaml\n"))
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(configuration))
    postgres.execute("CREATE DATABASE dagster")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv(
        "DAGSTER_POSTGRES_URL", postgres.url.replace("://", "+psycopg2://").replace("/postgres", "/dagster")
    )
    monkeypatch.chdir(tmp_path)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        run_id = of_nothing.execute_in_process(instance=instance).run_id
        instance.add_dynamic_partitions("rounds", ["r000001"])
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert [run.run_id for run in instance.get_runs()] == [run_id]
        assert instance.get_dynamic_partitions("rounds") == ["r000001"]
    tables = postgres.execute("SELECT count(*) FROM runs", postgres.url.replace("/postgres", "/dagster"))
    assert tables == [(1,)]
    assert not list(tmp_path.rglob("runs.db"))
    assert read_history(tmp_path).active == []  # which asks Dagster, as the files are not there
