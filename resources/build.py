"""Every resource of the graph, made from the settings: the one place that chooses which member of a family it is.

Belongs here: putting resources together. Does not belong here: what they do (see the packages beside), assets and jobs (see
``crowd_assets.definitions``).
"""

from dataclasses import dataclass, fields
from typing import Any

from dagster import IOManager, IOManagerDefinition, ResourceDefinition

from resources.common.errors import require
from resources.feedback.inbox import InboxResource, OutboxResource
from resources.files.frames import FramesResource
from resources.files.step_outputs import JsonStepOutputs
from resources.files.storage import S3, use_object_stores
from resources.models.embedder import EmbedderResource
from resources.models.local import LocalEmbedder, LocalTrainer
from resources.models.store import ModelStoreResource
from resources.models.trainer import TrainerResource
from resources.ray_compute import require_ray
from resources.settings.fields import SettingError
from resources.settings.models import BASE_MODEL
from resources.settings.resource import CrowdSettings
from resources.tools.data_quality import DataQualityResource
from resources.tools.label_studio import LabelStudioResource
from resources.tools.tracking import check_tracker
from resources.warehouse.base import WarehouseResource
from resources.warehouse.duckdb import DuckDBWarehouse
from resources.warehouse.postgres import PostgresWarehouse


@dataclass(frozen=True)
class Resources:
    """What assets, sensors and commands work with, each by the name that an asset asks for it by."""

    settings: CrowdSettings
    warehouse: WarehouseResource
    frames: FramesResource
    inbox: InboxResource
    outbox: OutboxResource
    label_studio: LabelStudioResource
    data_quality: DataQualityResource
    model_store: ModelStoreResource
    trainer: TrainerResource
    embedder: EmbedderResource
    io_manager: JsonStepOutputs

    def as_dict(self) -> dict[str, Any]:
        """By name, as Dagster takes them: a run's configuration changes settings that a run may change, and no resource."""
        named = {field.name: as_made(getattr(self, field.name)) for field in fields(self)}
        return named | {"settings": self.settings.of_run()}


def as_made(made: Any) -> ResourceDefinition:
    """A resource that a run takes as it is: the launchpad offers nothing to change."""
    if isinstance(made, IOManager):
        return IOManagerDefinition.hardcoded_io_manager(made, type(made).__doc__)
    return ResourceDefinition.hardcoded_resource(made, type(made).__doc__)


def check_installed(settings: CrowdSettings) -> None:
    """Refuse settings that ask for what is not installed here.

    Raises:
        MissingExtraError: name the extra.
    """
    if any(place.protocol in S3 for place in settings.file_places.values()):
        require("s3fs", "files on S3")
    if settings.traces:
        require("opentelemetry.sdk", "CROWD_TRACES")
    if settings.tracking:
        check_tracker(settings.tracking)


def build_resources(settings: CrowdSettings) -> Resources:
    """Every resource of the graph, from the settings."""
    use_object_stores(settings.store_retry_s)
    check_installed(settings)
    made_warehouse = warehouse(settings)
    model_store = ModelStoreResource(root=str(settings.models_path), cache=str(settings.path("models_cache")))
    trainer, embedder = _compute(settings, model_store)
    return Resources(
        settings=settings,
        warehouse=made_warehouse,
        frames=FramesResource(root=str(settings.frames_path)),
        inbox=InboxResource(
            warehouse=made_warehouse,
            root=str(settings.inbox_path),
            archive=str(settings.archive_path),
            segments=str(settings.frames_path / "raw_feedback"),
            max_line_bytes=settings.max_line_bytes,
            max_text_characters=settings.max_text_characters,
            max_parquet_mib=settings.max_parquet_mib,
        ),
        outbox=OutboxResource(root=str(settings.outbox_path)),
        label_studio=LabelStudioResource(
            url=settings.label_studio_url,
            project=settings.label_studio_project,
            judgements=settings.label_studio_judgements,
            shared=settings.assignments != "required",
            lock=str(settings.path("label_studio.lock")),
        ),
        data_quality=DataQualityResource(root=str(settings.path("quality")), lock_timeout_s=settings.lock_timeout_s),
        model_store=model_store,
        trainer=trainer,
        embedder=embedder,
        io_manager=JsonStepOutputs(root=str(settings.steps_path)),
    )


def warehouse(settings: CrowdSettings) -> WarehouseResource:
    """The tables of a home: on PostgreSQL where ``settings.warehouse`` names one, else in the home's DuckDB file."""
    return postgres_warehouse(settings) if settings.warehouse else duckdb_warehouse(settings)


def duckdb_warehouse(settings: CrowdSettings) -> DuckDBWarehouse:
    """The home's DuckDB file."""
    return DuckDBWarehouse(path=str(settings.path("warehouse.duckdb")), lock_timeout_s=settings.lock_timeout_s)


def postgres_warehouse(settings: CrowdSettings) -> PostgresWarehouse:
    """The PostgreSQL that ``settings.warehouse`` names."""
    path = str(settings.path("warehouse.duckdb"))
    return PostgresWarehouse(path=path, url=settings.warehouse, lock_timeout_s=settings.lock_timeout_s)


def _compute(settings: CrowdSettings, store: ModelStoreResource) -> tuple[TrainerResource, EmbedderResource]:
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
        return LocalTrainer(store=store, **_trainer(settings)), LocalEmbedder(**_embedder(settings))
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
    shards = settings.shards if settings.sharding == "fsdp" else 1
    return (
        RayTrainer(cluster=cluster, store=store, shards=shards, **_trainer(settings)),
        RayEmbedder(cluster=cluster, **_embedder(settings)),
    )


def _trainer(settings: CrowdSettings) -> dict[str, Any]:
    return {
        "base_model": settings.root_source,
        "revision": settings.base_model_revision,
        "threads": settings.threads,
        "dtype": settings.dtype,
        "device_map": settings.device_map,
        "quantization": settings.quantization,
        "fused": settings.fused_candidates,
        "system_prompt": settings.system_prompt,
        "template": settings.template,
        "template_options": settings.chat_template_options,
    }


def _embedder(settings: CrowdSettings) -> dict[str, Any]:
    kept = bool(settings.embedder and settings.embedding_cache_mib)
    own_states = settings.embedder == BASE_MODEL
    return {
        "source": settings.root_source if own_states else settings.embedder or str(settings.seed_classifier_path),
        "revision": settings.base_model_revision if own_states else settings.embedder_revision,
        "dtype": settings.dtype if own_states else "auto",
        "setting": "CROWD_BASE_MODEL" if own_states else "CROWD_EMBEDDER",
        "threads": settings.threads,
        "cache": str(settings.path("embeddings.sqlite")) if kept else "",
        "cache_mib": settings.embedding_cache_mib,
    }
