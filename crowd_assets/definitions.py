"""The only place where everything meets: assets, checks, jobs, sensors, schedule and resources.

Belongs here: putting together. Does not belong here: anything that could be tested alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import (
    Definitions,
    DynamicPartitionsDefinition,
    load_assets_from_modules,
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
from crowd_assets.assets.catalogue import catalogued, outside, with_references
from crowd_assets.exporters.exchange import exchange
from crowd_assets.monitoring.tracing import export_run
from crowd_assets.terminal.log import console_logger, use_json_lines
from resources.build import as_made, build_resources
from resources.home.identity import open_home, uuid_of
from resources.home.names import partition_set
from resources.settings.resource import CrowdSettings
from sensors.failures import failure_sensor
from sensors.feedback import inbox_sensor
from sensors.label_studio import label_studio_sensor
from sensors.rounds import nightly_schedule, round_sensor
from sensors.traces import trace_sensors
from sensors.waiting import waiting_sensor

STAGES = (seed, feedback, labelers, candidates, selection, contributions, procurement, report)


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
    made = build_resources(settings)
    resources = made.as_dict() | {name: as_made(each) for name, each in (resource_overrides or {}).items()}
    assets = _of_home(uuid_of(settings), load_assets_from_modules(STAGES))
    catalogue = [each.map_asset_specs(lambda spec: catalogued(spec, settings)) for each in assets]
    return Definitions(
        assets=[*with_references(catalogue), *outside(settings)],
        jobs=[*rounds.jobs(settings, made.warehouse), rounds.claim_round],
        sensors=[
            inbox_sensor(),
            round_sensor(),
            failure_sensor(),
            waiting_sensor(),
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


def __getattr__(name: str) -> Any:
    """``definitions``, what a code server and the processes of its runs load: made when it is asked for, so that whoever imports
    this module for a function begins no home and waits for nothing."""
    if name != "definitions":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = CrowdSettings.from_environment()
    open_home(settings, build_resources(settings).warehouse)
    globals()[name] = build_definitions(settings)
    return globals()[name]
