"""The graph in one home, and what tests do with it.

Belongs here: what several files of tests need. Does not belong here: fixtures (see ``conftest``).
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    ExecuteInProcessResult,
    RunsFilter,
)
from typer.testing import CliRunner
from upath import UPath

from crowd_assets.__main__ import app
from crowd_assets.definitions import build_definitions
from crowd_assets.simulation.crowd import SimulatedCrowd
from resources.build import build_resources
from resources.home.names import INGESTION_JOB, ROUND_JOB
from resources.rounds.book import RoundBook
from resources.settings.resource import CrowdSettings
from resources.warehouse.base import WarehouseResource
from resources.warehouse.schema import ROUND_TABLES
from sensors.rounds import next_run, nightly_quorum, round_quorum

DEPOSIT = "0.5"


Tampering = Callable[[CrowdSettings, WarehouseResource], None]


class Platform:
    """The graph on an ephemeral instance in one home."""

    def __init__(self, settings: CrowdSettings) -> None:
        self.settings = settings
        self.instance = DagsterInstance.ephemeral()
        self.definitions: Definitions = build_definitions(settings)
        self.warehouse: WarehouseResource = build_resources(settings).warehouse
        self.book = RoundBook(self.warehouse)
        self.inbox = Path(str(settings.inbox_path))
        self.inbox.mkdir(exist_ok=True)

    def crowd_sends(self, round_no: int) -> None:
        tasks = self.settings.outbox_path / "comparison_tasks" / f"r{round_no - 1:06d}.jsonl"
        published = [json.loads(line) for line in tasks.read_text().splitlines()] if tasks.exists() else []
        SimulatedCrowd("gratitude", self.settings.seed).write_feedback(round_no, UPath(self.inbox), published)

    def run(self, job: str, round_id: str | None = None, **options: Any) -> ExecuteInProcessResult:
        config = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}} | options.pop("run_config", {})
        return self.definitions.resolve_job_def(job).execute_in_process(
            run_config=config, instance=self.instance, partition_key=round_id, raise_on_error=False, **options
        )

    def ingest(self) -> None:
        assert self.run(INGESTION_JOB).success

    def start(self, *, nightly: bool = False) -> str:
        quorum = nightly_quorum(self.settings) if nightly else round_quorum(self.settings)
        request, reason = next_run(self.instance, self.warehouse, self.settings, quorum)
        assert request is not None, reason
        assert request.partition_key is not None
        return request.partition_key

    def round(self, round_no: int) -> ExecuteInProcessResult:
        self.crowd_sends(round_no)
        self.ingest()
        return self.run(ROUND_JOB, self.start())

    def contents(self, round_no: int | None = None) -> dict[str, list[tuple[object, ...]]]:
        """Every row of every table of a round, or of all, and of the ledger."""
        where = "round_no = $n" if round_no else "$n IS NULL"
        return {
            table: self.warehouse.query(f"SELECT * FROM {table} WHERE {where} ORDER BY ALL", {"n": round_no}).rows()
            for table in (*ROUND_TABLES, "ledger")
        }


def shown_of(platform: Platform, round_id: str) -> dict[str, dict[str, Any]]:
    """What the last run that ended a round says of each asset and check in Dagster's event log, by name."""
    done = RunsFilter(tags={"dagster/partition": round_id}, statuses=[DagsterRunStatus.SUCCESS])
    run = platform.instance.get_runs(done, limit=1)[0]
    found: dict[str, dict[str, Any]] = {}
    for event in (entry.dagster_event for entry in platform.instance.all_logs(run.run_id) if entry.dagster_event):
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            found[materialization.asset_key.path[-1]] = dict(materialization.metadata)
        elif event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            found[check.check_name] = {"passed": check.passed, "severity": check.severity} | dict(check.metadata)
    return found


def key_of(name: str) -> AssetKey:
    return AssetKey(name)


def by_sql(statement: str, **values: object) -> Tampering:
    def change(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
        with warehouse.transaction() as connection:
            connection.execute(statement, values)

    return change


def change_first(table: str, column: str, change: str, where: str = "round_no = 1") -> Tampering:
    """One row of a table with another value."""
    return by_sql(
        f"UPDATE {table} SET {column} = {change} WHERE rowid = (SELECT min(rowid) FROM {table} WHERE {where})"
    )


def rewrite_a_text(settings: CrowdSettings, warehouse: WarehouseResource) -> None:
    path = settings.path("frames", "generations", "r000001.parquet")
    pl.read_parquet(path).with_columns(base=pl.lit("Thank you so much.")).write_parquet(path)


def copied(platform: Platform, folder: Path) -> CrowdSettings:
    """Settings of a copy of a platform's home."""
    home = folder / "audited"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(platform.settings.home, home, symlinks=True)
    return platform.settings.changed(home=str(home))


def audited(settings: CrowdSettings) -> tuple[int, str]:
    """Exit code and output of the command."""
    done = CliRunner().invoke(
        app, ["audit"], env={f"CROWD_{name.upper()}": str(value) for name, value in settings.model_dump().items()}
    )
    return done.exit_code, done.output
