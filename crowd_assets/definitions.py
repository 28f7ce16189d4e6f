"""The only place where everything meets: assets, checks, jobs, sensors, schedule and resources.

Belongs here: putting together. Does not belong here: anything that could be tested alone.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster import (
    AssetsDefinition,
    BetaWarning,
    CodeReferencesMetadataValue,
    Definitions,
    DynamicPartitionsDefinition,
    LocalFileCodeReference,
    load_assets_from_modules,
    with_source_code_references,
)

from crowd_assets import jobs as rounds
from crowd_assets.assets import (
    candidates,
    contributions,
    feedback,
    labelers,
    procurement,
    report,
    seed,
    selection,
)
from crowd_assets.experiments.reproduction import GROUP, experiment_assets
from crowd_assets.exporters.exchange import exchange
from crowd_assets.monitoring.tracing import export_run
from crowd_assets.terminal.log import console_logger, use_json_lines
from resources.common.errors import require
from resources.feedback.inbox import InboxResource, OutboxResource
from resources.files.frames import FramesResource
from resources.files.step_outputs import JsonStepOutputs
from resources.files.storage import S3, use_object_stores
from resources.home.identity import open_home, uuid_of
from resources.models.local import LocalEmbedder, LocalTrainer
from resources.models.store import ModelStoreResource
from resources.ray_compute import require_ray
from resources.settings.settings import BASE_MODEL, CrowdSettings, SettingError
from resources.tools.data_quality import DataQualityResource
from resources.tools.label_studio import LabelStudioResource
from resources.warehouse.base import WarehouseResource
from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.postgres import PostgresWarehouse
from sensors import partition_set
from sensors.failures import failure_sensor
from sensors.feedback import inbox_sensor
from sensors.label_studio import label_studio_sensor
from sensors.rounds import nightly_schedule, round_sensor
from sensors.traces import trace_sensors

STAGES = (seed, feedback, labelers, candidates, selection, contributions, procurement, report)
DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {
    "0_seed": ["training.md"],
    "1_feedback": ["feedback.md", "quality.md"],
    "2_labelers": ["mechanisms/labelers.md"],
    "3_candidates": ["mechanisms/selection.md", "training.md"],
    "4_selection": ["mechanisms/selection.md", "mechanisms/qa_dpo.md", "own_target.md"],
    "5_procurement": ["mechanisms/auctions.md", "attacks.md"],
    "6_contributions": ["mechanisms/points.md", "mechanisms/shapley.md", "attacks.md"],
    "7_report": ["report.md", "operations.md"],
    GROUP: ["experiments.md", "reproduction.md"],
}


def check_installed(settings: CrowdSettings) -> None:
    """Refuse settings that ask for what is not installed here.

    Raises:
        MissingExtraError: name the extra.
    """
    if any(place.protocol in S3 for place in settings.file_places.values()):
        require("s3fs", "files on S3")
    if settings.traces:
        require("opentelemetry.sdk", "CROWD_TRACES")


def build_resources(settings: CrowdSettings) -> dict[str, Any]:
    """Every resource of the graph, from the settings."""
    use_object_stores(settings.store_retry_s)
    check_installed(settings)
    warehouse = _warehouse(settings)
    model_store = ModelStoreResource(root=str(settings.models_path), cache=str(settings.path("models_cache")))
    return {
        "settings": settings.with_own_defaults(),
        "warehouse": warehouse,
        "frames": FramesResource(root=str(settings.frames_path)),
        "inbox": InboxResource(
            warehouse=warehouse,
            root=str(settings.inbox_path),
            archive=str(settings.archive_path),
            segments=str(settings.frames_path / "raw_feedback"),
            max_line_bytes=settings.max_line_bytes,
            max_text_characters=settings.max_text_characters,
            max_parquet_mib=settings.max_parquet_mib,
        ),
        "outbox": OutboxResource(root=str(settings.outbox_path)),
        "label_studio": LabelStudioResource(
            url=settings.label_studio_url,
            project=settings.label_studio_project,
            judgements=settings.label_studio_judgements,
            lock=str(settings.path("label_studio.lock")),
        ),
        "data_quality": DataQualityResource(root=str(settings.path("quality")), lock_timeout_s=settings.lock_timeout_s),
        "model_store": model_store,
        **_compute(settings, model_store),
        "io_manager": JsonStepOutputs(root=str(settings.steps_path)),
    }


def _warehouse(settings: CrowdSettings) -> WarehouseResource:
    path, timeout_s = str(settings.path("warehouse.duckdb")), settings.lock_timeout_s
    if settings.warehouse:
        return PostgresWarehouse(path=path, url=settings.warehouse, lock_timeout_s=timeout_s)
    return DuckDBWarehouse(path=path, lock_timeout_s=timeout_s)


def _compute(settings: CrowdSettings, store: ModelStoreResource) -> dict[str, Any]:
    """Trainer and embedder, of this process or of a Ray cluster.

    Raises:
        RayMissingError: Ray is asked for, and is not installed.
        SettingError: a base should be spread over tasks, and there are none.
    """
    if settings.compute == "embedded":
        if settings.sharding != "none":
            raise SettingError(
                f"CROWD_SHARDING={settings.sharding} spreads the base over tasks: set CROWD_COMPUTE=ray, or CROWD_SHARDING=none."
            )
        return {
            "trainer": LocalTrainer(store=store, **_trainer(settings)),
            "embedder": LocalEmbedder(**_embedder(settings)),
        }
    require_ray("CROWD_COMPUTE=ray")
    from dagster_ray import Lifecycle

    from resources.ray_compute.cluster import RayCluster
    from resources.ray_compute.embedder import RayEmbedder
    from resources.ray_compute.trainer import RayTrainer

    cluster = RayCluster(
        lifecycle=Lifecycle(connect=False),  # a step that has no task connects to nothing
        address=settings.ray_address,
        cpus=settings.ray_cpus_per_task,
        gpus=settings.ray_gpus_per_task,
        memory_gib=settings.ray_memory_per_task_gib,
        tasks=settings.ray_tasks,
        retries=settings.ray_retries,
        wait_s=settings.ray_wait_s,
    )
    return {
        "trainer": RayTrainer(
            cluster=cluster,
            store=store,
            shards=settings.shards if settings.sharding == "fsdp" else 1,
            **_trainer(settings),
        ),
        "embedder": RayEmbedder(cluster=cluster, **_embedder(settings)),
    }


def _trainer(settings: CrowdSettings) -> dict[str, Any]:
    return {
        "base_model": settings.root_source,
        "revision": settings.base_model_revision,
        "threads": settings.torch_threads,
        "dtype": settings.dtype,
        "device_map": settings.device_map,
        "quantization": settings.quantization,
        "fused": settings.fused_candidates,
    }


def _embedder(settings: CrowdSettings) -> dict[str, Any]:
    kept = bool(settings.embedder and settings.embedding_cache_mib)
    own_states = settings.embedder == BASE_MODEL
    return {
        "source": settings.root_source if own_states else settings.embedder or str(settings.seed_classifier_path),
        "revision": settings.base_model_revision if own_states else settings.embedder_revision,
        "dtype": settings.dtype if own_states else "auto",
        "setting": "CROWD_BASE_MODEL" if own_states else "CROWD_EMBEDDER",
        "threads": settings.torch_threads,
        "cache": str(settings.path("embeddings.sqlite")) if kept else "",
        "cache_mib": settings.embedding_cache_mib,
    }


def build_definitions(
    settings: CrowdSettings | None = None, *, resource_overrides: Mapping[str, Any] | None = None
) -> Definitions:
    """The asset graph with its resources.

    Args:
        settings: Settings; read from the environment where None.
        resource_overrides: Resources by name that take the place of those made from the settings.
    """
    settings = settings or CrowdSettings.from_environment()
    if settings.log_format == "json":
        use_json_lines()
    resources = {**build_resources(settings), **(resource_overrides or {})}
    assets = _of_home(uuid_of(settings), [*load_assets_from_modules(STAGES), *experiment_assets()])
    return Definitions(
        assets=_with_references(assets),
        jobs=[*rounds.jobs(settings, resources["warehouse"]), rounds.claim_round],
        sensors=[
            inbox_sensor(),
            round_sensor(),
            failure_sensor(),
            label_studio_sensor(exchange, running=bool(settings.label_studio_url)),
            *(trace_sensors(export_run) if settings.traces else []),
        ],
        schedules=[nightly_schedule()],
        loggers={"console": console_logger(settings.log_format)},
        resources=resources,
    )


def _of_home(home: str, assets: Sequence[Any]) -> list[Any]:
    """The assets, those of a round with the set of partitions that is the home's own."""
    own = DynamicPartitionsDefinition(name=partition_set(home))
    return [
        each.map_asset_specs(
            lambda spec: (
                spec.replace_attributes(partitions_def=own) if spec.partitions_def == rounds.rounds_partition else spec
            )
        )
        for each in assets
    ]


def _with_references(assets: list[Any]) -> Sequence[Any]:
    """The assets with links to their code and their pages of the documentation, for the UI on this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)
        return with_source_code_references([_with_pages(each) for each in assets])


def _with_pages(assets: AssetsDefinition) -> AssetsDefinition:
    def pages(group: str | None) -> CodeReferencesMetadataValue:
        references = [
            LocalFileCodeReference(file_path=str(DOCS / name), line_number=1, label=f"docs/{name}")
            for name in PAGES[group or ""]
            if (DOCS / name).exists()
        ]
        return CodeReferencesMetadataValue(code_references=list(references))

    return assets.map_asset_specs(
        lambda spec: spec.merge_attributes(metadata={"dagster/code_references": pages(spec.group_name)})
    )


def __getattr__(name: str) -> Any:
    """``definitions``, what a code server and the processes of its runs load: made when it is asked for, so that whoever imports
    this module for a function begins no home and waits for nothing."""
    if name != "definitions":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = CrowdSettings.from_environment()
    open_home(settings, build_resources(settings)["warehouse"])
    globals()[name] = build_definitions(settings)
    return globals()[name]
