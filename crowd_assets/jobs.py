"""The rounds partition, the jobs that run a round, and the random numbers of a round.

Belongs here: what every stage shares about "which round". Does not belong here: claims (see ``resources.rounds.book``).
"""

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetExecutionContext,
    AssetSelection,
    Config,
    DynamicPartitionsDefinition,
    ExecutorDefinition,
    Failure,
    OpExecutionContext,
    define_asset_job,
    in_process_executor,
    job,
    multiprocess_executor,
    op,
)
from pydantic import Field

from crowd_assets.leases import leased
from resources.home.identity import uuid_of
from resources.home.names import (
    INGESTION_JOB,
    REPRODUCTION_JOB,
    ROUND_JOB,
    ROUNDS_PARTITION,
    SECONDS_TAG,
    SEED_JOB,
    home_tags,
)
from resources.ray_compute import require_ray
from resources.rounds.book import Quorum, RoundBook
from resources.settings.fields import ENVIRONMENT_PREFIX, NOT_SETTINGS
from resources.settings.resource import CrowdSettings
from resources.tools.dagster_private import MULTIPROCESS_EXECUTOR
from resources.warehouse.base import WarehouseResource
from sensors.rounds import add_partition

if TYPE_CHECKING:
    from resources.tools.dagster_private import AssetJob

rounds_partition = DynamicPartitionsDefinition(name=ROUNDS_PARTITION)
"""Partitions of the assets of a round; ``build_definitions`` gives their set the name of the home."""

PRELOADED = [
    MULTIPROCESS_EXECUTOR,
    "duckdb",
    "scipy.stats",
    "torch",
    "transformers.models.auto.modeling_auto",
]


def jobs(settings: CrowdSettings, warehouse: WarehouseResource) -> list["AssetJob"]:
    """The three jobs: ingest the inbox, run one round, build the seed models. Each run holds a lease in ``warehouse``, and is tagged with
    its home.

    Raises:
        RayMissingError: a round's steps should run on Ray, which is not installed.
    """
    # runs of a daemon log by our console logger then, too, in place of Dagster's own
    config: dict[str, Any] | None = {"loggers": {"console": {}}} if settings.log_format == "json" else None
    tags = home_tags(uuid_of(settings))
    alone = leased(in_process_executor, warehouse, settings)
    ingestion = AssetSelection.assets("raw_feedback")
    seeds = AssetSelection.assets("seed_language_model", "seed_classifier")
    return [
        define_asset_job(
            INGESTION_JOB,
            config=config,
            selection=ingestion,
            executor_def=alone,
            tags=tags,
            description="Take every complete file of the inbox in: each event once, each bad line with its reason.",
        ),
        define_asset_job(
            ROUND_JOB,
            config=config,
            selection=AssetSelection.all() - ingestion,
            executor_def=leased(executor(settings), warehouse, settings),
            tags=tags,
            description="One round: gate, labelers, candidates, selection, alignment, Shapley values, auction, ledger.",
        ),
        define_asset_job(
            SEED_JOB,
            selection=seeds,
            executor_def=alone,
            tags=tags,
            description="Build the embedded language model and classifier, where the home has none yet.",
        ),
    ]


def reproduction_job(settings: CrowdSettings, warehouse: WarehouseResource) -> "AssetJob":
    """The job of the experiments' own code location; as :func:`jobs`."""
    return define_asset_job(
        REPRODUCTION_JOB,
        selection=AssetSelection.all(),
        executor_def=leased(in_process_executor, warehouse, settings),
        tags=home_tags(uuid_of(settings)),
        description="The three papers' figures, and ours: up to 3 hours on 2 cores, resumed where it stopped.",
    )


class ByHand(Config):
    """What a round that is claimed by hand asks for."""

    events: int = Field(default=1, ge=1, description="Fewest events that must wait.")
    contributors: int = Field(default=1, ge=1, description="Fewest contributors of the events that wait.")


@op
def claim(context: OpExecutionContext, config: ByHand, warehouse: WarehouseResource, settings: CrowdSettings) -> None:
    """Fix the events of the next round and add its partition; fails where there is nothing to claim."""
    book = RoundBook(warehouse)
    quorum = Quorum(config.events, config.contributors, timedelta.max)
    claimed, reason = book.claim(quorum, settings, datetime.now(UTC), by_hand=True)
    if claimed is None:
        raise Failure(f"no round was claimed: {reason}", allow_retries=False)
    add_partition(context.instance, book, claimed, uuid_of(settings))
    context.log.info(f"claimed {claimed.round_id}: launch {ROUND_JOB} for this round with the settings you want")


@job(
    executor_def=in_process_executor,
    description="Claim what waits as a round that is launched by hand: then launch crowd_round for its partition, with other "
    "settings if you like. The round sensor leaves that round alone until that run has ended.",
)
def claim_round() -> None:
    """The job of :func:`claim`."""
    claim()


def executor(settings: CrowdSettings) -> ExecutorDefinition:
    """How the steps of a round run."""
    if settings.executor == "in_process":
        return in_process_executor
    if settings.executor == "multiprocess":
        return _a_process_a_step()
    require_ray("CROWD_EXECUTOR=ray")
    from dagster_ray import ray_executor

    passed_on = sorted(name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS)
    return ray_executor.configured({"ray": {"address": settings.ray_dashboard, "env_vars": passed_on}})


def _a_process_a_step() -> ExecutorDefinition:
    """Each step in a process of its own. On Linux those are forks of one that has imported what takes long, and touched
    neither polars, whose threads no fork has, nor a GPU."""
    if sys.platform != "linux":
        return multiprocess_executor
    return multiprocess_executor.configured({"start_method": {"forkserver": {"preload_modules": PRELOADED}}})


def tag_seconds(context: AssetExecutionContext) -> None:
    """Tag a run that has done its work with the seconds it took so far."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is not None and record.start_time is not None:
        context.instance.add_run_tags(context.run.run_id, {SECONDS_TAG: f"{time.time() - record.start_time:.0f}"})
